"""Materialise, the third step of a training: the stored examples, less what is held out, in the shape of the loss.

The result is Arrow files that training maps into memory.
"""

import json
import logging
import random
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow
from datasets import Dataset, concatenate_datasets

from crossrank.data.examples import Example
from crossrank.data.formats.files import write_json
from crossrank.errors import UsageError
from crossrank.progress import Progress
from crossrank.train.collect import Collected, StoredSource
from crossrank.train.recipe import PAIR_LOSSES, TUPLE_LOSSES, Loss

# What a loss takes: single pairs; a relevant document with so many others; or all documents of a query.
Shape: TypeAlias = Literal["pairs", "tuples", "lists"]

# A teacher's: examples with its scores in the place of labels.
Relabel: TypeAlias = Callable[[Iterable[Example]], Iterable[Example]]

LOG = logging.getLogger("crossrank.train")

_SET_FILE = "set.json"
_ROWS_AT_ONCE = 1024


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """What is learnt from.

    Attributes:
        dataset: memory-mapped; columns `query`, `document`, `label` of pairs; `query`, `positive`, `negative_1` and
            so on of tuples, with `label`, their scores, where a teacher gave them; `query`, `documents`, `labels` of
            lists.
        pairs: (query, document) in it, to the nearest where a source is taken in part.
        useless: lists without a difference, and relevant documents without a negative, that were left out.
    """

    dataset: Dataset
    pairs: int
    useless: int


def shape_of(loss: Loss) -> Shape:
    """What a loss takes."""
    return "pairs" if loss.name in PAIR_LOSSES else "tuples" if loss.name in TUPLE_LOSSES else "lists"


def materialise(
    collected: Collected,
    loss: Loss,
    directory: Path,
    *,
    withheld: Collection[str] = (),
    relabel: Relabel | None = None,
) -> None:
    """Writes stored examples for `open_training_set`, unless that was done to its end before.

    Args:
        collected: the examples.
        loss: what will learn from them.
        directory: where the files go; it must outlive the dataset.
        withheld: queries that must not be learnt.
        relabel: gives examples their teacher's scores for labels, which tuples then carry.

    Raises:
        UsageError: nothing is left to learn from.
    """
    if (directory / _SET_FILE).is_file():
        return
    directory.mkdir(parents=True, exist_ok=True)
    writer = _Writer(loss, scored=relabel is not None)
    sources: list[dict[str, Any]] = []
    with Progress(LOG, "write the training set", total=collected.total) as progress:

        def kept(source: StoredSource) -> Iterator[Example]:
            for example in collected.examples(source):
                progress.advance()
                if example.query not in withheld:
                    yield example

        for source in collected.sources:
            first = writer.rows
            examples = kept(source)
            writer.write(relabel(examples) if relabel else examples, directory / source.file)
            sources.append({"file": source.file, "rows": writer.rows - first, "weight": source.weight})
    if not writer.rows:
        why = ""
        if writer.useless:
            why = ": no query has documents of different labels"
            why += "; set loss.num_negatives = 0 to compare within the batch alone" if loss.uses_batch else ""
        raise UsageError(f"data.train: no example is left to learn from{why}")
    if writer.shape == "pairs" and writer.lowest == writer.highest:
        raise UsageError(f"data.train: all {writer.pairs} rows have the same label; a ranker learns from differences")
    if writer.useless:
        LOG.warning(
            "%d lists without a difference, or relevant documents without a negative, were left out", writer.useless
        )
    write_json(directory / _SET_FILE, {"sources": sources, "pairs": writer.pairs, "useless": writer.useless})


def open_training_set(directory: Path, seed: int) -> TrainingSet:
    """Opens what `materialise` wrote, memory-mapped, its sources mixed by weight.

    Args:
        directory: where it lies.
        seed: of what is drawn for a weight that is not a whole number.
    """
    told = json.loads((directory / _SET_FILE).read_text(encoding="utf-8"))
    draw = random.Random(seed)
    mixed: list[Dataset] = []
    for source in told["sources"]:
        if not source["rows"]:
            continue
        part = Dataset.from_file(str(directory / source["file"]))
        whole, rest = divmod(max(1, round(source["weight"] * len(part))), len(part))
        mixed.extend([part] * whole)
        if rest:
            mixed.append(part.select(sorted(draw.sample(range(len(part)), rest))))
    dataset = concatenate_datasets(mixed)
    pairs_of_a_row = told["pairs"] / sum(source["rows"] for source in told["sources"])
    return TrainingSet(dataset, round(len(dataset) * pairs_of_a_row), told["useless"])


class _Writer:
    def __init__(self, loss: Loss, scored: bool) -> None:
        self.shape = shape_of(loss)
        self.rows = self.pairs = self.useless = 0
        self.lowest, self.highest = float("inf"), float("-inf")
        self._negatives = loss.num_negatives
        self._scored = scored
        text, label = pyarrow.string(), pyarrow.float32()
        columns: dict[str, Any] = {"query": text}
        if self.shape == "pairs":
            columns |= {"document": text, "label": label}
        elif self.shape == "lists":
            columns |= {"documents": pyarrow.list_(text), "labels": pyarrow.list_(label)}
        else:
            columns |= {"positive": text, **{f"negative_{number + 1}": text for number in range(self._negatives)}}
            columns |= {"label": pyarrow.list_(label)} if scored else {}
        self._schema = pyarrow.schema(columns)

    def write(self, examples: Iterable[Example], path: Path) -> None:
        rows = chain.from_iterable(map(self._rows, examples))
        with pyarrow.OSFile(str(path), "wb") as file, pyarrow.ipc.new_stream(file, self._schema) as stream:
            while batch := list(islice(rows, _ROWS_AT_ONCE)):
                stream.write_batch(pyarrow.RecordBatch.from_pylist(batch, schema=self._schema))
                self.rows += len(batch)

    def _rows(self, example: Example) -> Iterator[dict[str, Any]]:
        if self.shape == "pairs":
            for document, label in zip(example.documents, example.labels, strict=True):
                self.lowest, self.highest = min(self.lowest, label), max(self.highest, label)
                self.pairs += 1
                yield {"query": example.query, "document": document, "label": label}
        elif self.shape == "tuples":
            yield from self._tuples(example)
        elif len(set(example.labels)) < 2:
            self.useless += 1
        else:
            self.pairs += len(example.documents)
            yield {"query": example.query, "documents": example.documents, "labels": example.labels}

    def _tuples(self, example: Example) -> Iterator[dict[str, Any]]:
        """Each document that others fall behind, with `num_negatives` of those, which take turns."""
        places = list(range(len(example.documents)))
        random.Random(example.query).shuffle(places)
        turn = 0
        for place in sorted(places, key=lambda place: -example.labels[place]):
            others = [other for other in places if example.labels[other] < example.labels[place]]
            if not (example.labels[place] > 0 or self._scored) or (not others and self._negatives):
                self.useless += example.labels[place] > 0
                continue
            chosen = [others[number % len(others)] for number in range(turn, turn + self._negatives)]
            turn += self._negatives
            self.pairs += 1 + len(chosen)
            texts = {f"negative_{number + 1}": example.documents[other] for number, other in enumerate(chosen)}
            labels = {"label": [example.labels[other] for other in (place, *chosen)]} if self._scored else {}
            yield {"query": example.query, "positive": example.documents[place], **texts, **labels}
