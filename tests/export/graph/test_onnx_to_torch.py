from pathlib import Path

import numpy as np
import pytest

from crossrank.errors import UsageError
from crossrank.export.graph.encoder import read_encoder
from crossrank.export.graph.onnx_to_torch import read_back
from crossrank.export.graph.prune import all_matrices, write_pruned
from crossrank.export.quantize.smooth import measure_ranges, smooth
from tests.export.graph.test_prune import TEXTS, Opened


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    return Opened("bert", tmp_path / "model")


def logits_of(graph: Path, opened: Opened, directory: Path) -> np.ndarray:
    opened.model = read_back(graph, directory)
    return opened.expected(TEXTS)


def test_weights_come_back_in_a_model_that_computes_the_same(opened: Opened, tmp_path: Path) -> None:
    expected = opened.expected(TEXTS)
    encoder = read_encoder(opened.model)
    assert encoder is not None
    write_pruned(encoder, tmp_path / "pruned.onnx")
    np.testing.assert_allclose(logits_of(tmp_path / "pruned.onnx", opened, tmp_path / "model"), expected, atol=2e-5)


@pytest.mark.parametrize("kept", [frozenset(), frozenset({(0, "value"), (1, "intermediate"), (2, "query")})])
def test_int8_weights_come_back_but_for_what_rounding_lost(
    opened: Opened, tmp_path: Path, kept: frozenset[tuple[int, str]]
) -> None:
    expected = opened.expected(TEXTS)
    encoder = read_encoder(opened.model)
    assert encoder is not None
    batches = [opened.inputs([pair]) for pair in TEXTS]
    smoothed, divisors = smooth(encoder, measure_ranges(opened.model, encoder, batches))
    graph = tmp_path / "int8.onnx"
    write_pruned(smoothed, graph, quantized=all_matrices(encoder) - kept, smoothing=divisors)
    got = logits_of(graph, opened, tmp_path / "model")
    # PyTorch rounds no activations, so its logits are nearer to the unrounded ones than the graph's.
    assert np.abs(got - expected).max() < 0.05 * np.ptp(expected)
    # A second export of what came back rounds next to nothing away.
    again = read_encoder(opened.model)
    assert again is not None
    for ours, theirs in zip(again.layers, smoothed.layers, strict=True):
        for name in ours.linears:
            np.testing.assert_allclose(ours.linears[name].weight, theirs.linears[name].weight, atol=0.02)


def test_a_graph_of_another_making_is_refused(opened: Opened, tmp_path: Path) -> None:
    encoder = read_encoder(opened.model)
    assert encoder is not None
    write_pruned(encoder, tmp_path / "pruned.onnx")
    with pytest.raises(UsageError, match="of a roberta model"):
        Opened("roberta", tmp_path / "roberta")
        read_back(tmp_path / "pruned.onnx", tmp_path / "roberta")
