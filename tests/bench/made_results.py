"""Results of benchmarks as they could have been measured."""

from typing import Any

import numpy as np

from crossrank.bench.load.load_metrics import Load, Outcome, summarize
from crossrank.bench.results import LoadTestResult, QualityPoint, QualityResult, this_run


def load_result(outcomes: list[Outcome], **settings: Any) -> LoadTestResult:
    load = summarize(Load(outcomes, 10.0, 10.0, 0.5), {"concurrency": 1})
    return LoadTestResult(**this_run({"slo": "", **settings}), loads=[load])


def outcomes_of(latency: float, seed: int = 0, refused: float = 0.0) -> list[Outcome]:
    """A thousand requests in ten seconds, with latencies around one."""
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


def quality_result(shift: float, queries: int = 80) -> QualityResult:
    values = np.clip(np.random.default_rng(0).uniform(0.2, 0.8, queries) + shift, 0, 1)
    point = QualityPoint(
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
    return QualityResult(**this_run({}), points=[point])
