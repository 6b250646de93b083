"""LangChain's clients, as their users write them.

Arguments: the HTTP root, the gRPC target, the query, the documents.
"""

import sys
from collections.abc import Callable

import infinity_client
from langchain_cohere import CohereRerank
from langchain_community.document_compressors import InfinityRerank, JinaRerank, jina_rerank
from langchain_core.documents import Document
from langchain_voyageai import VoyageAIRerank
from report import report

root, target, query, *documents = sys.argv[1:]
Ranked = list[tuple[str, float]]


def compressed(compressor) -> Ranked:
    found = compressor.compress_documents([Document(text) for text in documents], query)
    return [(document.page_content, document.metadata["relevance_score"]) for document in found]


def jina() -> Ranked:
    jina_rerank.JINA_API_URL = f"{root}/v1/rerank"
    return compressed(JinaRerank(jina_api_key="k", top_n=2))


CLIENTS: dict[str, Callable[[], Ranked]] = {
    "langchain cohere": lambda: compressed(CohereRerank(model="m", cohere_api_key="k", base_url=root)),
    "langchain voyageai": lambda: compressed(VoyageAIRerank(model="m", api_key="k", base_url=f"{root}/v1", top_k=2)),
    "langchain infinity": lambda: compressed(
        InfinityRerank(client=infinity_client.Client(base_url=root), model="m", top_n=2)
    ),
    "langchain jina": jina,
}

if __name__ == "__main__":
    report(CLIENTS)
