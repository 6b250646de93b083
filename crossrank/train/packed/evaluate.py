"""Evaluation on packed sets: nDCG@10 of a model, its exits and its teachers on each set's candidates."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossrank.train.packed.batches import Assembler, Plan, cut
from crossrank.train.packed.encoder import UnpaddedEncoder
from crossrank.train.packed.inputs import NO_DOCUMENT, Ints, PackedSet
from crossrank.train.packed.teachers import by_length

# Scores of pairs of text numbers: float32 [systems, pairs].
Score = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float32]]


def model_scores(
    model: UnpaddedEncoder, assembler: Assembler, lengths: Ints, longest: int, budget: int, dtype: torch.dtype
) -> Score:
    """Scores by a model and each of its exits, the model's first."""

    def score(query: NDArray[np.int64], document: NDArray[np.int64]) -> NDArray[np.float32]:
        query_length, document_length = cut(
            lengths[query].astype(np.int64), lengths[document].astype(np.int64), longest
        )
        found = torch.empty(1 + len(model.exit_layers), len(query))
        # Every batch has another shape here: nothing that is worth compiling.
        with torch.inference_mode(), torch.compiler.set_stance("force_eager"):
            for part in by_length(query_length + document_length, budget):
                none = np.zeros((0, 0), np.int64)
                plan = Plan(query[part], document[part], query_length[part], document_length[part], longest, none)
                logits, early = model(assembler.pairs(plan), dtype)
                found[:, torch.from_numpy(part)] = torch.stack((logits, *early)).float().cpu()
        scores: NDArray[np.float32] = found.numpy()
        return scores

    return score


def cosine_scores(vectors: list[Tensor]) -> Score:
    """Scores by each teacher's cosine."""

    def score(query: NDArray[np.int64], document: NDArray[np.int64]) -> NDArray[np.float32]:
        device = vectors[0].device
        mine, theirs = (torch.from_numpy(texts).to(device) for texts in (query, document))
        found = [
            torch.cat(
                [
                    (part[a].float() * part[b].float()).sum(1)
                    for a, b in zip(mine.split(8192), theirs.split(8192), strict=True)
                ]
            )
            for part in vectors
        ]
        scores: NDArray[np.float32] = torch.stack(found).cpu().numpy()
        return scores

    return score


def ndcg_at_10(part: PackedSet, score: Score, most: int | None = None) -> NDArray[np.float64]:
    """nDCG@10 of each system on each query, [systems, queries]; ties in the candidates' order."""
    rows = np.arange(len(part.queries))
    if most is not None and most < len(rows):
        rows = rows[:: len(rows) // most][:most]
    present = part.first_stage[rows] != NO_DOCUMENT
    places = part.first_stage[rows][present].astype(np.int64)
    scores = score(
        np.repeat(part.queries[rows], present.sum(1)).astype(np.int64), part.documents[places].astype(np.int64)
    )
    grades: list[dict[int, float]] = [{} for _ in part.queries]
    for (query, document), grade in zip(part.judged.tolist(), part.grades.tolist(), strict=True):
        grades[query][document] = grade
    discounts = 1 / np.log2(np.arange(2, 12))
    ends = np.cumsum(present.sum(1))
    found = np.zeros((len(scores), len(rows)))
    for number, (row, end) in enumerate(zip(rows, ends, strict=True)):
        start = end - present[number].sum()
        gains = np.array([grades[row].get(place, 0.0) for place in places[start:end].tolist()])
        best = np.sort(np.array(list(grades[row].values())))[::-1][:10]
        ideal = float((best * discounts[: len(best)]).sum())
        for system in range(len(scores)):
            top = gains[np.argsort(-scores[system, start:end], kind="stable")][:10]
            found[system, number] = (top * discounts[: len(top)]).sum() / ideal if ideal else 0.0
    return found
