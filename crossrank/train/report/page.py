"""The report of a training: one page, with the same findings as JSON."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from crossrank.calibration.fit import expected_calibration_error
from crossrank.data.trec import Run
from crossrank.evaluation.compare import MEASURE
from crossrank.evaluation.query_changes import Changes, query_changes
from crossrank.evaluation.systems import TUNED, label
from crossrank.reporting.distributions import (
    LengthHistogram,
    Reliability,
    ScoreHistogram,
    length_histogram,
    score_histogram,
)
from crossrank.reporting.page import Picture, write_page, write_pictures
from crossrank.reporting.tables import comparison_table
from crossrank.train.report import plots
from crossrank.train.report.record import TrainingReport


@dataclass(frozen=True, slots=True)
class _Findings:
    changes: Changes | None
    scores: dict[str, ScoreHistogram]
    lengths: LengthHistogram | None
    calibration: dict[str, Reliability]


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
    write_page(
        directory,
        "train/report/report.html.jinja",
        report=report,
        facts=_facts(report),
        systems=comparison_table(report.measured.comparison) if report.measured else None,
        untuned=_untuned(report),
        findings=findings,
        pictures=write_pictures(list(_pictures(report, findings)), directory),
    )
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


def _pictures(report: TrainingReport, findings: _Findings) -> Iterator[Picture]:
    """Yields each picture that there is something for."""
    if losses := report.history.losses:
        rate = max(rate for _, _, rate in losses)
        alt = (
            f"Loss over {losses[-1][0]} steps: {losses[0][1]:.4f} at the first report, {losses[-1][1]:.4f} at the "
            f"last; learning rate {rate:.3g} at its highest."
        )
        yield Picture("loss", alt, lambda: plots.plot_loss(losses))
    if quality := report.history.quality:
        step, best = max(quality, key=lambda entry: entry[1])
        alt = (
            f"nDCG@10 while training: {quality[0][1]:.3f} at step {quality[0][0]}, {quality[-1][1]:.3f} at step "
            f"{quality[-1][0]}, best {best:.3f} at step {step}."
        )
        yield Picture("ndcg_by_step", alt, lambda: plots.plot_quality_by_step(quality))
    if report.measured:
        evaluation = report.measured.comparison
        means = (f"{label(system)} {evaluation.means(system)[MEASURE]:.3f}" for system in evaluation.per_query)
        yield Picture("ndcg", f"{MEASURE}: {', '.join(means)}.", lambda: plots.plot_quality(evaluation))
    if changes := findings.changes:
        gains = list(changes.differences.values())
        alt = (
            f"nDCG@10 query by query: {changes.wins} won, {changes.losses} lost, {changes.ties} unchanged; "
            f"from {gains[0]:+.3f} to {gains[-1]:+.3f}."
        )
        yield Picture("changes", alt, lambda: plots.plot_changes(changes))
    if scores := findings.scores:
        gists = (f"{label(system)}: {_medians(histogram)}" for system, histogram in scores.items())
        yield Picture("scores", f"Median scores. {'; '.join(gists)}.", lambda: plots.plot_scores(scores))
    if lengths := findings.lengths:
        alt = (
            f"Lengths of {lengths.pairs} pairs, {lengths.longest} tokens at most; {lengths.truncated_pairs:.1%} are "
            f"longer than max_length {lengths.max_length}."
        )
        yield Picture("lengths", alt, lambda: plots.plot_lengths(lengths))
    if calibration := findings.calibration:
        errors = (f"{name} {side.error:.3f}" for name, side in calibration.items())
        alt = f"Observed shares over predicted probabilities; expected calibration error: {', '.join(errors)}."
        yield Picture("calibration", alt, lambda: plots.plot_calibration(calibration))


def _medians(histogram: ScoreHistogram) -> str:
    groups = {"relevant": histogram.relevant_median, "other": histogram.other_median}
    return ", ".join(f"{name} {median:.3g}" for name, median in groups.items() if median is not None)
