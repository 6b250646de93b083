"""The benchmark's own parts, and a small run of it against a real server."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from crossrank.bench.alternate import ratio
from crossrank.bench.matmul import Shape
from crossrank.bench.result import Result
from crossrank.bench.workload import rank_calls


def test_calls_are_a_function_of_their_seed_and_share_no_pair() -> None:
    calls = rank_calls(4, 50, seed=3)
    assert calls == rank_calls(4, 50, seed=3)
    assert calls != rank_calls(4, 50, seed=4)
    assert len({call.query for call in calls}) == 4
    words = [len(document.split(" ")) for call in calls for document in call.documents]
    assert np.percentile(words, 95) > 3 * np.percentile(words, 25)


def test_a_ratio_is_taken_turn_by_turn() -> None:
    estimate = ratio([20.0, 40.0, 60.0, 80.0, 103.0], [10.0, 20.0, 30.0, 40.0, 50.0])
    assert estimate.median == 2.0
    assert 2.0 == estimate.low <= estimate.high <= 2.06


def test_products_count_the_last_layer_for_the_first_token() -> None:
    shape = Shape(hidden=2, intermediate=8, layers=1)
    # Keys and values of 3 tokens, the other products of one, and its attention.
    assert shape.products([3]) == 3 * 2 * 2 * 4 + 2 * (2 * 4 + 2 * 16) + 4 * 3 * 2


def test_the_benchmark_gives_its_result_as_json_and_draws_it(trained: Path, ranker: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "crossrank.cli", "bench", "engine", str(trained), str(ranker), "--json"]
    command += ["--documents", "8", "--calls", "1", "--alternations", "2", "--no-load", "--out", str(tmp_path)]
    outcome = subprocess.run(command, capture_output=True, text=True)
    assert outcome.returncode == 0, outcome.stderr
    printed = Result.model_validate(json.loads(outcome.stdout))
    assert printed == Result.model_validate_json((tmp_path / "result.json").read_text())
    assert (tmp_path / "speed.png").read_bytes().startswith(b"\x89PNG")
    names = [speed.name for speed in printed.speeds]
    assert names[0] == "sentence-transformers torch, batch 32"
    assert printed.speeds[0].ratio.median == pytest.approx(1.0)
    exact = next(speed for speed in printed.speeds if speed.name == "crossrank fp32")
    assert exact.kendall_tau == pytest.approx(1.0, abs=0.1)
    assert exact.top_1 == 1.0
    assert any(name.endswith("over gRPC, 8 at once") for name in names)
    assert any("matrix products" in check.name for check in printed.checks)
