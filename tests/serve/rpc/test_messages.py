"""The shape of messages: what is parsed, and what is refused before."""

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given
from hypothesis import strategies as st

from crossrank.errors import InvalidRequest
from crossrank.serve.rpc.messages import parse_message
from crossrank.v1 import ranker_pb2

_TEXTS = st.text(max_size=200)
_RANKS = st.builds(
    ranker_pb2.RankRequest,
    query=_TEXTS,
    documents=st.lists(st.builds(ranker_pb2.Document, id=_TEXTS, text=_TEXTS), max_size=9),
    top_n=st.integers(0, 2**32 - 1),
    return_documents=st.booleans(),
    request_id=_TEXTS,
)


@given(_RANKS)
def test_every_message_within_the_limits_is_parsed(message: ranker_pb2.RankRequest) -> None:
    data = message.SerializeToString()
    assert parse_message(ranker_pb2.RankRequest, data, 9) == message
    stream = ranker_pb2.RankStreamRequest(request=message)
    assert parse_message(ranker_pb2.RankStreamRequest, stream.SerializeToString(), 9) == stream


@given(st.one_of(st.binary(max_size=64), st.binary(max_size=40).map(lambda data: b"\x1a" + bytes([len(data)]) + data)))
def test_bytes_are_parsed_or_refused_as_protobuf_does(data: bytes) -> None:
    try:
        expected = ranker_pb2.RankRequest.FromString(data)
    except DecodeError:
        with pytest.raises(InvalidRequest, match="request: "):
            parse_message(ranker_pb2.RankRequest, data, 1000)
    else:
        assert parse_message(ranker_pb2.RankRequest, data, 1000) == expected


@pytest.mark.parametrize(
    ("data", "field"),
    [
        (b"\x1a\x00" * 11, "documents: "),
        (b"\x12\x00" * 1000, "request: "),
        (b"\x78\x01" * 1000, "request: "),
        (b"\x7b\x7c" * 1000, "request: "),
        (b"\x1a\x80\x80\x80\x01" + b"\x78\x01" * 2**20, "request: "),
    ],
    ids=["documents", "queries", "unknown", "groups", "in a document"],
)
def test_too_many_fields(data: bytes, field: str) -> None:
    with pytest.raises(InvalidRequest, match=field):
        parse_message(ranker_pb2.RankRequest, data, 10)
    stream = ranker_pb2.RankStreamRequest(request=ranker_pb2.RankRequest()).SerializeToString()[:1]
    with pytest.raises(InvalidRequest, match=field):
        parse_message(ranker_pb2.RankStreamRequest, stream + _varint(len(data)) + data, 10)


def _varint(value: int) -> bytes:
    return bytes([value & 127 | 128, value >> 7 & 127 | 128, value >> 14 & 127 | 128, value >> 21])
