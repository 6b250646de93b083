"""Base URLs of clients lead to the route that they mean."""

import pytest

from crossrank.serve.http.paths import canonical_path


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/rerank", "/rerank"),
        ("//rerank/", "/rerank"),
        ("/v1/v2/rerank", "/v2/rerank"),
        ("/v1/v1/rerank", "/v1/rerank"),
        ("/v1rerank", "/v1/rerank"),
        ("/api/models/rerank", "/rerank"),
        ("/providers/cohere/v2/rerank", "/v2/rerank"),
        ("/infinity/rerank", "/infinity/rerank"),
        ("/v1/retrieval/nvidia/some-model/reranking", "/v1/ranking"),
        ("/v1/ranking", "/v1/ranking"),
        ("/v1/reranking", "/v1/reranking"),
        ("/v1/score/", "/v1/score"),
        ("/", "/"),
        ("//", "/"),
        ("/v1/models/default", "/v1/models/default"),
        ("/unrerank", "/unrerank"),
        ("/rerank/else", "/rerank/else"),
    ],
)
def test_canonical_path(path: str, route: str) -> None:
    assert canonical_path(path) == route
