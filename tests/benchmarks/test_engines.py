"""The parts of the comparison with other engines, and a small run of it against a real server."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.compare import compare_speeds
from benchmarks.engine_rounds import measure_engines
from benchmarks.engines import EnginesOptions, bench_engines
from benchmarks.peers import named_server, running_peer
from benchmarks.results import RESULTS, EngineSpeed, EnginesResult
from benchmarks.roofline import Shape
from crossrank.bench.load.targets import Answer
from crossrank.bench.load.workload import RerankRequest, passage_requests
from crossrank.bench.results import read_result
from crossrank.errors import CrossrankError, UsageError
from crossrank.export.pipeline import ExportReport
from crossrank.inference.ranker.hub import DEFAULT_RANKER
from tests.benchmarks.made_speeds import engines_result
from tests.support.reranking_server import Behaviour, reranking_server

ROOT = Path(__file__).parent.parent.parent


def test_products_count_the_last_layer_for_the_first_token() -> None:
    shape = Shape(hidden=2, intermediate=8, layers=1)
    # Keys and values of 3 tokens, the other products of one, and its attention.
    assert shape.products([3]) == 3 * 2 * 2 * 4 + 2 * (2 * 4 + 2 * 16) + 4 * 3 * 2


@pytest.mark.parametrize(("documents", "given"), [("documents", ""), ("texts", "another engine=")])
def test_a_server_with_http_is_an_engine(documents: str, given: str) -> None:
    requests = [RerankRequest("what", ["a", "bbb", "cc"]), RerankRequest("why", ["dddd", "e"])]
    behaviour = Behaviour(documents)
    with reranking_server(behaviour) as address, running_peer(*named_server(f"{given}{address}")) as engine:
        name, _ = named_server(f"{given}{address}")
        assert [engine(request).tolist() for request in requests] == [[1.0, 3.0, 2.0], [4.0, 1.0]]
        [speed] = measure_engines({name: engine}, requests, 2, 1, {}).speeds
        behaviour.status = 503
        with pytest.raises(CrossrankError, match="HTTP 503"):
            engine(requests[0])
    assert speed.name == (given.removesuffix("=") or f"server at {address.removeprefix('http://')}")
    assert len(speed.pairs_per_second) == 2


@pytest.mark.parametrize(
    "body",
    [b"", b"[]]", b'{"scores": [1]}', b'[{"index": 5, "score": 1}]', b'[{"index": 0}]', b'[{"index":0,"score":1},3]'],
)
def test_an_answer_without_scores_is_an_error(body: bytes) -> None:
    with pytest.raises(CrossrankError, match="no scores"):
        Answer("OK", body=body).scores()


def test_servers_need_names_of_their_own() -> None:
    for servers in (
        ("a=http://127.0.0.1:9", "a=http://127.0.0.1:8"),
        ("http://127.0.0.1:9", "http://127.0.0.1:9"),
        ("=http://127.0.0.1:9",),
    ):
        with pytest.raises(UsageError, match="server"):
            bench_engines(EnginesOptions(model="none", ranker=DEFAULT_RANKER, servers=servers))


def test_a_faster_machine_is_no_change_and_a_faster_engine_is() -> None:
    [change] = compare_speeds(engines_result(2.0, 1.0), engines_result(2.0, 3.0)).changes
    assert not change.beyond_noise
    faster = compare_speeds(engines_result(2.0, 1.0), engines_result(3.0, 0.5, {"new": [9.0] * 7}))
    [change] = faster.changes
    assert change.beyond_noise
    assert change.change.mean == pytest.approx(1.5, rel=0.02)
    assert [(note.code, note.name) for note in faster.notes] == [("only_after", "new")]


def test_the_reference_is_a_result_and_equals_itself() -> None:
    reference = read_result(ROOT / "benchmarks" / "reference.json", RESULTS)
    comparison = compare_speeds(reference, reference)
    assert comparison.changes
    assert not comparison.notes
    assert not any(change.beyond_noise for change in comparison.changes)


def test_the_benchmark_gives_its_result_as_json_and_draws_it(tiny: ExportReport, tmp_path: Path) -> None:
    model = tiny.directory.parent / "model"
    command = [sys.executable, "-m", "benchmarks.engines", str(model), str(tiny.directory), "--json"]
    command += ["--documents", "8", "--requests", "1", "--rounds", "2", "--no-load", "--out", str(tmp_path)]
    outcome = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert outcome.returncode == 0, outcome.stderr
    printed = EnginesResult.model_validate(json.loads(outcome.stdout))
    assert printed == read_result(tmp_path / "result.json", RESULTS)
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "report.html").is_file()
    speeds: dict[str, EngineSpeed] = {speed.name: speed for speed in printed.speeds}
    names = list(speeds)
    assert [speed.baseline for speed in printed.speeds] == [names[0]] * (len(names) - 2) + [names[-2]] * 2
    assert names[0] == "sentence-transformers torch, batch 32"
    assert speeds[names[0]].ratio.mean == pytest.approx(1.0)
    assert speeds["crossrank fp32"].kendall_tau == pytest.approx(1.0, abs=0.1)
    assert speeds["crossrank fp32"].top_1 == 1.0
    assert [speed.concurrency for speed in printed.speeds[-2:]] == [8, 8]
    assert len(printed.checks) == 3
    for module, peer in (("fastembed", "fastembed"), ("flashrank", "FlashRank"), ("openvino", "OpenVINO")):
        found = [speed for name, speed in speeds.items() if name.startswith(peer)]
        assert len(found) == (find_spec(module) is not None)
        assert all(speed.top_1 == 1.0 for speed in found)


def test_requests_are_a_function_of_their_seed_and_share_no_pair() -> None:
    requests = passage_requests(4, 50, seed=3)
    assert requests == passage_requests(4, 50, seed=3)
    assert requests != passage_requests(4, 50, seed=4)
    pairs = {(request.query, document) for request in requests for document in request.documents}
    assert len(pairs) == 200
