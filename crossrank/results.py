"""The order of documents, and a result in the shape that users of sentence-transformers know."""

from collections.abc import Sequence
from typing import NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray


class RankedDocument(TypedDict):
    """One result, as `CrossEncoder.rank` of sentence-transformers gives it."""

    corpus_id: int
    score: float
    text: NotRequired[str]


def order(logits: NDArray[np.float32]) -> list[int]:
    """The indices of logits, ordered by (-logit, index).

    No kind of score falls as the logit rises, so none is out of this order; but probabilities can be equal where the
    logits are not, and would lose it.
    """
    indices: list[int] = np.argsort(-logits, kind="stable").tolist()
    return indices


def ranked(index: int, score: float, documents: Sequence[str], *, return_documents: bool) -> RankedDocument:
    """The result for the document at `index`, with its text when asked."""
    result: RankedDocument = {"corpus_id": index, "score": score}
    if return_documents:
        result["text"] = documents[index]
    return result
