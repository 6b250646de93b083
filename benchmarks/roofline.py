"""Roofline: the machine's own rate of matrix products at a model's shapes, the ceiling of an engine."""

import json
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

from benchmarks.results import Check, EngineSpeed
from crossrank.bench.load.workload import RerankRequest
from crossrank.inference.ranker.manifest import Variant
from crossrank.inference.scorer import Scorer

# About what one batch of the engine holds.
_TOKENS = 192
_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Shape:
    """The sizes that an encoder's products have."""

    hidden: int
    intermediate: int
    layers: int

    def products(self, lengths: Sequence[int]) -> float:
        """Floating-point operations that the logits of pairs need, the last layer's first token alone counted.

        Args:
            lengths: tokens of each pair.
        """
        layer = 2 * (4 * self.hidden**2 + 2 * self.hidden * self.intermediate)
        keys_and_values = 2 * 2 * self.hidden**2
        whole = self.layers - 1
        return float(
            sum(
                length * (whole * (layer + 4 * length * self.hidden) + keys_and_values)
                + (layer - keys_and_values)
                + 4 * length * self.hidden
                for length in lengths
            )
        )


def matmul_shares(
    directory: Path,
    opened: Mapping[str, Scorer],
    variants: Sequence[Variant],
    speeds: Sequence[EngineSpeed],
    requests: Sequence[RerankRequest],
) -> list[Check]:
    """The share of the machine's matrix products that the engine reaches, with the best graph of each precision."""
    shape = shape_of(directory)
    checks = []
    for precision in ("fp32", "int8"):
        ours = {f"crossrank {variant.name}": variant for variant in variants if variant.precision == precision}
        measured = [speed for speed in speeds if speed.name in ours]
        if not measured:
            continue
        best = max(measured, key=lambda speed: speed.median)
        scorer = opened[ours[best.name].file]
        pairs = [(request.query, document) for request in requests for document in request.documents]
        lengths = [len(pair.ids) for pair in scorer.tokenizer.encode(pairs)]
        needed = shape.products(lengths) / len(lengths) * best.median
        rate = matmul_rate(shape, scorer.workers, int8=precision == "int8")
        checks.append(
            Check(
                name=f"{best.name}: share of the machine's {precision} matrix products",
                value=needed / rate,
                unit="ratio",
                aim="at least 0.8",
                reached=needed / rate >= 0.8,
                details={"engine GFLOP/s": needed / 1e9, "machine GFLOP/s": rate / 1e9},
            )
        )
    return checks


def shape_of(ranker: Path) -> Shape:
    """The shape of a ranker's encoder, from its config.json."""
    config = json.loads((ranker / "config.json").read_text(encoding="utf-8"))
    return Shape(config["hidden_size"], config["intermediate_size"], config["num_hidden_layers"])


def matmul_rate(shape: Shape, workers: int, *, int8: bool) -> float:
    """Operations a second of all workers together, each a thread that multiplies with every matrix of the encoder."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(_graph(shape, int8), options, providers=["CPUExecutionProvider"])
    draw = np.random.default_rng(0)
    feed = {
        name: (draw.random((_TOKENS, width)) * 255).astype(np.uint8 if int8 else np.float32)
        for name, width in (("hidden", shape.hidden), ("intermediate", shape.intermediate))
    }
    operations = 2 * _TOKENS * shape.layers * (4 * shape.hidden**2 + 2 * shape.hidden * shape.intermediate)
    session.run(None, feed)

    def work(until: float) -> int:
        runs = 0
        while time.perf_counter() < until:
            session.run(None, feed)
            runs += 1
        return runs

    started = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        runs = sum(pool.map(work, [started + _SECONDS] * workers))
    return operations * runs / (time.perf_counter() - started)


def _graph(shape: Shape, int8: bool) -> bytes:
    draw = np.random.default_rng(1)
    weights, nodes, outputs = [], [], []
    sizes = [("hidden", shape.hidden, shape.hidden)] * 4
    sizes += [("hidden", shape.hidden, shape.intermediate), ("intermediate", shape.intermediate, shape.hidden)]
    for number, (source, rows, columns) in enumerate(sizes * shape.layers):
        weight: Any = draw.normal(size=(rows, columns))
        # Half the range of int8: no instruction set saturates.
        array = (np.clip(weight, -2, 2) * 31).astype(np.int8) if int8 else weight.astype(np.float32)
        weights.append(numpy_helper.from_array(array, f"weight{number}"))
        nodes.append(
            helper.make_node("MatMulInteger" if int8 else "MatMul", [source, f"weight{number}"], [f"out{number}"])
        )
        kind = TensorProto.INT32 if int8 else TensorProto.FLOAT
        outputs.append(helper.make_tensor_value_info(f"out{number}", kind, None))
    kind = TensorProto.UINT8 if int8 else TensorProto.FLOAT
    inputs = [
        helper.make_tensor_value_info(name, kind, [_TOKENS, width])
        for name, width in (("hidden", shape.hidden), ("intermediate", shape.intermediate))
    ]
    graph = helper.make_graph(nodes, "products", inputs, outputs, weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    serialized: bytes = onnx.ModelProto.SerializeToString(model)
    return serialized
