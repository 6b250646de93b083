import subprocess
import sys

import pytest

from crossrank.cli.app import COMMANDS, load

HEAVY = {"numpy", "grpc", "pydantic", "torch", "onnxruntime", "transformers", "google.protobuf"}


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


@pytest.mark.parametrize("name", COMMANDS)
def test_the_list_says_of_a_command_what_its_own_help_begins_with(name: str) -> None:
    assert load(name).help.startswith(COMMANDS[name][1])


def test_the_version_is_that_of_the_package() -> None:
    from crossrank import __version__

    outcome = subprocess.run([sys.executable, "-m", "crossrank.cli", "--version"], capture_output=True, text=True)
    assert outcome.stdout == f"crossrank {__version__}\n"


def test_an_unknown_command_names_the_nearest_one() -> None:
    outcome = subprocess.run([sys.executable, "-m", "crossrank.cli", "evaluat"], capture_output=True, text=True)
    assert outcome.returncode == 2
    assert "evaluate" in outcome.stderr
