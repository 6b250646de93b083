"""Training labels from feedback: one for each query and document that users judged.

Ratings. The last stars and the last thumb on each document of each answer count; stars are (stars - 1) / 4, a thumb up
is 1 and down 0. All ratings of one query and document, of all answers and users, are averaged into its label.

Clicks count only where that is asked for, and only for what nobody rated. Users look at what stands first, so a click
says more the lower it is: with (1 / rank)^eta as the propensity to look at a rank, the label is

    min(1, sum over clicks of 1 / propensity, divided by how often the document was shown for the query)

the inverse propensity score of Joachims, Swaminathan and Schnabel (2017), Unbiased learning-to-rank with biased
feedback; eta 0 corrects nothing. Its limits: eta is not estimated here (swap neighbouring results at random for some
users, and compare their clicks); a click is interest, not approval; one click far down weighs much, and clipping makes
it a full 1; answers without a click are left out, since nobody may have looked at them, so labels are not absolute
rates.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from crossrank.data.eval_set import read_corpus, read_queries
from crossrank.data.examples import rating_to_label
from crossrank.data.formats.files import written_beside
from crossrank.data.formats.readers import find_table
from crossrank.errors import InvalidData
from crossrank.feedback.options import LabelOptions
from crossrank.feedback.reader import Shown, StoreReader, open_reader

_DEFAULT_OPTIONS = LabelOptions()

_QueryDocument = tuple[str, str]


@dataclass(frozen=True, slots=True)
class RankClicks:
    """How often a rank (from 1) was shown and clicked, over the answers with a click."""

    rank: int
    shown: int
    clicked: int


@dataclass(frozen=True, slots=True)
class FeedbackReport:
    """Report of an export: what the store held and what became of it.

    Attributes:
        impressions: answers in the store.
        feedback: pieces of feedback in the store, by kind, repeated ones too.
        from_ratings: rows with a label from ratings.
        from_clicks: rows with a label from clicks.
        averaged: rows from more than one rating.
        skipped: shown documents that were judged but gave no row, by the reason.
        clicks: by rank.
    """

    impressions: int
    feedback: dict[str, int]
    from_ratings: int
    from_clicks: int
    averaged: int
    skipped: dict[str, int]
    clicks: list[RankClicks]


@dataclass(slots=True)
class _Texts:
    """Gives shown documents their texts: those of the store, else by id; notes where there are none."""

    queries: dict[str, str] = field(default_factory=dict)
    corpus: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, set[tuple[int, int]]] = field(default_factory=lambda: defaultdict(set))

    def pair(self, shown: Shown) -> _QueryDocument | None:
        query = self.queries.get(shown.request_id) if shown.query is None else shown.query
        document = self.corpus.get(shown.document_id) if shown.document is None else shown.document
        if query is None or document is None:
            self._skip(shown, f"the {'query' if query is None else 'document'} has no text")
        elif not document.strip():
            self._skip(shown, "the document is blank")
        else:
            return query, document
        return None

    def _skip(self, shown: Shown, reason: str) -> None:
        self.skipped[reason].add((shown.impression, shown.rank))


def export_feedback(
    store: Path,
    out: Path,
    options: LabelOptions = _DEFAULT_OPTIONS,
) -> FeedbackReport:
    """Writes rows of `query`, `document` and `label` as JSON Lines, beside `out` and then in its place.

    Args:
        store: The file of a server's --feedback.
        out: A .jsonl file.
        options: What gives labels, and where texts come from.

    Raises:
        InvalidData: The store or the corpus is not what it should be, or no row can be made; nothing is written.
        OSError: A file cannot be read or written.
    """
    if out.suffix.lower() != ".jsonl":
        raise InvalidData(out, "rows are written as JSON Lines; give it the suffix .jsonl")
    if out.exists() and (not options.force or out.samefile(store)):
        raise InvalidData(out, "exists already; give a new file, or replace it with --force")
    texts = _Texts()
    if options.corpus is not None:
        _read_texts(options.corpus, texts)
    with open_reader(store) as reader:
        feedback = reader.feedback()
        rated = _rated(reader, texts)
        clicked, by_rank = _clicked(reader, texts if options.use_clicks else None, options.position_bias_eta)
        impressions = reader.impressions()
    labels = {pair: sum(values) / len(values) for pair, values in rated.items()}
    from_clicks = {pair: label for pair, label in clicked.items() if pair not in labels}
    report = FeedbackReport(
        impressions=impressions,
        feedback=feedback,
        from_ratings=len(labels),
        from_clicks=len(from_clicks),
        averaged=sum(len(values) > 1 for values in rated.values()),
        skipped={reason: len(places) for reason, places in sorted(texts.skipped.items())},
        clicks=by_rank,
    )
    _require_rows(store, report)
    with written_beside(out) as staged, staged.open("w", encoding="utf-8", newline="\n") as file:
        for (query, document), label in {**labels, **from_clicks}.items():
            row = {"query": query, "document": document, "label": label}
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    return report


def _read_texts(corpus: Path, texts: _Texts) -> None:
    if corpus.is_dir():
        texts.corpus = read_corpus(corpus)
        if find_table(corpus, "queries"):
            texts.queries = read_queries(corpus)
    else:
        texts.corpus = read_corpus(corpus)


def _rated(reader: StoreReader, texts: _Texts) -> dict[_QueryDocument, list[float]]:
    """The labels of all ratings of each pair."""
    rated: dict[_QueryDocument, list[float]] = defaultdict(list)
    for shown, rating in reader.ratings():
        if (pair := texts.pair(shown)) is not None:
            rated[pair].append(rating_to_label(rating))
    return rated


def _clicked(
    reader: StoreReader, texts: _Texts | None, eta: float
) -> tuple[dict[_QueryDocument, float], list[RankClicks]]:
    """The label of each pair in answers with a click, none without texts; and the clicks by rank."""
    shown_at: dict[int, int] = defaultdict(int)
    clicked_at: dict[int, int] = defaultdict(int)
    weights: dict[_QueryDocument, list[float]] = defaultdict(list)
    for shown, clicked in reader.clicked_answers():
        shown_at[shown.rank] += 1
        clicked_at[shown.rank] += clicked
        if texts is not None and (pair := texts.pair(shown)) is not None:
            weights[pair].append(shown.rank**eta if clicked else 0.0)
    labels = {pair: min(1.0, sum(values) / len(values)) for pair, values in weights.items()}
    return labels, [RankClicks(rank, shown_at[rank], clicked_at[rank]) for rank in sorted(shown_at)]


def _require_rows(store: Path, report: FeedbackReport) -> None:
    if report.from_ratings or report.from_clicks:
        return
    if report.skipped:
        reasons = ", ".join(f"{reason} ({count})" for reason, count in report.skipped.items())
        raise InvalidData(
            store,
            f"none of what was judged has both texts: {reasons}; name their source with --corpus, or let the "
            "server keep them with --feedback-texts",
        )
    if report.feedback:
        raise InvalidData(store, "holds clicks and no ratings; --use-clicks makes rows of them")
    raise InvalidData(store, f"holds no feedback yet on its {report.impressions} answers; let users give some")
