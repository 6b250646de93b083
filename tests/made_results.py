"""Results of benchmarks as they could have been measured."""

from typing import Any

import numpy as np

from crossrank.bench.alternate import ratio
from crossrank.bench.load_summary import summarise
from crossrank.bench.outcomes import Load, Outcome
from crossrank.bench.result import Quality, Result, Speed, new_result


def speed(name: str, pairs_per_second: list[float], baseline: list[float]) -> Speed:
    return Speed(
        name=name,
        concurrency=1,
        pairs_per_second=pairs_per_second,
        median=float(np.median(pairs_per_second)),
        baseline="torch",
        ratio=ratio(pairs_per_second, baseline),
        kendall_tau=None,
        top_1=None,
        loss={},
    )


def engine_result(factor: float, machine: float, others: dict[str, list[float]] | None = None) -> Result:
    """A contestant `factor` times its baseline, on a machine that is itself so fast."""
    noise = np.array([1.0, 1.02, 0.99, 1.01, 0.98, 1.0, 1.01])
    baseline = (50 * machine * noise).tolist()
    contestants = {"torch": baseline, "ours": (50 * factor * machine * noise[::-1]).tolist(), **(others or {})}
    return new_result("engine", {}, speeds=[speed(name, line, baseline) for name, line in contestants.items()])


def load_result(outcomes: list[Outcome], **settings: Any) -> Result:
    load = summarise(Load(outcomes, 10.0, 10.0, 0.5), {"clients": 1})
    return new_result("load", {"objective": "", **settings}, loads=[load])


def calls(latency: float, seed: int = 0, refused: float = 0.0) -> list[Outcome]:
    draw = np.random.default_rng(seed)
    return [
        Outcome(
            n / 100,
            0.0,
            latency * float(draw.uniform(0.9, 1.1)),
            "RESOURCE_EXHAUSTED" if draw.uniform() < refused else "OK",
            5,
        )
        for n in range(1000)
    ]


def quality_result(shift: float, queries: int = 80) -> Result:
    values = np.clip(np.random.default_rng(0).uniform(0.2, 0.8, queries) + shift, 0, 1)
    point = Quality(
        variant="fp32",
        max_length=96,
        long_documents="truncate",
        data="heldout",
        queries=queries,
        ndcg_10=float(values.mean()),
        mrr_10=0.5,
        ndcg_difference=None,
        mrr_difference=None,
        pairs_per_second=100.0,
        per_query={f"q{number}": float(value) for number, value in enumerate(values)},
    )
    return new_result("quality", {}, quality=[point])
