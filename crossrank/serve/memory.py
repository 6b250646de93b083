"""Memory that large requests leave to the allocator, given back to the system."""

import asyncio
import ctypes
import sys
from collections.abc import Callable

# Bytes of requests after which it is worth the time.
_LARGE = 1024 * 1024
# Seconds after the first of them: one pass serves all that end meanwhile.
_LATER = 1.0


class MemoryReturn:
    """Gives memory back some time after large requests; for one event loop. Without glibc it does nothing."""

    def __init__(self) -> None:
        libc = ctypes.CDLL(None) if sys.platform == "linux" else None
        self._trim: Callable[[int], int] | None = getattr(libc, "malloc_trim", None)
        self._bytes = 0
        self._due = False

    def freed(self, size: int) -> None:
        """A request of that many bytes has ended."""
        self._bytes += size
        if self._trim is not None and self._bytes >= _LARGE and not self._due:
            self._due = True
            asyncio.get_running_loop().call_later(_LATER, self._give_back)

    def _give_back(self) -> None:
        self._due, self._bytes = False, 0
        if self._trim is not None:
            # ctypes lets other threads run meanwhile.
            asyncio.get_running_loop().run_in_executor(None, self._trim, 0)
