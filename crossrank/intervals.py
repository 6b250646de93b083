"""A mean with its confidence interval, the one way in which figures say how sure they are."""

from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and its confidence interval at `level` (0.95: 95 %).

    Formats as "+0.0312 [+0.0118, +0.0502]"; a format specification, as in f"{interval:.2f}", is that of each number.
    """

    # Read by pydantic, where a record of a file holds intervals.
    __pydantic_config__: ClassVar[dict[str, Any]] = {"extra": "forbid"}

    mean: float
    low: float
    high: float
    level: float = 0.95

    @property
    def excludes_zero(self) -> bool:
        """Whether a difference is significant at 1 - level."""
        return self.low > 0 or self.high < 0

    def __format__(self, specification: str) -> str:
        mean, low, high = (format(value, specification or "+.4f") for value in (self.mean, self.low, self.high))
        return f"{mean} [{low}, {high}]"

    def __str__(self) -> str:
        return format(self)
