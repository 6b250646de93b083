import base64
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import imread

from crossrank.calibration.curves import BeforeAndAfter, Bin, Calibration, Platt
from crossrank.data.eval_set import JudgedSet
from crossrank.data.trec import Run, ranking_from_scores
from crossrank.evaluation.baselines import Baselines
from crossrank.evaluation.eval_result import EvalResult, evaluate_run
from crossrank.evaluation.eval_set import EvalSet
from crossrank.evaluation.verdict import judge
from crossrank.train.fit.fine_tune import History
from crossrank.train.recipe import Recipe
from crossrank.train.report.page import write_report
from crossrank.train.report.record import TrainingReport
from tests.reporting.html_page import Page
from tests.support.judged_by_hand import AFTER_DOWN, ATTACK, JUDGED, TUNED, UNTUNED


def recipe(name: str, base: str, max_length: int) -> Recipe:
    tables = {"data": {"train": "unused"}}
    return Recipe.model_validate({"name": name, "base": base, "max_length": max_length, **tables})


def bare() -> TrainingReport:
    return TrainingReport(
        directory=Path("unused"),
        recipe=recipe("brief", "base", 128),
        training_set_pairs=0,
        lengths=np.empty(0, dtype=np.int64),
        screening={},
        history=History(),
        measured=None,
        regressions=[],
        verdict=None,
    )


def measured(judged: JudgedSet, tuned: Run, before: dict[str, Run], *, scored: bool = True) -> EvalResult:
    candidates = {query_id: list(scores) for query_id, scores in tuned.items()}
    eval_set = EvalSet(judged.queries, judged.corpus, judged.qrels, candidates, "by hand")
    rankings = {system: ranking_from_scores(run) for system, run in before.items()}
    return evaluate_run(eval_set, Baselines(rankings, before if scored else {}), tuned)


def calibration(before: list[Bin], after: list[Bin]) -> Calibration:
    bins: BeforeAndAfter[tuple[Bin, ...]] = BeforeAndAfter(before=tuple(before), after=tuple(after))
    errors: BeforeAndAfter[float] = BeforeAndAfter(before=0.1, after=0.0)
    curve = Platt(slope=1.0, intercept=0.0)
    return Calibration(curve=curve, judgements=40, expected_calibration_error=errors, bins=bins)


def full() -> TrainingReport:
    found = measured(JUDGED, TUNED, {"base": UNTUNED, "bm25": UNTUNED})
    return TrainingReport(
        directory=Path("unused"),
        recipe=recipe("full", ATTACK, 30),
        training_set_pairs=7187,
        lengths=np.array([10, 20, 30, 40]),
        screening={},
        history=History(
            losses=[(1, 0.7, 0.0), (10, 0.4, 2e-5), (20, 0.3, 1e-5)], quality=[(10, 0.5), (20, 0.6)], steps=20
        ),
        measured=found,
        regressions=[],
        verdict=judge(found.comparison, "base"),
        calibration=calibration(
            [Bin(predicted=0.2, observed=0.1, count=30)], [Bin(predicted=0.2, observed=0.2, count=10)]
        ),
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("reports") / "full"
    write_report(directory, full())
    return directory


def test_a_page_holds_all_that_it_shows(written: Path) -> None:
    page = Page(written / "report.html")
    for tag, attributes in page.tags:
        assert tag not in ("script", "link", "iframe", "object", "base", "form")
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        for name in ("src", "href", "srcset", "data", "action"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#"))
    source = (written / "report.html").read_text(encoding="utf-8")
    assert "://" not in source
    assert "url(" not in source
    assert "default-src 'none'" in source
    assert (written / "report.html").stat().st_size < 1_000_000


def test_its_pictures_are_the_files_beside_it_and_say_what_they_show(written: Path) -> None:
    shown = {}
    for image in Page(written / "report.html").all("img"):
        assert image["src"] and image["alt"]
        shown[base64.b64decode(image["src"].removeprefix("data:image/png;base64,"), validate=True)] = image["alt"]
    files = {path.stem: path.read_bytes() for path in written.glob("*.png")}
    assert set(files) == {"loss", "ndcg", "ndcg_by_step", "changes", "scores", "lengths", "calibration"}
    assert set(files.values()) == set(shown)
    assert {imread(written / f"{name}.png").shape[1] for name in files} == {960}
    assert shown[files["loss"]] == (
        "Loss over 20 steps: 0.7000 at the first report, 0.3000 at the last; learning rate 2e-05 at its highest."
    )
    assert "1 won, 1 lost, 1 unchanged; from +0.500 to " in shown[files["changes"]]
    assert "base, untuned: relevant 0.85, other 0.2; tuned: relevant 2, other 1." in shown[files["scores"]]
    assert sorted(path.name for path in written.iterdir()) == sorted(
        [*(f"{name}.png" for name in files), "report.html"]
    )


def test_texts_are_shown_and_never_become_markup(written: Path) -> None:
    page = Page(written / "report.html")
    assert page.text.count(ATTACK) == 3  # base, query, document
    source = (written / "report.html").read_text(encoding="utf-8")
    assert "<script" not in source
    assert "&lt;script&gt;" in source


def test_the_page_says_what_was_won_and_lost(written: Path) -> None:
    text = " ".join(Page(written / "report.html").text.split())
    assert "1 won, 1 lost, 1 unchanged" in text
    assert "nDCG@10 0.500 → 1.000 +0.500 · query up" in text
    assert f"nDCG@10 1.000 → {AFTER_DOWN:.3f} {AFTER_DOWN - 1:+.3f} · query down" in text
    assert "a 1 3 → 1 first document" in text
    assert (
        "25.0% of 4 training pairs are longer than max_length 30 and are cut, which loses 10.0% of all tokens" in text
    )
    assert "0.100 before, 0.000 after" in text


def test_a_reference_that_was_not_evaluated_is_refused(tmp_path: Path) -> None:
    found = measured(JUDGED, TUNED, {"base": UNTUNED})
    other = replace(found, baselines=Baselines({"bm25": {}}, {}))
    with pytest.raises(ValueError, match="'bm25' was not evaluated; compare with one of tuned, base"):
        write_report(tmp_path / "report", replace(full(), measured=other))
    assert not (tmp_path / "report").exists()


ONE = JudgedSet({"q": "?"}, {"d": ""}, {"q": {"d": 1}})
CASES: dict[str, TrainingReport] = {
    "nothing": bare(),
    "no dev set": replace(full(), measured=None, verdict=None, history=History(losses=[(1, 0.7, 0.0)])),
    "no scores before": replace(
        bare(),
        measured=measured(JUDGED, TUNED, {"bm25": UNTUNED}, scored=False),
        verdict=full().verdict,
        lengths=np.array([5]),
    ),
    "one of each": replace(
        bare(),
        history=History(losses=[(1, 0.5, 1e-5)], quality=[(1, 0.0)]),
        lengths=np.array([5]),
        measured=measured(ONE, {"q": {"d": 0.0}}, {"bm25": {}}),
        verdict=full().verdict,
        calibration=calibration([], [Bin(predicted=0.5, observed=1.0, count=1)]),
    ),
}
PICTURES = {
    "nothing": set(),
    "no dev set": {"loss", "lengths", "calibration"},
    "no scores before": {"ndcg", "changes", "scores", "lengths"},
    "one of each": {"loss", "ndcg", "ndcg_by_step", "changes", "scores", "lengths", "calibration"},
}


@pytest.mark.parametrize("name", CASES)
def test_what_a_report_lacks_is_left_out(name: str, tmp_path: Path) -> None:
    write_report(tmp_path, CASES[name])
    assert {path.stem for path in tmp_path.glob("*.png")} == PICTURES[name]
    page = Page(tmp_path / "report.html")
    assert len(page.all("img")) == len(PICTURES[name])
    sections = {
        "changes": "Queries won and lost",
        "scores": "Scores",
        "lengths": "Lengths",
        "calibration": "Calibration",
    }
    shown = [heading for picture, heading in sections.items() if picture in PICTURES[name]]
    assert page.headings == ["Ranking quality", "Training", *shown]
    assert ("It was not evaluated" in page.text) == (CASES[name].measured is None)
    for leak in ("None", "nan", "Undefined", "{{"):
        assert leak not in page.text
    assert "rank before → after" not in page.text


@pytest.mark.parametrize("name", CASES)
def test_all_of_it_is_json(name: str, tmp_path: Path) -> None:
    found = write_report(tmp_path, CASES[name])
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert set(found) == {"changes", "scores", "lengths", "calibration"}


def test_the_json_holds_what_the_page_shows(tmp_path: Path) -> None:
    found = write_report(tmp_path, full())
    moved = found["changes"]["biggest_wins"][0]["documents"][0]
    assert moved == {"doc_id": "a", "grade": 1, "before": 3, "after": 1, "snippet": "first document"}
    assert set(found["scores"]) == {"base", "tuned"}
    assert sum(found["scores"]["tuned"]["relevant"]) == 4
    assert found["lengths"]["truncated_pairs"] == 0.25
    assert found["calibration"]["before"] == {
        "bins": [{"predicted": 0.2, "observed": 0.1, "count": 30}],
        "error": pytest.approx(0.1),
    }


def test_thousands_of_queries_make_a_page_of_the_same_size(tmp_path: Path) -> None:
    ids = [f"q{number}" for number in range(5000)]
    judged = JudgedSet(dict.fromkeys(ids, "query"), {"a": "", "b": ""}, {query_id: {"a": 1} for query_id in ids})
    gains = np.random.default_rng(0).normal(0, 0.2, len(ids)).tolist()
    runs = [
        {query_id: {"a": sign * gain, "b": 0.0} for query_id, gain in zip(ids, gains, strict=True)} for sign in (1, -1)
    ]
    write_report(tmp_path, replace(bare(), measured=measured(judged, runs[0], {"bm25": runs[1]})))
    assert (tmp_path / "report.html").stat().st_size < 200_000


def test_a_report_takes_the_place_of_an_older_one(written: Path, tmp_path: Path) -> None:
    (tmp_path / "report.html").write_text("older")
    (tmp_path / "loss.png").write_text("older")
    write_report(tmp_path, full())
    assert (tmp_path / "loss.png").read_bytes() == (written / "loss.png").read_bytes()
    assert (tmp_path / "report.html").read_bytes() == (written / "report.html").read_bytes()
