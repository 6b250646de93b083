import json
import subprocess
import sys
from collections.abc import Callable
from typing import IO

import grpc
import pytest

from crossrank.serve.local import local_server
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc

_FAULT = """
import structlog
from crossrank.serve.logs import configure_logs
configure_logs()
query = "SEC" + "RET"
try:
    raise RuntimeError("broken")
except RuntimeError as error:
    structlog.get_logger().error("fault", request_id="r", exc_info=error)
"""


def test_a_fault_is_logged_with_its_frames_and_without_its_locals() -> None:
    done = subprocess.run([sys.executable, "-c", _FAULT], stderr=subprocess.PIPE, text=True, check=True, timeout=120)
    assert json.loads(done.stderr)["exception"][0]["exc_type"] == "RuntimeError"
    assert "SECRET" not in done.stderr


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
