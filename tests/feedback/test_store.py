"""The feedback store: what it keeps, in which order, and what it does where disk or others are in the way."""

import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrank.errors import FeedbackTargetNotFound, Overloaded, Unavailable
from crossrank.feedback import store as feedback
from crossrank.feedback.schema import Feedback
from crossrank.feedback.store import FeedbackStore
from tests.feedback.stores import DOCUMENTS, answered, held, rows

REQUESTS = ["r", "s", "\0 日本語"]
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
