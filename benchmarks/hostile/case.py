"""Case: one thing that a hostile caller does, and what it may get."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.hostile.target import Target


@dataclass(frozen=True)
class Case:
    """One case.

    Attributes:
        name: in the table.
        right: pattern of each status that it may get.
        run: tries it; gives the statuses.
        memory: MiB beyond those of the idle server that it may take; None for as much again.
    """

    name: str
    right: str
    run: Callable[[Target], str]
    memory: int | None = None

    def holds(self, statuses: str) -> bool:
        """Whether all statuses are right ones."""
        return all(re.fullmatch(rf"(\d+ )?({self.right})", status) for status in statuses.split(", "))
