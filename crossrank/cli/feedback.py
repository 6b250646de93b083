"""`crossrank feedback`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from crossrank.cli.output import print_json, print_table
from crossrank.errors import UsageError

if TYPE_CHECKING:
    from crossrank.feedback.labels import FeedbackReport

# Where most users stop looking.
_RANKS_SHOWN = 10

app = typer.Typer(no_args_is_help=True, help="Turn what users said about answers into training rows.")


@app.callback()
def _group() -> None:
    """Keeps `export` a command of its own while it is the only one."""


@app.command("export")
def export(
    store: Annotated[Path, typer.Argument(help="The file of the server's --feedback; the server may go on.")],
    out: Annotated[Path, typer.Argument(help="Training rows to write, .jsonl.")],
    corpus: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR|FILE",
            help="Texts that the store does not keep, by id: corpus.jsonl, and queries.jsonl by request id.",
        ),
    ] = None,
    clicks: Annotated[
        Literal["ignore", "use"], typer.Option(help="Whether clicks label what nobody rated.")
    ] = "ignore",
    inverse_propensity: Annotated[
        float | None,
        typer.Option(metavar="ETA", help="Weigh clicks by rank^ETA, against position bias. Default: 0, not."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file if it exists.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Turn feedback into training rows: one label for each query and document, the mean of its ratings."""
    from crossrank.feedback.labels import export_feedback

    if inverse_propensity is not None and clicks == "ignore":
        raise UsageError("--inverse-propensity weighs clicks; give --clicks use too")
    try:
        report = export_feedback(
            store, out, corpus=corpus, use_clicks=clicks == "use", eta=inverse_propensity or 0.0, force=force
        )
    except OSError as error:
        raise UsageError(f"{error.filename} cannot be used: {error.strerror}") from None
    if as_json:
        print_json(asdict(report))
    else:
        _show(report, out, used=clicks == "use", eta=inverse_propensity or 0.0)


def _show(report: "FeedbackReport", out: Path, *, used: bool, eta: float) -> None:
    print_table(
        str(out),
        ("rows from", "rows"),
        [
            ("ratings", str(report.from_ratings)),
            ("of these the mean of several", str(report.averaged)),
            ("clicks", str(report.from_clicks)),
        ],
    )
    held = [("answers", report.impressions), *report.feedback.items()]
    print_table("the store holds", ("what", "how many"), [(what, str(count)) for what, count in held])
    if report.skipped:
        skipped = [(reason, str(count)) for reason, count in report.skipped.items()]
        print_table("judged, and no row", ("why", "how many"), skipped)
    if report.clicks:
        print_table(
            "answers with a click",
            ("rank", "shown", "clicked", "click rate"),
            [
                (str(entry.rank), str(entry.shown), str(entry.clicked), f"{entry.clicked / entry.shown:.3f}")
                for entry in report.clicks[:_RANKS_SHOWN]
            ],
        )
        how = f"were weighed by rank^{eta:g}" if used and eta else "were used as they are" if used else "were not used"
        print(f"Users click more on what stands higher, whatever it is; clicks {how}.")
