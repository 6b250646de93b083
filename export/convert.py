"""PyTorch to ONNX with optimum, and the dynamic int8 preset of an instruction set with ONNX Runtime."""

import contextlib
import io
import tempfile
import warnings
from pathlib import Path
from typing import Any

import onnx
from optimum.exporters.onnx import onnx_export_from_model
from optimum.onnxruntime import ORTQuantizer
from optimum.onnxruntime.configuration import AutoQuantizationConfig, QuantizationConfig
from transformers import AutoConfig

from export.compare import TOLERANCES
from serve.machine import instruction_set
from serve.manifest import Precision, Variant

# By instruction set: the file name that sentence-transformers uses, and optimum's preset.
_INT8_PRESETS: dict[str, tuple[str, Any]] = {
    "avx512_vnni": ("model_qint8_avx512_vnni.onnx", AutoQuantizationConfig.avx512_vnni),
    "avx512": ("model_qint8_avx512.onnx", AutoQuantizationConfig.avx512),
    "avx2": ("model_quint8_avx2.onnx", AutoQuantizationConfig.avx2),
    "arm64": ("model_qint8_arm64.onnx", AutoQuantizationConfig.arm64),
}


def convert(model: Any, directory: Path) -> Variant:
    """Writes `onnx/model.onnx` in fp32.

    Args:
        model: a `sentence_transformers.CrossEncoder`.
        directory: the ranker's directory.
    """
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            onnx_export_from_model(model.model, scratch, task="text-classification", do_validation=False)
        (directory / "onnx").mkdir(exist_ok=True)
        for file in Path(scratch).glob("model.onnx*"):  # the graph, and its external data above 2 GB
            file.rename(directory / "onnx" / file.name)
    return _variant(directory, "onnx/model.onnx", "fp32", "any", batch_invariant=True)


def quantize_dynamic(directory: Path) -> Variant | None:
    """Writes the dynamic int8 variant for this CPU beside `onnx/model.onnx`; None where there is no preset for it."""
    target = instruction_set()
    if target not in _INT8_PRESETS:
        return None
    name, preset = _INT8_PRESETS[target]
    config: QuantizationConfig = preset(is_static=False, per_channel=True)
    with tempfile.TemporaryDirectory(dir=directory) as scratch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantizer = ORTQuantizer(directory / "onnx" / "model.onnx", AutoConfig.from_pretrained(directory))
        quantizer.quantize(save_dir=scratch, quantization_config=config)
        (Path(scratch) / "model_quantized.onnx").rename(directory / "onnx" / name)
    # Its activations have one scale for the whole tensor: company would move a score.
    return _variant(directory, f"onnx/{name}", "int8", target, batch_invariant=False)


def _variant(directory: Path, file: str, precision: Precision, target: str, *, batch_invariant: bool) -> Variant:
    graph = onnx.load(directory / file, load_external_data=False)
    return Variant(
        file=file,
        precision=precision,
        target=target,
        opset=next(entry.version for entry in graph.opset_import if entry.domain in ("", "ai.onnx")),
        inputs=[entry.name for entry in graph.graph.input],
        batch_invariant=batch_invariant,
        tolerance=TOLERANCES[precision],
        agreement=None,
    )
