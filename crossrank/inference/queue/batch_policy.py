"""Batch policy: what may share a batch."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class BatchPolicy:
    """What may share a batch.

    Attributes:
        max_tokens: of a batch, padding included; a longer pair runs alone, and 0 makes every pair run alone.
        padding: the largest share of a row that may be padding; 0 lets only equal lengths share a batch.
        batching_pays: whether a batch with more pairs hardly takes longer, as on a GPU. Elsewhere the batch of an
            urgent call takes no other call along.
    """

    max_tokens: int
    padding: float = 0.0
    batching_pays: bool = False
