"""Real text to compare scores on: judged sets, or the functions of Python's own standard library."""

import importlib
import inspect
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from types import ModuleType

from crossrank.data.eval_set import Qrels, read_judged_set
from crossrank.errors import UsageError

_QUERIES = 48
_DOCUMENTS = 30
_SEED = 0
# Queries that calibrate, and never judge.
_HELD_BACK = 12
# Present in every supported Python, importable without side effects, with prose of different lengths.
_MODULES = ("argparse", "csv", "difflib", "heapq", "pathlib", "shutil", "statistics", "textwrap", "zipfile")
# What functions do not hold: nothing at all, other scripts, and more than any model reads.
_ODD_DOCUMENTS = ("", "Größe und Übergänge — 日本語の文書 — مرحبا 🙂", "word " * 2000)


@dataclass(frozen=True, slots=True)
class ReferenceList:
    """A query and the documents to order for it, by id."""

    query_id: str
    query: str
    documents: dict[str, str]

    def first(self, count: int) -> "ReferenceList":
        """The list with its first documents alone."""
        return replace(self, documents=dict(islice(self.documents.items(), count)))


@dataclass(frozen=True, slots=True)
class ReferenceSet:
    """Lists under one name, with their judgements where there are any.

    Attributes:
        held_back: further pairs of the same kind, on which a quantisation may be set up without having seen what it
            is accepted on; empty where the set has no more queries.
    """

    name: str
    lists: list[ReferenceList]
    qrels: Qrels | None
    held_back: list[ReferenceList]

    @property
    def pairs(self) -> list[tuple[str, str]]:
        """All pairs, list by list."""
        return pairs_of(self.lists)


def pairs_of(lists: Sequence[ReferenceList]) -> list[tuple[str, str]]:
    """The pairs of lists, one list after the other."""
    return [(entry.query, document) for entry in lists for document in entry.documents.values()]


def reference_sets(judgements: Sequence[Path], max_queries: int) -> list[ReferenceSet]:
    """Lists of real pairs: from judged sets where any are given, else from the standard library.

    Args:
        judgements: directories of judged sets.
        max_queries: how many queries of each are compared, drawn by a fixed seed.

    Raises:
        InvalidData: a judged set cannot be read.
        UsageError: one judges nothing as relevant, or two have the same name.
    """
    if not judgements:
        return [standard_library(max_queries)]
    sets = [_judged(directory, max_queries) for directory in judgements]
    names = [entry.name for entry in sets]
    if len(set(names)) < len(names):
        raise UsageError(f"two judged sets have the same name among {', '.join(names)}; rename one directory")
    return sets


def _judged(directory: Path, max_queries: int) -> ReferenceSet:
    judged = read_judged_set(directory)
    answered = [query_id for query_id in judged.queries if judged.positives(query_id)]
    if not answered:
        raise UsageError(f"{directory} judges no document as relevant; there is nothing to compare an order on")
    random.Random(_SEED).shuffle(answered)
    lists = []
    for query_id in answered[: max_queries + _HELD_BACK]:
        candidates: Sequence[str] = (judged.candidates or {}).get(query_id) or [
            *judged.qrels[query_id],
            *islice((doc_id for doc_id in judged.corpus if doc_id not in judged.qrels[query_id]), _DOCUMENTS),
        ]
        documents = {doc_id: judged.corpus[doc_id] for doc_id in candidates}
        lists.append(ReferenceList(query_id, judged.queries[query_id], documents))
    compared = lists[:max_queries]
    qrels = {entry.query_id: judged.qrels[entry.query_id] for entry in compared}
    return ReferenceSet(directory.resolve().name, compared, qrels, lists[max_queries:])


def standard_library(max_queries: int) -> ReferenceSet:
    """Functions of Python's standard library for the first lines of their docstrings, without judgements."""
    functions = standard_library_functions()
    lists = []
    queries = min(_QUERIES, max_queries) + _HELD_BACK
    step = len(functions) / queries
    for number in range(queries):
        start = int(number * step)
        texts = [source for _, source in (functions + functions)[start : start + _DOCUMENTS]]
        documents = {str(place): text for place, text in enumerate([*texts, *_ODD_DOCUMENTS])}
        lists.append(ReferenceList(str(number), functions[start][0], documents))
    random.Random(_SEED).shuffle(lists)
    return ReferenceSet("standard library", lists[_HELD_BACK:], None, lists[:_HELD_BACK])


def standard_library_functions() -> list[tuple[str, str]]:
    """(first line of the docstring, source) of functions of Python's standard library, in a fixed order."""
    return [pair for name in _MODULES for pair in _functions(importlib.import_module(name))]


def _functions(module: ModuleType) -> list[tuple[str, str]]:
    """(first line of the docstring, source) of a module's documented functions and methods."""
    classes = [member for _, member in inspect.getmembers(module, inspect.isclass)]
    found: dict[str, tuple[str, str]] = {}
    for owner in (module, *classes):
        for _, function in inspect.getmembers(owner, inspect.isfunction):
            doc = inspect.getdoc(function)
            if doc and function.__module__ == module.__name__:
                found.setdefault(function.__qualname__, (doc.splitlines()[0], inspect.getsource(function)))
    return [found[name] for name in sorted(found)]
