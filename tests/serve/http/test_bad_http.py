"""What takes connections, memory or time is refused or cut off, and the server answers meanwhile."""

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

import httpx
import psutil
import pytest

from tests.serve.hostile import memory
from tests.serve.http.conftest import DOCUMENTS, QUERY, Served, serve

BODY = {"query": QUERY, "documents": DOCUMENTS}
HEAD = b"POST /rerank HTTP/1.1\r\nHost: x\r\n"


@pytest.fixture(scope="module")
def own() -> Iterator[Served]:
    """A server whose memory is measured."""
    yield from serve()


def connect(served: Served) -> socket.socket:
    host, _, port = served.root.removeprefix("http://").rpartition(":")
    return socket.create_connection((host, int(port)), timeout=60)


def said(served: Served, sent: bytes) -> bytes:
    """What comes back until the server closes or has answered."""
    with connect(served) as connection:
        connection.sendall(sent)
        received = b""
        while piece := connection.recv(65536):
            received += piece
            if b"\r\n\r\n" in received:
                break
        return received


def answers(served: Served) -> bool:
    return httpx.post(f"{served.root}/rerank", json=BODY, timeout=120, trust_env=False).status_code == 200


def test_a_request_that_never_gets_through_its_head_is_cut_off(own: Served) -> None:
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(own)) for _ in range(50)]
        for connection in slow[:25]:
            connection.sendall(b"POST /rerank HT")
        assert answers(own)
        assert all(connection.recv(1) == b"" for connection in slow)


def test_a_body_that_never_arrives_is_refused(own: Served) -> None:
    with connect(own) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\n{")
        assert answers(own)
        assert connection.recv(65536).startswith(b"HTTP/1.1 408")


def test_many_bodies_that_never_arrive_take_little_memory(own: Served) -> None:
    assert answers(own)
    with ExitStack() as stack:
        before = psutil.Process(own.process.pid).memory_info().rss
        for _ in range(100):
            connection = stack.enter_context(connect(own))
            connection.settimeout(1)
            with suppress(OSError):
                connection.sendall(HEAD + b"Content-Length: 4000000\r\n\r\n" + b" " * 3_900_000)
        assert answers(own)
        assert psutil.Process(own.process.pid).memory_info().rss < before + 100 * 1024 * 1024


def test_idle_connections_leave_room_for_others(own: Served) -> None:
    with ExitStack() as stack:
        for _ in range(1600):
            connection = stack.enter_context(connect(own))
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n")
        assert answers(own)


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (HEAD + b"X: " + b"a" * 200_000 + b"\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: 99999999999999\r\n\r\n", b"413"),
        (HEAD + b"Content-Length: -1\r\n\r\n", b"400"),
        (HEAD + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x", b"400"),
        (HEAD + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n", b"400"),
        (HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n", b"400"),
        (HEAD + b"Transfer-Encoding : chunked\r\n\r\n", b"400"),
        (HEAD + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}", b"415"),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\n \r\n" * 5000, b"400"),
        (b"POST /rerank HTTP/1.1\r\n Host: x\r\n\r\n", b"400"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 600 + b"\r\n\r\n", b"400"),
    ],
)
def test_malformed_and_ambiguous_requests_are_refused(own: Served, sent: bytes, status: bytes) -> None:
    assert said(own, sent).split(b" ")[1] == status
    assert answers(own)


def test_bodies_without_end_or_with_much_structure_take_little_memory(own: Served) -> None:
    resident = psutil.Process(own.process.pid).memory_info
    assert answers(own)
    before = resident().rss
    piece = b"1000\r\n" + b"a" * 4096 + b"\r\n"
    with connect(own) as connection:
        connection.sendall(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + b'4\r\n{"a"\r\n3\r\n:"b\r\n')
        with pytest.raises(OSError):
            for _ in range(100_000):
                connection.sendall(piece)
    structure = b'{"query": "q", "documents": [' + b"[]," * 2_000_000 + b"[]]}"
    answer = httpx.post(f"{own.root}/rerank", content=structure, timeout=120, trust_env=False)
    assert answer.status_code == 400
    assert answers(own)
    assert resident().rss < before + 64 * 1024 * 1024


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/score", {"text_1": "q " * 1_000_000, "text_2": ["a"] * 1000}),
        ("/v1/rerank", {"query": "q", "documents": [{"text": "word " * 100}] * 1000, "rank_fields": ["text"] * 10_000}),
        ("/v1/reranking", {"query": "q", "input": [{"text": "word " * 100}] * 1000, "rank_fields": ["text"] * 10_000}),
    ],
)
def test_bodies_that_repeat_a_text_take_little_memory(own: Served, path: str, body: dict[str, object]) -> None:
    assert answers(own)
    Path(f"/proc/{own.process.pid}/clear_refs").write_text("5")
    before = memory(own.process.pid)
    assert httpx.post(f"{own.root}{path}", json=body, timeout=120, trust_env=False).status_code == 400
    assert memory(own.process.pid, "VmHWM") - before < 100


@pytest.mark.parametrize("number", ["9" * 4000, "9" * 5000, "1e308", "1e999"])
def test_numbers_of_any_size_in_a_document_are_no_fault_of_the_server(own: Served, number: str) -> None:
    for field in ("id", "other"):
        body = f'{{"query": "q", "documents": [{{"text": "a", "{field}": {number}}}], "return_documents": true}}'
        assert httpx.post(f"{own.root}/rerank", content=body, trust_env=False, timeout=120).status_code in (200, 400)


@pytest.mark.parametrize("number", [2**32, 2**70, 10**400])
def test_integers_of_any_size_are_no_fault_of_the_server(own: Served, number: int) -> None:
    for path, fields, status in (
        ("/v1/rerank", {"top_n": number}, 200),
        ("/v1/rerank", {"truncate_prompt_tokens": number}, 400),
        ("/v1/rerank", {"crossrank": {"max_length": number}}, 400),
        ("/v1/rerank", {"top_k": number}, 200),
    ):
        body = {**BODY, **fields}
        assert httpx.post(f"{own.root}{path}", json=body, trust_env=False, timeout=120).status_code == status


def test_overload_is_429_and_says_when_to_come_back() -> None:
    long = {"query": QUERY, "documents": [f"word{n} " * 400 for n in range(200)]}
    with ExitStack() as stack:
        for served in serve("--max-requests-in-flight", "1"):
            pool = stack.enter_context(ThreadPoolExecutor(4))
            posted = [
                pool.submit(httpx.post, f"{served.root}{path}", json=long, timeout=120, trust_env=False)
                for path in ("/rerank", "/v1/rerank", "/v2/rerank", "/v2/rerank")
            ]
            answers = [future.result() for future in posted]
            refused = [answer for answer in answers if answer.status_code == 429]
            assert len(refused) >= 2
            assert all(1 <= int(answer.headers["retry-after"]) <= 5 and answer.json()["message"] for answer in refused)


def test_callers_that_go_away_free_their_work(own: Served) -> None:
    body = {"query": QUERY, "documents": [f"word{n} " * 400 for n in range(400)]}
    for _ in range(20):
        # What is hopeless beside the others may be refused before that.
        with suppress(httpx.TimeoutException):
            assert httpx.post(f"{own.root}/rerank", json=body, timeout=0.05, trust_env=False).status_code == 429
    # Twenty of these take minutes; a short one waits for what runs already.
    began = time.monotonic()
    assert answers(own)
    assert time.monotonic() - began < 60
