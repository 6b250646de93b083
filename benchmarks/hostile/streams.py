"""gRPC calls and streams: many, cancelled, unread, and without an end."""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import repeat
from typing import Any

from benchmarks.hostile.case import Case
from benchmarks.hostile.target import RANK, Target, counted
from benchmarks.hostile.texts import MIB, rank
from crossrank.tei.v1 import tei_pb2


def cases() -> Iterator[Case]:
    """All cases of calls and streams."""
    yield Case("gRPC: 40 readers of 15 MB who do not read", "OK|RESOURCE_EXHAUSTED", _grpc_readers)
    yield Case("gRPC: 20,000 calls opened and cancelled", "OK", _cancelled)
    yield Case("gRPC: 500 connections that say nothing", "OK", _silent)
    yield Case("tei.v1: 4 streams that hold 15 MB and never end", "OK", _held_streams)
    yield Case("gRPC: 100 streams that never end", "OK", _open_streams)
    yield Case(
        "gRPC: metadata of 1 MB",
        "RESOURCE_EXHAUSTED|UNAVAILABLE|INTERNAL",
        lambda t: t.call(RANK, rank("a", ["b"]), metadata=[("x", "y" * MIB)]),
    )
    yield Case(
        "gRPC: methods that are not there",
        "UNIMPLEMENTED|INTERNAL",
        lambda t: ", ".join(
            t.call(m, b"") for m in ("/a/b", "/crossrank.v1.RankService/", "/" + "a" * 5000 + "/b", "//", "/a")
        ),
    )


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload


def _grpc_readers(target: Target) -> str:
    message = rank("a", ["word " * 3000] * 1000, return_documents=True).SerializeToString()
    with ExitStack() as held:
        for _ in range(40):
            connection: Any = held.enter_context(target.connect(http=False))
            connection.settimeout(2)
            names = {
                ":method": "POST",
                ":scheme": "http",
                ":path": RANK,
                ":authority": "a",
                "content-type": "application/grpc",
                "te": "trailers",
            }
            block = b"".join(
                b"\x00" + bytes([len(k)]) + k.encode() + bytes([len(v)]) + v.encode() for k, v in names.items()
            )
            data = b"\x00" + len(message).to_bytes(4) + message
            try:
                connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b"") + _frame(1, 4, 1, block))
                for start in range(0, len(data), 16384):
                    last = start + 16384 >= len(data)
                    connection.sendall(_frame(0, int(last), 1, data[start : start + 16384]))
            except OSError:
                continue
        return target.call(RANK, *repeat(rank("a", ["b"]), 3))


def _cancelled(target: Target) -> str:
    with target.channel() as channel:
        call: Any = channel.unary_unary(RANK)
        message = rank("a", ["b"]).SerializeToString()
        for _ in range(20_000):
            call.future(message).cancel()
    return target.call(RANK, rank("a", ["b"]))


def _silent(target: Target) -> str:
    with ExitStack() as held:
        for _ in range(500):
            held.enter_context(target.connect(http=False))
        return target.call(RANK, rank("a", ["b"]))


def _held_streams(target: Target) -> str:
    message = tei_pb2.RerankStreamRequest(query="q", text="w" * 15_000_000).SerializeToString()

    def endless() -> Iterator[bytes]:
        yield message
        time.sleep(60)

    with target.channel() as channel:
        call: Any = channel.stream_unary("/tei.v1.Rerank/RerankStream")
        running = [call.future(endless()) for _ in range(4)]
        time.sleep(3)
        got = counted([target.call(RANK, rank("a", [f"{n}"])) for n in range(3)])
        for one in running:
            one.cancel()
    return got


def _open_streams(target: Target) -> str:
    with ExitStack() as held:
        for _ in range(20):
            channel = held.enter_context(target.channel())
            call: Any = channel.stream_stream("/crossrank.v1.RankService/RankStream")
            for _ in range(5):
                held.callback(call(repeat_slowly()).cancel)
        return target.call(RANK, rank("a", ["b"]))


def repeat_slowly() -> Iterator[bytes]:
    """A stream that sends nothing for a minute."""
    time.sleep(60)
    yield b""
