"""Workloads: requests made of real text of named lengths, of a user's own texts, or of an evaluation set."""

import random
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from crossrank.bench.options import PASSAGES
from crossrank.data.bm25 import BM25
from crossrank.data.eval_set import is_judged_set, read_judged_set
from crossrank.data.formats.readers import format_of, read_records
from crossrank.data.standard_library import standard_library_functions
from crossrank.errors import UsageError
from crossrank.inference.ranker.hub import DEFAULT_RANKER

# Passages as search systems keep them, about 84 tokens on average with their query. Log-normal, in pieces between
# blanks, which of code's indentation are many.
_MEAN_PIECES = 62
_SPREAD = 0.7
_MOST_PIECES = 300

# First line of the docstring, and source.
_Functions = list[tuple[str, str]]

_FIXED = re.compile(r"fixed-(?P<tokens>[1-9]\d{0,4})")


@dataclass(frozen=True, slots=True)
class RerankRequest:
    """One query and its documents."""

    query: str
    documents: list[str]


def workload_requests(name: str, count: int, documents: int, seed: int) -> list[RerankRequest]:
    """Makes the requests of a workload.

    Args:
        name: "passages", whose lengths spread widely; "fixed-N", N tokens each by the default ranker's tokenizer; a
            .jsonl file of {"query", "documents"}; or the directory of an evaluation set, whose candidates are taken, or
            BM25's best where it has none.
        count: largest number of requests; of a user's own, where there are more, a sample is drawn.
        documents: largest number of documents of each request.
        seed: random seed of all draws.

    Raises:
        UsageError: the workload is unknown, or a line of it is invalid.
        InvalidData: a file is invalid.
    """
    path = Path(name)
    if name == PASSAGES:
        return passage_requests(count, documents, seed)
    if fixed := _FIXED.fullmatch(name):
        return _fixed_requests(count, documents, seed, int(fixed["tokens"]))
    if is_judged_set(path):
        requests = list(_eval_set_requests(path, documents))
    elif format_of(path) and path.is_file():
        requests = [RerankRequest(request.query, request.documents[:documents]) for request in _file_requests(path)]
    else:
        raise UsageError(
            f"workload {name}: give {PASSAGES}, fixed-N for N tokens a document, a .jsonl file of queries and their "
            "documents, or the directory of an evaluation set"
        )
    if not requests:
        raise UsageError(f"workload {name}: no query has documents")
    return random.Random(seed).sample(requests, min(count, len(requests)))


def describe_workload(requests: Sequence[RerankRequest]) -> dict[str, int | float]:
    """Size and lengths of a workload, by name, for a result's settings."""
    words = [len(text.split()) for request in requests for text in request.documents]
    return {
        "distinct_requests": len(requests),
        "documents_per_request": round(len(words) / len(requests), 1),
        "words_per_document": round(float(np.mean(words)), 1),
        "words_per_document_p95": float(np.percentile(words, 95)),
    }


def passage_requests(count: int, documents: int, seed: int) -> list[RerankRequest]:
    """Makes requests with text of Python's standard library, of passages' lengths.

    Args:
        count: number of requests.
        documents: number of documents of each request; no two requests have the same pair.
        seed: random seed of all draws.
    """

    def passage(functions: _Functions, place: int, draw: np.random.Generator) -> str:
        pieces = int(draw.lognormal(np.log(_MEAN_PIECES) - _SPREAD**2 / 2, _SPREAD))
        return _passage(functions, place, max(1, min(_MOST_PIECES, pieces)))

    return _drawn(count, documents, seed, passage)


def _fixed_requests(count: int, documents: int, seed: int, tokens: int) -> list[RerankRequest]:
    tokenizer = Tokenizer.from_file(str(DEFAULT_RANKER / "tokenizer.json"))
    tokenizer.no_truncation()

    def passage(functions: _Functions, place: int, draw: np.random.Generator) -> str:
        pieces = tokens
        while True:
            text = _passage(functions, place, pieces)
            ends = tokenizer.encode(text, add_special_tokens=False).offsets
            if len(ends) >= tokens:
                return text[: ends[tokens - 1][1]]
            pieces *= 2

    return _drawn(count, documents, seed, passage)


def _drawn(
    count: int, documents: int, seed: int, passage: Callable[[_Functions, int, np.random.Generator], str]
) -> list[RerankRequest]:
    functions = standard_library_functions()
    draw, choose = np.random.default_rng(seed), random.Random(seed)
    requests = []
    for number in range(count):
        query = f"{choose.choice(functions)[0]} ({seed}.{number})"
        texts = [passage(functions, choose.randrange(len(functions)), draw) for _ in range(documents)]
        requests.append(RerankRequest(query, texts))
    return requests


def _passage(functions: _Functions, place: int, pieces: int) -> str:
    """Joins pieces of the functions from one place on."""
    found: list[str] = []
    while len(found) < pieces:
        found.extend(functions[place % len(functions)][1].split(" "))
        place += 1
    return " ".join(found[:pieces])


def _file_requests(path: Path) -> Iterator[RerankRequest]:
    for where, record in read_records(path):
        query, documents = record.get("query"), record.get("documents")
        if not (isinstance(query, str) and query.strip()):
            raise UsageError(f"{where}: 'query' is missing or blank; give its text")
        if not (isinstance(documents, list) and documents and all(isinstance(text, str) for text in documents)):
            raise UsageError(f"{where}: 'documents' must be a list of texts, at least one")
        yield RerankRequest(query, documents)


def _eval_set_requests(directory: Path, documents: int) -> Iterator[RerankRequest]:
    judged = read_judged_set(directory)
    found = judged.candidates or BM25(judged.corpus).top(judged.queries, documents)
    for query_id, ids in found.items():
        if ids:
            yield RerankRequest(judged.queries[query_id], [judged.corpus[doc_id] for doc_id in ids[:documents]])
