"""What a store does where the disk, the file or another process is in the way."""

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from crossrank.errors import FeedbackTargetNotFound, Overloaded, Unavailable, UsageError
from crossrank.feedback import schema as feedback_file
from crossrank.feedback.schema import Feedback
from crossrank.feedback.store import FeedbackStore
from tests.feedback.stores import DOCUMENTS, answered, held, rows


def test_a_locked_store_refuses_feedback_for_now(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback_file, "_BUSY", 0.01)
    store = FeedbackStore(path)
    store.show(*answered("r", ["a"]))
    store.record(Feedback("r", "a", "click", 1)).result(120)
    with held(path):
        store.show(*answered("s", ["a"]))
        with pytest.raises(Unavailable, match="another process holds"):
            store.record(Feedback("r", "a", "click", 1)).result(120)
    store.record(Feedback("r", "a", "stars", 3)).result(120)
    store.close()
    assert rows(path, "SELECT id, kind FROM feedback") == [(1, "click"), (2, "stars")]
    assert (store.counts.stored, store.counts.dropped) == (1, 1)


def test_a_full_disk_is_an_error_and_what_comes_after_it_is_kept(path: Path) -> None:
    store = FeedbackStore(path)
    store.show(*answered("r", ["a"]))
    store.record(Feedback("r", "a", "click", 1)).result(120)
    store._database.execute("PRAGMA max_page_count = 1")
    with pytest.raises(Overloaded, match="full"):
        store.record(Feedback("r", "a", "thumb", 1, "x" * 10_000)).result(120)
    store._database.execute("PRAGMA max_page_count = 100000")
    store.record(Feedback("r", "a", "thumb", 1, "x" * 10_000)).result(120)
    store.close()
    assert rows(path, "SELECT kind FROM feedback") == [("click",), ("thumb",)]


def test_a_file_has_a_largest_size(path: Path) -> None:
    store = FeedbackStore(path, max_bytes=2**17)
    store.show(*answered("r", ["a"]))
    with pytest.raises(Overloaded, match="full"):
        for _ in range(100):
            store.record(Feedback("r", "a", "click", 1, "x" * 10_000)).result(120)
    store.close()
    assert path.stat().st_size <= 2**17
    assert len(rows(path, "SELECT id FROM feedback")) > 2


@pytest.mark.parametrize("remove", [Path.unlink, lambda path: path.rename(path.with_name("moved"))])
def test_a_file_that_was_removed_or_moved_is_not_written_into(path: Path, remove: Callable[[Path], object]) -> None:
    store = FeedbackStore(path)
    store.show(*answered("r", ["a"]))
    store.record(Feedback("r", "a", "click", 1)).result(120)
    remove(path)
    with pytest.raises(FeedbackTargetNotFound):
        store.record(Feedback("r", "a", "stars", 2)).result(120)
    store.show(*answered("s", ["a"]))
    assert store.record(Feedback("s", "a", "stars", 3)).result(120) == 1
    store.close()
    assert rows(path, "SELECT value FROM feedback") == [(3,)]
    moved = path.with_name("moved")
    if moved.exists():
        assert rows(moved, "SELECT value FROM feedback") == [(1,)]


def test_a_directory_that_is_gone_refuses_feedback_until_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "mounted" / "store"
    path.parent.mkdir()
    store = FeedbackStore(path)
    store.show(*answered("r", ["a"]))
    store.record(Feedback("r", "a", "click", 1)).result(120)
    away = path.parent.rename(tmp_path / "away")
    for _ in range(2):
        with pytest.raises(Unavailable):
            store.record(Feedback("r", "a", "stars", 2)).result(120)
    away.rename(path.parent)
    assert store.record(Feedback("r", "a", "stars", 3)).result(120) == 2
    store.close()


def test_a_damaged_file_is_refused_at_the_start(path: Path) -> None:
    store = FeedbackStore(path)
    for number in range(300):
        store.show(*answered(str(number), DOCUMENTS))
    store.close()
    content = bytearray(path.read_bytes())
    content[4096 * 6 : 4096 * 8] = b"\xff" * 8192
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"^feedback: .*(damaged|cannot be used)"):
        FeedbackStore(path)


def test_a_write_that_fails_leaves_nothing_behind_and_the_store_usable(path: Path) -> None:
    store = FeedbackStore(path)
    store.show(*answered("r", ["a"]))
    store.record(Feedback("r", "a", "click", 1)).result(120)
    with pytest.raises(OverflowError):
        store.record(Feedback("r", "a", "stars", 2**70)).result(120)
    assert store.record(Feedback("r", "a", "stars", 2)).result(120) == 2
    store.close()


def test_a_file_that_is_no_store_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    text, foreign, newer = (tmp_path / name for name in ("text", "foreign.db", "newer.db"))
    text.write_text("notes " * 300)
    with closing(sqlite3.connect(foreign)) as database:
        database.execute("CREATE TABLE impression (id)")
    FeedbackStore(newer).close()
    with closing(sqlite3.connect(newer)) as database:
        database.execute("PRAGMA user_version = 2")
    before = {file: file.read_bytes() for file in (text, foreign, newer)}
    for path, sentence in (
        (text, "cannot be used as a store: file is not a database"),
        (foreign, "is the database of another program; give a new path"),
        (newer, "has version 2 of the schema, not 1; give a new path"),
        (tmp_path, "cannot be opened for writing: Is a directory"),
        (tmp_path / "none" / "store", "cannot be opened for writing: No such file or directory"),
    ):
        with pytest.raises(UsageError) as refused:
            FeedbackStore(path)
        assert str(refused.value) == f"feedback: {path} {sentence}"
    assert {file: file.read_bytes() for file in before} == before
    assert sorted(tmp_path.iterdir()) == sorted(before)
