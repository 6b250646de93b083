"""The `crossrank` command; every command imports what it needs only when it runs."""

import sys
from collections.abc import Callable

import typer

from crossrank.cli import bench, export, feedback, inspect, quickstart, rank, serve, train
from crossrank.cli.logs import configure_logging
from crossrank.data.errors import JudgementsError
from crossrank.errors import CrossrankError

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Fine-tune, export, prove and serve cross-encoder rerankers.",
)
app.command("mine-code")(train.mine_code)
app.command("train")(train.train)
app.command("evaluate")(train.evaluate)
app.command("export-onnx")(export.export_onnx)
app.command("export-pytorch")(export.export_pytorch)
app.command("inspect")(inspect.inspect)
app.command("serve")(serve.serve)
app.command("rank")(rank.rank)
app.add_typer(feedback.app, name="feedback")
app.add_typer(bench.app, name="bench")
app.command("quickstart")(quickstart.quickstart)


def main() -> None:
    """Runs `crossrank`."""
    _run(app)


def export_onnx_main() -> None:
    """Runs `export-onnx`, the same as `crossrank export-onnx`."""
    alone = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
    alone.command()(export.export_onnx)
    _run(alone)


def _run(command: Callable[[], None]) -> None:
    """Ends with one sentence and the right exit code where something was wrong."""
    configure_logging()
    try:
        command()
    except CrossrankError as error:
        _fail(str(error), error.exit_code)
    except JudgementsError as error:
        _fail(str(error), 2)
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(sentence: str, code: int) -> None:
    sys.stderr.write(f"crossrank: {sentence}\n")
    sys.exit(code)
