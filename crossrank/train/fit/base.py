"""The model that a recipe starts from."""

from pathlib import Path
from typing import Any

from torch import nn
from transformers import set_seed
from transformers.utils import logging

from crossrank.errors import UsageError
from crossrank.models.cross_encoder import activation_module, open_cross_encoder, set_depth
from crossrank.models.location import is_bi_encoder
from crossrank.models.packaged import PACKAGED_BASE, PACKAGED_HUB_ID
from crossrank.train.recipe import Recipe


def open_base(recipe: Recipe) -> Any:
    """Opens the base of a recipe as a `CrossEncoder` with one label; a bi-encoder gets a fresh, seeded head.

    Raises:
        UsageError: there is no such model, or it cannot have so many layers or so long an input, or its
            configuration names another padding id than its tokenizer.
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
    if recipe.max_length > model.max_seq_length:
        raise UsageError(
            f"max_length: {recipe.base} reads {model.max_seq_length} tokens at most, not {recipe.max_length}"
        )
    padding, written = model.tokenizer.pad_token_id, model.model.config.pad_token_id
    if padding != written:  # the Trainer would write the tokenizer's, and RoBERTa count its positions from another
        raise UsageError(
            f"{recipe.base}: pad_token_id is {written} in config.json and {padding} for the tokenizer; make them equal"
        )
    if recipe.num_hidden_layers:
        set_depth(model, recipe.num_hidden_layers)
    if recipe.activation:
        model.activation_fn = activation_module(recipe.activation)
    _describe(model, recipe)
    return model


def _describe(model: Any, recipe: Recipe) -> None:
    """Fills in the model card what sentence-transformers cannot know."""
    card = model.model_card_data
    card.model_name = recipe.name
    card.generate_widget_examples = False
    # The card links its base on the hub: right for an id, wrong for a directory or for the packaged base's own name.
    local = Path(recipe.base).is_dir()
    card.base_model = None if local else PACKAGED_HUB_ID if recipe.base == PACKAGED_BASE else recipe.base
    card.base_model_revision = None


def _reset_pooler(model: Any) -> None:
    """Lets the first token's state through to a fresh head, where the model has BERT's pooler before it.

    A bi-encoder that averages its tokens never trained that layer. As it comes, it holds the head at the share of
    the positives for a hundred steps and more; from the identity, learning begins within the first thirty.
    """
    pooler = getattr(getattr(model.model.base_model, "pooler", None), "dense", None)
    if isinstance(pooler, nn.Linear):
        nn.init.eye_(pooler.weight)
        nn.init.zeros_(pooler.bias)
