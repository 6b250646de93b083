"""Local reranker: the Python API over whatever scores pairs in this process."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed

import numpy as np
from numpy.typing import NDArray

from crossrank.errors import CrossrankError, InvalidRequest
from crossrank.inference.scores import Scores
from crossrank.reranker import LongDocumentStrategy, RankOptions, ScoreKind, pair_texts, query_texts, rank_texts
from crossrank.results import RankedDocument, order, ranked_document

# The next queries are tokenised while the workers are busy with these.
_QUERIES_AT_ONCE = 4


class LocalReranker(ABC):
    """Ranks as `Reranker` says, with the scores of `score`."""

    @abstractmethod
    def score(self, pairs: Sequence[tuple[str, str]], options: RankOptions) -> Scores:
        """Scores (query, document) pairs, at least one, and says what that cost."""

    def predict(
        self,
        pairs: Sequence[tuple[str, str]],
        *,
        score_kind: ScoreKind | None = None,
        max_length: int | None = None,
        long_documents: LongDocumentStrategy = "truncate",
    ) -> NDArray[np.float32]:
        """As `Reranker.predict`."""
        options = RankOptions(score_kind=score_kind, max_length=max_length, long_documents=long_documents)
        texts = pair_texts(pairs)
        return self.score(texts, options).values if texts else np.empty(0, dtype=np.float32)

    def rank(
        self,
        query: str,
        documents: Sequence[str],
        *,
        ids: Sequence[str] | None = None,
        top_k: int | None = None,
        score_kind: ScoreKind | None = None,
        max_length: int | None = None,
        long_documents: LongDocumentStrategy = "truncate",
        return_documents: bool = False,
    ) -> list[RankedDocument]:
        """As `Reranker.rank`."""
        options = RankOptions(top_k, score_kind, max_length, long_documents, return_documents)
        return self._rank(query, *rank_texts(query, documents, ids), options)

    def rank_many(
        self,
        queries: Sequence[tuple[str, Sequence[str]]],
        *,
        top_k: int | None = None,
        score_kind: ScoreKind | None = None,
        max_length: int | None = None,
        long_documents: LongDocumentStrategy = "truncate",
        return_documents: bool = False,
    ) -> Iterator[tuple[int, list[RankedDocument] | CrossrankError]]:
        """As `Reranker.rank_many`."""
        options = RankOptions(top_k, score_kind, max_length, long_documents, return_documents)
        given = list(query_texts(queries))
        yield from ((index, query) for index, query in given if isinstance(query, InvalidRequest))
        pool = ThreadPoolExecutor(_QUERIES_AT_ONCE)
        indices = {
            pool.submit(self._rank, *query, None, options): index
            for index, query in given
            if not isinstance(query, InvalidRequest)
        }
        try:
            for done in as_completed(indices):
                try:
                    yield indices[done], done.result()
                except CrossrankError as error:
                    yield indices[done], error
        finally:
            pool.shutdown(cancel_futures=True)

    def _rank(
        self, query: str, documents: list[str], ids: list[str] | None, options: RankOptions
    ) -> list[RankedDocument]:
        if not documents:
            return []
        scores = self.score([(query, document) for document in documents], options)
        texts = documents if options.return_documents else None
        return [
            ranked_document(index, float(scores.values[index]), scores.spans[index], ids, texts)
            for index in order(scores.logits)[: options.top_k]
        ]
