"""Feedback from the clients to training rows, over a real server and by the command."""

import asyncio
import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from crossrank.client import AsyncRankClient, RankClient
from crossrank.data.examples import Example, read_examples
from crossrank.errors import CrossrankError, FeedbackTargetNotFound, InvalidRequest
from crossrank.serve.local import local_server
from tests.test_docs import PYTHON

if TYPE_CHECKING:
    from crossrank.export.pipeline import ExportReport

QUERY = "add two numbers"
DOCUMENTS = {"add": "def add(a, b): return a + b", "os": "import os", "nothing": "nothing"}


@pytest.fixture(scope="module")
def kept(tiny: "ExportReport", tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server that keeps feedback and texts: its address and its store."""
    store = tmp_path_factory.mktemp("kept") / "store"
    arguments = (str(tiny.directory), "--feedback", str(store), "--feedback-texts")
    with local_server(*arguments) as (target, _):
        yield target, store


def export(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "crossrank.cli", "feedback", "export", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)


def test_what_users_say_becomes_training_rows(kept: tuple[str, Path], tmp_path: Path) -> None:
    target, store = kept
    texts, ids = list(DOCUMENTS.values()), list(DOCUMENTS)
    with RankClient(target) as client:
        for user in ("u1", "u2"):
            client.rank(QUERY, texts, ids=ids, request_id=user)
        client.record_feedback("u1", "add", stars=5, comment="just that")
        client.record_feedback("u1", "os", thumb="down")
        client.record_feedback("u1", "nothing", click=True)

    async def second_user() -> str:
        async with AsyncRankClient(target) as asynchronous:
            await asynchronous.rank("read a file", texts, ids=ids, request_id="u3")
            await asynchronous.record_feedback("u3", "os", thumb="up")
            return await asynchronous.record_feedback("u2", "add", stars=4)

    assert asyncio.run(second_user())
    rows = tmp_path / "rows.jsonl"
    outcome = export(store, "--out", rows, "--json")
    report = json.loads(outcome.stdout)
    assert list(read_examples(rows)) == [
        Example(QUERY, (DOCUMENTS["add"],), (0.875,)),
        Example(QUERY, (DOCUMENTS["os"],), (0.0,)),
        Example("read a file", (DOCUMENTS["os"],), (1.0,)),
    ]
    assert (report["from_ratings"], report["averaged"], report["feedback"]["click"]) == (3, 1, 1)
    shown = export(store, "--out", rows, "--force", "--use-clicks", "--position-bias-eta", 1)
    assert "clicks were weighed by rank^1." in shown.stdout
    assert "click rate" in shown.stdout
    assert list(read_examples(rows))[-1] == Example(QUERY, (DOCUMENTS["nothing"],), (1.0,))


def test_the_python_of_the_documentation_gives_feedback(kept: tuple[str, Path]) -> None:
    [block] = [block for block in PYTHON if "record_feedback" in block.text]
    exec(compile(block.text.replace("127.0.0.1:50051", kept[0]), block.page, "exec"), {})
    with closing(sqlite3.connect(kept[1])) as database:
        said = database.execute(
            "SELECT document_id, kind, value FROM feedback JOIN shown USING (impression, rank) "
            "JOIN impression ON impression.id = impression WHERE request_id = 'r-17' ORDER BY feedback.id"
        ).fetchall()
    assert said == [("iso", "stars", 5), ("cal", "thumb", 0)]


def test_errors_are_typed(kept: tuple[str, Path], server: str) -> None:
    with RankClient(kept[0]) as client:
        with pytest.raises(FeedbackTargetNotFound, match=r"^request_id: "):
            client.record_feedback("never", "add", stars=5)
        client.rank(QUERY, ["x"], ids=["x"], request_id="typed")
        with pytest.raises(FeedbackTargetNotFound, match=r"^document_id: "):
            client.record_feedback("typed", "add", stars=5)
        with pytest.raises(InvalidRequest, match=r"^ids: 1 for 2 documents"):
            client.rank(QUERY, ["x", "y"], ids=["x"])
    with RankClient(server) as off, pytest.raises(CrossrankError, match="needs a server with --feedback"):
        off.record_feedback("r", "d", stars=5)

    async def asked() -> None:
        async with AsyncRankClient(kept[0]) as asynchronous:
            await asynchronous.record_feedback("never", "add", stars=5)

    with pytest.raises(FeedbackTargetNotFound):
        asyncio.run(asked())


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({}, "judgement"),
        ({"thumb": "up", "stars": 3}, "judgement"),
        ({"click": False}, "judgement"),
        ({"thumb": "sideways"}, "thumb"),
        ({"stars": -1}, "stars"),
        ({"stars": 2**40}, "stars"),
        ({"stars": 1, "comment": "\ud800"}, "comment"),
        ({"stars": 1, "document_id": "\ud800"}, "document_id"),
    ],
)
def test_what_no_message_can_say_is_refused_before_it_is_sent(fields: dict[str, Any], field: str) -> None:
    with RankClient("127.0.0.1:1") as nobody, pytest.raises(InvalidRequest, match=f"^{field}: "):
        nobody.record_feedback(**{"request_id": "r", "document_id": "d", **fields})


def test_the_command_refuses_in_one_sentence(tmp_path: Path) -> None:
    for arguments, sentence in (
        (("none",), "none: no such file"),
        (("none", "--position-bias-eta", "1"), "--position-bias-eta: "),
        (("none", "--use-clicks", "--position-bias-eta", "nan"), "--position-bias-eta: "),
        (("none", "--corpus", tmp_path / "c"), f"{tmp_path / 'c'}: "),
    ):
        outcome = export(*arguments, "--out", tmp_path / "rows.jsonl")
        assert outcome.returncode == 2
        assert sentence in outcome.stderr.splitlines()[-1]
        assert "Traceback" not in outcome.stderr
    assert not list(tmp_path.iterdir())
