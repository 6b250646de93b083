"""How sure a difference between two systems is, from the queries that both were measured on."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from scipy import stats

from crossrank.intervals import Interval

# Resampled values held at once, so that memory stays at some tens of MB for any number of queries.
_CHUNK_VALUES = 1 << 20


def paired_randomisation(
    a: Mapping[str, float], b: Mapping[str, float], *, samples: int = 10_000, seed: int = 0
) -> float:
    """The two-sided p-value of the paired randomisation test on the mean over queries of a - b.

    Fisher's test: under the null hypothesis each query's two values might as well be exchanged (Smucker, Allan and
    Carterette 2007, A Comparison of Statistical Significance Tests for Information Retrieval Evaluation). Exact where
    there are at most `samples` exchanges.

    Args:
        a: One system's values by query id.
        b: The other system's values for the same queries.
        samples: How many exchanges are tried.
        seed: Of the random numbers.

    Raises:
        ValueError: There are no queries, the queries differ, or a value is not finite.
    """
    differences = _differences(a, b)
    if len(differences) == 1:
        return 1.0  # as likely as its opposite
    # Of one sample, the test exchanges signs. Rounded, else means that are equal but for rounding errors would differ.
    test = stats.permutation_test(
        (differences,),
        lambda values, axis: values.mean(axis=axis).round(12),
        permutation_type="samples",
        vectorized=True,
        n_resamples=samples,
        batch=max(1, _CHUNK_VALUES // len(differences)),
        rng=np.random.default_rng(seed),
    )
    return float(test.pvalue)


def paired_bootstrap(
    a: Mapping[str, float],
    b: Mapping[str, float],
    *,
    samples: int = 10_000,
    level: float = 0.95,
    seed: int = 0,
) -> Interval:
    """The mean over queries of a - b, with a percentile bootstrap interval over queries.

    Efron and Tibshirani 1993, An Introduction to the Bootstrap, chapter 13; Sakai 2006 for retrieval measures.
    The order of the queries does not matter, and equal seeds give equal intervals.

    Args:
        a: One system's values by query id.
        b: The other system's values for the same queries.
        samples: How often the queries are drawn anew, with replacement.
        level: The interval's coverage, between 0 and 1.
        seed: Of the random numbers.

    Raises:
        ValueError: There are no queries, the queries differ, a value is not finite, or `samples` or `level` is out
            of range.
    """
    if samples < 1 or not 0 < level < 1:
        raise ValueError(f"samples {samples} must be at least 1, and level {level} between 0 and 1")
    differences = _differences(a, b)
    rng = np.random.default_rng(seed)
    count = len(differences)
    chunk = max(1, _CHUNK_VALUES // count)
    means = np.concatenate(
        [
            differences[rng.integers(0, count, size=(min(chunk, samples - start), count))].mean(axis=1)
            for start in range(0, samples, chunk)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(differences.mean()), float(low), float(high), level)


def _differences(a: Mapping[str, float], b: Mapping[str, float]) -> npt.NDArray[np.float64]:
    if a.keys() != b.keys():
        raise ValueError(f"{len(a.keys() ^ b.keys())} queries have a value on one side only; measure the same queries")
    if not a:
        raise ValueError("no query to compare on; measure at least one")
    differences = np.array([a[query_id] - b[query_id] for query_id in sorted(a)], dtype=np.float64)
    if not np.isfinite(differences).all():
        raise ValueError("a value is not finite and cannot be compared")
    return differences
