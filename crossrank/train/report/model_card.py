"""The model card: sentence-transformers writes base, data, loss, hyperparameters and usage; we add what came out."""

from pathlib import Path

from crossrank.reporting.tables import comparison_table
from crossrank.train.report.record import TrainingReport

_HEADING = "## Training Details"


def append_results(card: Path, report: TrainingReport) -> None:
    """Puts the run, its evaluations by name and its verdict before the card's training details."""
    text = card.read_text(encoding="utf-8")
    before, heading, after = text.partition(_HEADING)
    section = "\n".join(_section(report))
    card.write_text(f"{before}{section}\n\n{heading}{after}", encoding="utf-8")


def _section(report: TrainingReport) -> list[str]:
    recipe, history = report.recipe, report.history
    applied = [rate for _, _, rate in history.losses]
    lines = [
        "## Training Run",
        "",
        f"- Recipe: `{recipe.name}` (all of it in `recipe.toml`)",
        f"- Base: `{Path(recipe.base).name if Path(recipe.base).is_dir() else recipe.base}`",
        f"- Steps: {history.steps}, {history.pairs_seen} pairs in {history.seconds:.0f} s, {history.precision}",
        f"- Learning rate applied: {max(applied):.3g} at its highest, {applied[-1]:.3g} at the last report",
        f"- Loss: {history.losses[0][1]:.4f} at the first report, {history.losses[-1][1]:.4f} at the last",
        "",
        "![loss](loss.png)",
        "",
        "## Evaluation",
        "",
        f"Verdict: {report.conclusion}" if report.verdict else report.conclusion,
    ]
    for measured in report.all_measured:
        table = comparison_table(measured.comparison)
        lines += [
            "",
            f"### {measured.eval_set.name}",
            "",
            f"{table.title}. The candidates are the same for every system. Differences are paired, with 95% bootstrap "
            "intervals.",
            "",
            f"| {' | '.join(table.columns)} |",
            "|---|" + "---:|" * (len(table.columns) - 1),
            *(f"| {' | '.join(row)} |" for row in table.rows),
        ]
    return [*lines, "", "![nDCG@10](ndcg.png)"] if report.verdict else lines
