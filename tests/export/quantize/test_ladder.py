from itertools import pairwise
from pathlib import Path

import onnx
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from crossrank.export.quantize.ladder import per_token_rungs
from tests.support.tiny_models import tiny_cross_encoder


def integer_products(path: Path) -> int:
    return sum(node.op_type == "MatMulIntegerToFloat" for node in onnx.load(path).graph.node)


def test_the_ladder_leaves_more_in_fp32_rung_by_rung_the_most_sensitive_first(tmp_path: Path) -> None:
    tiny_cross_encoder("bert", tmp_path / "model")
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "model")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "model")
    path = tmp_path / "graph.onnx"
    measured = 0

    def noise_to_signal(kept: tuple[str, ...]) -> float:
        nonlocal measured
        measured += 1
        # As if only the second layer's down projection mattered.
        return 0.1 if integer_products(path) == 14 and _is_float(path, layer=1) else 0.2

    batch = dict(tokenizer("how to read a file", "def read", return_tensors="pt"))
    rungs = per_token_rungs(model, [batch], path, noise_to_signal)
    assert next(rungs) == ()
    # Three layers of five matrices and of one that is two blocks.
    assert integer_products(path) == 21
    assert measured == 0, "nothing is searched before it is needed"
    last = {"2.query", "2.attention_output", "2.intermediate", "2.output"}
    assert set(next(rungs)) == last
    assert integer_products(path) == 16
    kept = [set(names) for names in rungs]
    assert kept[0] == last | {"1.output"}
    assert all(before < after for before, after in pairwise(kept))
    assert measured == 1 + 9


def _is_float(path: Path, *, layer: int) -> bool:
    """Whether what follows a layer's GELU is an fp32 product."""
    nodes = list(onnx.load(path).graph.node)
    gelu = [node for node in nodes if node.op_type == "BiasGelu"][layer]
    return any(node.op_type == "MatMul" and node.input[0] == gelu.output[0] for node in nodes)
