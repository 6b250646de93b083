"""The README of the benchmarks: its commands and options exist, and so do the files that it links to."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks import compare, engines, training

DIRECTORY = Path(__file__).parent.parent.parent / "benchmarks"
README = (DIRECTORY / "README.md").read_text(encoding="utf-8")
COMMANDS: dict[str, Callable[..., None]] = {
    "engines": engines.engines,
    "training": training.training,
    "compare": compare.compare,
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_and_option_exists(name: str) -> None:
    app = typer.Typer()
    app.command()(COMMANDS[name])
    shown = CliRunner().invoke(app, ["--help"], env={"COLUMNS": "200", "NO_COLOR": "1"}).output
    lines = [line for line in README.splitlines() if f"python -m benchmarks.{name}" in line]
    assert lines
    wanted = {option for line in lines for option in re.findall(r"(?<= )--[a-z][a-z-]*", line)}
    assert wanted <= set(re.findall(r"--[a-z][a-z-]*", shown))


def test_every_link_leads_to_a_file() -> None:
    links = [link for link in re.findall(r"\]\(([^)#]+)", README) if "://" not in link]
    assert links
    assert all((DIRECTORY / link).exists() for link in links)
