"""`crossrank bench`."""

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias

import typer

from crossrank.bench.options import CapacityOptions, LoadOptions, QualityOptions
from crossrank.cli.options import options_of, parse
from crossrank.cli.output import needs, print_json, print_line, print_table
from crossrank.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from crossrank.bench.report import Section

app = typer.Typer(no_args_is_help=True, help="Measure a ranker: load, ranking quality and capacity.")

Out: TypeAlias = Annotated[Path | None, typer.Option(help="Directory for result.json, report.html and the plots.")]
AsJson: TypeAlias = Annotated[bool, typer.Option("--json", help="Print the result as JSON.")]
Ranker: TypeAlias = Annotated[Path, typer.Argument(help="Directory of a ranker.")]


@app.command("load")
@options_of(LoadOptions)
def load(
    target: Annotated[str, typer.Argument(help=LoadOptions.model_fields["target"].description)] = "127.0.0.1:50051",
    out: Out = None,
    as_json: AsJson = False,
    **given: Any,
) -> None:
    """Put load on a running server. Ctrl-C keeps what was measured until then.

    Latency counts from the time at which a request was due, not from when it could be sent.
    """
    options = parse(LoadOptions, {**given, "target": target})
    with needs("bench,cpu"):
        from crossrank.bench.load.load_test import bench_load
        from crossrank.bench.report import section_of
    deliver(lambda: section_of(bench_load(options)), out, as_json)


@app.command("quality")
@options_of(QualityOptions)
def quality(
    ranker: Ranker,
    data: Annotated[
        list[Path], typer.Argument(metavar="DATA...", help=QualityOptions.model_fields["data"].description)
    ],
    out: Out = None,
    as_json: AsJson = False,
    **given: Any,
) -> None:
    """Measure nDCG@10, MRR@10 and speed of every variant and setting, with paired intervals."""
    options = parse(QualityOptions, {**given, "ranker": ranker, "data": data})
    with needs("bench,cpu"):
        from crossrank.bench.quality import bench_quality
        from crossrank.bench.report import section_of
    deliver(lambda: section_of(bench_quality(options)), out, as_json)


@app.command("capacity")
@options_of(CapacityOptions)
def capacity(ranker: Ranker, out: Out = None, as_json: AsJson = False, **given: Any) -> None:
    """Compute how many machines like this one carry a load, and with which variant."""
    options = parse(CapacityOptions, {**given, "ranker": ranker})
    with needs("bench,cpu"):
        from crossrank.bench.capacity import bench_capacity
        from crossrank.bench.report import section_of
    deliver(lambda: section_of(bench_capacity(options)), out, as_json)


@app.command("report")
def report(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Files result.json of other bench commands.")],
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
        print_line(str(page))


@app.command("compare")
def compare(
    before: Annotated[Path, typer.Argument(help="File result.json of a bench command.")],
    after: Annotated[Path, typer.Argument(help="File result.json of the same command, later.")],
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
        print_line(f"{note.text}.")
    print_line(comparison.conclusion())


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
                print_line(sentence)
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
