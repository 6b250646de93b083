"""The benchmark's own parts, and a small run of it against a real server."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from crossrank.bench.alternate import Entry, alternate, ratio
from crossrank.bench.matmul import Shape
from crossrank.bench.peers import named_server, running_peer
from crossrank.bench.result import Result
from crossrank.bench.targets import Answer
from crossrank.bench.workload import RankCall, rank_calls
from crossrank.errors import CrossrankError
from tests.reranking_server import Behaviour, reranking_server


def test_calls_are_a_function_of_their_seed_and_share_no_pair() -> None:
    calls = rank_calls(4, 50, seed=3)
    assert calls == rank_calls(4, 50, seed=3)
    assert calls != rank_calls(4, 50, seed=4)
    assert len({call.query for call in calls}) == 4
    words = [len(document.split(" ")) for call in calls for document in call.documents]
    assert np.percentile(words, 95) > 3 * np.percentile(words, 25)


def test_a_ratio_is_taken_turn_by_turn() -> None:
    estimate = ratio([20.0, 40.0, 60.0, 80.0, 103.0], [10.0, 20.0, 30.0, 40.0, 50.0])
    assert (estimate.value, estimate.low, estimate.high) == (2.0, 2.0, 2.06)


class Counting:
    """A contestant that raises at its nth call."""

    def __init__(self, error: BaseException | None = None, at: int = 0) -> None:
        self.error, self.at, self.calls = error, at, 0

    def __call__(self, call: RankCall) -> np.ndarray:
        self.calls += 1
        if self.error and self.calls == self.at:
            raise self.error
        return np.ones(len(call.documents), dtype=np.float32)


def test_a_contestant_that_raises_is_left_out_and_the_others_are_measured() -> None:
    calls = [RankCall("q", ["a", "b"])]
    broken = Counting(RuntimeError("out of luck\nmore"), at=3)
    turns = alternate({"base": Entry(Counting()), "broken": Entry(broken), "other": Entry(Counting())}, calls, 4)
    assert turns.failed == {"broken": "out of luck"}
    assert broken.calls == 3
    assert {name: len(speeds) for name, speeds in turns.speeds.items()} == {"base": 4, "other": 4}
    assert turns.scores.keys() == {"base", "other"}
    with pytest.raises(RuntimeError, match="out of luck"):
        alternate({"base": Entry(Counting(RuntimeError("out of luck"), at=2))}, calls, 4)


def test_ctrl_c_keeps_the_turns_that_all_have_finished() -> None:
    calls = [RankCall("q", ["a", "b"])]
    stopped = Counting(KeyboardInterrupt(), at=4)  # one call warms up
    turns = alternate({"base": Entry(Counting()), "other": Entry(stopped)}, calls, 7)
    assert turns.interrupted
    assert {name: len(speeds) for name, speeds in turns.speeds.items()} == {"base": 2, "other": 2}
    with pytest.raises(KeyboardInterrupt):
        alternate({"base": Entry(Counting(KeyboardInterrupt(), at=2))}, calls, 7)


def test_products_count_the_last_layer_for_the_first_token() -> None:
    shape = Shape(hidden=2, intermediate=8, layers=1)
    # Keys and values of 3 tokens, the other products of one, and its attention.
    assert shape.products([3]) == 3 * 2 * 2 * 4 + 2 * (2 * 4 + 2 * 16) + 4 * 3 * 2


@pytest.mark.parametrize(("documents", "given"), [("documents", ""), ("texts", "another engine=")])
def test_a_server_with_http_is_a_contestant(documents: str, given: str) -> None:
    calls = [RankCall("what", ["a", "bbb", "cc"]), RankCall("why", ["dddd", "e"])]
    behaviour = Behaviour(documents)
    with reranking_server(behaviour) as address, running_peer(*named_server(f"{given}{address}")) as contestant:
        name, _ = named_server(f"{given}{address}")
        turns = alternate({name: Entry(contestant)}, calls, 2)
        behaviour.status = 503
        with pytest.raises(CrossrankError, match="a call ended with HTTP 503"):
            contestant(calls[0])
    assert name == (given.removesuffix("=") or f"server at {address.removeprefix('http://')}")
    assert len(turns.speeds[name]) == 2
    assert [part.tolist() for part in turns.scores[name]] == [[1.0, 3.0, 2.0], [4.0, 1.0]]


@pytest.mark.parametrize(
    "body",
    [b"", b"[]]", b'{"scores": [1]}', b'[{"index": 5, "score": 1}]', b'[{"index": 0}]', b'[{"index":0,"score":1},3]'],
)
def test_an_answer_without_scores_is_one_sentence(body: bytes) -> None:
    with pytest.raises(CrossrankError, match="holds no scores in a form that we know"):
        Answer("OK", body=body).scores()


def test_the_benchmark_gives_its_result_as_json_and_draws_it(trained: Path, ranker: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "crossrank.cli", "bench", "engine", str(trained), str(ranker), "--json"]
    command += ["--documents", "8", "--calls", "1", "--alternations", "2", "--no-load", "--out", str(tmp_path)]
    outcome = subprocess.run(command, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    printed = Result.model_validate(json.loads(outcome.stdout))
    assert printed == Result.model_validate_json((tmp_path / "result.json").read_text())
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
    names = [speed.name for speed in printed.speeds]
    assert [speed.baseline for speed in printed.speeds] == [names[0]] * (len(names) - 2) + [names[-2]] * 2
    assert names[0] == "sentence-transformers torch, batch 32"
    assert printed.speeds[0].ratio.value == pytest.approx(1.0)
    exact = next(speed for speed in printed.speeds if speed.name == "crossrank fp32")
    assert exact.kendall_tau == pytest.approx(1.0, abs=0.1)
    assert exact.top_1 == 1.0
    assert any(name.endswith("over gRPC, 8 at once") for name in names)
    assert any("matrix products" in check.name for check in printed.checks)
    assert (tmp_path / "report.html").is_file()
    for module, peer in (("fastembed", "fastembed"), ("flashrank", "FlashRank"), ("openvino", "OpenVINO")):
        found = [speed for speed in printed.speeds if speed.name.startswith(peer)]
        assert len(found) == (find_spec(module) is not None)
        assert all(speed.top_1 == 1.0 for speed in found)
