"""SmoothQuant (Xiao et al. 2023): what is hard to round in activations moves, exactly, into the weights.

Activations of some channels are many times larger than those of others, and take the steps of all. Dividing each
channel by s and multiplying the matrix's row by s changes nothing but what rounding loses.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from crossrank.export.graph.encoder import Array, Encoder, Linear

_ALPHA = 0.5
_SMALLEST = 1e-5


@dataclass(frozen=True, slots=True)
class Ranges:
    """The largest magnitude of each channel before three of a layer's products; each of shape [hidden]."""

    attention_input: Array
    context: Array
    intermediate_input: Array


def smooth(encoder: Encoder, ranges: Sequence[Ranges]) -> tuple[Encoder, dict[int, tuple[Array, Array]]]:
    """Moves ranges from activations into weights.

    Args:
        encoder: the weights.
        ranges: of each layer.

    Returns:
        An encoder that computes the same, its attention outputs smoothed by its values' matrices; and the divisors
        of what comes from its norms, which `crossrank.export.graph.prune.write_pruned` takes.
    """
    layers, divisors = [], {}
    for number, (layer, measured) in enumerate(zip(encoder.layers, ranges, strict=True)):
        linears = layer.linears
        attention = np.concatenate([linears[name].weight for name in ("query", "key", "value")], axis=1)
        divisors[number] = (
            _divisor(measured.attention_input, attention),
            _divisor(measured.intermediate_input, linears["intermediate"].weight),
        )
        value, output = linears["value"], linears["attention_output"]
        context = _divisor(measured.context, output.weight)
        smoothed = {
            **linears,
            "value": Linear(value.weight / context, value.bias / context),
            "attention_output": Linear(context[:, None] * output.weight, output.bias),
        }
        layers.append(replace(layer, linears=smoothed))
    return replace(encoder, layers=layers), divisors


def measure_ranges(model: Any, encoder: Encoder, batches: Sequence[Mapping[str, Any]]) -> list[Ranges]:
    """Runs batches through a model and keeps each channel's largest magnitude.

    Args:
        model: the transformers model that `encoder` was read from.
        encoder: its weights; a norm's shift does not count, since `crossrank.export.graph.prune` adds it behind the
            product.
        batches: inputs of the model as its tokenizer gives them, without padding.
    """
    largest: dict[tuple[int, str], Array] = {}
    hooks = []
    shift = encoder.embedding_norm.beta
    for number, (module, layer) in enumerate(zip(model.base_model.encoder.layer, encoder.layers, strict=True)):
        for name, product, beta in (
            ("attention_input", module.attention.self.query, shift),
            ("context", module.attention.output.dense, np.zeros_like(shift)),
            ("intermediate_input", module.intermediate.dense, layer.attention_norm.beta),
        ):
            keep = partial(_keep_largest, largest, (number, name), beta)
            hooks.append(product.register_forward_pre_hook(keep))
        shift = layer.output_norm.beta
    try:
        with torch.inference_mode():
            for batch in batches:
                model(**batch)
    finally:
        for hook in hooks:
            hook.remove()
    return [Ranges(*(largest[number, field.name] for field in fields(Ranges))) for number in range(len(encoder.layers))]


def _keep_largest(
    largest: dict[tuple[int, str], Array], key: tuple[int, str], shift: Array, module: Any, inputs: tuple[Any, ...]
) -> None:
    magnitudes = np.abs(inputs[0].float().numpy() - shift).reshape(-1, inputs[0].shape[-1]).max(axis=0)
    largest[key] = np.maximum(largest.get(key, 0), magnitudes)


def _divisor(activations: Array, weight: Array) -> Array:
    """The paper's s: max |activation|^alpha / max |weight|^(1 - alpha), for each channel."""
    large = np.maximum(activations, _SMALLEST) ** _ALPHA
    divisor: Array = large / np.maximum(np.abs(weight).max(axis=1), _SMALLEST) ** (1 - _ALPHA)
    return divisor
