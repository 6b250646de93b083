"""Local server: `crossrank serve` in a process of its own on loopback, ready when the block begins."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, NamedTuple

from crossrank.errors import CrossrankError

# For a server that is measured: caches would answer repeated requests, or tokenise them, for nothing.
UNCACHED = ("--score-cache", "0", "--document-cache", "0")

_READY = "listening on "
# Seconds for calls in flight, after which it is killed.
_STOPPING = 10


class LocalServer(NamedTuple):
    """A server that answers calls: "host:port" of its gRPC services, and its process."""

    target: str
    process: subprocess.Popen[str]


@contextmanager
def local_server(*arguments: str, log: int | None = None) -> Iterator[LocalServer]:
    """Starts a server on a free port, waits until it answers calls, and ends it with the block.

    Args:
        arguments: those of `crossrank serve`, without a port.
        log: where its standard error goes, as `subprocess.Popen` takes it; by default to a temporary file, whose last
            line says why it did not start. Who gives a pipe must read it.

    Raises:
        CrossrankError: it did not start.
    """
    # Nobody who balances calls waits for word that it drains.
    quiet = ("--drain-delay", "0", "--http-port", "none")
    command = [sys.executable, "-P", "-m", "crossrank.cli", "serve", *quiet, *arguments, "--port", "0"]
    # In a session of its own: Ctrl-C is for who started it, and ends it in order.
    with (
        tempfile.TemporaryFile("w+") as file,
        subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=file if log is None else log,
            text=True,
            start_new_session=True,
        ) as process,
    ):
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith(_READY):
                raise CrossrankError(f"the server did not start: {_last_line(process.stderr or file)}")
            yield LocalServer(line.removeprefix(_READY).strip(), process)
        finally:
            process.terminate()
            try:
                process.wait(_STOPPING)
            except subprocess.TimeoutExpired:
                process.kill()


def _last_line(log: IO[str]) -> str:
    if log.seekable():
        log.seek(0)
    lines = log.read().splitlines()
    return lines[-1].removeprefix("crossrank: ") if lines else "it said nothing"
