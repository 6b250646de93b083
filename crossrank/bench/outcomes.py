"""What became of the calls of a load."""

from dataclasses import dataclass, field

# Why a load ended early, where somebody wanted it to.
STOPPED = "it was stopped"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one call.

    Attributes:
        due: seconds from the start at which it should have been sent.
        late: seconds after that at which it was sent, for which the generator is to blame.
        latency: seconds from `due` to its end, so that what a stalled server holds up counts as waiting.
        status: how it ended.
        pairs: of it.
        server: what the server says of its time, in seconds; empty where it says nothing.
    """

    due: float
    late: float
    latency: float
    status: str
    pairs: int
    server: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Load:
    """What a generator did.

    Attributes:
        outcomes: of the calls that ended, in that order.
        seconds: from the first call to the last end.
        sending: seconds from the first call to the last one that was sent.
        sending_cpu_seconds: that the generator's own process used until then.
        cpu_seconds: that it used in all.
        lags: seconds by which its event loop was late, every few milliseconds: it sends and receives so much later.
        cut_short: why it ended early, calls in flight then not counted; empty where it did not.
    """

    outcomes: list[Outcome] = field(default_factory=list)
    seconds: float = 0.0
    sending: float = 0.0
    sending_cpu_seconds: float = 0.0
    cpu_seconds: float = 0.0
    lags: list[float] = field(default_factory=list)
    cut_short: str = ""
