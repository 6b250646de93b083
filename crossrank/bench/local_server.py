"""A `crossrank serve` of its own process on loopback, for as long as it is measured."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from crossrank.errors import CrossrankError

_READY = "listening on "


@dataclass(frozen=True, slots=True)
class LocalServer:
    """A running server: "host:port" of its gRPC service, and its process id."""

    target: str
    pid: int


@contextmanager
def local_server(ranker: Path, variant: str, *arguments: str) -> Iterator[LocalServer]:
    """Runs `crossrank serve` without its caches, which would answer repeated requests, or tokenise them, for nothing.

    Args:
        ranker: its directory.
        variant: name or file.
        arguments: further ones of the command.

    Raises:
        CrossrankError: it does not start.
    """
    command = [sys.executable, "-P", "-m", "crossrank.cli", "serve", str(ranker), "--port", "0", "--variant", variant]
    command += ["--score-cache", "0", "--document-cache", "0", *arguments]
    # In a session of its own: Ctrl-C is for the benchmark, not for the server.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            if not line.startswith(_READY):
                raise CrossrankError("the server did not start; `crossrank serve` with the same ranker says why")
            yield LocalServer(line.removeprefix(_READY), process.pid)
        finally:
            process.terminate()
