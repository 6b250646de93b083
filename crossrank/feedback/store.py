"""Feedback store: what was shown and what users said of it, in a SQLite file.

One thread writes, in the order in which things came, so that feedback finds the answer that it is about even where
that is still to be written. What waits goes into one transaction: one sync of the disk serves all of it. Answers are
queued and may be dropped; feedback is on disk when its future has a result. Servers may share a file.
"""

import queue
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from crossrank.errors import FeedbackTargetNotFound, Overloaded, Unavailable, UsageError
from crossrank.feedback.schema import Feedback, FeedbackKind, open_database, write_answer, write_feedback
from crossrank.v1 import ranker_pb2

# Bytes that may wait: answers take no more than the first, and leave feedback the rest.
_MOST_ANSWERS = 64 * 1024 * 1024
_MOST = 72 * 1024 * 1024

# Largest size of a file.
MAX_BYTES = 10 * 1024 * 1024 * 1024
# SQLite errors caused by the file or its disk.
_BROKEN = (
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_READONLY,
)

_log = structlog.get_logger()


@dataclass(slots=True)
class FeedbackCounts:
    """Counts of what a store has written since it was opened.

    Attributes:
        stored: answers that were written.
        dropped: answers that were not: too much waited, or the file could not be written.
        feedback: pieces of feedback that were written, by kind.
    """

    stored: int = 0
    dropped: int = 0
    feedback: Counter[FeedbackKind] = field(default_factory=Counter)


@dataclass(slots=True)
class _Job:
    """A row to be written: `write` gives its id; `size` in bytes."""

    write: Callable[[sqlite3.Connection], int]
    size: int
    done: Future[int] = field(default_factory=Future)


class FeedbackStore:
    """An open store; safe to share between threads.

    Args:
        path: the file; made where there is none, for its owner alone to read.
        keep_texts: whether queries and the documents that were shown are kept.
        max_bytes: largest size of the file.

    Raises:
        UsageError: the file cannot be opened, or is not a store of this version.
    """

    def __init__(self, path: Path, *, keep_texts: bool = False, max_bytes: int = MAX_BYTES) -> None:
        self.counts = FeedbackCounts()
        self._keep_texts = keep_texts
        self._path = path
        self._max_bytes = max_bytes
        self._database = open_database(path, max_bytes)
        self._file = _identity(path)
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._waiting = 0
        self._closed = False
        self._writer = threading.Thread(target=self._work, name="crossrank-feedback", daemon=True)
        self._writer.start()

    def show(self, request: ranker_pb2.RankRequest, response: ranker_pb2.RankResponse) -> None:
        """Queues an answer; never waits and never raises."""
        now = time.time()
        texts = request if self._keep_texts else None
        size = response.ByteSize() + (texts.ByteSize() if texts else 0)
        job = _Job(lambda database: write_answer(database, response, texts, now), size)
        job.done.add_done_callback(self._count_answer)
        if not self._queued(job, _MOST_ANSWERS):
            job.done.set_exception(Overloaded("too much waits"))

    def record(self, feedback: Feedback) -> "Future[int]":
        """Queues feedback behind every answer that came before it.

        A future that is cancelled before its turn is not written.

        Returns:
            Resolves to the id of the feedback once it is on disk; to FeedbackTargetNotFound where the newest answer
            of that request id, or this document in it, is not kept; to Overloaded where the disk or the file is full;
            or to Unavailable where another process holds the file, or it cannot be written.

        Raises:
            Overloaded: too much waits.
            Unavailable: the store is closed.
        """
        now = time.time()
        size = len(feedback.request_id) + len(feedback.document_id) + len(feedback.comment)
        job = _Job(lambda database: write_feedback(database, feedback, now), size)
        if not self._queued(job, _MOST):
            if self._closed:
                raise Unavailable("the server is draining")
            raise Overloaded("feedback waits for a slow disk; try again in 1 s", retry_after=1.0)
        job.done.add_done_callback(lambda done: self._count_feedback(done, feedback.kind))
        return job.done

    def close(self) -> None:
        """Writes what is queued, then closes the file."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._jobs.put(None)
        self._writer.join()
        self._database.close()

    def _queued(self, job: _Job, most: int) -> bool:
        with self._lock:
            if self._closed or (self._waiting and self._waiting + job.size > most):
                return False
            self._waiting += job.size
            self._jobs.put(job)
            return True

    def _work(self) -> None:
        closing = False
        while not closing:
            batch = [self._jobs.get()]
            with suppress(queue.Empty):
                while True:
                    batch.append(self._jobs.get_nowait())
            closing = batch[-1] is None
            self._write([job for job in batch if job is not None])

    def _write(self, batch: list[_Job]) -> None:
        """Writes all that is not cancelled, or nothing."""
        jobs = [job for job in batch if job.done.set_running_or_notify_cancel()]
        outcomes: list[int | Exception] = []
        try:
            self._follow()
            self._database.execute("BEGIN IMMEDIATE")
            for job in jobs:
                try:
                    outcomes.append(job.write(self._database))
                except FeedbackTargetNotFound as error:
                    outcomes.append(error)
            self._database.execute("COMMIT")
            if _identity(self._path) != self._file:
                raise Unavailable("the feedback store was moved meanwhile; try again")
        except Exception as error:
            # A full disk can end the transaction by itself.
            with suppress(sqlite3.Error):
                self._database.execute("ROLLBACK")
            _log.error("feedback store", lost=len(jobs), code=getattr(error, "sqlite_errorname", ""), exc_info=error)
            outcomes = [_handed_out(error) for _ in jobs]
        with self._lock:
            self._waiting -= sum(job.size for job in batch)
        for job, outcome in zip(jobs, outcomes, strict=True):
            if isinstance(outcome, Exception):
                job.done.set_exception(outcome)
            else:
                job.done.set_result(outcome)

    def _follow(self) -> None:
        """Opens the file anew where another one, or none, has come to its path: what is written would be lost."""
        if self._file is not None and _identity(self._path) == self._file:
            return
        # The log stayed at the path, and the file that was moved lacks what is in it.
        with suppress(sqlite3.Error):
            self._database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._database.close()
        self._file = None
        try:
            self._database = open_database(self._path, self._max_bytes)
        except UsageError as error:
            raise Unavailable(str(error)) from error
        self._file = _identity(self._path)
        _log.warning("feedback store opened anew")

    def _count_answer(self, done: "Future[int]") -> None:
        with self._lock:
            if done.exception():
                self.counts.dropped += 1
            else:
                self.counts.stored += 1

    def _count_feedback(self, done: "Future[int]", kind: FeedbackKind) -> None:
        if not done.cancelled() and not done.exception():
            with self._lock:
                self.counts.feedback[kind] += 1


def _identity(path: Path) -> tuple[int, int] | None:
    """Device and inode of a file; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _handed_out(error: Exception) -> Exception:
    """The error for the caller, who may try again or not; a fault of ours is left as it is."""
    if not isinstance(error, sqlite3.Error):
        return error
    # The low byte is the primary code.
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Unavailable("another process holds the feedback store; try again")
    if code == sqlite3.SQLITE_FULL:
        return Overloaded("the feedback store is full; make room on its disk, or raise its limit")
    if code in _BROKEN:
        return Unavailable("the feedback store cannot be written; look into the server's log")
    return error
