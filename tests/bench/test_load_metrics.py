"""What a load comes to: when requests are due, percentiles, objectives, the highest rate, and workloads."""

import asyncio
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer

from crossrank.bench.load.generator import due_times
from crossrank.bench.load.load_metrics import STOPPED, Load, Outcome, summarize
from crossrank.bench.load.load_test import search_max_rate
from crossrank.bench.load.slo import LatencySlo, MaxRateSearch, find_max_rate, parse_slo
from crossrank.bench.load.workload import RerankRequest, workload_requests
from crossrank.bench.options import LoadOptions
from crossrank.errors import UsageError
from crossrank.inference.ranker.hub import DEFAULT_RANKER
from tests.conftest import HELDOUT


def outcomes(*latencies: float, status: str = "OK") -> list[Outcome]:
    return [Outcome(float(number), 0.0, latency, status, 2) for number, latency in enumerate(latencies)]


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
    result = summarize(Load([*outcomes(*latencies), *failed], seconds=2.0, sending=1.0, cpu_seconds=0.1), {}, 1.0)
    assert list(result.latency_ms) == (names or ["p50", "p90", "p95", "p99", "p99.9"])
    for name, value in result.latency_ms.items():
        assert value == pytest.approx(1000 * np.percentile(latencies, float(name[1:])))
    assert result.statuses == {"OK": count, "UNAVAILABLE": 1}
    assert result.goodput == (latencies <= 1.0).sum() / 2
    assert result.pairs_per_second == count
    assert [
        sentence for sentence in result.warnings() if f"1 of {count + 1} requests failed (1 UNAVAILABLE)" in sentence
    ]


@pytest.mark.parametrize(
    ("cpu_seconds", "late", "lag", "said"),
    [
        (0.1, 0.001, 0, None),
        (9.5, 0.001, 0, "bottleneck: it kept 95% of a core"),
        (0.1, 0.02, 0, "own delays, p99 20.0 ms"),
        (0.1, 0.001, 0.02, "own delays, p99 21.0 ms"),
    ],
)
def test_a_generator_that_was_the_bottleneck_is_named(
    cpu_seconds: float, late: float, lag: float, said: str | None
) -> None:
    outcome = Outcome(0.0, late, 0.1, "OK", 1)
    load = Load([outcome] * 100, 100.0, 10.0, cpu_seconds, cpu_seconds, lags=[lag] * 10)
    result = summarize(load, {})
    assert result.generator.kept_up is (said is None)
    if said is None:
        assert result.warnings() == []
    else:
        [sentence] = result.warnings()
        assert said in sentence
    assert result.generator.cpu_ms_per_request == pytest.approx(10 * cpu_seconds)


def test_requests_that_are_all_sent_at_once_make_no_bottleneck() -> None:
    load = Load(outcomes(*[1.5] * 32), seconds=1.6, sending=0.02, sending_cpu_seconds=0.02, cpu_seconds=0.05)
    assert summarize(load, {}).warnings() == []
    assert summarize(load, {}).generator.cpu_ms_per_request == pytest.approx(50 / 32)


class Recording:
    """A session of a server that answers everything in time."""

    def __init__(self) -> None:
        self.loads: list[dict[str, Any]] = []
        self.stopped = False

    async def closed_loop(self, requests: Any, **settings: Any) -> Load:
        return Load(outcomes(0.5), seconds=1.0)

    async def open_loop(self, requests: Any, **settings: Any) -> Load:
        self.loads.append(settings)
        return Load(outcomes(0.1 if settings["rate"] <= 2 else 10.0), seconds=1.0)


def test_each_rate_has_other_arrivals_and_time_for_its_percentile() -> None:
    session: Any = Recording()
    options = LoadOptions(target="", seconds=20, seed=7)
    asyncio.run(search_max_rate(session, options, LatencySlo(99, 1.0), []))
    assert len({load["seed"] for load in session.loads}) == len(session.loads) >= 5
    seconds = {load["rate"]: load["seconds"] for load in session.loads}
    # A hundred requests at least, five hundred within a minute.
    assert seconds[0.5] == 200
    assert seconds[2.0] == 60
    assert max(seconds) == 4.0
    fast = LoadOptions(target="", seconds=90, seed=7)
    asyncio.run(search_max_rate(session, fast, LatencySlo(50, 1.0), []))
    assert session.loads[-1]["seconds"] == 90


@given(st.floats(0.1, 99.9).map(lambda value: round(value, 1)), st.integers(1, 10**6), st.sampled_from(["ms", "s"]))
def test_objectives_are_read(percentile: float, number: int, unit: str) -> None:
    read = parse_slo(f"p{percentile:g}={number}{unit}")
    assert read == LatencySlo(percentile, number * {"ms": 0.001, "s": 1.0}[unit])
    assert parse_slo(str(read)).seconds == pytest.approx(read.seconds, rel=1e-5)


@pytest.mark.parametrize(
    "text", ["", "p99", "99=5ms", "p99=5", "p99=-1ms", "p0=5ms", "p100=5ms", "p99.99=5ms", "p99=0ms"]
)
def test_what_is_no_objective(text: str) -> None:
    with pytest.raises(UsageError, match=r"p99=200ms|above 0"):
        parse_slo(text)


def test_a_request_that_fails_is_never_in_time() -> None:
    slo = LatencySlo(90, 1.0)
    assert slo.met(outcomes(*[0.5] * 9, 60))
    assert not slo.met([*outcomes(*[0.5] * 8), *outcomes(0.001, 0.001, status="RESOURCE_EXHAUSTED")])
    assert not slo.met([])


def search(capacity: float, first: float, **bound: float) -> MaxRateSearch:
    async def measure(rate: float) -> Load:
        return Load(outcomes(0.1 if rate <= capacity else 10.0))

    return asyncio.run(find_max_rate(measure, LatencySlo(99, 1.0), first, **bound))


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
    found = search(0.0, 8.0, least=3.0)
    assert [rate for rate, _ in found.steps] == [8.0, 4.0]
    assert (found.rate, found.limit) == (0.0, "no lower rate was tried")
    # What a slow server was seen to do is tried, whatever a percentile would like.
    assert search(0.6, 0.5, least=1.7).rate >= 0.5

    async def stopped(rate: float) -> Load:
        return Load(outcomes(0.1), cut_short=STOPPED)

    found = asyncio.run(find_max_rate(stopped, LatencySlo(99, 1.0), 8.0))
    assert (found.rate, len(found.steps), found.limit) == (0.0, 1, STOPPED)


def test_where_nothing_was_answered_there_is_no_latency() -> None:
    result = summarize(Load(outcomes(0.1, 0.1, status="DEADLINE_EXCEEDED"), seconds=1.0), {})
    assert (result.goodput, result.latency_ms, result.server_ms) == (0.0, {}, {})
    assert [sentence for sentence in result.warnings() if "2 of 2 requests failed" in sentence]


def test_workloads(tmp_path: Path) -> None:
    fixed = workload_requests("fixed-7", 3, 4, seed=1)
    assert [len(request.documents) for request in fixed] == [4, 4, 4]
    tokenizer = Tokenizer.from_file(str(DEFAULT_RANKER / "tokenizer.json"))
    tokenizer.no_truncation()
    lengths = {len(tokenizer.encode(text, add_special_tokens=False)) for request in fixed for text in request.documents}
    assert lengths == {7}
    [long] = workload_requests("fixed-3000", 1, 1, seed=1)
    assert len(tokenizer.encode(long.documents[0], add_special_tokens=False)) == 3000
    judged = workload_requests(str(HELDOUT), 5, 6, seed=1)
    assert [len(request.documents) for request in judged] == [6] * 5
    assert judged == workload_requests(str(HELDOUT), 5, 6, seed=1) != workload_requests(str(HELDOUT), 5, 6, seed=2)
    own = tmp_path / "own.jsonl"
    own.write_text(json.dumps({"query": "q", "documents": ["a", "b", "c"]}) + "\n")
    assert workload_requests(str(own), 5, 2, seed=1) == [RerankRequest("q", ["a", "b"])]
    for line, sentence in (
        ('{"documents": ["a"]}', "own.jsonl:2: 'query' is missing"),
        ('{"query": "q", "documents": []}', "own.jsonl:2: 'documents' must be a list of texts"),
        ('{"query": "q", "documents": "abc"}', "own.jsonl:2: 'documents' must be a list of texts"),
        ("{", "own.jsonl:2"),
    ):
        own.write_text(json.dumps({"query": "q", "documents": ["a"]}) + "\n" + line + "\n")
        with pytest.raises(UsageError, match=sentence):
            workload_requests(str(own), 5, 2, seed=1)
    with pytest.raises(UsageError, match="workload fixed-0: give passages, fixed-N"):
        workload_requests("fixed-0", 5, 2, seed=1)
