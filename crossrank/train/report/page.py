"""The report of a training: one page that opens anywhere, offline, with the same findings as JSON."""

import base64
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray

from crossrank.data.eval_set import JudgedSet
from crossrank.data.files import written_beside
from crossrank.data.trec import Run
from crossrank.evaluation.compare import SystemComparison
from crossrank.evaluation.metrics import MEASURES
from crossrank.evaluation.query_changes import Changes, query_changes
from crossrank.evaluation.systems import BASE, TUNED, label
from crossrank.inference.calibration import Bin
from crossrank.reporting.distributions import (
    LengthHistogram,
    Reliability,
    ScoreHistogram,
    length_histogram,
    score_histogram,
)
from crossrank.train.calibration import expected_calibration_error
from crossrank.train.report import plots

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
class ReportInput:
    """What is known of a training when it has ended.

    Attributes:
        name: of the recipe.
        verdict: one sentence on what was gained.
        facts: what the run was, name -> value, such as {"pairs": "7,187", "precision": "bf16"}.
        losses: (step, mean loss since the entry before, learning rate).
        quality: (step, nDCG@10 on the held-out queries) of the evaluations while training; may be empty.
        lengths: tokens of the training pairs, or of a sample of them, before truncation; int64, shape [pairs].
        max_length: tokens that the model reads of a pair.
        evaluation: its first system is the tuned one.
        judged: what `evaluation` was made on.
        tuned: the scores of the first system.
        untuned: the scores of `reference`, or None where it has none.
        reference: the system of `evaluation` that wins and losses are counted against.
        calibration: bins of the tuned model's probabilities, by what was done to them, such as "before" and "after"
            calibrating.
    """

    name: str
    verdict: str
    facts: Mapping[str, str]
    losses: Sequence[tuple[int, float, float]]
    quality: Sequence[tuple[int, float]]
    lengths: NDArray[np.int64]
    max_length: int
    evaluation: SystemComparison | None = None
    judged: JudgedSet | None = None
    tuned: Run | None = None
    untuned: Run | None = None
    reference: str | None = None
    calibration: Mapping[str, Sequence[Bin]] = field(default_factory=dict)


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


def write_report(directory: Path, report: ReportInput) -> None:
    """Writes `report.html`, which holds all that it shows, and its plots as PNGs beside it.

    What a report lacks is left out. Each file replaces one of its name once it is complete.

    Args:
        directory: is made if it does not exist.
        report: what to show.

    Raises:
        ValueError: `reference` was not evaluated, or a score is not finite.
        OSError: a file cannot be written.
    """
    findings = _find(report)
    pictures = {name: _picture(directory / f"{name}.png", draw, alt) for name, draw, alt in _drawings(report, findings)}
    page = _PAGES.get_template("report.html.jinja").render(
        report=report,
        findings=findings,
        pictures=pictures,
        measures=MEASURES,
        systems=_systems(report.evaluation) if report.evaluation else [],
    )
    with written_beside(directory / REPORT_FILE) as staged:
        staged.write_text(page, encoding="utf-8")


def report_json(report: ReportInput) -> dict[str, Any]:
    """What the page shows and `SystemComparison.to_json` lacks, fit for `json.dumps`.

    Its keys: `quality` by step, `changes` (`crossrank.evaluation.query_changes.Changes`), and from
    `crossrank.reporting.distributions` `scores`
    (`ScoreHistogram` by system), `lengths` (`LengthHistogram`) and `calibration` (`Reliability` by name). What there
    is not is None or empty.

    Raises:
        ValueError: as `write_report`.
    """
    quality = [{"step": step, "nDCG@10": value} for step, value in report.quality]
    found = _find(report)
    calibration = {
        name: {"bins": [each.model_dump() for each in diagram.bins], "error": diagram.error}
        for name, diagram in found.calibration.items()
    }
    return {"quality": quality, **asdict(found), "calibration": calibration}


def _find(report: ReportInput) -> _Findings:
    changes = None
    if report.evaluation and report.reference:
        changes = query_changes(report.evaluation, report.reference, report.judged, report.tuned, report.untuned)
    runs = {report.reference or BASE: report.untuned, TUNED: report.tuned}
    scores = {
        system: histogram
        for system, run in runs.items()
        if run and report.judged and (histogram := score_histogram(run, report.judged))
    }
    calibration = {
        name: Reliability(list(bins), expected_calibration_error(bins))
        for name, bins in report.calibration.items()
        if bins
    }
    return _Findings(changes, scores, length_histogram(report.lengths, report.max_length), calibration)


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


def _drawings(report: ReportInput, findings: _Findings) -> Iterator[tuple[str, Callable[[Path], None], str]]:
    """Yields name, drawing and, for who does not see it, the gist of each picture that there is something for."""
    if losses := report.losses:
        rate = max(rate for _, _, rate in losses)
        yield (
            "loss",
            lambda path: plots.plot_loss(report.losses, path),
            f"Loss over {losses[-1][0]} steps: {losses[0][1]:.4f} at the first report, "
            f"{losses[-1][1]:.4f} at the last; learning rate {rate:.3g} at its highest.",
        )
    if quality := report.quality:
        step, best = max(quality, key=lambda entry: entry[1])
        yield (
            "ndcg_by_step",
            lambda path: plots.plot_quality_by_step(quality, path),
            f"nDCG@10 while training: {quality[0][1]:.3f} at step {quality[0][0]}, {quality[-1][1]:.3f} at step "
            f"{quality[-1][0]}, best {best:.3f} at step {step}.",
        )
    if evaluation := report.evaluation:
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
