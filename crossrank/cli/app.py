"""The `crossrank` command: a table of its commands, each imported only when it runs."""

import functools
import io
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup
from typer.main import get_command, get_group

from crossrank.cli import last_resort
from crossrank.cli.logs import configure_logging
from crossrank.paths import from_home

# By name: where its function or its group of commands is below crossrank.cli.commands, and how its help begins.
COMMANDS = {
    "mine-code": ("train:mine_code", "Turn Python source trees into evaluation sets."),
    "train": ("train:train", "Fine-tune a cross-encoder as a recipe says."),
    "evaluate": ("train:evaluate", "Evaluate a model on the candidates of an evaluation set."),
    "export-onnx": ("export:export_onnx", "Convert a cross-encoder to ONNX."),
    "export-pytorch": ("export:export_pytorch", "Write a ranker's weights as a cross-encoder."),
    "doctor": ("doctor:doctor", "Check this installation and this machine."),
    "inspect": ("inspect:inspect", "Show what a ranker holds."),
    "serve": ("serve:serve", "Serve rankers over gRPC and HTTP."),
    "new-key": ("keys:new_key", "Make an API key for a server."),
    "rank": ("rank:rank", "Order files by their relevance to a query."),
    "feedback": ("feedback:app", "Turn what users said about answers into training rows."),
    "bench": ("bench:app", "Measure a ranker: load, ranking quality and capacity."),
    "quickstart": ("quickstart:quickstart", "Serve, fine-tune, export and serve again: offline."),
}
_STYLE: dict[str, Any] = {
    "pretty_exceptions_enable": False,
    # Plain help and errors: boxes cost twice the time, and nobody can paste them.
    "rich_markup_mode": None,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}


def load(name: str) -> Any:
    """Imports a command of the table, or a group of commands: click's `Command` or `Group`, as typer has them."""
    module, attribute = COMMANDS[name][0].split(":")
    loaded = getattr(import_module(f"crossrank.cli.commands.{module}"), attribute)
    if isinstance(loaded, typer.Typer):
        loaded.rich_markup_mode = None
        for command in loaded.registered_commands:
            if command.callback:
                command.callback = _with_home(command.callback)
        return get_group(loaded)
    alone = typer.Typer(add_completion=False, **_STYLE)
    alone.command(name)(_with_home(loaded))
    return get_command(alone)


def _with_home(command: Callable[..., None]) -> Callable[..., None]:
    """Expands `~` in the paths that a command is given: shells leave it in --option=~/path."""

    @functools.wraps(command)
    def run(**given: Any) -> None:
        command(**{name: _from_home(value) for name, value in given.items()})

    return run


def _from_home(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_from_home(each) for each in value]
    return from_home(value) if isinstance(value, Path) else value


class _Commands(TyperGroup):
    """Lists commands by the table; one that is called is imported then."""

    def resolve_command(self, ctx: Any, args: list[str]) -> tuple[str | None, Any, list[str]]:
        name, listed, rest = super().resolve_command(ctx, args)
        return name, listed and load(str(listed.name)), rest


app = typer.Typer(cls=_Commands, no_args_is_help=True, **_STYLE)
for _name, (_, _sentence) in COMMANDS.items():
    app.command(_name, help=_sentence)(lambda: None)


def _print_version(asked: bool) -> None:
    if asked:
        from crossrank import __version__

        print(f"crossrank {__version__}")
        raise typer.Exit


@app.callback()
def _crossrank(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Fine-tune, export, prove and serve cross-encoder rerankers."""


def main() -> None:
    """Runs `crossrank`."""
    last_resort.run(lambda: _run(app))


def export_onnx_main() -> None:
    """Runs `export-onnx`, the same as `crossrank export-onnx`."""
    last_resort.run(lambda: _run(load("export-onnx")))


def _run(command: Callable[[], None]) -> None:
    for stream in (sys.stdout, sys.stderr):
        # What the stream cannot take is escaped: half an answer is worth more than a traceback.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    configure_logging()
    command()
