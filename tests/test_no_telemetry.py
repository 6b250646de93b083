"""Commands look up no name and leave nothing in HOME; each runs in a process of its own with a HOME of its own."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import HELDOUT
from tests.support.tiny_models import tiny_cross_encoder

# Python tells this hook of every name that is looked up and of every address that is connected to.
_RECORDER = """
import os, sys
def record(event, arguments):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.connect", "socket.sendto"):
        with open(os.environ["LOOKUPS"], "a") as file:
            print(event, arguments, file=file)
sys.addaudithook(record)
"""
_OURS = Path(__file__).parent.parent
# Servers and their callers on this machine, by number: no name is looked up for these.
_LOOPBACK = re.compile(r"'(127\.0\.0\.1|::1)'|b?'/")
# What ours are told by the tests' own surroundings does not count.
_UNSET = ("ORT_DISABLE_TELEMETRY", "HF_HUB_DISABLE_TELEMETRY", "HF_HUB_OFFLINE", "MPLCONFIGDIR", "HF_HOME")


_POST = """
import sys, urllib.request
body = b'{"query": "one", "documents": ["one", "two"]}'
urllib.request.urlopen(sys.argv[1] + "/v1/rerank", body).read()
"""


class Recorded:
    """Runs Python with a fresh HOME, and shows what it looked up and left there."""

    def __init__(self, root: Path) -> None:
        self.root, self.home, self._log = root, root / "home", root / "lookups"
        self.home.mkdir()
        (root / "recorder").mkdir()
        (root / "recorder" / "sitecustomize.py").write_text(_RECORDER)
        self._log.touch()
        paths = os.pathsep.join((str(root / "recorder"), str(_OURS)))
        kept = {name: value for name, value in os.environ.items() if name not in _UNSET and "XDG" not in name}
        self.environment = {**kept, "HOME": str(self.home), "PYTHONPATH": paths, "LOOKUPS": str(self._log)}

    def run(self, *arguments: str) -> None:
        command = [sys.executable, *arguments]
        done = subprocess.run(command, env=self.environment, cwd=self.root, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr

    def left(self) -> list[str]:
        files = [str(path.relative_to(self.home)) for path in self.home.rglob("*") if path.is_file()]
        return files + [line for line in self._log.read_text().splitlines() if not _LOOPBACK.search(line)]


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    return Recorded(tmp_path)


def test_the_recorder_sees_lookups(recorded: Recorded) -> None:
    recorded.run("-c", "import socket; socket.getaddrinfo('localhost', 80)")
    assert len(recorded.left()) == 1


def test_rank_and_serve(recorded: Recorded) -> None:
    (recorded.root / "a.txt").write_text("one")
    recorded.run("-m", "crossrank.cli", "rank", "one", "a.txt")
    with subprocess.Popen(
        [sys.executable, "-m", "crossrank.cli", "serve", "--port", "0"],
        env=recorded.environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:
        assert process.stdout is not None
        target = process.stdout.readline().split()[-1]
        root = process.stdout.readline().split()[-1]
        recorded.run("-m", "crossrank.cli", "rank", "one", "a.txt", "--target", target)
        recorded.run("-c", _POST, root)
        recorded.run("-m", "crossrank.cli", "bench", "load", target, "--seconds", "1", "--warm-up", "0", "--json")
        process.send_signal(signal.SIGTERM)
    recorded.run("-m", "crossrank.cli", "doctor", "--json")
    assert recorded.left() == []


def test_train_export_and_evaluate(recorded: Recorded) -> None:
    tiny_cross_encoder("bert", recorded.root / "base")
    rows = [
        {"query": f"how to read {what}", "document": document, "label": label}
        for what in ("a file", "json", "the word")
        for document, label in (("def read", 1), ("paris is the capital", 0))
    ]
    (recorded.root / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (recorded.root / "recipe.toml").write_text(
        'name = "tiny"\nbase = "base"\nmax_length = 32\n[data]\ntrain = "rows.jsonl"\n'
        '[training]\nmax_steps = 2\n[evaluation]\nwithout_dev = "none"\n'
    )
    recorded.run("-m", "crossrank.cli", "train", "recipe.toml", "--out", "model")
    assert recorded.left() == []
    weak = ("--min-top1-agreement", "0", "--max-queries", "2")
    recorded.run("-m", "crossrank.cli", "export-onnx", "model", "--out", "ranker", "--variants", "fp32", *weak)
    assert recorded.left() == []
    recorded.run("-m", "crossrank.cli", "evaluate", str(HELDOUT), "--model", "ranker")
    assert recorded.left() == []


def test_a_library_of_ours_as_the_first_import(recorded: Recorded) -> None:
    recorded.run("-c", "import crossrank, onnxruntime; crossrank.Scorer.open().predict([('a', 'b')])")
    assert recorded.left() == []
