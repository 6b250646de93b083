"""Schema of a feedback store's SQLite file, and what writes rows into it."""

import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from crossrank.errors import FeedbackTargetNotFound, UsageError
from crossrank.v1 import ranker_pb2

FeedbackKind: TypeAlias = Literal["thumb", "stars", "click"]

# Tells the file from other databases, and its tables from those of other versions; `crossrank.feedback.labels` reads
# it.
APPLICATION_ID = int.from_bytes(b"CRfb")
SCHEMA_VERSION = 1

_SCHEMA = (
    # `request_id` is not unique: callers choose it. Texts are null unless they are kept; `shown_at` is Unix time.
    """CREATE TABLE impression (
        id INTEGER PRIMARY KEY AUTOINCREMENT, request_id TEXT NOT NULL, shown_at REAL NOT NULL,
        model TEXT NOT NULL, version TEXT NOT NULL, query TEXT)""",
    "CREATE INDEX impression_request ON impression (request_id)",
    # `rank` counts from 1.
    """CREATE TABLE shown (
        impression INTEGER NOT NULL REFERENCES impression, rank INTEGER NOT NULL, document_id TEXT NOT NULL,
        score REAL, document TEXT, PRIMARY KEY (impression, rank)) WITHOUT ROWID""",
    # `value`: 1 and 0 for thumbs up and down, 1 to 5 stars, 1 for a click. Ids grow: the last of a kind has the most.
    """CREATE TABLE feedback (
        id INTEGER PRIMARY KEY AUTOINCREMENT, impression INTEGER NOT NULL, rank INTEGER NOT NULL,
        given_at REAL NOT NULL, kind TEXT NOT NULL, value INTEGER NOT NULL, comment TEXT NOT NULL,
        FOREIGN KEY (impression, rank) REFERENCES shown)""",
    "CREATE INDEX feedback_shown ON feedback (impression, rank)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {SCHEMA_VERSION}",
)

# Seconds that another process may hold the file.
_BUSY = 5.0


@dataclass(frozen=True, slots=True)
class Feedback:
    """One judgement of one document; `value` is 1 or 0 for a thumb, 1 to 5 for stars, 1 for a click."""

    request_id: str
    document_id: str
    kind: FeedbackKind
    value: int
    comment: str = ""


def open_database(path: Path, max_bytes: int) -> sqlite3.Connection:
    """Opens a connection for one thread at a time, without transactions of its own; what it commits is on disk.

    Args:
        path: the file; made where there is none.
        max_bytes: largest size of the file; what would make it larger fails as on a full disk.

    Raises:
        UsageError: the file cannot be opened, is damaged, or is not a store of this version.
    """
    try:
        # SQLite gives the files beside it the same mode.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as error:
        raise UsageError(f"feedback: {path} cannot be opened for writing: {error.strerror}") from None
    database = sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)
    try:
        database.execute("BEGIN IMMEDIATE")
        _check_or_make(database, path)
        database.execute("COMMIT")
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = FULL")
        database.execute("PRAGMA foreign_keys = ON")
        page = int(database.execute("PRAGMA page_size").fetchone()[0])
        database.execute(f"PRAGMA max_page_count = {max(1, max_bytes // page)}")
    except sqlite3.Error as error:
        database.close()
        raise UsageError(f"feedback: {path} cannot be used as a store: {error}") from None
    except UsageError:
        database.close()
        raise
    return database


def _check_or_make(database: sqlite3.Connection, path: Path) -> None:
    application, version, tables = (
        int(database.execute(query).fetchone()[0])
        for query in ("PRAGMA application_id", "PRAGMA user_version", "SELECT COUNT(*) FROM sqlite_master")
    )
    if (application, version, tables) == (0, 0, 0):
        for statement in _SCHEMA:
            database.execute(statement)
    elif application != APPLICATION_ID:
        raise UsageError(f"feedback: {path} is the database of another program; give a new path")
    elif version != SCHEMA_VERSION:
        raise UsageError(f"feedback: {path} has version {version} of the schema, not {SCHEMA_VERSION}; give a new path")
    else:
        (found,) = database.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise UsageError(f"feedback: {path} is damaged: {found.splitlines()[-1]}; restore it, or give a new path")


def write_answer(
    database: sqlite3.Connection,
    response: ranker_pb2.RankResponse,
    texts: ranker_pb2.RankRequest | None,
    now: float,
) -> int:
    """Inserts an answer, with the texts of its request where they are given; `now` is Unix time.

    Returns:
        The id of the impression.
    """
    cursor = database.execute(
        "INSERT INTO impression (request_id, shown_at, model, version, query) VALUES (?, ?, ?, ?, ?)",
        (response.request_id, now, response.model, response.version, texts.query if texts else None),
    )
    impression = cursor.lastrowid or 0
    database.executemany(
        "INSERT INTO shown (impression, rank, document_id, score, document) VALUES (?, ?, ?, ?, ?)",
        (
            (impression, rank, result.id, result.score, texts.documents[result.index].text if texts else None)
            for rank, result in enumerate(response.results, start=1)
        ),
    )
    return impression


def write_feedback(database: sqlite3.Connection, feedback: Feedback, now: float) -> int:
    """Inserts feedback on the newest answer of its request id, on the best result of its document id.

    Returns:
        The id of the feedback.

    Raises:
        FeedbackTargetNotFound: there is no such answer, or no such result in it.
    """
    newest = "SELECT MAX(id) FROM impression WHERE request_id = ?"
    (impression,) = database.execute(newest, (feedback.request_id,)).fetchone()
    if impression is None:
        raise FeedbackTargetNotFound("request_id: no answer of this name is kept")
    best = "SELECT MIN(rank) FROM shown WHERE impression = ? AND document_id = ?"
    (rank,) = database.execute(best, (impression, feedback.document_id)).fetchone()
    if rank is None:
        raise FeedbackTargetNotFound("document_id: the answer did not hold this document")
    cursor = database.execute(
        "INSERT INTO feedback (impression, rank, given_at, kind, value, comment) VALUES (?, ?, ?, ?, ?, ?)",
        (impression, rank, now, feedback.kind, feedback.value, feedback.comment),
    )
    return cursor.lastrowid or 0
