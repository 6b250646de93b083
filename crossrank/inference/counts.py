"""What a server's workers have done."""

from dataclasses import dataclass


@dataclass(slots=True)
class Counts:
    """What the workers have done since they began.

    Attributes:
        computed: pairs that were run.
        tokens: of these.
        wasted: pairs that were run for calls that had died meanwhile: what was in flight at that moment.
        dropped: pairs of dead calls that were never run.
        cached: pairs whose logit was known, or was being computed for another call.
        busy_seconds: of all runs together.
    """

    computed: int = 0
    tokens: int = 0
    wasted: int = 0
    dropped: int = 0
    cached: int = 0
    busy_seconds: float = 0.0
