"""Forms that other tools write, each read or refused by file and line."""

import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from crossrank.data.eval_set import read_judged_set, read_queries
from crossrank.data.examples import Example, read_examples
from crossrank.errors import InvalidData

PAIR = Example("q", ("d",), (1.0,))
HALF = Example("q", ("d",), (0.5,))
TRIPLE = Example("q", ("d", "n"), (1.0, 0.0))
TUPLE = Example("q", ("d", "n", "m"), (1.0, 0.0, 0.0))
READ: dict[str, tuple[dict[str, Any], Example]] = {
    "sentence-transformers pair": ({"anchor": "q", "positive": "d"}, PAIR),
    "sentence-transformers triplet": ({"anchor": "q", "positive": "d", "negative": "n"}, TRIPLE),
    "sentence-transformers n-tuple": ({"anchor": "q", "positive": "d", "negative_1": "n", "negative_2": "m"}, TUPLE),
    "n-tuple with scores": ({"anchor": "q", "positive": "d", "negative_1": "n", "score": [0.9, 0.2]}, TRIPLE),
    # mine_hard_negatives keeps the name of the positive column for documents of either label.
    "sentence-transformers labeled pair": ({"anchor": "q", "positive": "d", "label": 0}, Example("q", ("d",), (0.0,))),
    "sentence-transformers labeled list": ({"query": "q", "answer": ["d", "n"], "labels": [1, 0]}, TRIPLE),
    "sentence1, sentence2, score": ({"sentence1": "q", "sentence2": "d", "score": 0.5}, HALF),
    "sentence_A, sentence_B": ({"sentence_A": "q", "sentence_B": "d", "label": True}, PAIR),
    "query, answer": ({"query": "q", "answer": "d"}, PAIR),
    "question, context": ({"question": "q", "context": "d", "answers": {"text": ["x"]}}, PAIR),
    "InputExample": ({"texts": ["q", "d"], "label": 0.5}, HALF),
    "InputExample of a triplet": ({"texts": ["q", "d", "n"], "label": 0}, TRIPLE),
    "FlagEmbedding": ({"query": "q", "pos": ["d"], "neg": ["n", "m"], "pos_scores": [9], "prompt": "p"}, TUPLE),
    "FlagEmbedding without negatives": ({"query": "q", "pos": ["d"], "neg": []}, PAIR),
    "Cohere": ({"query": "q", "relevant_passages": ["d"], "hard_negatives": ["n", "m"]}, TUPLE),
    "Tevatron": (
        {"query_id": "1", "query": "q", "positive_passages": [{"docid": "7", "title": "t", "text": "d"}]},
        Example("q", ("t\nd",), (1.0,)),
    ),
    "DPR": (
        {"question": "q", "answers": [], "positive_ctxs": [{"text": "d"}], "hard_negative_ctxs": [{"text": "n"}]},
        TRIPLE,
    ),
    "LlamaIndex": ({"query": "q", "context": "d", "score": 0.5}, HALF),
    "a list": ({"query": "q", "documents": ["d", "n"], "labels": [1.0, False]}, TRIPLE),
    "a title": ({"query": "q", "title": "t", "text": "d", "label": 1}, Example("q", ("t\nd",), (1.0,))),
    "other cases": ({"Query": "q", "Document Text": "d", "Label": "1.0"}, PAIR),
    "negatives twice": ({"query": "q", "positive": "d", "negative_1": "n", "negative_2": "n"}, TRIPLE),
}


@pytest.mark.parametrize("tool", READ)
@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
def test_other_tools_forms_are_read(tmp_path: Path, tool: str, suffix: str) -> None:
    record, example = READ[tool]
    path = tmp_path / f"rows.{suffix}"
    if suffix == "parquet":
        if tool in ("a list",):  # a column has one type
            record = {**record, "labels": [1.0, 0.0]}
        parquet.write_table(pyarrow.Table.from_pylist([record]), path)
    else:
        path.write_text(json.dumps(record))
    assert list(read_examples(path)) == [example]


REFUSED: dict[str, tuple[dict[str, Any], str]] = {
    "unknown columns": ({"prompt": "q", "response": "d"}, "the columns are 'prompt', 'response'; give 'query'"),
    "many columns": ({f"column {number}": 1 for number in range(30)}, "and 18 more; give 'query'"),
    "rows without a label": ({"sentence1": "q", "sentence2": "d"}, "the columns are 'sentence1', 'sentence2'"),
    "ids without texts": ({"qid": "1", "pid": "2", "label": 1}, "the columns are 'qid', 'pid', 'label'"),
    "LlamaIndex": ({"queries": {}, "corpus": {}, "relevant_docs": {}}, "a LlamaIndex dataset"),
    "a grade": ({"query": "q", "document": "d", "label": 3}, "label 3 is not a number from 0 to 1"),
    "null": ({"anchor": "q", "positive": None}, "'positive' is null, not a text"),
    "a number": ({"anchor": 7, "positive": "d"}, "'anchor' is a number, not a text"),
    "null in a list": ({"query": "q", "pos": ["d", None], "neg": []}, "'pos[1]' is null, not a text"),
    "a blank in a list": ({"query": "q", "pos": ["d"], "neg": ["n", " "]}, "'neg[1]' is blank"),
    "a list for a text": ({"query": ["q"], "positive": "d"}, "'query' is a list, not a text"),
    "no positive": ({"query": "q", "pos": [], "neg": ["n"]}, "'pos' is empty"),
    "positive and negative": ({"query": "q", "pos": ["d"], "neg": ["d"]}, "a text is both positive and negative"),
    "a list as a text": ({"query": "q", "pos": "['d']", "neg": "[]"}, "'pos' is a list written as a text"),
    "a list without labels": ({"query": "q", "documents": ["d"]}, "'documents' and 'labels' must be lists"),
    "labels of other length": ({"query": "q", "documents": ["d"], "labels": []}, "'documents' and 'labels' must"),
    "a text of texts": ({"texts": ["q"], "label": 1}, "'texts' holds 1 texts"),
    "a dictionary without text": ({"query": "q", "positive_passages": [{"title": "t"}]}, "'text' is missing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_has_no_form_is_refused_by_line(tmp_path: Path, case: str) -> None:
    record, message = REFUSED[case]
    path = tmp_path / "rows.jsonl"
    path.write_text("\n" + json.dumps(record))
    with pytest.raises(InvalidData) as error:
        list(read_examples(path))
    assert error.value.where == f"{path}:2"
    assert message in error.value.problem


def test_columns_that_are_not_read_are_logged_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text((json.dumps(READ["FlagEmbedding"][0]) + "\n") * 2)
    with caplog.at_level(logging.INFO, "crossrank.data"):
        assert len(list(read_examples(path))) == 2
    assert [record.getMessage() for record in caplog.records] == [f"{path}:1: not read: 'pos_scores', 'prompt'"]


def test_a_column_that_a_recipe_names_must_be_there(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"a": "q", "b": "d", "label": 1}))
    assert list(read_examples(path, {"query": "a", "document": "b"})) == [PAIR]
    with pytest.raises(InvalidData, match=r"rows\.jsonl:1: has no column 'c' for 'query'; its columns are 'a', 'b'"):
        list(read_examples(path, {"query": "c", "document": "b"}))


LONG = "one passage of some more words"


@pytest.mark.parametrize(
    ("content", "examples"),
    [
        (f'"it"?\t"So" {LONG}\tno {LONG}\n', [Example('"it"?', (f'"So" {LONG}', f"no {LONG}"), (1.0, 0.0))]),
        (f"q\t{LONG}\t0\nq\td\t1\n", [Example("q", (LONG,), (0.0,)), PAIR]),
        ('query\tdocument\tlabel\n"a ""q"""\td\t1\n', [Example('a "q"', ("d",), (1.0,))]),
    ],
)
def test_a_tsv_may_lack_its_header(tmp_path: Path, content: str, examples: list[Example]) -> None:
    path = tmp_path / "triples.tsv"
    path.write_text(content)
    assert list(read_examples(path)) == examples


def test_a_header_is_not_taken_for_a_row(tmp_path: Path) -> None:
    path = tmp_path / "rows.tsv"
    path.write_text(f"user question\tbest answer\tworst answer\nq\t{LONG}\t{LONG}\n")
    with pytest.raises(InvalidData, match="the columns are 'user question', 'best answer', 'worst answer'"):
        list(read_examples(path))


QUERIES = {"q": "a question"}
CORPUS = {"7": "t\nd", "e": "x"}


@pytest.mark.parametrize("key", ["_id", "id", "doc_id", "docid", "corpus-id", "pid", "docno"])
@pytest.mark.parametrize("suffix", ["jsonl", "JSONL", "csv", "json", "parquet"])
def test_sets_are_read_in_every_format(tmp_path: Path, key: str, suffix: str) -> None:
    records = [{key: 7, "title": "t", "text": "d"}, {key: 8, "title": "", "text": "x"}]
    plain = "\n".join(map(json.dumps, records))
    path = tmp_path / f"corpus.{suffix}"
    if suffix == "csv":
        plain = f"{key};title;text\n7;t;d\n8;;x\n"
    if suffix == "parquet":
        parquet.write_table(pyarrow.Table.from_pylist(records), path)
    else:
        path.write_text(plain)
    (tmp_path / "queries.tsv").write_text("q\ta question\n")
    parquet.write_table(
        pyarrow.table({"query-id": ["q", "q"], "corpus-id": [7, 8], "score": [1.0, 0.0]}), tmp_path / "qrels.parquet"
    )
    judged = read_judged_set(tmp_path)
    assert judged.queries == QUERIES
    assert judged.corpus == {"7": "t\nd", "8": "x"}
    assert judged.qrels == {"q": {"7": 1, "8": 0}}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("qrels.tsv", "q\t7\t1\nq\te\t0\n"),
        ("qrels.tsv", "q Q0 7 1\nq Q0 e 0\n"),
        ("qrels.tsv", "topic iteration document relevancy\nq 0 7 1\nq 0 e 0\n"),
        ("qrels.txt", "query-id\tcorpus-id\tscore\nq\t7\tTrue\nq\te\tFalse\n"),
        ("qrels/test.tsv", "q\t7\t1.0\nq\te\t0.0\n"),
        ("qrels/test.jsonl", '{"query-id":"q","corpus-id":7,"score":1.0}\n{"qid":"q","docid":"e","label":false}'),
        ("qrels/test.csv", "query_id,doc_id,relevance\nq,7,1\nq,e,0\n"),
    ],
)
def test_judgements_are_read_in_every_notation(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / "queries.jsonl").write_text('{"qid": "q", "query": "a question"}')
    (tmp_path / "corpus.jsonl").write_text('{"id": 7, "contents": "d"}\n{"id": "e", "contents": "x"}')
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    judged = read_judged_set(tmp_path)
    assert (judged.queries, judged.corpus) == (QUERIES, {"7": "d", "e": "x"})
    assert judged.qrels == {"q": {"7": 1, "e": 0}}


def test_compressed_sets_are_read(tmp_path: Path) -> None:
    (tmp_path / "qrels").mkdir()
    for name, content in {
        "queries.jsonl.gz": '{"_id": "q", "text": "a question"}',
        "corpus.jsonl.gz": '{"_id": "7", "title": "t", "text": "d"}\n{"_id": "e", "text": "x"}',
        "qrels/test.tsv.gz": "query-id\tcorpus-id\tscore\nq\t7\t1\n",
    }.items():
        (tmp_path / name).write_bytes(gzip.compress(content.encode()))
    judged = read_judged_set(tmp_path)
    assert (judged.queries, judged.corpus, judged.qrels) == (QUERIES, CORPUS, {"q": {"7": 1}})


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    for name in ("queries.jsonl", "queries.csv"):
        (tmp_path / name).write_text('{"id": "q", "text": "x"}')
    with pytest.raises(InvalidData, match=r"holds queries\.csv and queries\.jsonl"):
        read_queries(tmp_path)
