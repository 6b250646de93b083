"""Results of benchmarks as JSON: one record for each benchmark, with its settings, machine and versions inside."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias, TypeVar

from pydantic import Field, TypeAdapter, ValidationError

from crossrank.bench.environment import revision, this_machine, tools
from crossrank.bench.load.load_metrics import LoadMeasurement, Record
from crossrank.errors import UsageError
from crossrank.intervals import Interval

# The setting of an open loop that tells it from others.
RATE = "requests/s"


class Machine(Record):
    """The machine that a benchmark ran on."""

    processor: str
    instruction_set: str
    flags: list[str]
    cores: int
    system: str


class BenchResult(Record):
    """What all results have in common.

    Attributes:
        schema_version: of this layout.
        created: UTC, ISO 8601.
        revision: git's, of the directory that it ran in; empty where there is none.
        machine: where it ran.
        tools: versions.
        settings: all options.
        failed: what could not be measured, by name, and why.
        interrupted: whether Ctrl-C ended it; it then holds what was measured until then.
    """

    schema_version: Literal[4] = 4
    created: str
    revision: str
    machine: Machine
    tools: dict[str, str]
    settings: dict[str, str | int | float | bool | list[str]]
    failed: dict[str, str] = Field(default_factory=dict)
    interrupted: bool = False

    def warnings(self) -> list[str]:
        """What is missing in it, a sentence each."""
        missing = [f"{name} could not be measured: {why}" for name, why in self.failed.items()]
        if self.interrupted:
            missing.append("It was interrupted: this is what was measured until then.")
        return missing


class LoadTestResult(BenchResult):
    """Loads on a running server.

    Attributes:
        loads: in the order of the measurements.
        max_rate: highest rate within the objective, in requests a second, where that was searched.
        rate_limit: why it may be more than that; empty where a rate little above it missed the objective.
    """

    benchmark: Literal["load"] = "load"
    loads: list[LoadMeasurement]
    max_rate: float | None = None
    rate_limit: str = ""

    def warnings(self) -> list[str]:
        """What is missing or doubtful in it, a sentence each."""
        return super().warnings() + [sentence for load in self.loads for sentence in load.warnings()]

    def max_rate_sentence(self) -> str:
        """The highest rate, and why it may be more; empty where it was not searched."""
        if self.max_rate is None:
            return ""
        slo = self.settings["slo"]
        if not self.max_rate:
            return f"No rate that was tried is within {slo}{f'; {self.rate_limit}' if self.rate_limit else ''}."
        more = f"; perhaps more, since {self.rate_limit}" if self.rate_limit else ""
        return f"Highest rate within {slo}: {self.max_rate:.3g} requests a second{more}."


class QualityPoint(Record):
    """Ranking quality and speed of one variant at one setting.

    Attributes:
        variant: of the ranker, or PyTorch; a set's first point is the reference: fp32, the ranker's own max_length.
        max_length: tokens of a pair.
        long_documents: "truncate" or "chunk".
        data: name of the evaluation set.
        queries: number of its queries.
        ndcg_10, mrr_10: means.
        ndcg_difference, mrr_difference: to the reference, paired, with a 95% interval over queries; None for itself.
        pairs_per_second: documents ranked a second, in one pass after a warm-up.
        per_query: nDCG@10 by query id.
    """

    variant: str
    max_length: int
    long_documents: str
    data: str
    queries: int
    ndcg_10: float
    mrr_10: float
    ndcg_difference: Interval | None
    mrr_difference: Interval | None
    pairs_per_second: float
    per_query: dict[str, float]

    @property
    def label(self) -> str:
        """Variant and setting."""
        return f"{self.variant}, {self.max_length} tokens, {self.long_documents}"


class QualityResult(BenchResult):
    """Ranking quality of variants and settings."""

    benchmark: Literal["quality"] = "quality"
    points: list[QualityPoint]


class VariantCapacity(Record):
    """Replicas of a variant that carry a load.

    Attributes:
        variant: of the ranker.
        max_rate: requests a second of one replica within the objective.
        replicas: number that the load needs; None where one replica meets the objective at no rate.
        arithmetic: the calculation, in words.
        ndcg_change: nDCG@10 minus PyTorch's where the variant was accepted, by set; empty where nothing was judged.
    """

    variant: str
    max_rate: float
    replicas: int | None
    arithmetic: str
    ndcg_change: dict[str, float]


class CapacityResult(BenchResult):
    """Replicas that a load needs, and the loads that show it.

    Attributes:
        variants: in the order of the measurements.
        loads: of the searches.
    """

    benchmark: Literal["capacity"] = "capacity"
    variants: list[VariantCapacity]
    loads: list[LoadMeasurement]

    def warnings(self) -> list[str]:
        """What is missing or doubtful in it, a sentence each."""
        return super().warnings() + [sentence for load in self.loads for sentence in load.warnings()]


Result: TypeAlias = Annotated[LoadTestResult | QualityResult | CapacityResult, Field(discriminator="benchmark")]
RESULTS: TypeAdapter[LoadTestResult | QualityResult | CapacityResult] = TypeAdapter(Result)

AnyResult = TypeVar("AnyResult")


def this_run(settings: dict[str, Any], *further_tools: str) -> dict[str, Any]:
    """The fields of `BenchResult` for a run of this moment on this machine."""
    return {
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "revision": revision(),
        "machine": Machine(**this_machine()),
        "tools": tools(*further_tools),
        "settings": settings,
    }


def read_result(path: Path, kinds: TypeAdapter[AnyResult]) -> AnyResult:
    """Reads a result's file.

    Args:
        path: a result.json.
        kinds: the results that it may be, such as `RESULTS`.

    Raises:
        UsageError: it cannot be read, or is not such a result of this version.
    """
    try:
        return kinds.validate_json(path.read_bytes())
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError:
        raise UsageError(f"{path}: not a result of this version of crossrank bench; measure again") from None
