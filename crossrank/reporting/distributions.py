"""How scores, lengths and probabilities are spread: the numbers behind the plots of a report."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossrank.calibration.curves import Bin
from crossrank.data.eval_set import JudgedSet
from crossrank.data.trec import Run

_BINS = 40


@dataclass(frozen=True, slots=True)
class ScoreHistogram:
    """Scores of a run, those of relevant documents and those of all others apart.

    Attributes:
        edges: of the bins, one more than there are bins.
        relevant, other: how many scores lie in each bin.
        relevant_median, other_median: None for a group that is empty.
    """

    edges: list[float]
    relevant: list[int]
    other: list[int]
    relevant_median: float | None
    other_median: float | None


@dataclass(frozen=True, slots=True)
class LengthHistogram:
    """Tokens of the training pairs, and what is lost beyond `max_length`.

    Attributes:
        edges: of the bins, in tokens; the last bin also holds all that is longer.
        counts: how many pairs lie in each bin.
        pairs: how many there are.
        longest: tokens of the longest one.
        max_length: tokens that the model reads of a pair.
        truncated_pairs: share of the pairs that are longer.
        truncated_tokens: share of all tokens that lie beyond.
    """

    edges: list[int]
    counts: list[int]
    pairs: int
    longest: int
    max_length: int
    truncated_pairs: float
    truncated_tokens: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """One side of a reliability diagram: its bins in rising order, and their expected calibration error in [0, 1]."""

    bins: list[Bin]
    error: float


def score_histogram(run: Run, judged: JudgedSet) -> ScoreHistogram | None:
    """Spreads the scores of a run over 40 equal bins; None where it scores nothing.

    Queries without a relevant document are left out: nobody knows what their documents are.

    Raises:
        ValueError: a score is not finite.
    """
    relevant: list[float] = []
    other: list[float] = []
    for query_id, scores in run.items():
        if positives := judged.positives(query_id):
            for doc_id, score in scores.items():
                (relevant if doc_id in positives else other).append(score)
    both = np.array([*relevant, *other], dtype=np.float64)
    if not both.size:
        return None
    if not np.isfinite(both).all():
        raise ValueError("a score is not finite and has no place in a histogram.")
    low, high = float(both.min()), float(both.max())
    size = max(1.0, abs(low), abs(high))
    if high - low < 1e-6 * size:  # floats have no room for 40 bins between them
        low, high = low - size / 2, high + size / 2
    edges = np.linspace(low, high, _BINS + 1)
    return ScoreHistogram(
        edges.tolist(),
        np.histogram(relevant, edges)[0].tolist(),
        np.histogram(other, edges)[0].tolist(),
        float(np.median(relevant)) if relevant else None,
        float(np.median(other)) if other else None,
    )


def length_histogram(lengths: NDArray[np.int64], max_length: int) -> LengthHistogram | None:
    """Spreads the lengths of pairs over at most 40 equal bins of whole tokens; None where there are no pairs.

    Args:
        lengths: tokens of each pair before truncation; int64, shape [pairs].
        max_length: tokens that the model reads of a pair.
    """
    if not lengths.size:
        return None
    # One document of a hundred thousand tokens would else press all others into the first bin.
    end = min(int(lengths.max()), 4 * max_length)
    width = math.ceil((end + 1) / _BINS)
    edges = np.arange(0, end + width + 1, width)
    return LengthHistogram(
        edges.tolist(),
        np.histogram(np.minimum(lengths, end), edges)[0].tolist(),
        len(lengths),
        int(lengths.max()),
        max_length,
        float((lengths > max_length).mean()),
        float(np.maximum(lengths - max_length, 0).sum() / max(1, lengths.sum())),
    )
