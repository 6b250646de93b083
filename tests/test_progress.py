import logging
import threading
from collections.abc import Callable

import pytest

from crossrank import progress
from crossrank.progress import Progress

LOG = logging.getLogger("crossrank.of_a_test")


class Records(logging.Handler):
    """Keeps what is logged, and lets a test wait for it."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[logging.LogRecord] = []
        self._news = threading.Condition()

    def emit(self, record: logging.LogRecord) -> None:
        with self._news:
            self.seen.append(record)
            self._news.notify_all()

    def wait(self, until: Callable[[list[logging.LogRecord]], bool]) -> None:
        with self._news:
            assert self._news.wait_for(lambda: until(self.seen), timeout=120)


@pytest.fixture
def records(monkeypatch: pytest.MonkeyPatch) -> Records:
    handler = Records()
    monkeypatch.setattr(progress, "_EVERY_SECONDS", 0.01)
    monkeypatch.setattr(LOG, "handlers", [handler])
    monkeypatch.setattr(LOG, "level", logging.INFO)
    return handler


def test_work_is_named_as_it_begins_and_told_again_while_it_lasts(records: Records) -> None:
    with Progress(LOG, "read", total=4) as work:
        work.advance()
        records.wait(lambda seen: len(seen) >= 3)
    messages = [record.getMessage() for record in records.seen]
    assert messages[0] == "read"
    assert messages[-1].startswith("read: 1 of 4, ")
    assert messages[-1].endswith(" left")
    assert [vars(record)["again"] for record in records.seen[:3]] == [False, True, True]
    assert {vars(record)["progress"] for record in records.seen} == {work}
    assert work.ended
    told = len(records.seen)
    threading.Event().wait(0.05)
    assert len(records.seen) <= told + 1  # one may have been on its way


def test_work_inside_of_other_work_speaks_for_it(records: Records) -> None:
    with Progress(LOG, "mine") as outer:
        with Progress(LOG, "embed texts", total=10) as inner:
            inner.advance(5)
            inner.note = "loss 0.5"
            records.wait(lambda seen: "mine: embed texts: 5 of 10, loss 0.5, " in seen[-1].getMessage())
            assert outer.inner is inner
            assert vars(records.seen[-1])["progress"] is outer
        assert outer.inner is None
        records.wait(lambda seen: seen[-1].getMessage() == "mine: 0 s so far")


def test_many_short_pieces_do_not_keep_the_whole_silent(records: Records) -> None:
    with Progress(LOG, "teach"):
        while len(records.seen) < 3:
            with Progress(LOG, "score pairs"):
                pass


def test_what_an_earlier_run_reached_says_nothing_of_the_speed() -> None:
    work = Progress(LOG, "train")
    work.resume(90, 100)
    assert work.seconds_left is None
    work.advance(5)
    assert work.seconds_left == pytest.approx(work.seconds, rel=0.5)


@pytest.mark.parametrize(("seconds", "said"), [(3.2, "3 s"), (99, "99 s"), (150, "2 min"), (9000, "2.5 h")])
def test_durations_are_rounded(seconds: float, said: str) -> None:
    assert progress.duration(seconds) == said
