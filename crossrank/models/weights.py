"""Weights of a PyTorch model: complete, or refused; transformers draws what is missing at random, and only warns."""

from pathlib import Path
from typing import Any

from crossrank.errors import UsageError


def require_weights(name: str, directory: Path, auto: Any, *, new_head: bool = False) -> None:
    """Checks that a directory holds all weights of its model; they are read for it, and not kept.

    Args:
        name: of the model, for messages.
        directory: of the model.
        auto: the class of transformers that opens it, such as AutoModel.
        new_head: whether a head and a pooler may be missing, to be trained.

    Raises:
        UsageError: some are missing, or the directory holds an adapter alone, or quantised weights.
    """
    if (directory / "adapter_config.json").is_file():
        raise UsageError(f"{name} is an adapter; merge it into its model (merge_and_unload), and save that")
    network, found = auto.from_pretrained(
        str(directory), trust_remote_code=False, local_files_only=True, use_safetensors=True, output_loading_info=True
    )
    needed = network.base_model_prefix if new_head and network.base_model is not network else ""
    missing = [
        key for key in sorted(found["missing_keys"]) if key.startswith(needed) and not (new_head and "pooler" in key)
    ]
    if missing:
        raise UsageError(
            f"{name}: {len(missing)} weights are missing, {missing[0]} first; save the model again, as a "
            f"{type(network).__name__}"
        )
