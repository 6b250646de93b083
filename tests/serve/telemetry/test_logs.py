"""The log of a server: JSON lines without texts, whatever fails, that no call waits for."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import IO

import grpc
import pytest

from crossrank.serve.local import local_server
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc

# Where a part of the server fails with a text in its message, and the event that tells of it.
PARTS = {
    "handler": "fault",
    "panic": "fault",
    "thread": "uncaught",
    "callback": "uncaught",
    "task": "uncaught",
    "finalizer": "uncaught",
    "warning": "warning",
    "library": "library",
}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("method", ["Rank", "RankStream"])
def test_a_fault_tells_its_place_and_no_text(part: str, method: str) -> None:
    command = [sys.executable, "-m", "tests.serve.telemetry.faulty_server", part]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        target = process.stdout.readline().removeprefix("listening on ").strip()
        ranked = ranker_pb2.RankRequest(
            query="SECRET query", documents=[ranker_pb2.Document(text="SECRET text")], request_id="r"
        )
        with grpc.insecure_channel(target) as channel:
            stub = ranker_pb2_grpc.RankServiceStub(channel)
            answer = ""
            if method == "RankStream":
                answer = str(next(stub.RankStream(iter([ranker_pb2.RankStreamRequest(request=ranked)]), timeout=120)))
            else:
                try:
                    stub.Rank(ranked, timeout=120)
                except grpc.RpcError as error:
                    answer = str(error)
        process.terminate()
        _, log = process.communicate(timeout=120)
    assert ("internal error" in answer) == (part in ("handler", "panic"))
    assert "SECRET" not in answer + log
    lines = [json.loads(line) for line in log.splitlines()]
    told = next(line for line in lines if line["event"] == PARTS[part])
    assert "faulty_server.py" in json.dumps(told)


@pytest.mark.parametrize("treat", [lambda pipe: None, IO.close], ids=["nobody reads it", "closed"])
def test_a_server_whose_log_goes_nowhere_answers_calls_and_ends(treat: Callable[[IO[str]], None]) -> None:
    """A pipe holds 64 KiB: some 500 lines."""
    with local_server(log=subprocess.PIPE) as (target, process), grpc.insecure_channel(target) as channel:
        assert process.stderr is not None
        treat(process.stderr)
        stub = ranker_pb2_grpc.RankServiceStub(channel)
        for _ in range(800):
            stub.ListModels(ranker_pb2.ListModelsRequest(), timeout=120)
        document = ranker_pb2.Document(id="a", text="text")
        assert stub.Rank(ranker_pb2.RankRequest(query="query", documents=[document]), timeout=120).results
        process.terminate()
        assert process.wait(120) == 0
