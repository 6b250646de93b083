"""The order of scores, and a result in the shape that users of sentence-transformers know."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray


class RankedDocument(TypedDict):
    """One result, as `CrossEncoder.rank` of sentence-transformers gives it."""

    corpus_id: int
    score: float
    text: NotRequired[str]


def order(scores: NDArray[np.float32]) -> list[int]:
    """The indices of scores, ordered by (-score, index)."""
    indices: list[int] = np.argsort(-scores, kind="stable").tolist()
    return indices


def ranked(index: int, score: float, documents: Sequence[str], *, return_documents: bool) -> RankedDocument:
    """The result for the document at `index`, with its text when asked."""
    result: RankedDocument = {"corpus_id": index, "score": score}
    if return_documents:
        result["text"] = documents[index]
    return result
