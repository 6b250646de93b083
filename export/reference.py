"""Real text to compare scores on: a judged set, or the functions of Python's own standard library."""

import importlib
import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import ModuleType

from judgements.judged_set import read_judged_set
from serve.errors import UsageError

_QUERIES = 24
_DOCUMENTS = 30
# Present in every supported Python, importable without side effects, with prose of different lengths.
_MODULES = ("argparse", "csv", "difflib", "heapq", "pathlib", "shutil", "statistics", "textwrap", "zipfile")
# What functions do not hold: nothing at all, other scripts, and more than any model reads.
_ODD_DOCUMENTS = ("", "Größe und Übergänge — 日本語の文書 — مرحبا 🙂", "word " * 2000)


@dataclass(frozen=True, slots=True)
class ReferenceList:
    """A query and the documents to order for it."""

    query: str
    documents: list[str]


def reference_lists(judgements: Path | None) -> list[ReferenceList]:
    """Lists of real pairs: from a judged set where one is given, else from the standard library.

    Raises:
        judgements.errors.JudgementsError: the judged set cannot be read.
        UsageError: it judges nothing as relevant.
    """
    return _judged(judgements) if judgements else _standard_library()


def _judged(directory: Path) -> list[ReferenceList]:
    judged = read_judged_set(directory)
    lists = []
    for query_id in islice((query_id for query_id in judged.queries if judged.positives(query_id)), _QUERIES):
        candidates: Sequence[str] = (judged.candidates or {}).get(query_id) or [
            *judged.qrels[query_id],
            *islice((doc_id for doc_id in judged.corpus if doc_id not in judged.qrels[query_id]), _DOCUMENTS),
        ]
        documents = [judged.corpus[doc_id] for doc_id in candidates[:_DOCUMENTS]]
        lists.append(ReferenceList(judged.queries[query_id], documents))
    if not lists:
        raise UsageError(f"{directory} judges no document as relevant; there is nothing to compare an order on")
    return lists


def _standard_library() -> list[ReferenceList]:
    functions = [pair for name in _MODULES for pair in _functions(importlib.import_module(name))]
    step = len(functions) / _QUERIES
    lists = []
    for number in range(_QUERIES):
        start = int(number * step)
        documents = [source for _, source in (functions + functions)[start : start + _DOCUMENTS]]
        lists.append(ReferenceList(functions[start][0], [*documents, *_ODD_DOCUMENTS]))
    return lists


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
