"""What a benchmark gives: data with its settings inside; tables and plots are drawn from it."""

import os
import platform
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from serve.machine import instruction_set, usable_cores

_TOOLS = ("crossrank", "onnxruntime", "onnxruntime-gpu", "torch", "transformers", "sentence-transformers", "grpcio")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Machine(_Record):
    """Where it ran."""

    processor: str
    instruction_set: str
    cores: int
    system: str


class Estimate(_Record):
    """A median with the interval that holds it at `level`, by bootstrap over the alternations."""

    median: float
    low: float
    high: float
    level: float = 0.95

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


class Speed(_Record):
    """One contestant.

    Attributes:
        name: of the contestant.
        concurrency: calls at once.
        pairs_per_second: of each alternation, in order.
        median: of these.
        ratio: to the baseline of the same alternation.
        kendall_tau, top_1: its order against the baseline's, a mean over the calls; None for the baseline.
        loss: nDCG@10 less PyTorch's where the variant was accepted, set by set; empty where nothing was judged.
    """

    name: str
    concurrency: int
    pairs_per_second: list[float]
    median: float
    ratio: Estimate
    kendall_tau: float | None
    top_1: float | None
    loss: dict[str, float]


class Check(_Record):
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


class Result(_Record):
    """One run of a benchmark.

    Attributes:
        schema_version: of this layout.
        benchmark: which one.
        created: UTC, ISO 8601.
        machine: where it ran.
        tools: versions.
        settings: everything that was asked for.
        speeds: the contestants; the first is the baseline.
        checks: properties of the engine.
    """

    schema_version: int = 1
    benchmark: str
    created: str
    machine: Machine
    tools: dict[str, str]
    settings: dict[str, str | int | float | bool | list[str]]
    speeds: list[Speed]
    checks: list[Check]


def now() -> str:
    """The time, as a result says it."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def this_machine() -> Machine:
    """The machine that this process runs on."""
    return Machine(
        processor=_processor(),
        instruction_set=instruction_set(),
        cores=usable_cores(),
        system=f"{platform.system()} {platform.release()}, {os.cpu_count()} logical processors",
    )


def tools() -> dict[str, str]:
    """Versions of what is installed."""
    found = {}
    for tool in _TOOLS:
        try:
            found[tool] = version(tool)
        except PackageNotFoundError:
            continue
    return found


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")
