"""Rankers that agree with their own manifest and would cost without a bound: each is refused in a sentence."""

import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from crossrank.errors import InvalidRanker
from crossrank.inference.ranker.manifest import read_manifest
from crossrank.inference.scorer import Scorer
from tests.support.commands import crossrank
from tests.support.hanging_graphs import hanging_ranker
from tests.support.small_ranker import FILE, resign, save_graph, small_graph, small_ranker, write_manifest


@pytest.fixture
def ranker(tmp_path: Path) -> Path:
    made = small_ranker(tmp_path / "ranker")
    with Scorer.open(made) as scorer:
        assert scorer.rejected_variants == []
    return made


def _refusal(ranker: Path) -> str:
    with pytest.raises(InvalidRanker) as refused:
        Scorer.open(ranker)
    outcome = crossrank("rank", "a query", "--ranker", str(ranker), __file__)
    assert (outcome.returncode, len(outcome.stderr.splitlines())) == (2, 1), outcome.stderr
    return str(refused.value)


def _manifest(ranker: Path) -> Any:
    return json.loads((ranker / "onnx" / "manifest.json").read_text())


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("max_length", 10**12),
        ("max_length", 10**30),
        ("max_length", 0),
        ("padding_id", -1),
        ("golden_pairs", []),
        ("golden_pairs", [{"kind": "short", "query": "a", "document": "b"}] * 257),
        ("model_type", "x" * 1_000_001),
        ("variants", []),
        ("files", {"tokenizer.json": "no sha256"}),
        ("files", {f"{number}": "0" * 64 for number in range(1001)}),
        ("created", None),
        ("unknown", 1),
    ],
)
def test_a_manifest_out_of_bounds(ranker: Path, field: str, value: object) -> None:
    write_manifest(ranker, {**_manifest(ranker), field: value})
    assert re.search(rf"not a manifest of schema version 3: {field}", _refusal(ranker))


@pytest.mark.parametrize("content", [b"", b"[", b"[" * 100_000, b"null", b'"\xff"', b" " * (5 * 2**20), b"\0"])
def test_a_manifest_that_is_none(ranker: Path, content: bytes) -> None:
    (ranker / "onnx" / "manifest.json").write_bytes(content)
    assert "is not a manifest" in _refusal(ranker)


def _node(model: onnx.ModelProto, node: onnx.NodeProto, *constants: tuple[str, Any]) -> onnx.ModelProto:
    model.graph.node.append(node)
    model.graph.initializer.extend(numpy_helper.from_array(np.asarray(values), name) for name, values in constants)
    return model


def _body(node: onnx.NodeProto) -> onnx.GraphProto:
    return helper.make_graph([node], "body", [], [helper.make_tensor_value_info("out", TensorProto.FLOAT, None)])


def _deep(model: onnx.ModelProto) -> None:
    inner = helper.make_node("Identity", ["logits"], ["out"])
    for _ in range(20):
        inner = helper.make_node("If", ["yes"], ["out"], then_branch=_body(inner), else_branch=_body(inner))
    _node(model, inner, ("yes", True))


def _hidden_loop(model: onnx.ModelProto) -> None:
    loop = helper.make_node("Loop", ["", "yes"], ["out"], body=_body(helper.make_node("Identity", ["yes"], ["out"])))
    _node(model, helper.make_node("If", ["yes"], ["out"], then_branch=_body(loop), else_branch=_body(loop)))


def _large_constant(model: onnx.ModelProto) -> None:
    model.graph.initializer.append(onnx.TensorProto(name="large", data_type=TensorProto.FLOAT, dims=[2**20, 2**20]))


def _large_expansion(model: onnx.ModelProto) -> None:
    _node(model, helper.make_node("Constant", [], ["s"], value=numpy_helper.from_array(np.array([2**16, 2**16]))))
    _node(model, helper.make_node("Expand", ["logits", "s"], ["x"]))


def _external(model: onnx.ModelProto, location: str) -> None:
    tensor = onnx.TensorProto(name="outside", data_type=TensorProto.FLOAT, dims=[1])
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    model.graph.initializer.append(tensor)


def _sparse(model: onnx.ModelProto) -> None:
    values = helper.make_tensor("many", TensorProto.FLOAT, [1], [1.0])
    indices = helper.make_tensor("where", TensorProto.INT64, [1], [0])
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, indices, [2**40]))


def _function(model: onnx.ModelProto) -> None:
    node = helper.make_node("Identity", ["x"], ["y"])
    model.functions.append(helper.make_function("mine", "own", ["x"], ["y"], [node], [helper.make_opsetid("", 17)]))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (
            lambda model: _node(model, helper.make_node("Loop", ["", "yes"], ["x"]), ("yes", True)),
            r"has a loop \(Loop\)",
        ),
        (lambda model: _node(model, helper.make_node("Scan", ["logits"], ["x"])), r"has a loop \(Scan\)"),
        (_hidden_loop, r"has a loop \(Loop\)"),
        (_deep, "graphs within graphs"),
        (_function, "functions of its own"),
        (_sparse, "sparse constants"),
        (_large_constant, "larger than its file"),
        (lambda model: _external(model, "../../secret"), "reads a file that the manifest does not name"),
        (lambda model: _external(model, "/etc/passwd"), "reads a file that the manifest does not name"),
        (lambda model: _node(model, helper.make_node("RandomNormal", [], ["x"], shape=[9])), "random numbers"),
        (lambda model: _node(model, helper.make_node("Mine", ["logits"], ["x"], domain="own")), "a domain that"),
        (
            lambda model: _node(model, helper.make_node("ConstantOfShape", ["s"], ["x"]), ("s", np.array([2**31]))),
            "asks ConstantOfShape for more",
        ),
        (_large_expansion, "asks Expand for more"),
    ],
)
def test_a_graph_that_costs_without_a_bound(
    ranker: Path, change: Callable[[onnx.ModelProto], object], sentence: str
) -> None:
    model = small_graph()
    change(model)
    save_graph(ranker, model)
    assert re.search(sentence, _refusal(ranker))


def test_a_graph_of_other_operators_than_the_manifest_says(ranker: Path) -> None:
    model = small_graph()
    _node(model, helper.make_node("Identity", ["logits"], ["x"]))
    onnx.save(model, ranker / FILE)
    resign(ranker)
    assert "does not have the operators that the manifest says" in _refusal(ranker)


def test_golden_pairs_that_take_for_ever(tmp_path: Path) -> None:
    ranker = hanging_ranker(tmp_path / "ranker")
    with Scorer.open(ranker, workers=1) as scorer:
        long = scorer.facts.golden_pairs[0].model_copy(update={"document": "word " * 100})
        scorer.facts = scorer.facts.model_copy(update={"golden_pairs": [long]})
        with pytest.raises(InvalidRanker, match="take longer than 1 s"):
            scorer.golden(seconds=1)


def _tokenizer(ranker: Path, change: Callable[[Any], object]) -> None:
    path = ranker / "tokenizer.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))
    resign(ranker)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda content: content["added_tokens"][0].update(content="x" * 5_000_000), "added token of more than"),
        (lambda content: content.update(added_tokens=content["added_tokens"] * 10_000), "more than 20000 added tokens"),
        (
            lambda content: content.update(
                normalizer={"type": "Replace", "pattern": {"String": "a"}, "content": "x" * 5_000}
            ),
            "normalizer that is out of bounds",
        ),
        (lambda content: content["model"].update(unk_token="nowhere"), "cannot be used"),
        (lambda content: content.update(model={"type": "Unheard"}), "tokenizer.json cannot be used"),
        (lambda content: content.update(post_processor=None), "golden pair|tokenizer.json"),
    ],
)
def test_a_tokenizer_out_of_bounds(ranker: Path, change: Callable[[Any], object], sentence: str) -> None:
    _tokenizer(ranker, change)
    assert re.search(sentence, _refusal(ranker))


@pytest.mark.parametrize("content", [b"", b"[]", b"{}", b"[" * 100_000, b"\xff", b"null"])
def test_a_tokenizer_that_is_none(ranker: Path, content: bytes) -> None:
    (ranker / "tokenizer.json").write_bytes(content)
    resign(ranker)
    assert "tokenizer.json" in _refusal(ranker)


@pytest.mark.parametrize(
    "name", ["model.BIN", "Weights.Pkl", "a.npy", "onnx/b.dill", "c.gz", "run.py", "lib.so", "x.PT", "model.zip"]
)
def test_what_has_no_place_in_a_ranker(ranker: Path, name: str) -> None:
    (ranker / name).touch()
    assert f"{name} has no place in a ranker" in _refusal(ranker)


def test_what_is_not_a_file(ranker: Path) -> None:
    os.mkfifo(ranker / "calibration.json")
    assert "calibration.json is not a file" in _refusal(ranker)


def test_a_file_of_a_size_that_nobody_reads(ranker: Path) -> None:
    with (ranker / "config.json").open("wb") as file:
        file.truncate(10**12)
    assert "config.json is larger than a ranker's file can be" in _refusal(ranker)


def test_what_version_control_and_downloads_leave_is_no_fault(ranker: Path) -> None:
    for name in (".git/objects/pack/one.pack", ".cache/huggingface/download/config.json.metadata", ".gitattributes"):
        (ranker / name).parent.mkdir(parents=True, exist_ok=True)
        (ranker / name).touch()
    assert read_manifest(ranker).max_length == 64
    Scorer.open(ranker).close()
