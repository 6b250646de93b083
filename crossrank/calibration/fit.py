"""Fits what turns logits into probabilities that hold, on held-out judgements, and says by how much they miss.

Platt 1999, Probabilistic Outputs for Support Vector Machines; Zadrozny and Elkan 2002, Transforming Classifier Scores
into Accurate Multiclass Probability Estimates; Naeini, Cooper and Hauskrecht 2015, Obtaining Well Calibrated
Probabilities Using Bayesian Binning, for the expected calibration error.
"""

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import minimize
from scipy.special import expit
from sklearn.isotonic import IsotonicRegression
from sklearn.model_selection import GroupKFold

from crossrank.calibration.curves import BeforeAndAfter, Bin, Calibration, Floats, Isotonic, Platt
from crossrank.errors import UsageError

Method = Literal["platt", "isotonic"]

_FEWEST_QUERIES = 10
_BINS = 10
# Where logits say nothing of relevance, the likeliest slope is 0 or below; a fold takes next to none.
_LEAST_SLOPE = 1e-9


def fit_calibration(
    logits: ArrayLike, labels: ArrayLike, query_ids: Sequence[str], method: Method = "platt", folds: int = 5
) -> Calibration:
    """Fits a calibration on judged pairs that the model was not trained on.

    The curve is fitted on all pairs. What it is worth is measured by cross-fitting: each query's pairs get the
    probabilities of a curve that was fitted without that query.

    Args:
        logits: the model's raw outputs; shape [pairs].
        labels: how relevant the documents are, in [0, 1]; shape [pairs]. A label between is a pair that counts for
            both classes, with the weights label and 1 - label.
        query_ids: the query of each pair.
        method: "platt" has two parameters and suits few judgements; "isotonic" takes any rising shape and wants many,
            a thousand and more (Niculescu-Mizil and Caruana 2005).
        folds: of the cross-fitting, 2 or more; never more than there are queries.

    Returns:
        The calibration, with the expected calibration error and the reliability diagram before and after.

    Raises:
        UsageError: there are fewer than 10 queries, only relevant or only irrelevant pairs, numbers that are no logits
            or labels, or, for Platt scaling, logits that do not rise with relevance.
    """
    x, y = _checked(logits, labels, query_ids, folds)
    curve = _fit(x, y, method)
    if isinstance(curve, Platt) and curve.slope <= _LEAST_SLOPE:
        raise UsageError(
            "the logits do not rise with relevance, so no probability can be made of them; train a model that ranks "
            "better than chance first"
        )
    before, after = reliability(expit(x), y), reliability(cross_fitted(x, y, query_ids, method, folds), y)
    return Calibration(
        curve=curve,
        judgements=len(x),
        expected_calibration_error=BeforeAndAfter(
            before=expected_calibration_error(before), after=expected_calibration_error(after)
        ),
        bins=BeforeAndAfter(before=before, after=after),
    )


def cross_fitted(logits: Floats, labels: Floats, query_ids: Sequence[str], method: Method, folds: int) -> Floats:
    """Probabilities by curves that were fitted on the other folds; folds do not split queries.

    Args:
        logits: float64, shape [pairs].
        labels: float64 in [0, 1], shape [pairs].
        query_ids: the query of each pair.
        method: see `fit_calibration`.
        folds: see `fit_calibration`.

    Returns:
        float64, shape [pairs].
    """
    probabilities = np.empty_like(logits)
    for fitted, held_out in GroupKFold(min(folds, len(set(query_ids)))).split(logits, groups=query_ids):
        probabilities[held_out] = _fit(logits[fitted], labels[fitted], method).probabilities(logits[held_out])
    return probabilities


def reliability(probabilities: Floats, labels: Floats) -> tuple[Bin, ...]:
    """The reliability diagram: at most ten bins of equal mass, by rising probability; equal ones share a bin.

    Args:
        probabilities: float64, shape [pairs].
        labels: float64 in [0, 1], shape [pairs].
    """
    deciles = np.quantile(probabilities, np.arange(1, _BINS) / _BINS, method="inverted_cdf")
    places = np.searchsorted(np.unique(deciles), probabilities)
    return tuple(
        Bin(
            predicted=float(np.clip(probabilities[inside].mean(), 0, 1)),
            observed=float(np.clip(labels[inside].mean(), 0, 1)),
            count=int(inside.sum()),
        )
        for place in np.unique(places)
        for inside in (places == place,)
    )


def expected_calibration_error(bins: Sequence[Bin]) -> float:
    """The mean distance of what was predicted from what was observed, weighted by the bins' pairs (Naeini et al.).

    Raises:
        ValueError: there are no pairs.
    """
    total = sum(entry.count for entry in bins)
    if not total:
        raise ValueError("no pairs to take the calibration error of; give at least one.")
    return sum(entry.count * abs(entry.predicted - entry.observed) for entry in bins) / total


def _checked(logits: ArrayLike, labels: ArrayLike, query_ids: Sequence[str], folds: int) -> tuple[Floats, Floats]:
    x, y = np.asarray(logits, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if not x.shape == y.shape == (len(query_ids),):
        raise UsageError(f"{len(query_ids)} query ids, logits of shape {x.shape} and labels of {y.shape} do not match")
    if folds < 2:
        raise UsageError(f"folds: {folds} is too few to measure on pairs that were not fitted on; take 2 or more")
    if not np.isfinite(x).all():
        raise UsageError("a logit is not finite; the model that gave it cannot be calibrated")
    if not ((y >= 0) & (y <= 1)).all():  # NaN is neither
        raise UsageError("a label is not between 0 and 1; divide grades by the highest one")
    queries = len(set(query_ids))
    if queries < _FEWEST_QUERIES:
        raise UsageError(f"{queries} judged queries are too few to fit probabilities on; {_FEWEST_QUERIES} are needed")
    if y.max() == 0 or y.min() == 1:
        raise UsageError(
            f"all judged pairs are {'relevant' if y.any() else 'irrelevant'}; probabilities need judgements of both"
        )
    return x, y


def _fit(logits: Floats, labels: Floats, method: Method) -> Platt | Isotonic:
    return _fit_platt(logits, labels) if method == "platt" else _fit_isotonic(logits, labels)


def _fit_platt(logits: Floats, labels: Floats) -> Platt:
    """Maximum likelihood of slope and intercept, for Platt's targets: a little inside of 0 and 1 by how few there are.

    These keep the slope finite where the classes are apart, and the fit possible where one of them is missing.
    """
    relevant = labels.sum()
    high, low = (relevant + 1) / (relevant + 2), 1 / (len(labels) - relevant + 2)
    targets = labels * high + (1 - labels) * low
    center, scale = logits.mean(), logits.std() or 1.0
    z = (logits - center) / scale

    def loss(parameters: Floats) -> tuple[float, Floats]:
        """Mean cross-entropy in nats, and its gradient."""
        scores = parameters[0] * z + parameters[1]
        errors = expit(scores) - targets
        return float(np.mean(np.logaddexp(0, scores) - targets * scores)), np.array([errors @ z, errors.sum()]) / len(z)

    share = targets.mean()
    best: Any = minimize(
        loss,
        np.array([0.0, np.log(share / (1 - share))]),
        jac=True,
        method="L-BFGS-B",
        bounds=[(0, None), (None, None)],
        options={"ftol": 1e-15, "gtol": 1e-9, "maxiter": 1000},
    )
    slope = max(float(best.x[0] / scale), _LEAST_SLOPE)
    return Platt(slope=slope, intercept=float(best.x[1] - slope * center))


def _fit_isotonic(logits: Floats, labels: Floats) -> Isotonic:
    fitted = IsotonicRegression(y_min=0, y_max=1, out_of_bounds="clip").fit(logits, labels)
    return Isotonic(knots=tuple(zip(fitted.X_thresholds_.tolist(), fitted.y_thresholds_.tolist(), strict=True)))
