"""Haystack: a ranker."""

from dataclasses import replace

from crossrank.errors import UsageError
from crossrank.reranker import Reranker

try:
    from haystack import Document, component
except ImportError as error:
    raise UsageError("Haystack is not installed: pip install haystack-ai") from error


@component
class CrossrankRanker:
    """Keeps the most relevant documents, best first; the score that they had is `retrieval_score` in their metadata.

    Args:
        reranker: a `Scorer` or a `RankClient`; by default the packaged ranker, in this process. A pipeline can be
            written to a file with the default only.
        top_k: how many documents stay; all by default.
    """

    def __init__(self, reranker: Reranker | None = None, top_k: int | None = None) -> None:
        # By the names of the arguments: pipelines are written from them.
        self.reranker = reranker
        self.top_k = top_k
        self._opened = reranker

    def warm_up(self) -> None:
        """Opens the packaged ranker, where no other was given."""
        if self._opened is None:
            from crossrank.inference.scorer import Scorer

            self._opened = Scorer.open()

    @component.output_types(documents=list[Document])
    def run(self, query: str, documents: list[Document], top_k: int | None = None) -> dict[str, list[Document]]:
        """Orders documents by their relevance to a query; the given ones stay as they are.

        Args:
            query: must not be empty.
            documents: may be empty; those without text count as empty texts.
            top_k: how many documents stay, instead of the component's number.

        Raises:
            CrossrankError: as `Reranker.rank`.
        """
        self.warm_up()
        assert self._opened is not None
        texts = [document.content or "" for document in documents]
        ranked = self._opened.rank(query, texts, top_k=self.top_k if top_k is None else top_k)
        kept = []
        for result in ranked:
            given = documents[result["corpus_id"]]
            meta = {**given.meta, "retrieval_score": given.score}
            kept.append(replace(given, score=result["score"], meta=meta))
        return {"documents": kept}
