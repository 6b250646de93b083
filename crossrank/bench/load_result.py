"""One load on one server, as a result holds it."""

from pydantic import BaseModel, ConfigDict

# A generator that keeps more than this of a core busy measures itself.
BUSY_CORE = 0.9


class Record(BaseModel):
    """A part of a result: unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Generator(Record):
    """What the load's own process did.

    Attributes:
        cpu_ms_per_call: of its processor time.
        cores: that it kept busy.
        late_p99_ms: of the delays that are its own, in sending and in its event loop.
        kept_up: false where the generator, or the machine that it shares with the server, held the calls up.
    """

    cpu_ms_per_call: float
    cores: float
    late_p99_ms: float
    kept_up: bool


class Samples(Record):
    """Every call of a load, column by column; seconds."""

    due: list[float]
    latency: list[float]
    status: list[str]


class LoadResult(Record):
    """One load on one server.

    Attributes:
        settings: what made this load: its rate, its clients.
        seconds: from the first call to the last end.
        calls: that ended.
        cut_short: why it ended early; empty where it did not.
        statuses: how many calls ended how.
        goodput: calls answered a second, within the objective where there is one.
        pairs_per_second: answered.
        latency_ms: percentiles of the answered calls, from the intended time, for as far as there are samples.
        server_ms: medians of what the server says that it spent on what.
        generator: what the load itself cost.
        samples: of every call.
    """

    settings: dict[str, str | float]
    seconds: float
    calls: int
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
        """What tells it from other loads."""
        return ", ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in self.settings.items()
        )

    def caveats(self) -> list[str]:
        """What should be known before the figures are believed, a sentence each."""
        found = []
        if self.cut_short:
            found.append(f"ended early, after {self.seconds:.1f} s, since {self.cut_short}")
        if failed := self.calls - self.statuses.get("OK", 0):
            told = ", ".join(f"{count} {status}" for status, count in self.statuses.items() if status != "OK")
            found.append(f"{failed} of {self.calls} calls failed ({told}); the percentiles are those of the others")
        if self.generator.cores > BUSY_CORE:
            found.append(f"the generator was the bottleneck: it kept {self.generator.cores:.0%} of a core busy")
        elif not self.generator.kept_up:
            found.append(
                f"the generator's own delays, p99 {self.generator.late_p99_ms:.1f} ms, are not small beside the "
                "latencies, which include them"
            )
        return [f"{self.label}: {sentence}." for sentence in found]
