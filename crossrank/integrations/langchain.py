"""LangChain: a document compressor."""

from collections.abc import Sequence
from typing import Any

from crossrank.errors import UsageError
from crossrank.reranker import Reranker

try:
    from langchain_core.documents import BaseDocumentCompressor, Document
    from pydantic import ConfigDict, Field
except ImportError as error:
    raise UsageError("LangChain is not installed: pip install langchain-core") from error


def _scorer() -> Reranker:
    from crossrank.inference.scorer import Scorer

    return Scorer.open()


class CrossrankCompressor(BaseDocumentCompressor):
    """Keeps the most relevant documents, best first, with their score as `relevance_score` in their metadata.

    Attributes:
        reranker: a `Scorer` or a `RankClient`; by default the packaged ranker, in this process.
        top_n: how many documents stay; all by default.
    """

    model_config = ConfigDict(arbitrary_types_allowed=True)

    # A protocol cannot be checked by pydantic.
    reranker: Any = Field(default_factory=_scorer, exclude=True)
    top_n: int | None = None

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: object = None
    ) -> Sequence[Document]:
        """Orders documents by their relevance to a query; the given ones stay as they are.

        Raises:
            CrossrankError: as `Reranker.rank`.
        """
        ranked = self.reranker.rank(query, [document.page_content for document in documents], top_k=self.top_n)
        return [
            (given := documents[result["corpus_id"]]).model_copy(
                update={"metadata": {**given.metadata, "relevance_score": result["score"]}}
            )
            for result in ranked
        ]
