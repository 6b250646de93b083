"""`crossrank bench`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from crossrank.cli.output import needs, print_json, print_step, print_table

if TYPE_CHECKING:
    from crossrank.bench.result import Result

app = typer.Typer(no_args_is_help=True, help="Measure speed and ranking quality side by side with the alternatives.")


@app.command("engine")
def engine(
    model: Annotated[str, typer.Argument(help="Cross-encoder in PyTorch (directory or Hugging Face id).")],
    ranker: Annotated[Path, typer.Argument(help="The ranker that was exported from it.")],
    variant: Annotated[str | None, typer.Option(help="What the server runs; by default the fastest.")] = None,
    documents: Annotated[int, typer.Option(min=2, help="Documents of a call.")] = 100,
    calls: Annotated[int, typer.Option(min=1, help="Calls of a turn.")] = 2,
    alternations: Annotated[int, typer.Option(min=2, help="Turns that count.")] = 7,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each measurement under load.")] = 20.0,
    load: Annotated[bool, typer.Option(help="Also put the server under load.")] = True,
    seed: Annotated[int, typer.Option(help="Of texts and times.")] = 0,
    out: Annotated[Path | None, typer.Option(help="Directory for result.json and speed.png.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure the engine beside sentence-transformers and bare ONNX Runtime: same weights, same calls, in turns."""
    with needs("bench,cpu"):
        from crossrank.bench.engine import EngineOptions, bench_engine
        from crossrank.bench.plot import plot_speeds
    options = EngineOptions(model, ranker, variant, documents, calls, alternations, seconds, load, seed)
    result = bench_engine(options, print_step)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "result.json").write_text(result.model_dump_json(indent=2) + "\n", encoding="utf-8")
        plot_speeds(result, out / "speed.png")
    if as_json:
        print_json(result.model_dump())
    else:
        _show(result)


@app.command("training")
def training(
    recipe: Annotated[Path, typer.Argument(help="TOML file.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe; repeatable.")
    ] = None,
    rows: Annotated[int, typer.Option(min=32, help="Rows of its data, drawn by seed; a turn is one epoch.")] = 512,
    alternations: Annotated[int, typer.Option(min=2, help="Turns that count.")] = 5,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Measure a recipe's pairs a second beside sentence-transformers' own trainer: same data, same batch, in turns."""
    with needs("bench,train,cpu"):
        from crossrank.bench.training import TrainingOptions, bench_training
        from train.recipe_files import load_recipe
    result = bench_training(load_recipe(recipe, overrides or ()), TrainingOptions(rows, alternations), print_step)
    if as_json:
        print_json(result.model_dump())
    else:
        _show(result)


def _show(result: "Result") -> None:
    machine = result.machine
    rows = [
        (
            speed.name,
            f"{speed.median:.0f}",
            str(speed.ratio),
            "" if speed.kendall_tau is None else f"{speed.kendall_tau:.3f}",
            "" if speed.top_1 is None else f"{speed.top_1:.2f}",
            ", ".join(f"{data} {loss:+.4f}" for data, loss in speed.loss.items()),
        )
        for speed in result.speeds
    ]
    print_table(
        f"{result.benchmark} on {machine.processor}, {machine.cores} cores, {machine.instruction_set}",
        ("contestant", "pairs/s", "ratio to the first", "Kendall", "top-1", "nDCG@10 less PyTorch's"),
        rows,
    )
    if not result.checks:
        return
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
