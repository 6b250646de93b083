"""Installations as users make them, each in an environment of its own."""

import json
import subprocess
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from crossrank.export.pipeline import ExportReport

ROOT = Path(__file__).parent.parent
CONSTRAINTS = ROOT / "constraints.txt"

Install = Callable[..., Path]


@pytest.fixture
def install(tmp_path: Path) -> Install:
    def made(*requirements: str) -> Path:
        venv.create(tmp_path / "venv", with_pip=True)
        python = tmp_path / "venv" / "bin" / "python"
        subprocess.run([python, "-m", "pip", "install", "-q", *requirements], check=True)
        return python

    return made


@pytest.mark.install
def test_a_serving_install_has_no_training_stack_and_ranks(install: Install, wheel: Path, tmp_path: Path) -> None:
    python = install("-c", str(CONSTRAINTS), f"{wheel}[cpu]")
    listed = subprocess.run([python, "-m", "pip", "list", "--format=json"], capture_output=True, text=True, check=True)
    installed = {package["name"].lower() for package in json.loads(listed.stdout)}
    assert "onnxruntime" in installed
    assert not installed & {"torch", "transformers", "optimum", "optimum-onnx", "sentence-transformers", "scipy"}
    document = tmp_path / "add.py"
    document.write_text("def add(a, b): return a + b")
    command = python.parent / "crossrank"
    at_once = subprocess.run(
        [command, "rank", "add two numbers", document, "--json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    assert json.loads(at_once.stdout)[0]["id"] == str(document)
    with subprocess.Popen([command, "serve", "--port", "0"], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as server:
        assert server.stdout is not None
        try:
            target = server.stdout.readline().split()[-1]
            answer = subprocess.run(
                [command, "rank", "add two numbers", document, "--target", target, "--json"],
                capture_output=True,
                text=True,
                check=True,
                cwd=tmp_path,
            )
        finally:
            server.terminate()
    assert json.loads(answer.stdout)[0]["id"] == str(document)
    refused = subprocess.run(
        [command, "export-onnx", "model", "--out", "out"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert refused.returncode == 2
    assert "pip install 'crossrank[export]'" in refused.stderr


@pytest.mark.install
def test_a_base_install_says_which_runtime_to_install(install: Install, wheel: Path, tmp_path: Path) -> None:
    python = install("-c", str(CONSTRAINTS), str(wheel))
    refused = subprocess.run(
        [python.parent / "crossrank", "serve"], capture_output=True, text=True, cwd=tmp_path, check=False
    )
    assert refused.returncode == 2
    assert "pip install 'crossrank[cpu]'" in refused.stderr


@pytest.mark.verify
@pytest.mark.parametrize(
    ("extras", "modules"),
    [
        ("cpu,export", "crossrank.export.pipeline, crossrank.export.graph.onnx_to_torch"),
        ("cpu,bench", "crossrank.bench.quality, crossrank.bench.capacity, crossrank.bench.report"),
        ("cpu,train", "crossrank.train.pipeline, crossrank.evaluation.evaluate_model, crossrank.data.mining.code"),
    ],
)
def test_an_extra_brings_what_its_commands_import(install: Install, extras: str, modules: str, tmp_path: Path) -> None:
    python = install("-c", str(CONSTRAINTS), f"{ROOT}[{extras}]")
    subprocess.run([python, "-c", f"import {modules}"], cwd=tmp_path, check=True)


@pytest.mark.verify
@pytest.mark.parametrize("protobuf", ["protobuf>=6.33.5,<7", "protobuf>=7,<8"])
def test_the_stubs_import_on_both_majors_of_protobuf(install: Install, protobuf: str, tmp_path: Path) -> None:
    python = install(str(ROOT), protobuf)
    probe = (
        "import google.protobuf, crossrank.client, crossrank.serve.server\n"
        "from crossrank.v1 import ranker_pb2\n"
        "message = ranker_pb2.RankRequest(query='q')\n"
        "assert ranker_pb2.RankRequest.FromString(message.SerializeToString()) == message\n"
        "print(google.protobuf.__version__)"
    )
    shown = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert shown.stdout.strip()[0] in protobuf


@pytest.mark.verify
def test_fastembed_opens_the_variants_that_do_not_depend_on_company(
    install: Install, tiny: ExportReport, tmp_path: Path
) -> None:
    python = install("-c", str(CONSTRAINTS), f"{ROOT}[cpu]", "fastembed>=0.9,<0.10")
    probe = f"""
import json
from fastembed.common.model_description import ModelSource
from fastembed.rerank.cross_encoder import TextCrossEncoder
from crossrank.inference.scorer import Scorer

directory = {str(tiny.directory)!r}
documents = ["def add(a, b): return a + b", "import os", "", "größe 日本", "word " * 300]
seen = {{}}
for variant in json.load(open(directory + "/onnx/manifest.json"))["variants"]:
    if not variant["batch_invariant"] or variant["precision"] == "fp16":
        continue
    name = "us/" + variant["file"].replace("/", "-")
    source = ModelSource(hf="us/nowhere")
    TextCrossEncoder.add_custom_model(model=name, sources=source, model_file=variant["file"])
    opened = TextCrossEncoder(model_name=name, specific_model_path=directory)
    with Scorer.open(directory, variant=variant["file"]) as scorer:
        ours = scorer.predict([("add two numbers", document) for document in documents], score_kind="logit")
    seen[variant["file"]] = max(abs(a - b) for a, b in zip(opened.rerank("add two numbers", documents), ours.tolist()))
print(json.dumps(seen))
"""
    shown = subprocess.run([python, "-c", probe], capture_output=True, text=True, check=True, cwd=tmp_path)
    errors = json.loads(shown.stdout)
    assert {"onnx/model.onnx", "onnx/model_qint8_per_token.onnx"} <= set(errors)
    assert max(errors.values()) < 1e-4
