"""tei.v1 on a real server: the order is that of crossrank.v1, and reflection finds the method."""

from collections.abc import Iterator

import grpc
import pytest
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from crossrank.tei.v1 import tei_pb2, tei_pb2_grpc
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc

QUERY = "add two numbers"
TEXTS = ["the capital of France", "def add(a, b):\n    return a + b", "def mul(a, b):\n    return a * b"]


@pytest.fixture(scope="module")
def channel(server: str) -> Iterator[grpc.Channel]:
    with grpc.insecure_channel(server) as channel:
        yield channel


@pytest.fixture(scope="module")
def stub(channel: grpc.Channel) -> tei_pb2_grpc.RerankStub:
    return tei_pb2_grpc.RerankStub(channel)


def test_the_order_and_the_scores_are_those_of_crossrank(channel: grpc.Channel, stub: tei_pb2_grpc.RerankStub) -> None:
    ours = ranker_pb2_grpc.RankServiceStub(channel).Rank(
        ranker_pb2.RankRequest(
            query=QUERY,
            documents=[ranker_pb2.Document(text=text) for text in TEXTS],
            score_kind=ranker_pb2.SCORE_KIND_LOGIT,
        ),
        timeout=60,
    )
    theirs = stub.Rerank(tei_pb2.RerankRequest(query=QUERY, texts=TEXTS, raw_scores=True, return_text=True), timeout=60)
    assert [(rank.index, rank.score) for rank in theirs.ranks] == [(r.index, r.score) for r in ours.results]
    assert [rank.text for rank in theirs.ranks] == [TEXTS[rank.index] for rank in theirs.ranks]
    assert theirs.metadata.compute_tokens == ours.usage.tokens
    streamed = stub.RerankStream(
        iter(
            [tei_pb2.RerankStreamRequest(query=QUERY, text=text, raw_scores=True, return_text=True) for text in TEXTS]
        ),
        timeout=60,
    )
    assert streamed.ranks == theirs.ranks
    plain = stub.Rerank(tei_pb2.RerankRequest(query=QUERY, texts=TEXTS), timeout=60)
    assert all(0 < rank.score < 1 and not rank.HasField("text") for rank in plain.ranks)


@pytest.mark.parametrize(
    "request_",
    [
        tei_pb2.RerankRequest(query="", texts=["a"]),
        tei_pb2.RerankRequest(query="q"),
        tei_pb2.RerankRequest(query="q", texts=["a"] * 1001),
        tei_pb2.RerankRequest(query="q", texts=["word " * 2000]),
        tei_pb2.RerankRequest(
            query="q",
            texts=["word " * 2000],
            truncate=True,
            truncation_direction=tei_pb2.TRUNCATION_DIRECTION_LEFT,
        ),
    ],
)
def test_what_is_invalid_is_refused(stub: tei_pb2_grpc.RerankStub, request_: tei_pb2.RerankRequest) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        stub.Rerank(request_, timeout=60)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "documents" not in (refused.value.details() or "")


def test_long_texts_are_cut_where_that_is_asked_for(stub: tei_pb2_grpc.RerankStub) -> None:
    assert stub.Rerank(tei_pb2.RerankRequest(query="q", texts=["word " * 2000], truncate=True), timeout=60).ranks


@pytest.mark.parametrize("messages", [0, 1001])
def test_a_stream_with_too_few_or_too_many_texts_is_refused(stub: tei_pb2_grpc.RerankStub, messages: int) -> None:
    with pytest.raises(grpc.RpcError) as refused:
        stub.RerankStream(iter([tei_pb2.RerankStreamRequest(query="q", text="a")] * messages), timeout=60)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_info_names_a_reranker(channel: grpc.Channel) -> None:
    info = tei_pb2_grpc.InfoStub(channel).Info(tei_pb2.InfoRequest(), timeout=60)
    assert (info.model_type, info.model_id, info.max_input_length) == (tei_pb2.MODEL_TYPE_RERANKER, "default", 512)


def test_reflection_finds_the_methods(channel: grpc.Channel) -> None:
    pool = DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    assert pool.FindServiceByName("tei.v1.Rerank").FindMethodByName("Rerank").input_type.name == "RerankRequest"
