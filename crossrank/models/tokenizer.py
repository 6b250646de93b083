"""The tokenizer of a cross-encoder: refused where ours could not read it, and made to fit its model."""

from typing import Any

from torch import nn

from crossrank.errors import UsageError

# transformers writes 1e30 for a tokenizer that names no length; nothing reads a tenth of this.
_NO_LENGTH = 2**24


def longest_input(model: Any) -> int | None:
    """How many tokens a model can read at once, special tokens included; None where it names no limit.

    Args:
        model: a `CrossEncoder` or a `SentenceTransformer`.
    """
    network = model.transformers_model
    if network is None:  # static embeddings
        return None
    limits = [getattr(network.config, "max_position_embeddings", None) or -1]
    limits += [table.num_embeddings - (table.padding_idx + 1) for table in _offset_positions(network)]
    return min((limit for limit in limits if limit > 0), default=None)  # XLNet says -1 for no limit


def fit_tokenizer(name: str, model: Any, max_length: int | None) -> None:
    """Checks the tokenizer of a cross-encoder, and makes both agree on the longest input and on the padding id.

    Args:
        name: of the model, for messages.
        model: a `CrossEncoder`.
        max_length: tokens of a pair that it shall read, as far as the model can; default: the tokenizer's own limit.

    Raises:
        UsageError: the tokenizer has no fast form, no padding token, or tokens or types that the model has no
            embedding for; or neither it nor the model names a longest input.
    """
    tokenizer, network = model.tokenizer, model.transformers_model
    if not getattr(tokenizer, "is_fast", False):
        raise UsageError(
            f"{name}: {type(tokenizer).__name__} is not a fast tokenizer, so it has no tokenizer.json; "
            "choose a model with a fast tokenizer"
        )
    if tokenizer.pad_token_id is None:
        raise UsageError(f"{name}: the tokenizer has no padding token; set its pad_token, and save it")
    rows = network.get_input_embeddings().num_embeddings
    highest = max(tokenizer.get_vocab().values())
    if highest >= rows:
        raise UsageError(
            f"{name}: the tokenizer gives ids up to {highest}, but the model has {rows} embeddings; "
            "call resize_token_embeddings(len(tokenizer)), and save the model"
        )
    types = getattr(network.config, "type_vocab_size", 0)  # DeBERTa's 0 is of a model without any
    if "token_type_ids" in tokenizer.model_input_names and 0 < types <= max(tokenizer("a", "b")["token_type_ids"]):
        raise UsageError(
            f"{name}: the tokenizer gives more types of tokens than the model's type_vocab_size of {types}; take "
            "token_type_ids out of model_input_names in tokenizer_config.json"
        )
    length = min(max_length or tokenizer.model_max_length, longest_input(model) or _NO_LENGTH)
    if length >= _NO_LENGTH:
        raise UsageError(f"{name}: no longest input is named; set model_max_length in tokenizer_config.json")
    model.max_seq_length = int(length)
    # What serves pads and cuts there: positions that are counted from the left would differ.
    tokenizer.padding_side = tokenizer.truncation_side = "right"
    # The head of a decoder looks for the last token that is not this one.
    if not _offset_positions(network):
        network.config.pad_token_id = tokenizer.pad_token_id


def _offset_positions(network: Any) -> list[nn.Embedding]:
    """Position tables of RoBERTa and its relatives, which count from the padding id + 1 and never use the rows before.

    They are known by their padding row, which tables that are counted from 0 do not have.
    """
    return [
        module
        for name, module in network.named_modules()
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding) and module.padding_idx is not None
    ]
