"""Texts, numbers and shapes of messages, over gRPC and in every dialect of HTTP."""

import json
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from benchmarks.hostile.case import Case
from benchmarks.hostile.target import RANK, SCORE, Target
from crossrank.tei.v1 import tei_pb2
from crossrank.v1 import ranker_pb2

KIB, MIB = 1024, 1024 * 1024
MOST = 128 * KIB
_CHUNK = ranker_pb2.LONG_DOCUMENT_STRATEGY_CHUNK

# What a text may be, up to the largest one.
TEXTS = {
    "full stops": "." * MOST,
    "one word": "a" * MOST,
    "spaces": "a" + " " * (MOST - 1),
    "combining marks": "e" + "\u0301" * (MOST // 2 - 1),
    "zero-width joiners": "a" + "\u200d" * (MOST // 3 - 1),
    "Chinese": "\u4e2d" * (MOST // 3),
    "ligatures that decompose": "\ufdfa" * (MOST // 3),
    "NUL characters": "\0" * MOST,
    "emoji": "\U0001f9d1\u200d" * (MOST // 7),
    "words": "word " * (MOST // 5),
}


def rank(query: str, documents: list[str], **fields: Any) -> ranker_pb2.RankRequest:
    """A request of ours."""
    return ranker_pb2.RankRequest(
        query=query, documents=[ranker_pb2.Document(text=text) for text in documents], **fields
    )


# Bodies of every dialect, from a query and documents.
BODIES: dict[str, tuple[str, Callable[[str, list[str]], Any]]] = {
    "Cohere v1": ("/v1/rerank", lambda q, d: {"query": q, "documents": d, "return_documents": True}),
    "Cohere v2": ("/v2/rerank", lambda q, d: {"query": q, "documents": d}),
    "Jina": ("/v1/rerank", lambda q, d: {"query": q, "documents": [{"text": text} for text in d]}),
    "Voyage": ("/v1/rerank", lambda q, d: {"query": q, "documents": d, "top_k": 3}),
    "TEI": ("/rerank", lambda q, d: {"query": q, "texts": d, "return_text": True}),
    "Infinity": ("/infinity/rerank", lambda q, d: {"query": q, "documents": d, "return_documents": True}),
    "Weaviate": ("/rerank", lambda q, d: {"query": q, "documents": d, "property": "p"}),
    "Mixedbread": ("/v1/reranking", lambda q, d: {"query": q, "input": d, "return_input": True}),
    "NVIDIA": ("/v1/ranking", lambda q, d: {"query": {"text": q}, "passages": [{"text": text} for text in d]}),
    "vLLM score": ("/v1/score", lambda q, d: {"text_1": q, "text_2": d}),
}


def _ranked(query: str, documents: list[str], max_length: int, target: Target) -> str:
    return target.call(RANK, rank(query, documents, max_length=max_length))


def _posted(path: str, body: Callable[[], Any], target: Target) -> str:
    return target.post(path, body())


def cases() -> Iterator[Case]:
    """All cases of texts."""
    yield from _texts()
    yield from _shapes()
    yield from _json()


def _texts() -> Iterator[Case]:
    fine = "OK|RESOURCE_EXHAUSTED|DEADLINE_EXCEEDED"
    for name, text in TEXTS.items():
        yield Case(f"gRPC: {name}, query and document", fine, partial(_ranked, text, [text], 0))
    for length in (5, 6, 7):
        yield Case(
            f"gRPC: 500 full stops against 500 commas, max_length {length}",
            fine,
            partial(_ranked, "." * 500, ["," * 500] * 1000, length),
        )
    yield Case(
        "gRPC: largest text in chunks of the smallest length",
        fine,
        lambda t: t.call(RANK, rank("a", [TEXTS["words"]], max_length=5, long_document_strategy=_CHUNK)),
    )
    yield Case(
        "gRPC: 100 largest texts in chunks of the smallest length",
        fine,
        lambda t: t.call(
            RANK,
            rank("a", [f"{n} {TEXTS['words'][:-9]}" for n in range(100)], max_length=5, long_document_strategy=_CHUNK),
            seconds=10,
        ),
    )
    yield Case(
        "gRPC: 100 largest texts, 10 calls at once",
        fine,
        lambda t: t.call(RANK, *[rank(f"q{i}", [f"{n} {i} " + "." * 130_000 for n in range(100)]) for i in range(10)]),
    )
    yield Case(
        "gRPC: Score of 60 largest queries and documents",
        fine,
        lambda t: t.call(
            SCORE,
            ranker_pb2.ScoreRequest(
                pairs=[
                    ranker_pb2.Pair(query=f"{n}" + "." * 130_000, document=f"{n}" + "," * 130_000) for n in range(60)
                ]
            ),
        ),
    )
    yield Case("gRPC: a query above the limit", "INVALID_ARGUMENT", lambda t: t.call(RANK, rank("a" * 2 * MIB, ["a"])))
    yield Case(
        "gRPC: max_length 1 to 4 and 2**32 - 1",
        "INVALID_ARGUMENT",
        lambda t: t.call(RANK, *[rank("a", ["b"], max_length=n) for n in (1, 2, 3, 4, 2**32 - 1)]),
    )
    yield Case("gRPC: top_n 2**32 - 1", "OK", lambda t: t.call(RANK, rank("a", ["b"], top_n=2**32 - 1)))
    yield Case(
        "gRPC: enumerations out of range",
        "INVALID_ARGUMENT",
        lambda t: t.call(RANK, rank("a", ["b"], score_kind=99), rank("a", ["b"], long_document_strategy=-1)),
    )
    for name, (path, body) in BODIES.items():
        yield Case(
            f"HTTP {name}: 40 largest texts",
            "200|429|504|400|422",
            partial(_posted, path, partial(body, "." * 130_000, [f"{n} " + "," * 130_000 for n in range(40)])),
        )
        yield Case(
            f"HTTP {name}: a query of 8 MB for 1000 documents",
            "400|422|413|ConnectionResetError|BrokenPipeError",
            partial(_posted, path, partial(body, "q " * (4 * MIB), ["a"] * 1000)),
        )


def _shapes() -> Iterator[Case]:
    bad = "INVALID_ARGUMENT"
    yield Case("gRPC: millions of empty documents", bad, lambda t: t.call(RANK, b"\x1a\x00" * (8 * MIB - 1)))
    yield Case("gRPC: millions of unknown fields", bad, lambda t: t.call(RANK, b"\x78\x01" * (8 * MIB - 1)))
    yield Case("gRPC: groups within groups", bad, lambda t: t.call(RANK, b"\x7b" * (8 * MIB)))
    yield Case("gRPC: no message", bad, lambda t: t.call(RANK, b"\xff" * 1000, b"\x12\x02\xff\xfe", b"\x12\xff\xff"))
    yield Case("gRPC: a string that is a lone surrogate", bad, lambda t: t.call(RANK, b"\x12\x03\xed\xa0\x80\x1a\x00"))
    yield Case("gRPC: above the largest message", "RESOURCE_EXHAUSTED", lambda t: t.call(RANK, bytes(17 * MIB)))
    yield Case(
        "tei.v1: millions of empty texts",
        bad,
        lambda t: t.call("/tei.v1.Rerank/Rerank", b"\x12\x00" * (8 * MIB - 1), b"\x1a\x00" * (8 * MIB - 1)),
    )
    yield Case(
        "tei.v1: 1000 texts of 16 kB, 10 calls at once",
        "OK|RESOURCE_EXHAUSTED|DEADLINE_EXCEEDED",
        lambda t: t.call(
            "/tei.v1.Rerank/Rerank",
            *[tei_pb2.RerankRequest(query="q", texts=["word " * 3000] * 1000, truncate=True, return_text=True)] * 10,
        ),
    )


def _json() -> Iterator[Case]:
    text = {"query": "a", "documents": ["b"]}

    def body(name: str, right: str, sent: Any, path: str = "/v1/rerank") -> Case:
        return Case(f"HTTP: {name}", right, lambda t: t.post(path, sent() if callable(sent) else sent))

    yield body(
        "1000 documents, one field joined 10,000 times",
        "400|422",
        lambda: {"query": "a", "documents": [{"text": "word " * 400}] * 1000, "rank_fields": ["text"] * 10_000},
    )
    yield body(
        "1000 documents, 10,000 fields that they have not",
        "400|422",
        lambda: {"query": "a", "documents": [{"a": "b"}] * 1000, "rank_fields": [str(n) for n in range(10_000)]},
    )
    yield body(
        "Mixedbread: one field joined 10,000 times",
        "400|422",
        lambda: {"query": "a", "input": [{"text": "word " * 400}] * 1000, "rank_fields": ["text"] * 10_000},
        "/v1/reranking",
    )
    yield body(
        "documents with megabytes of other fields",
        "200",
        lambda: {"query": "a", "documents": [{"text": "b", "other": "x" * 150_000}] * 100, "return_documents": True},
    )
    yield body("lists 100,000 deep", "400", b'{"query": ' + b"[" * 100_000 + b"]" * 100_000 + b"}")
    yield body(
        "objects 10,000 deep in a document",
        "400",
        b'{"query": "a", "documents": [' + b'{"a":' * 10_000 + b"1" + b"}" * 10_000 + b"]}",
    )
    yield body(
        "an integer of 16 million digits",
        "400|413|422",
        lambda: b'{"query": "a", "documents": ["b"], "top_n": ' + b"9" * (16 * MIB - 100) + b"}",
    )
    yield body(
        "16 MB of integers of 4000 digits in documents",
        "200|400|422",
        lambda: json.dumps(text)[:-1].encode() + b', "x": [' + b",".join([b"9" * 4000] * 4000) + b"]}",
    )
    yield body(
        "an id of 5000 digits", "200|400", b'{"query": "a", "documents": [{"text": "b", "id": ' + b"9" * 5000 + b"}]}"
    )
    for value in ("1e308", "1e999", "NaN", "-Infinity", "1180591620717411303424", "-1", "1.5", '"3"', "true", "[]"):
        right = "200" if value in ("1180591620717411303424", "true", '"3"') else "400|422"
        yield body(f"top_n {value}", f"{right}|400", f'{{"query":"a","documents":["b"],"top_n":{value}}}'.encode())
        yield body(
            f"{value} in a document that is returned",
            "200|400|422",
            f'{{"query":"a","documents":[{{"text":"b","x":{value}}}],"return_documents":true}}'.encode(),
        )
    yield body(
        "a million keys that are one",
        "200|400",
        lambda: b'{"query":"a","documents":["b"]' + b',"query":"a"' * 15_000 + b"}",
    )
    yield body("lone surrogates", "400", b'{"query": "\\ud800", "documents": ["\\udfff"]}')
    yield body(
        "a field that is a lone surrogate",
        "400|200",
        b'{"query":"a","documents":[{"text":"b","\\ud800":1}],"return_documents":true}',
    )
    yield body("NUL in every string", "200", {"query": "\0a", "documents": ["\0"], "model": "\0"})
    yield body("bytes that are not UTF-8", "400", b'{"query": "\xff\xfe", "documents": ["a"]}')
    yield body("UTF-16", "400", json.dumps(text).encode("utf-16"))
    yield body(
        "8 million empty lists",
        "400|ConnectionResetError|BrokenPipeError",
        lambda: b'{"documents": [' + b"[]," * (5 * MIB) + b"1]}",
    )
    yield body("16 MB of spaces", "400|200", lambda: b" " * (16 * MIB - 100) + json.dumps(text).encode())
    yield body("escapes only", "400|422", lambda: b'{"query": "' + b"\\u0041" * (2 * MIB) + b'", "documents": ["b"]}')
    yield body("one quote, then 16 MB of backslashes", "400", lambda: b'{"query": "' + b"\\" * (16 * MIB - 100))
    yield body("vLLM: 20,000 texts", "400", lambda: {"text_1": "a" * 100_000, "text_2": ["b"] * 20_000}, "/v1/score")
    yield body(
        "truncate_prompt_tokens 10**400",
        "400|422|200",
        b'{"query":"a","documents":["b"],"truncate_prompt_tokens":1' + b"0" * 400 + b"}",
    )
    yield body("crossrank.max_length 2**40", "400|422", {**text, "crossrank": {"max_length": 2**40}})
    yield body("crossrank.request_id of 1 MB", "400|422", {**text, "crossrank": {"request_id": "r" * MIB}})
    yield body("a model's name of 1 MB", "200|404|400", {**text, "model": "m" * MIB})
    yield body("a document's id of 1 MB", "400", {"query": "a", "documents": [{"text": "b", "id": "i" * MIB}]})
    yield Case(
        "HTTP: 16 MB bodies, 20 at once",
        "200|429|504|503|ConnectionResetError|BrokenPipeError",
        lambda t: t.posts(
            20, "/v1/rerank", {"query": "a", "documents": ["word " * 3000] * 1000, "return_documents": True}
        ),
    )
