"""Judgements: which file of a directory holds them, and what its lines say.

A directory in BEIR layout has a file for each split, `qrels/train.tsv`, `qrels/dev.tsv` and `qrels/test.tsv`, or all of
its judgements in one `qrels.tsv`. The files may be .txt too, or in a format of `crossrank.data.formats.readers`.
"""

import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from crossrank.data.formats.columns import DOC_ID, QUERY_ID, as_id, column_of
from crossrank.data.formats.forms import LABEL
from crossrank.data.formats.readers import format_of, name_of, read_records
from crossrank.data.formats.text import numbered_lines
from crossrank.errors import InvalidData

Qrels = dict[str, dict[str, int]]

# trec_eval, which measures, takes memory for every grade up to the highest.
MAX_GRADE = 1000
# The splits that serve a purpose, the first of them that a directory has.
LEARNT = ("train",)
VALIDATED = ("dev", "test")
MEASURED = ("test", "dev")

_LOG = logging.getLogger("crossrank.data")
_QUERY_COLUMNS = {"query-id", "queryid", "qid", "query", "topic"}
_BOOLEANS = {"true": "1", "false": "0"}
# Formats whose lines are columns between white space.
_PLAIN = (".tsv", ".txt", ".trec", ".qrels")
_INTEGER = re.compile(r"([+-]?[0-9]{1,18})(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?[0-9.]+")


def splits_of(directory: Path) -> list[str]:
    """The names of a directory's splits, sorted; none where its judgements are one file."""
    return list(_splits(directory))


def has_qrels(directory: Path) -> bool:
    """Whether a directory holds judgements."""
    return bool(_whole(directory) or _splits(directory))


def find_qrels(directory: Path, split: str | None = None, otherwise: Sequence[str] = MEASURED) -> Path:
    """The file of judgements that is meant.

    Args:
        directory: of an evaluation set.
        split: the one that a person names.
        otherwise: splits of which the first one there is taken where none is named; a lone `qrels.tsv` is taken too.

    Raises:
        InvalidData: there is no such split, or both one file and splits.
    """
    whole, splits = _whole(directory), _splits(directory)
    if whole and splits:
        raise InvalidData(directory, f"holds both {whole.name} and qrels/, and only one can be meant; remove the other")
    if whole:
        if split is not None:
            raise InvalidData(directory, f"has no splits, only {whole.name}; leave the split {split!r} out")
        return whole
    for wanted in [split] if split is not None else otherwise:
        if wanted in splits:
            return splits[wanted]
    missing = split if split is not None else " or ".join(otherwise)
    raise InvalidData(
        directory, f"has no split {missing}, only {', '.join(sorted(splits)) or 'none'}; name the one to take"
    )


def judgements_of(path: Path, split: str | None, otherwise: Sequence[str]) -> Path:
    """The file that holds the judgements of an evaluation set or is one of rows, links resolved; see `find_qrels`."""
    return (find_qrels(path, split, otherwise) if path.is_dir() else path).resolve()


def note_qrels(qrels: Path) -> None:
    """Logs which judgements are read, where a directory has others or could have them."""
    if qrels.parent.name == "qrels":
        _LOG.info("%s: the split %s is read", qrels.parent.parent, name_of(qrels))
    else:
        _LOG.info("%s: has no splits, so all of its judgements are read", qrels.parent)


def read_qrels(path: Path, queries: Mapping[str, str], corpus: Mapping[str, str]) -> Qrels:
    """Read the grades of each query's documents.

    Lines are TREC's `query_id 0 doc_id grade`, or BEIR's `query_id doc_id grade`, with or without a header. Judgements
    of queries and documents that the set lacks, which public sets have, are passed over with one warning.

    Raises:
        InvalidData: A line is invalid or judges a second time, or no judgement is left.
        OSError: The file cannot be read.
    """
    qrels: Qrels = {}
    lacking: list[str] = []
    for where, query_id, doc_id, grade in _lines(path) if _is_plain(path) else _records(path):
        integer = _INTEGER.fullmatch(_BOOLEANS.get(grade.lower(), grade))
        if integer is None or abs(int(integer[1])) > MAX_GRADE:
            raise InvalidData(
                where,
                f"grade {grade!r} is not an integer from -{MAX_GRADE} to {MAX_GRADE}; write 0 for not "
                "relevant and 1 or more for relevant",
            )
        if query_id not in queries or doc_id not in corpus:
            lacking.append(f"{where}, query {query_id!r} and document {doc_id!r}")
            continue
        if doc_id in qrels.setdefault(query_id, {}):
            raise InvalidData(where, f"query {query_id!r} judges {doc_id!r} a second time; drop one line")
        qrels[query_id][doc_id] = int(integer[1])
    if lacking and not qrels:
        raise InvalidData(
            path, f"no judgement is of a query and a document of the set (the first: {lacking[0]}); give its own files"
        )
    if not qrels:
        raise InvalidData(path, "no judgement below the header; give at least one")
    if lacking:
        _LOG.warning(
            "%d judgements are of queries or documents that the set lacks, and were passed over; the first: %s",
            len(lacking),
            lacking[0],
        )
    return qrels


def _whole(directory: Path) -> Path | None:
    return _named(directory, "qrels").get("qrels")


def _splits(directory: Path) -> dict[str, Path]:
    return _named(directory / "qrels")


def _named(directory: Path, only: str | None = None) -> dict[str, Path]:
    """The files of a directory that can hold judgements, by their names without suffix, or the one of a name."""
    found: dict[str, Path] = {}
    for path in sorted(directory.iterdir()) if directory.is_dir() else []:
        name = name_of(path)
        if only not in (None, name) or path.name.startswith(".") or not path.is_file():
            continue
        if _is_plain(path) or format_of(path):
            if name in found:
                raise InvalidData(directory, f"holds {found[name].name} and {path.name}; remove one of them")
            found[name] = path
    return found


def _is_plain(path: Path) -> bool:
    suffixes = [suffix.lower() for suffix in path.suffixes if suffix.lower() != ".gz"]
    return bool(suffixes) and suffixes[-1] in _PLAIN


def _lines(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """Place, query id, document id and grade of each line of columns between white space."""
    wanted = 0
    for where, line in numbered_lines(path):
        columns = line.split()
        if not wanted:
            wanted = len(columns) if len(columns) in (3, 4) else 4
            if _is_header(columns):
                continue
        if len(columns) != wanted:
            raise InvalidData(
                where, f"{len(columns)} columns; write 'query_id 0 doc_id grade' or 'query_id doc_id grade' throughout"
            )
        yield where, columns[0], columns[-2], columns[-1]


def _records(path: Path) -> Iterator[tuple[str, str, str, str]]:
    """Place, query id, document id and grade of each record of a table."""
    for where, record in read_records(path):
        query_id, doc_id, grade = (
            str(as_id(record[column_of(where, record, names)])) for names in (QUERY_ID, DOC_ID, LABEL)
        )
        yield where, query_id, doc_id, grade


def _is_header(columns: Sequence[str]) -> bool:
    return (
        len(columns) in (3, 4)
        and columns[0].lower().replace("_", "-") in _QUERY_COLUMNS
        and not _NUMBER.fullmatch(columns[-1])
    )
