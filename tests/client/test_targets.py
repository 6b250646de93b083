"""Where clients find servers, how they share calls among them, and what they send along."""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import HealthServicer

from crossrank import AsyncRankClient, RankClient
from crossrank.errors import Unavailable, UsageError
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc

SERVICE = ranker_pb2.DESCRIPTOR.services_by_name["RankService"].full_name

# One call to a target, by a client of its own.
Ask = Callable[..., None]


class Counting(ranker_pb2_grpc.RankServiceServicer):
    """Counts the calls and keeps the metadata of the last one."""

    def __init__(self) -> None:
        self.calls = 0
        self.metadata: dict[str, Any] = {}
        self.health = HealthServicer()
        self.set_serving(True)

    def set_serving(self, serving: bool) -> None:
        status = health_pb2.HealthCheckResponse
        self.health.set(SERVICE, status.SERVING if serving else status.NOT_SERVING)

    def Rank(self, request: ranker_pb2.RankRequest, context: grpc.ServicerContext) -> ranker_pb2.RankResponse:  # noqa: N802
        self.calls += 1
        self.metadata = dict(context.invocation_metadata())
        return ranker_pb2.RankResponse(results=[ranker_pb2.RankResult(index=0, score=1.0)])


@contextmanager
def serving(
    address: str = "127.0.0.1:0",
    credentials: grpc.ServerCredentials | None = None,
    guard: grpc.ServerInterceptor | None = None,
) -> Iterator[tuple[Counting, int]]:
    """A server with a health service; gives its port."""
    # A health check holds a thread of its own.
    server = grpc.server(futures.ThreadPoolExecutor(8), interceptors=[guard] if guard else None)
    counting = Counting()  # type: ignore[abstract]
    ranker_pb2_grpc.add_RankServiceServicer_to_server(counting, server)
    health_pb2_grpc.add_HealthServicer_to_server(counting.health, server)
    port = server.add_secure_port(address, credentials) if credentials else server.add_insecure_port(address)
    server.start()
    try:
        yield counting, port
    finally:
        server.stop(None).wait()


@pytest.fixture(params=["RankClient", "AsyncRankClient"])
def ask(request: pytest.FixtureRequest) -> Ask:
    def blocking(target: str | list[str], **options: Any) -> None:
        with RankClient(target, timeout=20, **options) as client:
            client.rank("q", ["d"])

    async def asynchronous(target: str | list[str], **options: Any) -> None:
        async with AsyncRankClient(target, timeout=20, **options) as client:
            await client.rank("q", ["d"])

    if request.param == "RankClient":
        return blocking
    return lambda target, **options: asyncio.run(asynchronous(target, **options))


def ask_until(client: RankClient, done: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 60
    while not done():
        assert time.monotonic() < give_up
        client.rank("q", ["d"])


@pytest.mark.parametrize("form", ["127.0.0.1:{}", "localhost:{}", "dns:///localhost:{}", "ipv4:127.0.0.1:{}"])
def test_a_server_is_found_by_address_and_by_name(ask: Ask, form: str) -> None:
    with serving() as (server, port):
        ask(form.format(port))
        assert server.calls == 1


def test_a_server_is_found_by_its_ipv6_address(ask: Ask) -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    with serving("[::1]:0") as (server, port):
        ask(f"[::1]:{port}")
        ask([f"[::1]:{port}", f"[::1]:{port}"])
        assert server.calls == 2


def test_a_server_is_found_by_its_unix_socket(ask: Ask, tmp_path: Path) -> None:
    target = f"unix:{tmp_path}/socket"
    with serving(target) as (server, _):
        ask(target)
        assert server.calls == 1


def test_several_servers_take_turns_as_long_as_they_are_healthy() -> None:
    with (
        serving() as (one, first),
        serving() as (two, second),
        RankClient([f"127.0.0.1:{first}", f"127.0.0.1:{second}"]) as client,
    ):

        def two_is_left_out() -> bool:
            calls = two.calls
            for _ in range(10):
                client.rank("q", ["d"])
            return two.calls == calls

        ask_until(client, lambda: one.calls > 0 and two.calls > 0)
        before = one.calls, two.calls
        for _ in range(20):
            client.rank("q", ["d"])
        assert (one.calls - before[0], two.calls - before[1]) == (10, 10)
        two.set_serving(False)
        ask_until(client, two_is_left_out)
        two.set_serving(True)
        ask_until(client, lambda: not two_is_left_out())


def test_a_server_that_stops_is_left_out() -> None:
    with serving() as (one, first), ExitStack() as stack:
        two, second = stack.enter_context(serving())
        with RankClient([f"127.0.0.1:{first}", f"127.0.0.1:{second}"]) as client:
            ask_until(client, lambda: one.calls > 0 and two.calls > 0)
            stack.close()
            asked = one.calls
            for _ in range(5):
                client.rank("q", ["d"])
        assert one.calls - asked == 5


def test_no_proxy_of_the_environment_leads_to_this_machine(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("no_grpc_proxy", raising=False)
        with serving() as (server, port):
            for target in (f"127.0.0.1:{port}", f"dns:///localhost:{port}", [f"127.0.0.1:{port}"] * 2):
                ask(target)
            assert server.calls == 3


def test_an_error_names_the_variable_that_leads_through_a_proxy(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("grpc_proxy", "https_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    with pytest.raises(Unavailable, match="http_proxy"):
        ask("crossrank.invalid:50051")
    with pytest.raises(Unavailable) as refused:
        ask(f"127.0.0.1:{port}")
    assert "http_proxy" not in str(refused.value)


def test_a_client_may_wait_for_a_server_that_is_not_there_yet(ask: Ask, tmp_path: Path) -> None:
    target = f"unix:{tmp_path}/socket"
    with pytest.raises(Unavailable):
        ask(target)
    with ThreadPoolExecutor(1) as threads:
        waiting = threads.submit(ask, target, wait_for_ready=True)
        time.sleep(1)
        with serving(target) as (server, _):
            waiting.result(60)
            assert server.calls == 1


class Guard(grpc.ServerInterceptor):
    """Refuses every call, also of the health service, that does not say who calls."""

    def intercept_service(self, continuation: Any, details: grpc.HandlerCallDetails) -> Any:
        if "authorization" in dict(details.invocation_metadata):
            return continuation(details)
        if details.method.endswith("Watch"):
            return grpc.unary_stream_rpc_method_handler(self._refuse)
        return grpc.unary_unary_rpc_method_handler(self._refuse)

    def _refuse(self, request: bytes, context: grpc.ServicerContext) -> Any:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "who are you?")


def test_metadata_reach_the_server_also_where_nothing_goes_without(ask: Ask) -> None:
    with serving(guard=Guard()) as (server, port):
        ask(f"127.0.0.1:{port}", metadata={"authorization": "Bearer secret", "tenant": "a"})
        assert server.metadata["tenant"] == "a"
        with pytest.raises(Unavailable):
            ask(f"127.0.0.1:{port}")
        assert server.calls == 1


def test_credentials_reach_the_server(ask: Ask) -> None:
    token = grpc.access_token_call_credentials("secret")
    credentials = grpc.composite_channel_credentials(grpc.local_channel_credentials(), token)
    with serving(credentials=grpc.local_server_credentials(), guard=Guard()) as (server, port):
        ask(f"127.0.0.1:{port}", credentials=credentials)
        assert server.metadata["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    "target",
    [
        "",
        "host",
        "host:port",
        "::1:50051",
        "[::1:50051",
        "http://host:50051",
        "host:50051/path",
        [],
        ["a:1", "b:2"],
        ["127.0.0.1:1", "[::1]:1"],
        ["127.0.0.1:1", "127.0.0.1"],
    ],
)
def test_what_is_not_a_target_is_refused(target: str | list[str]) -> None:
    for client in (RankClient, AsyncRankClient):
        with pytest.raises(UsageError, match=r"^target: "):
            client(target)
