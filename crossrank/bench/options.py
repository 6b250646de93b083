"""Options of `crossrank bench load`, `quality` and `capacity`: what is measured, and for how long."""

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, field_validator, model_validator
from pydantic_core import PydanticCustomError

from crossrank.bench.load.slo import LatencySlo, parse_slo
from crossrank.reranker import LongDocumentStrategy

Arrivals: TypeAlias = Literal["poisson", "constant"]
PASSAGES = "passages"
# What one measurement may take and send at most; a slip of the hand should not become an attack.
MAX_SECONDS = 3600.0
MAX_REQUESTS = 1_000_000

_Documents = Annotated[int, Field(ge=1, description="Largest number of documents of a request.")]
_Ranker = Annotated[Path, Field(description="Directory of a ranker.")]
_Seed = Annotated[int, Field(description="Random seed of texts and arrival times.")]
_Variants = Annotated[
    tuple[str, ...], Field(description="Variant to measure; repeatable. Default: all that run on this machine's CPU.")
]
_Workload = Annotated[
    str,
    Field(
        description="Texts of the requests: passages, fixed-N for documents of N tokens, a .jsonl file of query and "
        "documents, or an evaluation set."
    ),
]


def _parsed(given: Any) -> Any:
    return parse_slo(given) if isinstance(given, str) else given


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class LoadOptions(_Options):
    """A load: an open loop with `rate`, a search for the highest rate with `slo`, else a closed loop."""

    target: str = Field(description="HOST:PORT of a crossrank server, or the URL of any server's /rerank.")
    concurrency: int = Field(
        1, ge=1, le=1000, description="Clients of a closed loop, each of which waits for its answer."
    )
    rate: float | None = Field(None, gt=0, description="Requests a second of an open loop, instead of a closed one.")
    arrivals: Arrivals = Field("poisson", description="Arrival times of an open loop, poisson or constant.")
    slo: Annotated[LatencySlo | None, BeforeValidator(_parsed)] = Field(
        None, description="Latency objective, such as p99=200ms: search the highest rate that meets it."
    )
    seconds: float = Field(
        20.0,
        ge=0.1,
        le=MAX_SECONDS,
        description="Length of each measurement; a search takes longer where a percentile needs it.",
    )
    warm_up: float = Field(
        3.0, ge=0, le=MAX_SECONDS, description="Seconds of a closed loop before the first measurement, not measured."
    )
    deadline: float = Field(30.0, ge=0.001, le=MAX_SECONDS, description="Deadline of each request in seconds.")
    workload: _Workload = PASSAGES
    documents: _Documents = 50
    distinct_requests: int = Field(64, ge=1, description="Number of different requests, sent in turn.")
    seed: _Seed = 0

    @field_validator("slo")
    @classmethod
    def _one_loop(cls, slo: LatencySlo | None, info: ValidationInfo) -> LatencySlo | None:
        if slo and info.data.get("rate"):
            raise PydanticCustomError("two_loops", "rate and slo exclude each other; give one of them")
        return slo

    @model_validator(mode="after")
    def _few_enough(self) -> "LoadOptions":
        if self.rate and self.rate * self.seconds > MAX_REQUESTS:
            raise PydanticCustomError(
                "too_many",
                "{rate} requests a second for {seconds} s: a measurement has at most {most} requests; ask for less",
                {"rate": f"{self.rate:g}", "seconds": f"{self.seconds:g}", "most": f"{MAX_REQUESTS:,}"},
            )
        return self


class QualityOptions(_Options):
    """What is ranked, with which variants and settings."""

    ranker: _Ranker
    data: tuple[Path, ...] = Field(min_length=1, description="Evaluation sets (BEIR layout).")
    model: str | None = Field(
        None, description="Cross-encoder in PyTorch to compare with. Default: the ranker's fp32 graph."
    )
    variants: _Variants = ()
    max_lengths: tuple[Annotated[int, Field(ge=8)], ...] = Field(
        (), description="Longest pair in tokens; repeatable. Default: the ranker's own."
    )
    long_documents: tuple[LongDocumentStrategy, ...] = Field(
        ("truncate",),
        min_length=1,
        description="What to do with documents that do not fit, truncate or chunk; repeatable.",
        json_schema_extra={"flag": "--long-documents"},
    )
    max_queries: int = Field(100, ge=1, description="Largest number of queries of each set.")


class CapacityOptions(_Options):
    """The load that all replicas together must carry, and what is tried."""

    ranker: _Ranker
    rate: float = Field(gt=0, le=1_000_000, description="Requests a second that all replicas together get.")
    slo: Annotated[LatencySlo, BeforeValidator(_parsed)] = Field(
        description="Latency objective that they must meet, such as p99=150ms."
    )
    documents: _Documents = 50
    variants: _Variants = ()
    seconds: float = Field(10.0, ge=1, le=MAX_SECONDS, description="Length of each measurement.")
    workload: _Workload = PASSAGES
    seed: _Seed = 0
