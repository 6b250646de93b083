"""The model that a recipe starts from, and the precision and device that it is trained with."""

from typing import Any, Literal, TypeAlias

import torch
from torch import nn
from transformers import set_seed
from transformers.utils import logging

from crossrank.errors import UsageError
from crossrank.machine import cpu_flags
from crossrank.models.cross_encoder import activation_module, open_cross_encoder, set_depth
from crossrank.models.location import is_bi_encoder
from crossrank.train.recipe import Recipe, Training

Precision: TypeAlias = Literal["fp32", "fp16", "bf16"]


def open_base(recipe: Recipe) -> Any:
    """Opens the base of a recipe as a `CrossEncoder` with one label; a bi-encoder gets a fresh, seeded head.

    Raises:
        UsageError: there is no such model, or it cannot have so many layers or so long an input.
    """
    fresh_head = is_bi_encoder(recipe.base)
    set_seed(recipe.seed)
    previous = logging.get_verbosity()
    if fresh_head:
        logging.set_verbosity_error()  # the missing head is what we want
    try:
        model = open_cross_encoder(recipe.base, max_length=recipe.max_length, new_head=fresh_head)
    finally:
        logging.set_verbosity(previous)
    if fresh_head:
        _reset_pooler(model)
    longest = getattr(model.model.config, "max_position_embeddings", recipe.max_length)
    if recipe.max_length > longest:
        raise UsageError(f"max_length: {recipe.base} reads {longest} tokens at most, not {recipe.max_length}")
    if recipe.num_hidden_layers:
        set_depth(model, recipe.num_hidden_layers)
    if recipe.activation:
        model.activation_fn = activation_module(recipe.activation)
    return model


def _reset_pooler(model: Any) -> None:
    """Lets the first token's state through to a fresh head, where the model has BERT's pooler before it.

    A bi-encoder that averages its tokens never trained that layer. As it comes, it holds the head at the share of
    the positives for a hundred steps and more; from the identity, learning begins within the first thirty.
    """
    pooler = getattr(getattr(model.model.base_model, "pooler", None), "dense", None)
    if isinstance(pooler, nn.Linear):
        nn.init.eye_(pooler.weight)
        nn.init.zeros_(pooler.bias)


def usable_precision(wanted: Training) -> Precision:
    """The precision that a run gets: what the recipe asks for, or fp32 where the device lacks it.

    fp16 needs a GPU; bf16 needs one that has it, or a CPU with avx512_bf16 or amx_bf16, since others only imitate it.
    """
    if torch.cuda.is_available():
        bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        bf16 = bool({"avx512_bf16", "amx_bf16"} & cpu_flags())
    if wanted.bf16 and bf16:
        return "bf16"
    return "fp16" if wanted.fp16 and torch.cuda.is_available() else "fp32"


def device_name() -> str:
    """The device of a run, for reports."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
