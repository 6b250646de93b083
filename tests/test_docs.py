"""README and docs against the code: commands, options, Python, recipes, metrics and links."""

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import NamedTuple

import pytest

from crossrank.cli.app import COMMANDS as TABLE
from crossrank.cli.app import load
from crossrank.cli.options import flag
from crossrank.data.examples import read_examples
from crossrank.errors import CrossrankError
from crossrank.serve.engine.registry import ModelRegistry
from crossrank.serve.http.routes import ROUTES
from crossrank.serve.lifecycle import EXIT_HUNG
from crossrank.serve.settings import ServerSettings
from crossrank.serve.telemetry.metrics import Metrics
from crossrank.train.recipe import Recipe
from tests.conftest import HELDOUT

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PROJECT = [ROOT / "README.md", *(ROOT / name for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md"))]
PAGES = [page for page in (*PROJECT, *sorted(DOCS.rglob("*.md"))) if page.is_file()]
TEXTS = {str(page.relative_to(ROOT)): page.read_text(encoding="utf-8") for page in PAGES}


class Block(NamedTuple):
    page: str
    language: str
    text: str


BLOCKS = [
    Block(page, language, text)
    for page, whole in TEXTS.items()
    for language, text in re.findall(r"^```(\w+)\n(.*?)^```", whole, re.DOTALL | re.MULTILINE)
]
SHELL = [
    (block.page, line)
    for block in BLOCKS
    if block.language == "sh"
    for line in block.text.replace("\\\n", "").splitlines()
    if line
]
PYTHON = [block for block in BLOCKS if block.language == "python"]
COMMANDS = [f"{name} {command}".rstrip() for name in TABLE for command in getattr(load(name), "commands", {"": None})]
# What a block of a shell may begin with beside our own commands.
OTHERS = {"make", "pip", "curl", "buf", "torchrun", "git"}


def options(name: str, *sub: str) -> set[str]:
    command = load(name)
    for part in sub:
        command = command.commands[part]
    return {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}


def command_of(line: str) -> str | None:
    """The command of ours that a line of a shell runs; None where it runs another program."""
    words = shlex.split(line)
    if Path(words[0]).name == "export-onnx":
        return "export-onnx"
    if Path(words[0]).name != "crossrank":
        return None
    return " ".join(words[1:3]) if words[1] in ("bench", "feedback") else words[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented_and_shown(command: str) -> None:
    assert f"## `crossrank {command}`" in TEXTS["docs/reference/commands.md"]
    assert command == "quickstart" or command in {command_of(line) for _, line in SHELL}
    assert ("--json" in options(*command.split())) == (command != "serve")


@pytest.mark.parametrize(("page", "line"), SHELL)
def test_every_line_of_a_shell_block_names_what_exists(page: str, line: str) -> None:
    command = command_of(line)
    if command is None:
        assert shlex.split(line)[0] in OTHERS
    else:
        assert command in COMMANDS
        shown = {word for word in shlex.split(line) if word.startswith("--")}
        assert shown <= options(*command.split())


def test_every_block_is_of_a_language_that_is_checked() -> None:
    # Diagrams as text would load their renderer from elsewhere.
    assert {block.language for block in BLOCKS} == {"sh", "python", "toml", "text", "proto"}


def test_every_make_target_exists() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = {target for text in TEXTS.values() for target in re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE)}
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_recipe_shown_is_valid() -> None:
    shown = [tomllib.loads(block.text) for block in BLOCKS if block.language == "toml"]
    assert "support-answers" in {recipe.get("name") for recipe in shown}
    for recipe in shown:
        Recipe.model_validate({"name": "part", "base": "base", "max_length": 128, **recipe})


@pytest.mark.parametrize(
    "block",
    [block for block in PYTHON if "record_feedback" not in block.text],  # that one needs a server that keeps feedback
    ids=lambda block: block.page,
)
def test_every_python_block_runs(block: Block, server: str, capsys: pytest.CaptureFixture[str]) -> None:
    exec(compile(block.text.replace("127.0.0.1:50051", server), block.page, "exec"), {})


def test_every_json_body_is_json() -> None:
    bodies = [
        words[words.index(mark) + 1]
        for _, line in SHELL
        for words in [shlex.split(line)]
        for mark in ("-d", "--data")
        if mark in words
    ]
    assert bodies
    for body in bodies:
        assert json.loads(body)["query"]


def test_every_setting_that_is_named_exists() -> None:
    named = {name for text in TEXTS.values() for name in re.findall(r"CROSSRANK_[A-Z_]+", text)}
    known = {f"CROSSRANK_{name.upper()}" for name in ServerSettings.model_fields}
    assert named <= known | {"CROSSRANK_CONFIG", "CROSSRANK_KEY"}


def test_every_option_that_prose_names_exists() -> None:
    known = {option for command in COMMANDS for option in options(*command.split())}
    known |= {flag(name, field) for name, field in ServerSettings.model_fields.items()}
    # Of pip, torchrun, mkdocs and our own modules.
    known |= {"--install-completion"}
    for page, text in TEXTS.items():
        if page.startswith(("docs/benchmarks/", "docs/reference/")):
            continue
        named = {
            option for span in re.findall(r"`(--[^`]+)`", text) for option in re.findall(r"--[a-z][a-z0-9-]*", span)
        }
        assert named <= known, page


def test_every_http_route_is_documented() -> None:
    shown = set(re.findall(r"`(/[a-z0-9/_.]*)`", TEXTS["docs/reference/http.md"]))
    assert set(ROUTES) <= shown


def test_every_metric_is_documented() -> None:
    exposed, _ = Metrics(ModelRegistry()).exposition("")
    found = re.findall(r"^# TYPE (crossrank_\w+) ", exposed.decode(), re.MULTILINE)
    names = {name for name in found if not name.endswith("_created")}
    shown = set(re.findall(r"`(crossrank_\w+)`", TEXTS["docs/reference/metrics.md"]))
    assert names
    assert names <= shown


def test_every_exit_code_is_documented() -> None:
    shown = {int(code) for code in re.findall(r"^\| (\d+) \|", TEXTS["docs/reference/exit-codes.md"], re.MULTILINE)}
    kinds = [CrossrankError]
    for kind in kinds:
        kinds += kind.__subclasses__()
    assert {kind.exit_code for kind in kinds} | {EXIT_HUNG} <= shown


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


@pytest.mark.parametrize("page", TEXTS)
def test_every_link_leads_somewhere(page: str) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", re.sub(r"^```.*?^```", "", TEXTS[page], flags=re.DOTALL | re.MULTILINE)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, fragment = target.partition("#")
        file = (ROOT / page).parent / path if path else ROOT / page
        assert file.exists(), target
        # A site holds nothing of the checkout but its pages.
        assert not page.startswith("docs/") or file.resolve().is_relative_to(DOCS), target
        if fragment:
            headings = re.findall(r"^#+ (.+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
            assert fragment in {anchor(heading) for heading in headings}, target


def test_the_readme_is_short() -> None:
    assert len(TEXTS["README.md"].splitlines()) <= 150


def test_the_counts_of_the_two_cases() -> None:
    recipes = HELDOUT.parent
    assert len(list(read_examples(recipes / "code-search-ratings.jsonl"))) == 45
    assert len(list(read_examples(recipes / "outdoor-skills.jsonl"))) == 18


def test_no_placeholder_is_left() -> None:
    for page, text in TEXTS.items():
        assert "@@" not in text, page
