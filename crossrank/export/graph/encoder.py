"""The weights of a BERT-like encoder, out of a Hugging Face model and free of its classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

# What one layer multiplies with; a layer's matrices go by these names everywhere in the export.
MATRICES = ("query", "key", "value", "attention_output", "intermediate", "output")

# Same encoder, other embeddings and head: post-norm layers and absolute positions.
_BERT = frozenset({"bert"})
_ROBERTA = frozenset({"roberta", "xlm-roberta", "camembert"})


@dataclass(frozen=True, slots=True)
class Linear:
    """x @ weight + bias; weight of shape [in, out], bias of shape [out]."""

    weight: Array
    bias: Array


@dataclass(frozen=True, slots=True)
class Norm:
    """Layer normalisation's scale and shift, each of shape [hidden]."""

    gamma: Array
    beta: Array


@dataclass(frozen=True, slots=True)
class Layer:
    """One post-norm layer: its matrices by the names of `MATRICES`, and its two norms."""

    linears: dict[str, Linear]
    attention_norm: Norm
    output_norm: Norm


@dataclass(frozen=True, slots=True)
class Encoder:
    """Everything that a cross-encoder's logit depends on.

    Attributes:
        word, position, token_type: embedding tables; `token_type` is None where the tokenizer gives no token types.
        embedding_norm: the norm after their sum.
        layers: from the first to the last.
        pooler, classifier: applied to the first token, with tanh between them.
        heads: attention heads.
        epsilon: of every norm.
        padding_id: the token that gets no position of its own, as in RoBERTa; None where positions count from 0.
    """

    word: Array
    position: Array
    token_type: Array | None
    embedding_norm: Norm
    layers: list[Layer]
    pooler: Linear
    classifier: Linear
    heads: int
    epsilon: float
    padding_id: int | None


def read_encoder(model: Any) -> Encoder | None:
    """Reads the weights of a sequence classifier.

    Args:
        model: a transformers model of BERT's, RoBERTa's, XLM-RoBERTa's or CamemBERT's architecture.

    Returns:
        None where the architecture is another one, or differs in what `crossrank.export.graph.prune` computes.
    """
    config = model.config
    if config.model_type not in _BERT | _ROBERTA:
        return None
    if config.hidden_act != "gelu" or getattr(config, "position_embedding_type", "absolute") != "absolute":
        return None
    base = model.base_model
    embeddings = base.embeddings
    roberta = config.model_type in _ROBERTA
    token_type = _array(embeddings.token_type_embeddings.weight)
    position = _array(embeddings.position_embeddings.weight)
    if roberta:  # its tokenizers give no token types, so all tokens are of the first
        position = position + token_type[:1]
    head = model.classifier
    return Encoder(
        word=_array(embeddings.word_embeddings.weight),
        position=position,
        token_type=None if roberta else token_type,
        embedding_norm=_norm(embeddings.LayerNorm),
        layers=[_layer(layer) for layer in base.encoder.layer],
        pooler=_linear(head.dense if roberta else base.pooler.dense),
        classifier=_linear(head.out_proj if roberta else head),
        heads=config.num_attention_heads,
        epsilon=config.layer_norm_eps,
        padding_id=embeddings.position_embeddings.padding_idx,
    )


def _layer(layer: Any) -> Layer:
    attention = layer.attention
    modules = (
        attention.self.query,
        attention.self.key,
        attention.self.value,
        attention.output.dense,
        layer.intermediate.dense,
        layer.output.dense,
    )
    return Layer(
        linears={name: _linear(module) for name, module in zip(MATRICES, modules, strict=True)},
        attention_norm=_norm(attention.output.LayerNorm),
        output_norm=_norm(layer.output.LayerNorm),
    )


def _linear(module: Any) -> Linear:
    return Linear(_array(module.weight).T, _array(module.bias))


def _norm(module: Any) -> Norm:
    return Norm(_array(module.weight), _array(module.bias))


def _array(tensor: Any) -> Array:
    array: Array = tensor.detach().float().cpu().numpy()
    return array
