"""Measurements of a load: rates, latency percentiles, the server's own timings, and whether the generator kept up."""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from pydantic import BaseModel, ConfigDict

# Why a load ended early where the user ended it.
STOPPED = "it was stopped"
PERCENTILES = (50.0, 90.0, 95.0, 99.0, 99.9)

# A generator that keeps more than this of a core busy measures itself.
_BUSY_CORE = 0.9
# A generator that is late by this share of the median latency measures itself too.
_LATE_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Outcome:
    """One request and how it ended.

    Attributes:
        due: seconds from the start at which it should have been sent.
        late: seconds after that at which it was sent, a delay of the generator.
        latency: seconds from `due` to its end, so that what a stalled server holds up counts as waiting.
        status: how it ended.
        pairs: its number of documents.
        server: seconds by the server's own account, by part; empty where it gives none.
    """

    due: float
    late: float
    latency: float
    status: str
    pairs: int
    server: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Load:
    """Everything that a generator sent and noted.

    Attributes:
        outcomes: of the requests that ended, in that order.
        seconds: from the first request to the last end.
        sending: seconds from the first request to the last one that was sent.
        sending_cpu_seconds: processor seconds of the generator's process until then.
        cpu_seconds: processor seconds in all.
        lags: seconds by which its event loop was late, every few milliseconds: it sends and receives that much later.
        cut_short: why it ended early, requests in flight then not counted; empty where it did not.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    sending: float = 0.0
    sending_cpu_seconds: float = 0.0
    cpu_seconds: float = 0.0
    lags: list[float] = field(default_factory=list)
    cut_short: str = ""


class Record(BaseModel):
    """A part of a result: immutable, and unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Generator(Record):
    """The load of the generator's own process.

    Attributes:
        cpu_ms_per_request: its processor time.
        cores: how many it kept busy.
        late_p99_ms: its own delays, in sending and in its event loop.
        kept_up: false where the generator, or the machine that it shares with the server, held the requests up.
    """

    cpu_ms_per_request: float
    cores: float
    late_p99_ms: float
    kept_up: bool


class Samples(Record):
    """Every request of a load, column by column; seconds."""

    due: list[float]
    latency: list[float]
    status: list[str]


class LoadMeasurement(Record):
    """One load on one server.

    Attributes:
        settings: what tells this load from others: its rate, its concurrency, the variant.
        seconds: from the first request to the last end.
        requests: how many ended.
        cut_short: why it ended early; empty where it did not.
        statuses: how many requests ended how.
        goodput: requests a second that were answered, within the objective where there is one.
        pairs_per_second: answered.
        latency_ms: percentiles of the answered requests from the intended time, as far as there are samples.
        server_ms: medians of the server's own timings, by part.
        generator: the generator's own load.
        samples: of every request.
    """

    settings: dict[str, str | float]
    seconds: float
    requests: int
    cut_short: str
    statuses: dict[str, int]
    goodput: float
    pairs_per_second: float
    latency_ms: dict[str, float]
    server_ms: dict[str, float]
    generator: Generator
    samples: Samples

    @property
    def label(self) -> str:
        """The settings in one line."""
        return ", ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.settings.items()
        )

    def warnings(self) -> list[str]:
        """Reasons to doubt the figures, a sentence each."""
        found = []
        if self.cut_short:
            found.append(f"ended early, after {self.seconds:.1f} s, since {self.cut_short}")
        if failed := self.requests - self.statuses.get("OK", 0):
            counts = ", ".join(f"{count} {status}" for status, count in self.statuses.items() if status != "OK")
            found.append(
                f"{failed} of {self.requests} requests failed ({counts}); the percentiles are those of the others"
            )
        if self.generator.cores > _BUSY_CORE:
            found.append(f"the generator was the bottleneck: it kept {self.generator.cores:.0%} of a core busy")
        elif not self.generator.kept_up:
            found.append(
                f"the generator's own delays, p99 {self.generator.late_p99_ms:.1f} ms, are included in the latencies "
                "and not small compared with them"
            )
        return [f"{self.label}: {sentence}." for sentence in found]


def summarize(load: Load, settings: dict[str, str | float], slo_seconds: float | None = None) -> LoadMeasurement:
    """Computes the figures of a load; the samples are kept in them.

    Args:
        load: what was measured.
        settings: of the load, such as its rate.
        slo_seconds: latency within which an answer counts for goodput; by default every answer does.
    """
    answered = [outcome for outcome in load.outcomes if outcome.status == "OK"]
    latencies = np.array([outcome.latency for outcome in answered])
    seconds = max(load.seconds, 1e-9)
    parts = dict.fromkeys(part for outcome in answered for part in outcome.server)
    in_time = sum(slo_seconds is None or latency <= slo_seconds for latency in latencies)
    late = _p99([outcome.late for outcome in load.outcomes]) + _p99(load.lags)
    # Requests that are all sent at once take a core for that moment, and nothing from anybody.
    busy = load.sending_cpu_seconds / max(load.sending, 1.0)
    return LoadMeasurement(
        settings=settings,
        seconds=load.seconds,
        requests=len(load.outcomes),
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
            cpu_ms_per_request=1000 * load.cpu_seconds / max(1, len(load.outcomes)),
            cores=busy,
            late_p99_ms=1000 * late,
            kept_up=busy <= _BUSY_CORE and (not answered or late <= _LATE_SHARE * float(np.median(latencies))),
        ),
        samples=Samples(
            due=[outcome.due for outcome in load.outcomes],
            latency=[outcome.latency for outcome in load.outcomes],
            status=[outcome.status for outcome in load.outcomes],
        ),
    )


def _p99(values: list[float]) -> float:
    return float(np.percentile(values, 99)) if values else 0.0
