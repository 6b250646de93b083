"""Target: a server under attack, and what a hostile caller does to it."""

import http.client
import json
import re
import socket
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import grpc

from crossrank.serve.local import LocalServer, local_server

RANK = "/crossrank.v1.RankService/Rank"
SCORE = "/crossrank.v1.RankService/Score"
_UNBOUNDED = (("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.enable_retries", 0))


@dataclass(frozen=True)
class Target:
    """A running server.

    Attributes:
        target: "host:port" of its gRPC services.
        http: of its HTTP port.
        metrics: of its metrics.
        process: its process.
        log: its standard error; None where nobody keeps it.
    """

    target: str
    http: str
    metrics: str
    process: subprocess.Popen[str]
    log: IO[str] | None = None

    @contextmanager
    def channel(self) -> Iterator[grpc.Channel]:
        """A channel of its own connection."""
        with grpc.insecure_channel(self.target, (*_UNBOUNDED, ("grpc.use_local_subchannel_pool", 1))) as channel:
            yield channel

    def call(self, method: str, *messages: Any, seconds: float = 60, metadata: Any = ()) -> str:
        """Statuses of unary calls at once, counted."""
        with self.channel() as channel:
            call: Any = channel.unary_unary(method)
            data = [one if isinstance(one, bytes) else one.SerializeToString() for one in messages]
            running = [call.future(one, timeout=seconds, metadata=metadata) for one in data]
            return counted(one.code().name for one in running)

    def post(self, path: str, body: Any, headers: dict[str, str] | None = None, seconds: float = 60) -> str:
        """Status of one POST; a body that is not bytes is sent as JSON."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        connection = http.client.HTTPConnection(self.http, timeout=seconds)
        try:
            connection.request("POST", path, data, {"Content-Type": "application/json", **(headers or {})})
            reply = connection.getresponse()
            reply.read()
            return str(reply.status)
        except (OSError, http.client.HTTPException) as error:
            return type(error).__name__
        finally:
            connection.close()

    def posts(self, number: int, path: str, body: Any, seconds: float = 60) -> str:
        """Statuses of as many POSTs at once, counted."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        with ThreadPoolExecutor(number) as threads:
            return counted(threads.map(lambda _: self.post(path, data, seconds=seconds), range(number)))

    def connect(self, *, http: bool = True) -> socket.socket:
        """A raw connection."""
        host, _, port = (self.http if http else self.target).rpartition(":")
        return socket.create_connection((host, int(port)), timeout=60)

    def say(self, sent: bytes, seconds: float = 20) -> str:
        """The statuses that raw bytes at the HTTP port get until the server closes or is silent."""
        with self.connect() as connection:
            connection.settimeout(seconds)
            received = b""
            try:
                connection.sendall(sent)
                while piece := connection.recv(65536):
                    received += piece
            except OSError as error:
                received += f"\nHTTP/1.1 {type(error).__name__}".encode()
            return counted(re.findall(r"HTTP/1.1 (\w+)", received.decode("latin-1"))) or "closed"

    def resident(self, what: str = "VmRSS") -> int:
        """MiB of memory; of "VmHWM" the most since `forget_peak`."""
        found = re.search(rf"^{what}:\s+(\d+)", Path(f"/proc/{self.process.pid}/status").read_text(), re.MULTILINE)
        return int(found[1]) // 1024 if found else 0

    def forget_peak(self) -> None:
        """Begins a new measurement of the most memory."""
        Path(f"/proc/{self.process.pid}/clear_refs").write_text("5")

    def descriptors(self) -> int:
        """Open files of the process."""
        return len(list(Path(f"/proc/{self.process.pid}/fd").iterdir()))

    def threads(self) -> int:
        """Threads of the process."""
        return len(list(Path(f"/proc/{self.process.pid}/task").iterdir()))

    def logged(self) -> str:
        """All that it has written to its log."""
        if self.log is None:
            return ""
        self.log.seek(0)
        return self.log.read()


def counted(statuses: Iterable[str]) -> str:
    """Statuses with their numbers, the most frequent first."""
    counts = Counter(statuses)
    return ", ".join(status if n == 1 else f"{n} {status}" for status, n in counts.most_common())


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def attacked(*arguments: str, start: Callable[..., Any] = local_server) -> Iterator[Target]:
    """Runs a server with both ports and metrics.

    Args:
        arguments: of `crossrank serve`.
        start: starts it, as `local_server` does.
    """
    metrics = free_port()
    with tempfile.TemporaryFile("w+") as log:
        server: LocalServer
        with start("--http-port", "0", "--metrics-port", str(metrics), *arguments, log=log.fileno()) as server:
            assert server.process.stdout is not None
            http = server.process.stdout.readline().rpartition("//")[2].strip()
            yield Target(server.target, http, f"127.0.0.1:{metrics}", server.process, log)


@contextmanager
def watched(target: Target) -> Iterator[dict[str, dict[str, float]]]:
    """Watches the health of both ports within the block; what was seen is in the dictionary after it."""
    command = [sys.executable, "-m", "benchmarks.hostile.watch", target.target, target.http]
    seen: dict[str, dict[str, float]] = {}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield seen
        finally:
            told, _ = process.communicate("")
            seen.update(json.loads(told))
