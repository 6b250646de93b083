"""What a running server counts, read from its /metrics."""

import json
import re
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import grpc
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.observed_server import ObservedServer
from crossrank.serve.local import local_server
from crossrank.v1 import ranker_pb2_grpc
from tests.serve.rpc.test_server import request

Counts = dict[str, float]

# Each has a few values that no caller chooses.
LABELS = {
    "grpc",
    "kind",
    "le",
    "method",
    "model",
    "outcome",
    "python",
    "reason",
    "source",
    "stage",
    "status",
    "version",
}


class Served:
    """A server with its metrics."""

    def __init__(self, target: str, port: int, process: int) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"
        self.target, self.port, self.process = target, port, process
        self.server = ObservedServer(target, self._url, psutil.Process(process))
        self.stub = ranker_pb2_grpc.RankServiceStub(grpc.insecure_channel(target))

    def text(self) -> str:
        with urllib.request.urlopen(self._url, timeout=120) as reply:
            text: str = reply.read().decode()
            return text

    def read(self) -> Counts:
        return {
            " ".join([sample.name, *sorted(sample.labels.values())]): sample.value
            for family in text_string_to_metric_families(self.text())
            for sample in family.samples
        }


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with local_server("--metrics-port", "0", "--workers", "2", log=subprocess.PIPE) as (target, process):
        assert process.stderr is not None
        lines = (json.loads(line) for line in process.stderr)
        port = next(line["port"] for line in lines if line["event"] == "metrics")
        yield Served(target, port, process.pid)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=120)


def test_calls_pairs_and_tokens(served: Served) -> None:
    before = served.read()
    response = served.stub.Rank(request(query="tokens counted", texts=["one text", "another text"]), timeout=120)
    with pytest.raises(grpc.RpcError):
        served.stub.Rank(request(query=""), timeout=120)
    after = served.read()
    assert after["crossrank_pairs_total computed default"] - before["crossrank_pairs_total computed default"] == 2
    grown = after["crossrank_tokens_total default"] - before["crossrank_tokens_total default"]
    assert grown == response.usage.tokens
    assert after["crossrank_calls_total OK Rank"] >= 1
    assert after["crossrank_calls_total INVALID_ARGUMENT Rank"] == 1
    assert after["crossrank_queued_tokens default"] == 0


def test_equal_pairs_are_computed_once_and_score_the_same(served: Served) -> None:
    texts = ["a text", "a text", "another"]
    first = served.stub.Rank(request(query="cached", texts=texts), timeout=120)
    again = served.stub.Rank(request(query="cached", texts=texts), timeout=120)
    assert (first.usage.cache_hits, again.usage.cache_hits) == (1, 3)
    assert list(first.results) == list(again.results)


@pytest.mark.parametrize("way", ["cancel", "deadline"])
def test_dead_calls_cost_no_more_than_the_runs_in_flight(served: Served, way: str) -> None:
    before = served.server.pairs()
    # More than twice as many tokens as their bytes lead to expect.
    texts = [f"{way} {number} " + "." * 90 for number in range(600)]
    dying_request = request(query="dies", texts=texts)
    if way == "cancel":
        dying = served.stub.Rank.future(dying_request, timeout=120)
        served.server.pairs_since(before, lambda pairs: pairs["computed"] > 0)
    else:
        seconds = 0.1
        while served.stub.Rank.future(dying_request, timeout=seconds).code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
            seconds *= 1.2
    surviving = served.stub.Rank.future(request(query="lives", texts=texts[:50]), timeout=120)
    if way == "cancel":
        dying.cancel()
    assert len(surviving.result().results) == 50
    since = served.server.pairs_since(before, lambda pairs: pairs["computed"] + pairs["dropped"] >= 650)
    assert since["computed"] + since["dropped"] == 650
    assert since["dropped"] > 0
    assert since["wasted"] <= 2 * 2, "more than two workers' runs of two pairs each"


def test_names_units_and_labels_are_those_of_prometheus(served: Served) -> None:
    served.stub.Rank(request(query="named"), timeout=120)
    families = list(text_string_to_metric_families(served.text()))
    assert {family.name for family in families} >= {
        "crossrank_build_info",
        "crossrank_bytes_in_flight",
        "crossrank_calls",
        "crossrank_dropped_log_lines",
        "crossrank_open_connections",
        "crossrank_queue_seconds",
        "crossrank_refused",
        "crossrank_requests_in_flight",
        "crossrank_stage_seconds",
        "process_resident_memory_bytes",
    }
    for family in families:
        assert re.fullmatch(r"(crossrank|process)(_[a-z]+)+", family.name), family.name
        assert family.documentation.endswith("."), family.name
        assert family.type in ("counter", "gauge", "histogram"), family.name
        assert ("_total" in family.name) is False
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
        if family.type == "counter":
            assert all(sample.name in (f"{family.name}_total", f"{family.name}_created") for sample in family.samples)
        assert {label for sample in family.samples for label in sample.labels} <= LABELS, family.name


def test_stages_and_connections_are_shown(served: Served) -> None:
    before = served.read()
    served.stub.Rank(request(query="stages"), timeout=120)
    after = served.read()
    for stage in ("tokenize", "queue", "compute"):
        key = f"crossrank_stage_seconds_count {stage}"
        assert after[key] - before[key] == 1
    assert after["crossrank_open_connections"] >= 1
    assert after["crossrank_queue_seconds default"] == 0
    assert after["crossrank_requests_in_flight"] == 0
    assert after["process_resident_memory_bytes"] > 1e7


def test_what_is_refused_is_counted_by_its_reason(served: Served) -> None:
    before = served.read()
    with grpc.insecure_channel(served.target) as channel, pytest.raises(grpc.RpcError):
        call: Any = channel.unary_unary("/crossrank.v1.RankService/Rank")
        call(b"\x12\x02\xff\xfe", timeout=120)
    after = served.read()
    assert after["crossrank_refused_total message"] - before["crossrank_refused_total message"] == 1


def test_silent_connections_take_no_threads_and_are_closed(served: Served) -> None:
    process = psutil.Process(served.process)
    threads = process.num_threads()
    with ExitStack() as open_ones:
        silent = [
            open_ones.enter_context(socket.create_connection(("127.0.0.1", served.port), timeout=120))
            for _ in range(300)
        ]
        assert "crossrank_calls_total OK Rank" in served.read()
        assert process.num_threads() - threads < 10
        assert [one.recv(1) for one in silent] == [b""] * 300
