"""A teacher's scores in the place of labels, kept on disk so that each pair is scored once."""

import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossrank.data.examples import Example
from crossrank.errors import UsageError
from crossrank.models.bi_encoder import BiEncoder
from crossrank.models.cross_encoder import open_cross_encoder, predict
from crossrank.models.location import is_bi_encoder, model_digest
from crossrank.train.recipe import Distillation, Recipe

_CACHE_FILE = "teacher-scores.sqlite"

# Large enough that pairs of like length meet, small enough that little is lost when the process dies.
_EXAMPLES_AT_ONCE = 256


def open_teacher(
    recipe: Recipe, out: Path, open_bi_encoder: Callable[[str, int], BiEncoder] = BiEncoder
) -> "Teacher | None":
    """The teacher of a recipe, if it has one.

    Args:
        recipe: names the teacher, and maybe the file that keeps its scores.
        out: the result's directory, beside which that file lies by default.
        open_bi_encoder: opens a teacher that is a bi-encoder, by name and length.

    Raises:
        UsageError: there is no such model, or its scores cannot be kept.
    """
    wanted = recipe.distillation
    if wanted.teacher is None:
        return None
    cache = wanted.cache or out.resolve().parent / _CACHE_FILE
    return Teacher(wanted, cache, recipe.learning_length, open_bi_encoder)


class Teacher:
    """Scores pairs, or remembers what it scored them: a cross-encoder by its logits, a bi-encoder by its cosine."""

    def __init__(
        self,
        wanted: Distillation,
        cache: Path,
        max_length: int,
        open_bi_encoder: Callable[[str, int], BiEncoder] = BiEncoder,
    ) -> None:
        """Opens teacher and cache.

        Raises:
            UsageError: there is no such model, or the file is not a cache of scores.
        """
        if wanted.teacher is None:
            raise ValueError("a teacher needs a name")
        if is_bi_encoder(wanted.teacher):
            self._score = partial(_cosine, open_bi_encoder(wanted.teacher, max_length))
        else:
            self._score = partial(predict, open_cross_encoder(wanted.teacher, max_length=max_length))
        self._model = f"{model_digest(wanted.teacher)}/{max_length}"
        self._scale, self._label_weight = wanted.scale, wanted.label_weight
        self._path = cache
        try:
            with closing(sqlite3.connect(cache)) as store, store:
                store.execute(
                    "CREATE TABLE IF NOT EXISTS scores (pair BLOB PRIMARY KEY, score REAL NOT NULL) WITHOUT ROWID"
                )
        except sqlite3.Error as error:
            raise UsageError(f"{cache} cannot keep a teacher's scores: {error}") from None

    def relabel(self, examples: Iterable[Example]) -> Iterator[Example]:
        """The examples with the teacher's scores, times `scale` and plus `label_weight` labels, as labels."""
        remaining = iter(examples)
        while group := list(islice(remaining, _EXAMPLES_AT_ONCE)):
            pairs = [(example.query, document) for example in group for document in example.documents]
            scores = iter((self._scale * self.scores(pairs)).tolist())
            for example in group:
                labels = tuple(next(scores) + self._label_weight * label for label in example.labels)
                yield Example(example.query, example.documents, labels)

    def scores(self, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
        """The teacher's scores of pairs, computed or remembered; float32, shape [len(pairs)]."""
        keys = [self._key(pair) for pair in pairs]
        known: dict[bytes, float] = {}
        with closing(sqlite3.connect(self._path)) as store, store:
            for key in keys:
                known.update(store.execute("SELECT pair, score FROM scores WHERE pair = ?", (key,)))
            missing = {key: pair for key, pair in zip(keys, pairs, strict=True) if key not in known}
            if missing:
                found = dict(zip(missing, map(float, self._score(list(missing.values()))), strict=True))
                store.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?)", found.items())
                known |= found
        return np.array([known[key] for key in keys], dtype=np.float32)

    def _key(self, pair: tuple[str, str]) -> bytes:
        query, document = (text.encode() for text in pair)
        return hashlib.sha256(f"{self._model}/{len(query)}/".encode() + query + document).digest()


def _cosine(model: BiEncoder, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
    queries, documents = (model.vectors(texts) for texts in zip(*pairs, strict=True))
    scores: NDArray[np.float32] = np.einsum("pd,pd->p", queries, documents)
    return scores
