"""Forms of a record that says how well documents answer a query, by the names of its columns.

Names are compared in lower case, with `-` and spaces as `_`; of several names for one thing the first is taken. The
forms, and the tools that write them:

- a list: `query`, `documents` and `labels` (also sentence-transformers' labeled lists);
- a triple or n-tuple: a query, `positive` and `negative`, or `negative_1`, `negative_2` and so on, each of them a text,
  or lists of texts: sentence-transformers' `anchor`, FlagEmbedding's `pos` and `neg`, Tevatron's `positive_passages`,
  DPR's `positive_ctxs`, Cohere's `relevant_passages` and `hard_negatives`;
- a row: a query, a document and a label, stars or thumbs: `sentence1`, `sentence2` and `score`, `question` and
  `context`, and `texts` with `label`, the InputExample of sentence-transformers;
- a pair of a query and what answers it: `anchor` and `positive`, `query` and `answer`, `question` and `context`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

QUERY = ("query", "anchor", "question", "sentence1", "sentence_a", "query_text", "texts")
DOCUMENT = ("document", "passage", "doc", "text", "sentence2", "sentence_b", "passage_text", "document_text")
# What answers its query where nothing else is said.
_ANSWER = (
    "positive",
    "pos",
    "positives",
    "positive_passages",
    "relevant_passages",
    "positive_ctxs",
    "context",
    "answer",
)
_NEGATIVE = re.compile(r"negative(_[0-9]+)?|neg|negatives|negative_passages|(hard_)?negative_ctxs|hard_negatives")
_LISTS = ("documents", "passages", "docs")
LABEL = ("label", "score", "relevance", "grade", "similarity", "similarity_score")
_RATINGS = ("stars", "thumbs")

Kind = Literal["list", "tuple", "row", "unrated"]


@dataclass(frozen=True, slots=True)
class Form:
    """Form of a record: the names of its columns by what they are for.

    Attributes:
        kind: `unrated` is a row that lacks every column of a rating.
        query: of the query; `texts` where one list holds query and documents.
        documents: of the document, of the positive, or of the list.
        negatives: of the negatives.
        labels: of the labels of a list.
        ratings: what rates a row, under the names that they have here, one of which is given in each row.
        unread: all other columns.
    """

    kind: Kind
    query: str
    documents: str
    negatives: tuple[str, ...] = ()
    labels: str = ""
    ratings: tuple[tuple[str, str], ...] = ()
    unread: tuple[str, ...] = ()


def form_of(record: Mapping[str, object]) -> Form | None:
    """The form of a record by its columns; None where it has none that is known."""
    return _form(tuple(record))


def columns_of(record: Mapping[str, object]) -> str:
    """The names of a record's columns, for a message."""
    names = [repr(name[:40]) for name in record]
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")


def normalised(name: str) -> str:
    """A column's name as names are compared."""
    return name.strip().lower().replace("-", "_").replace(" ", "_")


def first_of(names: tuple[str, ...], columns: Mapping[str, str]) -> str:
    """The column that has the first of some names; empty where there is none."""
    return next((columns[name] for name in names if name in columns), "")


@lru_cache(maxsize=64)
def _form(names: tuple[str, ...]) -> Form | None:
    columns: dict[str, str] = {}
    for name in names:
        columns.setdefault(normalised(name), name)
    query = first_of(QUERY, columns)
    document = first_of(DOCUMENT, columns)
    answer = first_of(_ANSWER, columns)
    texts = columns.get("texts", "")
    several = first_of(_LISTS, columns)
    if not query or not (document or answer or several or texts):
        return None
    label = first_of(LABEL, columns)
    ratings = tuple(
        (kind, name) for kind, name in (("label", label), *((kind, columns.get(kind, "")) for kind in _RATINGS)) if name
    )
    negatives = tuple(name for key, name in columns.items() if _NEGATIVE.fullmatch(key))
    labels = columns.get("labels") or (columns.get("scores", "") if several else "")
    if query == texts:
        form = Form("row" if ratings else "tuple", texts, texts, ratings=ratings)
    elif labels or several:
        form = Form("list", query, several or document or answer, labels=labels)
    elif "document" in columns:
        form = Form("row" if ratings else "unrated", query, document, ratings=ratings)
    elif negatives and answer:
        form = Form("tuple", query, answer, negatives)
    elif ratings:
        form = Form("row", query, document or answer, ratings=ratings)
    elif answer:
        form = Form("tuple", query, answer)
    else:
        form = Form("unrated", query, document)
    read = {form.query, form.documents, *form.negatives, form.labels, *(name for _, name in form.ratings)}
    if form.documents == columns.get("text"):
        read.add(columns.get("title", ""))
    return Form(
        form.kind,
        form.query,
        form.documents,
        form.negatives,
        form.labels,
        form.ratings,
        tuple(name for name in names if name not in read),
    )


def headless_form(cells: list[str]) -> list[str] | None:
    """The columns of a .tsv whose first line is a record already: query, document and label, or MS MARCO's triples.

    A name of a column has three words at most, and a document more.
    """
    if len(cells) != 3 or form_of(dict.fromkeys(cells)) or len(cells[1].split()) < 4:
        return None
    if re.fullmatch(r"[0-9.]+", cells[2]):
        return ["query", "document", "label"]
    return ["query", "positive", "negative"] if len(cells[2].split()) >= 4 else None
