"""The cross-encoder to export: opened without pickle and without remote code, and refused where it is none."""

import hashlib
import json
from pathlib import Path
from typing import Any

from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError
from safetensors import SafetensorError
from sentence_transformers import CrossEncoder
from transformers import AutoConfig

from crossrank.errors import UsageError, first_line
from crossrank.inference.calibration import CALIBRATION_FILE, Calibration, read_calibration
from crossrank.inference.hub import token_of_environment
from crossrank.inference.manifest import Activation, WeightsSource, sha256_of

_ACTIVATIONS: dict[str, Activation] = {"Identity": "identity", "Sigmoid": "sigmoid"}


def open_cross_encoder(model: str, revision: str | None = None) -> Any:
    """Opens a cross-encoder with one label, from a directory or by its Hugging Face id.

    Returns:
        A `sentence_transformers.CrossEncoder` in fp32 on the CPU.

    Raises:
        UsageError: there is none, it is no cross-encoder, it has several labels, or its weights are pickles.
    """
    try:
        # Without this, transformers guesses a configuration from the name of the directory.
        if Path(model).is_dir() and not (Path(model) / "config.json").is_file():
            raise FileNotFoundError
        config = AutoConfig.from_pretrained(
            model, revision=revision, token=token_of_environment(), trust_remote_code=False
        )
    except (OSError, ValueError):
        raise UsageError(
            f"{model} is neither a directory with a config.json nor a model that the Hugging Face hub gives us"
        ) from None
    architecture = (config.architectures or ["nothing"])[0]
    if not architecture.endswith("ForSequenceClassification"):
        raise UsageError(
            f"{model} is no cross-encoder: it is a {architecture}; fine-tune it first with crossrank train"
        )
    if config.num_labels != 1:
        raise UsageError(f"{model} gives {config.num_labels} labels; a ranker gives one score")
    try:
        opened = CrossEncoder(
            model,
            revision=revision,
            token=token_of_environment(),
            device="cpu",
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True, "dtype": "float32"},
        )
    except (OSError, RuntimeError, SafetensorError) as error:
        raise UsageError(f"{model} has no usable model.safetensors: {first_line(error)}") from None
    if type(opened.activation_fn).__name__ not in _ACTIVATIONS:
        raise UsageError(f"{model} ends in {type(opened.activation_fn).__name__}; a ranker ends in Identity or Sigmoid")
    return opened


def activation_of(model: Any) -> Activation:
    """What the cross-encoder applies to its logit."""
    return _ACTIVATIONS[type(model.activation_fn).__name__]


def calibration_of(model: str, revision: str | None = None) -> Calibration | None:
    """The calibration that lies beside a cross-encoder's weights; None where there is none.

    Args:
        model: a directory, or a Hugging Face id.
        revision: of the Hugging Face id.

    Raises:
        InvalidRanker: it cannot be read or is no calibration.
        UsageError: the hub does not let us look.
    """
    if Path(model).is_dir():
        return read_calibration(Path(model))
    try:
        found = snapshot_download(
            model, revision=revision, allow_patterns=[CALIBRATION_FILE], token=token_of_environment()
        )
    except (HfHubHTTPError, OSError, ValueError) as error:
        raise UsageError(f"{model} cannot be searched for a {CALIBRATION_FILE}: {first_line(error)}") from None
    return read_calibration(Path(found))


def write_files(model: Any, directory: Path) -> str:
    """Writes everything of a ranker but its graphs: configs, tokenizer, model card.

    Returns:
        The sha256 of the weights in safetensors, which are not kept; of its shards' digests where there are several.
    """
    # Training leaves its truncation and padding in tokenizer.json; whoever reads only that file would cut there.
    model.tokenizer.backend_tokenizer.no_truncation()
    model.tokenizer.backend_tokenizer.no_padding()
    model.save_pretrained(str(directory), safe_serialization=True)
    _tell_other_servers(model, directory)
    shards = sorted(directory.glob("*.safetensors"))  # one, up to 5 GB
    digests = [sha256_of(shard) for shard in shards]
    for file in (*shards, *directory.glob("*.safetensors.index.json")):
        file.unlink()
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _tell_other_servers(model: Any, directory: Path) -> None:
    """Writes the longest pair and the activation where others read them.

    Infinity takes `max_position_embeddings` of config.json for the longest pair, text-embeddings-inference
    `max_seq_length` of sentence_bert_config.json; the graphs hold their positions themselves. sentence-transformers
    before 5.7, which Infinity runs on, finds the activation in config.json.
    """
    activation = type(model.activation_fn)
    max_length = int(model.max_seq_length)
    for name, added in (
        (
            "config.json",
            {
                "max_position_embeddings": max_length,
                "sentence_transformers": {"activation_fn": f"{activation.__module__}.{activation.__qualname__}"},
            },
        ),
        ("sentence_bert_config.json", {"max_seq_length": max_length}),
    ):
        path = directory / name
        config = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
        path.write_text(json.dumps({**config, **added}, indent=2) + "\n", encoding="utf-8")


def describe(name: str, revision: str | None, weights_sha256: str) -> WeightsSource:
    """The manifest's word on where the weights came from; a path gives only its last part."""
    local = Path(name).is_dir()
    return WeightsSource(
        name=Path(name).resolve().name if local else name, revision=revision, weights_sha256=weights_sha256
    )
