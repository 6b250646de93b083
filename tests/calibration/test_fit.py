import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from crossrank.calibration.curves import Bin, Floats, Isotonic, Platt
from crossrank.calibration.fit import Method, cross_fitted, expected_calibration_error, fit_calibration, reliability
from crossrank.errors import UsageError

METHODS: list[Method] = ["platt", "isotonic"]


def judged(slope: float, intercept: float, queries: int, seed: int = 0) -> tuple[Floats, Floats, list[str]]:
    """Ten pairs a query, each relevant with the probability that slope and intercept give its logit."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(scale=3, size=10 * queries)
    labels = (rng.random(len(logits)) < expit(slope * logits + intercept)).astype(np.float64)
    return logits, labels, [f"q{number // 10}" for number in range(len(logits))]


def platt(logits: Floats, labels: Floats, query_ids: list[str]) -> Platt:
    curve = fit_calibration(logits, labels, query_ids).curve
    assert isinstance(curve, Platt)
    return curve


def test_platt_finds_the_slope_and_the_intercept_again() -> None:
    curve = platt(*judged(0.4, -2.0, queries=1000))
    assert curve.slope == pytest.approx(0.4, abs=0.03)
    assert curve.intercept == pytest.approx(-2.0, abs=0.1)


def test_platt_takes_his_targets() -> None:
    """Two logits only: there the likeliest curve goes through the mean target of each."""
    logits = np.repeat([-1.0, 3.0], 10)
    labels = np.array([1.0, *[0.0] * 9, 0.0, 0.0, *[1.0] * 8])
    high, low = 10 / 11, 1 / 13  # of 9 relevant and 11 irrelevant pairs
    curve = platt(logits, labels, [f"q{number}" for number in range(20)])
    at = curve.probabilities(np.array([-1.0, 3.0]))
    assert at.tolist() == pytest.approx([(high + 9 * low) / 10, (8 * high + 2 * low) / 10], abs=1e-6)


def test_platt_is_logistic_regression_on_both_classes_of_graded_labels() -> None:
    logits, labels, query_ids = judged(0.7, -1.0, queries=30)
    graded = np.clip(labels + np.tile([0.0, 0.25, -0.25, 0.5, -0.5], 60), 0, 1)
    relevant = graded.sum()
    targets = graded * (relevant + 1) / (relevant + 2) + (1 - graded) / (len(graded) - relevant + 2)
    peer = LogisticRegression(C=np.inf, tol=1e-10).fit(
        np.tile(logits, 2)[:, None], np.repeat([1, 0], len(logits)), np.concatenate([targets, 1 - targets])
    )
    curve = platt(logits, graded, query_ids)
    assert (curve.slope, curve.intercept) == pytest.approx((peer.coef_[0, 0], peer.intercept_[0]), rel=1e-4)


def test_platt_stays_finite_where_the_classes_are_apart() -> None:
    labels = np.repeat([0.0, 1.0], 15)
    curve = platt(np.where(labels == 1, 5.0, -5.0), labels, [f"q{number % 15}" for number in range(30)])
    assert curve.probabilities(np.array([-5.0, 5.0])).tolist() == pytest.approx([1 / 17, 16 / 17], abs=1e-6)


def test_isotonic_pools_what_falls() -> None:
    logits = np.arange(10.0)
    labels = np.array([0, 0, 1, 0, 0.5, 0.5, 0, 1, 1, 1])
    curve = fit_calibration(logits, labels, [f"q{number}" for number in range(10)], method="isotonic").curve
    assert isinstance(curve, Isotonic)
    expected = [0, 0, 0.4, 0.4, 0.4, 0.4, 0.4, 1, 1, 1]
    assert curve.probabilities(logits).tolist() == pytest.approx(expected)
    assert curve.probabilities(np.array([-9.0, 6.5, 99.0])).tolist() == pytest.approx([0, 0.7, 1])


@pytest.mark.parametrize("method", METHODS)
def test_the_error_falls_where_probabilities_are_off(method: Method) -> None:
    logits, labels, query_ids = judged(0.4, -2.0, queries=200)
    calibration = fit_calibration(logits, labels, query_ids, method)
    error = calibration.expected_calibration_error
    assert error.before > 0.2
    assert error.after < 0.03
    assert calibration.judgements == 2000
    for bins in (calibration.bins.before, calibration.bins.after):
        assert sum(entry.count for entry in bins) == 2000
        assert [entry.predicted for entry in bins] == sorted(entry.predicted for entry in bins)
    assert expected_calibration_error(calibration.bins.after) == error.after
    assert calibration.bins.after == reliability(cross_fitted(logits, labels, query_ids, method, 5), labels)


def test_isotonic_mends_a_shape_that_platt_cannot() -> None:
    logits, _, query_ids = judged(1.0, 0.0, queries=300)
    stairs = np.where(logits < -1, 0.1, np.where(logits < 4, 0.15, 0.95))
    labels = (np.random.default_rng(1).random(len(logits)) < stairs).astype(np.float64)
    errors = {
        method: fit_calibration(logits, labels, query_ids, method).expected_calibration_error for method in METHODS
    }
    assert errors["isotonic"].after < 0.03 < errors["platt"].after < errors["platt"].before


@pytest.mark.parametrize("method", METHODS)
def test_chance_gives_no_better_error_than_chance(method: Method) -> None:
    """Labels that the logits do not know, and logits that already say the right share; 20 draws.

    On the pairs that it was fitted on, an isotonic curve would seem perfect.
    """
    before, after = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        labels = (rng.random(200) < 0.3).astype(np.float64)
        logits = logit(0.3) + rng.normal(scale=0.01, size=200)
        query_ids = [f"q{number // 10}" for number in range(200)]
        before.append(expected_calibration_error(reliability(expit(logits), labels)))
        after.append(
            expected_calibration_error(reliability(cross_fitted(logits, labels, query_ids, method, 5), labels))
        )
    assert np.mean(after) > np.mean(before)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15)  # each fits up to 24 curves
@given(st.integers(0, 19), st.integers(2, 12), st.integers(0, 100))
def test_no_pair_is_measured_by_a_curve_that_saw_its_query(method: Method, changed: int, folds: int, seed: int) -> None:
    logits, labels, query_ids = judged(0.4, -1.0, queries=20, seed=seed)
    mine = np.array(query_ids) == f"q{changed}"
    others = np.where(mine, 1 - labels, labels)
    seen, unseen = (cross_fitted(logits, given_labels, query_ids, method, folds) for given_labels in (labels, others))
    assert seen[mine].tolist() == unseen[mine].tolist()
    assert seen[~mine].tolist() != unseen[~mine].tolist()


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=1, max_size=200), st.randoms())
def test_a_reliability_diagram_holds_every_pair_once_whatever_their_order(
    pairs: list[tuple[float, float]], random: "np.random.Generator | object"
) -> None:
    probabilities, labels = np.array(pairs).T
    bins = reliability(probabilities, labels)
    assert sum(entry.count for entry in bins) == len(pairs)
    assert len(bins) <= 10
    assert 0 <= expected_calibration_error(bins) <= 1
    turned = np.array(pairs[::-1]).T
    assert expected_calibration_error(reliability(*turned)) == pytest.approx(expected_calibration_error(bins))


def test_bins_have_equal_mass_and_the_error_is_their_weighted_gap() -> None:
    probabilities = np.arange(100) / 100
    bins = reliability(probabilities, np.zeros(100))
    assert [entry.count for entry in bins] == [10] * 10
    assert expected_calibration_error(bins) == pytest.approx(probabilities.mean())
    ties = reliability(np.array([0.2] * 8 + [0.9] * 2), np.array([0.0, 1.0] * 4 + [1.0] * 2))
    assert [(entry.observed, entry.count) for entry in ties] == [(0.5, 8), (1.0, 2)]
    assert [entry.predicted for entry in ties] == pytest.approx([0.2, 0.9])
    assert expected_calibration_error(ties) == pytest.approx(0.8 * 0.3 + 0.2 * 0.1)


LOGITS, LABELS, QUERIES = judged(1.0, 0.0, queries=12)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((LOGITS[:90], LABELS[:90], QUERIES[:90]), "9 judged queries are too few .* 10 are needed"),
        (([], [], []), "0 judged queries"),
        ((LOGITS, np.ones(120), QUERIES), "all judged pairs are relevant"),
        ((LOGITS, np.zeros(120), QUERIES), "all judged pairs are irrelevant"),
        ((LOGITS, LABELS * 3, QUERIES), "a label is not between 0 and 1; divide grades"),
        ((LOGITS, LABELS * np.nan, QUERIES), "a label is not between"),
        ((LOGITS * np.inf, LABELS, QUERIES), "a logit is not finite"),
        ((LOGITS[:9], LABELS, QUERIES), r"120 query ids, logits of shape \(9,\) and labels of \(120,\)"),
        ((LOGITS[:, None], LABELS[:, None], QUERIES), "do not match"),
        ((-LOGITS, LABELS, QUERIES), "the logits do not rise with relevance"),
        ((np.full(120, 2.0), LABELS, QUERIES), "the logits do not rise with relevance"),
        ((LOGITS, LABELS, QUERIES, "isotonic", 1), "folds: 1 is too few"),
    ],
)
def test_what_cannot_be_fitted_is_one_sentence(arguments: tuple[object, ...], sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        fit_calibration(*arguments)  # type: ignore[arg-type]


def test_the_calibration_error_by_hand() -> None:
    assert expected_calibration_error(
        [Bin(predicted=0.2, observed=0.1, count=30), Bin(predicted=0.9, observed=0.5, count=10)]
    ) == pytest.approx(0.175)
    with pytest.raises(ValueError, match="no pairs"):
        expected_calibration_error([])
