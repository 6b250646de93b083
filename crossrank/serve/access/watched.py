"""Files that may change while they are in use."""

import time
from pathlib import Path

# Seconds between two looks.
_EVERY = 1.0

_Stamp = tuple[int, int, int] | None


class FileWatch:
    """Tells whether files have changed, looking once a second at most.

    Args:
        files: they need not exist.
    """

    def __init__(self, *files: Path) -> None:
        self._files = files
        self._stamps = self._read()
        self._looked = time.monotonic()

    def changed(self) -> bool:
        """Whether one of them is another than at the last call."""
        if time.monotonic() - self._looked < _EVERY:
            return False
        self._looked = time.monotonic()
        stamps = self._read()
        changed, self._stamps = stamps != self._stamps, stamps
        return changed

    def _read(self) -> list[_Stamp]:
        return [_stamp(file) for file in self._files]


def _stamp(file: Path) -> _Stamp:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size
