"""Ranked documents and their order: what scorers and clients return."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray


class RankedDocument(TypedDict):
    """One result, with the keys of sentence-transformers' `CrossEncoder.rank` and two more.

    Attributes:
        corpus_id: index of the document among those given.
        score: of the kind that was asked for.
        id: the caller's name of the document; only where names were given.
        text: the document; only with `return_documents`.
        span: first character and one past the last of the chunk that gave the score; only where the document was cut
            into chunks.
    """

    corpus_id: int
    score: float
    id: NotRequired[str]
    text: NotRequired[str]
    span: NotRequired[tuple[int, int]]


def order(logits: NDArray[np.float32]) -> list[int]:
    """The indices of logits, ordered by (-logit, index).

    No kind of score falls as the logit rises, so each agrees with this order; but probabilities can be equal where the
    logits are not, and would lose it.
    """
    indices: list[int] = np.argsort(-logits, kind="stable").tolist()
    return indices


def ranked_document(
    index: int, score: float, span: tuple[int, int] | None, ids: Sequence[str] | None, texts: Sequence[str] | None
) -> RankedDocument:
    """The result for the document at `index`; what is None stays out of it."""
    result: RankedDocument = {"corpus_id": index, "score": score}
    if ids is not None:
        result["id"] = ids[index]
    if texts is not None:
        result["text"] = texts[index]
    if span is not None:
        result["span"] = span
    return result
