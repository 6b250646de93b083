"""The report of a training: one page that opens anywhere, offline, with the same findings as JSON."""

import base64
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from crossrank.data.files import written_beside
from crossrank.data.trec import Run
from crossrank.evaluation.compare import SystemComparison
from crossrank.evaluation.metrics import MEASURES
from crossrank.evaluation.query_changes import Changes, query_changes
from crossrank.evaluation.systems import TUNED, label
from crossrank.reporting.distributions import (
    LengthHistogram,
    Reliability,
    ScoreHistogram,
    length_histogram,
    score_histogram,
)
from crossrank.train.calibration import expected_calibration_error
from crossrank.train.report import plots
from crossrank.train.report.record import TrainingReport

REPORT_FILE = "report.html"

_PAGES = Environment(
    loader=PackageLoader("crossrank.train.report", ""),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_PAGES.filters["label"] = label


@dataclass(frozen=True, slots=True)
class _Findings:
    changes: Changes | None
    scores: dict[str, ScoreHistogram]
    lengths: LengthHistogram | None
    calibration: dict[str, Reliability]


@dataclass(frozen=True, slots=True)
class _Picture:
    source: str
    alt: str


def write_report(directory: Path, report: TrainingReport) -> dict[str, Any]:
    """Writes `report.html`, which holds all that it shows, and its plots as PNGs beside it.

    What a report lacks is left out. Each file replaces one of its name once it is complete.

    Args:
        directory: is made if it does not exist.
        report: what to show.

    Returns:
        What the page shows and `TrainingReport.to_json` lacks, fit for `json.dumps`: `changes`
        (`crossrank.evaluation.query_changes.Changes`), and from `crossrank.reporting.distributions` `scores`
        (`ScoreHistogram` by system), `lengths` (`LengthHistogram`) and `calibration` (`Reliability` by name). What
        there is not is None or empty.

    Raises:
        ValueError: the reference was not evaluated, or a score is not finite.
        OSError: a file cannot be written.
    """
    findings = _find(report)
    systems = _systems(report.measured.comparison) if report.measured else []
    facts = _facts(report)
    # All of what is said comes before the first is drawn.
    drawings = list(_drawings(report, findings))
    pictures = {name: _picture(directory / f"{name}.png", draw, alt) for name, draw, alt in drawings}
    page = _PAGES.get_template("report.html.jinja").render(
        report=report,
        facts=facts,
        evaluation=report.measured and report.measured.comparison,
        untuned=_untuned(report),
        findings=findings,
        pictures=pictures,
        measures=MEASURES,
        systems=systems,
    )
    with written_beside(directory / REPORT_FILE) as staged:
        staged.write_text(page, encoding="utf-8")
    calibration = {
        name: {"bins": [each.model_dump() for each in diagram.bins], "error": diagram.error}
        for name, diagram in findings.calibration.items()
    }
    return {**asdict(findings), "calibration": calibration}


def _facts(report: TrainingReport) -> dict[str, str]:
    history, base = report.history, report.recipe.base
    return {
        "base": Path(base).name if Path(base).is_dir() else base,
        "training set": f"{report.training_set_pairs:,} pairs",
        "loss": report.recipe.loss.name,
        "steps": f"{history.steps:,}",
        "pairs seen": f"{history.pairs_seen:,}",
        "time": f"{history.seconds:,.0f} s",
        "precision": f"{history.precision} on {history.device}",
    }


def _untuned(report: TrainingReport) -> Run | None:
    """The scores of the system that wins and losses are counted against, where it has any."""
    baselines = report.measured and report.measured.baselines
    return baselines.scores.get(baselines.reference) if baselines else None


def _find(report: TrainingReport) -> _Findings:
    changes, scores = None, {}
    if measured := report.measured:
        reference, untuned = measured.baselines.reference, _untuned(report)
        changes = query_changes(measured.comparison, reference, measured.eval_set, measured.tuned, untuned)
        scores = {
            system: histogram
            for system, run in ((reference, untuned), (TUNED, measured.tuned))
            if run and (histogram := score_histogram(run, measured.eval_set))
        }
    calibration = {
        name: Reliability(list(bins), expected_calibration_error(bins))
        for name, bins in (report.calibration.bins if report.calibration else ())
        if bins
    }
    lengths = length_histogram(report.lengths, report.recipe.max_length)
    return _Findings(changes, scores, lengths, calibration)


def _systems(evaluation: SystemComparison) -> list[dict[str, Any]]:
    first = evaluation.first
    return [
        {
            "name": label(system),
            "means": evaluation.means(system),
            "difference": None if system == first else evaluation.difference(first, system),
        }
        for system in evaluation.per_query
    ]


def _drawings(report: TrainingReport, findings: _Findings) -> Iterator[tuple[str, Callable[[Path], None], str]]:
    """Yields name, drawing and, for who does not see it, the gist of each picture that there is something for."""
    if losses := report.history.losses:
        rate = max(rate for _, _, rate in losses)
        yield (
            "loss",
            lambda path: plots.plot_loss(losses, path),
            f"Loss over {losses[-1][0]} steps: {losses[0][1]:.4f} at the first report, "
            f"{losses[-1][1]:.4f} at the last; learning rate {rate:.3g} at its highest.",
        )
    if quality := report.history.quality:
        step, best = max(quality, key=lambda entry: entry[1])
        yield (
            "ndcg_by_step",
            lambda path: plots.plot_quality_by_step(quality, path),
            f"nDCG@10 while training: {quality[0][1]:.3f} at step {quality[0][0]}, {quality[-1][1]:.3f} at step "
            f"{quality[-1][0]}, best {best:.3f} at step {step}.",
        )
    if report.measured:
        evaluation = report.measured.comparison
        means = (f"{label(system)} {evaluation.means(system)['nDCG@10']:.3f}" for system in evaluation.per_query)
        yield "ndcg", lambda path: plots.plot_quality(evaluation, path), f"nDCG@10: {', '.join(means)}."
    if changes := findings.changes:
        gains = list(changes.differences.values())
        yield (
            "changes",
            lambda path: plots.plot_changes(changes, path),
            f"nDCG@10 query by query: {changes.wins} won, {changes.losses} lost, {changes.ties} unchanged; "
            f"from {gains[0]:+.3f} to {gains[-1]:+.3f}.",
        )
    if scores := findings.scores:
        gists = (f"{label(system)}: {_medians(histogram)}" for system, histogram in scores.items())
        yield "scores", lambda path: plots.plot_scores(scores, path), f"Median scores. {'; '.join(gists)}."
    if lengths := findings.lengths:
        yield (
            "lengths",
            lambda path: plots.plot_lengths(lengths, path),
            f"Lengths of {lengths.pairs} pairs, {lengths.longest} tokens at most; {lengths.truncated_pairs:.1%} are "
            f"longer than max_length {lengths.max_length}.",
        )
    if calibration := findings.calibration:
        errors = (f"{name} {side.error:.3f}" for name, side in calibration.items())
        yield (
            "calibration",
            lambda path: plots.plot_calibration(calibration, path),
            f"Observed shares over predicted probabilities; expected calibration error: {', '.join(errors)}.",
        )


def _medians(histogram: ScoreHistogram) -> str:
    groups = {"relevant": histogram.relevant_median, "other": histogram.other_median}
    return ", ".join(f"{name} {median:.3g}" for name, median in groups.items() if median is not None)


def _picture(path: Path, draw: Callable[[Path], None], alt: str) -> _Picture:
    draw(path)
    return _Picture("data:image/png;base64," + base64.b64encode(path.read_bytes()).decode("ascii"), alt)
