"""Batches of like length: a random batch is padded to its longest pair, and most of the work is then padding."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow
import pyarrow.compute
import torch
from numpy.typing import NDArray
from sentence_transformers.base.sampler import DefaultBatchSampler

# Batches are sorted within windows of so many, so that the order stays random from epoch to epoch.
_WINDOW = 50
_ROWS_AT_ONCE = 10_000


class LengthGroupedBatchSampler(DefaultBatchSampler):
    """Shuffles, sorts by length within windows of 50 batches, and shuffles the batches.

    The length of a row is that of all its texts, in characters. See `LengthGroupedSampler` in transformers for the
    method; that one does not reach the batch samplers of sentence-transformers.
    """

    def __init__(self, dataset: Any, batch_size: int, drop_last: bool, **others: Any) -> None:
        super().__init__(dataset, batch_size=batch_size, drop_last=drop_last, **others)
        self._lengths = text_lengths(dataset)
        # Where several processes share the batches, accelerate tells the epoch to nothing but this.
        self.sampler = self

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        shuffled = torch.randperm(len(self._lengths), generator=generator).numpy()
        window = _WINDOW * self.batch_size
        grouped = np.concatenate(
            [
                part[np.argsort(-self._lengths[part], kind="stable")]
                for part in (shuffled[start : start + window] for start in range(0, len(shuffled), window))
            ]
        )
        starts = range(0, len(grouped), self.batch_size)
        if self.drop_last:
            starts = range(0, len(grouped) - self.batch_size + 1, self.batch_size)
        for number in torch.randperm(len(starts), generator=generator).tolist():
            yield grouped[starts[number] : starts[number] + self.batch_size].tolist()

    def __len__(self) -> int:
        size: int = self.batch_size
        return (len(self._lengths) + (0 if self.drop_last else size - 1)) // size


def text_lengths(dataset: Any) -> NDArray[np.int64]:
    """The characters of all texts of each row of a dataset, int64, shape [rows]; the dataset is streamed."""
    tables = dataset.with_format("arrow")
    parts = [_lengths(tables[start : start + _ROWS_AT_ONCE]) for start in range(0, len(dataset), _ROWS_AT_ONCE)]
    return np.concatenate(parts) if parts else np.zeros(0, dtype=np.int64)


def _lengths(table: Any) -> NDArray[np.int64]:
    total = np.zeros(len(table), dtype=np.int64)
    for column in table.columns:
        texts = pyarrow.compute.list_flatten(column) if pyarrow.types.is_list(column.type) else column
        if pyarrow.types.is_string(texts.type):
            rows = pyarrow.compute.list_parent_indices(column) if texts is not column else np.arange(len(table))
            np.add.at(total, np.asarray(rows), np.asarray(pyarrow.compute.utf8_length(texts)))
    return total
