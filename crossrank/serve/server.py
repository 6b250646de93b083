"""gRPC server: binds, loads, serves, drains."""

import asyncio
import signal
from collections.abc import Callable
from typing import NamedTuple

import grpc
import structlog
from grpc.aio import server as grpc_server
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from crossrank.errors import UsageError
from crossrank.feedback.store import FeedbackStore
from crossrank.serve.feedback_service import FeedbackServicer
from crossrank.serve.http.listener import HttpListener
from crossrank.serve.logs import log_loop_error
from crossrank.serve.metrics import Metrics
from crossrank.serve.rank_service import RankServicer
from crossrank.serve.ranking import Ranking
from crossrank.serve.registry import ModelRegistry
from crossrank.serve.rpc import RpcRunner
from crossrank.serve.settings import ServerSettings, address_of
from crossrank.serve.tei_service import TeiServicer
from crossrank.v1 import ranker_pb2

_RANK, _FEEDBACK = (
    ranker_pb2.DESCRIPTOR.services_by_name[name].full_name for name in ("RankService", "FeedbackService")
)

# Calls beside those that are read or in flight: streams, health and reflection.
_OTHER_RPCS = 300

_log = structlog.get_logger()
_SERVING = health_pb2.HealthCheckResponse.SERVING
_NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class Ports(NamedTuple):
    """Where a server listens; no HTTP where it is switched off."""

    grpc: int
    http: int | None


class RankServer:
    """A server on one address.

    Args:
        settings: see `ServerSettings`.

    Raises:
        UsageError: the feedback store cannot be opened.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._models = ModelRegistry()
        self._feedback = (
            FeedbackStore(settings.feedback, keep_texts=settings.feedback_texts) if settings.feedback else None
        )
        self._metrics = Metrics(self._models, self._feedback)
        rpc = RpcRunner(settings, self._metrics)
        ranking = Ranking(self._models, settings, self._feedback)
        self._servicer = RankServicer(ranking, rpc)
        self._ranking, self._rpc = ranking, rpc
        self._http: HttpListener | None = None
        self._is_serving = False
        self._services = [_RANK]
        self._health = health_aio.HealthServicer()
        self._server = grpc_server(
            options=(
                # Two servers on one port would share its calls between them without a word.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", -1),
            ),
            # Above what our own budgets refuse with a reason, health and reflection get through.
            maximum_concurrent_rpcs=2 * settings.max_requests_in_flight + _OTHER_RPCS,
        )
        handlers = [grpc.method_handlers_generic_handler(_RANK, self._servicer.handlers())]
        if self._feedback is not None:
            servicer = FeedbackServicer(self._feedback, settings, rpc)
            handlers.append(grpc.method_handlers_generic_handler(_FEEDBACK, servicer.handlers()))
            self._services.append(_FEEDBACK)
        for name, methods in TeiServicer(ranking, rpc).handlers().items():
            handlers.append(grpc.method_handlers_generic_handler(name, methods))
            self._services.append(name)
        self._server.add_generic_rpc_handlers(handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        health = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
        reflection.enable_server_reflection((*self._services, health, reflection.SERVICE_NAME), self._server)

    async def start(self) -> Ports:
        """Binds the ports, then loads the rankers; until they are loaded calls get UNAVAILABLE.

        Raises:
            UsageError: the address is in use or not to be had.
            InvalidRanker: a ranker cannot be served.
        """
        asyncio.get_running_loop().set_exception_handler(log_loop_error)
        address = address_of(self._settings.host, self._settings.port)
        try:
            port: int = self._server.add_insecure_port(address)
        except RuntimeError:
            raise UsageError(f"cannot listen on {address}: the port is in use or the address is not ours") from None
        if self._settings.http_port != "none":
            # FastAPI takes a while to import.
            from crossrank.serve.http.app import build_app

            app = build_app(self._ranking, self._rpc, lambda: self._is_serving)
            self._http = HttpListener(app, self._settings.host, self._settings.http_port)
        await self._set_health(_NOT_SERVING)
        await self._server.start()
        if self._http is not None:
            self._http.start()
        if self._settings.metrics_port is not None:
            metrics_port = self._metrics.serve(self._settings.host, self._settings.metrics_port)
            _log.info("metrics", host=self._settings.host, port=metrics_port)
        await asyncio.to_thread(self._models.load, self._settings)
        await self._set_health(_SERVING)
        for model in self._models.describe():
            _log.info("model", name=model.name, version=model.version, variant=model.variant, provider=model.provider)
        _log.info("serving", host=self._settings.host, port=port)
        return Ports(port, None if self._http is None else self._http.port)

    async def stop(self) -> None:
        """Refuses new calls, lets those in flight finish within the drain time, then ends."""
        _log.info("draining", seconds=self._settings.drain_timeout)
        await self._health.enter_graceful_shutdown()
        self._is_serving = False
        self._servicer.drain()
        async with asyncio.TaskGroup() as stopping:
            stopping.create_task(self._server.stop(self._settings.drain_timeout))
            if self._http is not None:
                stopping.create_task(self._http.stop(self._settings.drain_timeout))
        if self._feedback is not None:
            await asyncio.to_thread(self._feedback.close)
        await asyncio.to_thread(self._models.close)
        _log.info("stopped")

    async def _set_health(self, status: int) -> None:
        self._is_serving = status == _SERVING
        for name in ("", *self._services):
            await self._health.set(name, status)


async def serve(settings: ServerSettings, ready: Callable[[Ports], None]) -> None:
    """Serves until SIGTERM or SIGINT, then drains.

    Args:
        settings: see `ServerSettings`.
        ready: called with the ports once calls are answered.

    Raises:
        UsageError, InvalidRanker: as `RankServer.start` raises them.
    """
    server = RankServer(settings)
    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        ready(await server.start())
        await stopping.wait()
    finally:
        await server.stop()
