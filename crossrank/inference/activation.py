"""What turns logits into the scores that are handed out."""

from collections.abc import Callable
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from crossrank.inference.manifest import Activation

ScoreKind: TypeAlias = Literal["logit", "probability"]


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
