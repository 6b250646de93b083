"""Throughput of variants: pairs a second on the same tokens, interleaved, in one process."""

import time
from collections.abc import Mapping

import numpy as np

from crossrank.inference.scorer import Scorer
from crossrank.inference.tokens.tokenizer import TokenizedPair

_PAIRS = 48
# Passages as search systems keep them: 88 tokens on average, widely spread. Log-normal.
_MEAN_TOKENS = 88
_SPREAD = 0.6
_SHORTEST = 8


def measure_throughput(scorers: Mapping[str, Scorer], *, rounds: int = 5, seed: int = 0) -> dict[str, float]:
    """The median pairs a second of each scorer, with its own workers, alternating between them.

    Args:
        scorers: by name; all of one ranker.
        rounds: how often each one scores the workload.
        seed: of the lengths and the tokens.
    """
    encoded = _workload(next(iter(scorers.values())), seed)
    seconds: dict[str, list[float]] = {name: [] for name in scorers}
    for _ in range(rounds + 1):
        for name, scorer in scorers.items():
            started = time.perf_counter()
            scorer.scheduler.submit(encoded).logits.result()
            seconds[name].append(time.perf_counter() - started)
    # The first round warms up.
    return {name: len(encoded) / float(np.median(measured[1:])) for name, measured in seconds.items()}


def _workload(scorer: Scorer, seed: int) -> list[TokenizedPair]:
    """Pairs of the golden pairs' tokens: what they say does not change how long a graph takes."""
    golden = scorer.tokenizer.encode([(pair.query, pair.document) for pair in scorer.facts.golden_pairs])
    ids, type_ids = (np.concatenate([getattr(pair, name) for pair in golden]) for name in ("ids", "type_ids"))
    draw = np.random.default_rng(seed)
    lengths = draw.lognormal(np.log(_MEAN_TOKENS) - _SPREAD**2 / 2, _SPREAD, size=_PAIRS).astype(int)
    return [
        TokenizedPair(np.resize(ids, length), np.resize(type_ids, length), index, None, False)
        for index, length in enumerate(np.clip(lengths, _SHORTEST, scorer.tokenizer.max_length).tolist())
    ]
