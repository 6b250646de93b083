"""Examples that a ranker learns from: a query, its documents and how well each of them answers.

The forms that a record may have, and the names of their columns, are in `crossrank.data.formats.forms`. A row has one
of a label (0 to 1, or true and false), `stars` (1 to 5) and `thumbs` ("up" or "down"). A file may give stars in some
rows and thumbs in others, but labels only throughout. A list's labels are from 0 to 1. Other columns are not read,
which the log says.
"""

import logging
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from crossrank.data.formats.columns import document_text, text_of
from crossrank.data.formats.files import OnBad, raise_it
from crossrank.data.formats.forms import QUERY, Form, columns_of, form_of, headless_form
from crossrank.data.formats.readers import Record, read_records
from crossrank.errors import InvalidData, UsageError

_LOG = logging.getLogger("crossrank.data")
_THUMBS = {"up": 1.0, "down": 0.0}
_BOOLEANS = {"true": 1.0, "false": 0.0}
# Columns of a single text; a text that looks like a list is one in all others.
_SINGULAR = ("positive", "negative", "answer", "context")


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
        path: A file of `crossrank.data.formats.readers`; a .tsv may lack its header.
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

    for example in to_examples(read_records(path, noted, headless_form), columns, noted):
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
    told = False
    for where, record in records:
        try:
            if renamed:
                record = _renamed(where, record, renamed)
            form = form_of(record)
            if form is None or form.kind == "unrated":
                raise _without_form(where, record)
            if form.unread and not told:
                told = True
                _LOG.info("%s: not read: %s", where, columns_of(dict.fromkeys(form.unread)))
            example, has_label = _example(where, record, form)
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


def _renamed(where: str, record: Mapping[str, object], renamed: Mapping[str, str]) -> Mapping[str, object]:
    for ours, theirs in renamed.items():
        if theirs not in record:
            raise InvalidData(where, f"has no column {theirs!r} for {ours!r}; its columns are {columns_of(record)}")
    others = {name: value for name, value in record.items() if name not in renamed.values()}
    return {**others, **{ours: record[theirs] for ours, theirs in renamed.items()}}


def _without_form(where: str, record: Mapping[str, object]) -> InvalidData:
    if {"queries", "corpus", "relevant_docs"} <= record.keys():
        return InvalidData(where, "a LlamaIndex dataset; write it as queries.jsonl, corpus.jsonl and qrels.tsv")
    return InvalidData(
        where,
        f"the columns are {columns_of(record)}; give {QUERY[0]!r} and either 'document' with one of 'label', 'stars' "
        "and 'thumbs', or 'positive' with 'negative', or 'documents' with 'labels'",
    )


def _example(where: str, record: Mapping[str, object], form: Form) -> tuple[Example, bool | None]:
    """The example, and for a row whether it has a label rather than stars or thumbs."""
    if form.query == form.documents:
        texts = _texts(where, record, form.query)
        if len(texts) < 2:
            raise InvalidData(where, f"{form.query!r} holds {len(texts)} texts; give a query and its documents")
        if len(texts) > 2 or form.kind == "tuple":
            return _tuple(where, *texts[:2], negatives=texts[2:]), None
        kind, label = _rating(where, record, form)
        return Example(texts[0], (texts[1],), (label,), where), kind == "label"
    query = text_of(where, record, form.query)
    if form.kind == "list":
        return _list(where, query, record, form), None
    if form.kind == "tuple":
        positives = _texts(where, record, form.documents)
        if not positives:
            raise InvalidData(where, f"{form.documents!r} is empty; give at least one text")
        negatives = [text for name in form.negatives for text in _texts(where, record, name, optional=True)]
        return _tuple(where, query, *positives, negatives=negatives), None
    document = document_text(where, record, form.documents)
    kind, label = _rating(where, record, form)
    return Example(query, (document,), (label,), where), kind == "label"


def _tuple(where: str, query: str, *positives: str, negatives: list[str]) -> Example:
    labels = dict.fromkeys(positives, 1.0)
    for text in negatives:
        if labels.setdefault(text, 0.0):
            raise InvalidData(where, "a text is both positive and negative; drop one of them")
    return Example(query, tuple(labels), tuple(labels.values()), where)


def _list(where: str, query: str, record: Mapping[str, object], form: Form) -> Example:
    name, labels = form.documents, record.get(form.labels)
    documents = record[name]
    if not isinstance(documents, list) or not isinstance(labels, list) or len(documents) != len(labels):
        raise InvalidData(where, f"{name!r} and {form.labels or 'labels'!r} must be lists of one length")
    texts = _texts(where, record, name)
    if not texts:
        raise InvalidData(where, f"{name!r} is empty; give at least one")
    if len(set(texts)) < len(texts):
        raise InvalidData(where, f"a text of {name!r} occurs twice; keep one")
    return Example(query, tuple(texts), tuple(_to_label(where, "label", label) for label in labels), where)


def _texts(where: str, record: Mapping[str, object], column: str, *, optional: bool = False) -> list[str]:
    """The texts of a column that holds one or a list; those that are absent are left out where they may be."""
    value = record[column]
    if optional and value in (None, ""):
        return []
    if isinstance(value, str) and not column.lower().startswith(_SINGULAR) and value.startswith(("['", '["')):
        raise InvalidData(where, f"{column!r} is a list written as a text; give the file as .jsonl or .parquet")
    if not isinstance(value, list):
        return [text_of(where, record, column)]
    named = {f"{column}[{place}]": text for place, text in enumerate(value)}
    return [
        document_text(where, text, "text") if isinstance(text, dict) else text_of(where, named, place)
        for place, text in named.items()
    ]


def _rating(where: str, record: Mapping[str, object], form: Form) -> tuple[str, float]:
    given = [(kind, record[name]) for kind, name in form.ratings if record[name] not in (None, "")]
    if len(given) != 1:
        raise InvalidData(where, f"{len(given)} of 'label', 'stars' and 'thumbs' are given; give exactly one")
    (kind, value) = given[0]
    return kind, _to_label(where, kind, value)


def _to_label(where: str, column: str, value: object) -> float:
    if column == "thumbs":
        if isinstance(value, str) and value in _THUMBS:
            return rating_to_label(value)
        raise InvalidData(where, f"thumbs {value!r} is neither 'up' nor 'down'; write one of them")
    number = _number(value)
    if column == "label":
        number = _BOOLEANS.get(str(value).lower(), number)
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
