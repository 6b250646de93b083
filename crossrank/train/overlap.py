"""Overlap: what training data share with the sets that a model is judged on."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from crossrank.data.near_duplicates import NearDuplicates
from crossrank.data.qrels import LEARNT, MEASURED, VALIDATED, judgements_of
from crossrank.errors import UsageError
from crossrank.evaluation.eval_set import EvalSet
from crossrank.progress import Progress
from crossrank.train.collect import Collected
from crossrank.train.recipe import Recipe

LOG = logging.getLogger("crossrank.train")

_QUOTED = 3


@dataclass(slots=True)
class Overlap:
    """What training data and held-out sets have in common.

    Attributes:
        leaked: examples whose query is, or nearly is, a held-out one; they are dropped.
        seen_answers: examples in which something relevant is, nearly, a relevant held-out document; they stay.
        leaks: the first few leaks, each in a sentence.
    """

    leaked: int = 0
    seen_answers: int = 0
    leaks: list[str] = field(default_factory=list)


def refuse_learning_what_is_measured(recipe: Recipe) -> None:
    """Refuses a recipe that names the same judgements of an evaluation set to learn from and to be measured on.

    Raises:
        UsageError: it names them.
        InvalidData: a set has no judgements of the split that is meant.
    """
    data = recipe.data
    learnt = {
        judgements_of(source.path, source.split, LEARNT): source.path
        for source in data.train
        if source.path is not None and source.path.is_dir()
    }
    measured = [(path, VALIDATED if path == data.dev else MEASURED) for path in (data.dev, *data.regression_sets)]
    for path, otherwise in measured:
        if path is not None and path.is_dir() and judgements_of(path, None, otherwise) in learnt:
            raise UsageError(f"data.train and the held-out sets both name the judgements of {path}; name another split")


def find_leaks(collected: Collected, sets: Sequence[EvalSet], *, but: frozenset[str] = frozenset()) -> dict[str, str]:
    """Finds the training queries that are, or nearly are, queries of held-out sets.

    Args:
        collected: the training data.
        sets: what is held out.
        but: queries that are not looked at.

    Returns:
        A training query -> the held-out query that it is near to.
    """
    index = NearDuplicates(query for held in sets for query in held.queries.values())
    leaks: dict[str, str] = {}

    @lru_cache(4096)
    def near(query: str) -> str | None:
        place = next(index.find(query), None)
        return None if place is None else index.texts[place]

    with Progress(LOG, "look for training queries that are held out", total=collected.total) as progress:
        for query in collected.queries():
            progress.advance()
            if query not in but and (found := near(query)) is not None:
                leaks[query] = found
    return leaks


def count_overlap(
    collected: Collected,
    sets: Sequence[EvalSet],
    leaks: Mapping[str, str],
    cut_out: frozenset[str],
    *,
    refuse: bool = False,
) -> Overlap:
    """Counts leaks, and answers that are held out, and logs what it finds.

    Args:
        collected: the training data.
        sets: what is held out.
        leaks: as `find_leaks` gives them.
        cut_out: queries of the training data that are held out themselves, which is no fault of theirs.
        refuse: whether leaks end the run.

    Raises:
        UsageError: there are leaks and they are refused, or all examples are leaks.
    """
    answers = NearDuplicates(
        held.corpus[doc_id] for held in sets for query_id in held.queries for doc_id in held.positives(query_id)
    )
    overlap = Overlap(leaks=[f"{query[:80]!r} is held out as {near[:80]!r}" for query, near in leaks.items()])
    del overlap.leaks[_QUOTED:]
    with Progress(LOG, "look for answers that are held out", total=collected.total) as progress:
        for example in collected.all_examples():
            progress.advance()
            if example.query in leaks:
                overlap.leaked += 1
            elif example.query not in cut_out:
                relevant = [text for text, label in zip(example.documents, example.labels, strict=True) if label > 0]
                overlap.seen_answers += any(True for text in relevant for _ in answers.find(text))
    nothing_left = overlap.leaked == collected.total
    if overlap.leaked and (nothing_left or refuse):
        rest = ", and no other is left" if nothing_left else ""
        raise UsageError(
            f"{overlap.leaked} training examples ask what is held out, or nearly{rest}: {overlap.leaks[0]}; hold out "
            "other queries"
        )
    if overlap.leaked:
        LOG.warning("%d examples have a query that is held out, or nearly, and were dropped", overlap.leaked)
        for leak in overlap.leaks:
            LOG.warning("%s", leak)
    if overlap.seen_answers:
        LOG.warning("%d examples answer with a text that is a held-out answer, or nearly", overlap.seen_answers)
    return overlap
