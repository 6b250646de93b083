"""Models in directories ask the hub for nothing, and a hub that never answers is not waited for without limit."""

import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from crossrank.models.packaged import packaged_base
from tests.conftest import HELDOUT
from tests.support.tiny_models import tiny_cross_encoder


@dataclass
class Silent:
    """A hub that takes connections and never answers."""

    port: int
    connections: list[socket.socket] = field(default_factory=list)

    def crossrank(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("HF_")}
        environment = {**kept, "HF_ENDPOINT": f"http://127.0.0.1:{self.port}"}
        command = [sys.executable, "-m", "crossrank.cli", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True)


@pytest.fixture
def silent() -> Iterator[Silent]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        hub = Silent(listener.getsockname()[1])

        def accept() -> None:
            with suppress(OSError):  # the listener is closed
                while True:
                    hub.connections.append(listener.accept()[0])

        threading.Thread(target=accept, daemon=True).start()
        yield hub
        listener.shutdown(socket.SHUT_RDWR)
        for connection in hub.connections:
            connection.close()


def recipe(root: Path, base: Path) -> Path:
    """Negatives of a bi-encoder and of a scorer, a teacher, checkpoints: every model that a training opens."""
    data = root / "set"
    data.mkdir()
    texts = ("read a file", "parse json", "add two numbers", "capital of france")
    (data / "queries.jsonl").write_text(
        "".join(json.dumps({"_id": f"q{n}", "text": t}) + "\n" for n, t in enumerate(texts))
    )
    (data / "corpus.jsonl").write_text(
        "".join(json.dumps({"_id": f"d{n}", "text": f"how to {t}"}) + "\n" for n, t in enumerate(texts))
    )
    (data / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\n" + "".join(f"q{n}\td{n}\t1\n" for n in range(4)))
    model = json.dumps(str(base))
    (root / "recipe.toml").write_text(
        f"""name = "tiny"
base = {model}
max_length = 32
loss.name = "mse"
distillation.teacher = {model}
evaluation.without_dev = "none"
[data]
train = "set"
negatives = {{ bm25 = 1, bi_encoder = 1, bi_encoder_model = {json.dumps(str(packaged_base()))}, scorer = {model} }}
[training]
max_steps = 4
save_steps = 2
"""
    )
    return root / "recipe.toml"


def test_directories_never_ask_the_hub(silent: Silent, tmp_path: Path) -> None:
    model, ranker = tmp_path / "model", tmp_path / "ranker"
    weak = ("--min-top1-agreement", "0", "--max-queries", "2", "--variants", "fp32,pruned")
    for arguments in (
        ("train", str(recipe(tmp_path, tiny_cross_encoder("bert", tmp_path / "base"))), "--out", str(model)),
        ("export-onnx", str(model), "--out", str(ranker), *weak),
        ("export-pytorch", "--ranker", str(ranker), "--out", str(tmp_path / "back")),
        ("evaluate", str(HELDOUT), "--model", str(model)),
    ):
        done = silent.crossrank(*arguments)
        assert done.returncode == 0, done.stderr
    assert silent.connections == []
    card = (model / "README.md").read_text()
    assert "base_model" not in card


def test_a_hub_that_does_not_answer_is_given_up(silent: Silent, tmp_path: Path) -> None:
    done = silent.crossrank("export-onnx", "us/model", "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "us/model" in done.stderr
    assert silent.connections
