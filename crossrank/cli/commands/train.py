"""`crossrank mine-code`, `crossrank train` and `crossrank evaluate`."""

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossrank.cli.options import options_of, parse
from crossrank.cli.output import needs, print_json, print_line, print_table, ranker_or_default
from crossrank.cli.progress import progress_bars
from crossrank.errors import CrossrankError, UsageError
from crossrank.evaluation.options import EvaluationOptions
from crossrank.progress import Progress
from crossrank.train.options import TrainOptions

if TYPE_CHECKING:
    from collections.abc import Sequence

    from crossrank.data.mining.code import MiningReport
    from crossrank.evaluation.compare import SystemComparison
    from crossrank.train.recipe import Recipe
    from crossrank.train.report.record import TrainingReport


def mine_code(
    sources: Annotated[list[Path], typer.Argument(metavar="SRC...", help="Directories of Python sources.")],
    out: Annotated[Path, typer.Option(help="Directory to write the evaluation sets `train` and `dev` to.")],
    dev_fraction: Annotated[float, typer.Option(help="Share of the queries that is held out, by module.")] = 0.2,
    seed: Annotated[int, typer.Option(help="Random seed of the split.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Turn Python source trees into evaluation sets: a docstring's first sentence asks for its function."""
    with needs("train"):
        from crossrank.data.mining.code import mine_code as mine
    with progress_bars():
        try:
            report = mine(sources, out, dev_fraction=dev_fraction, seed=seed)
        except OSError as error:
            raise UsageError(str(error)) from None
    if as_json:
        print_json(asdict(report))
    else:
        show_mining(report)


@options_of(TrainOptions)
def train(
    recipe: Annotated[Path | None, typer.Argument(help="TOML file of the recipe.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="Print every key of a recipe, and nothing else.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    **given: Any,
) -> None:
    """Fine-tune a cross-encoder as a recipe says, and judge whether that helped."""
    from crossrank.train.recipe_files import explain as explained
    from crossrank.train.recipe_files import load_recipe

    if explain:
        show_keys(explained(), as_json)
        return
    options = parse(TrainOptions, given)
    if recipe is None:
        raise UsageError("give a recipe, a TOML file; --explain prints what it may hold")
    loaded = load_recipe(recipe, options.overrides)
    if options.prepare is not None:
        prepare_packed(loaded, options.prepare, options.share)
        return
    seconds = None if options.time_limit is None else 60 * options.time_limit
    with progress_bars():
        with needs("train"), Progress(logging.getLogger("crossrank.train"), "load PyTorch"):
            from crossrank.train.pipeline import train as run
        report = run(loaded, options.out or Path(loaded.name), force=options.force, time_limit=seconds)
    if report is None:
        return
    if as_json:
        print_json(report.to_json())
    else:
        show_training(report)
    if options.require_better and not (report.verdict and report.verdict.ships):
        raise NotBetter(f"{report.directory} was written, but the training is not shown to have helped")


def prepare_packed(recipe: "Recipe", path: Path, share: float) -> None:
    """Write the packed inputs of a recipe."""
    from crossrank.train.packed.inputs import write_inputs
    from crossrank.train.packed.prepare import prepare_inputs

    with progress_bars():
        write_inputs(prepare_inputs(recipe, share), path)
    print_line(f"{path}: {path.stat().st_size / 2**20:.1f} MiB")


class NotBetter(CrossrankError):
    """A verdict that `--require-better` does not accept."""

    exit_code = 3


@options_of(EvaluationOptions)
def evaluate(
    data: Annotated[Path, typer.Argument(help="An evaluation set in the BEIR layout, or a file of rows.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the evaluation as JSON.")] = False,
    **given: Any,
) -> None:
    """Evaluate a model on the candidates of an evaluation set, beside BM25, its base's cosine, and both fused."""
    options = parse(EvaluationOptions, given)
    opened = options.model or str(ranker_or_default(None))
    with progress_bars():
        with needs("train"), Progress(logging.getLogger("crossrank.evaluation"), "load PyTorch"):
            from crossrank.evaluation.evaluate_model import evaluate_model
        evaluation = evaluate_model(opened, data, variant=options.variant, base=options.base, split=options.split)
    if as_json:
        print_json(evaluation.to_json())
    else:
        show_evaluation(evaluation)


def show_mining(report: "MiningReport") -> None:
    """Prints what was mined and what was skipped."""
    rows = [
        (name, str(side.modules), str(side.queries), str(side.documents))
        for name, side in (("train", report.train), ("dev", report.dev))
    ]
    print_table(
        f"{report.functions} functions in {report.files} files", ("side", "modules", "queries", "documents"), rows
    )
    skipped = sorted(report.skipped.items(), key=lambda item: -item[1])
    print_table("skipped", ("why", "how many"), [(reason, str(count)) for reason, count in skipped])


def show_training(report: "TrainingReport") -> None:
    """Prints how the run went."""
    history = report.history
    losses = history.losses
    print_table(
        str(report.directory),
        ("pairs", "steps", "pairs seen", "seconds", "precision", "first loss", "last loss", "highest rate"),
        [
            (
                str(report.training_set_pairs),
                str(history.steps),
                str(history.pairs_seen),
                f"{history.seconds:.0f}",
                history.precision,
                f"{losses[0][1]:.4f}",
                f"{losses[-1][1]:.4f}",
                f"{max(rate for _, _, rate in losses):.3g}",
            )
        ],
    )
    for measured in report.all_measured:
        show_evaluation(measured.comparison, measured.eval_set.name)
    print_line(f"Verdict: {report.verdict.sentence}." if report.verdict else "No verdict: nothing could be held out.")


def show_keys(keys: "Sequence[tuple[str, str, str]]", as_json: bool) -> None:
    """Prints what a recipe may hold."""
    if as_json:
        print_json([dict(zip(("key", "default", "meaning"), key, strict=True)) for key in keys])
    else:
        print_table("keys of a recipe", ("key", "default", "meaning"), keys)


def show_evaluation(evaluation: "SystemComparison", name: str = "") -> None:
    """Prints every system's measures, the first one's lead with its interval, and the verdict on it."""
    from crossrank.reporting.tables import comparison_table

    table = comparison_table(evaluation, name)
    print_table(table.title, table.columns, table.rows)
    show_verdicts([evaluation.verdict(other) for other in evaluation.per_query if other != evaluation.first])


def show_verdicts(verdicts: "Sequence[str]") -> None:
    """Prints what the intervals say, a sentence for each comparison."""
    for verdict in verdicts:
        print_line(verdict)
