"""Batches of like length: a random batch is padded to its longest pair, and most of the work is then padding."""

from collections.abc import Iterator
from typing import Any

import torch
from sentence_transformers.base.sampler import DefaultBatchSampler

# Batches are sorted within windows of so many, so that the order stays random from epoch to epoch.
_WINDOW = 50


class LengthGroupedBatchSampler(DefaultBatchSampler):
    """Shuffles, sorts by length within windows of 50 batches, and shuffles the batches.

    The columns `query` and `document` give the length, in characters. See `LengthGroupedSampler` in transformers for
    the method; that one does not reach the batch samplers of sentence-transformers.
    """

    def __init__(self, dataset: Any, batch_size: int, drop_last: bool, **others: Any) -> None:
        super().__init__(dataset, batch_size=batch_size, drop_last=drop_last, **others)
        self._lengths = [
            len(query) + len(document) for query, document in zip(dataset["query"], dataset["document"], strict=True)
        ]

    def __iter__(self) -> Iterator[list[int]]:
        generator = torch.Generator().manual_seed(self.seed + self.epoch)
        shuffled = torch.randperm(len(self._lengths), generator=generator).tolist()
        window = _WINDOW * self.batch_size
        grouped: list[int] = []
        for start in range(0, len(shuffled), window):
            grouped.extend(sorted(shuffled[start : start + window], key=self._lengths.__getitem__, reverse=True))
        batches = [grouped[start : start + self.batch_size] for start in range(0, len(grouped), self.batch_size)]
        if self.drop_last and batches and len(batches[-1]) < self.batch_size:
            batches.pop()
        for number in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[number]

    def __len__(self) -> int:
        size: int = self.batch_size
        return (len(self._lengths) + (0 if self.drop_last else size - 1)) // size
