import csv
import json
import sys
import tempfile
from pathlib import Path

import pyarrow
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from crossrank.data.examples import Example, grouped, rating_to_label, read_examples
from crossrank.errors import InvalidData, UsageError

AWKWARD = "tab\t comma, quote\" 'single' \u2028\x85\x0b \n\n\r\n lone\r 日本語 🙂"
# A NUL byte is a sign of UTF-16 without a byte order mark.
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\0")
TEXTS = st.text(alphabet=CHARACTERS, max_size=20).map(lambda text: text + AWKWARD)
ROWS = st.lists(
    st.builds(Example, TEXTS, st.tuples(TEXTS), st.tuples(st.floats(0, 1))),
    min_size=1,
    max_size=5,
)
COLUMNS = ["query", "document", "label"]


@given(ROWS)
@settings(max_examples=60)
def test_rows_are_read_from_all_formats(rows: list[Example]) -> None:
    values = [(row.query, *row.documents, *row.labels) for row in rows]
    with tempfile.TemporaryDirectory() as root:
        jsonl, table, columnar = (Path(root) / f"rows.{suffix}" for suffix in ("jsonl", "csv", "parquet"))
        with jsonl.open("w", encoding="utf-8", newline="") as file:
            file.writelines(
                json.dumps(dict(zip(COLUMNS, row, strict=True)), ensure_ascii=False) + "\n" for row in values
            )
        with table.open("w", encoding="utf-8-sig", newline="") as file:
            csv.writer(file).writerows([COLUMNS, *values])
        parquet.write_table(pyarrow.table(dict(zip(COLUMNS, zip(*values, strict=True), strict=True))), columnar)
        for path in (jsonl, table, columnar):
            assert list(read_examples(path)) == rows, path.suffix


def test_stars_and_thumbs_may_be_mixed(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("thumbs,query,note,document,stars\nup,q,,d1,\n,q,,d2,2\ndown,q,x,d3,\n")
    (tmp_path / "a.jsonl").write_text(
        '{"query": "q", "document": "d1", "thumbs": "up"}\n{"query": "q", "document": "d2", "stars": 2}\n'
        '{"query": "q", "document": "d3", "thumbs": "down", "stars": null}\n'
    )
    table = pyarrow.table(
        {"query": ["q"] * 3, "document": ["d1", "d2", "d3"], "stars": [None, 2.0, None], "thumbs": ["up", None, "down"]}
    )
    parquet.write_table(table, tmp_path / "a.parquet")
    for suffix in ("csv", "jsonl", "parquet"):
        assert list(read_examples(tmp_path / f"a.{suffix}")) == [
            Example("q", ("d1",), (1.0,)),
            Example("q", ("d2",), (0.25,)),
            Example("q", ("d3",), (0.0,)),
        ]


def test_ratings_become_labels() -> None:
    assert [rating_to_label(stars) for stars in range(1, 6)] == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert [rating_to_label("up"), rating_to_label("down")] == [1.0, 0.0]
    for rating in (0, 6, True, "sideways", "5"):
        with pytest.raises(UsageError, match="neither 1 to 5 stars"):
            rating_to_label(rating)


HEAD = "query,document,label\n"
ONE = '{"query": "q", "document": "d", "label": 1}\n'
BAD: dict[str, tuple[str, str | bytes, str]] = {
    "bars": ("csv", "query|document|label\nq|d|1\n", ":2: the columns are 'query|document|label'; give"),
    "no document column": ("csv", "query,label\nq,1\n", ":2: the columns are 'query', 'label'; give"),
    "no rating column": (
        "csv",
        "query,document,rank\nq,d,1\n",
        ":2: the columns are 'query', 'document', 'rank'; give",
    ),
    "same column twice": ("csv", "query,query,document,label\n", ":1: a column's name occurs twice"),
    "too few columns": ("csv", HEAD + '"two\nlines",d,1\nq,d\n', ":4: 2 columns, not the header's 3"),
    "unquoted comma": ("csv", HEAD + "q,d, e,1\n", ":2: 4 columns"),
    "unclosed quote": ("csv", HEAD + 'q,d,1\n"q,d,1\nq,d,1\n', ":3: not CSV"),
    "not UTF-8": ("csv", HEAD.encode() + b"q,\xff,1\n", ":2: not UTF-8"),
    "empty": ("csv", "", ": is empty"),
    "header only": ("csv", HEAD, ": holds no rows"),
    "bad line after a text of two lines": ("csv", HEAD + '"a\nb",d,1\nq,d,2\n', ":4: label '2' is not a number"),
    "NaN in CSV": ("csv", HEAD + "q,d,nan\n", ":2: label 'nan' is not a number from 0 to 1"),
    "no label": ("csv", HEAD + "q,d,\n", ":2: 0 of 'label', 'stars' and 'thumbs' are given"),
    "blank query": ("csv", HEAD + " ,d,1\n", ":2: 'query' is blank"),
    "NaN": ("jsonl", ONE + '{"query": "q", "document": "e", "label": NaN}', ":2: not JSON"),
    "label below 0": ("jsonl", '{"query": "q", "document": "e", "label": -0.1}', ":1: label -0.1 is not"),
    "huge label": ("jsonl", f'{{"query": "q", "document": "e", "label": {"9" * 400}}}', ":1: label 999"),
    "six stars": ("jsonl", '{"query": "q", "document": "e", "stars": 6}', ":1: stars 6 is not a whole number"),
    "half stars": ("jsonl", '{"query": "q", "document": "e", "stars": 3.5}', ":1: stars 3.5 is not"),
    "thumbs": ("jsonl", '{"query": "q", "document": "e", "thumbs": "Up"}', ":1: thumbs 'Up' is neither"),
    "thumbs list": ("jsonl", '{"query": "q", "document": "e", "thumbs": ["up"]}', ":1: thumbs ['up'] is neither"),
    "missing document": ("jsonl", '{"query": "q", "label": 1}', ":1: the columns are 'query', 'label'"),
    "null document": ("jsonl", '{"query": "q", "document": null, "label": 1}', ":1: 'document' is null, not a text"),
    "both": ("jsonl", '{"query": "q", "document": "e", "stars": 5, "thumbs": "up"}', ":1: 2 of 'label'"),
    "labels and stars": ("jsonl", ONE + '{"query": "q", "document": "e", "stars": 5}', ":2: labels and ratings"),
    "suffix": ("xlsx", ONE, ": records are read from .jsonl, .json, .csv, .tsv or .parquet"),
    "no Parquet": ("parquet", "query", ": cannot be read as Parquet"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_rows_are_named(tmp_path: Path, case: str) -> None:
    suffix, content, message = BAD[case]
    path = tmp_path / f"rows.{suffix}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(InvalidData) as error:
        list(read_examples(path))
    assert str(error.value).startswith(f"{path}{message}")
    assert not str(error.value).endswith(".")
    assert error.value.line == (int(message.split(":")[1]) if message[1].isdigit() else None)
    assert "\n" not in str(error.value)


def test_triples_tuples_and_lists_are_read(tmp_path: Path) -> None:
    path = tmp_path / "examples.jsonl"
    path.write_text(
        '{"query": "q", "positive": "p", "negative": "n"}\n'
        '{"query": "q", "positive": "p", "negative_1": "n", "negative_2": "m", "negative_3": null}\n'
        '{"query": "q", "documents": ["a", "b"], "labels": [0.5, 0]}\n'
    )
    assert list(read_examples(path)) == [
        Example("q", ("p", "n"), (1.0, 0.0)),
        Example("q", ("p", "n", "m"), (1.0, 0.0, 0.0)),
        Example("q", ("a", "b"), (0.5, 0.0)),
    ]


def test_a_long_text_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text(f"query,document,label\nq,{'long ' * 100_000},1\n")
    assert len(next(read_examples(path)).documents[0]) == 500_000


def test_columns_may_have_other_names(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("question,answer,label\nq,d,1\n")
    columns = {"query": "question", "document": "answer"}
    assert list(read_examples(path, columns)) == [Example("q", ("d",), (1.0,))]


def test_bad_records_can_be_noted_and_left_out(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(ONE + "nonsense\n" + ONE.replace(": 1}", ": 7}") + ONE.replace('"d"', '"e"'))
    noted: list[str] = []
    examples = list(read_examples(path, on_bad=lambda error: noted.append(str(error))))
    assert [example.documents for example in examples] == [("d",), ("e",)]
    assert [sentence.split(":")[1] for sentence in noted] == ["2", "3"]


def test_rows_of_a_query_become_one_example() -> None:
    rows = [Example("a", ("x",), (1.0,)), Example("b", ("x",), (0.0,)), Example("a", ("y", "x"), (0.0, 1.0))]
    assert grouped(rows) == [Example("a", ("x", "y"), (1.0, 0.0)), Example("b", ("x",), (0.0,))]
    contradicting = [*rows, Example("a", ("x",), (0.0,))]
    with pytest.raises(InvalidData, match="'x' is labelled 1 and 0"):
        grouped(contradicting)
    assert grouped(contradicting, on_bad=lambda error: None) == grouped(rows)


def test_parquet_rows_are_counted_and_columns_checked(tmp_path: Path) -> None:
    path = tmp_path / "rows.parquet"
    parquet.write_table(
        pyarrow.table({"query": ["q", "q"], "document": ["d", "e"], "label": [1.0, float("nan")]}), path
    )
    with pytest.raises(InvalidData, match=r"rows\.parquet:2: label nan"):
        list(read_examples(path))
    parquet.write_table(pyarrow.table({"query": ["q"], "text": ["d"]}), path)
    with pytest.raises(InvalidData, match=r"rows\.parquet:1: the columns are 'query', 'text'"):
        list(read_examples(path))
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(InvalidData, match="cannot be read as Parquet"):
        list(read_examples(path))


def test_a_missing_pyarrow_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(InvalidData, match=r"run pip install 'crossrank\[train\]'$"):
        list(read_examples(tmp_path / "rows.parquet"))


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    for suffix in ("jsonl", "csv", "parquet"):
        with pytest.raises(FileNotFoundError):
            list(read_examples(tmp_path / f"rows.{suffix}"))
