"""Scores: activations from logits to scores, and what a call gave and cost."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossrank.errors import CrossrankError
from crossrank.inference.queue.calls import Call
from crossrank.inference.ranker.manifest import Activation
from crossrank.inference.tokens.tokenizer import TokenizedPair
from crossrank.reranker import ScoreKind


def _identity(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return logits


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    # tanh does not overflow where exp would.
    activated: NDArray[np.float32] = np.float32(0.5) * (np.float32(1) + np.tanh(np.float32(0.5) * logits))
    return activated


# float32 of shape [n] to float32 of shape [n].
Activate: TypeAlias = Callable[[NDArray[np.float32]], NDArray[np.float32]]
ACTIVATIONS: dict[ScoreKind, Activate] = {
    "logit": _identity,
    "probability": _sigmoid,
}
KIND_OF: dict[Activation, ScoreKind] = {"identity": "logit", "sigmoid": "probability"}


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
