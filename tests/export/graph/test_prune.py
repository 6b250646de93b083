from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from crossrank.export.graph.encoder import read_encoder
from crossrank.export.graph.prune import all_matrices, write_pruned
from crossrank.export.quantize.smooth import measure_ranges, smooth
from tests.support.tiny_models import MAX_LENGTH, tiny_cross_encoder

TEXTS = [
    ("how to read a file", "def read(file): return json"),
    ("capital of france", "paris"),
    ("what is nothing", ""),
    ("how long", "long word " * 100),
]


class Opened:
    def __init__(self, kind: str, directory: Path) -> None:
        tiny_cross_encoder(kind, directory)
        self.model = AutoModelForSequenceClassification.from_pretrained(directory)
        self.tokenizer = AutoTokenizer.from_pretrained(directory)

    def inputs(self, texts: list[tuple[str, str]]) -> dict[str, object]:
        queries, documents = zip(*texts, strict=True)
        return dict(
            self.tokenizer(
                queries, documents, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt"
            )
        )

    def feed(self, texts: list[tuple[str, str]]) -> dict[str, np.ndarray]:
        return {name: value.numpy() for name, value in self.inputs(texts).items()}  # type: ignore[attr-defined]

    def expected(self, texts: list[tuple[str, str]]) -> np.ndarray:
        logits: np.ndarray = self.model(**self.inputs(texts)).logits.detach().numpy().ravel()
        return logits

    def logits(self, graph: Path, texts: list[tuple[str, str]]) -> np.ndarray:
        session = onnxruntime.InferenceSession(str(graph))
        (logits,) = session.run(None, self.feed(texts))
        assert logits.shape == (len(texts), 1)
        ravelled: np.ndarray = logits.ravel()
        return ravelled


@pytest.fixture(params=["bert", "roberta", "xlm-roberta"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    return Opened(request.param, tmp_path / "model")


def test_the_pruned_graph_computes_the_same(opened: Opened, tmp_path: Path) -> None:
    encoder = read_encoder(opened.model)
    assert encoder is not None
    write_pruned(encoder, tmp_path / "pruned.onnx")
    expected = opened.expected(TEXTS)
    np.testing.assert_allclose(opened.logits(tmp_path / "pruned.onnx", TEXTS), expected, atol=2e-5)
    alone = [opened.logits(tmp_path / "pruned.onnx", [text])[0] for text in TEXTS]
    np.testing.assert_allclose(alone, expected, atol=2e-5)
    assert np.ptp(expected) > 0.05


def test_smoothing_alone_changes_nothing(opened: Opened, tmp_path: Path) -> None:
    encoder = read_encoder(opened.model)
    assert encoder is not None
    smoothed, divisors = smooth(
        encoder, measure_ranges(opened.model, encoder, [opened.inputs([text]) for text in TEXTS])
    )
    assert any(np.ptp(divisor) > 0.1 for pair in divisors.values() for divisor in pair)
    assert not np.allclose(smoothed.layers[0].linears["value"].weight, encoder.layers[0].linears["value"].weight)
    write_pruned(smoothed, tmp_path / "smoothed.onnx", smoothing=divisors)
    np.testing.assert_allclose(opened.logits(tmp_path / "smoothed.onnx", TEXTS), opened.expected(TEXTS), atol=2e-5)


def test_the_int8_graph_is_near_and_independent_of_its_batch(opened: Opened, tmp_path: Path) -> None:
    encoder = read_encoder(opened.model)
    assert encoder is not None
    smoothed, divisors = smooth(
        encoder, measure_ranges(opened.model, encoder, [opened.inputs([text]) for text in TEXTS])
    )
    graph = tmp_path / "int8.onnx"
    write_pruned(smoothed, graph, quantized=all_matrices(encoder), smoothing=divisors)
    expected = opened.expected(TEXTS)
    together = opened.logits(graph, TEXTS)
    assert np.abs(together - expected).max() < 0.25 * np.ptp(expected)
    # Not bit for bit: here attention sums over padding, which the server never gives it.
    np.testing.assert_allclose([opened.logits(graph, [text])[0] for text in TEXTS], together, atol=1e-5)
    twice = [text for text in TEXTS for _ in range(2)]
    np.testing.assert_array_equal(opened.logits(graph, twice), np.repeat(together, 2))


def test_the_last_layer_serves_the_first_token_alone(tmp_path: Path) -> None:
    opened = Opened("bert", tmp_path / "model")
    encoder = read_encoder(opened.model)
    assert encoder is not None
    write_pruned(encoder, tmp_path / "pruned.onnx")
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "pruned.onnx"), options)
    graph = onnx.load(tmp_path / "optimized.onnx")
    counts = Counter(node.op_type for node in graph.graph.node)
    layers = len(encoder.layers)
    assert counts["MatMul"] == 6 * layers
    assert counts["MultiHeadAttention"] == counts["BiasGelu"] == layers
    assert counts["MeanVarianceNormalization"] == 2 * layers + 1
    assert not counts.keys() & {"LayerNormalization", "SkipLayerNormalization", "Softmax", "Transpose", "Erf", "Gelu"}
    products = [node.output[0] for node in graph.graph.node if node.op_type == "MatMul"]
    graph.graph.output.extend(onnx.ValueInfoProto(name=name) for name in products)
    outputs = onnxruntime.InferenceSession(graph.SerializeToString()).run(products, opened.feed(TEXTS))
    # Query, both projections and what follows attention; keys and values need every token.
    assert Counter(output.shape[1] == 1 for output in outputs) == {True: 4, False: 6 * layers - 4}
    assert [entry.name for entry in session.get_inputs()] == ["input_ids", "attention_mask", "token_type_ids"]


@pytest.mark.parametrize("kind", ["deberta-v2", "modernbert"])
def test_other_architectures_are_left_to_the_plain_path(kind: str, tmp_path: Path) -> None:
    assert read_encoder(Opened(kind, tmp_path / "model").model) is None


def test_weights_above_the_limit_of_a_file_go_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossrank.export.graph.onnx_writer._LARGEST_FILE", 1000)
    opened = Opened("bert", tmp_path / "model")
    encoder = read_encoder(opened.model)
    assert encoder is not None
    write_pruned(encoder, tmp_path / "pruned.onnx")
    assert (tmp_path / "pruned.onnx_data").stat().st_size > (tmp_path / "pruned.onnx").stat().st_size
    np.testing.assert_allclose(opened.logits(tmp_path / "pruned.onnx", TEXTS), opened.expected(TEXTS), atol=2e-5)
