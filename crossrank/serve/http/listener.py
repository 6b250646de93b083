"""Listener: uvicorn on the event loop that serves gRPC too, with limits on what a connection may take."""

import asyncio
import contextlib
import ipaddress
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any, cast

import h11
import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.h11_impl import H11Protocol

from crossrank.errors import UsageError
from crossrank.serve.access.tls import Certificates
from crossrank.serve.settings import address_of

# Connections at once, above which the one that has been idle for longest is closed; and what uvicorn answers with 503.
_CONNECTIONS, _BUSY = 1000, 1500
# Connections that wait to be accepted; as many are accepted without a look at anything else.
_BACKLOG = 256
# Seconds that an idle connection stays open.
_KEEP_ALIVE = 60
# Seconds for the head of a request.
_HEAD = 10.0
# Chunks of a body with fewer bytes than these; each takes as long to read as a large one.
_SMALL_CHUNKS, _SMALL = 4096, 64
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
            http=cast("type[asyncio.Protocol]", partial(_Protocol, {})),
            ws="none",
            lifespan="off",
            loop="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            limit_concurrency=_BUSY,
            backlog=_BACKLOG,
            timeout_keep_alive=_KEEP_ALIVE,
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


class _Connection(h11.Connection):
    """Refuses bodies in chunks of a few bytes: to read megabytes of them takes minutes."""

    _small = 0

    def next_event(self) -> Any:
        event = super().next_event()
        if isinstance(event, h11.Request):
            self._small = 0
        elif isinstance(event, h11.Data) and len(event.data) < _SMALL:
            self._small += 1
            if self._small > _SMALL_CHUNKS:
                raise h11.RemoteProtocolError("too many small chunks")
        return event


class _Protocol(H11Protocol):
    """Closes connections whose next request does not begin, or does not get through its head, in time."""

    _timer: asyncio.TimerHandle | None = None

    def __init__(self, idle: "dict[_Protocol, None]", **given: Any) -> None:
        """Takes those of all connections that are idle, the one that is so for longest first."""
        super().__init__(**given)
        self.conn = _Connection(h11.SERVER, _HEAD_BYTES)
        self._idle = idle

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > _CONNECTIONS and self._idle:
            oldest = next(iter(self._idle))
            del self._idle[oldest]
            oldest.transport.abort()
        self._watch()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self.transport.is_closing():
            self._idle[self] = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._idle.pop(self, None)
        self._unwatch()
        super().connection_lost(exc)

    def _watch(self) -> None:
        """Between requests the timer runs on; a request that has its head stops it."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._idle.pop(self, None)
            self._unwatch()
        elif self._timer is None:
            self._idle.setdefault(self)
            self._timer = self.loop.call_later(_HEAD, self.transport.close)

    def _unwatch(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _bind(host: str, port: int, purpose: str) -> socket.socket:
    try:
        family, address = _address(host, port)
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
    except OSError as error:
        raise UsageError(f"cannot listen on {address_of(host, port)} for {purpose}: {error.strerror}") from None
    return listener


def _address(host: str, port: int) -> tuple[int, tuple[Any, ...]]:
    """The family and the address of a host; only a name is looked up."""
    try:
        return (socket.AF_INET6 if ipaddress.ip_address(host).version == 6 else socket.AF_INET), (host, port)
    except ValueError:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return family, address
