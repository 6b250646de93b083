"""What a ranker takes from its cross-encoder besides the graphs: configs, tokenizer, model card, weights' hash."""

import hashlib
import json
from pathlib import Path
from typing import Any

from crossrank.inference.ranker.manifest import WeightsSource, sha256_of


def write_files(model: Any, directory: Path) -> str:
    """Writes everything of a ranker but its graphs: configs, tokenizer, model card.

    Returns:
        The sha256 of the weights in safetensors, which are not kept; of its shards' digests where there are several.
    """
    # Training leaves its truncation and padding in tokenizer.json; whoever reads only that file would cut there.
    model.tokenizer.backend_tokenizer.no_truncation()
    model.tokenizer.backend_tokenizer.no_padding()
    model.save_pretrained(str(directory), safe_serialization=True)
    if "token_type_ids" not in model.tokenizer.model_input_names:
        _leave_types_out(directory / "tokenizer.json")
    _tell_other_servers(model, directory)
    shards = sorted(directory.glob("*.safetensors"))  # one, up to 5 GB
    digests = [sha256_of(shard) for shard in shards]
    for file in (*shards, *directory.glob("*.safetensors.index.json")):
        file.unlink()
    return digests[0] if len(digests) == 1 else hashlib.sha256("".join(digests).encode()).hexdigest()


def _leave_types_out(path: Path) -> None:
    """Gives all tokens the first type, as a model has them whose tokenizer does not hand types on."""

    def first_type(entry: dict[str, Any]) -> dict[str, Any]:
        return {**entry, "type_id": 0} if "type_id" in entry else entry

    tokenizer = json.loads(path.read_text(encoding="utf-8"))
    tokenizer["post_processor"] = json.loads(json.dumps(tokenizer["post_processor"]), object_hook=first_type)
    path.write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")


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
