"""`crossrank bench`."""

from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

from crossrank.cli.output import needs, print_json, print_table
from crossrank.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from crossrank.bench.report import Section

app = typer.Typer(no_args_is_help=True, help="Measure a ranker: load, ranking quality and capacity.")

Out: TypeAlias = Annotated[Path | None, typer.Option(help="Directory for result.json, report.html and the plots.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Ranker: TypeAlias = Annotated[Path, typer.Argument(help="Directory of a ranker.")]
Seed: TypeAlias = Annotated[int, typer.Option(help="Random seed of texts and arrival times.")]
Workload: TypeAlias = Annotated[
    str,
    typer.Option(help="passages, fixed-N (tokens), a .jsonl file of query and documents, or an evaluation set."),
]
Variants: TypeAlias = Annotated[
    list[str] | None, typer.Option("--variant", help="Variant to measure; repeatable. Default: all.")
]


class LongDocuments(StrEnum):
    """Strategies for documents that do not fit."""

    TRUNCATE = "truncate"
    CHUNK = "chunk"


@app.command("load")
def load(
    target: Annotated[
        str, typer.Argument(help="host:port of a crossrank server, or the URL of any server's /rerank.")
    ] = "127.0.0.1:50051",
    concurrency: Annotated[
        int, typer.Option(min=1, help="Clients of a closed loop, each of which waits for its answer.")
    ] = 1,
    rate: Annotated[
        float | None, typer.Option(min=0.01, help="Requests a second of an open loop, instead of a closed one.")
    ] = None,
    slo: Annotated[
        str | None, typer.Option(help="Latency objective, such as p99=200ms: search the highest rate that meets it.")
    ] = None,
    arrivals: Annotated[
        Literal["poisson", "constant"], typer.Option(help="Arrival times of an open loop.")
    ] = "poisson",
    seconds: Annotated[float, typer.Option(min=0.1, help="Length of each measurement.")] = 20.0,
    warm_up: Annotated[float, typer.Option(min=0, help="Warm-up seconds, not measured.")] = 3.0,
    deadline: Annotated[float, typer.Option(min=0.001, help="Deadline of each request in seconds.")] = 30.0,
    workload: Workload = "passages",
    documents: Annotated[int, typer.Option(min=1, help="Largest number of documents of a request.")] = 50,
    distinct_requests: Annotated[int, typer.Option(min=1, help="Number of different requests, sent in turn.")] = 64,
    seed: Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Put load on a running server. Ctrl-C keeps what was measured until then.

    Latency counts from the time at which a request was due, not from when it could be sent.
    """
    with needs("bench,cpu"):
        from crossrank.bench.load.load_test import LoadOptions, bench_load
        from crossrank.bench.load.slo import parse_slo
        from crossrank.bench.report import section_of
    options = LoadOptions(
        target=target,
        concurrency=concurrency,
        rate=rate,
        arrivals=arrivals,
        slo=parse_slo(slo) if slo else None,
        seconds=seconds,
        warm_up=warm_up,
        deadline=deadline,
        workload=workload,
        documents=documents,
        distinct_requests=distinct_requests,
        seed=seed,
    )
    deliver(lambda: section_of(bench_load(options)), out, as_json)


@app.command("quality")
def quality(
    ranker: Ranker,
    data: Annotated[list[Path], typer.Argument(metavar="DATA...", help="Evaluation sets (BEIR layout).")],
    model: Annotated[
        str | None, typer.Option(help="Cross-encoder in PyTorch to compare with. Default: the fp32 graph.")
    ] = None,
    variant: Variants = None,
    max_length: Annotated[
        list[int] | None, typer.Option(min=8, help="Tokens of a pair; repeatable. Default: the ranker's own.")
    ] = None,
    long_documents: Annotated[
        list[LongDocuments] | None,
        typer.Option(help="Strategy for documents that do not fit; repeatable. Default: truncate."),
    ] = None,
    max_queries: Annotated[int, typer.Option(min=1, help="Largest number of queries of each set.")] = 100,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Measure nDCG@10, MRR@10 and speed of every variant and setting, with paired intervals."""
    with needs("bench,cpu"):
        from crossrank.bench.quality import QualityOptions, bench_quality
        from crossrank.bench.report import section_of
    options = QualityOptions(
        ranker,
        tuple(data),
        model,
        tuple(variant or ()),
        tuple(max_length or ()),
        tuple(strategy.value for strategy in long_documents or (LongDocuments.TRUNCATE,)),
        max_queries,
    )
    deliver(lambda: section_of(bench_quality(options)), out, as_json)


@app.command("capacity")
def capacity(
    ranker: Ranker,
    rate: Annotated[float, typer.Option(min=0.01, help="Requests a second that all replicas together get.")],
    slo: Annotated[str, typer.Option(help="Latency objective that they must meet, such as p99=150ms.")],
    documents: Annotated[int, typer.Option(min=1, help="Number of documents of a request.")] = 50,
    variant: Variants = None,
    seconds: Annotated[float, typer.Option(min=1, help="Length of each measurement.")] = 10.0,
    workload: Workload = "passages",
    seed: Seed = 0,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Compute how many machines like this one carry a load, and with which variant."""
    with needs("bench,cpu"):
        from crossrank.bench.capacity import CapacityOptions, bench_capacity
        from crossrank.bench.load.slo import parse_slo
        from crossrank.bench.report import section_of
    options = CapacityOptions(ranker, rate, parse_slo(slo), documents, tuple(variant or ()), seconds, workload, seed)
    deliver(lambda: section_of(bench_capacity(options)), out, as_json)


@app.command("report")
def report(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="result.json of other bench commands.")],
    out: Annotated[Path, typer.Option(help="Directory for report.html and the plots.")] = Path("bench-report"),
    as_json: Annotated[bool, typer.Option("--json", help="Print the paths of the files as JSON.")] = False,
) -> None:
    """Draw results: one self-contained page, and its plots as PNG."""
    with needs("bench,cpu"):
        from crossrank.bench.report import section_of, write_report
        from crossrank.bench.results import RESULTS, read_result
    sections = [section_of(read_result(file, RESULTS)) for file in files]
    with writing(out):
        page, *pictures = write_report(sections, out)
    if as_json:
        print_json({"report": str(page), "pictures": list(map(str, pictures))})
    else:
        print(page)


@app.command("compare")
def compare(
    before: Annotated[Path, typer.Argument(help="result.json of a bench command.")],
    after: Annotated[Path, typer.Argument(help="result.json of the same command, later.")],
    as_json: AsJson = False,
) -> None:
    """Show what changed between two results beyond noise."""
    with needs("bench,cpu"):
        from crossrank.bench.compare import compare_results
        from crossrank.bench.results import RESULTS, read_result
    comparison = compare_results(read_result(before, RESULTS), read_result(after, RESULTS))
    if as_json:
        print_json(comparison.to_json())
        return
    table = comparison.table()
    print_table(table.title, table.columns, table.rows)
    for note in comparison.notes:
        print(f"{note.text}.")
    print(comparison.conclusion())


def deliver(measure: "Callable[[], Section]", out: Path | None, as_json: bool) -> None:
    """Measures, prints and writes; a directory that cannot be made is found before minutes of measuring."""
    if out is not None:
        with writing(out):
            out.mkdir(parents=True, exist_ok=True)
    section = measure()
    if as_json:
        print_json(section.result.model_dump())
    else:
        for table in section.tables:
            print_table(table.title, table.columns, table.rows)
        for sentence in (*section.result.warnings(), section.sentence):
            if sentence:
                print(sentence)
    if out is not None:
        from crossrank.bench.report import write_result

        with writing(out):
            write_result(section, out)


@contextmanager
def writing(out: Path) -> "Iterator[None]":
    """Turns a failure to write below a directory into a sentence.

    Raises:
        UsageError: it cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise UsageError(f"{out} cannot be written: {error.strerror}") from None
