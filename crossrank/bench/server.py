"""A server of our own on loopback, for as long as it is measured."""

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

from crossrank.errors import CrossrankError

_READY = "listening on "


@dataclass(frozen=True, slots=True)
class Server:
    """A running server.

    Attributes:
        target: "host:port" of its gRPC service.
        metrics: URL of its metrics.
        process: of the server.
    """

    target: str
    metrics: str
    process: psutil.Process

    def pairs(self) -> dict[str, float]:
        """Pairs that it counted as computed, wasted, dropped or cached."""
        with urllib.request.urlopen(self.metrics, timeout=30) as reply:
            families = text_string_to_metric_families(reply.read().decode())
        return {
            sample.labels["outcome"]: sample.value
            for family in families
            for sample in family.samples
            if sample.name == "crossrank_pairs_total"
        }

    def pairs_since(self, before: dict[str, float], until: Callable[[dict[str, float]], bool]) -> dict[str, float]:
        """What it has counted since, once that is so.

        Raises:
            CrossrankError: it is not so within a minute.
        """
        give_up = time.monotonic() + 60
        while not until(since := {what: now - before[what] for what, now in self.pairs().items()}):
            if time.monotonic() > give_up:
                raise CrossrankError(f"the server counted {since} and then nothing for a minute")
            time.sleep(0.02)
        return since

    def resident_mib(self) -> float:
        """Its resident memory."""
        return float(self.process.memory_info().rss / 2**20)


@contextmanager
def running_server(ranker: Path, variant: str) -> Iterator[Server]:
    """`crossrank serve` without its caches, which would answer repeated calls, or tokenise them, for nothing.

    Raises:
        CrossrankError: it does not start.
    """
    metrics_port = _free_port()
    command = [sys.executable, "-P", "-m", "crossrank.cli", "serve", str(ranker), "--port", "0", "--variant", variant]
    command += ["--score-cache", "0", "--document-cache", "0", "--metrics-port", str(metrics_port)]
    # In a session of its own: Ctrl-C is for who measures, not for what is measured.
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, start_new_session=True
    ) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline().strip()
            if not line.startswith(_READY):
                raise CrossrankError("the server did not start; `crossrank serve` with the same ranker says why")
            yield Server(
                line.removeprefix(_READY), f"http://127.0.0.1:{metrics_port}/metrics", psutil.Process(process.pid)
            )
        finally:
            process.terminate()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
