"""A model whose runs wait at a gate, and pairs for it."""

import threading
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from crossrank.inference.queue.calls import Run
from crossrank.inference.tokens.tokenizer import TokenizedPair


class Model:
    """Gives each pair its first token as the logit, waits at a gate, and remembers what it ran."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Semaphore(0)
        self.runs: list[list[int]] = []
        self.on_run: Callable[[], None] = lambda: None

    def __call__(self, pairs: Sequence[TokenizedPair], run: Run) -> NDArray[np.float32]:
        self.runs.append([int(pair.ids[0]) for pair in pairs])
        self.on_run()
        self.entered.release()
        assert self.gate.wait(120)
        if any(pair.ids[0] < 0 for pair in pairs):
            raise RuntimeError("/secret/path broke")
        return np.array([pair.ids[0] for pair in pairs], dtype=np.float32)


def pairs(*tokens: int, length: int = 10) -> list[TokenizedPair]:
    zeros = np.zeros(length, dtype=np.int64)
    return [TokenizedPair(np.full(length, token), zeros, number, None, False) for number, token in enumerate(tokens)]
