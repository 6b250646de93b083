"""The feedback store: what it keeps, in which order, and what it does where disk or others are in the way."""

import sqlite3
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrank.errors import FeedbackTargetNotFound, Overloaded, Unavailable, UsageError
from crossrank.feedback import schema as feedback_file
from crossrank.feedback import store as feedback
from crossrank.feedback.schema import Feedback
from crossrank.feedback.store import FeedbackStore
from crossrank.v1 import ranker_pb2

REQUESTS = ["r", "s", "\0 日本語"]
DOCUMENTS = ["a", "b", "c\0", ""]
KINDS = st.one_of(
    st.tuples(st.just("thumb"), st.integers(0, 1)),
    st.tuples(st.just("stars"), st.integers(1, 5)),
    st.tuples(st.just("click"), st.just(1)),
)
SHOWN = st.tuples(st.sampled_from(REQUESTS), st.lists(st.sampled_from(DOCUMENTS), min_size=1, max_size=5))
SAID = st.builds(
    lambda request, document, judgement, comment: Feedback(request, document, judgement[0], judgement[1], comment),
    st.sampled_from(REQUESTS),
    st.sampled_from(DOCUMENTS),
    KINDS,
    st.text(st.characters(exclude_categories=["Cs"]), max_size=10),
)


def answered(request_id: str, ids: list[str]) -> tuple[ranker_pb2.RankRequest, ranker_pb2.RankResponse]:
    """A request and its answer in reverse order."""
    documents = [ranker_pb2.Document(id=name, text=f"text {index}") for index, name in enumerate(ids)]
    results = [ranker_pb2.RankResult(index=index, id=ids[index], score=index) for index in reversed(range(len(ids)))]
    response = ranker_pb2.RankResponse(request_id=request_id, model="m", version="v", results=results)
    return ranker_pb2.RankRequest(query=f"query {request_id}", documents=documents), response


def rows(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process' transaction."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        yield
        database.execute("ROLLBACK")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "feedback.db"


@given(st.lists(st.one_of(SHOWN, SAID), max_size=30))
@settings(max_examples=40)
def test_feedback_finds_the_newest_answer_before_it_and_all_of_it_is_kept_in_order(
    events: list[tuple[str, list[str]] | Feedback],
) -> None:
    newest: dict[str, tuple[int, list[str]]] = {}
    expected: list[tuple[object, ...]] = []
    shown = 0
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / "store"
        store = FeedbackStore(path)
        given: list[object] = []
        for event in events:
            if isinstance(event, Feedback):
                future = store.record(event)
                impression, ids = newest.get(event.request_id, (0, []))
                if event.document_id in ids:
                    rank = list(reversed(ids)).index(event.document_id) + 1
                    expected.append((impression, rank, event.kind, event.value, event.comment))
                    given.append(future)
                else:
                    with pytest.raises(FeedbackTargetNotFound):
                        future.result(120)
            else:
                shown += 1
                newest[event[0]] = (shown, event[1])
                store.show(*answered(*event))
        store.close()
        kept = rows(path, "SELECT impression, rank, kind, value, comment FROM feedback ORDER BY id")
        assert kept == expected
        assert rows(path, "SELECT COUNT(*) FROM impression") == [(shown,)]
        assert (store.counts.stored, store.counts.dropped) == (shown, 0)
        assert store.counts.feedback.total() == len(expected)


@pytest.mark.parametrize("keep", [False, True])
def test_texts_are_kept_only_where_that_is_asked_for(path: Path, keep: bool) -> None:
    store = FeedbackStore(path, keep_texts=keep)
    store.show(*answered("r", ["a", "b"]))
    store.close()
    joined = rows(
        path, "SELECT query, rank, document_id, score, document FROM impression JOIN shown ON impression = id"
    )
    texts = [("query r", "text 1"), ("query r", "text 0")] if keep else [(None, None)] * 2
    assert joined == [(texts[0][0], 1, "b", 1.0, texts[0][1]), (texts[1][0], 2, "a", 0.0, texts[1][1])]
    assert (b"text 1" in path.read_bytes()) == keep


def test_a_store_is_opened_again_and_by_two_at_once(path: Path) -> None:
    first, second = FeedbackStore(path), FeedbackStore(path)
    first.show(*answered("r", ["a"]))
    first.record(Feedback("r", "a", "click", 1)).result(120)
    assert second.record(Feedback("r", "a", "stars", 4)).result(120) == 2
    first.close()
    second.close()
    again = FeedbackStore(path)
    assert again.record(Feedback("r", "a", "thumb", 0)).result(120) == 3
    again.close()


def test_a_commit_waits_for_the_disk(path: Path) -> None:
    store = FeedbackStore(path)
    modes = [store._database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("journal_mode", "synchronous")]
    store.close()
    assert modes == ["wal", 2]  # 2 is FULL: no other test could see less, short of a power failure


def test_its_files_are_for_their_owner_alone(path: Path) -> None:
    store = FeedbackStore(path)
    store.show(*answered("r", ["a"]))
    store.record(Feedback("r", "a", "click", 1)).result(120)
    made = sorted(path.parent.iterdir())
    assert [file.name for file in made] == ["feedback.db", "feedback.db-shm", "feedback.db-wal"]
    assert {stat.S_IMODE(file.stat().st_mode) for file in made} == {0o600}
    store.close()
    assert list(path.parent.iterdir()) == [path]


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


def test_what_waits_is_bounded_and_answers_leave_room_for_feedback(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback, "_MOST_ANSWERS", 1)
    store = FeedbackStore(path)
    with held(path):
        store.show(*answered("r", ["a"]))
        store.show(*answered("s", ["a"]))
        said = store.record(Feedback("r", "a", "click", 1))
        monkeypatch.setattr(feedback, "_MOST", 1)
        with pytest.raises(Overloaded) as refused:
            store.record(Feedback("r", "a", "click", 1))
        assert refused.value.retry_after
    assert said.result(120) == 1
    store.show(*answered("t", ["a"]))  # there is room again
    store.close()
    assert rows(path, "SELECT request_id FROM impression") == [("r",), ("t",)]
    assert (store.counts.stored, store.counts.dropped) == (2, 1)


def test_what_is_cancelled_before_its_turn_is_not_written(path: Path) -> None:
    store = FeedbackStore(path)
    with held(path):
        store.show(*answered("r", ["a"]))
        while store._jobs.qsize():  # until the writer has taken it, and waits for the file
            pass
        said, unsaid = (store.record(Feedback("r", "a", kind, 1)) for kind in ("thumb", "click"))
        assert unsaid.cancel()
    store.close()
    assert said.result(0) == 1
    assert rows(path, "SELECT kind FROM feedback") == [("thumb",)]


def test_a_closed_store_writes_what_waited_and_takes_nothing_more(path: Path) -> None:
    store = FeedbackStore(path)
    for _ in range(200):
        store.show(*answered("r", DOCUMENTS))
    store.close()
    store.close()
    store.show(*answered("r", ["a"]))
    with pytest.raises(Unavailable):
        store.record(Feedback("r", "a", "click", 1))
    assert rows(path, "SELECT COUNT(*) FROM shown") == [(200 * len(DOCUMENTS),)]
    assert (store.counts.stored, store.counts.dropped) == (200, 1)


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
