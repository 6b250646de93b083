"""Traces: OpenTelemetry spans of calls and of their stages, sent to a collector where the environment asks for it."""

import logging
import os
import threading
import time
from collections.abc import Iterable
from contextvars import ContextVar
from importlib.metadata import version
from typing import TYPE_CHECKING, TypeAlias

import structlog

from crossrank.inference.scores import Scores

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.trace import Span, Tracer

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
# Statuses that are the server's fault, as OpenTelemetry's conventions for gRPC have it.
_FAULTS = {"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"}
# Characters: what W3C asks to pass on; spans that wait would hold more in memory.
_MOST_STATE = 512
# Seconds between two log lines about spans that are not delivered.
_QUIET = 60.0
# Seconds that the last spans get when the server ends.
_LAST = 2.0

_log = structlog.get_logger()

Headers: TypeAlias = Iterable[tuple[str, str | bytes]]


class CallTrace:
    """The server span of one call.

    Args:
        tracer: makes the spans of its stages.
        span: has begun.
    """

    def __init__(self, tracer: "Tracer", span: "Span") -> None:
        self._tracer, self._span = tracer, span
        self._started = time.time_ns()

    def scored(self, admitted: int, model: str, scores: Scores) -> None:
        """Adds the spans of the stages.

        Args:
            admitted: when the engine got the request, in nanoseconds since 1970; what came before is `admit`.
            model: name@version.
            scores: with the seconds of the other stages, which followed one another.
        """
        if not self._span.is_recording():
            return
        from opentelemetry.trace import set_span_in_context

        self._span.set_attributes(
            {"crossrank.model": model, "crossrank.tokens": scores.tokens, "crossrank.cache_hits": scores.cache_hits}
        )
        parent = set_span_in_context(self._span)
        self._tracer.start_span("admit", parent, start_time=self._started).end(admitted)
        started = admitted
        for stage, seconds in (("tokenize", scores.tokenize), ("queue", scores.queue), ("compute", scores.compute)):
            ended = started + int(seconds * 1e9)
            self._tracer.start_span(stage, parent, start_time=started).end(ended)
            started = ended

    def end(self, status: str, request_id: str, pairs: int) -> str:
        """Ends the span with the call's status, a name of gRPC's, and returns its trace id in hexadecimal."""
        from opentelemetry.trace import StatusCode

        self._span.set_attributes(
            {"crossrank.status": status, "crossrank.request_id": request_id, "crossrank.pairs": pairs}
        )
        if status in _FAULTS:
            self._span.set_status(StatusCode.ERROR)
        self._span.end()
        return f"{self._span.get_span_context().trace_id:032x}"


# Of the call that runs; None where nothing is traced.
TRACE: ContextVar[CallTrace | None] = ContextVar("TRACE", default=None)


class Traces:
    """Makes the spans of a server and sends them in a thread; spans that it cannot send are dropped.

    Args:
        provider: of the spans.
        exporter: sends them.
    """

    def __init__(self, provider: "TracerProvider", exporter: "SpanExporter") -> None:
        self._provider, self._exporter = provider, exporter
        self._tracer = provider.get_tracer("crossrank", version("crossrank"))

    def begin(self, method: str, headers: Headers, route: str) -> CallTrace:
        """Begins the span of the call that runs, as a child of the caller's span if the headers name one.

        Args:
            method: name of the RPC.
            headers: of HTTP, or the metadata of gRPC.
            route: path of the HTTP route; empty for gRPC.
        """
        from opentelemetry.context import Context
        from opentelemetry.trace import SpanKind
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        carrier = {
            name: str(value)
            for name, value in headers
            if name == "traceparent" or (name == "tracestate" and len(value) <= _MOST_STATE)
        }
        if route:
            attributes = {"http.request.method": "POST", "http.route": route}
        else:
            attributes = {"rpc.system.name": "grpc", "rpc.method": method}
        parent = TraceContextTextMapPropagator().extract(carrier, Context())
        name = f"POST {route}" if route else method
        trace = CallTrace(
            self._tracer, self._tracer.start_span(name, parent, kind=SpanKind.SERVER, attributes=attributes)
        )
        TRACE.set(trace)
        return trace

    def close(self) -> None:
        """Sends what waits, within two seconds, and ends."""
        sending = threading.Thread(target=self._provider.shutdown, name="crossrank-traces", daemon=True)
        sending.start()
        sending.join(_LAST)
        if sending.is_alive():
            self._exporter.shutdown()


def open_traces() -> Traces | None:
    """Traces where OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_TRACES_EXPORTER=otlp asks for them, else None."""
    told = os.environ.get
    exporter_name = told("OTEL_TRACES_EXPORTER") or ("otlp" if any(map(told, _ENDPOINTS)) else "none")
    if exporter_name == "none" or told("OTEL_SDK_DISABLED", "").lower() == "true":
        return None
    protocol = next(filter(None, map(told, _PROTOCOLS)), "grpc")
    if exporter_name != "otlp" or protocol != "grpc":
        _log.warning(
            "no traces", reason="OTEL_TRACES_EXPORTER, OTEL_EXPORTER_OTLP_PROTOCOL: only otlp over grpc is known"
        )
        return None
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import OTELResourceDetector, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError:
        _log.warning("no traces", reason="OpenTelemetry is not installed: pip install 'crossrank[otel]'")
        return None
    ours = Resource({"service.name": "crossrank", "service.version": version("crossrank")})
    logger = logging.getLogger("opentelemetry")
    logger.handlers, logger.propagate = [_Undelivered()], False
    try:
        exporter = OTLPSpanExporter()
        # The environment's own names beat ours.
        resource = Resource.create().merge(ours).merge(OTELResourceDetector().detect())
        provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(BatchSpanProcessor(exporter))
    except (ValueError, OSError) as error:
        _log.warning("no traces", reason="a variable OTEL_… is invalid", exc_info=error)
        return None
    return Traces(provider, exporter)


class _Undelivered(logging.Handler):
    """Logs what the SDK warns of, at most once a minute; of its messages only what is constant."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._next, self._unsaid = 0.0, 0

    def emit(self, record: logging.LogRecord) -> None:
        if (now := time.monotonic()) < self._next:
            self._unsaid += 1
            return
        _log.warning("traces", logger=record.name, message=str(record.msg), unsaid=self._unsaid)
        self._next, self._unsaid = now + _QUIET, 0
