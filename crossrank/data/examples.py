"""Examples that a ranker learns from: a query, its documents and how well each of them answers.

A record has one of three forms; other columns are ignored.

- A row: `query`, `document` and one of `label` (0 to 1), `stars` (1 to 5) and `thumbs` ("up" or "down"). A file may
  give stars in some rows and thumbs in others, but labels only throughout.
- A triple or n-tuple: `query`, `positive` and `negative`, or `negative_1`, `negative_2` and so on.
- A list: `query`, `documents` and `labels`, both of one length, labels from 0 to 1.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from crossrank.data.files import OnBad, raise_it
from crossrank.data.readers import Record, read_records
from crossrank.errors import InvalidData, UsageError

_RATINGS = ("label", "stars", "thumbs")
_THUMBS = {"up": 1.0, "down": 0.0}
_NEGATIVE = re.compile(r"negative(_[0-9]+)?")


@dataclass(frozen=True, slots=True)
class Example:
    """A query and documents; `labels` in [0, 1], one for each document, 1 for what answers fully.

    `where` is the file and line that it comes from, where it comes from one; it makes no difference.
    """

    query: str
    documents: tuple[str, ...]
    labels: tuple[float, ...]
    where: str = field(default="", compare=False)

    @property
    def is_row(self) -> bool:
        """Whether it is a row of a file."""
        return bool(self.where) and len(self.documents) == 1


def read_examples(path: Path, columns: Mapping[str, str] | None = None, on_bad: OnBad = raise_it) -> Iterator[Example]:
    """Yield the example of each record of a file, in file order; memory does not grow with the file.

    Args:
        path: A .jsonl, .csv or .parquet file.
        columns: Our name of a column -> the file's own name, where they differ.
        on_bad: Called with each invalid record; unless it raises, the record is left out.

    Raises:
        InvalidData: The file as a whole cannot be read, and what `on_bad` raises; the message names file and
            line, in a Parquet file the row, both counted from 1.
        OSError: The file cannot be read.
    """
    found = False
    first: list[InvalidData] = []

    def noted(error: InvalidData) -> None:
        if not first:
            first.append(error)
        on_bad(error)

    for example in to_examples(read_records(path, noted), columns, noted):
        found = True
        yield example
    if not found:
        raise first[0] if first else InvalidData(path, "holds no rows; give at least one")


def to_examples(
    records: Iterable[Record], columns: Mapping[str, str] | None = None, on_bad: OnBad = raise_it
) -> Iterator[Example]:
    """Yield the example of each record; see `read_examples`."""
    renamed = columns or {}
    labelled: bool | None = None
    for where, record in records:
        if renamed:
            record = {**record, **{ours: record.get(theirs) for ours, theirs in renamed.items()}}
        try:
            example, has_label = _example(where, record)
            if has_label is not None and labelled not in (None, has_label):
                raise InvalidData(where, "labels and ratings are mixed; give 'label' in every row or in none")
            labelled = has_label if labelled is None else labelled
        except InvalidData as error:
            on_bad(error)
            continue
        yield example


def grouped(examples: Iterable[Example], on_bad: OnBad = raise_it) -> list[Example]:
    """One example for each query, in the order of first appearance, with each document once.

    Args:
        examples: Of any number for a query.
        on_bad: Called for each document that has another label for the same query before; what it does not raise
            leaves the first label.
    """
    labels: dict[str, dict[str, float]] = {}
    for example in examples:
        known = labels.setdefault(example.query, {})
        for document, label in zip(example.documents, example.labels, strict=True):
            if known.setdefault(document, label) != label:
                on_bad(
                    InvalidData(
                        example.where or "data",
                        f"query {example.query[:80]!r}: the document {document[:80]!r} is labelled "
                        f"{known[document]:g} and {label:g}; keep the right one",
                    )
                )
    return [Example(query, tuple(known), tuple(known.values())) for query, known in labels.items()]


def rating_to_label(rating: int | str) -> float:
    """Turn 1 to 5 stars into (stars - 1) / 4, and "up" and "down" into 1.0 and 0.0.

    Raises:
        UsageError: Any other rating.
    """
    if isinstance(rating, str) and rating in _THUMBS:
        return _THUMBS[rating]
    if isinstance(rating, int) and not isinstance(rating, bool) and 1 <= rating <= 5:
        return (rating - 1) / 4
    raise UsageError(f"rating {rating!r} is neither 1 to 5 stars nor 'up' or 'down'")


def _example(where: str, record: Mapping[str, object]) -> tuple[Example, bool | None]:
    """The example, and for a row whether it has a label rather than a rating."""
    if "document" in record:
        query, document = _text(where, record, "query"), _text(where, record, "document")
        column, value = _rating(where, record)
        return Example(query, (document,), (_to_label(where, column, value),), where), column == "label"
    if "positive" in record:
        query, positive = _text(where, record, "query"), _text(where, record, "positive")
        names = [name for name in record if _NEGATIVE.fullmatch(name) and record[name] not in (None, "")]
        negatives = [_text(where, record, name) for name in names]
        return Example(query, (positive, *negatives), (1.0, *(0.0 for _ in negatives)), where), None
    if "documents" in record:
        return _list(where, record), None
    raise InvalidData(
        where,
        f"the columns are {', '.join(map(repr, record))}; give 'query' and either 'document' with one of "
        "'label', 'stars' and 'thumbs', or 'positive' with 'negative', or 'documents' with 'labels'",
    )


def _list(where: str, record: Mapping[str, object]) -> Example:
    documents, labels = record["documents"], record.get("labels")
    if not isinstance(documents, list) or not isinstance(labels, list) or len(documents) != len(labels):
        raise InvalidData(where, "'documents' and 'labels' must be lists of one length")
    if not documents:
        raise InvalidData(where, "'documents' is empty; give at least one")
    for text in documents:
        if not isinstance(text, str) or not text.strip():
            raise InvalidData(where, "a text of 'documents' is missing or blank; give its text or drop it")
    if len(set(documents)) < len(documents):
        raise InvalidData(where, "a text of 'documents' occurs twice; keep one")
    query = _text(where, record, "query")
    return Example(query, tuple(documents), tuple(_to_label(where, "label", label) for label in labels), where)


def _text(where: str, record: Mapping[str, object], column: str) -> str:
    if column not in record:
        raise InvalidData(where, f"{column!r} is missing; add it")
    value = record[column]
    if not isinstance(value, str) or not value.strip():
        raise InvalidData(where, f"{column!r} is not a text or is blank; give its text or drop the row")
    return value


def _rating(where: str, record: Mapping[str, object]) -> tuple[str, object]:
    given = [(column, record[column]) for column in _RATINGS if record.get(column) not in (None, "")]
    if len(given) != 1:
        raise InvalidData(where, f"{len(given)} of 'label', 'stars' and 'thumbs' are given; give exactly one")
    return given[0]


def _to_label(where: str, column: str, value: object) -> float:
    if column == "thumbs":
        if isinstance(value, str) and value in _THUMBS:
            return rating_to_label(value)
        raise InvalidData(where, f"thumbs {value!r} is neither 'up' nor 'down'; write one of them")
    number = _number(value)
    if column == "label":
        if 0 <= number <= 1:
            return number
        raise InvalidData(where, f"label {value!r} is not a number from 0 to 1; scale it")
    # A column of whole numbers with gaps comes out of many tools as floats.
    if number.is_integer() and 1 <= number <= 5:
        return rating_to_label(int(number))
    raise InvalidData(where, f"stars {value!r} is not a whole number from 1 to 5; correct it")


def _number(value: object) -> float:
    if isinstance(value, str | int | float) and not isinstance(value, bool):
        try:
            return float(value)
        except (ValueError, OverflowError):
            pass
    return math.nan
