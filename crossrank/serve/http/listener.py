"""Listener: uvicorn on the event loop that serves gRPC too, with limits on what a connection may take."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from crossrank.errors import UsageError
from crossrank.serve.access.tls import Certificates
from crossrank.serve.settings import address_of

# Connections at once: above, the accept queue of the system waits.
_CONNECTIONS = 1000
# Seconds that an idle connection stays open.
_KEEP_ALIVE = 60
# Seconds for the head of a request.
_HEAD = 10.0
# Bytes of the head of a request.
_HEAD_BYTES = 64 * 1024


class HttpListener:
    """Serves an ASGI application until it is stopped.

    Args:
        app: the application.
        host: address to listen on.
        port: 0 takes a free one.
        purpose: what is served, for the error.
        certificates: None to speak no TLS.

    Raises:
        UsageError: the address is in use or not to be had.
    """

    def __init__(
        self, app: ASGIApp, host: str, port: int, purpose: str = "HTTP", certificates: Certificates | None = None
    ) -> None:
        self._socket = _bind(host, port, purpose)
        self.port: int = self._socket.getsockname()[1]
        config = uvicorn.Config(
            app,
            http=_Protocol,
            ws="none",
            lifespan="off",
            loop="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_CONNECTIONS,
            timeout_keep_alive=_KEEP_ALIVE,
            h11_max_incomplete_event_size=_HEAD_BYTES,
            ssl_context_factory=None if certificates is None else lambda *_: certificates.http_context(),
        )
        self._server = _Server(config)
        self._serving: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Answers from now on."""
        self._serving = asyncio.create_task(self._server.serve([self._socket]))

    async def stop(self, seconds: float) -> None:
        """Takes no further connection, and ends when what is in flight is answered or the time is over."""
        if self._serving is None:
            self._socket.close()
            return
        self._server.config.timeout_graceful_shutdown = max(1, round(seconds))
        self._server.should_exit = True
        await self._serving


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leaves the signals to the server of which this is a part."""
        yield


class _Protocol(H11Protocol):
    """Closes connections whose next request does not begin, or does not get through its head, in time."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Between requests the timer runs on; a request that has its head stops it."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._unwatch()
        elif self._timer is None:
            self._timer = self.loop.call_later(_HEAD, self.transport.close)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _bind(host: str, port: int, purpose: str) -> socket.socket:
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise UsageError(f"cannot listen on {address_of(host, port)} for {purpose}: {error.strerror}") from None
    return listener
