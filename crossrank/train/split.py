"""Split, the second step of a training: what is held out for the verdict, and what must not be learnt because of it.

Which queries are held out follows from the stored queries and the seed alone. Training queries that are nearly the
same as one that is held out are leaks; they are dropped, or end the training.
"""

import hashlib
import heapq
import json
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components
from sklearn.model_selection import GroupKFold

from crossrank.data.examples import grouped
from crossrank.data.formats.files import write_json
from crossrank.data.near_duplicates import NearDuplicates
from crossrank.data.qrels import MEASURED, VALIDATED
from crossrank.errors import UsageError
from crossrank.evaluation.eval_set import EvalSet, eval_set_of, read_eval_set
from crossrank.models.bi_encoder import BiEncoder
from crossrank.progress import Progress
from crossrank.train.collect import Collected
from crossrank.train.overlap import Overlap, count_overlap, find_leaks
from crossrank.train.recipe import Recipe

LOG = logging.getLogger("crossrank.train")

# A recipe without data.dev holds out one query of so many.
_HELD_OUT_SHARE = 5
_MOST_HELD_OUT = 500

ValidationStrategy: TypeAlias = Literal["dev", "cross_validation", "hold_out", "none"]


@dataclass(frozen=True, slots=True)
class Split:
    """What is held out.

    Attributes:
        strategy: what the verdict rests on.
        dev: the set of the verdict; None where there is nothing to measure on.
        regression_sets: sets on which the model must not get worse.
        withheld: queries of the training data that must not be learnt.
        folds: the queries of each fold of a cross-validation.
        overlap: what was found in common.
    """

    strategy: ValidationStrategy
    dev: EvalSet | None
    regression_sets: list[EvalSet]
    withheld: frozenset[str]
    folds: list[list[str]]
    overlap: Overlap

    @property
    def held_out(self) -> list[EvalSet]:
        """All sets, the verdict's first."""
        return [*([self.dev] if self.dev else []), *self.regression_sets]


def choose_validation(recipe: Recipe, queries: Iterable[str]) -> ValidationStrategy:
    """What the verdict rests on: the recipe's dev set, or what it says for the case that there is none.

    Args:
        recipe: what is wanted.
        queries: of the training data; no more are taken than it takes to see that they are many.
    """
    wanted = recipe.evaluation
    if recipe.data.dev:
        return "dev"
    if wanted.without_dev != "auto":
        return wanted.without_dev
    seen: set[str] = set()
    for query in queries:
        seen.add(query)
        if len(seen) >= wanted.cross_validate_below:
            return "hold_out"
    return "cross_validation"


def split_examples(recipe: Recipe, collected: Collected, path: Path, bi_encoder: BiEncoder | None = None) -> Split:
    """Divides stored examples into what is learnt and what is held out; what a file keeps of that is not done again.

    Args:
        recipe: names the sets, the shares and the seed.
        collected: the examples.
        path: a JSON file; candidates that were searched lie beside it.
        bi_encoder: the second source of candidates, for sets without any.

    Raises:
        UsageError: a set cannot be used, no example is left, or there are leaks and the recipe refuses them.
        InvalidData: a line of a set is invalid.
    """
    strategy = choose_validation(recipe, collected.queries())
    most = recipe.evaluation.max_queries
    with Progress(LOG, "read what is held out"):
        wanted = [*([recipe.data.dev] if recipe.data.dev else []), *recipe.data.regression_sets]
        named = [
            read_eval_set(
                each,
                max_queries=most,
                seed=recipe.seed,
                bi_encoder=bi_encoder,
                kept=path.with_name(f"candidates-{number}.json"),
                otherwise=VALIDATED if each == recipe.data.dev else MEASURED,
            )
            for number, each in enumerate(wanted)
        ]
    dev, regression_sets = (named[0], named[1:]) if recipe.data.dev else (None, named)
    kept = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
    leaks = kept["leaks"] if kept else find_leaks(collected, named)
    cut_out = frozenset(kept["cut_out"] if kept else ())
    if strategy in ("hold_out", "cross_validation"):
        dev = _from_training(recipe, collected, strategy, leaks, cut_out)
    if len({held.name for held in (*([dev] if dev else []), *regression_sets)}) < len(regression_sets) + bool(dev):
        raise UsageError("two sets that are held out have one name, by which reports go; rename one")
    if strategy == "hold_out" and dev and not kept:
        cut_out = frozenset(dev.queries.values())
        leaks |= find_leaks(collected, [dev], but=cut_out)
    withheld = cut_out.union(leaks)
    folds = []
    if strategy == "cross_validation" and dev:
        learnt = list(dict.fromkeys(query for query in collected.queries() if query not in withheld))
        folds = folds_of(learnt, recipe.evaluation.folds, recipe.seed)
        if len(folds) < 2:
            raise UsageError("data.train: all queries are nearly one; there is nothing to hold out, so name data.dev")
    if kept:
        overlap = Overlap(**kept["overlap"])
    else:
        sets = [dev, *regression_sets] if dev and not folds else regression_sets
        overlap = count_overlap(collected, sets, leaks, cut_out, refuse=recipe.data.leakage == "refuse")
        write_json(path, {"leaks": leaks, "cut_out": sorted(cut_out), "overlap": asdict(overlap)})
    return Split(strategy, dev, regression_sets, withheld, folds, overlap)


def _from_training(
    recipe: Recipe, collected: Collected, strategy: ValidationStrategy, leaks: Collection[str], cut_out: frozenset[str]
) -> EvalSet | None:
    """A set out of the training data: of a fifth of the queries, or of all that are cross-validated."""
    most = recipe.evaluation.max_queries
    queries = (query for query in collected.queries() if query not in leaks)
    name, chosen = "cross-validation", None
    if strategy == "hold_out":
        name, chosen = "held-out queries", cut_out or held_out_queries(queries, most, recipe.seed)
    examples = (
        example
        for example in collected.all_examples()
        if (example.query not in leaks if chosen is None else example.query in chosen)
    )
    try:
        kept_examples = grouped(examples, on_bad=lambda error: None)
        return eval_set_of(name, kept_examples, max_queries=most, seed=recipe.seed)
    except UsageError as error:
        LOG.warning("nothing is held out: %s", error)
        return None


def held_out_queries(queries: Iterable[str], max_queries: int | None, seed: int) -> set[str]:
    """A fifth of the queries, at most `max_queries`, or 500: a function of these and the seed, in any order.

    Memory holds no more than what is held out.
    """
    most = max_queries or _MOST_HELD_OUT
    # The queries with the smallest digests, the largest of them first.
    smallest: list[tuple[int, str]] = []
    chosen: set[str] = set()
    for query in queries:
        digest = int.from_bytes(hashlib.sha256(f"{seed}/{query}".encode()).digest()[:8])
        if query not in chosen and digest < 2**64 // _HELD_OUT_SHARE:
            heapq.heappush(smallest, (-digest, query))
            chosen.add(query)
            if len(smallest) > most:
                chosen.remove(heapq.heappop(smallest)[1])
    return chosen


def folds_of(queries: Sequence[str], folds: int, seed: int) -> list[list[str]]:
    """Divides queries into folds of like size; those that are nearly the same stay together.

    Args:
        queries: each once.
        folds: how many; fewer where there are fewer different queries.
        seed: of the shuffle.
    """
    index = NearDuplicates(queries)
    near = [(place, other) for place, query in enumerate(queries) for other in index.find(query)]
    edges = coo_matrix((np.ones(len(near)), np.array(near).T), shape=(len(queries), len(queries)))
    number, groups = connected_components(edges, directed=False)
    if number < 2:
        return [list(queries)]
    split = GroupKFold(min(folds, number), shuffle=True, random_state=seed).split(queries, groups=groups)
    return [[queries[place] for place in held_out] for _, held_out in split]
