"""Rankers that are replaced under load: no call fails, and each answer is that of the version that it names."""

import json
import shutil
import signal
import subprocess
import threading
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest

from crossrank.inference.ranker.manifest import read_manifest
from crossrank.inference.scorer import Scorer
from crossrank.serve.local import LocalServer, local_server
from crossrank.v1 import ranker_pb2, ranker_pb2_grpc
from tests.support.small_ranker import small_ranker

TEXTS = ["a b c", "d", "e f g h i j"]


class Versions:
    """A ranker's directory, and what its versions answer."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.scores: dict[str, list[float]] = {}

    def put(self, bias: float) -> str:
        """Replaces the directory by another version; gives its name."""
        beside = small_ranker(self.directory.with_name("beside"), bias)
        version = read_manifest(beside).version
        with Scorer.open(beside) as scorer:
            self.scores[version] = scorer.predict([("a", text) for text in TEXTS]).tolist()
        if self.directory.exists():
            self.directory.rename(self.directory.with_name("before"))
        beside.rename(self.directory)
        shutil.rmtree(self.directory.with_name("before"), ignore_errors=True)
        return version


@pytest.fixture
def versions(tmp_path: Path) -> Versions:
    made = Versions(tmp_path / "ranker")
    made.put(0.0)
    return made


def _score(stub: ranker_pb2_grpc.RankServiceStub, model: str = "") -> ranker_pb2.ScoreResponse:
    pairs = [ranker_pb2.Pair(query="a", document=text) for text in TEXTS]
    return stub.Score(ranker_pb2.ScoreRequest(model=model, pairs=pairs), timeout=120)


def _events(server: LocalServer) -> Iterator[dict[str, object]]:
    assert server.process.stderr is not None
    for line in server.process.stderr:
        yield json.loads(line)


def _until(server: LocalServer, event: str) -> dict[str, object]:
    return next(line for line in _events(server) if line["event"] == event)


def _under_load(target: str, versions: Versions, act: Callable[[], None]) -> Counter[str]:
    """Calls from three threads while `act` runs; how many answers each version gave, all of them right."""
    answered: Counter[str] = Counter()
    failed: list[str] = []
    ended = threading.Event()

    def call() -> None:
        with grpc.insecure_channel(target, options=(("grpc.use_local_subchannel_pool", 1),)) as channel:
            stub = ranker_pb2_grpc.RankServiceStub(channel)
            while not ended.is_set():
                try:
                    response = _score(stub)
                except grpc.RpcError as error:
                    failed.append(str(error))
                    return
                if list(response.scores) != pytest.approx(versions.scores[response.version], abs=1e-6):
                    failed.append(f"{response.version} gave {response.scores}")
                answered[response.version] += 1

    threads = [threading.Thread(target=call) for _ in range(3)]
    for thread in threads:
        thread.start()
    try:
        act()
    finally:
        ended.set()
        for thread in threads:
            thread.join(120)
    assert failed == []
    return answered


def test_new_versions_take_over_under_load(versions: Versions) -> None:
    arguments = (str(versions.directory), "--reload-interval", "0.1", "--versions", "1")
    with local_server(*arguments, log=subprocess.PIPE) as server:
        put = []

        def replace() -> None:
            for number in range(1, 6):
                put.append(versions.put(number / 8))
                assert _until(server, "reloaded")["version"] == put[-1]

        answered = _under_load(server.target, versions, replace)
        assert set(put[:-1]) <= set(answered), "a version never answered"
        with grpc.insecure_channel(server.target) as channel:
            assert _score(ranker_pb2_grpc.RankServiceStub(channel)).version == put[-1]


def _break(directory: Path) -> None:
    graph = directory / "onnx" / "model.onnx"
    graph.write_bytes(graph.read_bytes()[:-1])


def _lie(directory: Path) -> None:
    """A graph whose sha256 is right and whose golden scores are not."""
    path = directory / "onnx" / "manifest.json"
    manifest = json.loads(path.read_text())
    small_ranker(directory, bias=0.75)
    other = json.loads(path.read_text())
    path.write_text(json.dumps({**manifest, "files": other["files"]}))


@pytest.mark.parametrize("harm", [_break, _lie, lambda directory: (directory / "tokenizer.json").unlink()])
def test_a_bad_version_is_refused_and_the_old_one_answers_on(
    versions: Versions, harm: Callable[[Path], object]
) -> None:
    [good] = versions.scores
    arguments = (str(versions.directory), "--reload-interval", "0.1", "--metrics-port", "0")
    with local_server(*arguments, log=subprocess.PIPE) as server:
        port = _until(server, "metrics")["port"]
        harm(versions.directory)
        assert _until(server, "reload refused")["model"] == "ranker"
        with grpc.insecure_channel(server.target) as channel:
            stub = ranker_pb2_grpc.RankServiceStub(channel)
            response = _score(stub)
            assert response.version == good
            assert list(response.scores) == pytest.approx(versions.scores[good], abs=1e-6)
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=120) as reply:
                assert b'crossrank_reloads_total{model="ranker",outcome="refused"} 1.0' in reply.read()
            better = versions.put(0.5)
            assert _until(server, "reloaded")["version"] == better
            assert _score(stub).version == better


def test_older_versions_stay_for_who_names_them(versions: Versions) -> None:
    [first] = versions.scores
    arguments = (str(versions.directory), "--reload-interval", "0", "--versions", "2")
    with (
        local_server(*arguments, log=subprocess.PIPE) as server,
        grpc.insecure_channel(server.target) as channel,
    ):
        stub = ranker_pb2_grpc.RankServiceStub(channel)

        def reload() -> None:
            server.process.send_signal(signal.SIGHUP)
            _until(server, "reloaded")

        second = versions.put(0.25)
        assert _score(stub).version == first, "nobody asked for a reload"
        reload()
        assert _score(stub).version == second
        for pin in (first, first[:6]):
            response = _score(stub, f"ranker@{pin}")
            assert response.version == first
            assert list(response.scores) == pytest.approx(versions.scores[first], abs=1e-6)
        [described] = stub.ListModels(ranker_pb2.ListModelsRequest(), timeout=120).models
        assert described.version == second
        versions.put(0.0)
        reload()
        assert _score(stub).version == first, "what is still loaded did not come back"
        assert _score(stub, f"ranker@{second}").version == second
        third = versions.put(0.5)
        reload()
        assert _score(stub).version == third
        with pytest.raises(grpc.RpcError) as unknown:
            _score(stub, f"ranker@{second}")
        assert unknown.value.code() == grpc.StatusCode.NOT_FOUND
