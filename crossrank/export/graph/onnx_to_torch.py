"""Reads the weights of a graph of `crossrank.export.graph.prune`, int8 or fp32, back into a PyTorch cross-encoder.

The graph holds its weights regrouped: a norm's shift is in the biases that follow it, a divisor of activations in the
rows of a matrix. They come back in another grouping that computes the same: the residual's whole shift becomes the
norm's, and the biases that it had taken along become zero. What rounding lost stays lost.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from transformers import AutoConfig, AutoModelForSequenceClassification

from crossrank.atomic import replace_directory
from crossrank.errors import UsageError
from crossrank.export.graph.encoder import MATRICES, Array
from crossrank.inference.ranker.directory import open_ranker
from crossrank.models.cross_encoder import open_cross_encoder

# Graphs of `crossrank.export.graph.prune`, the exact one first.
_READABLE = ("model_pruned", "model_qint8_per_token")
_HF_NAMES = dict(
    zip(
        MATRICES,
        (
            "attention.self.query",
            "attention.self.key",
            "attention.self.value",
            "attention.output.dense",
            "intermediate.dense",
            "output.dense",
        ),
        strict=True,
    )
)


def write_cross_encoder(ranker: Path, out: Path, *, force: bool = False) -> float:
    """Writes a ranker as a directory that sentence-transformers, and so `crossrank train`, opens.

    Args:
        ranker: its directory; its own fp32 graph is read where it has one, else the int8 one with scales per token.
        out: the directory to write.
        force: whether an existing one is replaced.

    Returns:
        The largest difference between PyTorch's logits of the golden pairs and the graph's: what rounding its
        activations costs.

    Raises:
        InvalidRanker: it is not a ranker.
        UsageError: none of its graphs has weights that can be read back, or the target cannot be used.
    """
    opened = open_ranker(ranker)
    variants = [variant for variant in opened.manifest.variants if Path(variant.file).stem in _READABLE]
    if not variants:
        raise UsageError(f"{opened.directory.name} has neither a pruned graph nor one with int8 scales per token")
    variant = min(variants, key=lambda variant: _READABLE.index(Path(variant.file).stem))
    with replace_directory(out, force=force) as directory:
        for file in opened.directory.iterdir():
            if file.is_file():
                shutil.copy(file, directory / file.name)
        model = read_back(opened.directory / variant.file, opened.directory)
        model.save_pretrained(directory, safe_serialization=True)
        encoder = open_cross_encoder(str(directory), device="cpu")
        pairs = [(pair.query, pair.document) for pair in opened.manifest.golden_pairs]
        logits = encoder.predict(pairs, activation_fn=torch.nn.Identity(), show_progress_bar=False)
    return float(np.abs(logits - [golden.logit for golden in variant.golden]).max())


def read_back(graph: Path, directory: Path) -> Any:
    """Reads a graph into a transformers model.

    Args:
        graph: written by `crossrank.export.graph.prune` for a BERT model.
        directory: that holds the model's config.json.

    Raises:
        UsageError: the graph has not the named weights of such a one.
    """
    config = AutoConfig.from_pretrained(directory, trust_remote_code=False)
    if config.model_type != "bert":
        raise UsageError(f"{graph.name} is of a {config.model_type} model; weights are read back for BERT alone")
    stored = {tensor.name: numpy_helper.to_array(tensor) for tensor in onnx.load(graph).graph.initializer}
    try:
        state = _state(_Stored(stored), config.num_hidden_layers)
    except KeyError as error:
        raise UsageError(f"{graph.name} has no weight {error}; export the model anew") from None
    config.max_position_embeddings = len(stored["embeddings.position"])  # a ranker's is its longest pair
    model = AutoModelForSequenceClassification.from_config(config)
    model.load_state_dict({name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in state.items()})
    return model.eval()


class _Stored:
    """The named weights of a graph."""

    def __init__(self, arrays: dict[str, Array]) -> None:
        self._arrays = arrays

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def array(self, name: str) -> Array:
        """float32, without the rounding's scale where it has one."""
        array = self._arrays[name].astype(np.float32)
        return array * self._arrays[f"{name}.scale"] if f"{name}.scale" in self._arrays else array

    def is_rounded(self, name: str) -> bool:
        return f"{name}.scale" in self._arrays

    def after_norm(self, name: str, factor: str, gamma: Array) -> Array:
        """A matrix that took what a norm gave before its scale."""
        # The activations were multiplied by gamma / divisor, and the matrix by the divisor; or the matrix by gamma.
        divisor = gamma / self.array(factor) if self.is_rounded(name) else gamma
        matrix: Array = self.array(name) / divisor[:, None]
        return matrix

    def after_gelu(self, name: str) -> Array:
        if name in self:
            return self.array(name)
        starts = sorted(
            int(other.removeprefix(f"{name}."))
            for other in self._arrays
            if other.startswith(f"{name}.") and other.removeprefix(f"{name}.").isdigit()
        )
        return np.concatenate([self.array(f"{name}.{start}") for start in starts])


def _state(stored: _Stored, layers: int) -> dict[str, Array]:
    state = {
        f"bert.embeddings.{name}_embeddings.weight": stored.array(f"embeddings.{key}")
        for name, key in (("word", "word"), ("position", "position"), ("token_type", "token_type"))
    }
    norm = "bert.embeddings.LayerNorm"
    for number in range(layers):
        ours, theirs = f"layer.{number}", f"bert.encoder.layer.{number}"
        gamma, beta = (stored.array(f"{ours}.attention.residual.{part}") for part in ("scale", "shift"))
        state |= {f"{norm}.weight": gamma, f"{norm}.bias": beta}
        biases = np.split(stored.array(f"{ours}.attention.bias"), 3)
        for name, bias in zip(MATRICES[:3], biases, strict=True):
            factor = f"{ours}.query.factor" if name == "query" else f"{ours}.key.factor"
            matrix = stored.after_norm(f"{ours}.{name}", factor, gamma)
            _put(state, f"{theirs}.{_HF_NAMES[name]}", matrix, bias - beta @ matrix)
        _put(state, f"{theirs}.{_HF_NAMES['attention_output']}", stored.array(f"{ours}.attention_output"))
        norm = f"{theirs}.attention.output.LayerNorm"
        gamma, beta = (stored.array(f"{ours}.output.residual.{part}") for part in ("scale", "shift"))
        state |= {f"{norm}.weight": gamma, f"{norm}.bias": beta}
        matrix = stored.after_norm(f"{ours}.intermediate", f"{ours}.intermediate.factor", gamma)
        _put(state, f"{theirs}.intermediate.dense", matrix, stored.array(f"{ours}.intermediate.bias") - beta @ matrix)
        _put(state, f"{theirs}.output.dense", stored.after_gelu(f"{ours}.output"))
        norm = f"{theirs}.output.LayerNorm"
    pooler = stored.array("pooler")
    state |= {f"{norm}.weight": np.ones(len(pooler), np.float32), f"{norm}.bias": np.zeros(len(pooler), np.float32)}
    _put(state, "bert.pooler.dense", pooler, stored.array("pooler.bias"))
    _put(state, "classifier", stored.array("classifier"), stored.array("classifier.bias"))
    return state


def _put(state: dict[str, Array], name: str, matrix: Array, bias: Array | None = None) -> None:
    """A linear layer, in PyTorch's shape; without a bias its bias is zero."""
    state[f"{name}.weight"] = matrix.T
    state[f"{name}.bias"] = np.zeros(matrix.shape[1], dtype=np.float32) if bias is None else bias
