"""Load on servers: times that do not wait for answers, Ctrl-C, and targets that are no help."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crossrank.bench.load.generator import Session, due_times, run_load
from crossrank.bench.load.load_metrics import STOPPED, Load, summarize
from crossrank.bench.load.load_test import bench_load
from crossrank.bench.load.slo import LatencySlo
from crossrank.bench.load.targets import Answer
from crossrank.bench.load.workload import RerankRequest, passage_requests
from crossrank.bench.options import LoadOptions
from crossrank.bench.results import LoadTestResult
from crossrank.errors import CrossrankError, UsageError
from crossrank.export.pipeline import ExportReport
from crossrank.serve.local import local_server
from tests.support.reranking_server import Behaviour, reranking_server

REQUESTS = [RerankRequest("what", ["one", "two"]), RerankRequest("why", ["three", "four", "five"])]


@pytest.fixture(scope="module")
def tiny_server(tiny: ExportReport) -> Iterator[str]:
    with local_server(str(tiny.directory), "--score-cache", "0") as (target, _):
        yield target


def closed_loop(address: str, requests: list[RerankRequest], **settings: Any) -> Load:
    return run_load(address, lambda session: session.closed_loop(requests, **settings))


def open_loop(address: str, requests: list[RerankRequest], **settings: Any) -> Load:
    return run_load(address, lambda session: session.open_loop(requests, **settings))


def test_a_stall_shows_in_the_open_loop_and_hides_in_the_closed_one() -> None:
    # A tenth of the time nothing is answered, as with one second in every ten.
    with reranking_server(Behaviour(stall=0.3, period=3.0)) as address:
        waiting = closed_loop(address, REQUESTS, concurrency=1, seconds=3.0, deadline=10)
        due = open_loop(address, REQUESTS, rate=100, seconds=3.0, deadline=10, seed=0, arrivals="constant")
    shown, hidden = (summarize(load, {}) for load in (due, waiting))
    assert shown.statuses.keys() == hidden.statuses.keys() == {"OK"}
    assert shown.latency_ms["p95"] > 100
    assert hidden.latency_ms["p95"] < shown.latency_ms["p95"] / 2


def test_time_that_the_generator_itself_loses_counts_and_is_named() -> None:
    class Blocking:
        def serialize(self, request: RerankRequest) -> bytes:
            return request.query.encode()

        async def send(self, payload: bytes, deadline: float) -> Answer:
            time.sleep(0.02)
            return Answer("OK")

    async def run() -> Load:
        session = Session(Blocking(), asyncio.Event())
        return await session.open_loop(REQUESTS, rate=100, seconds=0.5, deadline=1, seed=0, arrivals="constant")

    load = asyncio.run(run())
    # Fifty requests of 20 ms, one every 10 ms: the last is sent half a second late.
    assert max(entry.late for entry in load.outcomes) > 0.3
    assert all(entry.latency >= entry.late + 0.019 for entry in load.outcomes)
    result = summarize(load, {})
    assert not result.generator.kept_up
    assert result.generator.late_p99_ms > 300


def test_no_two_requests_ask_the_same() -> None:
    behaviour = Behaviour()
    with reranking_server(behaviour) as address:
        run_load(address, lambda session: _twice(session))
    asked = [query for query in behaviour.queries if query != "probe"]
    assert len(asked) == len(set(asked)) >= 4
    assert {len(query) for query in asked} == {len("what #00000000"), len("why #00000000")}


async def _twice(session: Session) -> None:
    for _ in range(2):
        await session.closed_loop(REQUESTS, concurrency=2, seconds=0.05, deadline=5)


def test_a_target_that_dies_is_not_asked_for_ever() -> None:
    with reranking_server(Behaviour(status=503)) as address:
        load = closed_loop(address, REQUESTS, concurrency=2, seconds=60, deadline=1)
    assert load.cut_short == "100 requests in a row failed"
    assert load.seconds < 30


def test_requests_are_due_whatever_becomes_of_them(tiny_server: str) -> None:
    requests = passage_requests(2, 20, seed=5)
    load = open_loop(tiny_server, requests, rate=10, seconds=1.0, deadline=30.0, seed=0)
    assert {entry.status for entry in load.outcomes} == {"OK"}
    assert sorted(entry.due for entry in load.outcomes) == due_times(10, 1.0, 0, "poisson")
    assert all(entry.late >= 0 and entry.latency > sum(entry.server.values()) > 0 for entry in load.outcomes)
    assert {entry.pairs for entry in load.outcomes} == {20}
    late = open_loop(tiny_server, requests, rate=10, seconds=0.5, deadline=0.001, seed=0)
    assert {entry.status for entry in late.outcomes} <= {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
    assert len(closed_loop(tiny_server, requests, concurrency=2, seconds=0.2, deadline=30.0).outcomes) >= 2


@pytest.mark.parametrize("documents", ["documents", "texts"])
def test_both_usual_bodies_are_spoken(documents: str) -> None:
    behaviour = Behaviour(documents)
    with reranking_server(behaviour) as address:
        load = closed_loop(f"{address}/rerank", REQUESTS, concurrency=2, seconds=0.1, deadline=5)
    assert {entry.status for entry in load.outcomes} == {"OK"}
    assert len(behaviour.queries) == len(load.outcomes) + 1


def test_the_rate_that_a_server_carries_is_found() -> None:
    # One request at a time, each for 20 ms: 50 a second at most, and as much more as a queue may grow to 0.1 s until
    # nine tenths of the 1 s are over.
    with reranking_server(Behaviour(delay=0.02, one_at_a_time=True)) as address:
        options = LoadOptions(
            target=address,
            slo=LatencySlo(90, 0.1),
            seconds=1.0,
            warm_up=0,
            workload="fixed-3",
            documents=2,
            distinct_requests=2,
            arrivals="constant",
        )
        result = bench_load(options)
    assert result.max_rate
    assert 20 < result.max_rate < 50 * (1 + 0.1 / 0.9)
    met = [load for load in result.loads if load.settings["requests/s"] == result.max_rate]
    assert met[0].latency_ms["p90"] <= 100


async def _too_many(session: Session) -> Load:
    return await session.open_loop(REQUESTS, rate=100, seconds=0.2, deadline=5, seed=0)


def test_running_out_of_connections_is_the_generators_own_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    with reranking_server(Behaviour()) as address:

        async def run(session: Session) -> Load:
            async def refused(*arguments: object, **settings: object) -> Answer:
                raise CrossrankError("this process may open no more connections")

            monkeypatch.setattr("crossrank.bench.load.targets._post", refused)
            return await _too_many(session)

        with pytest.raises(CrossrankError, match="may open no more connections"):
            run_load(address, run)


def test_targets_that_are_no_help_are_one_sentence_each() -> None:
    with pytest.raises(CrossrankError, match=r"127\.0\.0\.1:9: a request with one document ended with UNAVAILABLE"):
        closed_loop("127.0.0.1:9", REQUESTS, concurrency=1, seconds=0.1, deadline=1)
    with pytest.raises(CrossrankError, match="ended with UNAVAILABLE"):
        closed_loop("http://127.0.0.1:9/rerank", REQUESTS, concurrency=1, seconds=0.1, deadline=1)
    for address in ("nonsense", "ftp://127.0.0.1/rerank", "http://", "http://[::1/rerank", "host:port"):
        with pytest.raises(UsageError, match="give host:port"):
            closed_loop(address, REQUESTS, concurrency=1, seconds=0.1, deadline=1)
    with reranking_server(Behaviour("passages")) as address, pytest.raises(CrossrankError, match="ended with HTTP 422"):
        closed_loop(address, REQUESTS, concurrency=1, seconds=0.1, deadline=1)
    for no_reranker in (Behaviour(silent=True), Behaviour("texts", silent=True)):
        with reranking_server(no_reranker) as address, pytest.raises(CrossrankError, match=r"ended with .*no score"):
            closed_loop(address, REQUESTS, concurrency=1, seconds=0.1, deadline=1)
    with reranking_server(Behaviour(status=503)) as address:
        load = closed_loop(address, REQUESTS, concurrency=1, seconds=0.05, deadline=1)
        assert {entry.status for entry in load.outcomes} == {"HTTP 503"}
        for how in ({"slo": LatencySlo(99, 1.0)}, {"rate": 20.0}, {"concurrency": 2}):
            options = LoadOptions(target=address, seconds=0.1, warm_up=0, documents=2, distinct_requests=2, **how)
            with pytest.raises(CrossrankError, match=r"answered none of \d+ requests: HTTP 503"):
                bench_load(options)


@pytest.mark.parametrize("how", [["--rate", "20"], ["--concurrency", "2"], ["--slo", "p90=1s"]])
def test_ctrl_c_keeps_what_was_measured(how: list[str], tmp_path: Path) -> None:
    with reranking_server(Behaviour(delay=0.01)) as address:
        command = [sys.executable, "-m", "crossrank.cli", "bench", "load", address, *how, "--seconds", "20"]
        command += ["--warm-up", "0", "--documents", "2", "--out", str(tmp_path / "out"), "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            begun = "requests a second for" if "--concurrency" not in how else "concurrency 2 for"
            while begun not in (line := process.stderr.readline()):
                assert line, "it ended"
            time.sleep(2)
            process.send_signal(signal.SIGINT)
            printed, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    result = LoadTestResult.model_validate(json.loads(printed))
    load = result.loads[-1]
    assert load.cut_short == STOPPED
    assert load.warnings()
    assert load.statuses.keys() == {"OK"}
    assert load.requests == len(load.samples.latency) >= 5
    assert LoadTestResult.model_validate_json((tmp_path / "out" / "result.json").read_text()) == result
    assert (tmp_path / "out" / "latency.png").read_bytes().startswith(b"\x89PNG")
