"""Connections: half-sent, slow, many, cancelled, and what HTTP/1.1 allows beside plain requests."""

import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.hostile.case import Case
from benchmarks.hostile.target import Target
from benchmarks.hostile.texts import MIB

_BODY = json.dumps({"query": "a", "documents": ["b"]}).encode()
_LARGE = json.dumps({"query": "a", "documents": ["word " * 3000] * 1000, "return_documents": True}).encode()


def request(
    body: bytes = _BODY, *lines: str, method: str = "POST", path: str = "/v1/rerank", length: int = -1
) -> bytes:
    """The bytes of a request."""
    size = len(body) if length < 0 else length
    head = [f"{method} {path} HTTP/1.1", "Host: localhost", *lines]
    if not any(line.startswith("Transfer-Encoding") for line in lines):
        head.append(f"Content-Length: {size}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def cases() -> Iterator[Case]:
    """All cases of connections."""
    close = "Connection: close"
    yield Case(
        "HTTP: HEAD, OPTIONS, TRACE, CONNECT, PUT",
        "200|204|400|404|405",
        lambda t: ", ".join(
            t.say(request(b"", close, method=m, path=p))
            for m in ("HEAD", "OPTIONS", "TRACE", "CONNECT", "PUT")
            for p in ("/v1/rerank", "/health")
        ),
    )
    yield Case("HTTP: Expect: 100-continue", "100|200", lambda t: t.say(request(_BODY, close, "Expect: 100-continue")))
    yield Case("HTTP: 200 pipelined requests", "200|429", lambda t: t.say(request() * 199 + request(_BODY, close)))
    yield Case(
        "HTTP: 50,000 pipelined requests of health",
        "200|closed|ConnectionResetError|BrokenPipeError",
        lambda t: t.say(request(b"", method="GET", path="/health") * 50_000, 3)[:12],
    )
    chunked = b"%x\r\n%s\r\n0\r\nX-Trailer: %s\r\n\r\n"
    yield Case(
        "HTTP: chunks with a trailer",
        "200",
        lambda t: t.say(request(chunked % (len(_BODY), _BODY, b"a"), close, "Transfer-Encoding: chunked")),
    )
    yield Case(
        "HTTP: a trailer of 16 MB",
        "200|400|431|closed|ConnectionResetError|BrokenPipeError",
        lambda t: t.say(request(chunked % (len(_BODY), _BODY, b"a" * 16 * MIB), close, "Transfer-Encoding: chunked")),
    )
    yield Case(
        "HTTP: 2 million chunks of a byte",
        "200|400|408|ConnectionResetError|BrokenPipeError",
        lambda t: t.say(
            request(b"1\r\n \r\n" * 2 * MIB + chunked % (len(_BODY), _BODY, b"a"), close, "Transfer-Encoding: chunked")
        ),
    )
    yield Case(
        "HTTP: two lengths, and a length beside chunks",
        "400",
        lambda t: ", ".join(
            (
                t.say(request(_BODY, close, "Content-Length: 3")),
                t.say(
                    request(b"0\r\n\r\n", close, "Transfer-Encoding: chunked", "Content-Length: 3").replace(
                        b"\r\n\r\n", b"\r\nContent-Length: 5\r\n\r\n", 1
                    )
                ),
            )
        ),
    )
    yield Case(
        "HTTP: lengths that are none",
        "400",
        lambda t: ", ".join(
            t.say(b"POST /v1/rerank HTTP/1.1\r\nHost: a\r\nContent-Length: %s\r\n\r\n" % n)
            for n in (b"-1", b"9" * 5000, b"1e3")
        ),
    )
    yield Case("HTTP: a length of 10**18", "413", lambda t: t.say(request(b"{", length=10**18)))
    yield Case(
        "HTTP: a header of 1 MB, and 100,000 headers",
        "400|431|closed|ConnectionResetError|BrokenPipeError",
        lambda t: ", ".join((t.say(request(_BODY, "X: " + "x" * MIB)), t.say(request(_BODY, *["X: y"] * 100_000)))),
    )
    yield Case(
        "HTTP: a path of 60 kB, escapes, dots",
        "200|400|404|405",
        lambda t: ", ".join(
            t.say(request(b"", close, method="GET", path=p))
            for p in (
                "/" + "a" * 60_000,
                "/" * 60_000,
                "/..%2f..%2fetc/passwd",
                "/static-offline-docs/../../etc/passwd",
                "/%ff%00",
                "/v1/models/" + "%2e" * 10_000,
                "/page/..%2f..%2fetc/passwd",
                "/page/page.css/../../x",
            )
        ),
    )
    yield Case(
        "HTTP: bytes that are no HTTP",
        "400|404|closed",
        lambda t: ", ".join(
            t.say(s)
            for s in (
                b"\x16\x03\x01\x02\x00\x01\x00",
                b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
                b"\0" * 100_000,
                b"\r\n" * 1000,
            )
        ),
    )
    yield Case(
        "HTTP: upgrade to a web socket and to HTTP/2",
        "200|400|404|426",
        lambda t: ", ".join(
            t.say(request(_BODY, "Connection: Upgrade, close", f"Upgrade: {u}")) for u in ("websocket", "h2c")
        ),
    )
    yield Case("HTTP: compressed", "415", lambda t: t.post("/v1/rerank", _BODY, {"Content-Encoding": "gzip"}))
    yield Case(
        "HTTP: deadlines that are none",
        "400",
        lambda t: ", ".join(
            t.post("/v1/rerank", _BODY, {"X-Request-Timeout-Ms": s})
            for s in ("nan", "inf", "-1", "0", "1e999", "x" * 5000)
        ),
    )
    yield Case(
        "HTTP: a deadline of 10**300", "200", lambda t: t.post("/v1/rerank", _BODY, {"X-Request-Timeout-Ms": "1e300"})
    )
    yield Case("HTTP: half-closed after the request", "200|closed", _half_closed)
    yield Case("HTTP: 1000 idle connections", "200|204", lambda t: _beside(t, 1000, b""))
    yield Case(
        "HTTP: 1000 connections that were served once",
        "200|204",
        lambda t: _beside(t, 1000, request(b"", method="GET", path="/health")),
    )
    yield Case(
        "HTTP: 300 bodies of which 1 byte is missing",
        "200|429|408|503",
        lambda t: _beside(t, 300, request(_LARGE[:MIB], length=MIB + 1)),
    )
    yield Case("HTTP: 40 readers of 15 MB who do not read", "200|429|503", lambda t: _beside(t, 40, request(_LARGE)))
    yield Case("HTTP: 5000 connections opened and closed", "200", _opened_and_closed)
    yield Case("HTTP: 300 requests whose callers hang up", "200|429", _hung_up)


def _half_closed(target: Target) -> str:
    with target.connect() as connection:
        connection.sendall(request())
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(20)
        return connection.recv(100)[9:12].decode() or "closed"


def _beside(target: Target, number: int, sent: bytes) -> str:
    """What honest callers get while as many connections are open."""
    with ExitStack() as held:
        for _ in range(number):
            connection = held.enter_context(target.connect())
            connection.settimeout(0.5)
            try:
                connection.sendall(sent)
            except OSError:
                continue
        return ", ".join([target.post("/v1/rerank", _BODY, seconds=30) for _ in range(3)])


def _opened_and_closed(target: Target) -> str:
    for _ in range(5000):
        target.connect().close()
    return target.post("/v1/rerank", _BODY)


def _hung_up(target: Target) -> str:
    for number in range(300):
        with target.connect() as connection:
            texts = [f"{number} {n} word" for n in range(200)]
            connection.sendall(request(json.dumps({"query": "a", "documents": texts}).encode()))
    return target.post("/v1/rerank", _BODY)
