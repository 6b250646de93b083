"""Bi-encoder teachers: vectors of all texts, from unpadded BERT or from MPNet, and the way their weights travel."""

import json
import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from torch.nn import functional as F

from crossrank.train.packed.batches import Assembler
from crossrank.train.packed.encoder import Shape, UnpaddedEncoder
from crossrank.train.packed.inputs import Ints

_SCALE = ".scale"
_LOG_EVERY = 10.0
_MPNET_BUCKETS = 32
_MPNET_FARTHEST = 128
# MPNet's vocabulary is BERT's behind four tokens of its own; its [CLS], [PAD] and [SEP] are among these.
_MPNET_SHIFT, _MPNET_CLS, _MPNET_PAD, _MPNET_SEP = 4, 0, 1, 2


def write_rounded(source: Path, out: Path) -> None:
    """Writes a model's directory with its matrices in int8, a scale for each row, and the rest in fp16."""
    out.mkdir(parents=True)
    packed: dict[str, Tensor] = {}
    with safe_open(source / "model.safetensors", "pt") as weights:
        for name in weights.keys():  # noqa: SIM118 - not a mapping
            tensor = weights.get_tensor(name)
            if tensor.dim() == 2 and tensor.is_floating_point() and min(tensor.shape) > 64:
                scale = tensor.abs().amax(1, keepdim=True) / 127
                packed[name] = torch.round(tensor / scale).to(torch.int8)
                packed[f"{name}{_SCALE}"] = scale.half()
            elif tensor.is_floating_point():
                packed[name] = tensor.half()
    save_file(packed, out / "model.safetensors")
    (out / "config.json").write_bytes((source / "config.json").read_bytes())


def read_weights(directory: Path) -> dict[str, Tensor]:
    """The fp32 weights of a model's directory, rounded or not.

    Raises:
        OSError: there is no model.safetensors.
    """
    with safe_open(directory / "model.safetensors", "pt") as weights:
        stored = {name: weights.get_tensor(name) for name in weights.keys()}  # noqa: SIM118
    return {
        name: tensor.float() * stored[f"{name}{_SCALE}"].float() if f"{name}{_SCALE}" in stored else tensor.float()
        for name, tensor in stored.items()
        if not name.endswith(_SCALE) and tensor.dtype != torch.int64
    }


def embed(
    directory: Path,
    assembler: Assembler,
    lengths: Ints,
    longest: int,
    device: torch.device,
    budget: int,
    log: Callable[[float], None] = lambda share: None,
) -> Tensor:
    """Normalised vectors of all texts, each by the mean of its tokens.

    Args:
        directory: of a BERT or MPNet bi-encoder with the tokenizer of the inputs.
        assembler: of the inputs.
        lengths: tokens of each text.
        longest: tokens of a text that are read, special ones included.
        device: where the work is done.
        budget: tokens at once.
        log: is told every ten seconds which share of the tokens is done.

    Returns:
        fp16 on a GPU, else fp32; [texts, hidden].
    """
    config = json.loads((directory / "config.json").read_text())
    state = read_weights(directory)
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    encode: Callable[[NDArray[np.int64], NDArray[np.int64]], Tensor]
    if config["model_type"] == "mpnet":
        mpnet = Mpnet(config, state, device, dtype)

        def encode(numbers: NDArray[np.int64], sizes: NDArray[np.int64]) -> Tensor:
            tokens = assembler.texts(numbers, sizes, longest)
            return mpnet(tokens.ids, tokens.sequence, tokens.positions, len(numbers), int(sizes.max()) + 2)
    else:
        bert = UnpaddedEncoder(Shape.of(config), state).to(device)

        def encode(numbers: NDArray[np.int64], sizes: NDArray[np.int64]) -> Tensor:
            return bert.means(assembler.texts(numbers, sizes, longest), dtype)

    taken = np.minimum(lengths, longest - 2).astype(np.int64)
    vectors = torch.empty(
        len(taken),
        config["hidden_size"],
        dtype=torch.float16 if device.type == "cuda" else torch.float32,
        device=device,
    )
    done, told = 0, time.monotonic()
    with torch.inference_mode():
        for numbers in by_length(taken, budget):
            if time.monotonic() - told >= _LOG_EVERY:
                told = time.monotonic()
                log(round(done / int(taken.sum()), 3))
            done += int(taken[numbers].sum())
            vectors[torch.from_numpy(numbers).to(device)] = encode(numbers, taken[numbers]).to(vectors.dtype)
    return vectors


def by_length(lengths: NDArray[np.int64], budget: int) -> Iterator[NDArray[np.int64]]:
    """Numbers of texts, shortest first, in parts of so many tokens with each as long as the part's longest."""
    order = np.argsort(lengths, kind="stable")
    start = 0
    while start < len(order):
        # The end that the longest of the rest allows is always small enough; grow it by what is really there.
        count = max(1, budget // int(lengths[order[start]] + 3))
        while count > 1 and count * (lengths[order[min(start + count, len(order)) - 1]] + 3) > budget:
            count = max(1, budget // int(lengths[order[min(start + count, len(order)) - 1]] + 3))
        yield order[start : start + count]
        start += count


class Mpnet:
    """MPNet (Song et al. 2020) without dropout: BERT's layers with a bias by relative position in every attention."""

    def __init__(self, config: dict[str, object], state: dict[str, Tensor], device: torch.device, dtype: torch.dtype):
        self._state = {name.removeprefix("mpnet."): tensor.to(device, dtype) for name, tensor in state.items()}
        self._heads = int(str(config["num_attention_heads"]))
        self._layers = int(str(config["num_hidden_layers"]))
        self._epsilon = float(str(config["layer_norm_eps"]))

    def __call__(self, ids: Tensor, sequence: Tensor, positions: Tensor, count: int, longest: int) -> Tensor:
        """Normalised means, float32 [count, hidden], of unpadded BERT ids."""
        device = ids.device
        last = torch.ones_like(ids, dtype=torch.bool)
        last[:-1] = sequence[1:] != sequence[:-1]
        own = torch.where(positions == 0, _MPNET_CLS, torch.where(last, _MPNET_SEP, ids + _MPNET_SHIFT))
        padded = torch.full((count, longest), _MPNET_PAD, dtype=torch.int64, device=device)
        padded[sequence, positions] = own
        present = padded != _MPNET_PAD
        places = torch.arange(longest, device=device) + _MPNET_PAD + 1
        states = self._table("embeddings.word_embeddings", padded) + self._table(
            "embeddings.position_embeddings", places
        )
        states = self._norm(states, "embeddings.LayerNorm")
        buckets = _buckets(longest, device)
        bias = self._state["encoder.relative_attention_bias.weight"][buckets].permute(2, 0, 1)
        mask = bias[None].masked_fill(~present[:, None, None, :], -torch.inf)
        for number in range(self._layers):
            at = f"encoder.layer.{number}"
            query, key, value = (
                self._linear(states, f"{at}.attention.attn.{part}").unflatten(2, (self._heads, -1)).transpose(1, 2)
                for part in "qkv"
            )
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask).transpose(1, 2).flatten(2)
            states = self._norm(states + self._linear(attended, f"{at}.attention.attn.o"), f"{at}.attention.LayerNorm")
            inner = F.gelu(self._linear(states, f"{at}.intermediate.dense"))
            states = self._norm(states + self._linear(inner, f"{at}.output.dense"), f"{at}.output.LayerNorm")
        return F.normalize((states.float() * present[..., None]).sum(1), dim=1)

    def _table(self, name: str, places: Tensor) -> Tensor:
        return F.embedding(places, self._state[f"{name}.weight"])

    def _linear(self, states: Tensor, name: str) -> Tensor:
        return F.linear(states, self._state[f"{name}.weight"], self._state[f"{name}.bias"])

    def _norm(self, states: Tensor, name: str) -> Tensor:
        weight, bias = self._state[f"{name}.weight"], self._state[f"{name}.bias"]
        return F.layer_norm(states, weight.shape, weight, bias, self._epsilon)


def _buckets(longest: int, device: torch.device) -> Tensor:
    """T5's buckets of relative positions, as MPNet has them; int64 [longest, longest]."""
    places = torch.arange(longest, device=device)
    behind = places[:, None] - places[None, :]
    half = _MPNET_BUCKETS // 2
    distance = behind.abs()
    exact = half // 2
    far = exact + (
        torch.log(distance.clamp(min=1).float() / exact) / math.log(_MPNET_FARTHEST / exact) * (half - exact)
    ).long().clamp(max=half - 1 - exact)
    return (behind < 0).long() * half + torch.where(distance < exact, distance, far)
