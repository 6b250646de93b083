"""LlamaIndex's clients, as their users write them.

Arguments: the HTTP root, the gRPC target, the query, the documents.
"""

import sys
from collections.abc import Callable

from llama_index.core.schema import NodeWithScore, TextNode
from llama_index.postprocessor.cohere_rerank import CohereRerank
from llama_index.postprocessor.jinaai_rerank import JinaRerank
from llama_index.postprocessor.tei_rerank import TextEmbeddingInference
from report import report

root, target, query, *documents = sys.argv[1:]
Ranked = list[tuple[str, float]]


def processed(postprocessor) -> Ranked:
    nodes = [NodeWithScore(node=TextNode(text=text)) for text in documents]
    found = postprocessor.postprocess_nodes(nodes, query_str=query)
    return [(node.node.get_content(), node.score) for node in found]


CLIENTS: dict[str, Callable[[], Ranked]] = {
    "llama_index cohere": lambda: processed(CohereRerank(api_key="k", model="m", base_url=root, top_n=2)),
    "llama_index jina": lambda: processed(JinaRerank(api_key="k", base_url=f"{root}/v1", top_n=2)),
    "llama_index tei": lambda: processed(TextEmbeddingInference(base_url=root, top_n=2)),
}

if __name__ == "__main__":
    report(CLIENTS)
