"""What an export compares on: evaluation sets, or the functions of Python's standard library where none are given."""

import random
from collections.abc import Sequence
from pathlib import Path

from crossrank.data.standard_library import standard_library_functions
from crossrank.errors import UsageError
from crossrank.evaluation.eval_set import EvalSet, read_eval_set

_QUERIES = 48
_DOCUMENTS = 30
_SEED = 0
# Queries of each set that calibrate and choose, and never judge.
_CALIBRATION_QUERIES = 12
_FEWEST_CALIBRATION_QUERIES = 4
# Documents of such a query: enough for an order, few enough to score a graph in seconds.
_CALIBRATION_DOCUMENTS = 24
# What functions do not hold: nothing at all, other scripts, and more than any model reads.
_ODD_DOCUMENTS = ("", "Größe und Übergänge — 日本語の文書 — مرحبا 🙂", "word " * 2000)


def read_eval_sets(paths: Sequence[Path], max_queries: int) -> tuple[list[EvalSet], EvalSet]:
    """Reads what variants are compared on, and what a quantisation may be set up on without having seen that.

    Args:
        paths: evaluation sets; without any, the standard library's functions are compared, without judgements.
        max_queries: how many queries of each are compared.

    Returns:
        The sets to compare on, and further queries of the same kind.

    Raises:
        InvalidData: a line of a set is invalid.
        UsageError: a set judges nothing as relevant, or two have the same name.
    """
    library, library_calibration = standard_library(max_queries)
    if not paths:
        return [library], library_calibration.head(_CALIBRATION_DOCUMENTS)
    sets = [read_eval_set(path, max_queries=max_queries + _CALIBRATION_QUERIES, seed=_SEED) for path in paths]
    names = [each.name for each in sets]
    if len(set(names)) < len(names):
        raise UsageError(f"two evaluation sets have the same name among {', '.join(names)}; rename one directory")
    compared = [each.only(list(each.queries)[:max_queries]) for each in sets]
    calibration = _joined([each.only(list(each.queries)[max_queries:]) for each in sets])
    if len(calibration.queries) < _FEWEST_CALIBRATION_QUERIES:
        calibration = library_calibration
    return compared, calibration.head(_CALIBRATION_DOCUMENTS)


def standard_library(max_queries: int) -> tuple[EvalSet, EvalSet]:
    """Functions of Python's standard library for the first lines of docstrings: to compare on, and to calibrate on."""
    functions = standard_library_functions()
    queries: dict[str, str] = {}
    corpus: dict[str, str] = {}
    candidates: dict[str, list[str]] = {}
    count = min(_QUERIES, max_queries) + _CALIBRATION_QUERIES
    for number in range(count):
        start = int(number * len(functions) / count)
        texts = [source for _, source in (functions + functions)[start : start + _DOCUMENTS]]
        ids = [f"{number}/{place}" for place in range(len(texts) + len(_ODD_DOCUMENTS))]
        queries[str(number)] = functions[start][0]
        corpus.update(zip(ids, (*texts, *_ODD_DOCUMENTS), strict=True))
        candidates[str(number)] = ids
    whole = EvalSet(queries, corpus, {}, candidates, "standard library")
    order = list(queries)
    random.Random(_SEED).shuffle(order)
    return whole.only(order[_CALIBRATION_QUERIES:]), whole.only(order[:_CALIBRATION_QUERIES])


def _joined(sets: Sequence[EvalSet]) -> EvalSet:
    """Several sets as one, without judgements; ids are a set's own, so its number goes before them."""
    joined = EvalSet({}, {}, {}, {}, "calibration")
    for number, each in enumerate(sets):
        joined.queries.update({f"{number}/{query_id}": text for query_id, text in each.queries.items()})
        for query_id, ids in each.candidates.items():
            joined.candidates[f"{number}/{query_id}"] = [f"{number}/{doc_id}" for doc_id in ids]
            joined.corpus.update({f"{number}/{doc_id}": each.corpus[doc_id] for doc_id in ids})
    return joined
