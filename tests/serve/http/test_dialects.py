"""Every dialect on a real server: what tells it apart, what its answers and errors hold."""

import json
from typing import Any

import grpc
import httpx
import numpy as np
import pytest

from crossrank.v1 import ranker_pb2, ranker_pb2_grpc
from tests.serve.http.conftest import DOCUMENTS, QUERY, Served

LOGIT, PROBABILITY = ranker_pb2.SCORE_KIND_LOGIT, ranker_pb2.SCORE_KIND_PROBABILITY
BODY: dict[str, Any] = {"query": QUERY, "documents": DOCUMENTS}
TEI: dict[str, Any] = {"query": QUERY, "texts": DOCUMENTS}
NVIDIA: dict[str, Any] = {"query": {"text": QUERY}, "passages": [{"text": text} for text in DOCUMENTS]}


def asked(http: httpx.Client, path: str, body: object, **headers: str) -> Any:
    answer = http.post(path, json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def ranked(served: Served, kind: ranker_pb2.ScoreKind.ValueType = PROBABILITY) -> list[tuple[int, float]]:
    """What gRPC says."""
    with grpc.insecure_channel(served.target) as channel:
        documents = [ranker_pb2.Document(text=text) for text in DOCUMENTS]
        request = ranker_pb2.RankRequest(query=QUERY, documents=documents, score_kind=kind)
        response = ranker_pb2_grpc.RankServiceStub(channel).Rank(request, timeout=120)
        return [(result.index, result.score) for result in response.results]


@pytest.mark.parametrize("path", ["/rerank", "/v1/rerank", "/v2/rerank", "/infinity/rerank", "/v1/reranks", "/"])
def test_results_are_those_of_grpc_bit_for_bit(served: Served, http: httpx.Client, path: str) -> None:
    answer = asked(http, path, BODY)
    rows = [(row["index"], row["relevance_score"]) for row in answer["results"]]
    assert rows == ranked(served)
    assert all(row.keys() == {"index", "relevance_score"} for row in answer["results"])
    assert ("data" in answer) == (path not in ("/v2/rerank", "/infinity/rerank"))
    assert answer["object"] == "rerank"
    assert answer["model"] == "default"
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > 0
    assert answer["meta"]["billed_units"] == {"search_units": 1}
    assert answer["meta"]["api_version"]["version"] == ("2" if path == "/v2/rerank" else "1")


def test_raw_scores_are_the_logits_of_grpc(served: Served, http: httpx.Client) -> None:
    logits = ranked(served, LOGIT)
    for extra in ({"raw_scores": True}, {"use_activation": False}, {"crossrank": {"score_kind": "logit"}}):
        answer = asked(http, "/rerank", {**BODY, **extra})
        assert [(row["index"], row["relevance_score"]) for row in answer["results"]] == logits
    assert [(row["index"], row["logit"]) for row in asked(http, "/v1/ranking", NVIDIA)["rankings"]] == logits
    rows = asked(http, "/rerank", {**TEI, "raw_scores": True})
    assert [(row["index"], row["score"]) for row in rows] == logits


def test_the_keys_of_a_body_tell_the_dialect_whatever_their_values(http: httpx.Client) -> None:
    for extra in ({"top_k": None}, {"truncation": True}, {"truncation": None}):
        for path in ("/rerank", "/v1/rerank"):
            voyage = asked(http, path, {**BODY, **extra})
            assert voyage["object"] == "list"
            assert [row.keys() for row in voyage["data"]] == [{"index", "relevance_score"}] * 3
    assert isinstance(asked(http, "/rerank", TEI), list)
    assert asked(http, "/v1/rerank", TEI)["results"]
    pinecone = asked(http, "/rerank", BODY, **{"X-Pinecone-API-Version": "2025-04"})
    assert pinecone["data"][0]["document"] == {"text": DOCUMENTS[pinecone["data"][0]["index"]]}


def test_weaviate_gets_scores_in_the_order_of_its_documents(served: Served, http: httpx.Client) -> None:
    body = json.dumps({**BODY, "property": ""}).encode()
    answer = http.post("/rerank", content=body).json()
    assert [row["document"] for row in answer["scores"]] == DOCUMENTS
    assert [row["score"] for row in answer["scores"]] == [score for _, score in sorted(ranked(served))]


@pytest.mark.parametrize("top_n", [None, 0, 1, 2, 50, 1.0, "2"])
def test_top_n_never_cuts_unasked(http: httpx.Client, top_n: Any) -> None:
    rows = asked(http, "/v2/rerank", {**BODY, "top_n": top_n})["results"]
    assert len(rows) == min(int(top_n or 3), 3)


def test_documents_come_back_as_the_dialect_wants_them(http: httpx.Client) -> None:
    documents = [{"text": DOCUMENTS[0], "url": "u"}, DOCUMENTS[1]]
    body = {"query": QUERY, "documents": documents, "return_documents": "true"}
    rows = asked(http, "/rerank", body)["results"]
    assert [row["document"] for row in rows] == [documents[0], {"text": DOCUMENTS[1]}]
    assert [row["document"] for row in asked(http, "/infinity/rerank", body)["results"]] == DOCUMENTS[:2]
    voyage = asked(http, "/v1/rerank", {**body, "top_k": 1})
    assert [row["document"] for row in voyage["data"]] == DOCUMENTS[:1]
    tei = asked(http, "/rerank", {**TEI, "return_text": True, "top_n": 1})
    assert tei == [{"index": 0, "score": tei[0]["score"], "text": DOCUMENTS[0]}]


def test_rank_fields_name_the_text_of_an_object(http: httpx.Client) -> None:
    documents = [{"title": "def add(a, b):", "body": "    return a + b"}]
    answer = asked(http, "/v1/rerank", {"query": QUERY, "documents": documents, "rank_fields": ["title", "body"]})
    assert answer["results"][0]["relevance_score"] == asked(http, "/v1/rerank", BODY)["results"][0]["relevance_score"]


def test_mixedbread(served: Served, http: httpx.Client) -> None:
    answer = asked(http, "/v1/reranking", {"query": QUERY, "input": DOCUMENTS, "top_k": 2, "return_input": True})
    assert [(row["index"], row["score"]) for row in answer["data"]] == ranked(served)[:2]
    assert answer["data"][0]["input"] == DOCUMENTS[0]
    assert answer["top_k"] == 2


@pytest.mark.parametrize(
    "names", [("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2")]
)
def test_scores_come_in_the_order_of_the_pairs(served: Served, http: httpx.Client, names: tuple[str, str]) -> None:
    scores = [score for _, score in sorted(ranked(served))]
    one_to_many = asked(http, "/score", {names[0]: QUERY, names[1]: DOCUMENTS})
    assert [row["score"] for row in one_to_many["data"]] == scores
    pairs = asked(http, "/v1/score", {names[0]: [QUERY, QUERY], names[1]: DOCUMENTS[:2]})
    assert [row["score"] for row in pairs["data"]] == scores[:2]
    assert http.post("/score", json={names[0]: [QUERY, QUERY], names[1]: DOCUMENTS}).status_code == 400


def test_any_name_of_a_model_is_answered_and_the_truth_is_told(http: httpx.Client) -> None:
    answer = http.post("/v2/rerank", json={**BODY, "model": "rerank-v3.5"})
    name, _, version = answer.headers["x-crossrank-model"].partition("@")
    assert (answer.status_code, name, answer.json()["model"]) == (200, "default", "default")
    assert http.post("/rerank", json={**BODY, "model": f"default@{version}"}).status_code == 200
    assert http.post("/rerank", json={**BODY, "model": "default@000000000000"}).status_code == 404


def test_floats_look_like_floats(http: httpx.Client) -> None:
    text = http.post("/rerank", json={**BODY, "documents": [QUERY] * 3}).text
    scores = [row["relevance_score"] for row in json.loads(text)["results"]]
    assert all(isinstance(score, float) and np.float32(score) == score for score in scores)


def test_the_winning_chunk_is_told_at_the_top_level_where_it_is_asked_for(http: httpx.Client) -> None:
    answering = "Paris is the capital of France."
    long = "The weather was fine and the trees were green. " * 100 + answering + " It rained all day long." * 200
    query = "What is the capital of France?"
    body = {"query": query, "documents": [long], "crossrank": {"long_document_strategy": "chunk", "request_id": "mine"}}
    answer = asked(http, "/rerank", body)
    (chunk,) = answer["crossrank"]["chunks"]
    assert answering in long[chunk["start"] : chunk["end"]]
    assert answer["id"] == answer["crossrank"]["request_id"] == "mine"
    assert answer["results"][0].keys() == {"index", "relevance_score"}


def test_what_clients_ask_first(http: httpx.Client) -> None:
    for path, status in (
        ("/health", 200),
        ("/ping", 200),
        ("/.well-known/ready", 204),
        ("/.well-known/live", 204),
        ("/meta", 200),
    ):
        assert http.get(path).status_code == status
    assert http.head("/health").status_code == 200
    info = http.get("/info").json()
    assert next(iter(info["model_type"])) == "reranker"
    assert info["max_input_length"] == 512
    (model,) = http.get("/v1/models").json()["data"]
    assert http.get(f"/v1/models/{model['id']}").json() == model
    assert model["model_type"] == "rerank"
    assert http.get("/v1/models/another").status_code == 404


def test_metrics_are_on_this_port_too(http: httpx.Client) -> None:
    asked(http, "/rerank", BODY)
    answer = http.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    assert 'crossrank_calls_total{method="HTTP",status="OK"}' in answer.text


def test_the_description_of_the_api_needs_no_network(http: httpx.Client) -> None:
    page = http.get("/docs").text
    assert "https://" not in page
    described = http.get("/openapi.json").json()
    assert "anyOf" in described["paths"]["/rerank"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert http.get("/static-offline-docs/swagger-ui-bundle.js").status_code == 200
