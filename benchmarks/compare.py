"""`python -m benchmarks.compare BEFORE AFTER`: what changed between two results of these benchmarks beyond noise."""

from pathlib import Path
from typing import Annotated

import typer

from benchmarks.commands import run_command
from benchmarks.results import RESULTS, EnginesResult, TrainingResult
from crossrank.bench.compare import Comparison, differences, missing, ratio_change
from crossrank.bench.results import read_result
from crossrank.cli.output import print_json, print_table
from crossrank.errors import UsageError


def compare_speeds(before: EnginesResult | TrainingResult, after: EnginesResult | TrainingResult) -> Comparison:
    """Compares each engine's ratio to its baseline, since machines drift.

    Raises:
        UsageError: the results are of different benchmarks, or have no engine in common.
    """
    if before.benchmark != after.benchmark:
        raise UsageError(f"one result is of {before.benchmark}, the other of {after.benchmark}")
    found = {(speed.name, speed.baseline): speed for speed in after.speeds}
    changes = [
        ratio_change(old.name, f"pairs/s relative to {old.baseline}", old.ratio, found[old.name, old.baseline].ratio)
        for old in before.speeds
        if old.name != old.baseline and (old.name, old.baseline) in found
    ]
    if not changes:
        raise UsageError("the two results have no engine in common")
    names = [[speed.name for speed in result.speeds] for result in (before, after)]
    return Comparison(changes, [*differences(before, after), *missing(*names)])


def compare(
    before: Annotated[Path, typer.Argument(help="result.json of benchmarks.engines or benchmarks.training.")],
    after: Annotated[Path, typer.Argument(help="result.json of the same benchmark, later.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Show what changed between two results beyond noise."""
    comparison = compare_speeds(read_result(before, RESULTS), read_result(after, RESULTS))
    if as_json:
        print_json(comparison.to_json())
        return
    table = comparison.table()
    print_table(table.title, table.columns, table.rows)
    for note in comparison.notes:
        print(f"{note.text}.")
    print(comparison.conclusion())


if __name__ == "__main__":
    run_command(compare)
