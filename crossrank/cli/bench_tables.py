"""Tables of benchmark results, for people."""

from typing import TYPE_CHECKING

from crossrank.cli.output import print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from crossrank.bench.compare import Change
    from crossrank.bench.result import Result


def show_result(result: "Result") -> None:
    """Prints what was measured."""
    machine = result.machine
    title = f"{result.benchmark} on {machine.processor}, {machine.cores} cores, {machine.instruction_set}"
    if result.speeds:
        _show_speeds(result, title)
    if result.checks:
        _show_checks(result)
    if result.loads:
        _show_loads(result, title)
    if result.quality:
        _show_quality(result, title)
    if result.sizing:
        _show_sizing(result)
    for sentence in result.caveats():
        print(sentence)


def show_changes(changes: "Sequence[Change]", notes: "Sequence[str]") -> None:
    """Prints each figure of both results, and a sentence on whether any changed."""
    rows = [
        (
            change.what,
            f"{change.before:.4g}",
            f"{change.after:.4g}",
            f"{change.change}" if change.none else change.change.signed(),
            "yes" if change.beyond_noise else "no",
        )
        for change in changes
    ]
    columns = ("what", "before", "after", "ratio, or difference of shares and nDCG@10", "beyond noise")
    print_table("after to before", columns, rows)
    for note in notes:
        print(f"{note}.")
    changed = sum(change.beyond_noise for change in changes)
    print(f"{changed} of {len(changes)} figures changed beyond noise; of many, one in twenty would by chance.")


def _show_speeds(result: "Result", title: str) -> None:
    rows = [
        (
            speed.name,
            f"{speed.median:.0f}",
            f"{speed.ratio}" + (f" of {speed.baseline}" if speed.baseline != result.speeds[0].name else ""),
            "" if speed.kendall_tau is None else f"{speed.kendall_tau:.3f}",
            "" if speed.top_1 is None else f"{speed.top_1:.2f}",
            _losses(speed.loss),
        )
        for speed in result.speeds
    ]
    columns = ("contestant", "pairs/s", "ratio to the first", "Kendall", "top-1", "nDCG@10 less PyTorch's")
    print_table(title, columns, rows)
    level = min(speed.ratio.level for speed in result.speeds)
    print(f"Ratios are medians over turns, with intervals that hold the true median at {level:.0%} or more.")


def _show_checks(result: "Result") -> None:
    print_table(
        "checks",
        ("what", "is", "aim", "reached", "details"),
        [
            (
                check.name,
                f"{check.value:.3g} {check.unit}",
                check.aim,
                "yes" if check.reached else "no",
                ", ".join(f"{name} {value:.3g}" for name, value in check.details.items()),
            )
            for check in result.checks
        ],
    )


def _show_loads(result: "Result", title: str) -> None:
    percentiles = list(dict.fromkeys(name for load in result.loads for name in load.latency_ms))
    parts = list(dict.fromkeys(name for load in result.loads for name in load.server_ms))
    rows = [
        (
            load.label,
            str(load.calls),
            f"{load.goodput:.3g}",
            f"{load.pairs_per_second:.0f}",
            *(f"{load.latency_ms[name]:.0f}" if name in load.latency_ms else "" for name in percentiles),
            *([" + ".join(f"{load.server_ms.get(part, 0):.0f}" for part in parts)] if parts else []),
            f"{load.generator.cpu_ms_per_call:.2f} ({load.generator.cores:.0%})",
        )
        for load in result.loads
    ]
    columns = ("load", "calls", result.goodput_name, "pairs/s", *percentiles)
    columns += (*([" + ".join(parts)] if parts else []), "generator's CPU a call (of a core)")
    print_table(f"{title}; latencies in ms from when a call was due", columns, rows)
    for load in result.loads:
        for sentence in load.caveats():
            print(sentence)
    if result.highest_rate is not None:
        print(result.rate_sentence())


def _show_quality(result: "Result", title: str) -> None:
    rows = [
        (
            point.label,
            point.data,
            str(point.queries),
            f"{point.ndcg_10:.3f}",
            point.ndcg_difference.signed() if point.ndcg_difference else "",
            f"{point.mrr_10:.3f}",
            point.mrr_difference.signed() if point.mrr_difference else "",
            f"{point.pairs_per_second:.0f}",
        )
        for point in result.quality
    ]
    columns = ("variant and setting", "data", "queries", "nDCG@10", "less the first's", "MRR@10", "less the first's")
    print_table(title, (*columns, "documents/s"), rows)


def _show_sizing(result: "Result") -> None:
    rows = [
        (
            size.variant,
            "none" if size.replicas is None else str(size.replicas),
            size.arithmetic,
            _losses(size.loss),
        )
        for size in result.sizing
    ]
    print_table(
        f"replicas for {result.settings['rate']:g} calls a second of {result.settings['documents']} documents within "
        f"{result.settings['objective']}",
        ("variant", "replicas", "how", "nDCG@10 less PyTorch's"),
        rows,
    )


def _losses(loss: "Mapping[str, float]") -> str:
    return ", ".join(f"{data} {value:+.4f}" for data, value in loss.items())
