"""A BERT-like encoder's graph, written anew: its last layer for the first token alone, its matrices in fp32 or int8.

The logit hangs on the first token's last state. Of the last layer only the keys and values need the other tokens;
its query, both projections and the norms are computed for one token, which changes nothing in the result.

Layer normalisation is written as MeanVarianceNormalization, several times faster in ONNX Runtime than its own
LayerNormalization on a CPU. Its scale and shift go into what follows: into the matrices and biases exactly, and into
the residual as one multiplication and one addition, which takes the next bias along.

Weights have names, by which `crossrank.export.graph.onnx_to_torch` finds them again.
"""

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from crossrank.export.graph.encoder import MATRICES, Array, Encoder, Linear, Norm
from crossrank.export.graph.onnx_writer import OnnxWriter
from crossrank.export.quantize.per_token import QuantizedActivations

_ATTENTION_INPUTS = MATRICES[:3]
# MeanVarianceNormalization has an epsilon of its own, 1e-9; BERT's is 1e-12, RoBERTa's 1e-5.
_NEGLIGIBLE_EPSILON = 1e-9
# (number of the layer, name of the matrix)
Matrix = tuple[int, str]
# For a layer's number: what the activations before query, key and value, and those before `intermediate`, are divided
# by; each of shape [hidden].
Smoothing = Mapping[int, tuple[Array, Array]]


@dataclass(frozen=True, slots=True)
class _Normalized:
    """The output of a norm before its scale and shift."""

    name: str
    norm: Norm

    def through(self, linear: Linear) -> Linear:
        """The matrix that takes this output as it is."""
        return Linear(self.norm.gamma[:, None] * linear.weight, linear.bias + self.norm.beta @ linear.weight)


def all_matrices(encoder: Encoder) -> frozenset[Matrix]:
    """Every matrix of the layers."""
    return frozenset((number, name) for number in range(len(encoder.layers)) for name in MATRICES)


def write_pruned(
    encoder: Encoder, path: Path, *, quantized: AbstractSet[Matrix] = frozenset(), smoothing: Smoothing | None = None
) -> None:
    """Writes the graph.

    Args:
        encoder: the weights.
        path: the file to write.
        quantized: the matrices that become int8, with activation scales per token; where there are any, so do the
            word embeddings, with a scale for each row.
        smoothing: see `crossrank.export.quantize.smooth`; needed where something is quantised.
    """
    _EncoderGraph(encoder, quantized, smoothing or {}).write(path)


class _EncoderGraph:
    def __init__(self, encoder: Encoder, quantized: AbstractSet[Matrix], smoothing: Smoothing) -> None:
        self._encoder = encoder
        self._quantized = quantized
        self._smoothing = smoothing
        self._hidden = encoder.word.shape[1]
        self._writer = OnnxWriter()

    def write(self, path: Path) -> None:
        ids = self._writer.input("input_ids")
        mask = self._writer.input("attention_mask")
        mask = self._writer.node("Cast", mask, to=6)
        state = self._normalize(self._embeddings(ids), self._encoder.embedding_norm)
        for number in range(len(self._encoder.layers)):
            state = self._layer(number, state, mask)
        self._writer.save(self._head(state), path)

    def _embeddings(self, ids: str) -> str:
        encoder, writer = self._encoder, self._writer
        if self._quantized:
            scale = np.maximum(np.abs(encoder.word).max(axis=1, keepdims=True) / 127, 1e-10).astype(np.float32)
            rows = writer.constant(np.rint(encoder.word / scale), np.int8, "embeddings.word")
            integers = writer.node("Cast", writer.node("Gather", rows, ids), to=1)
            total = writer.node(
                "Mul", integers, writer.node("Gather", writer.constant(scale, name="embeddings.word.scale"), ids)
            )
        else:
            total = writer.node("Gather", writer.constant(encoder.word, name="embeddings.word"), ids)
        if encoder.token_type is not None:
            table = writer.constant(encoder.token_type, name="embeddings.token_type")
            total = writer.node("Add", total, writer.node("Gather", table, writer.input("token_type_ids")))
        return writer.node("Add", total, self._positions(ids))

    def _positions(self, ids: str) -> str:
        writer = self._writer
        table = writer.constant(self._encoder.position, name="embeddings.position")
        if self._encoder.padding_id is None:
            length = writer.node("Shape", ids, start=1, end=2)
            zero = writer.constant([0], np.int64)
            return writer.node("Slice", table, zero, length, zero)
        padding = writer.constant(self._encoder.padding_id, np.int64)
        present = writer.node("Cast", writer.node("Not", writer.node("Equal", ids, padding)), to=7)
        counted = writer.node("CumSum", present, writer.constant(1, np.int64))
        return writer.node("Gather", table, writer.node("Add", writer.node("Mul", counted, present), padding))

    def _normalize(self, state: str, norm: Norm) -> _Normalized:
        writer, epsilon = self._writer, self._encoder.epsilon
        if epsilon <= _NEGLIGIBLE_EPSILON:
            return _Normalized(writer.node("MeanVarianceNormalization", state, axes=[2]), norm)
        ones = writer.constant(np.ones(self._hidden))
        return _Normalized(writer.node("LayerNormalization", state, ones, axis=-1, epsilon=epsilon), norm)

    def _layer(self, number: int, state: _Normalized, mask: str) -> _Normalized:
        layer, writer = self._encoder.layers[number], self._writer
        last = number == len(self._encoder.layers) - 1
        attention_input, intermediate_input = self._smoothing.get(number, (None, None))
        first = self._first_token(state) if last else state
        query = self._project(number, ("query",), first, attention_input)
        others = self._project(number, ("key", "value"), state, attention_input)
        bias = np.concatenate([state.through(layer.linears[name]).bias for name in _ATTENTION_INPUTS])
        context = writer.node(
            "MultiHeadAttention",
            *query,
            *others,
            writer.constant(bias, name=f"layer.{number}.attention.bias"),
            mask,
            contrib=True,
            num_heads=self._encoder.heads,
        )
        attended = self._product(number, "attention_output", context)
        bias = layer.linears["attention_output"].bias
        state = self._residual(f"layer.{number}.attention", attended, bias, first, layer.attention_norm)
        (intermediate,) = self._project(number, ("intermediate",), state, intermediate_input)
        bias = state.through(layer.linears["intermediate"]).bias
        added = writer.constant(bias, name=f"layer.{number}.intermediate.bias")
        activated = writer.node("BiasGelu", intermediate, added, contrib=True)
        fed = self._product(number, "output", activated)
        return self._residual(f"layer.{number}.output", fed, layer.linears["output"].bias, state, layer.output_norm)

    def _first_token(self, state: _Normalized) -> _Normalized:
        first = self._writer.node("Gather", state.name, self._writer.constant([0], np.int64), axis=1)
        return _Normalized(first, state.norm)

    def _project(self, number: int, names: Sequence[str], state: _Normalized, divisor: Array | None) -> list[str]:
        """The products of a norm's output with some of a layer's matrices, without their biases."""
        linears = self._encoder.layers[number].linears
        shared = None
        if any((number, name) in self._quantized for name in names):
            assert divisor is not None
            factor = self._writer.constant(state.norm.gamma / divisor, name=f"layer.{number}.{names[0]}.factor")
            shared = QuantizedActivations(self._writer, self._writer.node("Mul", state.name, factor), self._hidden)
        products = []
        for name in names:
            linear, stored = linears[name], f"layer.{number}.{name}"
            if shared is not None and divisor is not None and (number, name) in self._quantized:
                products.append(shared.matmul(divisor[:, None] * linear.weight, stored))
            else:
                products.append(self._matmul(state.name, state.through(linear).weight, stored))
        return products

    def _product(self, number: int, name: str, activations: str) -> str:
        """The product of activations that no norm gave with one of a layer's matrices, without its bias."""
        weight, stored = self._encoder.layers[number].linears[name].weight, f"layer.{number}.{name}"
        if (number, name) not in self._quantized:
            return self._matmul(activations, weight, stored)
        if name == "output":
            return self._after_gelu(activations, weight, stored)
        return QuantizedActivations(self._writer, activations, weight.shape[0]).matmul(weight, stored)

    def _after_gelu(self, activations: str, weight: Array, stored: str) -> str:
        """The product of what GELU gave, in blocks as wide as the model, each with its own scale for each token.

        GELU leaves a few large values, and with one scale they take the steps of a whole token.
        """
        writer, total = self._writer, ""
        for start in range(0, weight.shape[0], self._hidden):
            block = weight[start : start + self._hidden]
            bounds = (writer.constant([bound], np.int64) for bound in (start, start + len(block), 2))
            part = writer.node("Slice", activations, *bounds)
            product = QuantizedActivations(writer, part, len(block), after_gelu=True).matmul(block, f"{stored}.{start}")
            total = writer.node("Add", total, product) if total else product
        return total

    def _matmul(self, activations: str, weight: Array, stored: str) -> str:
        return self._writer.node("MatMul", activations, self._writer.constant(weight, name=stored))

    def _residual(self, name: str, added: str, bias: Array, state: _Normalized, norm: Norm) -> _Normalized:
        """Adds a product and its bias to a norm's output, and normalises the sum."""
        writer = self._writer
        scaled = writer.node("Mul", state.name, writer.constant(state.norm.gamma, name=f"{name}.residual.scale"))
        shift = writer.constant(state.norm.beta + bias, name=f"{name}.residual.shift")
        shifted = writer.node("Add", scaled, shift)
        return self._normalize(writer.node("Add", added, shifted), norm)

    def _head(self, state: _Normalized) -> str:
        writer = self._writer
        pooler, classifier = state.through(self._encoder.pooler), self._encoder.classifier
        first = writer.node("Squeeze", state.name, writer.constant([1], np.int64))
        hidden = writer.node("Tanh", self._gemm("pooler", first, pooler))
        return self._gemm("classifier", hidden, classifier)

    def _gemm(self, name: str, activations: str, linear: Linear) -> str:
        constant = self._writer.constant
        weight, bias = constant(linear.weight, name=name), constant(linear.bias, name=f"{name}.bias")
        return self._writer.node("Gemm", activations, weight, bias)
