"""The sampler: which queries are evaluated, and on which candidates."""

import json
from pathlib import Path

import pytest

from crossrank.data.eval_set import JudgedSet, write_judged_set
from crossrank.data.examples import Example
from crossrank.errors import UsageError
from crossrank.evaluation.baselines import Baselines
from crossrank.evaluation.eval_result import evaluate_run
from crossrank.evaluation.eval_set import EvalSet, eval_set_of, read_eval_set
from crossrank.evaluation.first_stage import first_stage_candidates

WORDS = ("knit", "boil", "sort", "read", "paint", "dig", "sing", "walk")
CORPUS = {f"d{word}": f"how to {word} well" for word in WORDS} | {f"x{n}": f"prose number {n}" for n in range(100)}


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """A directory without candidates, whose relevant documents are not the first of its corpus."""
    corpus = dict(reversed(CORPUS.items()))
    qrels = {word: {f"d{word}": 1} for word in WORDS} | {"unanswered": {"x0": 0}}
    queries = {word: f"{word} prose" for word in WORDS} | {"unanswered": "?"}
    write_judged_set(JudgedSet(queries, corpus, qrels), tmp_path / "beir")
    return tmp_path / "beir"


def test_candidates_are_bm25s_best_where_a_set_has_none(beir: Path) -> None:
    eval_set = read_eval_set(beir)
    assert (eval_set.name, set(eval_set.queries)) == ("beir", set(WORDS))
    for word, ids in eval_set.candidates.items():
        assert len(ids) == 50
        assert ids[0] == f"d{word}"
        assert sum(doc_id.startswith("x") for doc_id in ids) == 49


def test_own_candidates_are_taken_as_they_are(beir: Path) -> None:
    lines = [json.dumps({"query_id": word, "doc_ids": ["x1", "x2"]}) for word in WORDS[1:]]
    (beir / "candidates.jsonl").write_text("\n".join(lines))
    candidates = read_eval_set(beir).candidates
    assert candidates == {word: ["x1", "x2"] for word in WORDS} | {"knit": []}


def test_a_larger_sample_holds_the_smaller_one(beir: Path) -> None:
    samples = [list(read_eval_set(beir, max_queries=count, seed=7).queries) for count in (3, 5, 99)]
    assert samples[0] == samples[1][:3]
    assert samples[1] == samples[2][:5]
    assert len(samples[2]) == len(WORDS)
    assert list(read_eval_set(beir, max_queries=3, seed=8).queries) != samples[0]


def test_kept_candidates_are_not_searched_again(beir: Path, tmp_path: Path) -> None:
    kept = tmp_path / "kept.json"
    found = read_eval_set(beir, kept=kept)
    kept.write_text(json.dumps({word: ["x3"] for word in WORDS}))
    assert read_eval_set(beir, kept=kept).candidates == {word: ["x3"] for word in found.queries}


def test_parts_of_a_set(beir: Path) -> None:
    part = read_eval_set(beir).only(["sort", "knit"]).head(2)
    assert list(part.queries) == list(part.candidates) == list(part.qrels) == ["sort", "knit"]
    assert part.pairs[0] == ("sort prose", CORPUS["dsort"])
    assert len(part.pairs) == 4


@pytest.mark.parametrize(("missing", "sentence"), [("qrels.tsv", "not an evaluation set"), (None, "no query has")])
def test_what_cannot_be_evaluated_on(beir: Path, missing: str | None, sentence: str) -> None:
    if missing:
        (beir / missing).unlink()
    else:
        (beir / "qrels.tsv").write_text("knit 0 x0 0\n")
    with pytest.raises(UsageError, match=sentence):
        read_eval_set(beir)


def test_a_set_of_examples_is_ranked_within_each_query() -> None:
    examples = [Example("q", ("a", "b", "c"), (0.0, 1.0, 0.25)), Example("flat", ("a", "b"), (1.0, 1.0))]
    eval_set: EvalSet = eval_set_of("rows", examples)
    (grades,) = eval_set.qrels.values()
    assert [grades[doc_id] for doc_id in eval_set.candidates["q0"]].count(4) == 1
    assert sorted(grades.values()) == [0, 1, 4]
    best = {"q0": {doc_id: float(grade) for doc_id, grade in grades.items()}}
    assert evaluate_run(eval_set, Baselines({}, {}), best).comparison.means("tuned")["nDCG@10"] == 1.0


def test_a_set_whose_relevant_documents_are_not_found_is_refused(tmp_path: Path) -> None:
    judged = JudgedSet({"q": "knit"}, {"d": "Stricken", "x": "knit"}, {"q": {"d": 1}})
    write_judged_set(judged, tmp_path / "set")
    with pytest.raises(UsageError, match="no relevant document is among the candidates"):
        read_eval_set(tmp_path / "set")


def test_a_query_of_the_corpus_does_not_find_itself(tmp_path: Path) -> None:
    questions = {"1": "learn the piano", "2": "piano lessons to learn", "3": "cook  rice", "4": "how to cook rice"}
    corpus = {**questions, "3": "a title\ncook rice", "5": "nothing of it"}
    judged = JudgedSet({"1": questions["1"], "3": questions["3"], "5": "piano"}, corpus, {"1": {"2": 1}, "3": {"4": 1}})
    found = first_stage_candidates(judged)
    assert found["1"] == ["2"]
    assert found["3"] == ["4"]
    # Ids that coincide say nothing, and a query that is judged to be its own answer is one.
    corpus["5"] = "a piano of wood"
    assert "5" in first_stage_candidates(judged)["5"]
    itself = JudgedSet({"1": questions["1"]}, corpus, {"1": {"1": 1}})
    assert "1" in first_stage_candidates(itself)["1"]
