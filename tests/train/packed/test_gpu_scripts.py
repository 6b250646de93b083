import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors import safe_open

from crossrank.train.packed.inputs import write_inputs
from tests.train.packed.made import made_inputs

SCRIPTS = Path(__file__).parents[3] / "benchmarks" / "gpu"


def _pack(*arguments: object) -> None:
    subprocess.run([SCRIPTS / "pack.sh", *map(str, arguments)], check=True, capture_output=True)


def test_parts_have_a_bounded_size_and_come_back_unless_one_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    content = os.urandom(2_500_000)
    (tmp_path / "in" / "deep" / "file").write_bytes(content)
    _pack(tmp_path / "parts", 1, tmp_path / "in")
    parts = sorted((tmp_path / "parts").glob("part.*"))
    assert len(parts) == 3
    assert max(part.stat().st_size for part in parts) <= 1 << 20
    _pack("--back", tmp_path / "parts", tmp_path / "out")
    assert (tmp_path / "out" / "in" / "deep" / "file").read_bytes() == content
    parts[1].write_bytes(parts[1].read_bytes()[:-1] + b"x")
    with pytest.raises(subprocess.CalledProcessError):
        _pack("--back", tmp_path / "parts", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_one_command_goes_from_parts_to_parts(tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    write_inputs(made_inputs(tmp_path), tmp_path / "inputs.npz")
    (bundle / "teachers").mkdir(parents=True)
    shutil.move(tmp_path / "inputs.npz", bundle / "inputs.npz")
    shutil.move(tmp_path / "model", bundle / "base")
    shutil.move(tmp_path / "teacher", bundle / "teachers" / "made")
    _pack(tmp_path / "parts", 1, *bundle.iterdir())
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    subprocess.run(
        [SCRIPTS / "train.sh", tmp_path / "parts", tmp_path / "out", "30"], check=True, env=environment, timeout=200
    )
    _pack("--back", tmp_path / "out" / "weights", tmp_path / "back")
    with safe_open(tmp_path / "back" / "result" / "model.safetensors", "pt") as weights:
        assert "bert.embeddings.word_embeddings.weight" in set(weights.keys())
    assert '"result"' in (tmp_path / "out" / "log.jsonl").read_text().splitlines()[-1]
