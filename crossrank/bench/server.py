"""A server of our own on loopback, for as long as it is measured."""

import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

from serve.errors import CrossrankError

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

    def pairs(self, what: str) -> float:
        """Pairs that it counted as computed, wasted, dropped or cached."""
        with urllib.request.urlopen(self.metrics, timeout=30) as reply:
            families = text_string_to_metric_families(reply.read().decode())
        return sum(
            sample.value
            for family in families
            for sample in family.samples
            if sample.name == "crossrank_pairs_total" and sample.labels["what"] == what
        )

    def resident_mib(self) -> float:
        """Its resident memory."""
        return float(self.process.memory_info().rss / 2**20)


@contextmanager
def running_server(ranker: Path, variant: str, workers: int | None = None) -> Iterator[Server]:
    """`crossrank serve` without a score cache, which would answer repeated calls for nothing.

    Raises:
        CrossrankError: it does not start.
    """
    metrics_port = _free_port()
    command = [sys.executable, "-m", "crossrank.cli", "serve", str(ranker), "--port", "0", "--variant", variant]
    command += [
        "--score-cache",
        "0",
        "--metrics-port",
        str(metrics_port),
        *(["--workers", str(workers)] if workers else []),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
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
