"""A ranker of a few kilobytes, written without PyTorch: its logit is a hundredth of the sum of a pair's tokens."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from crossrank.inference.ranker.manifest import sha256_of

FILE = "onnx/model.onnx"
GOLDEN = [("a b", "c d e"), ("b", ""), ("e e e", "a unknown")]
_SPECIAL = ["[UNK]", "[CLS]", "[SEP]"]
_WORDS = [*_SPECIAL, *"abcdefghij"]


def small_ranker(directory: Path, bias: float = 0.0) -> Path:
    """Writes the ranker.

    Args:
        directory: made where it does not exist.
        bias: added to each logit, and to what the manifest says of the golden pairs.
    """
    (directory / "onnx").mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    tokenizer.save(str(directory / "tokenizer.json"))
    model = small_graph(bias)
    onnx.save(model, directory / FILE)
    logits = [0.01 * sum(tokenizer.encode(*pair).ids) + bias for pair in GOLDEN]
    manifest = {
        "schema_version": 3,
        "created": "2026-01-01T00:00:00Z",
        "source": {"name": "small", "revision": None, "weights_sha256": "0" * 64},
        "model_type": "bert",
        "max_length": 64,
        "padding_id": 0,
        "activation": "sigmoid",
        "machine": "any",
        "tools": {},
        "golden_pairs": [{"kind": "short", "query": query, "document": document} for query, document in GOLDEN],
        "files": {name: sha256_of(directory / name) for name in ("tokenizer.json", FILE)},
        "variants": [
            {
                "file": FILE,
                "precision": "fp32",
                "provider": "cpu",
                "target": "any",
                "opset": 17,
                "inputs": ["input_ids"],
                "operators": operators_of(model),
                "batch_invariant": True,
                "saturates": False,
                "kept_in_fp32": [],
                "agreement": [],
                "speed": 1.0,
                "golden": [{"logit": logit, "score": 1 / (1 + np.exp(-logit))} for logit in logits],
                "golden_tolerance": {"any": 1e-4},
                "budget": {},
            }
        ],
    }
    write_manifest(directory, manifest)
    return directory


def small_graph(bias: float = 0.0) -> onnx.ModelProto:
    """The graph of the ranker."""
    constants: dict[str, NDArray[np.generic]] = {
        "hundredth": np.array(0.01, dtype=np.float32),
        "bias": np.array(bias, dtype=np.float32),
        "axes": np.array([1], dtype=np.int64),
    }
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["input_ids"], ["floats"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["floats", "axes"], ["sum"], keepdims=1),
            helper.make_node("Mul", ["sum", "hundredth"], ["scaled"]),
            helper.make_node("Add", ["scaled", "bias"], ["logits"]),
        ],
        "small",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(values, name) for name, values in constants.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def operators_of(model: onnx.ModelProto) -> dict[str, int]:
    """What a manifest says of a graph's nodes."""
    return dict(Counter(node.op_type for node in model.graph.node))


def save_graph(directory: Path, model: onnx.ModelProto) -> None:
    """Replaces the ranker's graph by one that the manifest describes."""
    onnx.save(model, directory / FILE)
    manifest = json.loads((directory / "onnx" / "manifest.json").read_text())
    manifest["variants"][0]["operators"] = operators_of(model)
    resign(directory, manifest)


def resign(directory: Path, manifest: dict[str, object] | None = None) -> None:
    """Writes the manifest with the sha256 of the files as they are."""
    if manifest is None:
        manifest = json.loads((directory / "onnx" / "manifest.json").read_text())
    files = manifest["files"]
    assert isinstance(files, dict)
    write_manifest(directory, {**manifest, "files": {name: sha256_of(directory / name) for name in files}})


def write_manifest(directory: Path, manifest: object) -> None:
    """Writes whatever is given as the manifest."""
    (directory / "onnx" / "manifest.json").write_text(json.dumps(manifest))


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(_WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.add_special_tokens(_SPECIAL)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer
