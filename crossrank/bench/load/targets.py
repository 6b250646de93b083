"""Targets of a load: a crossrank server over gRPC, or any server with an HTTP `/rerank`."""

import errno
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
import grpc
import grpc.aio
import numpy as np
from numpy.typing import NDArray

from crossrank.bench.load.workload import RerankRequest
from crossrank.errors import CrossrankError, UsageError
from crossrank.v1 import ranker_pb2

_OPTIONS = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0))
_NO_ADDRESS = "{}: give host:port of a gRPC server, or an http URL of a /rerank"
_RANK = "/crossrank.v1.RankService/Rank"
_PROBE_SECONDS = 30.0
# Infinity, Cohere and Jina take `documents`, text-embeddings-inference takes `texts`.
_DOCUMENTS_FIELDS = ("documents", "texts")


@dataclass(frozen=True, slots=True)
class Answer:
    """How a request ended.

    Attributes:
        status: "OK", a gRPC code's name, or "HTTP 429" and the like.
        server: seconds that the server says it spent on `tokenize`, `queue` and `compute`; empty where it does not.
        body: of an answer over HTTP.
    """

    status: str
    server: dict[str, float] = field(default_factory=dict)
    body: bytes = b""

    def scores(self) -> NDArray[np.float32]:
        """The scores in an answer over HTTP, in the order of the documents; float32, shape [documents].

        Raises:
            CrossrankError: it has none, or not one for each document.
        """
        try:
            parsed = json.loads(self.body)
            entries = parsed["results"] if isinstance(parsed, dict) else parsed
            scores = np.full(len(entries), np.nan, dtype=np.float32)
            for entry in entries:
                scores[entry["index"]] = entry["relevance_score" if "relevance_score" in entry else "score"]
        except (ValueError, KeyError, TypeError, IndexError):
            raise CrossrankError("the server's answer has no scores in a known format") from None
        if np.isnan(scores).any():
            raise CrossrankError("the server's answer leaves documents out")
        return scores


class Target(Protocol):
    """A server that answers requests, which are serialized before the clock runs."""

    def serialize(self, request: RerankRequest) -> bytes:
        """The request as it goes over the wire, its query first."""

    async def send(self, payload: bytes, deadline: float) -> Answer:
        """Sends it and waits for its end, at most `deadline` seconds."""


@asynccontextmanager
async def open_target(address: str) -> AsyncIterator[Target]:
    """Connects to a server.

    Args:
        address: "host:port" of a crossrank server, or the URL of a `/rerank`.

    Raises:
        UsageError: it is neither.
        CrossrankError: nothing answers there, or it cannot rank.
    """
    if "://" in address:
        async with open_http(address) as http:
            yield http
        return
    host, _, port = address.rpartition(":")
    if not (host and port.isdecimal()):
        raise UsageError(_NO_ADDRESS.format(address))
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        target = _Grpc(channel)
        answer = await target.send(target.serialize(RerankRequest("probe", ["probe"])), _PROBE_SECONDS)
        if answer.status != "OK":
            raise CrossrankError(
                f"{address}: a request with one document ended with {answer.status}; is a ranker served there?"
            )
        yield target


@asynccontextmanager
async def open_http(address: str) -> AsyncIterator[Target]:
    """Connects to a server with an HTTP `/rerank`; see `open_target`."""
    try:
        parts = urlsplit(address)
    except ValueError:
        raise UsageError(_NO_ADDRESS.format(address)) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(_NO_ADDRESS.format(address))
    url = address if parts.path.strip("/") else f"{address.rstrip('/')}/rerank"
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        yield _Http(session, url, await _documents_field(session, url))


class _Grpc:
    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._rank: Any = channel.unary_unary(_RANK, response_deserializer=ranker_pb2.RankResponse.FromString)

    def serialize(self, request: RerankRequest) -> bytes:
        return to_message(request).SerializeToString()

    async def send(self, payload: bytes, deadline: float) -> Answer:
        try:
            response = await self._rank(payload, timeout=deadline)
        except grpc.RpcError as error:
            return Answer(error.code().name)
        timings = response.timings
        parts = {"tokenize": timings.tokenize, "queue": timings.queue, "compute": timings.compute}
        return Answer("OK", {name: duration.ToNanoseconds() / 1e9 for name, duration in parts.items()})


class _Http:
    def __init__(self, session: aiohttp.ClientSession, url: str, documents: str) -> None:
        self._session, self._url, self._documents = session, url, documents

    def serialize(self, request: RerankRequest) -> bytes:
        return json.dumps({"query": request.query, self._documents: request.documents}).encode()

    async def send(self, payload: bytes, deadline: float) -> Answer:
        return await _post(self._session, self._url, payload, deadline)


def to_message(request: RerankRequest) -> ranker_pb2.RankRequest:
    """The protobuf message of a request."""
    return ranker_pb2.RankRequest(
        query=request.query, documents=[ranker_pb2.Document(text=text) for text in request.documents]
    )


async def _documents_field(session: aiohttp.ClientSession, url: str) -> str:
    """Finds the name under which the server takes documents, by a request that must be answered with a score."""
    failures: list[str] = []
    for name in _DOCUMENTS_FIELDS:
        body = json.dumps({"query": "probe", name: ["probe"]}).encode()
        answer = await _post(session, url, body, _PROBE_SECONDS)
        if answer.status != "OK":
            failures.append(answer.status)
            continue
        try:
            if len(answer.scores()) == 1:
                return name
        except CrossrankError:
            pass
        failures.append("no score")
    raise CrossrankError(
        f"{url}: a request with one document ended with {' and '.join(dict.fromkeys(failures))}; is it a reranker?"
    )


async def _post(session: aiohttp.ClientSession, url: str, body: bytes, deadline: float) -> Answer:
    try:
        async with session.post(
            url,
            data=body,
            headers={"Content-Type": "application/json"},
            timeout=aiohttp.ClientTimeout(total=deadline),
        ) as reply:
            content = await reply.read()
            return Answer("OK", body=content) if reply.status == 200 else Answer(f"HTTP {reply.status}")
    except TimeoutError:
        return Answer("DEADLINE_EXCEEDED")
    except aiohttp.ClientConnectorError as error:
        if error.os_error.errno == errno.EMFILE:
            raise CrossrankError(
                "this process may open no more connections (ulimit -n); ask for a lower rate, or raise the limit"
            ) from None
        return Answer("UNAVAILABLE")
    except aiohttp.ClientError:
        return Answer("UNAVAILABLE")
