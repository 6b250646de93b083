"""The README against the commands: every command is documented, and every option in it exists."""

import re
import tomllib
from pathlib import Path

import pytest

from crossrank.cli.app import COMMANDS as TABLE
from crossrank.cli.app import load
from crossrank.data.examples import read_examples
from crossrank.train.recipe import Recipe
from tests.conftest import HELDOUT

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
SHELL = [line for language, block in BLOCKS if language == "sh" for line in block.splitlines() if line.strip()]
COMMANDS = [f"{name} {command}".rstrip() for name in TABLE for command in getattr(load(name), "commands", {"": None})]


def options(name: str, *sub: str) -> set[str]:
    command = load(name)
    for part in sub:
        command = command.commands[part]
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_in_the_table(command: str) -> None:
    assert f"| `crossrank {command}" in README


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_shown_for_a_command_exists(command: str) -> None:
    lines = [line for line in SHELL if re.search(rf"(crossrank {command}|^{command})\b", line)]
    shown = {option for line in lines for option in re.findall(r"(?<= )--[a-z][a-z-]*", line)}
    assert lines or command == "quickstart"
    assert shown <= options(*command.split())
    assert ("--json" in options(*command.split())) == (command != "serve")


def test_every_crossrank_line_names_a_command() -> None:
    for line in SHELL:
        if match := re.search(r"\bcrossrank ([a-z-]+)", line):
            assert match[1] in {command.split()[0] for command in COMMANDS}, line


def test_every_make_target_exists() -> None:
    makefile = (Path(__file__).parent.parent / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`?make (\w+)", README):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_recipe_in_it_is_valid() -> None:
    recipe = next(block for language, block in BLOCKS if language == "toml")
    assert Recipe.model_validate(tomllib.loads(recipe)).name == "support-answers"


def test_the_python_in_it_runs(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = next(block for language, block in BLOCKS if language == "python")
    exec(compile(code.replace("127.0.0.1:50051", server), "README.md", "exec"), {})


def test_the_counts_of_the_two_cases() -> None:
    recipes = HELDOUT.parent
    assert len(list(read_examples(recipes / "code-search-ratings.jsonl"))) == 45
    assert len(list(read_examples(recipes / "outdoor-skills.jsonl"))) == 18


def test_no_placeholder_is_left() -> None:
    assert "@@" not in README
