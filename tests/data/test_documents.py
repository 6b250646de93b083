"""Documents of files, directories and standard input."""

import io
import logging
import os
import sys
from pathlib import Path

import pytest

from crossrank.data import documents
from crossrank.data.documents import Document, read_documents
from crossrank.errors import InvalidData, UsageError


class Input:
    """Standard input that holds some bytes."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


def test_tables_give_records_and_other_files_are_documents(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id;title;text\n1;t;x\n2;;y\n", encoding="utf-16")
    (tmp_path / "b.JSONL").write_text('{"contents": "z"}\n')
    (tmp_path / "c.json").write_text('[{"_id": "c", "text": "list"}]')
    (tmp_path / "d.json").write_text('{"name": "a program"}')
    (tmp_path / "e.md").write_text("# title\r\ntext")
    given = read_documents(sorted(tmp_path.iterdir()))
    assert given == [
        Document("1", "t\nx"),
        Document("2", "y"),
        Document(f"{tmp_path / 'b.JSONL'}:1", "z"),
        Document("c", "list"),
        Document(str(tmp_path / "d.json"), '{"name": "a program"}'),
        Document(str(tmp_path / "e.md"), "# title\r\ntext"),
    ]


def test_a_directory_gives_its_texts(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for name, content in {
        "b/c.txt": b"third",
        "a.txt": b"first",
        "a.csv": b"any,csv",
        "b/set.jsonl": b'{"id": "fourth", "text": "t"}',
        ".git/config": b"hidden",
        ".hidden": b"hidden",
        "picture.png": b"\x89PNG\0",
        "latin.txt": b"\xe9t\xe9",
        "empty.txt": b"",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(content)
    (tmp_path / "b" / "loop").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(tmp_path / "fifo")
    with caplog.at_level(logging.INFO, "crossrank.data"):
        names = [document.name for document in read_documents([tmp_path])]
    assert names == [str(tmp_path / "a.csv"), str(tmp_path / "a.txt"), str(tmp_path / "b" / "c.txt"), "fourth"]
    assert [record.args for record in caplog.records] == [
        (tmp_path, 2, "hidden"),
        (tmp_path, 4, "empty, too large or not text"),
    ]


@pytest.mark.parametrize(
    ("content", "given"),
    [
        (b"one\n\n two \r\n", [("standard input:1", "one"), ("standard input:3", "two")]),
        (b'\n{"id": 1, "text": "one"}\n{"text": "two"}', [("1", "one"), ("standard input:3", "two")]),
        ("größe".encode("utf-16"), [("standard input:1", "größe")]),
    ],
)
def test_standard_input_is_read(monkeypatch: pytest.MonkeyPatch, content: bytes, given: list[tuple[str, str]]) -> None:
    monkeypatch.setattr(sys, "stdin", Input(content))
    assert [(document.name, document.text) for document in read_documents([Path("-")])] == given


def test_a_closed_standard_input_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="standard input is closed"):
        read_documents([Path("-")])


@pytest.mark.parametrize(
    ("name", "content", "problem"),
    [
        ("a.txt", b"\xff", r"a\.txt:1: not UTF-8"),
        ("a.txt", b"a\0b", r"a\.txt:1: holds a NUL byte"),
        ("a.txt", b" \n", r"a\.txt: is empty"),
        ("a.jsonl", b'{"text": null}', r"a\.jsonl:1: 'text' is null"),
        ("a.csv", b"name\nx\n", r"a\.csv:2: 'text' is missing; add it \(the columns are 'name'\)"),
        ("a/.b", b"x", "hold no documents"),
    ],
)
def test_what_is_no_document_is_refused(tmp_path: Path, name: str, content: bytes, problem: str) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UsageError, match=problem):
        read_documents([tmp_path / name.partition("/")[0]])


def test_documents_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "MAX_DOCUMENTS", 3)
    monkeypatch.setattr(documents, "MAX_BYTES", 40)
    for number in range(4):
        (tmp_path / f"{number}.txt").write_text("x")
    with pytest.raises(InvalidData, match="name fewer files"):
        read_documents([tmp_path])
    (tmp_path / "0.txt").write_text("ö" * 20 + "x")
    with pytest.raises(InvalidData, match=r"0\.txt: larger than"):
        read_documents([tmp_path / "0.txt"])
    with pytest.raises(UsageError, match=r"none\.txt cannot be read: No such file"):
        read_documents([tmp_path / "none.txt"])
