"""gRPC server: binds, loads, serves, drains."""

import asyncio
from functools import partial
from pathlib import Path
from typing import NamedTuple

import grpc
import structlog
from grpc.aio import server as grpc_server
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from crossrank.errors import UsageError
from crossrank.feedback.store import FeedbackStore
from crossrank.serve.access.gate import Access, KeyInterceptor
from crossrank.serve.access.limits import CallerLimits
from crossrank.serve.engine.ranking import Ranking
from crossrank.serve.engine.registry import ModelRegistry
from crossrank.serve.http.listener import HttpListener
from crossrank.serve.rpc.connections import UNIX, claim_socket, connection_options, open_connections
from crossrank.serve.rpc.feedback_service import FeedbackServicer
from crossrank.serve.rpc.health import HEALTH, Health, Reflection
from crossrank.serve.rpc.rank_service import RankServicer
from crossrank.serve.rpc.runner import RpcRunner
from crossrank.serve.rpc.tei_service import TeiServicer
from crossrank.serve.settings import ServerSettings, address_of
from crossrank.serve.telemetry.logs import log_loop_error
from crossrank.serve.telemetry.metrics import Metrics
from crossrank.serve.telemetry.tracing import open_traces
from crossrank.v1 import ranker_pb2

_RANK, _FEEDBACK = (
    ranker_pb2.DESCRIPTOR.services_by_name[name].full_name for name in ("RankService", "FeedbackService")
)

# Calls beside those that are read or in flight: streams, health and reflection.
_OTHER_RPCS = 300

_log = structlog.get_logger()


class Ports(NamedTuple):
    """Where a server listens; no HTTP where it is switched off."""

    grpc: int
    http: int | None


class RankServer:
    """A server on one address.

    Args:
        settings: see `ServerSettings`.

    Attributes:
        models: the rankers; empty until they are loaded.

    Raises:
        UsageError: the feedback store cannot be opened; or as `Access` raises it.
    """

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self.models = ModelRegistry()
        self._feedback = (
            FeedbackStore(settings.feedback, keep_texts=settings.feedback_texts, max_bytes=settings.feedback_max_bytes)
            if settings.feedback
            else None
        )
        self._metrics = Metrics(self.models, self._feedback)
        self._access = Access(settings)
        limits = CallerLimits(self._access.keys)
        self._traces = open_traces()
        rpc = RpcRunner(settings, self._metrics, limits, self._traces)
        ranking = Ranking(self.models, settings, self._metrics, self._feedback, limits)
        self._servicer = RankServicer(ranking, rpc)
        self._ranking, self._rpc = ranking, rpc
        self._http: HttpListener | None = None
        self._metrics_listener: HttpListener | None = None
        services = [_RANK]
        self._server = grpc_server(
            interceptors=[KeyInterceptor(self._access)] if self._access.keys.required else [],
            options=(
                # Two servers on one port would share its calls between them without a word.
                ("grpc.so_reuseport", 0),
                ("grpc.max_receive_message_length", settings.max_message_bytes),
                ("grpc.max_send_message_length", -1),
                *connection_options(settings),
            ),
            # Above what our own budgets refuse with a reason, health and reflection get through.
            maximum_concurrent_rpcs=2 * settings.max_requests_in_flight + _OTHER_RPCS,
        )
        handlers = [grpc.method_handlers_generic_handler(_RANK, self._servicer.handlers())]
        self._feedback_servicer: FeedbackServicer | None = None
        if self._feedback is not None:
            self._feedback_servicer = FeedbackServicer(self._feedback, settings, rpc)
            handlers.append(grpc.method_handlers_generic_handler(_FEEDBACK, self._feedback_servicer.handlers()))
            services.append(_FEEDBACK)
        for name, methods in TeiServicer(ranking, rpc).handlers().items():
            handlers.append(grpc.method_handlers_generic_handler(name, methods))
            services.append(name)
        self._server.add_generic_rpc_handlers(handlers)
        self._health = Health(services)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        self._reflection = Reflection((*services, HEALTH, reflection.SERVICE_NAME))
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(self._reflection, self._server)  # type: ignore[no-untyped-call]

    async def start(self) -> Ports:
        """Binds the ports, then loads the rankers; until they are loaded calls get UNAVAILABLE.

        Raises:
            UsageError: the address is in use or not to be had.
            InvalidRanker: a ranker cannot be served.
        """
        asyncio.get_running_loop().set_exception_handler(log_loop_error)
        address = address_of(self._settings.host, self._settings.port)
        if address.startswith(UNIX):
            claim_socket(Path(address.removeprefix(UNIX)))
        try:
            if (certificates := self._access.certificates) is None:
                port = self._server.add_insecure_port(address)
            else:
                port = self._server.add_secure_port(address, certificates.grpc_credentials())
        except RuntimeError:
            raise UsageError(f"cannot listen on {address}: the port is in use or the address is not ours") from None
        if self._settings.http_port != "none" and not address.startswith(UNIX):
            # FastAPI takes a while to import.
            from crossrank.serve.http.app import build_app

            app = build_app(
                self._ranking, self._rpc, self._access, self._feedback_servicer, lambda: self._health.serving
            )
            self._http = HttpListener(app, self._settings.host, self._settings.http_port, certificates=certificates)
        await self._server.start()
        if self._http is not None:
            self._http.start()
        if self._settings.metrics_port is not None:
            host = self._settings.metrics_host or self._settings.host
            self._metrics_listener = HttpListener(
                self._metrics.app(),
                "127.0.0.1" if host.startswith(UNIX) else host,
                self._settings.metrics_port,
                "metrics",
            )
            self._metrics_listener.start()
            _log.info("metrics", host=host, port=self._metrics_listener.port)
        self._metrics.show_connections(partial(open_connections, address_of(self._settings.host, port)))
        await asyncio.to_thread(self.models.load, self._settings)
        self._health.set(True)
        for model in self.models.describe():
            _log.info("model", name=model.name, version=model.version, variant=model.variant, provider=model.provider)
        _log.info("serving", host=self._settings.host, port=port)
        return Ports(port, None if self._http is None else self._http.port)

    async def stop(self, pause: float = 0.0) -> bool:
        """Tells that it ends, refuses new calls after a pause, and lets those in flight finish within the drain time.

        Args:
            pause: seconds in which whoever balances calls may read that this server is NOT_SERVING; calls are still
                answered.

        Returns:
            Whether everything ended; False where a run of a model did not.
        """
        _log.info("draining", pause=pause, seconds=self._settings.drain_timeout)
        self._health.set(False)
        await asyncio.sleep(pause)
        self._health.end()
        self._reflection.end()
        self._servicer.drain()
        async with asyncio.TaskGroup() as stopping:
            stopping.create_task(self._server.stop(self._settings.drain_timeout))
            if self._http is not None:
                stopping.create_task(self._http.stop(self._settings.drain_timeout))
        hung = await self.close()
        _log.info("stopped", hung=hung)
        return not hung

    async def close(self) -> list[str]:
        """Ends what was started, and closes files.

        Returns:
            The names of the rankers of which a run did not end.
        """
        await self._server.stop(None)
        for listener in (self._http, self._metrics_listener):
            if listener is not None:
                await listener.stop(0)
        if self._feedback is not None:
            await asyncio.to_thread(self._feedback.close)
        if self._traces is not None:
            await asyncio.to_thread(self._traces.close)
        await asyncio.to_thread(self.models.close)
        return [name for name, engine in self.models.all_engines() if engine.scorer.scheduler.workers]
