"""Batches of a fixed number of tokens: lists of documents for queries drawn by weight, assembled on the device."""

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossrank.train.packed.attention import Sequences
from crossrank.train.packed.encoder import Tokens
from crossrank.train.packed.inputs import PackedInputs

# Of the tokens of a batch one sequence for so many: the others are short pairs that fill up, so that shapes are fixed.
_TOKENS_A_SEQUENCE = 56


@dataclass(frozen=True, slots=True)
class Plan:
    """The pairs of a batch by text numbers, shortest first, with fillers that belong to no list.

    Attributes:
        query, document: text numbers, int64 [pairs].
        query_length, document_length: tokens that are taken of each, int64 [pairs].
        longest: an upper bound of the pairs' tokens.
        places: for each list, where its pairs are, -1 for none; int64 [lists, list size].
    """

    query: NDArray[np.int64]
    document: NDArray[np.int64]
    query_length: NDArray[np.int64]
    document_length: NDArray[np.int64]
    longest: int
    places: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Batch:
    """A plan, and what is wanted of its lists.

    Attributes:
        plan: the pairs.
        targets: the logits wanted, up to a constant for each list; float32 [lists, list size].
        relevant: what is judged relevant; bool [lists, list size].
    """

    plan: Plan
    targets: NDArray[np.float32]
    relevant: NDArray[np.bool_]

    @property
    def pairs(self) -> int:
        """Pairs of lists, fillers left out."""
        return int((self.plan.places >= 0).sum())


def cut(query: NDArray[np.int64], document: NDArray[np.int64], longest: int) -> tuple[NDArray[np.int64], ...]:
    """Lengths of pairs cut as Hugging Face's `longest_first` cuts them, three special tokens included in `longest`."""
    room = longest - 3
    shorter, longer = np.minimum(query, document), np.maximum(query, document)
    longer = np.minimum(longer, np.where(shorter > room, shorter, np.maximum(shorter, room - shorter)))
    halved = shorter + longer > room
    shorter, longer = np.where(halved, room // 2, shorter), np.where(halved, room - room // 2, longer)
    swapped = query > document
    return np.where(swapped, longer, shorter), np.where(swapped, shorter, longer)


class Assembler:
    """Tokens of all texts on a device, and batches of pairs of them."""

    def __init__(self, inputs: PackedInputs, device: torch.device) -> None:
        self._device = device
        # torch indexes no uint16; ids above 32,767 are negative until they are widened.
        self._tokens = torch.from_numpy(inputs.tokens.view(np.int16)).to(device)
        self._starts = torch.from_numpy(inputs.starts).to(device)
        self._cls, self._sep = inputs.special["cls"], inputs.special["sep"]
        self._flash = device.type == "cuda"

    def pairs(self, plan: Plan) -> Tokens:
        """A batch of [CLS] query [SEP] document [SEP]."""
        lengths = plan.query_length + plan.document_length + 3
        return self._assembled(
            plan.query, plan.query_length, plan.document, plan.document_length, lengths, plan.longest
        )

    def texts(self, numbers: NDArray[np.int64], lengths: NDArray[np.int64], longest: int) -> Tokens:
        """A batch of [CLS] text [SEP]."""
        return self._assembled(numbers, lengths, numbers, np.zeros_like(lengths), lengths + 2, longest)

    def _assembled(
        self,
        query: NDArray[np.int64],
        query_length: NDArray[np.int64],
        document: NDArray[np.int64],
        document_length: NDArray[np.int64],
        lengths: NDArray[np.int64],
        longest: int,
    ) -> Tokens:
        total = int(lengths.sum())
        table = np.stack((query, query_length, document, document_length, lengths))
        query_at, query_size, document_at, document_size, sizes = moved(table, self._device)
        offsets = torch.zeros(len(sizes) + 1, dtype=torch.int64, device=self._device)
        torch.cumsum(sizes, 0, out=offsets[1:])
        each = torch.arange(len(sizes) + 1, device=self._device)
        sequence = torch.repeat_interleave(each[:-1], sizes, output_size=total)
        positions = torch.arange(total, device=self._device) - offsets[sequence]
        in_document = positions - query_size[sequence] - 2
        types = (in_document >= 0).long()
        taken = torch.where(
            types.bool(),
            self._starts[document_at][sequence] + in_document,
            self._starts[query_at][sequence] + positions - 1,
        )
        ids = self._tokens[taken.clamp(0, len(self._tokens) - 1)].long() & 0xFFFF
        is_sep = (in_document == -1) | (in_document == document_size[sequence])
        ids = torch.where(is_sep, self._sep, ids)
        ids = torch.where(positions == 0, self._cls, ids)
        groups = () if self._flash else _groups(lengths)
        sequences = Sequences(offsets[:-1], offsets.int(), each.int(), longest, groups)
        return Tokens(ids, positions, types, sequence, sequences)


def moved(array: NDArray[Any], device: torch.device) -> Tensor:
    """The array on a device; a GPU keeps working meanwhile."""
    tensor = torch.from_numpy(np.ascontiguousarray(array))
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor


def _groups(lengths: NDArray[np.int64]) -> tuple[tuple[int, int], ...]:
    edges = np.flatnonzero(np.diff(lengths)) + 1
    counts = np.diff(np.concatenate(([0], edges, [len(lengths)])))
    return tuple(zip(counts.tolist(), lengths[np.concatenate(([0], edges))].tolist(), strict=True))


def plan_pairs(
    query: NDArray[np.int64],
    document: NDArray[np.int64],
    lengths: NDArray[np.int64],
    lists: NDArray[np.int64],
    longest: int,
    budget: int,
) -> tuple[Plan, int]:
    """Plans as many whole lists, from the first on, as fit the budget of tokens.

    Args:
        query: text numbers of the pairs' queries, list after list.
        document: text numbers of their documents.
        lengths: tokens of every text.
        lists: the list of each pair, from 0 on, rising.
        longest: tokens of a pair at most.
        budget: tokens of the batch, which is filled to the last one.

    Returns:
        The plan, and how many lists are in it.
    """
    query_length, document_length = cut(lengths[query], lengths[document], longest)
    size = query_length + document_length + 3
    sequences = budget // _TOKENS_A_SEQUENCE
    ends = np.flatnonzero(np.diff(lists, append=-1)) + 1
    fits = (np.cumsum(size)[ends - 1] + 3 * (sequences - ends) <= budget) & (ends <= sequences)
    count = int(np.argmin(fits)) if not fits.all() else len(fits)
    if count == 0:
        raise ValueError(f"a budget of {budget} tokens is too small for one list")
    kept = ends[count - 1]
    fill = _fillers(budget - int(size[:kept].sum()), sequences - kept, longest)
    query_length = np.concatenate((query_length[:kept], np.zeros(len(fill), np.int64)))
    document_length = np.concatenate((document_length[:kept], fill - 3))
    none = np.zeros(len(fill), np.int64)
    order = np.argsort(query_length + document_length, kind="stable")
    where = np.empty_like(order)
    where[order] = np.arange(len(order))
    width = int(np.bincount(lists[:kept]).max())
    starts = np.concatenate(([0], ends[: count - 1]))
    places = np.full((count, width), -1, np.int64)
    places[lists[:kept], np.arange(kept) - starts[lists[:kept]]] = where[:kept]
    plan = Plan(
        np.concatenate((query[:kept], none))[order],
        np.concatenate((document[:kept], none))[order],
        query_length[order],
        document_length[order],
        longest,
        places,
    )
    return plan, count


def _fillers(tokens: int, sequences: int, longest: int) -> NDArray[np.int64]:
    """Lengths of so many sequences of 3 tokens at least that have so many tokens; more where these do not hold them."""
    sequences = max(sequences, -(-tokens // longest))
    if sequences == 0:
        return np.zeros(0, np.int64)
    lengths = np.full(sequences, 3, np.int64)
    rest = tokens - 3 * sequences
    full, part = divmod(rest, longest - 3)
    lengths[:full] += longest - 3
    if part:
        lengths[full] += part
    return lengths


def ahead(batches: Iterator[Batch], depth: int = 8) -> Iterator[Batch]:
    """The same, made by a thread that keeps `depth` of them ready."""
    ready: queue.Queue[Batch | BaseException | None] = queue.Queue(depth)
    stopped = threading.Event()

    def put(item: Batch | BaseException | None) -> None:
        while not stopped.is_set():
            try:
                ready.put(item, timeout=0.1)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for item in batches:
                put(item)
                if stopped.is_set():
                    return
            put(None)
        except BaseException as error:  # raised again by whoever waits for a batch
            put(error)

    threading.Thread(target=work, daemon=True).start()
    try:
        while (item := ready.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stopped.set()
