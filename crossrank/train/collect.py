"""Collect, the first step of a training: reads every source once, mines its negatives, and stores the examples.

Each source becomes an Arrow file of examples with the file and line that they come from. What follows reads those.
"""

import hashlib
import json
import logging
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
from numpy.typing import NDArray

from crossrank.data.examples import Example
from crossrank.data.formats.files import write_json
from crossrank.errors import InvalidData, UsageError
from crossrank.models.bi_encoder import BiEncoder
from crossrank.progress import Progress
from crossrank.train.recipe import PAIR_LOSSES, Recipe
from crossrank.train.sources import read_source

LOG = logging.getLogger("crossrank.train")

_QUOTED = 3
_ROWS_AT_ONCE = 1024
_SCHEMA = pyarrow.schema(
    {
        "query": pyarrow.string(),
        "documents": pyarrow.list_(pyarrow.string()),
        "labels": pyarrow.list_(pyarrow.float64()),
        "where": pyarrow.string(),
        # 64 bits of each pair's BLAKE2 digest, by which repeated pairs are found.
        "digests": pyarrow.list_(pyarrow.uint64()),
    }
)


@dataclass(frozen=True, slots=True)
class StoredSource:
    """What is stored of a source.

    Attributes:
        file: its examples, an Arrow stream.
        weight: how often they are seen in an epoch.
        examples: how many there are.
        pairs: their documents.
        bad_rows: invalid rows, which were left out.
        quotes: the first few of these, each in a sentence.
    """

    file: str
    weight: float
    examples: int
    pairs: int
    bad_rows: int
    quotes: list[str]


@dataclass(frozen=True)
class Collected:
    """The examples of all sources, on disk; memory holds a bit of each pair.

    Attributes:
        directory: where they lie.
        sources: in the recipe's order.
    """

    directory: Path
    sources: tuple[StoredSource, ...]

    @property
    def total(self) -> int:
        """Examples of all sources."""
        return sum(source.examples for source in self.sources)

    @property
    def bad_rows(self) -> int:
        """Invalid rows of all sources."""
        return sum(source.bad_rows for source in self.sources)

    @property
    def quotes(self) -> list[str]:
        """The first few invalid rows, each in a sentence."""
        return [quote for source in self.sources for quote in source.quotes][:_QUOTED]

    @cached_property
    def repeated(self) -> NDArray[np.bool_]:
        """Whether each pair repeats an earlier one, whatever its label; bool, shape [pairs of all sources].

        Empty for losses that take more than a pair: their examples hold each document of a query once.
        """
        digests = self._digests()
        repeated = np.ones(len(digests), dtype=np.bool_)
        repeated[np.unique(digests, return_index=True)[1]] = False
        return repeated

    def queries(self) -> Iterator[str]:
        """The query of each example, from that column alone."""
        for source in self.sources:
            for batch in self._batches(source):
                yield from batch.column("query").to_pylist()

    def examples(self, source: StoredSource) -> Iterator[Example]:
        """The examples of a source, without pairs that repeat an earlier one of any source."""
        place = sum(earlier.pairs for earlier in self.sources[: self.sources.index(source)])
        for example in self._stored(source):
            # Empty where repeats are not looked for.
            repeated = self.repeated[place : place + len(example.documents)]
            place += len(example.documents)
            if repeated.any():
                kept = np.flatnonzero(~repeated)
                documents = tuple(example.documents[number] for number in kept)
                labels = tuple(example.labels[number] for number in kept)
                example = Example(example.query, documents, labels, example.where)
            if example.documents:
                yield example

    def all_examples(self) -> Iterator[Example]:
        """The examples of all sources, one after the other."""
        return chain.from_iterable(map(self.examples, self.sources))

    def repeated_row(self) -> str | None:
        """Quotes the first row that repeats another one.

        Only in rows is that somebody's slip: tuples repeat their relevant document, and evaluation sets may hold a
        text under two ids.
        """
        slips: list[tuple[int, Example]] = []
        place = 0
        for source in self.sources:
            for example in self._stored(source):
                if example.is_row and self.repeated[place]:
                    slips.append((place, example))
                place += len(example.documents)
        if not slips:
            return None
        digests = self._digests()
        place, example = slips[0]
        first, label = self._pair_at(int(np.flatnonzero(digests == digests[place])[0]))
        advice = "drop one of the two" if label == example.labels[0] else "their labels contradict; keep the right one"
        rest = f" ({len(slips)} rows repeat earlier ones in all)" if len(slips) > 1 else ""
        return f"{example.where}: the same query and document as {first.where}; {advice}{rest}"

    def _pair_at(self, place: int) -> tuple[Example, float]:
        for source in self.sources:
            for example in self._stored(source):
                if place < len(example.documents):
                    return example, example.labels[place]
                place -= len(example.documents)
        raise IndexError(place)

    def _digests(self) -> NDArray[np.uint64]:
        parts = [
            batch.column("digests").values.to_numpy() for source in self.sources for batch in self._batches(source)
        ]
        return np.concatenate([np.zeros(0, dtype=np.uint64), *parts])

    def _stored(self, source: StoredSource) -> Iterator[Example]:
        for batch in self._batches(source):
            for row in batch.select(["query", "documents", "labels", "where"]).to_pylist():
                yield Example(row["query"], tuple(row["documents"]), tuple(row["labels"]), row["where"])

    def _batches(self, source: StoredSource) -> Iterator[Any]:
        with pyarrow.memory_map(str(self.directory / source.file)) as file, pyarrow.ipc.open_stream(file) as stream:
            yield from stream


def collect(recipe: Recipe, directory: Path, open_bi_encoder: Callable[[str, int], BiEncoder] = BiEncoder) -> Collected:
    """Reads and mines every source that an earlier start has not stored, and opens what is stored.

    Args:
        recipe: names sources, negatives and loss.
        directory: where the examples go.
        open_bi_encoder: opens a bi-encoder for mining, by name and length; one that caches embeds each text once.

    Raises:
        UsageError: there is no such data, or they hold invalid or repeated rows and the recipe refuses those.
        InvalidData: the data as a whole are invalid.
    """
    directory.mkdir(parents=True, exist_ok=True)
    stored = [_stored_source(number, recipe, directory, open_bi_encoder) for number in range(len(recipe.data.train))]
    collected = Collected(directory, tuple(stored))
    if bad := collected.bad_rows:
        if recipe.data.bad_rows == "refuse":
            rest = f" ({bad} invalid rows in all)" if bad > 1 else ""
            raise UsageError(f"{collected.quotes[0]}{rest}; data.bad_rows=skip drops them")
        LOG.warning("%d invalid rows were skipped", bad)
        for quote in collected.quotes:
            LOG.warning("%s", quote)
    if repeats := int(collected.repeated.sum()):
        if recipe.data.bad_rows == "refuse" and (slip := collected.repeated_row()):
            raise UsageError(f"{slip}; data.bad_rows=skip keeps the first ones")
        LOG.warning("%d rows repeat the query and document of an earlier one and were left out", repeats)
    return collected


def _stored_source(
    number: int, recipe: Recipe, directory: Path, open_bi_encoder: Callable[[str, int], BiEncoder]
) -> StoredSource:
    source = recipe.data.train[number]
    marker = directory / f"source-{number}.json"
    if marker.is_file():
        return StoredSource(**json.loads(marker.read_text(encoding="utf-8")))
    bad: list[str] = []
    bad_rows = examples = pairs = 0

    def noted(error: InvalidData) -> None:
        nonlocal bad_rows
        bad_rows += 1
        if len(bad) < _QUOTED:
            bad.append(str(error))

    file = f"source-{number}.arrow"
    finds_repeats = recipe.loss.name in PAIR_LOSSES
    with (
        Progress(LOG, f"read {source.dataset or source.path}") as progress,
        pyarrow.OSFile(str(directory / file), "wb") as raw,
        pyarrow.ipc.new_stream(raw, _SCHEMA) as stream,
    ):
        found = read_source(source, recipe, noted, open_bi_encoder)
        while some := list(islice(found, _ROWS_AT_ONCE)):
            rows = [_row(example, finds_repeats) for example in some]
            stream.write_batch(pyarrow.RecordBatch.from_pylist(rows, schema=_SCHEMA))
            examples += len(some)
            pairs += sum(len(example.documents) for example in some)
            progress.advance(len(some))
    stored = StoredSource(file, source.weight, examples, pairs, bad_rows, bad)
    write_json(marker, asdict(stored))
    return stored


def _row(example: Example, finds_repeats: bool) -> dict[str, Any]:
    return {
        "query": example.query,
        "documents": example.documents,
        "labels": example.labels,
        "where": example.where,
        "digests": [_digest(example.query, document) for document in example.documents] if finds_repeats else [],
    }


def _digest(query: str, document: str) -> int:
    text = query.encode()
    return int.from_bytes(hashlib.blake2b(len(text).to_bytes(8) + text + document.encode(), digest_size=8).digest())
