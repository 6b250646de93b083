"""Reload benchmark: failed calls, and the p99 latency beside that without reloads, at a share of the capacity.

Run with `python -m benchmarks.reload --reloads 1000`. Two versions of the default ranker that score alike take turns in
one directory; each SIGHUP swaps them. The latencies with and without reloads are those of alternating rounds, with the
same open load: calls begin at random times, whatever the server does.
"""

import argparse
import asyncio
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import grpc
import numpy as np

from crossrank.atomic import replace_directory
from crossrank.errors import CrossrankError
from crossrank.inference.ranker.hub import DEFAULT_RANKER
from crossrank.inference.ranker.manifest import MANIFEST_PATH, sha256_of
from crossrank.serve.local import UNCACHED, LocalServer, local_server
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc

_DOCUMENTS = 20
_CLIENTS = 8
_CAPACITY_SECONDS = 5.0


def main() -> None:
    """Prints one line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reloads", type=int, default=1000, help="Reloads of all rounds together.")
    parser.add_argument("--rounds", type=int, default=5, help="Rounds with reloads, and as many without.")
    parser.add_argument("--pause", type=float, default=0.5, help="Seconds from one reload to the next.")
    parser.add_argument("--load", type=float, default=0.7, help="Share of the capacity.")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        versions = [_version(Path(made) / f"version{number}", number) for number in range(2)]
        ranker = Path(made) / "ranker"
        _put(versions[0], ranker)
        flags = (str(ranker), "--reload-interval", "0", "--versions", "1", *UNCACHED)
        with local_server(*flags, log=subprocess.PIPE) as server:
            print(json.dumps(asyncio.run(_measure(server, ranker, versions, given))))


async def _measure(
    server: LocalServer, ranker: Path, versions: list[Path], given: argparse.Namespace
) -> dict[str, float]:
    async with grpc.aio.insecure_channel(server.target) as channel:
        stub = ranker_pb2_grpc.RankServiceStub(channel)
        rate = given.load * await _capacity(stub)
        latencies: dict[bool, list[float]] = {False: [], True: []}
        failed, reloads, memory = 0, 0, _memory(server)
        each = given.reloads // given.rounds
        for _ in range(given.rounds):
            for reloading in (False, True):
                ended = asyncio.Event()
                load = asyncio.create_task(_open_load(stub, rate, ended))
                if reloading:
                    for _ in range(each):
                        await asyncio.sleep(given.pause)
                        _put(versions[(reloads + 1) % 2], ranker)
                        server.process.send_signal(signal.SIGHUP)
                        await asyncio.to_thread(_wait_for, server, "reloaded")
                        reloads += 1
                else:
                    await asyncio.sleep(each * given.pause)
                ended.set()
                answered, lost = await load
                latencies[reloading] += answered
                failed += lost
        p99 = {reloading: float(np.quantile(latencies[reloading], 0.99)) for reloading in (False, True)}
        return {
            "reloads": reloads,
            "calls": len(latencies[False]) + len(latencies[True]),
            "failed": failed,
            "requests_per_second": round(rate, 1),
            "p99_ms": round(1000 * p99[False], 1),
            "p99_ms_reloading": round(1000 * p99[True], 1),
            "ratio": round(p99[True] / p99[False], 2),
            "mib_before": memory,
            "mib_after": _memory(server),
        }


def _request(draw: random.Random) -> ranker_pb2.RankRequest:
    documents = [
        ranker_pb2.Document(text=f"{draw.random()} " + "some words of a passage " * draw.randint(2, 8))
        for _ in range(_DOCUMENTS)
    ]
    return ranker_pb2.RankRequest(query="which passage says it", documents=documents)


async def _capacity(stub: "ranker_pb2_grpc.RankServiceAsyncStub") -> float:
    """Requests a second of clients that each wait for their answer."""
    draw, answered = random.Random(0), 0
    until = time.monotonic() + _CAPACITY_SECONDS

    async def client() -> None:
        nonlocal answered
        while time.monotonic() < until:
            await stub.Rank(_request(draw), timeout=60)
            answered += 1

    await asyncio.gather(*(client() for _ in range(_CLIENTS)))
    return answered / _CAPACITY_SECONDS


async def _open_load(
    stub: "ranker_pb2_grpc.RankServiceAsyncStub", rate: float, ended: asyncio.Event
) -> tuple[list[float], int]:
    """Latencies in seconds, and how many calls failed."""
    draw = random.Random(1)
    latencies: list[float] = []
    failed = 0

    async def call(intended: float) -> None:
        nonlocal failed
        try:
            await stub.Rank(_request(draw), timeout=60)
            latencies.append(time.monotonic() - intended)
        except grpc.RpcError:
            failed += 1

    intended = time.monotonic()
    async with asyncio.TaskGroup() as calls:
        while not ended.is_set():
            intended += draw.expovariate(rate)
            await asyncio.sleep(max(0.0, intended - time.monotonic()))
            calls.create_task(call(intended))
    return latencies, failed


def _version(directory: Path, number: int) -> Path:
    """A copy of the default ranker whose version is its own: white space behind its tokenizer."""
    shutil.copytree(DEFAULT_RANKER, directory)
    tokenizer = directory / "tokenizer.json"
    tokenizer.write_bytes(tokenizer.read_bytes().rstrip() + b"\n" * number)
    manifest = json.loads((directory / MANIFEST_PATH).read_text())
    manifest["files"]["tokenizer.json"] = sha256_of(tokenizer)
    (directory / MANIFEST_PATH).write_text(json.dumps(manifest))
    return directory


def _put(version: Path, ranker: Path) -> None:
    with replace_directory(ranker, force=True) as made:
        shutil.copytree(version, made, dirs_exist_ok=True)


def _wait_for(server: LocalServer, event: str) -> None:
    assert server.process.stderr is not None
    for line in server.process.stderr:
        if f'"event": "{event}"' in line:
            return
        if '"level": "error"' in line or not line.startswith("{"):
            print(line, end="", file=sys.stderr)
    raise CrossrankError(f"the server ended with {server.process.wait()}")


def _memory(server: LocalServer) -> int:
    """Resident memory of the server in MiB."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) // 1024


if __name__ == "__main__":
    main()
