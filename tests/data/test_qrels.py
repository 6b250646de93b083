"""Which judgements of a directory are read, and in which notations."""

import json
import logging
from pathlib import Path

import pytest

from crossrank.data.eval_set import is_judged_set, read_judged_set
from crossrank.data.qrels import LEARNT, MEASURED, VALIDATED, find_qrels
from crossrank.errors import InvalidData

SPLITS = ("train", "dev", "test")


@pytest.fixture
def beir(tmp_path: Path) -> Path:
    """Three queries, each judged in a split of its own."""
    queries = [{"_id": f"q-{split}", "text": f"a question of {split}"} for split in SPLITS]
    (tmp_path / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    (tmp_path / "corpus.jsonl").write_text('{"_id": "d1", "title": "", "text": "an answer"}\n')
    (tmp_path / "qrels").mkdir()
    for split in SPLITS:
        (tmp_path / "qrels" / f"{split}.tsv").write_text(f"query-id\tcorpus-id\tscore\nq-{split}\td1\t1\n")
    return tmp_path


def whole(directory: Path, text: str) -> Path:
    """The directory with these judgements and no splits."""
    for split in SPLITS:
        (directory / "qrels" / f"{split}.tsv").unlink()
    (directory / "qrels.tsv").write_text(text)
    return directory


@pytest.mark.parametrize(
    ("there", "otherwise", "taken"),
    [
        (SPLITS, LEARNT, "train"),
        (SPLITS, VALIDATED, "dev"),
        (SPLITS, MEASURED, "test"),
        (("train", "dev"), MEASURED, "dev"),
        (("train", "test"), VALIDATED, "test"),
    ],
)
def test_each_purpose_has_its_split(
    beir: Path, there: tuple[str, ...], otherwise: tuple[str, ...], taken: str, caplog: pytest.LogCaptureFixture
) -> None:
    for split in set(SPLITS) - set(there):
        (beir / "qrels" / f"{split}.tsv").unlink()
    with caplog.at_level(logging.INFO, "crossrank.data"):
        assert set(read_judged_set(beir, otherwise=otherwise).qrels) == {f"q-{taken}"}
    assert f"the split {taken} is read" in caplog.text


def test_a_named_split_is_taken_whatever_it_is_for(beir: Path) -> None:
    assert set(read_judged_set(beir, split="train", otherwise=MEASURED).qrels) == {"q-train"}


def test_a_set_without_splits_is_taken_and_said_so(beir: Path, caplog: pytest.LogCaptureFixture) -> None:
    directory = whole(beir, "q-dev 0 d1 1\n")
    with caplog.at_level(logging.INFO, "crossrank.data"):
        for otherwise in (LEARNT, VALIDATED, MEASURED):
            assert set(read_judged_set(directory, otherwise=otherwise).qrels) == {"q-dev"}
    assert "has no splits" in caplog.text


@pytest.mark.parametrize(
    ("there", "split", "otherwise", "problem"),
    [
        (("test",), None, LEARNT, "has no split train, only test"),
        (("train",), None, MEASURED, "has no split test or dev, only train"),
        (SPLITS, "tset", MEASURED, "has no split tset, only dev, test, train"),
    ],
)
def test_a_split_that_is_not_there_is_refused(
    beir: Path, there: tuple[str, ...], split: str | None, otherwise: tuple[str, ...], problem: str
) -> None:
    for name in set(SPLITS) - set(there):
        (beir / "qrels" / f"{name}.tsv").unlink()
    assert is_judged_set(beir)
    with pytest.raises(InvalidData, match=problem):
        find_qrels(beir, split, otherwise)


def test_one_file_and_splits_cannot_both_be_meant(beir: Path) -> None:
    (beir / "qrels.tsv").write_text("q-dev 0 d1 1\n")
    with pytest.raises(InvalidData, match="and only one can be meant"):
        read_judged_set(beir)


def test_a_split_of_a_set_without_any_is_refused(beir: Path) -> None:
    with pytest.raises(InvalidData, match="has no splits"):
        read_judged_set(whole(beir, "q-dev 0 d1 1\n"), split="dev")


@pytest.mark.parametrize(
    "text",
    [
        "q-dev 0 d1 2.0\n",
        "query_id corpus_id score\nq-dev d1 2\n",
        "Query-ID\tCorpus-ID\tScore\r\nq-dev\td1\t2.0\r\n",
        "qid docid relevance\nq-dev d1 2\n",
        "query_id iter doc_id grade\nq-dev 0 d1 2\n",
        "\ufeffquery-id corpus-id score\nq-dev d1 +2.\n",
    ],
)
def test_other_tools_notations(beir: Path, text: str) -> None:
    assert read_judged_set(whole(beir, text)).qrels == {"q-dev": {"d1": 2}}


def test_integer_ids_are_their_decimal_digits(beir: Path) -> None:
    whole(beir, "7 0 12 1\n")
    (beir / "queries.jsonl").write_text('{"_id": 7, "text": "a question"}\n')
    (beir / "corpus.jsonl").write_text('{"_id": 12, "text": "an answer"}\n')
    (beir / "candidates.jsonl").write_text('{"query_id": 7, "doc_ids": [12]}\n')
    judged = read_judged_set(beir)
    assert (judged.queries, judged.qrels) == ({"7": "a question"}, {"7": {"12": 1}})
    assert judged.candidates == {"7": ["12"]}


def test_queries_and_documents_that_the_set_lacks_are_counted_once(
    beir: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = whole(beir, "q-dev 0 gone 1\nq-dev 0 d1 1\nPLAIN-2 0 d1 1\n")
    assert read_judged_set(directory).qrels == {"q-dev": {"d1": 1}}
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert [record.args for record in warnings] == [
        (2, f"{directory / 'qrels.tsv'}:1, query 'q-dev' and document 'gone'")
    ]
