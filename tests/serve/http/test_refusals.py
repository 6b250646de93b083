"""What is cut, refused or too late, and how each dialect says it."""

import inspect
import re
import sys

import httpx
import pytest

from crossrank.serve.http import dialects
from crossrank.serve.http.routes import ROUTES
from tests.serve.http.conftest import QUERY
from tests.serve.http.test_dialects import BODY, TEI, asked


def test_truncation_is_told_or_refused(http: httpx.Client) -> None:
    long = {"query": QUERY, "documents": ["word " * 2000, "short"]}
    assert asked(http, "/v2/rerank", long)["meta"]["warnings"]
    assert "warnings" not in asked(http, "/v2/rerank", BODY)["meta"]
    texts = {"query": QUERY, "texts": long["documents"]}
    assert http.post("/rerank", json=texts).status_code == 200
    assert http.post("/rerank", json={**texts, "truncate": False}).status_code == 422
    assert http.post("/rerank", json={**texts, "truncation_direction": "Left"}).status_code == 422
    assert http.post("/rerank", json={**TEI, "truncation_direction": "Left"}).status_code == 200
    assert http.post("/rerank", json={**long, "truncation": False}).status_code == 400
    assert http.post("/v1/rerank", json={**long, "truncation_side": "left"}).status_code == 400
    assert http.post("/v1/rerank", json={**BODY, "truncation_side": "left"}).status_code == 200
    pairs = {"text_1": QUERY, "text_2": long["documents"]}
    assert http.post("/score", json={**pairs, "truncation_side": "left"}).status_code == 400
    passages = {"query": {"text": QUERY}, "passages": [{"text": "word " * 2000}], "truncate": "NONE"}
    assert http.post("/v1/ranking", json=passages).status_code == 400


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/rerank", {"query": "", "documents": ["a"]}, 400, "query"),
        ("/rerank", {"documents": ["a"]}, 400, "query"),
        ("/rerank", {"query": "q"}, 400, "documents"),
        ("/rerank", {"query": "q", "documents": []}, 400, "documents"),
        ("/rerank", {"query": "q", "documents": ["a", None]}, 400, "documents[1]"),
        ("/rerank", {"query": "q", "documents": ["a", {"body": "b"}]}, 400, "documents[1]"),
        ("/rerank", {"query": "q", "documents": "abc"}, 400, "documents"),
        ("/rerank", {"query": "q", "documents": ["a"], "top_n": -1}, 400, "top_n"),
        ("/rerank", {"query": "q", "texts": []}, 400, "texts"),
        ("/rerank", {"query": "q", "texts": ["a"] * 1001}, 422, "texts"),
        ("/rerank", {"query": "q", "documents": ["a"] * 1001}, 400, "documents"),
        ("/v1/reranking", {"query": "q", "input": ["a", 1]}, 400, "input[1]"),
        ("/v1/ranking", {"query": {"text": "q"}, "passages": []}, 400, "passages"),
        ("/rerank", {"query": "q", "documents": ["a"], "crossrank": {"score": 1}}, 400, "crossrank.score"),
        ("/rerank", {"query": "q", "texts": ["a"], "crossrank": {"max_length": 9999}}, 422, "crossrank.max_length"),
        (
            "/rerank",
            {"query": "q", "documents": ["a"], "truncate_prompt_tokens": 9999},
            400,
            "truncate_prompt_tokens",
        ),
        ("/score", {"text_1": "q", "text_2": "a", "truncate_prompt_tokens": 1}, 400, "truncate_prompt_tokens"),
        ("/rerank", {"query": "q", "documents": ["a"], "truncation_side": "middle"}, 400, "truncation_side"),
    ],
)
def test_an_error_names_the_field_as_the_client_calls_it(
    http: httpx.Client, path: str, body: object, status: int, field: str
) -> None:
    answer = http.post(path, json=body)
    assert answer.status_code == status
    assert answer.json()["message"].startswith(f"{field}:"), answer.text


def test_no_field_is_described_and_then_ignored() -> None:
    for dialect in {dialect for _, several in ROUTES.values() for dialect in several}:
        modules = {part.__module__ for part in (type(dialect), *dialect.body.mro())}
        source = "".join(inspect.getsource(sys.modules[name]) for name in modules if name.startswith(dialects.__name__))
        for field in dialect.body.model_fields:
            assert re.search(rf'\b(body|self)\.{field}\b|"{field}"', source), (dialect.body, field)


def test_one_error_body_holds_the_sentence_under_every_name(http: httpx.Client) -> None:
    plain = http.post("/rerank", json={"query": "", "documents": ["a"]}).json()
    assert plain["error"] == plain["message"] == plain["detail"]
    assert plain["error_type"] == "Validation"
    for path in ("/v1/rerank", "/v2/rerank", "/v1/score"):
        nested = http.post(path, json={"query": ""}).json()
        assert nested["error"]["message"] == nested["message"] == nested["detail"]
        assert nested["error"]["code"] is None


def test_no_answer_is_html_or_empty(http: httpx.Client) -> None:
    for method, path in (("GET", "/rerank"), ("POST", "/nothing"), ("PUT", "/v1/rerank"), ("POST", "/v1/models")):
        answer = http.request(method, path)
        assert answer.status_code in (404, 405)
        assert answer.json()["message"]


@pytest.mark.parametrize("content", [b"", b"[]", b"null", b"{", b'{"query": NaN}', b"\xff\xfe", b'{"a":' * 10_000])
def test_what_is_no_json_object_is_refused(http: httpx.Client, content: bytes) -> None:
    answer = http.post("/rerank", content=content)
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("body:")


def test_a_deadline_reaches_the_scheduler(http: httpx.Client) -> None:
    body = {"query": QUERY, "documents": [f"word{n} " * 400 for n in range(500)]}
    answer = http.post("/v1/rerank", json=body, headers={"X-Request-Timeout-Ms": "20"})
    assert answer.status_code in (504, 429)
    assert http.post("/v1/rerank", json=BODY, headers={"X-Request-Timeout-Ms": "soon"}).status_code == 400
