import json
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossrank.data.eval_set import JudgedSet, is_judged_set, read_judged_set, write_judged_set
from crossrank.errors import InvalidData, UsageError

SMALL = JudgedSet(
    queries={"q1": "parse a date", "q2": "open a file"},
    corpus={"d1": "def parse(): ...", "d2": "def open(): ..."},
    qrels={"q1": {"d1": 2, "d2": -1}, "q2": {"d2": 1}},
    candidates={"q1": ["d2", "d1"]},
)

AWKWARD = "tab\t quote\" 'single' back\\slash \u2028\u2029\x85\x0b\x1c\r\n 日本語 🙂 \ufeff\x00"
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20).map(lambda text: text + AWKWARD)
IDS = st.text(alphabet=st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=5)


@st.composite
def judged_sets(draw: st.DrawFn) -> JudgedSet:
    queries = draw(st.dictionaries(IDS, TEXTS.map(lambda text: f"{text}?"), min_size=1, max_size=4))
    corpus = draw(st.dictionaries(IDS, TEXTS, min_size=1, max_size=5))
    query_ids, doc_ids = st.sampled_from(list(queries)), st.sampled_from(list(corpus))
    grades = st.dictionaries(doc_ids, st.integers(-1000, 1000), min_size=1)
    qrels = draw(st.dictionaries(query_ids, grades, min_size=1))
    candidates = st.dictionaries(query_ids, st.lists(doc_ids, unique=True), min_size=1)
    return JudgedSet(queries, corpus, qrels, draw(st.none() | candidates))


def write(directory: Path, **files: str | bytes) -> Path:
    directory.mkdir(exist_ok=True)
    for name, content in files.items():
        path = directory / (f"{name}.tsv" if name == "qrels" else f"{name}.jsonl")
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return directory


@given(judged_sets())
@settings(max_examples=60)
def test_what_is_written_is_read_back(judged: JudgedSet) -> None:
    with tempfile.TemporaryDirectory() as root:
        directory = Path(root) / "new" / "set"
        write_judged_set(judged, directory)
        back = read_judged_set(directory)
        assert back == judged
        assert list(back.corpus) == list(judged.corpus)
        assert is_judged_set(directory)
        assert [path.name for path in directory.parent.iterdir()] == ["set"]


def test_positives_are_grades_above_zero() -> None:
    assert SMALL.positives("q1") == {"d1"}
    assert SMALL.positives("unknown") == set()


@pytest.mark.parametrize("qrels", ["qrels.tsv", "qrels/test.tsv"])
def test_beir_is_read(tmp_path: Path, qrels: str) -> None:
    write(
        tmp_path,
        queries='\ufeff{"_id": "q1", "text": "parse", "metadata": {}}\n\n{"_id": "q2", "text": "open"}\r\n',
        corpus='{"_id": "d1", "title": "Dates", "text": "def parse"}\n{"_id": "d2", "title": "", "text": ""}',
    )
    (tmp_path / qrels).parent.mkdir(exist_ok=True)
    (tmp_path / qrels).write_text("query-id\tcorpus-id\tscore\nq1\td1\t2\nq1\td2\t0\n")
    judged = read_judged_set(tmp_path)
    assert judged.corpus == {"d1": "Dates\ndef parse", "d2": ""}
    assert judged.qrels == {"q1": {"d1": 2, "d2": 0}}
    assert list(judged.queries) == ["q1", "q2"]
    assert judged.candidates is None


QUERY, DOC = '{"query_id": "q1", "text": "parse"}\n', '{"doc_id": "d1", "text": "def parse"}\n'
BAD: dict[str, tuple[str, str | bytes, str]] = {
    "malformed": ("queries", QUERY + '{"query_id": "q2"', ":2: not JSON"),
    "too deep": ("queries", "[" * 100_000, ":1: not JSON"),
    "NaN": ("queries", QUERY + '{"query_id": "q2", "text": NaN}', ":2: not JSON (NaN"),
    "no object": ("queries", "\n\n[1]\n", ":3: not a JSON object"),
    "missing text": ("queries", '{"query_id": "q1"}', ":1: 'text' is missing"),
    "missing id": ("corpus", DOC + '{"text": "x"}', ":2: 'doc_id' is missing"),
    "number as text": ("corpus", '{"doc_id": "d1", "text": 3}', ":1: 'text' is a number, not a text"),
    "number as title": ("corpus", '{"doc_id": "d1", "text": "", "title": 3}', ":1: 'title' is a number, not a text"),
    "empty id": ("queries", '{"query_id": "", "text": "x"}', ":1: id '' is empty"),
    "id with space": ("corpus", '{"doc_id": "d 1", "text": "x"}', ":1: id 'd 1' is empty or holds whitespace"),
    "blank query": ("queries", '{"query_id": "q1", "text": " "}', ":1: 'text' is blank"),
    "repeated query": ("queries", QUERY + QUERY, ":2: id 'q1' occurs a second time"),
    "repeated document": ("corpus", DOC + DOC, ":2: id 'd1' occurs a second time"),
    "not UTF-8": ("corpus", DOC.encode() + b'{"doc_id": "d2", "text": "\xff"}', ":2: not UTF-8"),
    "half a surrogate pair": ("corpus", DOC + '{"doc_id": "d2", "text": "\\ud800"}', ":2: holds half"),
    "empty file": ("corpus", "", ": is empty"),
    "blank file": ("qrels", "\n \n", ": is empty"),
    "two columns": ("qrels", "q1 d1", ":1: 2 columns"),
    "three and four columns": ("qrels", "q1 d1 1\nq1 0 d1 1", ":2: 4 columns"),
    "BEIR line of four": ("qrels", "query-id corpus-id score\nq1 0 d1 1", ":2: 4 columns"),
    "header only": ("qrels", "query-id\tcorpus-id\tscore\n", ": no judgement"),
    "fraction": ("qrels", "q1 0 d1 0.5", ":1: grade '0.5' is not an integer"),
    "NaN grade": ("qrels", "q1 0 d1 nan", ":1: grade 'nan' is not an integer"),
    "huge grade": ("qrels", "q1 0 d1 1099511627776", ":1: grade '1099511627776' is not an integer from"),
    "judged twice": ("qrels", "q1 0 d1 1\nq1 0 d1 1", ":2: query 'q1' judges 'd1' a second time"),
    "unknown queries only": ("qrels", "q9 0 d1 1", ": no judgement is of a query and a document of the set"),
    "unknown documents only": ("qrels", "q1 0 d9 1", ": no judgement is of a query and a document of the set"),
    "unknown candidate": ("candidates", '{"query_id": "q1", "doc_ids": ["d9"]}', ":1: document 'd9' is not"),
    "candidates of unknown": ("candidates", '{"query_id": "q9", "doc_ids": []}', ":1: query 'q9' is not"),
    "candidate twice": ("candidates", '{"query_id": "q1", "doc_ids": ["d1", "d1"]}', ":1: 'doc_ids' names"),
    "candidates no list": ("candidates", '{"query_id": "q1", "doc_ids": "d1"}', ":1: 'doc_ids' must be"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_lines_are_named(tmp_path: Path, case: str) -> None:
    name, content, message = BAD[case]
    good: dict[str, str | bytes] = {"queries": QUERY, "corpus": DOC, "qrels": "q1 0 d1 1\n"}
    write(tmp_path, **(good | {name: content}))
    with pytest.raises(InvalidData) as error:
        read_judged_set(tmp_path)
    file = "qrels.tsv" if name == "qrels" else f"{name}.jsonl"
    assert str(error.value).startswith(f"{tmp_path / file}{message}")
    assert not str(error.value).endswith(".")
    assert error.value.line == (int(message.split(":")[1]) if message[1].isdigit() else None)
    assert "\n" not in str(error.value)


def test_other_directories_are_no_judged_sets(tmp_path: Path) -> None:
    write(tmp_path, queries=QUERY, corpus=DOC)
    for path in (tmp_path, tmp_path / "absent", tmp_path / "queries.jsonl"):
        assert not is_judged_set(path)
        with pytest.raises(InvalidData, match="not an evaluation set"):
            read_judged_set(path)


def test_an_existing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        write_judged_set(SMALL, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("judged", "message"),
    [
        (replace(SMALL, qrels={"q9": {"d1": 1}}), "set/qrels.tsv: no judgement is of a query"),
        (replace(SMALL, qrels={"q1": {"d1": 1}, "q9": {"d1": 1}}), "set/qrels.tsv: judges queries or documents"),
        (replace(SMALL, qrels={"q1": {"d1": 1, "d9": 1}}), "set/qrels.tsv: judges queries or documents"),
        (replace(SMALL, qrels={}), "set/qrels.tsv: is empty"),
        (replace(SMALL, queries={"q1": "x", "q 2": "y"}), "set/queries.jsonl:2: id 'q 2'"),
        (replace(SMALL, corpus={"d1": "\ud800"}), "surrogates not allowed"),
    ],
)
def test_what_could_not_be_read_is_not_written(tmp_path: Path, judged: JudgedSet, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_judged_set(judged, tmp_path / "set")
    assert not list(tmp_path.iterdir())


def test_an_interrupted_write_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    dumps: Callable[..., str] = json.dumps

    def interrupted(record: dict[str, object], **options: bool) -> str:
        if record.get("doc_id") == "d2":
            raise KeyboardInterrupt
        return dumps(record, **options)

    monkeypatch.setattr("crossrank.data.eval_set.json.dumps", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_judged_set(SMALL, tmp_path / "set")
    assert not list(tmp_path.iterdir())
