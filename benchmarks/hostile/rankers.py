"""Rankers that are spoilt in one way each."""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import crossrank

_DEFAULT = Path(crossrank.__file__).parent / "default_ranker"


@contextmanager
def copied_ranker() -> Iterator[Path]:
    """The default ranker, in a directory of its own."""
    with tempfile.TemporaryDirectory() as place:
        yield Path(shutil.copytree(_DEFAULT, Path(place, "ranker")))


SPOILT: dict[str, Callable[[Path], object]] = {
    "model cut off": lambda d: os.truncate(next((d / "onnx").glob("*.onnx")), 100_000),
    "model empty": lambda d: os.truncate(next((d / "onnx").glob("*.onnx")), 0),
    "a bit of the model flipped": lambda d: _flip(next((d / "onnx").glob("*.onnx"))),
    "manifest cut off": lambda d: os.truncate(d / "onnx/manifest.json", 500),
    "manifest of deep lists": lambda d: (d / "onnx/manifest.json").write_bytes(b"[" * 1_000_000),
    "manifest of 10**5000": lambda d: _replace(
        d / "onnx/manifest.json", b'"max_length": ', b'"max_length": 1' + b"0" * 5000
    ),
    "tokenizer cut off": lambda d: os.truncate(d / "tokenizer.json", 300_000),
    "tokenizer of 400 MB": lambda d: (d / "tokenizer.json").write_bytes(b'{"a": "' + b"x" * 400_000_000 + b'"}'),
    "tokenizer that is a directory": lambda d: _instead(d / "tokenizer.json", os.mkdir),
    "tokenizer that is a pipe": lambda d: _instead(d / "tokenizer.json", os.mkfifo),
    "manifest that is a pipe": lambda d: _instead(d / "onnx/manifest.json", os.mkfifo),
    "manifest that is endless": lambda d: _instead(d / "onnx/manifest.json", lambda path: path.symlink_to("/dev/zero")),
    "calibration of text": lambda d: (d / "calibration.json").write_text(
        '{"x": ["\ud83d"]}'.encode("utf-16", "surrogatepass").decode("latin-1")
    ),
    "link to itself": lambda d: _instead(d / "calibration.json", lambda path: path.symlink_to("calibration.json")),
}


def _instead(file: Path, make: Callable[[Path], object]) -> None:
    file.unlink()
    make(file)


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def _replace(file: Path, old: bytes, new: bytes) -> None:
    file.write_bytes(file.read_bytes().replace(old, new, 1))


def spoilt(spoil: Callable[[Path], object]) -> Callable[[], tuple[str, bool]]:
    """A server that is started with a spoilt ranker ends with one sentence."""

    def run() -> tuple[str, bool]:
        with copied_ranker() as directory:
            spoil(directory)
            command = [
                sys.executable,
                "-m",
                "crossrank.cli",
                "serve",
                str(directory),
                "--port",
                "0",
                "--http-port",
                "0",
            ]
            try:
                ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
            except subprocess.TimeoutExpired:
                return "does not end", False
        said = ended.stderr.strip().splitlines()
        return f"exit {ended.returncode}: {said[-1][-100:] if said else ''}", (
            ended.returncode in (1, 2)
            and "Traceback" not in ended.stderr
            and len(said) == 1
            and said[0].startswith("crossrank: ")
        )

    return run
