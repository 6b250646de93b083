"""What a document or a stream holds changes no output but its own characters."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TEXTS = {
    "urn:lock:5": "table[a:x:b] [bold]red[/bold]",
    "k:key:1": "日本語 \x1b[31mred\x1b[0m \x07 \x9b2J",
}


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
    for part in ("a :smile: b", "urn:lock:5", "k:key:1", "table[a:x:b] [bold]red[/bold]", r"\x1b[31mred", r"\x07"):
        assert part in table
    assert not any((ord(character) < 32 and character != "\n") or 127 <= ord(character) < 160 for character in table)
    assert ("日本語" if encoding == "utf-8" else r"\u65e5\u672c\u8a9e") in table


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
def test_json_is_json_in_every_encoding(tmp_path: Path, encoding: str) -> None:
    results = json.loads(ranked(tmp_path, encoding, "--json"))
    assert {result["id"]: result["text"] for result in results} == TEXTS
