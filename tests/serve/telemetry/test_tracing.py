"""Traces of a running server, as a collector receives them."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from unittest import mock

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import TracerProvider

from crossrank.client import RankClient
from crossrank.errors import UnknownModel
from crossrank.serve.local import local_server
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc
from tests.serve.http.conftest import serve

TRACE_ID, CALLER_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = f"00-{TRACE_ID}-{CALLER_ID}-01"
REQUEST = ranker_pb2.RankRequest(
    query="CANARY query", documents=[ranker_pb2.Document(id="a", text="CANARY text")], request_id="r1"
)


class Collector(trace_service_pb2_grpc.TraceServiceServicer):
    """Keeps the spans that it is sent, once it is allowed to answer."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.service = ""
        self.may_answer = threading.Event()
        self.may_answer.set()

    def Export(  # noqa: N802
        self, request: trace_service_pb2.ExportTraceServiceRequest, context: object
    ) -> trace_service_pb2.ExportTraceServiceResponse:
        self.may_answer.wait(120)
        for resource in request.resource_spans:
            self.service = next(
                pair.value.string_value for pair in resource.resource.attributes if pair.key == "service.name"
            )
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def trees(self) -> list[tuple[Span, dict[str, Span]]]:
        """The server's spans with their children, by name."""
        roots = [span for span in self.spans if span.kind == Span.SPAN_KIND_SERVER]
        return [
            (root, {span.name: span for span in self.spans if span.parent_span_id == root.span_id}) for root in roots
        ]


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    collector = Collector()
    server = grpc.server(ThreadPoolExecutor(4))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(collector, server)  # type: ignore[no-untyped-call]
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}")
    server.start()
    yield collector
    collector.may_answer.set()
    server.stop(0).wait(120)


def attributes(span: Span) -> dict[str, Any]:
    return {pair.key: getattr(pair.value, str(pair.value.WhichOneof("value"))) for pair in span.attributes}


@contextmanager
def traced(*arguments: str) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """A server, and the lines of its log, which are there when the block has ended."""
    lines: list[dict[str, Any]] = []
    with local_server(*arguments, log=subprocess.PIPE) as (target, process):
        yield target, lines
        process.terminate()
        assert process.stderr is not None
        log = process.stderr.read()
        assert process.wait(120) == 0
    assert "CANARY" not in log
    lines.extend(map(json.loads, log.splitlines()))


def test_spans_of_a_call_continue_the_callers_trace(collector: Collector) -> None:
    with traced() as (target, lines), grpc.insecure_channel(target) as channel:
        stub = ranker_pb2_grpc.RankServiceStub(channel)
        metadata = (("traceparent", PARENT), ("authorization", "Bearer CANARY"))
        reply = stub.Rank(REQUEST, timeout=120, metadata=metadata)
        streamed = ranker_pb2.RankStreamRequest(request=REQUEST)
        assert next(stub.RankStream(iter([streamed]), timeout=120, metadata=metadata)).response.results
    assert collector.service == "crossrank"
    assert "CANARY" not in str(collector.spans)
    (root, stages), (streaming, _) = collector.trees()
    assert (root.name, streaming.name) == ("Rank", "RankStream")
    assert all(span.trace_id.hex() == TRACE_ID for span in collector.spans)
    assert root.parent_span_id.hex() == streaming.parent_span_id.hex() == CALLER_ID
    assert list(stages) == ["admit", "tokenize", "queue", "compute"]
    ends = [root.start_time_unix_nano]
    for span in stages.values():
        assert ends[-1] <= span.start_time_unix_nano <= span.end_time_unix_nano
        ends.append(span.end_time_unix_nano)
    assert attributes(root) == {
        "rpc.system.name": "grpc",
        "rpc.method": "Rank",
        "crossrank.status": "OK",
        "crossrank.request_id": "r1",
        "crossrank.pairs": 1,
        "crossrank.model": f"{reply.model}@{reply.version}",
        "crossrank.tokens": reply.usage.tokens,
        "crossrank.cache_hits": 0,
    }
    assert [line["trace_id"] for line in lines if line["event"] == "call"] == [TRACE_ID, TRACE_ID]


def test_http_continues_the_callers_trace(collector: Collector) -> None:
    served = serve()
    root = next(served).root
    body = {"query": "CANARY query", "documents": ["CANARY text"]}
    # One that is no traceparent begins a trace of its own.
    for parent in (PARENT, "00-nonsense", PARENT + "x" * 4000):
        headers = {"traceparent": parent, "tracestate": "a=" + "b" * 4000, "authorization": "Bearer CANARY"}
        assert httpx.post(f"{root}/v1/rerank", json=body, headers=headers, timeout=120, trust_env=False).is_success
    served.close()  # type: ignore[attr-defined]
    first, *others = [span for span, _ in collector.trees()]
    assert first.trace_id.hex() == TRACE_ID and first.parent_span_id.hex() == CALLER_ID and not first.trace_state
    assert (first.name, attributes(first)["http.route"]) == ("POST /v1/rerank", "/v1/rerank")
    assert len(others) == 2
    assert all(span.trace_id.hex() != TRACE_ID and not span.parent_span_id for span in others)
    assert "CANARY" not in str(collector.spans)


def test_a_refused_call_has_its_status_and_no_stages(collector: Collector) -> None:
    with traced() as (target, _), RankClient(target, model="CANARY") as client, pytest.raises(UnknownModel):
        client.rank("CANARY query", ["CANARY text"])
    ((root, stages),) = collector.trees()
    assert (attributes(root)["crossrank.status"], stages) == ("NOT_FOUND", {})
    assert root.status.code == Status.STATUS_CODE_UNSET
    assert "CANARY" not in str(collector.spans)


def test_the_client_passes_its_active_span_on(collector: Collector) -> None:
    tracer = TracerProvider(shutdown_on_exit=False).get_tracer("test")
    with traced() as (target, _), RankClient(target, metadata={"other": "1"}) as client:
        client.rank("query", ["text"])
        with tracer.start_as_current_span("asking") as span:
            client.rank("query", ["text"])
    (alone, _), (asked, _) = collector.trees()
    assert not alone.parent_span_id
    assert asked.parent_span_id.hex() == f"{span.get_span_context().span_id:016x}"


def test_a_span_that_is_not_sampled_is_not_sent(collector: Collector) -> None:
    with traced() as (target, lines), grpc.insecure_channel(target) as channel:
        unsampled = (("traceparent", PARENT[:-2] + "00"),)
        ranker_pb2_grpc.RankServiceStub(channel).Rank(REQUEST, timeout=120, metadata=unsampled)
    assert collector.spans == []
    assert [line["trace_id"] for line in lines if line["event"] == "call"] == [TRACE_ID]


@pytest.mark.parametrize("fault", ["down", "slow"])
def test_a_collector_that_fails_costs_no_call_and_one_line(
    fault: str, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    collector.may_answer.clear()
    # Nearly nothing may wait, and it is sent at once: else nothing would fail while the calls last.
    for name, value in (("MAX_QUEUE_SIZE", "5"), ("MAX_EXPORT_BATCH_SIZE", "5"), ("SCHEDULE_DELAY", "1")):
        monkeypatch.setenv(f"OTEL_BSP_{name}", value)
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        if fault == "down":
            monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with traced() as (target, lines), RankClient(target) as client:
            for number in range(100):
                assert client.rank("CANARY query", [f"CANARY {number}"])
    assert [line["event"] for line in lines].count("traces") == 1
    assert [line["status"] for line in lines if line["event"] == "call"] == ["OK"] * 100
    assert {line["event"] for line in lines if line["level"] != "info"} == {"traces"}


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"OTEL_TRACES_EXPORTER": "zipkin"}, "OTEL_TRACES_EXPORTER"),
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, "OTEL_EXPORTER_OTLP_PROTOCOL"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, "OTEL_"),
    ],
)
def test_what_is_asked_for_and_is_not_to_be_had_is_told(
    variables: dict[str, str], reason: str, collector: Collector
) -> None:
    with mock.patch.dict(os.environ, variables), traced() as (target, lines), RankClient(target) as client:
        assert client.rank("query", ["text"])
    (told,) = [line for line in lines if line["event"] == "no traces"]
    assert reason in told["reason"]
    assert collector.spans == []


# Starts a server as far as traces go, and says which modules of OpenTelemetry's SDK it has imported.
_MODULES = """
import sys
{before}
from crossrank.serve.telemetry.logs import configure_logs
from crossrank.serve.server import RankServer
from crossrank.serve.settings import ServerSettings
import asyncio
async def make():
    RankServer(ServerSettings(http_port="none"))
configure_logs()
asyncio.run(make())
imported = (name for name, module in sys.modules.items() if module)
print([name for name in imported if name.startswith(("opentelemetry.sdk", "opentelemetry.exporter"))])
"""


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1", "OTEL_SDK_DISABLED": "true"},
    ],
)
def test_nothing_is_imported_unasked(variables: dict[str, str]) -> None:
    done = _run(_MODULES.format(before=""), variables)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_without_the_extra_a_line_says_what_to_install() -> None:
    done = _run(
        _MODULES.format(before="sys.modules['opentelemetry.exporter'] = None"), {"OTEL_TRACES_EXPORTER": "otlp"}
    )
    (line,) = map(json.loads, done.stderr.splitlines())
    assert "crossrank[otel]" in line["reason"]


def _run(code: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("OTEL_")}
    return subprocess.run(
        [sys.executable, "-c", code], env=environment | variables, capture_output=True, text=True, check=True
    )
