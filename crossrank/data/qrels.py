"""Judgements: which file of a directory holds them, and what its lines say.

A directory in BEIR layout has a file for each split, `qrels/train.tsv`, `qrels/dev.tsv` and `qrels/test.tsv`, or all of
its judgements in one `qrels.tsv`.
"""

import logging
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from crossrank.data.files import numbered_lines
from crossrank.errors import InvalidData

Qrels = dict[str, dict[str, int]]

# trec_eval, which measures, takes memory for every grade up to the highest.
MAX_GRADE = 1000
# The splits that serve a purpose, the first of them that a directory has.
LEARNT = ("train",)
VALIDATED = ("dev", "test")
MEASURED = ("test", "dev")

_LOG = logging.getLogger("crossrank.data")
_QUERY_COLUMNS = {"query-id", "queryid", "qid", "query"}
_INTEGER = re.compile(r"([+-]?[0-9]{1,18})(?:\.0*)?")
_NUMBER = re.compile(r"[+-]?[0-9.]+")


def splits_of(directory: Path) -> list[str]:
    """The names of a directory's splits, sorted; none where its judgements are one file."""
    return sorted(path.stem for path in (directory / "qrels").glob("*.tsv"))


def has_qrels(directory: Path) -> bool:
    """Whether a directory holds judgements."""
    return (directory / "qrels.tsv").is_file() or bool(splits_of(directory))


def find_qrels(directory: Path, split: str | None = None, otherwise: Sequence[str] = MEASURED) -> Path:
    """The file of judgements that is meant.

    Args:
        directory: of an evaluation set.
        split: the one that a person names.
        otherwise: splits of which the first one there is taken where none is named; a lone `qrels.tsv` is taken too.

    Raises:
        InvalidData: there is no such split, or both one file and splits.
    """
    whole, splits = directory / "qrels.tsv", splits_of(directory)
    if whole.is_file() and splits:
        raise InvalidData(directory, "holds both qrels.tsv and qrels/, and only one can be meant; remove the other")
    if whole.is_file():
        if split is not None:
            raise InvalidData(directory, f"has no splits, only qrels.tsv; leave the split {split!r} out")
        return whole
    for wanted in [split] if split is not None else otherwise:
        if wanted in splits:
            return directory / "qrels" / f"{wanted}.tsv"
    missing = split if split is not None else " or ".join(otherwise)
    raise InvalidData(directory, f"has no split {missing}, only {', '.join(splits) or 'none'}; name the one to take")


def judgements_of(path: Path, split: str | None, otherwise: Sequence[str]) -> Path:
    """The file that holds the judgements of an evaluation set or is one of rows, links resolved; see `find_qrels`."""
    return (find_qrels(path, split, otherwise) if path.is_dir() else path).resolve()


def note_qrels(qrels: Path) -> None:
    """Logs which judgements are read, where a directory has others or could have them."""
    if qrels.parent.name == "qrels":
        _LOG.info("%s: the split %s is read", qrels.parent.parent, qrels.stem)
    else:
        _LOG.info("%s: has no splits, so all of its judgements are read", qrels.parent)


def read_qrels(path: Path, queries: Mapping[str, str], corpus: Mapping[str, str]) -> Qrels:
    """Read the grades of each query's documents.

    Lines are TREC's `query_id 0 doc_id grade`, or BEIR's `query_id doc_id grade` below a header. Judgements of
    documents that the corpus lacks, which public sets have, are passed over with one warning.

    Raises:
        InvalidData: A line is invalid, names an unknown query or judges a second time, or no judgement is left.
        OSError: The file cannot be read.
    """
    qrels: Qrels = {}
    columns_wanted = 4
    lacking: list[str] = []
    for number, (where, line) in enumerate(numbered_lines(path)):
        columns = line.split()
        if number == 0 and _is_header(columns):
            columns_wanted = len(columns)
            continue
        if len(columns) != columns_wanted:
            raise InvalidData(
                where,
                f"{len(columns)} columns; write 'query_id 0 doc_id grade', or 'query-id corpus-id score' "
                "below a first line of just these three names",
            )
        query_id, doc_id, grade = columns[0], columns[-2], columns[-1]
        if query_id not in queries:
            raise InvalidData(where, f"query {query_id!r} is not in queries.jsonl; add it there or drop it here")
        integer = _INTEGER.fullmatch(grade)
        if integer is None or abs(int(integer[1])) > MAX_GRADE:
            raise InvalidData(
                where,
                f"grade {grade!r} is not an integer from -{MAX_GRADE} to {MAX_GRADE}; write 0 for not "
                "relevant and 1 or more for relevant",
            )
        if doc_id not in corpus:
            lacking.append(f"{where}, {doc_id!r}")
            continue
        if doc_id in qrels.setdefault(query_id, {}):
            raise InvalidData(where, f"query {query_id!r} judges {doc_id!r} a second time; drop one line")
        qrels[query_id][doc_id] = int(integer[1])
    if lacking and not qrels:
        raise InvalidData(path, f"no judged document is in corpus.jsonl (the first: {lacking[0]}); give its own corpus")
    if not qrels:
        raise InvalidData(path, "no judgement below the header; give at least one")
    if lacking:
        _LOG.warning(
            "%d judgements are of documents that corpus.jsonl lacks, and were passed over; the first: %s",
            len(lacking),
            lacking[0],
        )
    return qrels


def _is_header(columns: Sequence[str]) -> bool:
    return (
        len(columns) in (3, 4)
        and columns[0].lower().replace("_", "-") in _QUERY_COLUMNS
        and not _NUMBER.fullmatch(columns[-1])
    )
