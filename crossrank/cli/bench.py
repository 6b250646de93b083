"""`crossrank bench`."""

from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from crossrank.cli.bench_tables import show_changes, show_result
from crossrank.cli.output import needs, print_json, print_step
from crossrank.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from crossrank.bench.result import Result

app = typer.Typer(no_args_is_help=True, help="Measure speed and ranking quality side by side with the alternatives.")

Out: TypeAlias = Annotated[Path | None, typer.Option(help="Directory for result.json, report.html and the pictures.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Ranker: TypeAlias = Annotated[Path, typer.Argument(help="A ranker's directory.")]
Seed: TypeAlias = Annotated[int, typer.Option(help="Of texts and times.")]
Workload: TypeAlias = Annotated[
    str, typer.Option(help="passages, fixed-N (tokens), a .jsonl of query and documents, or a judged set.")
]
Variants: TypeAlias = Annotated[list[str] | None, typer.Option("--variant", help="Repeatable. Default: all.")]


class LongDocuments(StrEnum):
    """What is done with documents that do not fit."""

    TRUNCATE = "truncate"
    CHUNK = "chunk"


@app.command("engine")
def engine(
    model: Annotated[str, typer.Argument(help="Cross-encoder in PyTorch (directory or Hugging Face id).")],
    ranker: Annotated[Path, typer.Argument(help="The ranker that was exported from it.")],
    variant: Annotated[str | None, typer.Option(help="What the server runs; by default the fastest.")] = None,
    workload: Workload = "passages",
    documents: Annotated[int, typer.Option(min=2, help="Documents of a call.")] = 100,
    calls: Annotated[int, typer.Option(min=1, help="Calls of a turn.")] = 2,
    alternations: Annotated[int, typer.Option(min=2, help="Turns that count.")] = 7,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each measurement under load.")] = 20.0,
    load: Annotated[bool, typer.Option(help="Also put the server under load.")] = True,
    server: Annotated[
        list[str] | None, typer.Option(help="NAME=URL of another server's /rerank with the same weights; repeatable.")
    ] = None,
    seed: Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Measure the engine beside sentence-transformers and bare ONNX Runtime: same weights, same calls, in turns."""
    with needs("bench,cpu"):
        from crossrank.bench.engine import EngineOptions, bench_engine
    options = EngineOptions(
        model=model,
        ranker=ranker,
        variant=variant,
        workload=workload,
        documents=documents,
        calls=calls,
        alternations=alternations,
        seconds=seconds,
        load=load,
        servers=tuple(server or ()),
        seed=seed,
    )
    _deliver(lambda: bench_engine(options, print_step), out, as_json)


@app.command("training")
def training(
    recipe: Annotated[Path, typer.Argument(help="TOML file.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe; repeatable.")
    ] = None,
    rows: Annotated[int, typer.Option(min=32, help="Rows of its data, drawn by seed; a turn is one epoch.")] = 512,
    alternations: Annotated[int, typer.Option(min=2, help="Turns that count.")] = 5,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Measure a recipe's pairs a second beside sentence-transformers' own trainer: same data, same batch, in turns."""
    with needs("bench,train,cpu"):
        from crossrank.bench.training import TrainingOptions, bench_training
        from crossrank.train.recipe_files import load_recipe
    loaded, options = load_recipe(recipe, overrides or ()), TrainingOptions(rows, alternations)
    _deliver(lambda: bench_training(loaded, options, print_step), out, as_json)


@app.command("load")
def load(
    target: Annotated[
        str, typer.Argument(help="host:port of our server, or the URL of any server's /rerank.")
    ] = "127.0.0.1:50051",
    clients: Annotated[int, typer.Option(min=1, help="Of a closed loop: each waits for its answer.")] = 1,
    rate: Annotated[float | None, typer.Option(min=0.01, help="Calls a second of an open loop instead.")] = None,
    slo: Annotated[
        str | None, typer.Option(help="Look for the highest rate within an objective, such as p99=200ms.")
    ] = None,
    arrivals: Annotated[Literal["poisson", "constant"], typer.Option(help="Of an open loop.")] = "poisson",
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement.")] = 20.0,
    warm_up: Annotated[float, typer.Option(min=0, help="Seconds before it, which do not count.")] = 3.0,
    deadline: Annotated[float, typer.Option(min=0.001, help="Seconds of each call.")] = 30.0,
    workload: Workload = "passages",
    documents: Annotated[int, typer.Option(min=1, help="Of a call, at most.")] = 50,
    calls: Annotated[int, typer.Option(min=1, help="Calls that differ, sent in turn.")] = 64,
    seed: Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Put load on a running server. Ctrl-C keeps what was measured until then.

    Latency counts from the time at which a call was due, not from when it could be sent.
    """
    with needs("bench,cpu"):
        from crossrank.bench.load_run import LoadOptions, bench_load
        from crossrank.bench.objective import parse_objective
    options = LoadOptions(
        target=target,
        clients=clients,
        rate=rate,
        arrivals=arrivals,
        objective=parse_objective(slo) if slo else None,
        seconds=seconds,
        warm_up=warm_up,
        deadline=deadline,
        workload=workload,
        documents=documents,
        calls=calls,
        seed=seed,
    )
    _deliver(lambda: bench_load(options, print_step), out, as_json)


@app.command("quality")
def quality(
    ranker: Ranker,
    data: Annotated[list[Path], typer.Argument(metavar="DATA...", help="Judged sets.")],
    model: Annotated[
        str | None, typer.Option(help="Cross-encoder in PyTorch to compare with. Default: the fp32 graph.")
    ] = None,
    variant: Variants = None,
    max_length: Annotated[
        list[int] | None, typer.Option(min=8, help="Tokens of a pair; repeatable. Default: the ranker's own.")
    ] = None,
    long_documents: Annotated[list[LongDocuments] | None, typer.Option(help="Repeatable. Default: truncate.")] = None,
    max_queries: Annotated[int, typer.Option(min=1, help="Of each set.")] = 100,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Measure nDCG@10, MRR@10 and speed of every variant and setting, with paired intervals."""
    with needs("bench,cpu"):
        from crossrank.bench.quality import QualityOptions, bench_quality
    options = QualityOptions(
        ranker,
        tuple(data),
        model,
        tuple(variant or ()),
        tuple(max_length or ()),
        tuple(strategy.value for strategy in long_documents or (LongDocuments.TRUNCATE,)),
        max_queries,
    )
    _deliver(lambda: bench_quality(options, print_step), out, as_json)


@app.command("size")
def size(
    ranker: Ranker,
    rate: Annotated[float, typer.Option(min=0.01, help="Calls a second that all replicas together get.")],
    slo: Annotated[str, typer.Option(help="Objective that they must meet, such as p99=150ms.")],
    documents: Annotated[int, typer.Option(min=1, help="Of a call.")] = 50,
    variant: Variants = None,
    seconds: Annotated[float, typer.Option(min=1, help="Of each measurement.")] = 10.0,
    workload: Workload = "passages",
    seed: Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Say how many machines like this one carry a load, and with which variant."""
    with needs("bench,cpu"):
        from crossrank.bench.objective import parse_objective
        from crossrank.bench.size import SizeOptions, bench_size
    options = SizeOptions(ranker, rate, parse_objective(slo), documents, tuple(variant or ()), seconds, workload, seed)
    _deliver(lambda: bench_size(options, print_step), out, as_json)


@app.command("report")
def report(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="result.json of other bench commands.")],
    out: Annotated[Path, typer.Option(help="Directory for report.html and the pictures.")] = Path("bench-report"),
    as_json: Annotated[bool, typer.Option("--json", help="Print where they are as JSON.")] = False,
) -> None:
    """Draw results: one page that opens anywhere, and its pictures."""
    with needs("bench,cpu"):
        from crossrank.bench.report import write_report
        from crossrank.bench.result import read_result
    results = [read_result(file) for file in files]
    with _writing(out):
        page, *pictures = write_report(results, out)
    if as_json:
        print_json({"report": str(page), "pictures": list(map(str, pictures))})
    else:
        print(page)


@app.command("compare")
def compare(
    before: Annotated[Path, typer.Argument(help="result.json.")],
    after: Annotated[Path, typer.Argument(help="result.json of the same command, later.")],
    as_json: AsJson = False,
) -> None:
    """Say what changed between two results beyond noise."""
    with needs("bench,cpu"):
        from crossrank.bench.compare import compare_results
        from crossrank.bench.result import read_result
    changes, notes = compare_results(read_result(before), read_result(after))
    if as_json:
        print_json({"changes": [change.to_json() for change in changes], "notes": notes})
    else:
        show_changes(changes, notes)


def _deliver(measure: "Callable[[], Result]", out: Path | None, as_json: bool) -> None:
    """Measures, prints and writes; that a directory cannot be made is found out before minutes of measuring."""
    if out is not None:
        with _writing(out):
            out.mkdir(parents=True, exist_ok=True)
    result = measure()
    if as_json:
        print_json(result.model_dump())
    else:
        show_result(result)
    if out is not None:
        from crossrank.bench.report import write_result

        with _writing(out):
            write_result(result, out)


@contextmanager
def _writing(out: Path) -> "Iterator[None]":
    try:
        yield
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from None
