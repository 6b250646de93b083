"""Export of feedback, from stores that the server's own code writes."""

import json
import sqlite3
import tempfile
from collections import defaultdict
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrank.data.examples import Example, read_examples
from crossrank.errors import InvalidData, UsageError
from crossrank.feedback.labels import RankClicks, export_feedback
from crossrank.feedback.options import LabelOptions
from crossrank.feedback.schema import Feedback, FeedbackKind
from crossrank.feedback.store import FeedbackStore
from crossrank.v1 import ranker_pb2

Judgement = tuple[str, FeedbackKind, int]
Answer = tuple[str, list[str], list[Judgement]]

NAMES = ["a", "b", "c"]
JUDGEMENTS = st.one_of(
    st.tuples(st.sampled_from(NAMES), st.just("thumb"), st.integers(0, 1)),
    st.tuples(st.sampled_from(NAMES), st.just("stars"), st.integers(1, 5)),
    st.tuples(st.sampled_from(NAMES), st.just("click"), st.just(1)),
)
ANSWERS = st.lists(
    st.tuples(st.sampled_from(["q", "é\u2028"]), st.permutations(NAMES), st.lists(JUDGEMENTS, max_size=6)), max_size=6
)


def written(path: Path, answers: list[Answer], *, texts: bool = True) -> None:
    """A store of answers: the query, the ids in the order of their ranks, and what was said; the request ids are r0…"""
    store = FeedbackStore(path, keep_texts=texts)
    for number, (query, ids, judgements) in enumerate(answers):
        request = ranker_pb2.RankRequest(
            query=query, documents=[ranker_pb2.Document(id=name, text=f"text {name}".strip()) for name in ids]
        )
        results = [ranker_pb2.RankResult(index=index, id=name, score=-index) for index, name in enumerate(ids)]
        store.show(request, ranker_pb2.RankResponse(request_id=f"r{number}", results=results))
        for name, kind, value in judgements:
            store.record(Feedback(f"r{number}", name, kind, value)).result(120)
    store.close()


def labels(out: Path) -> dict[tuple[str, str], float]:
    return {(row.query, row.documents[0]): row.labels[0] for row in read_examples(out)}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "rows.jsonl"


@given(ANSWERS, st.booleans(), st.sampled_from([0.0, 0.5, 1.0]))
@settings(max_examples=40)
def test_labels_are_means_of_the_last_ratings_then_weighed_clicks(
    answers: list[Answer], use_clicks: bool, eta: float
) -> None:
    rated: dict[tuple[str, str], list[float]] = defaultdict(list)
    weights: dict[tuple[str, str], list[float]] = defaultdict(list)
    for query, ids, judgements in answers:
        last = {(name, kind): value for name, kind, value in judgements}
        for (name, kind), value in last.items():
            if kind != "click":
                rated[query, f"text {name}"].append(float(value) if kind == "thumb" else (value - 1) / 4)
        if any(kind == "click" for _, kind in last):
            for rank, name in enumerate(ids, start=1):
                weights[query, f"text {name}"].append(rank**eta if (name, "click") in last else 0.0)
    expected = {pair: min(1.0, sum(each) / len(each)) for pair, each in weights.items()} if use_clicks else {}
    expected.update({pair: sum(each) / len(each) for pair, each in rated.items()})
    with tempfile.TemporaryDirectory() as root:
        store, out = Path(root) / "store", Path(root) / "rows.jsonl"
        written(store, answers)
        options = LabelOptions(use_clicks=use_clicks, position_bias_eta=eta if use_clicks else 0.0)
        if not expected:
            with pytest.raises(InvalidData, match="holds"):
                export_feedback(store, out, options)
            assert not out.exists()
            return
        report = export_feedback(store, out, options)
        assert labels(out) == pytest.approx(expected)
    assert (report.from_ratings, report.from_ratings + report.from_clicks) == (len(rated), len(expected))
    assert report.averaged == sum(len(each) > 1 for each in rated.values())
    assert sum(report.feedback.values()) == sum(len(judgements) for _, _, judgements in answers)
    assert sum(entry.shown for entry in report.clicks) == sum(map(len, weights.values()))


def test_texts_come_from_a_judged_set_by_id_and_what_has_none_is_counted(
    store: Path, out: Path, tmp_path: Path
) -> None:
    said: list[Judgement] = [("a", "stars", 5), ("b", "thumb", 0), ("c", "stars", 3)]
    written(store, [("q", NAMES, said), ("other", NAMES, said[:1])], texts=False)
    data = tmp_path / "data"
    data.mkdir()
    (data / "corpus.jsonl").write_text(
        '{"_id": "a", "title": "A", "text": "first"}\n{"doc_id": "b", "text": "second"}\n'
    )
    (data / "queries.jsonl").write_text('{"query_id": "r0", "text": "the query"}\n')
    report = export_feedback(store, out, LabelOptions(corpus=data))
    assert list(read_examples(out)) == [
        Example("the query", ("A\nfirst",), (1.0,)),
        Example("the query", ("second",), (0.0,)),
    ]
    assert report.skipped == {"the document has no text": 1, "the query has no text": 1}


def test_a_corpus_file_fills_in_nothing_that_the_store_keeps(store: Path, out: Path, tmp_path: Path) -> None:
    written(store, [("q", ["a", "b"], [("a", "stars", 5)])])
    with closing(sqlite3.connect(store)) as database, database:
        database.execute("UPDATE shown SET document = NULL WHERE document_id = 'b'")
        database.execute("INSERT INTO feedback VALUES (NULL, 1, 2, 0, 'thumb', 0, '')")
    corpus = tmp_path / "corpus.jsonl"
    corpus.write_text('{"doc_id": "a", "text": "not this"}\n{"doc_id": "b", "text": "but this"}\n')
    export_feedback(store, out, LabelOptions(corpus=corpus))
    assert list(read_examples(out)) == [Example("q", ("text a",), (1.0,)), Example("q", ("but this",), (0.0,))]


def test_a_click_far_down_weighs_more_and_a_rating_beats_it(store: Path, out: Path) -> None:
    clicked_first: Answer = ("q", ["a", "b", "c"], [("a", "click", 1)])
    clicked_last: Answer = ("q", ["a", "b", "c"], [("c", "click", 1), ("b", "thumb", 1)])
    nobody: Answer = ("q", ["a", "b", "c"], [])
    written(store, [clicked_first] * 6 + [clicked_last] * 2 + [nobody] * 9)
    plain = export_feedback(store, out, LabelOptions(use_clicks=True))
    assert labels(out) == {("q", "text a"): 6 / 8, ("q", "text b"): 1.0, ("q", "text c"): 2 / 8}
    assert plain.clicks == [RankClicks(1, 8, 6), RankClicks(2, 8, 0), RankClicks(3, 8, 2)]
    export_feedback(store, out, LabelOptions(use_clicks=True, position_bias_eta=1.0, force=True))
    assert labels(out)["q", "text c"] == pytest.approx(2 * 3 / 8)
    export_feedback(store, out, LabelOptions(use_clicks=True, position_bias_eta=5.0, force=True))
    assert labels(out)["q", "text c"] == 1.0


def test_a_store_in_use_is_read(store: Path, out: Path) -> None:
    written(store, [("q", NAMES, [("a", "stars", 4)])])
    using = FeedbackStore(store)
    using.record(Feedback("r0", "a", "stars", 2)).result(120)
    export_feedback(store, out)
    using.close()
    assert list(read_examples(out)) == [Example("q", ("text a",), (0.25,))]


def test_what_cannot_be_exported_is_one_sentence_and_leaves_no_file(store: Path, out: Path, tmp_path: Path) -> None:
    written(store, [("q", NAMES, [("a", "click", 1)]), ("q", ["", "d"], [])], texts=False)
    bare, foreign, newer, text = (tmp_path / name for name in ("bare", "foreign", "newer", "text"))
    written(bare, [("q", NAMES, [])])
    written(newer, [])
    text.write_text("notes " * 300)
    with closing(sqlite3.connect(newer)) as database, closing(sqlite3.connect(foreign)) as other:
        database.execute("PRAGMA user_version = 2")
        other.execute("CREATE TABLE impression (id)")
    given: list[tuple[Path, dict[str, Any], str]] = [
        (store, {}, "holds clicks and no ratings"),
        (store, {"use_clicks": True}, "none of what was judged has both texts: the query has no text (3); name their"),
        (bare, {}, "holds no feedback yet on its 1 answers"),
        (foreign, {}, "not a feedback store"),
        (newer, {}, "has version 2 of the schema"),
        (text, {}, "cannot be read as a feedback store (file is not a database)"),
        (tmp_path / "none", {}, "no such file"),
        (tmp_path, {}, "no such file"),
    ]
    before = sorted(tmp_path.iterdir())
    for path, options, sentence in given:
        with pytest.raises(UsageError) as refused:
            export_feedback(path, out, LabelOptions(**options))
        assert sentence in str(refused.value)
        assert "\n" not in str(refused.value)
    with pytest.raises(InvalidData, match="give it the suffix"):
        export_feedback(store, tmp_path / "rows.csv")
    assert sorted(tmp_path.iterdir()) == before


def test_what_exists_is_replaced_only_by_force_and_a_store_never(tmp_path: Path, out: Path) -> None:
    store = tmp_path / "store.jsonl"
    written(store, [("q", NAMES, [("a", "stars", 4)])])
    out.write_text("mine\n")
    kept = store.read_bytes()
    for target, force in ((out, False), (store, True)):
        with pytest.raises(InvalidData, match="exists already"):
            export_feedback(store, target, LabelOptions(force=force))
    assert (out.read_text(), store.read_bytes()) == ("mine\n", kept)
    export_feedback(store, out, LabelOptions(force=True))
    assert [json.loads(line) for line in out.read_text().splitlines()] == [
        {"query": "q", "document": "text a", "label": 0.75}
    ]


def test_blank_documents_give_no_rows(store: Path, out: Path) -> None:
    written(store, [("q", ["a", "b"], [("a", "stars", 4), ("b", "stars", 1)])])
    with closing(sqlite3.connect(store)) as database, database:
        database.execute("UPDATE shown SET document = ' ' WHERE document_id = 'b'")
    assert export_feedback(store, out).skipped == {"the document is blank": 1}
    assert list(read_examples(out)) == [Example("q", ("text a",), (0.75,))]
