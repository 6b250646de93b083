"""Load on servers: times that do not wait for answers, percentiles, objectives, and targets that are no help."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrank.bench.load import STOPPED, Load, Outcome, Session, due_times, run_load
from crossrank.bench.load_run import LoadOptions, bench_load
from crossrank.bench.load_summary import summarise
from crossrank.bench.objective import Objective, Search, highest_rate, parse_objective
from crossrank.bench.result import Result
from crossrank.bench.targets import Answer
from crossrank.bench.workload import RankCall, rank_calls, workload_calls
from judgements.errors import JudgementsError
from serve.errors import CrossrankError, UsageError
from tests.conftest import HELDOUT
from tests.reranking_server import Behaviour, reranking_server

CALLS = [RankCall("what", ["one", "two"]), RankCall("why", ["three", "four", "five"])]


def closed_loop(address: str, calls: list[RankCall], **settings: Any) -> Load:
    return run_load(address, lambda session: session.closed_loop(calls, **settings))


def open_loop(address: str, calls: list[RankCall], **settings: Any) -> Load:
    return run_load(address, lambda session: session.open_loop(calls, **settings))


def outcomes(*latencies: float, status: str = "OK") -> list[Outcome]:
    return [Outcome(float(number), 0.0, latency, status, 2) for number, latency in enumerate(latencies)]


def test_a_stall_shows_in_the_open_loop_and_hides_in_the_closed_one() -> None:
    # A tenth of the time nothing is answered, as with one second in every ten.
    with reranking_server(Behaviour(stall=0.3, period=3.0)) as address:
        waiting = closed_loop(address, CALLS, clients=1, seconds=3.0, deadline=10)
        due = open_loop(address, CALLS, rate=100, seconds=3.0, deadline=10, seed=0, arrivals="constant")
    shown, hidden = (summarise(load, {}) for load in (due, waiting))
    assert shown.statuses.keys() == hidden.statuses.keys() == {"OK"}
    assert shown.latency_ms["p95"] > 100
    assert hidden.latency_ms["p95"] < 50


def test_time_that_the_generator_itself_loses_counts_and_is_named() -> None:
    class Blocking:
        def serialise(self, call: RankCall) -> bytes:
            return call.query.encode()

        async def send(self, request: bytes, deadline: float) -> Answer:
            time.sleep(0.02)
            return Answer("OK")

    async def run() -> Load:
        session = Session(Blocking(), asyncio.Event())
        return await session.open_loop(CALLS, rate=100, seconds=0.5, deadline=1, seed=0, arrivals="constant")

    load = asyncio.run(run())
    # Fifty calls of 20 ms, one every 10 ms: the last is sent half a second late.
    assert max(entry.late for entry in load.outcomes) > 0.3
    assert all(entry.latency >= entry.late + 0.019 for entry in load.outcomes)
    result = summarise(load, {})
    assert not result.generator.kept_up
    assert result.generator.late_p99_ms > 300


def test_no_two_calls_ask_the_same() -> None:
    behaviour = Behaviour()
    with reranking_server(behaviour) as address:
        run_load(address, lambda session: _twice(session))
    asked = [query for query in behaviour.queries if query != "probe"]
    assert len(asked) == len(set(asked)) >= 4
    assert {len(query) for query in asked} == {len("what #00000000"), len("why #00000000")}


async def _twice(session: Session) -> None:
    for _ in range(2):
        await session.closed_loop(CALLS, clients=2, seconds=0.05, deadline=5)


def test_a_target_that_dies_is_not_asked_for_ever() -> None:
    with reranking_server(Behaviour(status=503)) as address:
        load = closed_loop(address, CALLS, clients=2, seconds=60, deadline=1)
    assert load.cut_short == "100 calls in a row failed"
    assert load.seconds < 30


def test_calls_are_due_whatever_becomes_of_them(server: str) -> None:
    calls = rank_calls(2, 20, seed=5)
    load = open_loop(server, calls, rate=10, seconds=1.0, deadline=30.0, seed=0)
    assert {entry.status for entry in load.outcomes} == {"OK"}
    assert sorted(entry.due for entry in load.outcomes) == due_times(10, 1.0, 0, "poisson")
    assert all(entry.late >= 0 and entry.latency > sum(entry.server.values()) > 0 for entry in load.outcomes)
    assert {entry.pairs for entry in load.outcomes} == {20}
    late = open_loop(server, calls, rate=10, seconds=0.5, deadline=0.001, seed=0)
    assert {entry.status for entry in late.outcomes} <= {"DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED"}
    assert len(closed_loop(server, calls, clients=2, seconds=0.2, deadline=30.0).outcomes) >= 2


@given(st.floats(0.1, 500), st.floats(0.01, 20), st.integers(0, 9))
def test_due_times_ascend_and_end(rate: float, seconds: float, seed: int) -> None:
    for arrivals in ("poisson", "constant"):
        times = due_times(rate, seconds, seed, arrivals)
        assert times == sorted(times)
        assert times[0] >= 0
        assert times[-1] < seconds
    # By more than six standard deviations a count of a Poisson process hardly ever errs.
    assert abs(len(due_times(rate, seconds, seed, "poisson")) - rate * seconds) <= 6 * (rate * seconds) ** 0.5 + 3


@pytest.mark.parametrize(
    ("count", "names"),
    [(1, ["p50"]), (9, ["p50"]), (10, ["p50", "p90"]), (100, ["p50", "p90", "p95", "p99"]), (1000, None)],
)
def test_percentiles_are_numpys_as_far_as_there_are_samples(count: int, names: list[str] | None) -> None:
    latencies = np.random.default_rng(count).exponential(size=count)
    failed = outcomes(1e6, status="UNAVAILABLE")
    result = summarise(Load([*outcomes(*latencies), *failed], seconds=2.0, sending=1.0, cpu_seconds=0.1), {}, 1.0)
    assert list(result.latency_ms) == (names or ["p50", "p90", "p95", "p99", "p99.9"])
    for name, value in result.latency_ms.items():
        assert value == pytest.approx(1000 * np.percentile(latencies, float(name[1:])))
    assert result.statuses == {"OK": count, "UNAVAILABLE": 1}
    assert result.goodput == (latencies <= 1.0).sum() / 2
    assert result.pairs_per_second == count
    assert [sentence for sentence in result.caveats() if f"1 of {count + 1} calls failed" in sentence]


@pytest.mark.parametrize(
    ("cpu_seconds", "late", "lag", "kept_up"),
    [(0.1, 0.001, 0, True), (9.5, 0.001, 0, False), (0.1, 0.02, 0, False), (0.1, 0.001, 0.02, False)],
)
def test_a_generator_that_was_the_bottleneck_is_named(
    cpu_seconds: float, late: float, lag: float, kept_up: bool
) -> None:
    outcome = Outcome(0.0, late, 0.1, "OK", 1)
    load = Load([outcome] * 100, seconds=100.0, sending=10.0, cpu_seconds=cpu_seconds, lags=[lag] * 10)
    result = summarise(load, {})
    assert result.generator.kept_up is kept_up
    assert any("did not keep up" in sentence for sentence in result.caveats()) is not kept_up
    assert result.generator.cpu_ms_per_call == pytest.approx(10 * cpu_seconds)


@given(st.floats(0.1, 99.9).map(lambda value: round(value, 1)), st.integers(1, 10**6), st.sampled_from(["ms", "s"]))
def test_objectives_are_read(percentile: float, number: int, unit: str) -> None:
    read = parse_objective(f"p{percentile:g}={number}{unit}")
    assert read == Objective(percentile, number * {"ms": 0.001, "s": 1.0}[unit])
    assert parse_objective(str(read)).seconds == pytest.approx(read.seconds, rel=1e-5)


@pytest.mark.parametrize("text", ["", "p99", "99=5ms", "p99=5", "p99=-1ms", "p0=5ms", "p100=5ms", "p99=0ms"])
def test_what_is_no_objective(text: str) -> None:
    with pytest.raises(UsageError, match=r"p99=200ms|above 0"):
        parse_objective(text)


def test_a_call_that_fails_is_never_in_time() -> None:
    objective = Objective(90, 1.0)
    assert objective.met(outcomes(*[0.5] * 9, 60))
    assert not objective.met([*outcomes(*[0.5] * 8), *outcomes(0.001, 0.001, status="RESOURCE_EXHAUSTED")])
    assert not objective.met([])


def search(capacity: float, first: float, **bound: float) -> Search:
    async def measure(rate: float) -> Load:
        return Load(outcomes(0.1 if rate <= capacity else 10.0))

    return asyncio.run(highest_rate(measure, Objective(99, 1.0), first, **bound))


@given(st.floats(0.05, 5000), st.floats(0.1, 100))
def test_the_highest_rate_is_found(capacity: float, first: float) -> None:
    found = search(capacity, first)
    assert len(found.steps) <= 12
    assert found.rate <= capacity
    assert found.rate >= capacity / 1.11 or found.limit == "the search ended after 12 measurements"
    bounded = search(capacity, first, most=capacity / 2)
    assert bounded.rate == capacity / 2 or len(bounded.steps) == 12
    assert bounded.limit in ("no higher rate was tried", "the search ended after 12 measurements")


def test_no_rate_may_do_and_a_search_that_is_stopped_ends() -> None:
    found = search(0.0, 8.0)
    assert (found.rate, [rate for rate, _ in found.steps][:3]) == (0.0, [8.0, 4.0, 2.0])

    async def stopped(rate: float) -> Load:
        return Load(outcomes(0.1), cut_short=STOPPED)

    found = asyncio.run(highest_rate(stopped, Objective(99, 1.0), 8.0))
    assert (found.rate, len(found.steps), found.limit) == (0.0, 1, STOPPED)


@pytest.mark.parametrize("documents", ["documents", "texts"])
def test_both_usual_bodies_are_spoken(documents: str) -> None:
    behaviour = Behaviour(documents)
    with reranking_server(behaviour) as address:
        load = closed_loop(f"{address}/rerank", CALLS, clients=2, seconds=0.1, deadline=5)
    assert {entry.status for entry in load.outcomes} == {"OK"}
    assert len(behaviour.queries) == len(load.outcomes) + 1


def test_the_rate_that_a_server_carries_is_found() -> None:
    # One call at a time, each for 20 ms: a little below 50 a second.
    with reranking_server(Behaviour(delay=0.02, one_at_a_time=True)) as address:
        options = LoadOptions(
            target=address,
            objective=Objective(90, 0.2),
            seconds=2.0,
            warm_up=0,
            workload="fixed-3",
            documents=2,
            calls=2,
            arrivals="constant",
        )
        result = bench_load(options)
    assert result.highest_rate
    assert 20 < result.highest_rate < 50
    met = [load for load in result.loads if load.settings["calls a second"] == result.highest_rate]
    assert met[0].latency_ms["p90"] <= 200


def test_targets_that_are_no_help_are_one_sentence_each() -> None:
    with pytest.raises(CrossrankError, match=r"127\.0\.0\.1:9: a call of one document ended with UNAVAILABLE"):
        closed_loop("127.0.0.1:9", CALLS, clients=1, seconds=0.1, deadline=1)
    with pytest.raises(CrossrankError, match="ended with UNAVAILABLE; is there a server"):
        closed_loop("http://127.0.0.1:9/rerank", CALLS, clients=1, seconds=0.1, deadline=1)
    for address in ("nonsense", "ftp://127.0.0.1/rerank", "http://", "host:port"):
        with pytest.raises(UsageError, match="give host:port of a gRPC server, or an http URL"):
            closed_loop(address, CALLS, clients=1, seconds=0.1, deadline=1)
    with reranking_server(Behaviour("passages")) as address, pytest.raises(CrossrankError, match="ended with HTTP 422"):
        closed_loop(address, CALLS, clients=1, seconds=0.1, deadline=1)
    with reranking_server(Behaviour(status=503)) as address:
        load = closed_loop(address, CALLS, clients=1, seconds=0.05, deadline=1)
        assert {entry.status for entry in load.outcomes} == {"HTTP 503"}
        for how in ({"objective": Objective(99, 1.0)}, {"rate": 20.0}, {"clients": 2}):
            options = LoadOptions(target=address, seconds=0.1, warm_up=0, documents=2, calls=2, **how)
            with pytest.raises(CrossrankError, match=r"answered none of \d+ calls: HTTP 503"):
                bench_load(options)
    with pytest.raises(UsageError, match="ask for less"):
        bench_load(LoadOptions(target="127.0.0.1:9", rate=1e6, seconds=10))


def test_workloads(tmp_path: Path) -> None:
    fixed = workload_calls("fixed-7", 3, 4, seed=1)
    assert [len(call.documents) for call in fixed] == [4, 4, 4]
    assert {len(text.split(" ")) for call in fixed for text in call.documents} == {7}
    judged = workload_calls(str(HELDOUT), 5, 6, seed=1)
    assert [len(call.documents) for call in judged] == [6] * 5
    assert judged == workload_calls(str(HELDOUT), 5, 6, seed=1) != workload_calls(str(HELDOUT), 5, 6, seed=2)
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({"query": "q", "documents": ["a", "b", "c"]}) + "\n")
    assert workload_calls(str(own), 5, 2, seed=1) == [RankCall("q", ["a", "b"])]
    for line, sentence in (
        ('{"documents": ["a"]}', "own.jsonl:2: 'query' is missing"),
        ('{"query": "q", "documents": []}', "own.jsonl:2: 'documents' must be a list of texts"),
        ('{"query": "q", "documents": "abc"}', "own.jsonl:2: 'documents' must be a list of texts"),
        ("{", "own.jsonl:2"),
    ):
        own.write_text(json.dumps({"query": "q", "documents": ["a"]}) + "\n" + line + "\n")
        with pytest.raises((UsageError, JudgementsError), match=sentence):
            workload_calls(str(own), 5, 2, seed=1)
    with pytest.raises(UsageError, match="workload fixed-0: give passages, fixed-N"):
        workload_calls("fixed-0", 5, 2, seed=1)


@pytest.mark.parametrize("how", [["--rate", "20"], ["--clients", "2"], ["--slo", "p90=1s"]])
def test_ctrl_c_keeps_what_was_measured(how: list[str], tmp_path: Path) -> None:
    with reranking_server(Behaviour(delay=0.01)) as address:
        command = [sys.executable, "-m", "crossrank.cli", "bench", "load", address, *how, "--seconds", "20"]
        command += ["--warm-up", "0", "--documents", "2", "--out", str(tmp_path / "out"), "--json"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            assert process.stderr is not None
            begun = "calls a second for" if "--clients" not in how else "2 clients for"
            while begun not in (line := process.stderr.readline()):
                assert line, "it ended"
            time.sleep(2)
            process.send_signal(signal.SIGINT)
            printed, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    result = Result.model_validate(json.loads(printed))
    load = result.loads[-1]
    assert load.cut_short == STOPPED
    assert any("since it was stopped" in sentence for sentence in load.caveats())
    assert load.statuses.keys() == {"OK"}
    assert load.calls == len(load.samples.latency) >= 5
    assert Result.model_validate_json((tmp_path / "out" / "result.json").read_text()) == result
    assert (tmp_path / "out" / "latency.png").read_bytes().startswith(b"\x89PNG")
