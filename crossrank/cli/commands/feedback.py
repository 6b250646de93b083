"""`crossrank feedback`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from crossrank.cli.options import options_of, parse
from crossrank.cli.output import print_json, print_line, print_table
from crossrank.feedback.options import LabelOptions

if TYPE_CHECKING:
    from crossrank.feedback.labels import FeedbackReport

# Where most users stop looking.
_RANKS_SHOWN = 10

app = typer.Typer(no_args_is_help=True, help="Turn what users said about answers into training rows.")


@app.callback()
def _group() -> None:
    """Keeps `export` a command of its own while it is the only one."""


@app.command("export")
@options_of(LabelOptions)
def export(
    store: Annotated[Path, typer.Argument(help="File of the server's --feedback. The server may be running.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="File of training rows to write, .jsonl.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
    **given: Any,
) -> None:
    """Turn feedback into training rows: one label for each query and document, the mean of its ratings."""
    from crossrank.feedback.labels import export_feedback

    options = parse(LabelOptions, given)
    report = export_feedback(store, out, options)
    if as_json:
        print_json(asdict(report))
    else:
        _show(report, out, used=options.use_clicks, eta=options.position_bias_eta)


def _show(report: "FeedbackReport", out: Path, *, used: bool, eta: float) -> None:
    print_table(
        str(out),
        ("source", "rows"),
        [
            ("ratings", str(report.from_ratings)),
            ("of these, means of several", str(report.averaged)),
            ("clicks", str(report.from_clicks)),
        ],
    )
    held = [("answers", report.impressions), *report.feedback.items()]
    print_table("the store holds", ("kind", "count"), [(what, str(count)) for what, count in held])
    if report.skipped:
        skipped = [(reason, str(count)) for reason, count in report.skipped.items()]
        print_table("skipped", ("reason", "count"), skipped)
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
        print_line(f"Users click more on what ranks higher, whatever it is: clicks {how}.")
