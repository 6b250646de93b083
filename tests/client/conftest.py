"""The three rerankers that keep one contract."""

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from crossrank import AsyncRankClient, CrossrankError, RankClient, RankedDocument, Reranker, Scorer


class Blocking:
    """AsyncRankClient on an event loop of its own."""

    def __init__(self, target: str) -> None:
        async def connect() -> AsyncRankClient:
            return AsyncRankClient(target)

        self._loop = asyncio.new_event_loop()
        self._client = self._loop.run_until_complete(connect())

    def rank(self, query: str, documents: Sequence[str], **options: Any) -> list[RankedDocument]:
        return self._loop.run_until_complete(self._client.rank(query, documents, **options))

    def rank_many(
        self, queries: Sequence[tuple[str, Sequence[str]]], **options: Any
    ) -> Iterator[tuple[int, list[RankedDocument] | CrossrankError]]:
        async def collect() -> list[tuple[int, list[RankedDocument] | CrossrankError]]:
            return [outcome async for outcome in self._client.rank_many(queries, **options)]

        yield from self._loop.run_until_complete(collect())

    def predict(self, pairs: Sequence[tuple[str, str]], **options: Any) -> NDArray[np.float32]:
        return self._loop.run_until_complete(self._client.predict(pairs, **options))

    def close(self) -> None:
        self._loop.run_until_complete(self._client.close())
        self._loop.close()


@pytest.fixture(scope="module")
def scorer() -> Iterator[Scorer]:
    with Scorer.open() as opened:
        yield opened


@pytest.fixture(scope="module", params=["Scorer", "RankClient", "AsyncRankClient"])
def reranker(request: pytest.FixtureRequest, server: str, scorer: Scorer) -> Iterator[Reranker]:
    if request.param == "Scorer":
        yield scorer
    elif request.param == "RankClient":
        with RankClient(server) as client:
            yield client
    else:
        blocking = Blocking(server)
        yield blocking
        blocking.close()
