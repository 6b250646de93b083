"""Runs that hang, workers that are gone, an event loop that stands still: the server says so and ends."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from crossrank.serve.lifecycle import EXIT_HUNG
from crossrank.serve.local import local_server
from crossrank.v1 import ranker_pb2_grpc
from tests.serve.rpc.test_server import request
from tests.support.hanging_graphs import hanging_ranker

# Takes an hour.
LONG = "word " * 100


@pytest.fixture(scope="module")
def ranker(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hanging_ranker(tmp_path_factory.mktemp("hanging") / "ranker")


def _statuses(channel: grpc.Channel) -> Iterator[int]:
    stub: Any = health_pb2_grpc.HealthStub(channel)
    return (reply.status for reply in stub.Watch(health_pb2.HealthCheckRequest()))


def _wait_until_it_runs(stub: ranker_pb2_grpc.RankServiceStub) -> Any:
    # The first runs are slow, and what they predict is long.
    stub.Rank(request(texts=[f"{number}" for number in range(100)]), timeout=120)
    hanging: Any = stub.Rank.future(request(texts=[LONG]), timeout=600)
    # Answered by the other worker after the first has taken the long pair.
    assert len(stub.Rank(request(texts=["short"]), timeout=120).results) == 1
    assert not hanging.done()
    return hanging


def test_a_run_that_does_not_end_takes_the_server_out_of_service(ranker: Path) -> None:
    arguments = (str(ranker), "--workers", "2", "--run-limit", "1", "--drain-timeout", "1")
    with (
        local_server(*arguments, log=subprocess.PIPE) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        statuses = _statuses(channel)
        assert next(statuses) == health_pb2.HealthCheckResponse.SERVING
        hanging = _wait_until_it_runs(ranker_pb2_grpc.RankServiceStub(channel))
        assert next(statuses) == health_pb2.HealthCheckResponse.NOT_SERVING
        assert hanging.code() == grpc.StatusCode.DEADLINE_EXCEEDED
        assert server.process.wait(120) == EXIT_HUNG
        assert server.process.stderr is not None
        events = [json.loads(line)["event"] for line in server.process.stderr]
    assert events.index("run terminated") < events.index("hung") < events.index("draining")


def test_sigterm_ends_a_server_whose_run_hangs(ranker: Path) -> None:
    arguments = (str(ranker), "--workers", "2", "--drain-timeout", "1")
    with local_server(*arguments) as server, grpc.insecure_channel(server.target) as channel:
        hanging = _wait_until_it_runs(ranker_pb2_grpc.RankServiceStub(channel))
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(120) == EXIT_HUNG
        assert hanging.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)


def test_a_second_signal_ends_at_once(ranker: Path) -> None:
    arguments = (str(ranker), "--workers", "2", "--drain-timeout", "3000")
    with local_server(*arguments) as server, grpc.insecure_channel(server.target) as channel:
        statuses = _statuses(channel)
        next(statuses)
        _wait_until_it_runs(ranker_pb2_grpc.RankServiceStub(channel))
        server.process.send_signal(signal.SIGTERM)
        assert next(statuses) == health_pb2.HealthCheckResponse.NOT_SERVING
        server.process.send_signal(signal.SIGINT)
        assert server.process.wait(120) == -signal.SIGINT


# What a start hides nowhere else: the event loop, or all workers, stand still some time after it.
_BROKEN = """
import sys, threading, time
from crossrank.cli.app import main
from crossrank.inference.queue.scheduler import Scheduler
from crossrank.serve.lifecycle import Watchdog

class Broken(Watchdog):
    def start(self):
        {fault}
        super().start()

import crossrank.serve.lifecycle
crossrank.serve.lifecycle.Watchdog = Broken
flags = "--port 0 --http-port none --run-limit 1 --drain-timeout 1 --drain-delay 0"
sys.argv = ["crossrank", "serve", *flags.split()]
main()
"""


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("self._loop.call_later(1, time.sleep, 3600)", "the event loop does not answer"),
        ("Scheduler.workers = 0", "default: no worker is alive"),
        (
            "next(iter(self._models.engines()))[1]._tokenizing.submit(time.sleep, 3600)",
            "default: a step of the tokenizer does not end",
        ),
    ],
)
def test_what_else_stands_still_ends_the_server(fault: str, reason: str) -> None:
    outcome = subprocess.run(
        [sys.executable, "-P", "-c", _BROKEN.format(fault=fault)], capture_output=True, text=True, timeout=300
    )
    assert outcome.returncode == EXIT_HUNG, outcome.stderr
    lines = [json.loads(line) for line in outcome.stderr.splitlines()]
    assert [line["reason"] for line in lines if line["event"] == "hung"] == [reason]
