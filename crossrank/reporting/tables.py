"""Tables of reports, the same on the terminal, on a page and on a model card."""

from collections.abc import Sequence
from dataclasses import dataclass

from crossrank.evaluation.compare import SystemComparison
from crossrank.evaluation.metrics import MEASURES
from crossrank.evaluation.systems import label


@dataclass(frozen=True, slots=True)
class Table:
    """A title, columns and rows of text; the first column is the name of a row."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]


def comparison_table(comparison: SystemComparison, name: str = "") -> Table:
    """The measures of every system, and how far the first one is ahead by nDCG@10, with its interval.

    Args:
        comparison: what was measured.
        name: of the evaluation set, for the title.
    """
    first, *others = comparison.per_query
    queries = f"{comparison.queries:,} {'query' if comparison.queries == 1 else 'queries'}"
    recall = f"{comparison.recall:.1%} of the relevant documents among the candidates"
    rows = []
    for system in comparison.per_query:
        means = comparison.means(system)
        row = [label(system), *(f"{means[measure]:.3f}" for measure in MEASURES)]
        if others:
            row.append("" if system == first else str(comparison.difference(first, system)))
        rows.append(row)
    columns = ["system", *MEASURES, *([f"Δ nDCG@10 of {label(first)}"] if others else [])]
    return Table(f"{f'{name}: ' if name else ''}{queries}, {recall}", columns, rows)
