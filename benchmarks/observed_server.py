"""A crossrank server on loopback whose metrics, memory and processor time are read."""

import socket
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from prometheus_client.parser import text_string_to_metric_families

from crossrank.errors import CrossrankError
from crossrank.serve.local import UNCACHED, local_server


@dataclass(frozen=True, slots=True)
class ObservedServer:
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
        """Waits until a condition holds for what was counted since `before`, and returns that.

        Raises:
            CrossrankError: it does not hold within a minute.
        """
        give_up = time.monotonic() + 60
        while not until(since := {outcome: now - before[outcome] for outcome, now in self.pairs().items()}):
            if time.monotonic() > give_up:
                raise CrossrankError(f"the server counted {since} and then nothing for a minute")
            time.sleep(0.02)
        return since

    def resident_mib(self) -> float:
        """Its resident memory in MiB."""
        return float(self.process.memory_info().rss / 2**20)

    def cpu_seconds(self) -> float:
        """Its processor time."""
        times = self.process.cpu_times()
        return float(times.user + times.system)


@contextmanager
def observed_server(ranker: Path, variant: str) -> Iterator[ObservedServer]:
    """Runs a `local_server` with metrics.

    Raises:
        CrossrankError: it does not start.
    """
    port = _free_port()
    with local_server(str(ranker), "--variant", variant, *UNCACHED, "--metrics-port", str(port)) as (target, process):
        yield ObservedServer(target, f"http://127.0.0.1:{port}/metrics", psutil.Process(process.pid))


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
