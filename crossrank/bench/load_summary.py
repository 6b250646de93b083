"""What a load comes to: rates, percentiles, the server's own figures, and whether the generator kept up."""

from collections import Counter

import numpy as np

from crossrank.bench.load_result import BUSY_CORE, Generator, LoadResult, Samples
from crossrank.bench.outcomes import Load

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)

# A generator that is late by so much of the median latency measures itself too.
_LATE_SHARE = 0.1


def summarise(load: Load, settings: dict[str, str | float], objective_seconds: float | None = None) -> LoadResult:
    """Turns the outcomes of a load into its figures; the samples stay inside.

    Args:
        load: what was measured.
        settings: of the load, such as its rate.
        objective_seconds: within which an answer counts for goodput; by default every answer does.
    """
    answered = [outcome for outcome in load.outcomes if outcome.status == "OK"]
    latencies = np.array([outcome.latency for outcome in answered])
    seconds = max(load.seconds, 1e-9)
    parts = dict.fromkeys(part for outcome in answered for part in outcome.server)
    in_time = sum(objective_seconds is None or latency <= objective_seconds for latency in latencies)
    late = _p99([outcome.late for outcome in load.outcomes]) + _p99(load.lags)
    # Calls that are all sent at once take a core for that moment, and nothing from anybody.
    busy = load.sending_cpu_seconds / max(load.sending, 1.0)
    return LoadResult(
        settings=settings,
        seconds=load.seconds,
        calls=len(load.outcomes),
        cut_short=load.cut_short,
        statuses=dict(sorted(Counter(outcome.status for outcome in load.outcomes).items())),
        goodput=in_time / seconds,
        pairs_per_second=sum(outcome.pairs for outcome in answered) / seconds,
        latency_ms={
            # A percentile beyond the last sample would be invented.
            f"p{q:g}": 1000 * float(np.percentile(latencies, q))
            for q in PERCENTILES
            if round(len(answered) * (100 - q), 6) >= 100 or q == 50
        }
        if answered
        else {},
        server_ms={
            part: 1000 * float(np.median([outcome.server.get(part, 0.0) for outcome in answered])) for part in parts
        },
        generator=Generator(
            cpu_ms_per_call=1000 * load.cpu_seconds / max(1, len(load.outcomes)),
            cores=busy,
            late_p99_ms=1000 * late,
            kept_up=busy <= BUSY_CORE and (not answered or late <= _LATE_SHARE * float(np.median(latencies))),
        ),
        samples=Samples(
            due=[outcome.due for outcome in load.outcomes],
            latency=[outcome.latency for outcome in load.outcomes],
            status=[outcome.status for outcome in load.outcomes],
        ),
    )


def _p99(values: list[float]) -> float:
    return float(np.percentile(values, 99)) if values else 0.0
