"""What the benchmarks' options refuse, by the flag that says it."""

import pytest

from crossrank.bench.load.slo import LatencySlo
from crossrank.bench.options import CapacityOptions, LoadOptions, QualityOptions
from crossrank.cli.app import load
from crossrank.errors import UsageError


@pytest.mark.parametrize(
    ("arguments", "place"),
    [
        (["load", "--concurrency", "0"], "--concurrency: "),
        (["load", "--concurrency", "100000"], "--concurrency: "),
        (["load", "--seconds", "nan"], "--seconds: "),
        (["load", "--seconds", "3601"], "--seconds: "),
        (["load", "--deadline", "inf"], "--deadline: "),
        (["load", "--rate", "0"], "--rate: "),
        (["load", "--slo", "99"], "--slo: '99': not a latency objective"),
        (["load", "--slo", "p99=1s", "--rate", "2"], "--slo: rate and slo exclude each other"),
        (["load", "--rate", "1e6"], "1e\\+06 requests a second for 20 s: "),
        (["quality", "ranker", "data", "--max-length", "128", "--max-length", "7"], "--max-length: "),
        (["quality", "ranker", "data", "--max-queries", "0"], "--max-queries: "),
        (["quality", "ranker", "data", "--long-documents", "cut"], "--long-documents: "),
        (["capacity", "ranker", "--rate", "inf", "--slo", "p99=1s"], "--rate: "),
        (["capacity", "ranker", "--rate", "1", "--slo", "p99=1s", "--seconds", "nan"], "--seconds: "),
        (["capacity", "ranker", "--rate", "1", "--slo", "p100=1s"], "--slo: "),
    ],
)
def test_what_is_out_of_range_is_named_by_its_flag(arguments: list[str], place: str) -> None:
    with pytest.raises(UsageError, match=f"^{place}"):
        load("bench")(arguments, standalone_mode=False)


def test_objectives_are_read_from_text() -> None:
    assert LoadOptions(target="", slo="p99=200ms").slo == LatencySlo(99, 0.2)
    options = CapacityOptions(ranker="r", rate=1, slo="p95=1s", documents=3)
    assert (options.slo, options.documents) == (LatencySlo(95, 1.0), 3)


def test_the_ranker_and_its_evaluation_sets_are_needed() -> None:
    with pytest.raises(ValueError, match="data"):
        QualityOptions(ranker="r", data=())
