"""No traceback reaches a user: errors thrown at the borders of rooms, and real causes from the system."""

import errno
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import pytest

from tests.support.commands import crossrank

SECRET = "a text of a user"
CODES = {
    OSError(errno.ENOSPC, SECRET): 74,
    OSError(SECRET): 74,
    ValueError(SECRET): 70,
    UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET): 65,
    MemoryError(SECRET): 71,
    RecursionError(SECRET): 70,
}
# Functions at the borders of rooms, where a command calls them, by command.
PLACES = {
    ("rank", "one", "{file}"): (
        "crossrank.cli.commands.rank.ranker_or_default",
        "crossrank.data.documents.read_documents",
        "crossrank.inference.scorer.Scorer.open",
        "crossrank.inference.scorer.locate_ranker",
        "crossrank.inference.scorer.open_ranker",
        "crossrank.inference.scorer.runnable_variants",
        "crossrank.inference.ranker.directory.read_manifest",
        "crossrank.inference.ranker.directory.read_calibration",
        "crossrank.inference.ranker.directory.recover",
        "crossrank.inference.ranker.directory.sha256_of",
    ),
    ("inspect", "--no-speed"): (
        "crossrank.cli.commands.inspect.print_table",
        "crossrank.cli.commands.inspect.ranker_or_default",
        "crossrank.cli.commands.inspect.agreement_cells",
        "crossrank.machine.instruction_set",
        "crossrank.machine.usable_cores",
    ),
    ("serve", "--config", "{file}"): ("crossrank.cli.commands.serve.load_settings",),
    ("train", "{file}"): ("crossrank.train.recipe_files.load_recipe",),
    ("mine-code", "{folder}", "--out", "{folder}/out"): ("crossrank.data.mining.code.mine_code",),
    ("export-onnx", "{folder}", "--out", "{folder}/out"): ("crossrank.export.pipeline.export_ranker",),
    ("export-pytorch", "--out", "{folder}/out"): ("crossrank.export.graph.onnx_to_torch.write_cross_encoder",),
    ("bench", "compare", "{file}", "{file}"): ("crossrank.bench.results.read_result",),
    ("feedback", "export", "{folder}", "--out", "{folder}/x"): ("crossrank.feedback.labels.export_feedback",),
    ("doctor", "--ranker", "{folder}"): ("crossrank.bench.environment.tools",),
}
# Each place throws two of the errors, in turn: all of them everywhere would take minutes.
CASES = [
    (arguments, place, [list(CODES)[(2 * number + which) % len(CODES)] for which in range(2)])
    for number, (arguments, place) in enumerate(
        (arguments, place) for arguments, places in PLACES.items() for place in places
    )
]


@pytest.fixture
def place_for_reports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def check(stderr: str, code: int, expected: int) -> str:
    """The last line, the only one that is not of the log."""
    assert "Traceback" not in stderr
    assert SECRET not in stderr
    assert code == expected, stderr
    lines = [line for line in stderr.splitlines() if not line.startswith("[")]
    assert len(lines) == 1, stderr
    return lines[0]


@pytest.mark.parametrize(("arguments", "place", "errors"), CASES, ids=[place for _, place, _ in CASES])
def test_whatever_is_thrown_ends_in_one_sentence(
    arguments: tuple[str, ...], place: str, errors: list[Exception], place_for_reports: Path
) -> None:
    file = place_for_reports / "a.toml"
    file.write_text("# one\n")
    given = [word.format(file=file, folder=place_for_reports) for word in arguments]
    for error in errors:
        with mock.patch(place, side_effect=error) as thrown:
            done = crossrank(*given)
        assert thrown.called
        line = check(done.stderr, done.returncode, CODES[error])
        found = re.search(r"details are in (.*report\.txt)$", line)
        assert found, line
        report = Path(found[1])
        assert report.parent.stat().st_mode & 0o777 == 0o700
        text = report.read_text()
        assert type(error).__name__ in text
        assert "crossrank/cli/app.py" in text
        assert f"command: {arguments[0]}\n" in text
        assert SECRET not in text


def run(
    *arguments: str,
    prepare: Callable[[], None] | None = None,
    shell: str = "",
    cwd: Path | None = None,
    **environment: str,
) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "crossrank.cli", *arguments]
    if shell:
        command = ["bash", "-c", shell, "bash", *command]
    surroundings = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2]), **environment}
    return subprocess.run(
        command, capture_output=True, text=True, errors="replace", preexec_fn=prepare, env=surroundings, cwd=cwd
    )


@pytest.fixture
def text(tmp_path: Path) -> str:
    (tmp_path / "a.txt").write_text("one")
    return str(tmp_path / "a.txt")


def test_a_full_disk_below_the_output(text: str) -> None:
    done = run("rank", "one", text, shell='"$@" >/dev/full')
    check(done.stderr, done.returncode, 74)


@pytest.mark.parametrize("shell", ['"$@" >&-', '"$@" 2>&-', '"$@" <&-', '"$@" 2>/dev/full', '"$@" <&- >&- 2>&-'])
def test_a_stream_that_is_closed_or_full_does_no_harm(text: str, shell: str) -> None:
    done = run("rank", "one", text, shell=shell)
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr


def test_an_error_that_nobody_can_read_keeps_its_exit_code(tmp_path: Path) -> None:
    assert run("rank", "one", str(tmp_path / "none"), shell='"$@" 2>/dev/full').returncode == 2
    assert run("rank", "one", str(tmp_path / "none"), shell='"$@" 2>&-').returncode == 2


def test_a_reader_that_goes_away_is_no_error() -> None:
    done = run("inspect", "--no-speed", "--json", shell='"$@" | true; exit ${PIPESTATUS[0]}')
    assert (done.returncode, [line for line in done.stderr.splitlines() if line[0] != "["]) == (141, [])


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_a_signal_ends_a_command(number: int, code: int) -> None:
    probe = (
        "import sys, time; from unittest import mock; from crossrank.cli import app\n"
        "sys.argv = ['crossrank', 'inspect', '--no-speed']\n"
        "def wait(*_): print('waits', flush=True); time.sleep(600)\n"
        "with mock.patch('crossrank.cli.commands.inspect.ranker_or_default', wait): app.main()"
    )
    command = [sys.executable, "-c", probe]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(number)
        _, stderr = process.communicate()
    assert process.returncode == code
    assert "Traceback" not in stderr


def test_too_few_files(text: str) -> None:
    for limit in (8, 16):
        done = run("rank", "one", text, shell=f'ulimit -n {limit}; "$@"')
        assert "Traceback" not in done.stderr, done.stderr


@pytest.mark.parametrize("megabytes", [150, 250, 400])
def test_too_little_memory(text: str, megabytes: int) -> None:
    done = run("rank", "one", text, shell=f'ulimit -v {megabytes << 10}; "$@"')
    assert "Traceback" not in done.stderr, done.stderr


def test_files_that_may_not_grow(tmp_path: Path) -> None:
    (tmp_path / "code.py").write_text("def f():\n    '''Return the number of words.'''\n    return 1\n")
    done = run(
        "export-pytorch",
        "--out",
        str(tmp_path / "out"),
        prepare=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        TMPDIR=str(tmp_path),
    )
    assert "Traceback" not in done.stderr
    assert done.returncode != 0


def test_files_that_are_none(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to("loop")
    for odd in (tmp_path, tmp_path / "loop", tmp_path / "none", tmp_path / ("x" * 300), "/dev/full/x"):
        for arguments in (("rank", "one", str(odd)), ("train", str(odd)), ("bench", "compare", str(odd), str(odd))):
            done = crossrank(*arguments)
            assert (done.returncode, "Traceback" in done.stderr) in ((2, False), (74, False)), done.stderr


def test_a_working_directory_that_is_gone(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    done = run("rank", "one", "a.txt", cwd=gone, shell=f'rmdir {gone}; "$@"')
    assert "Traceback" not in done.stderr
    assert done.returncode != 0


def test_surroundings_that_lack_something(tmp_path: Path) -> None:
    odd = os.fsencode(tmp_path) + b"/\xff\xfe.txt"
    Path(os.fsdecode(odd)).write_text("one")
    done = run("rank", "one", os.fsdecode(odd), LANG="C", LC_ALL="C", HOME="/nonexistent", TMPDIR="/nonexistent")
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
    done = run("rank", "one", os.fsdecode(odd), shell='env -u HOME -u TMPDIR -u LANG "$@"')
    assert (done.returncode, "Traceback" in done.stderr) == (0, False), done.stderr
