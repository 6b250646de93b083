"""Which pairs run together: a pure function, so that its promises can be tested as properties."""

from collections import defaultdict
from collections.abc import Sequence


def plan(lengths: Sequence[int], *, max_run_tokens: int) -> list[list[int]]:
    """Puts pairs into runs of equal length, so that nothing is padded.

    Large runs lose on a CPU (they fall out of its caches) and padding loses more; the longest runs come first, so
    that several workers finish at about the same time.

    Args:
        lengths: the length of each pair in tokens, at least 1.
        max_run_tokens: the most tokens of one run. A pair that is longer runs alone; 0 makes every pair run alone.

    Returns:
        Runs, each a list of indices into `lengths`; every index stands in exactly one of them.

    Raises:
        ValueError: a length below 1.
    """
    by_length: dict[int, list[int]] = defaultdict(list)
    for index, length in enumerate(lengths):
        if length < 1:
            raise ValueError(f"pair {index} has length {length}")
        by_length[length].append(index)
    runs: list[list[int]] = []
    for length in sorted(by_length, reverse=True):
        indices = by_length[length]
        size = max(1, max_run_tokens // length)
        runs.extend(indices[start : start + size] for start in range(0, len(indices), size))
    return runs
