"""An unpadded BERT cross-encoder: the tokens of a batch one after the other, in the last layer only the first of each.

The same function as transformers' BertForSequenceClassification without dropout, on the weights by its names. Exits
are small heads on the states after early layers, which learn the score before it is there.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from crossrank.train.packed.attention import Sequences, attend


@dataclass(frozen=True, slots=True)
class Shape:
    """What an encoder's config.json says of it."""

    hidden: int
    heads: int
    epsilon: float

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Shape":
        """From a BERT config.

        Raises:
            ValueError: it is of another architecture.
        """
        if config["model_type"] != "bert" or config.get("hidden_act", "gelu") != "gelu":
            raise ValueError(f"unpadded training is for BERT with GELU, not {config['model_type']}")
        return cls(config["hidden_size"], config["num_attention_heads"], config["layer_norm_eps"])


def linear(states: Tensor, module: nn.Linear) -> Tensor:
    """A linear layer in the precision of the states; the weights stay in fp32."""
    return F.linear(states, module.weight.to(states.dtype), module.bias.to(states.dtype))


def norm(states: Tensor, module: nn.LayerNorm) -> Tensor:
    """Layer normalisation in the precision of the states."""
    weight, bias = module.weight.to(states.dtype), module.bias.to(states.dtype)
    return F.layer_norm(states, module.normalized_shape, weight, bias, module.eps)


class Layer(nn.Module):
    """One post-norm layer on states of shape [tokens, hidden]."""

    def __init__(self, shape: Shape, intermediate: int) -> None:
        super().__init__()
        self.heads = shape.heads
        self.qkv = nn.Linear(shape.hidden, 3 * shape.hidden)
        self.output = nn.Linear(shape.hidden, shape.hidden)
        self.attention_norm = nn.LayerNorm(shape.hidden, shape.epsilon)
        self.up = nn.Linear(shape.hidden, intermediate)
        self.down = nn.Linear(intermediate, shape.hidden)
        self.output_norm = nn.LayerNorm(shape.hidden, shape.epsilon)

    def forward(self, states: Tensor, sequences: Sequences) -> Tensor:
        """All tokens to all tokens of their sequence; the same shape."""
        query, key, value = linear(states, self.qkv).view(len(states), 3, self.heads, -1).unbind(1)
        return self._rest(states, attend(query, key, value, sequences))

    def first(self, states: Tensor, sequences: Sequences) -> Tensor:
        """The first token of each sequence alone, shape [sequences, hidden]."""
        hidden = states.shape[1]
        weight, bias = self.qkv.weight.to(states.dtype), self.qkv.bias.to(states.dtype)
        chosen = states[sequences.first]
        query = F.linear(chosen, weight[:hidden], bias[:hidden]).view(len(chosen), self.heads, -1)
        both = F.linear(states, weight[hidden:], bias[hidden:]).view(len(states), 2, self.heads, -1)
        return self._rest(chosen, attend(query, both[:, 0], both[:, 1], sequences))

    def _rest(self, states: Tensor, attended: Tensor) -> Tensor:
        states = norm(states + linear(attended.flatten(1), self.output), self.attention_norm)
        return norm(states + linear(F.gelu(linear(states, self.up)), self.down), self.output_norm)


class Exit(nn.Module):
    """A head on early states: the means over query and document, their product, and the first token."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.inner = nn.Linear(4 * hidden, hidden)
        self.outer = nn.Linear(hidden, 1)

    def forward(self, states: Tensor, tokens: "Tokens") -> Tensor:
        """Logits, float32 [sequences], of states [tokens, hidden]."""
        count = len(tokens.sequences.first)
        slots = 2 * tokens.sequence + tokens.types
        ones = torch.ones(len(states), device=states.device)
        sums = torch.zeros(2 * count, states.shape[1], device=states.device).index_add(0, slots, states.float())
        sizes = torch.zeros(2 * count, device=states.device).index_add(0, slots, ones)
        means = (sums / sizes.clamp(min=1)[:, None]).view(count, 2, -1)
        query, document = means.unbind(1)
        pooled = torch.cat((query, document, query * document, states[tokens.sequences.first].float()), 1)
        logits: Tensor = self.outer(F.gelu(self.inner(pooled))).view(-1)
        return logits


@dataclass(frozen=True, slots=True)
class Tokens:
    """A batch of pairs without padding.

    Attributes:
        ids, positions, types: of each token, int64 [tokens]; types are 0 in a query and 1 in a document.
        sequence: the pair of each token, int64 [tokens].
        sequences: where the pairs begin and end.
    """

    ids: Tensor
    positions: Tensor
    types: Tensor
    sequence: Tensor
    sequences: Sequences


class UnpaddedEncoder(nn.Module):
    """BERT on unpadded tokens, with the head of a cross-encoder and, if wanted, exits."""

    def __init__(self, shape: Shape, state: Mapping[str, Tensor], exits: tuple[int, ...] = ()) -> None:
        """Builds it on a state dict by transformers' names, with or without the prefix `bert.`.

        Args:
            shape: of the layers.
            state: weights; without `classifier.weight`, the encoder alone.
            exits: after which layers, counted from 1, there is an exit.
        """
        super().__init__()
        state = {name.removeprefix("bert."): tensor for name, tensor in state.items()}
        self.exit_layers = exits
        for name in ("word", "position", "token_type"):
            table = state[f"embeddings.{name}_embeddings.weight"].float()
            setattr(self, name, nn.Parameter(table.clone()))
        self.norm = nn.LayerNorm(shape.hidden, shape.epsilon)
        count = 1 + max(int(name.split(".")[2]) for name in state if name.startswith("encoder.layer."))
        intermediate = len(state["encoder.layer.0.intermediate.dense.weight"])
        self.layers = nn.ModuleList(Layer(shape, intermediate) for _ in range(count))
        self.pooler = nn.Linear(shape.hidden, shape.hidden)
        self.classifier = nn.Linear(shape.hidden, 1)
        self.exits = nn.ModuleList(Exit(shape.hidden) for _ in exits)
        with torch.no_grad():
            for names, parameter in _named(self, count):
                if all(name in state for name in names):
                    parameter.copy_(torch.cat([state[name].float() for name in names]))

    def forward(self, tokens: Tokens, dtype: torch.dtype = torch.float32) -> tuple[Tensor, list[Tensor]]:
        """The logits of the pairs and those of each exit, float32 [pairs] each."""
        states = self.embed(tokens, dtype)
        early: list[Tensor] = []
        for number, layer in enumerate(self.layers[:-1], start=1):
            states = layer(states, tokens.sequences)
            if number in self.exit_layers:
                early.append(self.exits[len(early)](_damped(states), tokens))
        first = self.layers[-1].first(states, tokens.sequences).float()
        logits: Tensor = self.classifier(torch.tanh(self.pooler(first))).view(-1)
        return logits, early

    def embed(self, tokens: Tokens, dtype: torch.dtype) -> Tensor:
        """The states before the first layer, [tokens, hidden]."""
        summed = (
            F.embedding(tokens.ids, self.word)
            + F.embedding(tokens.positions, self.position)
            + F.embedding(tokens.types, self.token_type)
        )
        return norm(summed.to(dtype), self.norm)

    def means(self, tokens: Tokens, dtype: torch.dtype = torch.float32) -> Tensor:
        """Normalised means of the last states, as a bi-encoder gives them, float32 [sequences, hidden]."""
        states = self.embed(tokens, dtype)
        for layer in self.layers:
            states = layer(states, tokens.sequences)
        sums = torch.zeros(len(tokens.sequences.first), states.shape[1], device=states.device)
        return F.normalize(sums.index_add(0, tokens.sequence, states.float()), dim=1)

    def compile_layers(self, compiler: Callable[[Any], Any]) -> None:
        """Compiles a layer's two ways; all layers share what comes of it."""
        for layer in self.layers:
            layer.forward = compiler(layer.forward)
        self.layers[-1].first = compiler(self.layers[-1].first)

    def transformers_state(self) -> dict[str, Tensor]:
        """The weights by the names of BertForSequenceClassification, without the exits."""
        state: dict[str, Tensor] = {}
        for names, parameter in _named(self, len(self.layers)):
            for name, part in zip(names, parameter.detach().chunk(len(names)), strict=True):
                state[name if name.startswith("classifier") else f"bert.{name}"] = part.contiguous()
        return state


# What an exit learns moves the layers below it by this share, so that the whole model keeps first place.
_EXIT_SHARE = 0.1


def _damped(states: Tensor) -> Tensor:
    return states.detach() + _EXIT_SHARE * (states - states.detach())


def _named(model: UnpaddedEncoder, layers: int) -> list[tuple[list[str], nn.Parameter]]:
    """Transformers' names of each parameter; the three of a fused one together."""
    found: list[tuple[list[str], nn.Parameter]] = [
        (["embeddings.word_embeddings.weight"], model.word),
        (["embeddings.position_embeddings.weight"], model.position),
        (["embeddings.token_type_embeddings.weight"], model.token_type),
    ]
    modules: list[tuple[list[str], nn.Module]] = [
        (["embeddings.LayerNorm"], model.norm),
        (["pooler.dense"], model.pooler),
        (["classifier"], model.classifier),
    ]
    for number in range(layers):
        layer, at = model.layers[number], f"encoder.layer.{number}"
        modules += [
            ([f"{at}.attention.self.{part}" for part in ("query", "key", "value")], layer.qkv),
            ([f"{at}.attention.output.dense"], layer.output),
            ([f"{at}.attention.output.LayerNorm"], layer.attention_norm),
            ([f"{at}.intermediate.dense"], layer.up),
            ([f"{at}.output.dense"], layer.down),
            ([f"{at}.output.LayerNorm"], layer.output_norm),
        ]
    for names, module in modules:
        found += [
            ([f"{name}.weight" for name in names], module.weight),
            ([f"{name}.bias" for name in names], module.bias),
        ]
    return found
