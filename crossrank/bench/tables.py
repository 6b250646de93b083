"""Tables of benchmark results, for the terminal and the report alike."""

from collections.abc import Mapping, Sequence

from crossrank.bench.load.load_metrics import LoadMeasurement
from crossrank.bench.results import BenchResult, CapacityResult, LoadTestResult, QualityResult
from crossrank.reporting.tables import Table


def tables_of(result: LoadTestResult | QualityResult | CapacityResult) -> list[Table]:
    """The tables of a result."""
    match result:
        case LoadTestResult():
            return [load_table(result, result.loads)]
        case QualityResult():
            return [_quality_table(result)]
        case CapacityResult():
            return [_capacity_table(result), load_table(result, result.loads)]


def title_of(result: BenchResult, what: str) -> str:
    """What was measured, and on which machine."""
    machine = result.machine
    return f"{what} on {machine.processor}, {machine.cores} cores, {machine.instruction_set}"


def changes_by_set(changes: Mapping[str, float]) -> str:
    """Differences of nDCG@10 set by set, in one cell."""
    return ", ".join(f"{data} {change:+.4f}" for data, change in changes.items())


def load_table(result: BenchResult, loads: Sequence[LoadMeasurement]) -> Table:
    """The figures of loads, a row for each."""
    percentiles = list(dict.fromkeys(name for load in loads for name in load.latency_ms))
    parts = list(dict.fromkeys(name for load in loads for name in load.server_ms))
    rows = [
        (
            load.label,
            str(load.requests),
            f"{load.goodput:.3g}",
            f"{load.pairs_per_second:.0f}",
            *(f"{load.latency_ms[name]:.0f}" if name in load.latency_ms else "" for name in percentiles),
            *([" + ".join(f"{load.server_ms.get(part, 0):.0f}" for part in parts)] if parts else []),
            f"{load.generator.cpu_ms_per_request:.2f} ms ({load.generator.cores:.0%})",
        )
        for load in loads
    ]
    goodput = "in time/s" if result.settings.get("slo") else "answered/s"
    columns = ["load", "requests", goodput, "pairs/s", *percentiles]
    columns += [" + ".join(parts)] if parts else []
    columns += ["generator: CPU a request (of a core)"]
    return Table(title_of(result, "load") + "; latencies in ms from when a request was due", columns, rows)


def _quality_table(result: QualityResult) -> Table:
    rows = [
        (
            point.label,
            point.data,
            str(point.queries),
            f"{point.ndcg_10:.3f}",
            str(point.ndcg_difference) if point.ndcg_difference else "",
            f"{point.mrr_10:.3f}",
            str(point.mrr_difference) if point.mrr_difference else "",
            f"{point.pairs_per_second:.0f}",
        )
        for point in result.points
    ]
    columns = ("variant and setting", "data", "queries", "nDCG@10", "Δ nDCG@10", "MRR@10", "Δ MRR@10", "documents/s")
    return Table(title_of(result, "quality") + "; Δ to the first row of the set", columns, rows)


def _capacity_table(result: CapacityResult) -> Table:
    rows = [
        (
            entry.variant,
            "none" if entry.replicas is None else str(entry.replicas),
            entry.arithmetic,
            changes_by_set(entry.ndcg_change),
        )
        for entry in result.variants
    ]
    settings = result.settings
    title = (
        f"replicas for {settings['rate']:g} requests a second of {settings['documents']} documents within "
        f"{settings['slo']}"
    )
    return Table(title, ("variant", "replicas", "calculation", "Δ nDCG@10 to PyTorch"), rows)
