"""What a call gave and what it cost."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossrank.errors import CrossrankError
from crossrank.inference.activation import Activate
from crossrank.inference.calls import Call
from crossrank.inference.tokenizer import TokenizedPair


@dataclass(frozen=True, slots=True)
class Scores:
    """The scores of a call's documents.

    Attributes:
        logits: float32, one for each document; the order of these is the order of the documents.
        values: float32, one for each document, of the kind that was asked for. Different logits may have equal values.
        spans: for each document, the part of it that gave its score, in characters; None where that is all of it.
        pairs: tokenised pairs that the call stood for.
        tokens: tokens of these.
        cache_hits: pairs whose logit was known, or was being computed for another call.
        truncated: how many of the caller's pairs lost text.
        tokenize, queue, compute: seconds on the clock.
    """

    logits: NDArray[np.float32]
    values: NDArray[np.float32]
    spans: list[tuple[int, int] | None]
    pairs: int
    tokens: int
    cache_hits: int
    truncated: int
    tokenize: float
    queue: float
    compute: float


def scores_of(encoded: Sequence[TokenizedPair], call: Call, activate: Activate, tokenize: float) -> Scores:
    """Turns the logits of a call into the scores of its documents: the best chunk's, activated.

    Args:
        encoded: the tokenised pairs of the call.
        call: the call; its logits are waited for.
        activate: turns logits into what the scores shall be.
        tokenize: seconds that tokenising took, passed on.

    Raises:
        CrossrankError: the model gave NaN; and what the call's logits raise.
    """
    logits = call.logits.result()
    if np.isnan(logits).any():
        raise CrossrankError("the model gave NaN")
    best: dict[int, int] = {}
    for position, pair in enumerate(encoded):
        if pair.document not in best or logits[position] > logits[best[pair.document]]:
            best[pair.document] = position
    winners = [best[document] for document in range(len(best))]
    return Scores(
        logits=logits[winners],
        values=activate(logits[winners]),
        spans=[encoded[position].span for position in winners],
        pairs=len(encoded),
        tokens=call.tokens,
        cache_hits=call.cache_hits,
        truncated=len({pair.document for pair in encoded if pair.truncated}),
        tokenize=tokenize,
        queue=call.queued,
        compute=call.computed,
    )
