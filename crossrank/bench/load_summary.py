"""What a load comes to: rates, percentiles, the server's own split, and whether the generator kept up."""

from collections import Counter

import numpy as np

from crossrank.bench.load import Load
from crossrank.bench.result import Generator, LoadResult, Samples

PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)

# A generator that is so much of a core busy, or sends a hundredth of its calls so late, measures itself.
_BUSY_CORE = 0.9
_LATE_SECONDS = 0.01


def summarise(load: Load, how: dict[str, str | float]) -> LoadResult:
    """Turns the outcomes of a load into its figures; the samples stay inside.

    Args:
        load: what was measured.
        how: the load was made, such as its rate.
    """
    answered = [outcome for outcome in load.outcomes if outcome.status == "OK"]
    latencies = np.array([outcome.latency for outcome in answered])
    late = np.array([outcome.late for outcome in load.outcomes])
    seconds = max(load.seconds, 1e-9)
    parts = sorted({part for outcome in answered for part in outcome.split})
    busy = load.cpu_seconds / seconds
    late_p99 = float(np.percentile(late, 99)) if late.size else 0.0
    return LoadResult(
        how=how,
        seconds=load.seconds,
        calls=len(load.outcomes),
        interrupted=load.interrupted,
        statuses=dict(sorted(Counter(outcome.status for outcome in load.outcomes).items())),
        goodput=len(answered) / seconds,
        pairs_per_second=sum(outcome.pairs for outcome in answered) / seconds,
        latency_ms={f"p{q:g}": 1000 * float(np.percentile(latencies, q)) for q in PERCENTILES} if answered else {},
        server_ms={
            part: 1000 * float(np.median([outcome.split.get(part, 0.0) for outcome in answered])) for part in parts
        },
        generator=Generator(
            cpu_ms_per_call=1000 * load.cpu_seconds / max(1, len(load.outcomes)),
            cores=busy,
            late_p99_ms=1000 * late_p99,
            kept_up=busy <= _BUSY_CORE and late_p99 <= _LATE_SECONDS,
        ),
        samples=Samples(
            due=[outcome.due for outcome in load.outcomes],
            latency=[outcome.latency for outcome in load.outcomes],
            status=[outcome.status for outcome in load.outcomes],
        ),
    )
