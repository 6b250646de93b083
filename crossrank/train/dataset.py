"""Examples to the dataset that a loss learns from, on disk and memory-mapped."""

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, TypeAlias

import pyarrow
from datasets import Dataset, concatenate_datasets

from crossrank.data.examples import Example
from crossrank.data.files import write_json
from crossrank.errors import UsageError
from crossrank.train.recipe import PAIR_LOSSES, TUPLE_LOSSES, Loss
from crossrank.train.repeats import SeenPairs

# What a loss takes: single pairs; a relevant document with so many others; or all documents of a query.
Shape: TypeAlias = Literal["pairs", "tuples", "lists"]

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
        repeated: for each source, the places of its pairs, in the order of all sources' pairs, that were there before
            and are left out, whatever their label.
    """

    dataset: Dataset
    pairs: int
    useless: int
    repeated: tuple[tuple[int, ...], ...]


def shape_of(loss: Loss) -> Shape:
    """What a loss takes."""
    return "pairs" if loss.name in PAIR_LOSSES else "tuples" if loss.name in TUPLE_LOSSES else "lists"


def write_training_set(
    parts: Iterable[tuple[float, Iterable[Example]]], loss: Loss, directory: Path, *, scored: bool = False
) -> None:
    """Writes examples as Arrow files for `open_training_set`; memory keeps eight bytes of each pair.

    Args:
        parts: the weight of each source, and its examples.
        loss: what will learn from them.
        directory: where the files go; it must outlive the dataset.
        scored: whether the labels are a teacher's scores, which tuples then carry.

    Raises:
        UsageError: nothing is left to learn from.
    """
    directory.mkdir(parents=True, exist_ok=True)
    writer = _Writer(loss, scored)
    sources: list[dict[str, Any]] = []
    for number, (weight, examples) in enumerate(parts):
        name = f"source-{number}.arrow"
        first = writer.rows
        writer.write(examples, directory / name)
        sources.append({"file": name, "first": first, "rows": writer.rows - first, "weight": weight})
    if not writer.rows:
        why = ""
        if writer.useless:
            why = ": no query has documents of different labels"
            why += "; set loss.num_negatives = 0 to compare within the batch alone" if loss.uses_batch else ""
        raise UsageError(f"data.train: no example is left to learn from{why}")
    if writer.shape == "pairs" and writer.lowest == writer.highest:
        raise UsageError(f"data.train: all {writer.pairs} rows have the same label; a ranker learns from differences")
    repeated = writer.seen.repeated()
    for source in sources:
        end = source["first"] + source["rows"]
        source["repeated"] = [place for place in repeated if source["first"] <= place < end]
    write_json(directory / _SET_FILE, {"sources": sources, "pairs": writer.pairs, "useless": writer.useless})


def is_training_set(directory: Path) -> bool:
    """Whether a training set was written there to its end."""
    return (directory / _SET_FILE).is_file()


def open_training_set(directory: Path, seed: int) -> TrainingSet:
    """Opens what `write_training_set` wrote, memory-mapped, its sources mixed by weight.

    Args:
        directory: where it lies.
        seed: of what is drawn for a weight that is no whole number.
    """
    told = json.loads((directory / _SET_FILE).read_text(encoding="utf-8"))
    draw = random.Random(seed)
    mixed: list[Dataset] = []
    for source in told["sources"]:
        left_out = {place - source["first"] for place in source["repeated"]}
        part = Dataset.from_file(str(directory / source["file"])) if source["rows"] else None
        if part and left_out:
            part = part.select([row for row in range(len(part)) if row not in left_out])
        if not part:
            continue
        whole, rest = divmod(max(1, round(source["weight"] * len(part))), len(part))
        mixed.extend([part] * whole)
        if rest:
            mixed.append(part.select(sorted(draw.sample(range(len(part)), rest))))
    dataset = concatenate_datasets(mixed)
    pairs_of_a_row = told["pairs"] / sum(source["rows"] for source in told["sources"])
    repeated = tuple(tuple(source["repeated"]) for source in told["sources"])
    return TrainingSet(dataset, round(len(dataset) * pairs_of_a_row), told["useless"], repeated)


def pairs_of(row: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The (query, document) of a row of any shape."""
    texts = [row[column] for column in row if column not in ("query", "label", "labels")]
    documents = texts[0] if isinstance(texts[0], list) else texts
    return [(row["query"], document) for document in documents]


class _Writer:
    def __init__(self, loss: Loss, scored: bool) -> None:
        self.shape = shape_of(loss)
        self.rows = self.pairs = self.useless = 0
        self.lowest, self.highest = float("inf"), float("-inf")
        self.seen = SeenPairs()
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
                self.seen.add(example.query, document)
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
