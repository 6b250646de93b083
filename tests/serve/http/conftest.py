"""A server with HTTP, and what is sent to it."""

import re
import subprocess
import sys
from collections.abc import Iterator
from typing import NamedTuple

import httpx
import pytest

QUERY = "add two numbers"
DOCUMENTS = ["def add(a, b):\n    return a + b", "the capital of France", "def mul(a, b):\n    return a * b"]


class Served(NamedTuple):
    """A server: its gRPC target and its HTTP root."""

    target: str
    root: str
    process: subprocess.Popen[str]


def serve(*arguments: str) -> Iterator[Served]:
    """A server of its own; ends with the generator."""
    flags = ("--port", "0", "--http-port", "0", "--drain-delay", "0")
    command = [sys.executable, "-P", "-m", "crossrank.cli", "serve", *flags, *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            target = re.fullmatch(r"listening on (\S+)\n", process.stdout.readline())
            root = re.fullmatch(r"HTTP on (\S+)\n", process.stdout.readline())
            assert target and root
            yield Served(target[1], root[1], process)
        finally:
            process.terminate()
            process.wait(60)


@pytest.fixture(scope="package")
def served() -> Iterator[Served]:
    yield from serve()


@pytest.fixture(scope="package")
def http(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.root, timeout=120, trust_env=False) as client:
        yield client
