"""A server's start: what it refuses to start with."""

import shutil
import subprocess
import sys
from pathlib import Path

import grpc
import pytest

from crossrank.errors import CrossrankError
from crossrank.inference.ranker.hub import DEFAULT_RANKER
from crossrank.serve.local import local_server
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc


def test_a_port_in_use(server: str) -> None:
    port = server.rpartition(":")[2]
    outcome = subprocess.run(
        [sys.executable, "-m", "crossrank.cli", "serve", "--port", port], capture_output=True, text=True
    )
    assert outcome.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in outcome.stderr.splitlines()[-1]
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("file", ["onnx/model_qint8_per_token.onnx", "tokenizer.json", "onnx/manifest.json"])
def test_a_truncated_file_is_refused_in_one_sentence(tmp_path: Path, file: str) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(DEFAULT_RANKER, broken)
    content = (broken / file).read_bytes()
    (broken / file).write_bytes(content[: len(content) // 2])
    outcome = subprocess.run(
        [sys.executable, "-m", "crossrank.cli", "serve", str(broken), "--port", "0"], capture_output=True, text=True
    )
    assert outcome.returncode == 2
    assert file in outcome.stderr.splitlines()[-1]
    assert "Traceback" not in outcome.stderr


def test_a_metrics_port_in_use(server: str) -> None:
    port = server.rpartition(":")[2]
    command = [sys.executable, "-m", "crossrank.cli", "serve", "--port", "0", "--metrics-port", port]
    outcome = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert outcome.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port} for metrics" in outcome.stderr.splitlines()[-1]
    assert "Traceback" not in outcome.stderr


def test_a_local_server_that_does_not_start_says_why(tmp_path: Path) -> None:
    with pytest.raises(CrossrankError, match="is not a ranker"), local_server(str(tmp_path)):
        pass


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_server_whose_standard_streams_are_closed_serves_and_ends(tmp_path: Path, closed: str) -> None:
    target = f"unix:{tmp_path}/socket"
    command = f"exec {sys.executable} -m crossrank.cli serve --host {target} --drain-delay 0 {closed}"
    with subprocess.Popen(["sh", "-c", command]) as process, grpc.insecure_channel(target) as channel:
        stub = ranker_pb2_grpc.RankServiceStub(channel)
        answered = False
        while not answered and process.poll() is None:
            try:
                answered = bool(stub.ListModels(ranker_pb2.ListModelsRequest(), timeout=60, wait_for_ready=True).models)
            except grpc.RpcError as error:
                assert error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)
        process.terminate()
        assert process.wait(60) == 0
    assert answered
