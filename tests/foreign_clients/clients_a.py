"""Clients of the first environment, each as its users write it.

Arguments: the HTTP root, the gRPC target, the query, the documents.
"""

import sys
from collections.abc import Callable

import cohere
import haystack
import infinity_client
import litellm
import tei_client
import voyageai
from haystack.utils import Secret
from haystack_integrations.components.rankers.huggingface_api import HuggingFaceTEIRanker
from haystack_integrations.components.rankers.jina import JinaRanker
from haystack_integrations.components.rankers.vllm import VLLMRanker
from infinity_client.api.default import rerank as infinity_rerank
from infinity_client.models import RerankInput
from report import report
from rerankers.models.api_rankers import APIRanker
from xinference_client import RESTfulClient

root, target, query, *documents = sys.argv[1:]
Ranked = list[tuple[str, float]]


def by_index(results, score="relevance_score") -> Ranked:
    return [(documents[result.index], getattr(result, score)) for result in results]


def of_rows(rows, score="relevance_score") -> Ranked:
    return [(documents[row["index"]], row[score]) for row in rows]


def of_documents(found) -> Ranked:
    return [(document.content, document.score) for document in found["documents"]]


def held(texts: list[str]) -> list[haystack.Document]:
    return [haystack.Document(content=text) for text in texts]


def haystack_tei(**options) -> Ranked:
    ranker = HuggingFaceTEIRanker(top_k=2, **options)
    ranker.warm_up()
    return of_documents(ranker.run(query=query, documents=held(documents)))


def with_litellm(model: str, base: str) -> Ranked:
    found = litellm.rerank(model=model, query=query, documents=documents, api_base=base, api_key="k")
    return of_rows(found.results)


def xinference() -> Ranked:
    handle = RESTfulClient(root).get_model("default")
    return of_rows(handle.rerank(documents, query)["results"])


def with_infinity() -> Ranked:
    client = infinity_client.Client(base_url=root)
    body = RerankInput(query=query, documents=documents)
    return by_index(infinity_rerank.sync(client=client, body=body).results)


def with_rerankers() -> Ranked:
    ranker = APIRanker("m", "k", api_provider="cohere", url=f"{root}/v2/rerank")
    return [(result.document.text, result.score) for result in ranker.rank(query=query, docs=documents).results]


key = Secret.from_token("k")
CLIENTS: dict[str, Callable[[], Ranked]] = {
    "cohere v2": lambda: by_index(
        cohere.ClientV2(api_key="k", base_url=root).rerank(model="m", query=query, documents=documents, top_n=2).results
    ),
    "cohere v1": lambda: [
        (result.document.text, result.relevance_score)
        for result in cohere.Client(api_key="k", base_url=root)
        .rerank(model="m", query=query, documents=documents, return_documents=True)
        .results
    ],
    "haystack tei": lambda: haystack_tei(url=root, token=key),
    "haystack tei grpc": lambda: haystack_tei(url=target, use_grpc=True, token=None),
    "haystack jina": lambda: of_documents(
        JinaRanker(api_key=key, base_url=f"{root}/v1/rerank").run(query=query, documents=held(documents))
    ),
    "haystack vllm": lambda: of_documents(
        VLLMRanker(model="m", api_base_url=f"{root}/v1", api_key=key).run(query=query, documents=held(documents))
    ),
    "litellm cohere": lambda: with_litellm("cohere/m", root),
    "litellm jina_ai": lambda: with_litellm("jina_ai/m", root),
    "litellm hosted_vllm": lambda: with_litellm("hosted_vllm/m", root),
    "litellm huggingface": lambda: with_litellm("huggingface/m", root),
    "litellm voyage": lambda: with_litellm("voyage/m", root),
    "litellm infinity": lambda: with_litellm("infinity/m", f"{root}/infinity"),
    "voyageai": lambda: by_index(
        voyageai.Client(api_key="k", base_url=f"{root}/v1").rerank(query, documents, model="m", top_k=2).results
    ),
    "xinference": xinference,
    "infinity": with_infinity,
    "rerankers": with_rerankers,
    "tei_client": lambda: by_index(tei_client.HttpClient(root).rerank(query, documents).ranks, "score"),
    "tei_client grpc": lambda: by_index(tei_client.GrpcClient(target).rerank(query, documents).ranks, "score"),
}

if __name__ == "__main__":
    report(CLIENTS)
