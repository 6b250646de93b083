"""What hostile callers send, and what a server does meanwhile."""

import re
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

MIB = 1024 * 1024


def memory(process: int, what: str = "VmRSS") -> int:
    """MiB of a process; "VmHWM" for the most that it ever had."""
    status = Path(f"/proc/{process}/status").read_text()
    found = re.search(rf"^{what}:\s+(\d+) kB", status, re.MULTILINE)
    assert found is not None
    return int(found.group(1)) // 1024


class Health:
    """Answers of a server's health service while it was watched."""

    def __init__(self) -> None:
        self.serving = 0
        self.others: list[object] = []


@contextmanager
def watched_health(target: str) -> Iterator[Health]:
    """Asks for the health again and again, each time with a limit of 10 seconds."""
    health, ended = Health(), threading.Event()

    def watch() -> None:
        with grpc.insecure_channel(target) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            while not ended.wait(0.02):
                try:
                    reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=10)
                except grpc.RpcError as error:
                    health.others.append(error.code())
                    continue
                if reply.status == health_pb2.HealthCheckResponse.SERVING:
                    health.serving += 1
                else:
                    health.others.append(reply.status)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield health
    finally:
        ended.set()
        thread.join()


class RawConnection:
    """An HTTP/2 connection whose frames are written one by one."""

    def __init__(self, target: str) -> None:
        host, _, port = target.rpartition(":")
        self._socket = socket.create_connection((host, int(port)), timeout=120)
        self._socket.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + _frame(4, 0, 0, b""))

    def begin(self, path: str, stream: int, sent: bytes, timeout: str = "100S") -> None:
        """Begins a call and sends the first bytes of its request, of 1000 that it promises."""
        headers = {
            ":method": "POST",
            ":scheme": "http",
            ":path": path,
            ":authority": "localhost",
            "content-type": "application/grpc",
            "te": "trailers",
            "grpc-timeout": timeout,
        }
        block = b"".join(
            b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
            for name, value in headers.items()
        )
        message = b"\x00" + (1000).to_bytes(4) + sent
        self._socket.sendall(_frame(1, 4, stream, block) + _frame(0, 0, stream, message))

    def ping(self) -> None:
        """Asks whether the server lives."""
        self._socket.sendall(_frame(6, 0, 0, bytes(8)))

    def frames(self) -> Iterator[tuple[int, int, bytes]]:
        """Type, stream and payload of each frame that the server sends, until it closes the connection."""
        with self._socket.makefile("rb") as file:
            while len(head := file.read(9)) == 9:
                yield head[3], int.from_bytes(head[5:9]), file.read(int.from_bytes(head[:3]))

    def close(self) -> None:
        self._socket.close()


def _frame(kind: int, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3) + bytes([kind, flags]) + stream.to_bytes(4) + payload
