"""Pools: for each query the documents that it may be trained with, and what the teachers make of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from torch import Tensor

from crossrank.train.packed.batches import Batch, plan_pairs
from crossrank.train.packed.inputs import NO_DOCUMENT, Ints, PackedInputs, PackedSet

# Documents of a query that come from each teacher's list, at random, and from its judgements.
_NEAREST, _RANDOM, _JUDGED = 24, 4, 24
# An unjudged document as near to a relevant one as this is a copy of it.
_COPY = 0.985
_QUERIES_AT_ONCE = 512
# More lists are drawn than fit a batch of pairs of so many tokens on average.
_SHORT_PAIR = 40
# A fit of teachers' weights looks at so many queries of a source; cosines are never multiplied by more than this.
_FITTED_ON, _LARGEST_WEIGHT = 4096, 60.0


@dataclass(frozen=True, slots=True)
class Pools:
    """Queries and their documents by text number; every row has as many places, -1 for none.

    Attributes:
        query: int32 [queries].
        documents: int32 [queries, places].
        relevant: whether a document is judged relevant, bool [queries, places].
        targets: what the model's logits should be, up to a constant for each query; float32 [queries, places].
        weights: how often a query is drawn, float32 [queries].
    """

    query: Ints
    documents: Ints
    relevant: NDArray[np.bool_]
    targets: NDArray[np.float32]
    weights: NDArray[np.float32]

    def write(self, path: Path) -> None:
        """As safetensors, for a run that is resumed."""
        save_file({field.name: getattr(self, field.name) for field in fields(self)}, path)

    @classmethod
    def read(cls, path: Path) -> "Pools":
        """What `write` wrote."""
        return cls(**load_file(path))


def build_pools(
    inputs: PackedInputs,
    vectors: list[Tensor],
    *,
    label_weight: float,
    seed: int,
    log: Callable[[str], None],
) -> Pools:
    """Finds each query's documents by BM25, by every teacher and at random, and fuses the teachers' scores.

    The weights of the fusion are a source's own: those under which its judgements are most likely. A teacher that
    knows nothing of a kind of text has no say in it, and where judgements are noise the targets stay soft.

    Args:
        inputs: sources to learn from.
        vectors: of all texts by each teacher, normalised, [texts, hidden].
        label_weight: what a judgement adds to a target where the source has no weight of its own.
        seed: of the random documents.
        log: is told each source's weights.
    """
    parts = []
    for number, source in enumerate(inputs.train):
        generator = torch.Generator(vectors[0].device).manual_seed(seed + number)
        parts.append(_of_source(source, vectors, label_weight, generator, log))
    width = max(part.documents.shape[1] for part in parts)
    return Pools(
        np.concatenate([part.query for part in parts]),
        np.concatenate([_widened(part.documents, width, -1) for part in parts]),
        np.concatenate([_widened(part.relevant, width, False) for part in parts]),
        np.concatenate([_widened(part.targets, width, -np.inf) for part in parts]),
        np.concatenate([part.weights for part in parts]),
    )


def _of_source(
    source: PackedSet,
    vectors: list[Tensor],
    label_weight: float,
    generator: torch.Generator,
    log: Callable[[str], None],
) -> Pools:
    device = vectors[0].device
    queries = torch.from_numpy(source.queries.astype(np.int64)).to(device)
    documents = torch.from_numpy(source.documents.astype(np.int64)).to(device)
    judged = torch.from_numpy(source.judged.astype(np.int64)).to(device)
    grades = torch.from_numpy(source.grades).to(device)
    keys, order = torch.sort(judged[:, 0] * len(documents) + judged[:, 1])
    labels = (grades / grades.max())[order]
    judged_lists = _lists(judged, len(queries))
    first_stage = torch.from_numpy(source.first_stage.astype(np.int64)).to(device)
    first_stage[first_stage == NO_DOCUMENT] = -1
    of_queries, of_documents = ([part[texts] for part in vectors] for texts in (queries, documents))
    found = []
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        rows = torch.arange(start, min(start + _QUERIES_AT_ONCE, len(queries)), device=device)
        lists = [judged_lists[rows], first_stage[rows]]
        lists += [
            (mine[rows] @ theirs.T).topk(min(_NEAREST, len(documents)), dim=1).indices
            for mine, theirs in zip(of_queries, of_documents, strict=True)
        ]
        lists.append(torch.randint(len(documents), (len(rows), _RANDOM), device=device, generator=generator))
        places = torch.cat(lists, 1).sort(1, descending=True).values
        places[:, 1:][places[:, 1:] == places[:, :-1]] = -1
        wanted = rows[:, None] * len(documents) + places
        at = torch.searchsorted(keys, wanted).clamp(max=len(keys) - 1)
        known = (keys[at] == wanted) & (places >= 0)
        label = torch.where(known, labels[at], 0.0)
        present = places.clamp(min=0)
        cosines = [
            torch.einsum("qh,qph->qp", mine[rows], theirs[present]).float()
            for mine, theirs in zip(of_queries, of_documents, strict=True)
        ]
        of_pool = of_documents[-1][present]
        best = of_pool[torch.arange(len(rows), device=device), label.argmax(1)]
        copies = (torch.einsum("qh,qph->qp", best, of_pool) > _COPY) & ~known
        places[copies] = -1
        ranks = (first_stage[rows][:, None, :] == places[..., None]) & (places[..., None] >= 0)
        lexical = (ranks / torch.arange(1, ranks.shape[2] + 1, device=device)).sum(2)
        found.append((places, label, torch.stack((*cosines, lexical), 2)))
    places, label, features = (torch.cat(column) for column in zip(*found, strict=True))
    weights = _fit(features, label, places >= 0)
    fused = features @ weights
    shares = ", ".join(f"{weight:.1f}" for weight in weights.tolist())
    found_by = _mrr(features, label, places)
    log(f"{source.name}: {len(queries)} queries; teachers and BM25: weights {shares}, MRR {found_by}")
    wanted_weight = source.facts["label_weight"]
    targets = fused + (label_weight if wanted_weight is None else wanted_weight) * label
    kept = places.ge(0)
    texts = torch.where(kept, documents[places.clamp(min=0)], -1)
    return Pools(
        source.queries,
        texts.int().cpu().numpy(),
        (label > 0).cpu().numpy(),
        torch.where(kept, targets, -torch.inf).cpu().numpy(),
        np.full(len(queries), source.facts["weight"], np.float32),
    )


def _lists(judged: Tensor, queries: int) -> Tensor:
    """Judged documents of each query, -1 for none; int64 [queries, at most `_JUDGED`]."""
    order = torch.argsort(judged[:, 0], stable=True)
    rows = judged[order, 0]
    columns = torch.arange(len(rows), device=rows.device) - torch.searchsorted(rows, rows)
    kept = columns < _JUDGED
    width = int(columns[kept].max()) + 1
    lists = torch.full((queries, width), -1, device=rows.device)
    lists[rows[kept], columns[kept]] = judged[order, 1][kept]
    return lists


def _fit(features: Tensor, label: Tensor, present: Tensor) -> Tensor:
    """Weights under which a query's relevant documents are most likely, [features]; all are at least 0."""
    some = torch.arange(len(label), device=label.device)
    if len(some) > _FITTED_ON:
        some = some[:: len(some) // _FITTED_ON]
    features, relevant, present = features[some], label[some] > 0, present[some]
    logarithms = torch.tensor([10.0] * (features.shape[2] - 1) + [0.3], device=label.device).log().requires_grad_()
    optimizer = torch.optim.Adam([logarithms], lr=0.05)
    for _ in range(200):
        optimizer.zero_grad()
        scores = (features @ logarithms.exp().clamp(max=_LARGEST_WEIGHT)).masked_fill(~present, -torch.inf)
        right = torch.logsumexp(scores.masked_fill(~relevant, -1e4), 1)
        loss = (torch.logsumexp(scores, 1) - right)[relevant.any(1)].mean()
        loss.backward()
        optimizer.step()
    return logarithms.exp().clamp(max=_LARGEST_WEIGHT).detach()


def _mrr(features: Tensor, label: Tensor, places: Tensor) -> str:
    """MRR of each feature within the pools."""
    found = []
    for number in range(features.shape[2]):
        scores = features[..., number].masked_fill(places < 0, -torch.inf)
        best = scores.masked_fill(label <= 0, -torch.inf).max(1, keepdim=True).values
        found.append(f"{(1 / ((scores > best).sum(1) + 1)).mean().item():.3f}")
    return ", ".join(found)


def _widened(array: NDArray[np.generic], width: int, value: float) -> NDArray[np.generic]:
    out = np.full((len(array), width), value, dtype=array.dtype)
    out[:, : array.shape[1]] = array
    return out


def batches(
    pools: Pools, lengths: Ints, *, seed: int, first: int, size: int, longest: Callable[[int], int], budget: int
) -> Iterator[Batch]:
    """Batches without end; each is a function of the seed and its number, so that a run can be resumed.

    Args:
        pools: of all queries.
        lengths: tokens of each text.
        seed: of all draws.
        first: number of the first batch.
        size: documents of a query.
        longest: tokens of a pair in a batch of this number.
        budget: tokens of a batch.

    Yields:
        A batch.
    """
    edges = np.cumsum(pools.weights, dtype=np.float64)
    wide = lengths.astype(np.int64)
    number = first
    while True:
        draw = np.random.default_rng((seed, number))
        rows = np.searchsorted(edges, draw.random(max(budget // (size * _SHORT_PAIR), 4)) * edges[-1], side="right")
        scores = draw.gumbel(size=(len(rows), pools.documents.shape[1])) + 8.0 * pools.relevant[rows]
        scores += 0.1 * pools.targets[rows]
        columns = np.argsort(-scores, axis=1)[:, :size]
        documents = np.take_along_axis(pools.documents[rows], columns, 1)
        targets = np.take_along_axis(pools.targets[rows], columns, 1)
        relevant = np.take_along_axis(pools.relevant[rows], columns, 1)
        present = documents >= 0
        lists = np.repeat(np.arange(len(rows)), present.sum(1))
        plan, count = plan_pairs(
            np.repeat(pools.query[rows], present.sum(1)).astype(np.int64),
            documents[present].astype(np.int64),
            wide,
            lists,
            longest(number),
            budget,
        )
        width = plan.places.shape[1]
        yield Batch(plan, targets[:count, :width], relevant[:count, :width])
        number += 1
