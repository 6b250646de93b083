"""Watcher: asks both ports of a server for its health, in a process of its own, until its standard input ends.

A process that sends megabytes at the same time would measure itself.
"""

import http.client
import json
import sys
import threading
import time
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

_EVERY = 0.01


def main(target: str, http: str) -> None:
    """Prints answers, failures and the longest silence in seconds of each port as JSON."""
    ended = threading.Event()
    watched = {"grpc": _Port(), "http": _Port()}

    def watch_grpc() -> None:
        with grpc.insecure_channel(target) as channel:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            while not ended.wait(_EVERY):
                try:
                    reply = stub.Check(health_pb2.HealthCheckRequest(), timeout=60)
                    watched["grpc"].note(reply.status == health_pb2.HealthCheckResponse.SERVING)
                except grpc.RpcError:
                    watched["grpc"].note(False)

    def watch_http() -> None:
        connection = http_connection(http)
        while not ended.wait(_EVERY):
            try:
                connection.request("GET", "/health")
                reply = connection.getresponse()
                reply.read()
                watched["http"].note(reply.status == 200)
            except (OSError, http_exception):
                watched["http"].note(False)
                connection.close()

    threads = [threading.Thread(target=watch, daemon=True) for watch in (watch_grpc, watch_http)]
    for thread in threads:
        thread.start()
    print("watching", flush=True)
    sys.stdin.read()
    ended.set()
    for thread in threads:
        thread.join(1)
    print(json.dumps({name: port.told() for name, port in watched.items()}), flush=True)


http_exception = http.client.HTTPException


def http_connection(address: str) -> http.client.HTTPConnection:
    """A connection to "host:port"."""
    return http.client.HTTPConnection(address, timeout=60)


class _Port:
    def __init__(self) -> None:
        self.answers = self.failures = 0
        self.silence = 0.0
        self._last = time.monotonic()

    def note(self, good: bool) -> None:
        now = time.monotonic()
        if good:
            self.answers += 1
            self.silence = max(self.silence, now - self._last)
            self._last = now
        else:
            self.failures += 1

    def told(self) -> dict[str, float]:
        return {
            "answers": self.answers,
            "failures": self.failures,
            "silence": max(self.silence, time.monotonic() - self._last),
        }


if __name__ == "__main__":
    main(*sys.argv[1:])
