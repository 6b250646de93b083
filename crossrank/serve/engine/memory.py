"""Memory: what a server needs at least, and what large requests leave to the allocator."""

import asyncio
import ctypes
import resource
import sys
from collections.abc import Callable

from crossrank.errors import UsageError
from crossrank.serve.settings import MIB

# MiB of address space below which native libraries end the process instead of raising.
_ADDRESS_SPACE = 1500
# Bytes of requests after which it is worth the time.
_LARGE = 1024 * 1024
# Seconds after the first of them: one pass serves all that end meanwhile.
_LATER = 1.0


def require_address_space() -> None:
    """Checks the limit of the process.

    Raises:
        UsageError: it is too small to serve even a small ranker.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit != resource.RLIM_INFINITY and limit < _ADDRESS_SPACE * MIB:
        raise UsageError(
            f"memory: the address space is limited to {limit // MIB} MiB; "
            f"raise it to {_ADDRESS_SPACE} MiB or more (ulimit -v)"
        )


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
