from pathlib import Path

import pytest

from crossrank.data.eval_set import JudgedSet, write_judged_set
from crossrank.errors import UsageError
from crossrank.export.eval_sets import read_eval_sets
from crossrank.export.gate import bm25_quality, reasons, refuse_easy
from crossrank.export.options import ExportOptions
from crossrank.export.pipeline import export_ranker
from crossrank.inference.ranker.manifest import Agreement, Budget
from crossrank.intervals import Interval
from tests.conftest import HELDOUT


def figures(**changed: object) -> Agreement:
    difference = Interval(mean=-0.004, low=-0.01, high=0.002, level=0.95)
    made = Agreement(
        data="set",
        queries=100,
        pairs=1000,
        max_error=0.3,
        mean_error=0.03,
        kendall_tau=0.98,
        top1_agreement=0.98,
        top10_overlap=0.97,
        ndcg=0.6,
        ndcg_difference=difference,
        mrr_difference=difference,
    )
    return made.model_copy(update=changed)


@pytest.mark.parametrize(
    ("budget", "changed", "why"),
    [
        (Budget(), {}, None),
        (Budget(), {"top1_agreement": 0.96}, "top-1 agreement on set is 0.96, less than 0.97"),
        (Budget(max_ndcg_drop=0.003), {}, "the fall of nDCG@10 on set is 0.004, more than 0.003"),
        (Budget(max_mrr_drop=0.003), {}, "the fall of MRR@10"),
        (Budget(max_error=0.2), {}, "the largest error of a logit on set is 0.3, more than 0.2"),
        (Budget(min_kendall_tau=0.99), {}, "Kendall's tau"),
        (Budget(min_top10_overlap=0.98), {}, "top-10 overlap"),
        (Budget(max_error=0.4), {"max_error": float("nan")}, "the largest error of a logit on set is nan"),
        (Budget(min_top1_agreement=None, max_ndcg_drop=None), {"top1_agreement": 0.0}, None),
    ],
)
def test_a_budget_names_what_was_lost(budget: Budget, changed: dict[str, object], why: str | None) -> None:
    found = reasons([figures(), figures(**changed)], budget)
    assert all(reason.startswith(why or "") for reason in found)
    assert bool(found) == (why is not None)


def test_every_reason_is_named() -> None:
    found = reasons([figures(top1_agreement=0.9, kendall_tau=0.5)], Budget(min_kendall_tau=0.9))
    assert [reason.split(" on ")[0] for reason in found] == ["Kendall's tau", "top-1 agreement"]


def test_what_calibrates_never_judges() -> None:
    (judged,), calibration = read_eval_sets([HELDOUT], max_queries=8)
    assert (len(judged.queries), len(calibration.queries)) == (8, 4)
    assert not set(judged.queries.values()) & set(calibration.queries.values())
    assert not calibration.qrels
    (library,), calibration = read_eval_sets([], max_queries=5)
    assert (len(library.queries), library.qrels) == (5, {})
    assert calibration.queries
    assert not set(library.queries.values()) & set(calibration.queries.values())
    assert read_eval_sets([], max_queries=5) == ([library], calibration)


def easy(directory: Path) -> Path:
    """Each query shares its one word with its one document alone, whichever candidates are found."""
    words = ("knit", "boil", "sort", "read", "paint", "dig")
    corpus = {f"d{word}": f"{word} it" for word in words}
    write_judged_set(
        JudgedSet({word: word for word in words}, corpus, {word: {f"d{word}": 1} for word in words}), directory
    )
    return directory


def test_a_set_that_bm25_solves_is_refused_unless_told(tmp_path: Path) -> None:
    sets, _ = read_eval_sets([easy(tmp_path / "easy")], max_queries=6)
    assert bm25_quality(sets[0]) == 1.0
    with pytest.raises(UsageError, match="--allow-easy-eval-sets"):
        refuse_easy(sets)
    with pytest.raises(UsageError, match="--allow-easy-eval-sets"):
        export_ranker("nothing", tmp_path / "out", ExportOptions(eval_sets=(tmp_path / "easy",)))
    with pytest.raises(UsageError, match="nothing at all is neither"):  # it is the model now that is looked for
        options = ExportOptions(eval_sets=(tmp_path / "easy",), allow_easy_eval_sets=True)
        export_ranker("nothing at all", tmp_path / "out", options)
    assert bm25_quality(read_eval_sets([HELDOUT], max_queries=12)[0][0]) < 0.9
