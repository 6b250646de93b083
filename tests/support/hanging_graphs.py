"""Graphs that never end: one that ONNX Runtime can end between two nodes, and a ranker with a node that it cannot."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from crossrank.inference.ranker.hub import DEFAULT_RANKER
from crossrank.inference.ranker.manifest import sha256_of

# A token above this makes `endless_loop` run for ever.
HARMLESS = 1000


def endless_loop(path: Path) -> Path:
    """Writes a graph whose logit is the sum of a pair's tokens; a token above `HARMLESS` makes it loop for ever."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["again"], ["again_out"]),
            helper.make_node("Identity", ["state"], ["state_out"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("iteration", TensorProto.INT64, []),
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state", TensorProto.INT64, None),
        ],
        [
            helper.make_tensor_value_info("again_out", TensorProto.BOOL, []),
            helper.make_tensor_value_info("state_out", TensorProto.INT64, None),
        ],
    )
    constants = {"limit": np.array(HARMLESS), "axes": np.array([1])}
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["input_ids"], ["largest"], keepdims=0),
            helper.make_node("Greater", ["largest", "limit"], ["endless"]),
            helper.make_node("ReduceSum", ["input_ids", "axes"], ["sum"], keepdims=1),
            helper.make_node("Loop", ["", "endless", "sum"], ["looped"], body=body),
            helper.make_node("Cast", ["looped"], ["logits"], to=TensorProto.FLOAT),
        ],
        "endless",
        [helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", "sequence"])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 1])],
        [numpy_helper.from_array(values.astype(np.int64), name) for name, values in constants.items()],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


def hanging_ranker(copy: Path, golden_document: str | None = None) -> Path:
    """Copies the default ranker, with a node that is quick for short pairs and takes an hour for one of 100 words.

    It compares all pairs of n**3 boxes for n tokens, and ONNX Runtime cannot end it before it is done. Only the
    shortest golden pair is kept.

    Args:
        copy: where it is written.
        golden_document: the document of its golden pair.
    """
    shutil.copytree(DEFAULT_RANKER, copy)
    path = copy / "onnx" / "manifest.json"
    manifest = json.loads(path.read_text())
    [variant] = manifest["variants"]
    graph = onnx.load(copy / variant["file"])
    [last] = (node for node in graph.graph.node if "logits" in node.output)
    last.output[list(last.output).index("logits")] = "before"
    constants: dict[str, NDArray[Any]] = {
        "hang_three": np.array([3.0], dtype=np.float32),
        "hang_one": np.array([1], dtype=np.int64),
        "hang_box": np.array([[[0, 0, 1, 1]]], dtype=np.float32),
        "hang_score": np.array([[[1]]], dtype=np.float32),
        "hang_most": np.array([2**40], dtype=np.int64),
        "hang_overlap": np.array([1], dtype=np.float32),
        "hang_zero": np.array(0, dtype=np.float32),
        "hang_last": np.array([1], dtype=np.int64),
        "hang_sides": np.array([4], dtype=np.int64),
    }
    graph.graph.initializer.extend(numpy_helper.from_array(values, name) for name, values in constants.items())
    graph.graph.node.extend(
        [
            helper.make_node("Shape", ["input_ids"], ["hang_shape"]),
            helper.make_node("Gather", ["hang_shape", "hang_last"], ["hang_length"]),
            helper.make_node("Cast", ["hang_length"], ["hang_length_f"], to=TensorProto.FLOAT),
            helper.make_node("Pow", ["hang_length_f", "hang_three"], ["hang_count_f"]),
            helper.make_node("Cast", ["hang_count_f"], ["hang_count"], to=TensorProto.INT64),
            helper.make_node("Concat", ["hang_one", "hang_count", "hang_sides"], ["hang_boxes_shape"], axis=0),
            helper.make_node("Expand", ["hang_box", "hang_boxes_shape"], ["hang_boxes"]),
            helper.make_node("Concat", ["hang_one", "hang_one", "hang_count"], ["hang_scores_shape"], axis=0),
            helper.make_node("Expand", ["hang_score", "hang_scores_shape"], ["hang_scores"]),
            helper.make_node(
                "NonMaxSuppression", ["hang_boxes", "hang_scores", "hang_most", "hang_overlap"], ["hang_kept"]
            ),
            helper.make_node("Cast", ["hang_kept"], ["hang_kept_f"], to=TensorProto.FLOAT),
            helper.make_node("ReduceSum", ["hang_kept_f"], ["hang_sum"], keepdims=0),
            helper.make_node("Mul", ["hang_sum", "hang_zero"], ["hang_nothing"]),
            helper.make_node("Add", ["before", "hang_nothing"], ["logits"]),
        ]
    )
    onnx.save(graph, copy / variant["file"])
    for node in graph.graph.node:
        variant["operators"][node.op_type] = sum(other.op_type == node.op_type for other in graph.graph.node)
    manifest["golden_pairs"], variant["golden"] = manifest["golden_pairs"][:1], variant["golden"][:1]
    if golden_document is not None:
        manifest["golden_pairs"][0]["document"] = golden_document
    manifest["files"] = {name: sha256_of(copy / name) for name in manifest["files"]}
    path.write_text(json.dumps(manifest))
    return copy
