"""LlamaIndex: a node postprocessor."""

from typing import Any

from crossrank.errors import InvalidRequest, UsageError
from crossrank.reranker import Reranker

try:
    from llama_index.core.bridge.pydantic import Field
    from llama_index.core.postprocessor.types import BaseNodePostprocessor
    from llama_index.core.schema import MetadataMode, NodeWithScore, QueryBundle
except ImportError as error:
    raise UsageError("LlamaIndex is not installed: pip install llama-index-core") from error


def _scorer() -> Reranker:
    from crossrank.inference.scorer import Scorer

    return Scorer.open()


class CrossrankPostprocessor(BaseNodePostprocessor):
    """Keeps the most relevant nodes, best first; the score that they had is `retrieval_score` in their metadata.

    Attributes:
        reranker: a `Scorer` or a `RankClient`; by default the packaged ranker, in this process.
        top_n: how many nodes stay; all by default.
    """

    # A protocol cannot be checked by pydantic.
    reranker: Any = Field(default_factory=_scorer, exclude=True)
    top_n: int | None = None

    @classmethod
    def class_name(cls) -> str:
        """Name in serialised pipelines."""
        return "CrossrankPostprocessor"

    def _postprocess_nodes(
        self, nodes: list[NodeWithScore], query_bundle: QueryBundle | None = None
    ) -> list[NodeWithScore]:
        if query_bundle is None:
            raise InvalidRequest("query_bundle: is missing; give a query")
        texts = [node.node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes]
        kept = []
        for result in self.reranker.rank(query_bundle.query_str, texts, top_k=self.top_n):
            given = nodes[result["corpus_id"]]
            # The embedded text of later stages stays what it was.
            node = given.node.model_copy(
                update={
                    "metadata": {**given.node.metadata, "retrieval_score": given.score},
                    "excluded_embed_metadata_keys": [*given.node.excluded_embed_metadata_keys, "retrieval_score"],
                    "excluded_llm_metadata_keys": [*given.node.excluded_llm_metadata_keys, "retrieval_score"],
                }
            )
            kept.append(NodeWithScore(node=node, score=result["score"]))
        return kept
