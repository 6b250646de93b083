"""Routes: which path speaks which dialect, and what a body on a shared path is told apart by."""

from collections.abc import Mapping
from typing import Any

from crossrank.serve.http.dialects.mixedbread import Mixedbread
from crossrank.serve.http.dialects.nvidia import Nvidia
from crossrank.serve.http.dialects.pinecone import Pinecone
from crossrank.serve.http.dialects.results import Results
from crossrank.serve.http.dialects.score import Score
from crossrank.serve.http.dialects.tei import Tei
from crossrank.serve.http.dialects.voyage import Voyage
from crossrank.serve.http.dialects.weaviate import Weaviate
from crossrank.serve.http.endpoint import AnyDialect, Choose

_TEI, _VOYAGE, _WEAVIATE, _PINECONE = Tei(), Voyage(), Weaviate(), Pinecone()
_MIXEDBREAD, _NVIDIA, _SCORE = Mixedbread(), Nvidia(), Score()
_V1, _V2 = Results("1", data=True), Results("2", data=False)
_INFINITY = Results("1", data=False, document="string")


def _bare(body: Mapping[str, Any], headers: Mapping[str, str]) -> AnyDialect:
    if "texts" in body:
        return _TEI
    if "property" in body:
        return _WEAVIATE
    if "x-pinecone-api-version" in headers:
        return _PINECONE
    return _v1(body, headers)


def _v1(body: Mapping[str, Any], headers: Mapping[str, str]) -> AnyDialect:
    # The keys tell, whatever their values: clients send null for what they leave to the server.
    return _VOYAGE if "top_k" in body or "truncation" in body else _V1


def _reranking(body: Mapping[str, Any], headers: Mapping[str, str]) -> AnyDialect:
    return _MIXEDBREAD if "input" in body else _bare(body, headers)


def _always(dialect: AnyDialect) -> Choose:
    return lambda body, headers: dialect


# By canonical path: how the dialect is found, and the dialects that it may be, for the API's description.
ROUTES: dict[str, tuple[Choose, tuple[AnyDialect, ...]]] = {
    "/rerank": (_bare, (_V1, _TEI, _VOYAGE, _WEAVIATE, _PINECONE)),
    "/v1/rerank": (_v1, (_V1, _VOYAGE)),
    "/v2/rerank": (_always(_V2), (_V2,)),
    "/infinity/rerank": (_always(_INFINITY), (_INFINITY,)),
    "/reranking": (_reranking, (_V1, _TEI)),
    "/v1/reranking": (_reranking, (_MIXEDBREAD, _V1)),
    "/v1/reranks": (_v1, (_V1,)),
    "/": (_bare, (_TEI, _V1)),
    "/ranking": (_always(_NVIDIA), (_NVIDIA,)),
    "/v1/ranking": (_always(_NVIDIA), (_NVIDIA,)),
    "/score": (_always(_SCORE), (_SCORE,)),
    "/v1/score": (_always(_SCORE), (_SCORE,)),
}
