"""Measures of a ranking against judgements, through ir_measures, and agreement between two rankings."""

import math
import re
from collections.abc import Mapping, Sequence

import ir_measures
import numpy as np
import numpy.typing as npt
from scipy import stats

from crossrank.data.qrels import MAX_GRADE, Qrels
from crossrank.data.trec import Ranking

MEASURES = ("nDCG@10", "MRR@10", "MAP", "Recall@50")

_NAMES = {"nDCG": "nDCG", "MRR": "RR", "Recall": "R"}
_WITH_CUTOFF = re.compile(r"(nDCG|MRR|Recall)@([1-9][0-9]{0,5})")


def evaluate(qrels: Qrels, ranking: Ranking, measures: Sequence[str] = MEASURES) -> dict[str, dict[str, float]]:
    """Measure a ranking: measure -> query id -> value in [0, 1].

    Every query of `qrels` with a grade above 0 counts, with 0 where the ranking lacks it. Queries without one are
    left out, as no ranking can do well or badly on them; so are ranked queries that nobody judged. Unjudged
    documents and negative grades count as not relevant. nDCG is trec_eval's: the grade is the gain (Järvelin and
    Kekäläinen 2002), discounted by log2(rank + 1). MRR, MAP and Recall take any grade above 0 as relevant.

    Raises:
        ValueError: A measure is unknown, a grade is above 1000, or a ranking names a document twice.
    """
    known = {name: _parsed(name) for name in measures}
    judged = {
        query_id: {doc_id: max(grade, 0) for doc_id, grade in grades.items()}
        for query_id, grades in qrels.items()
        if any(grade > 0 for grade in grades.values())
    }
    if any(grade > MAX_GRADE for grades in judged.values() for grade in grades.values()):
        raise ValueError(f"a grade is above {MAX_GRADE}; trec_eval takes memory for every grade up to the highest")
    values = {name: dict.fromkeys(judged, 0.0) for name in known}
    # trec_eval orders equal scores by document id and not by our order, so each rank gets a score of its own.
    run = {
        query_id: {doc_id: float(-rank) for rank, doc_id in enumerate(_each_once(query_id, ranking[query_id]))}
        for query_id in judged
        if ranking.get(query_id)
    }
    if run and known:
        names: dict[object, list[str]] = {}
        for name, measure in known.items():
            names.setdefault(measure, []).append(name)
        for metric in ir_measures.iter_calc(list(names), judged, run):
            for name in names[metric.measure]:
                values[name][metric.query_id] = float(metric.value)
    return values


def mean(per_query: Mapping[str, float]) -> float:
    """The mean over queries.

    Raises:
        ValueError: There are no queries.
    """
    if not per_query:
        raise ValueError("no query to take the mean of; judge at least one document as relevant")
    return math.fsum(per_query.values()) / len(per_query)


def kendall_tau(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Kendall's tau-b (Kendall 1945) of two score vectors over the same documents, in [-1, 1].

    Tau-b is undefined where a vector is constant: 1.0 when both are, as they order nothing differently, and 0.0
    when only one is.

    Raises:
        ValueError: The vectors are empty, differ in length or hold NaN.
    """
    first, second = _vectors(a, b)
    constant = [bool((vector == vector[0]).all()) for vector in (first, second)]
    if any(constant):
        return float(all(constant))
    return float(stats.kendalltau(first, second, variant="b").statistic)


def top_k_overlap(a: npt.ArrayLike, b: npt.ArrayLike, k: int) -> float:
    """The share of the top k of `a` that is in the top k of `b`, in [0, 1]; k is clipped to their length.

    Equal scores keep the order of the vectors.

    Raises:
        ValueError: k is below 1, or the vectors are empty, differ in length or hold NaN.
    """
    if k < 1:
        raise ValueError(f"k is {k}; it must be at least 1")
    tops = [set(np.argsort(-vector, kind="stable")[:k].tolist()) for vector in _vectors(a, b)]
    return len(tops[0] & tops[1]) / len(tops[0])


def _parsed(name: str) -> object:
    if name == "MAP":
        return ir_measures.parse_measure("AP")
    match = _WITH_CUTOFF.fullmatch(name)
    if match is None:
        raise ValueError(f"unknown measure {name!r}; known are MAP, nDCG@k, MRR@k and Recall@k, such as nDCG@10")
    return ir_measures.parse_measure(f"{_NAMES[match[1]]}@{match[2]}")


def _each_once(query_id: str, doc_ids: Sequence[str]) -> Sequence[str]:
    if len(set(doc_ids)) < len(doc_ids):
        raise ValueError(f"the ranking of query {query_id!r} names a document twice; name each once")
    return doc_ids


def _vectors(a: npt.ArrayLike, b: npt.ArrayLike) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.ndim != 1 or first.shape != second.shape or not first.size:
        raise ValueError(f"score vectors of shapes {first.shape} and {second.shape} cannot be compared")
    if np.isnan(first).any() or np.isnan(second).any():
        raise ValueError("a score is NaN and cannot be ranked")
    return first, second
