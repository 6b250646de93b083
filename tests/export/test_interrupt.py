"""SIGKILL at random moments of an export: the old ranker or the new one, never anything else."""

import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from crossrank.export.options import ExportOptions
from crossrank.export.pipeline import export_ranker
from crossrank.inference.ranker.directory import open_ranker
from crossrank.inference.ranker.manifest import read_manifest
from tests.support.tiny_models import tiny_cross_encoder


def kill_exports(tmp_path: Path, kills: int, seed: int) -> tuple[int, int]:
    """How many of the killed exports left the old ranker, and how many the new one."""
    tiny_cross_encoder("bert", tmp_path / "model")
    out = tmp_path / "out"
    options = ExportOptions(variants=["fp32"], max_queries=1)
    export_ranker(str(tmp_path / "model"), out, options)
    command = [sys.executable, "-m", "crossrank.cli", "export-onnx", str(tmp_path / "model"), "--out", str(out)]
    command += ["--force", "--variants", "fp32,pruned", "--max-queries", "1"]
    started = time.monotonic()
    subprocess.run(command, check=True, capture_output=True)
    whole = time.monotonic() - started
    draw = random.Random(seed)
    left = {1: 0, 2: 0}
    for _ in range(kills):
        # Half of the moments fall into the end, where files are written and the directories exchanged.
        share = draw.uniform(0.3, 1.0) if draw.random() < 0.5 else draw.uniform(0.85, 1.15)
        export_ranker(str(tmp_path / "model"), out, options, force=True)
        old = read_manifest(out).created
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            process.wait(share * whole)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        manifest = open_ranker(out).manifest
        left[len(manifest.variants)] += 1
        assert (manifest.created == old) == (len(manifest.variants) == 1)
    return left[1], left[2]


def test_a_killed_export_leaves_the_old_ranker_or_the_new_one(tmp_path: Path) -> None:
    assert sum(kill_exports(tmp_path, kills=2, seed=1)) == 2


@pytest.mark.verify
@pytest.mark.timeout(1800)
def test_many_killed_exports(tmp_path: Path) -> None:
    old, new = kill_exports(tmp_path, kills=40, seed=2)
    assert old
    assert new
