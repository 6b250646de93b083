"""What a benchmark gives: data with its settings inside; tables and plots are drawn from it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, ValidationError

from crossrank.bench.environment import revision, this_machine, tools
from crossrank.bench.load_result import LoadResult, Record
from crossrank.errors import UsageError


class Machine(Record):
    """Where it ran."""

    processor: str
    instruction_set: str
    flags: list[str]
    cores: int
    system: str


class Estimate(Record):
    """A figure with the interval that holds the true one at `level`."""

    value: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.value:.2f} [{self.low:.2f}, {self.high:.2f}]"

    def signed(self) -> str:
        """As a difference of ranking quality."""
        return f"{self.value:+.4f} [{self.low:+.4f}, {self.high:+.4f}]"


class Speed(Record):
    """One contestant.

    Attributes:
        name: of the contestant.
        concurrency: calls at once.
        pairs_per_second: of each alternation, in order.
        median: of these.
        baseline: name of the contestant that it is compared with, in turns of the same run.
        ratio: to the baseline of the same turn, the median with its exact interval.
        kendall_tau, top_1: its order against the baseline's, a mean over the calls; None for the baseline.
        loss: nDCG@10 less PyTorch's where the variant was accepted, set by set; empty where nothing was judged.
    """

    name: str
    concurrency: int
    pairs_per_second: list[float]
    median: float
    baseline: str
    ratio: Estimate
    kendall_tau: float | None
    top_1: float | None
    loss: dict[str, float]


class Check(Record):
    """One measured property of the engine beside its aim.

    Attributes:
        name: what was measured.
        value: the measurement.
        unit: of the value.
        aim: what it should be, in words.
        reached: whether it was.
        details: further figures.
    """

    name: str
    value: float
    unit: str
    aim: str
    reached: bool
    details: dict[str, float]


class Quality(Record):
    """How one variant at one setting ranks, and how fast.

    Attributes:
        variant: of the ranker, or PyTorch; a set's first point is the reference: fp32, the ranker's own max_length.
        max_length: tokens of a pair.
        long_documents: "truncate" or "chunk".
        data: the judged set.
        queries: of it.
        ndcg_10, mrr_10: means.
        ndcg_difference, mrr_difference: to the reference, paired, with a 95% interval over queries; None for itself.
        pairs_per_second: documents ordered a second, in one pass after a warm-up.
        per_query: nDCG@10 by query id.
    """

    variant: str
    max_length: int
    long_documents: str
    data: str
    queries: int
    ndcg_10: float
    mrr_10: float
    ndcg_difference: Estimate | None
    mrr_difference: Estimate | None
    pairs_per_second: float
    per_query: dict[str, float]

    @property
    def label(self) -> str:
        """Variant and setting."""
        return f"{self.variant}, {self.max_length} tokens, {self.long_documents}"


class Sizing(Record):
    """How many replicas of a variant carry a load.

    Attributes:
        variant: of the ranker.
        highest_rate: calls a second of one replica within the objective.
        replicas: that the load needs; None where one replica meets the objective at no rate.
        arithmetic: how that comes about, in words.
        loss: nDCG@10 less PyTorch's where the variant was accepted, set by set; empty where nothing was judged.
    """

    variant: str
    highest_rate: float
    replicas: int | None
    arithmetic: str
    loss: dict[str, float]


class Result(Record):
    """One run of a benchmark.

    Attributes:
        schema_version: of this layout.
        benchmark: which one.
        created: UTC, ISO 8601.
        revision: git's, of the directory that it ran in; empty where there is none.
        machine: where it ran.
        tools: versions.
        settings: everything that was asked for.
        speeds: contestants in turns.
        failed: contestants that could not be measured, and why.
        checks: properties of the engine.
        loads: on a server, in the order of the measurements.
        highest_rate: calls a second within the objective, where that was looked for.
        rate_limit: why it may be more than that; empty where a rate little above it missed the objective.
        quality: of variants and settings.
        sizing: for a load.
        interrupted: whether Ctrl-C ended it; it then holds what was measured until then.
    """

    schema_version: Literal[3] = 3
    benchmark: str
    created: str
    revision: str
    machine: Machine
    tools: dict[str, str]
    settings: dict[str, str | int | float | bool | list[str]]
    speeds: list[Speed] = Field(default_factory=list)
    failed: dict[str, str] = Field(default_factory=dict)
    checks: list[Check] = Field(default_factory=list)
    loads: list[LoadResult] = Field(default_factory=list)
    highest_rate: float | None = None
    rate_limit: str = ""
    quality: list[Quality] = Field(default_factory=list)
    sizing: list[Sizing] = Field(default_factory=list)
    interrupted: bool = False

    @property
    def goodput_name(self) -> str:
        """What the goodput of its loads counts."""
        return "in time/s" if self.settings.get("objective") else "answered/s"

    def caveats(self) -> list[str]:
        """What is missing in it, a sentence each."""
        missing = [f"{name} could not be measured: {why}" for name, why in self.failed.items()]
        return missing + ["It was interrupted: this is what was measured until then."] * self.interrupted

    def rate_sentence(self) -> str:
        """The highest rate, and why it may be more."""
        objective = self.settings["objective"]
        if not self.highest_rate:
            why = f"; {self.rate_limit}" if self.rate_limit else ""
            return f"No rate that was tried is within {objective}{why}."
        more = f"; perhaps more, since {self.rate_limit}" if self.rate_limit else ""
        return f"Highest rate within {objective}: {self.highest_rate:.3g} calls a second{more}."


def new_result(benchmark: str, settings: dict[str, Any], **measured: Any) -> Result:
    """A result of this moment on this machine."""
    return Result(
        benchmark=benchmark,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        revision=revision(),
        machine=Machine(**this_machine()),
        tools=tools(),
        settings=settings,
        **measured,
    )


def read_result(path: Path) -> Result:
    """Reads a result's file.

    Raises:
        UsageError: it is none, or one of another version.
    """
    try:
        return Result.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError:
        raise UsageError(f"{path} is no result of this version of crossrank bench; measure again") from None
