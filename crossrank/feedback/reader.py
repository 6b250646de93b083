"""Feedback reader: reads a store's SQLite file, which a server may be writing."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

from crossrank.errors import InvalidData
from crossrank.feedback.schema import APPLICATION_ID, SCHEMA_VERSION


class Shown(NamedTuple):
    """A document in an answer; `rank` from 1, texts None where they are not kept."""

    impression: int
    rank: int
    request_id: str
    query: str | None
    document_id: str
    document: str | None


class StoreReader:
    """The content of a store when it was opened; `open_reader` makes it."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database

    def impressions(self) -> int:
        """How many answers it holds."""
        return int(self._database.execute("SELECT COUNT(*) FROM impression").fetchone()[0])

    def feedback(self) -> dict[str, int]:
        """How many pieces of feedback of each kind it holds, repeated ones too."""
        return dict(self._database.execute("SELECT kind, COUNT(*) FROM feedback GROUP BY kind ORDER BY kind"))

    def ratings(self) -> Iterator[tuple[Shown, int | str]]:
        """The last stars (1 to 5) and the last thumb ("up" or "down") of each document of each answer."""
        for *shown, kind, value in self._database.execute(
            "SELECT impression, rank, request_id, query, document_id, document, kind, value "
            "FROM feedback JOIN shown USING (impression, rank) JOIN impression ON impression.id = impression "
            "WHERE feedback.id IN (SELECT MAX(id) FROM feedback GROUP BY impression, rank, kind) "
            "AND kind IN ('stars', 'thumb') ORDER BY feedback.id"
        ):
            yield Shown(*shown), value if kind == "stars" else ("down", "up")[value]

    def clicked_answers(self) -> Iterator[tuple[Shown, bool]]:
        """Every document of every answer with a click, and whether it was clicked."""
        for *shown, clicked in self._database.execute(
            "SELECT impression, rank, request_id, query, document_id, document, EXISTS (SELECT 1 FROM feedback "
            "WHERE feedback.impression = shown.impression AND feedback.rank = shown.rank AND kind = 'click') "
            "FROM shown JOIN impression ON impression.id = impression "
            "WHERE impression IN (SELECT impression FROM feedback WHERE kind = 'click') ORDER BY impression, rank"
        ):
            yield Shown(*shown), bool(clicked)


@contextmanager
def open_reader(path: Path) -> Iterator[StoreReader]:
    """Opens a store to read it, as it is at this moment; a server may go on writing.

    Raises:
        InvalidData: There is no such file, or it is not a store of this version, or it cannot be read.
    """
    if not path.is_file():
        raise InvalidData(path, "no such file; give the one that the server's --feedback names")
    try:
        # Never made, as `rw` says, nor changed; but a reader that may write leaves no -wal and -shm files behind.
        uri = f"{path.resolve().as_uri()}?mode=rw"
        with closing(sqlite3.connect(uri, uri=True, isolation_level=None)) as database:
            database.execute("PRAGMA query_only = ON")
            database.execute("BEGIN")
            application, version = (
                database.execute(f"PRAGMA {name}").fetchone()[0] for name in ("application_id", "user_version")
            )
            if application != APPLICATION_ID:
                raise InvalidData(path, "not a feedback store; give the one that the server's --feedback names")
            if version != SCHEMA_VERSION:
                raise InvalidData(
                    path, f"has version {version} of the schema; read it with the crossrank that wrote it"
                )
            yield StoreReader(database)
    except (sqlite3.Error, UnicodeDecodeError) as error:  # a damaged schema may not even be text
        raise InvalidData(path, f"cannot be read as a feedback store ({error}); is it whole?") from None
