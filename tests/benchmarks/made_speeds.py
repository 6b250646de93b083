"""Speeds as they could have been measured."""

import numpy as np

from benchmarks.interleave import Rounds
from benchmarks.results import EngineSpeed, EnginesResult, speeds_of
from crossrank.bench.results import this_run


def engines_result(factor: float, machine: float, others: dict[str, list[float]] | None = None) -> EnginesResult:
    """An engine `factor` times its baseline, on a machine of a speed; speeds in pairs a second."""
    noise = np.array([1.0, 1.02, 0.99, 1.01, 0.98, 1.0, 1.01])
    speeds: dict[str, list[float]] = {
        "torch": (50 * machine * noise).tolist(),
        "ours": (50 * factor * machine * noise[::-1]).tolist(),
        **(others or {}),
    }
    rounds = Rounds({name: [1 / value for value in values] for name, values in speeds.items()})
    return EnginesResult(
        **this_run({}),
        speeds=[
            EngineSpeed(**speed.model_dump(), kendall_tau=None, top_1=None, ndcg_change={})
            for speed in speeds_of(rounds, pairs=1)
        ],
        checks=[],
    )
