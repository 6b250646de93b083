"""What a document or a stream holds changes no output but its own characters."""

import json
import os
import pty
import re
import subprocess
import sys
import unicodedata
from pathlib import Path

import pytest

TEXTS = {
    "urn:lock:5": "table[a:x:b] [bold]red[/bold]",
    "k:key:1": "日本語 \x1b[31mred\x1b[0m \x07 \x9b2J \u202etxt.exe",
}


def steering(shown: str) -> list[str]:
    """What steers a terminal, or turns around what follows."""
    return [
        character
        for character in shown
        if (unicodedata.category(character) == "Cc" and character != "\n") or character in "\u202e\u2066\u200f"
    ]


def ranked(directory: Path, encoding: str, *options: str) -> str:
    file = directory / "documents.jsonl"
    file.write_text(
        "".join(json.dumps({"doc_id": name, "text": text}) + "\n" for name, text in TEXTS.items()), encoding="utf-8"
    )
    done = subprocess.run(
        [sys.executable, "-m", "crossrank.cli", "rank", "a :smile: b", str(file), *options],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.decode(encoding)


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_a_table_holds_texts_as_they_are_and_steers_no_terminal(tmp_path: Path, encoding: str) -> None:
    table = ranked(tmp_path, encoding)
    for part in ("a :smile: b", "urn:lock:5", "k:key:1", "table[a:x:b] [bold]red[/bold]", r"\x1b[31mred", r"\u202etxt"):
        assert part in table
    assert not steering(table)
    assert ("日本語" if encoding == "utf-8" else r"\u65e5\u672c\u8a9e") in table


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_json_is_json_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    shown = ranked(tmp_path, encoding, "--json")
    assert not steering(shown)
    results = json.loads(shown)
    assert {result["id"]: result["text"] for result in results} == TEXTS


def test_names_of_files_steer_no_terminal(tmp_path: Path) -> None:
    odd = tmp_path / "a\x1b[31m \u202etxt.\x9b2J"
    odd.mkdir()
    (odd / os.fsdecode(b"name\xff.txt")).write_text("a text")
    (odd / ".hidden").write_text("passed over")
    (odd / "b.jsonl").write_text('{"text": null}')
    command = [sys.executable, "-m", "crossrank.cli", "rank", "text"]
    ours, theirs = pty.openpty()
    done = subprocess.run([*command, str(odd)], stdout=theirs, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert not steering(done.stderr.decode())
    assert rb"\x1b[31m \u202etxt.\x9b2J/b.jsonl:1: 'text' is null" in done.stderr
    (odd / "b.jsonl").unlink()
    done = subprocess.run([*command, str(odd)], stdout=theirs, stderr=theirs)
    os.close(theirs)
    shown = re.sub(rb"\x1b\[[\d;]*m", b"", os.read(ours, 100_000)).decode().replace("\r\n", "\n")
    os.close(ours)
    assert done.returncode == 0, shown
    assert not steering(shown)
    joined = re.sub(r"[\s┃│]", "", shown)
    assert r"\x1b[31m\u202etxt.\x9b2J:passedover:1hidden" in joined
    assert r"name\xff.txt" in joined


def test_a_table_of_standard_input_is_printed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "crossrank.cli", "rank", "capital of France", "-", "--json"],
        input="\ufeffParis is the capital.\n\nBread is food.\n".encode(),
        capture_output=True,
    )
    assert [result["id"] for result in json.loads(done.stdout)] == ["standard input:1", "standard input:3"]
