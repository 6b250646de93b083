"""Files as people have them: encodings, line ends, compression and formats."""

import codecs
import csv
import gzip
import io
import json
import tempfile
from pathlib import Path

import pyarrow
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pyarrow import parquet

from crossrank.data.eval_set import read_judged_set
from crossrank.data.examples import Example, read_examples
from crossrank.data.formats import readers, text
from crossrank.data.formats.readers import FORMATS, format_of, name_of
from crossrank.data.trec import read_run
from crossrank.errors import CrossrankError, InvalidData

ROWS = [Example("größe?", ("日本語 🙂",), (1.0,)), Example("q", ("d",), (0.25,))]
RECORDS = [{"query": row.query, "document": row.documents[0], "label": row.labels[0]} for row in ROWS]
JSONL = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in RECORDS)
CSV = "query,document,label\n" + "".join(f"{row.query},{row.documents[0]},{row.labels[0]}\n" for row in ROWS)
ENCODINGS = {
    "UTF-8": b"",
    "UTF-8 ": codecs.BOM_UTF8,
    "UTF-16-LE": codecs.BOM_UTF16_LE,
    "UTF-16-BE": codecs.BOM_UTF16_BE,
    "UTF-32-LE": codecs.BOM_UTF32_LE,
    "UTF-32-BE": codecs.BOM_UTF32_BE,
}


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("suffix", ["jsonl", "csv", "TSV", "json", "NDJSON.gz"])
def test_encodings_and_line_ends_are_read(tmp_path: Path, suffix: str, end: str, encoding: str) -> None:
    plain = {"csv": CSV, "TSV": CSV.replace(",", "\t")}.get(suffix, JSONL).replace("\n", end)
    content = ENCODINGS[encoding] + plain.encode(encoding.strip())
    path = tmp_path / f"rows.{suffix}"
    path.write_bytes(gzip.compress(content) if suffix.endswith(".gz") else content)
    assert list(read_examples(path)) == ROWS
    assert [row.where for row in read_examples(path)][-1] == f"{path}:{3 if suffix in ('csv', 'TSV') else 2}"


@pytest.mark.parametrize(
    "content",
    [
        CSV.replace(",", ";"),
        CSV.replace(",", "\t"),
        "sep=;\n" + CSV.replace(",", ";"),
        "\n" + CSV.replace(",", ";"),
        CSV.replace("query,", "Query ,").replace("label", " LABEL"),
        "".join(f"{number},{line}\n" for number, line in zip(["", 0, 1], CSV.splitlines(), strict=True)),
        "".join(f"{line},,\n" for line in CSV.splitlines()),
    ],
)
def test_tables_of_spreadsheets_are_read(tmp_path: Path, content: str) -> None:
    (tmp_path / "rows.csv").write_text(content, encoding="utf-8")
    assert list(read_examples(tmp_path / "rows.csv")) == ROWS


def test_a_file_is_decompressed_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_bytes(gzip.compress(JSONL.encode()))
    (tmp_path / "rows.jsonl.gz").write_text(JSONL, encoding="utf-8")
    assert list(read_examples(tmp_path / "rows.jsonl")) == list(read_examples(tmp_path / "rows.jsonl.gz")) == ROWS


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("listed", [True, False])
def test_a_json_file_holds_a_list_or_objects(tmp_path: Path, indent: int | None, listed: bool) -> None:
    parts = [RECORDS] if listed else RECORDS
    path = tmp_path / "rows.json"
    path.write_text("\n".join(json.dumps(part, indent=indent) for part in parts))
    rows = list(read_examples(path))
    assert rows == ROWS
    lines = path.read_text().splitlines()
    if indent:
        # The line on which a record begins.
        assert [lines[int(row.where.rpartition(":")[2]) - 1].strip() for row in rows] == ["{", "{"]


ROW = json.dumps(RECORDS[1]).encode()
CP1252 = CSV.replace("日本語 🙂", "d").encode("cp1252")
BAD: dict[str, tuple[str, bytes, str]] = {
    "cp1252": (
        "csv",
        CSV.replace("日本語 🙂", "d").encode("cp1252"),
        ":2: not UTF-8 (byte 0xf6 at byte 24 of the file",
    ),
    "cp1252 after a mark": ("csv", codecs.BOM_UTF8 + b"query\n\xff", ":2: not UTF-8 (byte 0xff at byte 10"),
    "UTF-16 without a mark": ("csv", CSV.encode("utf-16-le"), ":1: holds a NUL byte"),
    "UTF-16 with half a pair": ("csv", codecs.BOM_UTF16_LE + b"a\0\n\0\0\xd8b\0", ":2: not UTF-16 (at byte 7)"),
    "UTF-16 with half a unit": ("csv", codecs.BOM_UTF16_LE + b"a\0\n\0a", ":2: not UTF-16 (at byte 7)"),
    "NUL": ("jsonl", JSONL.encode() + b"\0\n", ":3: holds a NUL byte"),
    "no gzip": ("jsonl", b"\x1f\x8b" + JSONL.encode(), ": cannot be decompressed"),
    "half a gzip": ("jsonl.gz", gzip.compress(JSONL.encode() * 99)[:-20], ": cannot be decompressed"),
    "empty gzip": ("csv.gz", gzip.compress(b""), ": is empty"),
    "a list that does not end": ("json", b"[\n%s,\n" % ROW, ":3: not JSON"),
    "two lists": ("json", b"[%s]\n[]" % ROW, ":1: not JSON"),
    "a list without comma": ("json", b"[%s\n%s]" % (ROW, ROW), ":2: not JSON (Expecting ',' delimiter"),
    "a number in a list": ("json", b"[\n1]", ":2: not a JSON object"),
    "deep": ("json", b"[" * 100_000, ":1: not JSON"),
    "surrogate in a list": ("json", b'[{"query": "\\ud800"}]', ":1: holds half of a surrogate pair"),
    "ragged TSV": ("tsv", b"query\tdocument\tlabel\nq\td\n", ":2: 2 columns, not the header's 3"),
    "same names": ("tsv", b"query\tquery\n", ":1: a column's name occurs twice"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_is_refused_by_place(tmp_path: Path, case: str) -> None:
    suffix, content, message = BAD[case]
    path = tmp_path / f"rows.{suffix}"
    path.write_bytes(content)
    with pytest.raises(InvalidData) as error:
        list(read_examples(path))
    assert str(error.value).startswith(f"{path}{message}")
    assert "\n" not in str(error.value)


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(text, "_ALWAYS_EXPANDED", 10_000)
    monkeypatch.setattr(readers, "_MAX_ROW_GROUP_BYTES", 10)
    (tmp_path / "long.jsonl").write_text(JSONL + " " * 1001)
    with pytest.raises(InvalidData, match=r"long\.jsonl:3: longer than"):
        list(read_examples(tmp_path / "long.jsonl"))
    (tmp_path / "bomb.jsonl.gz").write_bytes(gzip.compress(JSONL.encode() * 100_000))
    with pytest.raises(InvalidData, match="expands to more than 200 times"):
        list(read_examples(tmp_path / "bomb.jsonl.gz"))
    parquet.write_table(pyarrow.table({"query": ["q"]}), tmp_path / "rows.parquet")
    with pytest.raises(InvalidData, match="row group"):
        list(read_examples(tmp_path / "rows.parquet"))
    (tmp_path / "large.json").write_text(JSONL)
    with pytest.raises(InvalidData, match="most that is read as one text"):
        text.read_text(tmp_path / "large.json", 50)


@pytest.mark.parametrize(
    ("name", "form", "stem"),
    [
        ("a.JSONL", ".jsonl", "a"),
        ("a.b.csv.GZ", ".csv", "a.b"),
        ("a.parquet.gz", None, "a"),
        ("a.gz", None, "a"),
        ("a.txt", None, "a"),
        ("a", None, "a"),
        (".jsonl", None, ".jsonl"),
    ],
)
def test_the_format_is_the_suffix(name: str, form: str | None, stem: str) -> None:
    assert format_of(Path(name)) == form
    if form:
        assert name_of(Path(name)) == stem


TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
PLAIN = st.text(alphabet=st.characters(categories=["L", "N", "P", "S", "Zs"]), min_size=1, max_size=12)


@st.composite
def tables(draw: st.DrawFn) -> tuple[str, list[Example]]:
    """Rows, and the suffix of a format that can hold them."""
    suffix = draw(st.sampled_from(["jsonl", "json", "csv", "tsv", "parquet", "jsonl.gz", "csv.gz"]))
    # The text of a cell of a .tsv has neither tabs nor line ends.
    texts = (PLAIN if suffix == "tsv" else TEXTS).filter(str.strip)
    row = st.builds(Example, texts, st.tuples(texts), st.tuples(st.floats(0, 1)))
    return suffix, draw(st.lists(row, min_size=1, max_size=4))


def written(suffix: str, rows: list[Example], encoding: str) -> bytes:
    records = [{"query": row.query, "document": row.documents[0], "label": row.labels[0]} for row in rows]
    if suffix == "parquet":
        sink = io.BytesIO()
        parquet.write_table(pyarrow.Table.from_pylist(records), sink)
        return sink.getvalue()
    if "json" in suffix:
        plain = "\n".join(json.dumps(record, ensure_ascii=False) for record in records)
        plain = f"[{plain.replace('}' + chr(10), '},' + chr(10))}]" if suffix == "json" else plain
    else:
        target = io.StringIO()
        writer = csv.DictWriter(target, ["query", "document", "label"], delimiter="\t" if suffix == "tsv" else ",")
        writer.writeheader()
        writer.writerows(records)
        plain = target.getvalue()
    content = ENCODINGS[encoding] + plain.encode(encoding.strip())
    return gzip.compress(content) if suffix.endswith("gz") else content


@given(tables(), st.sampled_from(list(ENCODINGS)))
@settings(max_examples=150, deadline=None)
def test_a_table_reads_back_the_same_from_every_format(table: tuple[str, list[Example]], encoding: str) -> None:
    suffix, rows = table
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / f"rows.{suffix}"
        path.write_bytes(written(suffix, rows, encoding))
        assert list(read_examples(path)) == rows


@st.composite
def damaged(draw: st.DrawFn) -> tuple[str, bytes]:
    """Any bytes under any suffix, or a good file with some bytes changed."""
    suffix = draw(st.sampled_from([form[1:] for form in FORMATS] + ["jsonl.gz", "csv.gz", "tsv.gz"]))
    if draw(st.booleans()):
        return suffix, draw(st.binary(max_size=200))
    content = bytearray(written(suffix, ROWS, draw(st.sampled_from(list(ENCODINGS)))))
    for _ in range(draw(st.integers(1, 4))):
        content[draw(st.integers(0, len(content) - 1))] = draw(st.integers(0, 255))
    return suffix, bytes(content[: draw(st.integers(0, len(content)))])


@given(damaged())
@example(("json", b"[]"))
@example(("csv", b"\n\n"))
@example(("json", b'{"query": {"query": 1}}'))
@settings(max_examples=400, deadline=None)
def test_bytes_of_any_kind_are_read_or_refused(file: tuple[str, bytes]) -> None:
    suffix, content = file
    with tempfile.TemporaryDirectory() as root:
        path = Path(root) / f"qrels.{suffix}"
        path.write_bytes(content)
        (Path(root) / "queries.jsonl").write_text('{"_id": 1, "text": "q"}')
        (Path(root) / "corpus.jsonl").write_text('{"_id": 1, "text": "d"}')
        for read in (read_examples, read_run, lambda path: [read_judged_set(path.parent)]):
            try:
                list(read(path))
            except CrossrankError as error:
                assert "\n" not in str(error)
