import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from typer.main import get_command

from crossrank.cli.app import COMMANDS, app, load

HEAVY = {"numpy", "grpc", "pydantic", "torch", "onnxruntime", "transformers", "google.protobuf"}

# Options are pydantic models; nothing else is needed to list them.
OF_WORK = HEAVY - {"pydantic"} | {"rich", "scipy", "sentence_transformers", "tokenizers"}


def every_command() -> Iterator[tuple[str, Any]]:
    for name in COMMANDS:
        command = load(name)
        yield from ((f"{name} {sub}", each) for sub, each in getattr(command, "commands", {"": command}).items())


@pytest.mark.parametrize("arguments", [("--help",), ("--version",), ()])
def test_the_list_of_commands_imports_none_of_their_libraries(arguments: tuple[str, ...]) -> None:
    probe = (
        "import atexit, sys; from crossrank.cli.app import main;"
        f"sys.argv[1:] = {arguments!r};"
        f"atexit.register(lambda: print('imported:', *({HEAVY!r} & set(sys.modules)), file=sys.stderr));"
        "main()"
    )
    outcome = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert outcome.stdout + outcome.stderr != ""
    assert outcome.stderr.splitlines()[-1] == "imported:", outcome.stderr


def test_help_imports_no_library_of_the_work() -> None:
    """All in one process, since none of them may be there after any."""
    probe = (
        "import sys; from crossrank.cli.app import COMMANDS, load\n"
        "for name in COMMANDS:\n"
        "    command = load(name)\n"
        "    for each in getattr(command, 'commands', {'': command}).values():\n"
        "        each(['--help'], standalone_mode=False)\n"
        f"    found = {OF_WORK!r} & set(sys.modules)\n"
        "    if found: sys.exit(f'{name} --help imports {found}')\n"
    )
    outcome = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    assert outcome.stdout.count("Usage: ") == sum(1 for _ in every_command())


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_its_own_help_begins_with(name: str) -> None:
    assert load(name).help.startswith(COMMANDS[name][1].removesuffix("."))


@pytest.mark.parametrize(("name", "command"), list(every_command()))
def test_every_help_text_is_a_sentence(name: str, command: Any) -> None:
    group = load(name.split()[0])
    texts = [COMMANDS[name.split()[0]][1], group.help, command.help]
    texts += [parameter.help for parameter in (*get_command(app).params, *group.params, *command.params)]
    for text in texts:
        assert text
        assert text[0].isupper(), text
        assert text.endswith("."), text


def test_the_version_is_that_of_the_package() -> None:
    from crossrank import __version__

    outcome = subprocess.run([sys.executable, "-m", "crossrank.cli", "--version"], capture_output=True, text=True)
    assert outcome.stdout == f"crossrank {__version__}\n"


def test_an_unknown_command_names_the_nearest_one() -> None:
    outcome = subprocess.run([sys.executable, "-m", "crossrank.cli", "evaluat"], capture_output=True, text=True)
    assert outcome.returncode == 2
    assert "evaluate" in outcome.stderr
