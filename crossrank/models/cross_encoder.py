"""Cross-encoders in PyTorch: opened from safetensors without remote code, their activation and their depth."""

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from sentence_transformers import CrossEncoder
from torch import nn
from transformers import AutoModelForSequenceClassification

from crossrank.errors import UsageError, first_line
from crossrank.inference.ranker.manifest import Activation
from crossrank.models.location import architecture_of, locate_model, read_config
from crossrank.models.tokenizer import fit_tokenizer
from crossrank.models.weights import require_weights
from crossrank.progress import Progress

_CPU_BATCH, _GPU_BATCH = 16, 256
_BATCHES_AT_ONCE = 8
_LOG = logging.getLogger("crossrank.models")
_ACTIVATIONS: dict[Activation, type[nn.Module]] = {"identity": nn.Identity, "sigmoid": nn.Sigmoid}


def open_cross_encoder(
    name: str,
    *,
    revision: str | None = None,
    max_length: int | None = None,
    device: str | None = None,
    new_head: bool = False,
) -> Any:
    """Opens a cross-encoder with one label, in fp32; its token for the hub is that of HF_TOKEN alone.

    Args:
        name: a directory, a Hugging Face id, or the packaged base.
        revision: of the Hugging Face id.
        max_length: tokens of a pair that it reads, as far as it can; default: its tokenizer's own limit.
        device: "cpu" or "cuda"; default: a GPU where there is one.
        new_head: whether a model without a head for one score gets a random one, to be trained.

    Returns:
        A `sentence_transformers.CrossEncoder`.

    Raises:
        UsageError: there is no such model, it is not a cross-encoder, has several labels, it lacks weights in
            safetensors, or a tokenizer that `fit_tokenizer` refuses.
    """
    directory = locate_model(name, revision)
    config = read_config(name, directory)
    architecture = architecture_of(config)
    if not new_head and not architecture.endswith("ForSequenceClassification"):
        raise UsageError(
            f"{name} is not a cross-encoder but a {architecture or 'model without a head'}; fine-tune it with "
            "crossrank train"
        )
    if not new_head and config.num_labels != 1:
        raise UsageError(f"{name} gives {config.num_labels} labels; a ranker gives one score")
    try:
        require_weights(name, directory, AutoModelForSequenceClassification, new_head=new_head)
        model = CrossEncoder(
            str(directory),
            num_labels=1,
            max_length=max_length,
            device=device,
            trust_remote_code=False,
            local_files_only=True,
            model_kwargs={"use_safetensors": True, "dtype": "float32"},
        )
    except UsageError:
        raise
    except (ImportError, OSError, RuntimeError, ValueError, SafetensorError) as error:
        raise UsageError(f"{name} cannot be opened as a cross-encoder: {first_line(error)}") from None
    fit_tokenizer(name, model, max_length)
    return model


def predict(model: Any, pairs: Sequence[tuple[str, str]]) -> NDArray[np.float32]:
    """The logits of pairs in PyTorch; float32, shape [len(pairs)]."""
    scores = np.empty(len(pairs), dtype=np.float32)
    # The longest first, as the model's own predict has them too: a batch is padded to its longest pair.
    order = np.argsort([-len(query) - len(document) for query, document in pairs], kind="stable")
    batch = _GPU_BATCH if torch.cuda.is_available() else _CPU_BATCH
    with Progress(_LOG, "score pairs", total=len(pairs)) as progress:
        for start in range(0, len(pairs), _BATCHES_AT_ONCE * batch):
            places = order[start : start + _BATCHES_AT_ONCE * batch]
            scores[places] = model.predict(
                [pairs[place] for place in places],
                batch_size=batch,
                show_progress_bar=False,
                activation_fn=nn.Identity(),
            )
            progress.advance(len(places))
    return scores


def activation_module(name: Activation) -> nn.Module:
    """The module of an activation."""
    return _ACTIVATIONS[name]()


def activation_of(model: Any) -> Activation:
    """The activation that a cross-encoder applies to its logit.

    Raises:
        UsageError: it is none that a ranker can have.
    """
    for name, kind in _ACTIVATIONS.items():
        if type(model.activation_fn) is kind:
            return name
    raise UsageError(f"the model ends in {type(model.activation_fn).__name__}; a ranker ends in Identity or Sigmoid")


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
