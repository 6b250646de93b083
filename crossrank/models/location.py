"""Where a PyTorch model is: in a directory, in the packaged base, or on the Hugging Face hub."""

import hashlib
from pathlib import Path
from typing import Any

from transformers import AutoConfig

from crossrank.errors import UsageError, first_line
from crossrank.inference.ranker.hub import download
from crossrank.inference.ranker.manifest import sha256_of
from crossrank.models.packaged import PACKAGED_BASE, packaged_base
from crossrank.paths import from_home

# What a model is made of. Pickles and code are never downloaded.
_FILES = ("*.json", "*.txt", "*.model", "*.safetensors")


def locate_model(name: str, revision: str | None = None) -> Path:
    """The directory of a model; one of the hub is downloaded into huggingface_hub's cache, below its commit.

    Args:
        name: a directory, the packaged base, or a Hugging Face id. What exists as a directory is one.
        revision: of the Hugging Face id.

    Raises:
        UsageError: there is no such model, it has no config.json or no weights in safetensors, or the hub refuses it.
    """
    if from_home(name).is_dir():
        directory = from_home(name)
    elif name == PACKAGED_BASE:
        directory = packaged_base()
    else:
        directory = download(name, revision, _FILES)
    # Without this, transformers guesses a configuration from the name of the directory.
    if not (directory / "config.json").is_file() and not (directory / "modules.json").is_file():
        raise UsageError(f"{name}: no config.json; give the directory of a model that was saved by save_pretrained")
    if next(directory.rglob("*.safetensors"), None) is None:
        raise UsageError(f"{name}: no weights in safetensors; save the model with safe_serialization=True")
    return directory


def model_digest(name: str) -> str:
    """Identifies a model: the hash of a directory's configuration and weights, or a Hugging Face id as it is."""
    directory = packaged_base() if name == PACKAGED_BASE else from_home(name)
    files = sorted(directory.glob("config.json")) + sorted(directory.glob("*.safetensors"))
    return hashlib.sha256("".join(map(sha256_of, files)).encode()).hexdigest() if files else name


def is_bi_encoder(name: str) -> bool:
    """Whether a model has no head of its own for sequence classification.

    Raises:
        UsageError: as `locate_model`, or its config.json cannot be read.
    """
    return not architecture_of(read_config(name, locate_model(name))).endswith("ForSequenceClassification")


def read_config(name: str, directory: Path) -> Any:
    """The configuration in a model's directory.

    Raises:
        UsageError: it cannot be read, needs code that comes with the model, or is of quantised weights.
    """
    try:
        config = AutoConfig.from_pretrained(str(directory), trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(f"{name}: config.json cannot be used: {first_line(error)}") from None
    if getattr(config, "quantization_config", None):
        raise UsageError(f"{name}: its weights are quantised; give the model that it was made from")
    return config


def architecture_of(config: Any) -> str:
    """The class that a configuration names, such as BertForSequenceClassification; empty where it names none."""
    return str((config.architectures or [""])[0])
