"""What tests of the feedback store share: answers to show, rows to read, and another process' transaction."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from crossrank.v1 import ranker_pb2

DOCUMENTS = ["a", "b", "c\0", ""]


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
