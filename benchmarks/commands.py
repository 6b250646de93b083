"""Command-line behaviour of the benchmarks: a log with times, and one sentence for what went wrong."""

import sys
from collections.abc import Callable
from typing import Any

import typer

from crossrank.cli.logs import configure_logging
from crossrank.errors import CrossrankError


def run_command(command: Callable[..., Any]) -> None:
    """Runs a function as a command; its parameters are the options."""
    configure_logging()
    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(command)
    try:
        app()
    except CrossrankError as error:
        _fail(str(error), error.exit_code)
    except KeyboardInterrupt:
        _fail("interrupted", 130)


def _fail(sentence: str, code: int) -> None:
    sys.stderr.write(f"{sentence}\n")
    sys.exit(code)
