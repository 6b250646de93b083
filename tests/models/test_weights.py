"""A model whose weights are not all there is refused: transformers would draw them at random."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from torch import Tensor

from crossrank.errors import UsageError
from crossrank.models.bi_encoder import BiEncoder
from crossrank.models.cross_encoder import open_cross_encoder
from crossrank.models.packaged import packaged_base


def rewrite(model: Path, change: Callable[[dict[str, Tensor]], dict[str, Tensor]]) -> None:
    path = model / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


@pytest.fixture
def model(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


@pytest.mark.parametrize("lost", ["classifier.", "encoder.layer.1.", "pooler."])
def test_missing_weights_are_refused(lost: str, model: Path) -> None:
    rewrite(model, lambda weights: {name: weight for name, weight in weights.items() if lost not in name})
    with pytest.raises(UsageError, match=f"weights are missing, .*{lost}"):
        open_cross_encoder(str(model))


def test_weights_by_other_names_are_refused(model: Path) -> None:
    rewrite(model, lambda weights: {f"module.{name}": weight for name, weight in weights.items()})
    with pytest.raises(UsageError, match="weights are missing"):
        open_cross_encoder(str(model))


def test_a_new_head_may_be_missing_but_no_layer(tmp_path: Path) -> None:
    model = Path(shutil.copytree(packaged_base(), tmp_path / "base"))
    open_cross_encoder(str(model), new_head=True)
    BiEncoder(str(model))
    rewrite(model, lambda weights: {name: weight for name, weight in weights.items() if "layer.2." not in name})
    for open_it in (lambda: open_cross_encoder(str(model), new_head=True), lambda: BiEncoder(str(model))):
        with pytest.raises(UsageError, match="weights are missing"):
            open_it()


def test_adapters_and_quantised_weights_are_refused(model: Path) -> None:
    config = json.loads((model / "config.json").read_text())
    (model / "adapter_config.json").write_text('{"peft_type": "LORA", "base_model_name_or_path": "us/model"}')
    with pytest.raises(UsageError, match="is an adapter"):
        open_cross_encoder(str(model))
    (model / "adapter_config.json").unlink()
    (model / "config.json").write_text(json.dumps({**config, "quantization_config": {"quant_method": "gptq"}}))
    with pytest.raises(UsageError, match="quantised"):
        open_cross_encoder(str(model))


def test_sharded_weights_are_read(model: Path, tiny_model: Path) -> None:
    opened = open_cross_encoder(str(model))
    (model / "model.safetensors").unlink()
    opened.model.save_pretrained(model, max_shard_size="20KB")
    pair = [("how to read", "def read")]
    assert open_cross_encoder(str(model)).predict(pair) == pytest.approx(
        open_cross_encoder(str(tiny_model)).predict(pair)
    )
