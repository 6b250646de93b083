"""Engines in interleaved rounds: pairs a second, and how far each one's ranking agrees with the baseline's."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from benchmarks.adapters import Engine, Scores
from benchmarks.interleave import interleave
from benchmarks.results import EngineSpeed, speeds_of
from crossrank.bench.load.workload import RerankRequest
from crossrank.evaluation.metrics import kendall_tau, top_k_overlap


@dataclass(frozen=True, slots=True)
class EngineRounds:
    """Speeds and rankings of engines, those that failed, and whether Ctrl-C ended the rounds."""

    speeds: list[EngineSpeed]
    failed: dict[str, str]
    interrupted: bool

    def raise_if_interrupted(self) -> None:
        """Passes a Ctrl-C on, once what was measured is kept."""
        if self.interrupted:
            raise KeyboardInterrupt


def measure_engines(
    engines: Mapping[str, Engine],
    requests: Sequence[RerankRequest],
    rounds: int,
    concurrency: int,
    changes: Mapping[str, dict[str, float]],
) -> EngineRounds:
    """Measures speeds and rankings of engines in interleaved rounds.

    Args:
        engines: by name; the first is the baseline of both.
        requests: that each engine answers in each round.
        rounds: that are measured.
        concurrency: requests at once.
        changes: nDCG@10 of an engine's graph minus PyTorch's, by engine and set.

    Raises:
        KeyboardInterrupt: it was stopped before the first measured round had ended.
    """
    scores: dict[str, list[Scores]] = {}

    def work(name: str) -> Callable[[], None]:
        def run() -> None:
            with ThreadPoolExecutor(concurrency) as pool:
                scores[name] = list(pool.map(engines[name], requests))

        return run

    measured = interleave({name: work(name) for name in engines}, rounds)
    baseline = next(iter(engines))
    pairs = sum(len(request.documents) for request in requests)
    speeds = [
        EngineSpeed(
            **speed.model_dump(),
            **_agreement(scores[baseline], scores[speed.name], is_baseline=speed.name == baseline),
            ndcg_change=changes.get(speed.name, {}),
        )
        for speed in speeds_of(measured, pairs, concurrency)
    ]
    return EngineRounds(speeds, measured.failed, measured.interrupted)


def _agreement(reference: Sequence[Scores], scores: Sequence[Scores], *, is_baseline: bool) -> dict[str, float | None]:
    if is_baseline:
        return {"kendall_tau": None, "top_1": None}
    both = list(zip(reference, scores, strict=True))
    return {
        "kendall_tau": float(np.mean([kendall_tau(a, b) for a, b in both])),
        "top_1": float(np.mean([top_k_overlap(a, b, 1) for a, b in both])),
    }
