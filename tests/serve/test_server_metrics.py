"""What a running server counts, read from its /metrics."""

import json
import signal
import subprocess
import urllib.request
from collections.abc import Iterator

import grpc
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.observed_server import ObservedServer
from crossrank.serve.local import local_server
from crossrank.v1 import ranker_pb2_grpc
from tests.serve.test_server import request

Counts = dict[str, float]


class Served:
    """A server with its metrics."""

    def __init__(self, target: str, port: int, process: int) -> None:
        self._url = f"http://127.0.0.1:{port}/metrics"
        self.server = ObservedServer(target, self._url, psutil.Process(process))
        self.stub = ranker_pb2_grpc.RankServiceStub(grpc.insecure_channel(target))

    def read(self) -> Counts:
        with urllib.request.urlopen(self._url, timeout=120) as reply:
            families = text_string_to_metric_families(reply.read().decode())
            return {
                " ".join([sample.name, *sorted(sample.labels.values())]): sample.value
                for family in families
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
    texts = [f"{way} {number} " + "word " * 90 for number in range(600)]
    dying = served.stub.Rank.future(request(query="dies", texts=texts), timeout=120 if way == "cancel" else 0.5)
    served.server.pairs_since(before, lambda pairs: pairs["computed"] > 0)
    surviving = served.stub.Rank.future(request(query="lives", texts=texts[:50]), timeout=120)
    if way == "cancel":
        dying.cancel()
    else:
        assert dying.code() == grpc.StatusCode.DEADLINE_EXCEEDED
    assert len(surviving.result().results) == 50
    since = served.server.pairs_since(before, lambda pairs: pairs["computed"] + pairs["dropped"] >= 650)
    assert since["computed"] + since["dropped"] == 650
    assert since["dropped"] > 0
    assert since["wasted"] <= 2 * 2, "more than two workers' runs of two pairs each"
