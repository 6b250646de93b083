"""Dynamic int8 quantisation by the presets of optimum, one for each instruction set."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig
from transformers import AutoConfig

from crossrank.export.graph.convert import quiet_scratch

INT8_PRESETS: dict[str, Callable[..., Any]] = {
    "quint8_avx2": AutoQuantizationConfig.avx2,
    "qint8_avx512": AutoQuantizationConfig.avx512,
    "qint8_avx512_vnni": AutoQuantizationConfig.avx512_vnni,
    "qint8_arm64": AutoQuantizationConfig.arm64,
}


def quantize(source: Path, directory: Path, preset: str, path: Path, *, per_channel: bool) -> None:
    """Writes the graph in int8 by a dynamic preset of optimum: ranges of activations are measured in each run.

    Args:
        source: the fp32 graph.
        directory: that holds the model's config.json.
        preset: a key of `INT8_PRESETS`.
        path: the file to write.
        per_channel: whether each output channel of a weight has a scale of its own.
    """
    with quiet_scratch(path) as scratch:
        quantizer = ORTQuantizer(source, AutoConfig.from_pretrained(directory))
        config = INT8_PRESETS[preset](is_static=False, per_channel=per_channel)
        quantizer.quantize(save_dir=scratch, quantization_config=config)
        (made,) = scratch.glob("*.onnx")
        made.rename(path)
