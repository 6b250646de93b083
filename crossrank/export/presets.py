"""The usual variants, by the usual tools: optimum's conversion, optimisation levels and int8 presets."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import onnx
from datasets import Dataset
from onnxruntime.transformers.float16 import convert_float_to_float16
from optimum.exporters.onnx import onnx_export_from_model
from optimum.onnxruntime import ORTOptimizer, ORTQuantizer
from optimum.onnxruntime.configuration import AutoCalibrationConfig, AutoOptimizationConfig, AutoQuantizationConfig
from transformers import AutoConfig

from crossrank.errors import UsageError
from crossrank.export.options import ActivationRanges

INT8_PRESETS: dict[str, Callable[..., Any]] = {
    "quint8_avx2": AutoQuantizationConfig.avx2,
    "qint8_avx512": AutoQuantizationConfig.avx512,
    "qint8_avx512_vnni": AutoQuantizationConfig.avx512_vnni,
    "qint8_arm64": AutoQuantizationConfig.arm64,
}
_RANGES: dict[ActivationRanges, Callable[..., Any]] = {
    "percentile": AutoCalibrationConfig.percentiles,
    "entropy": AutoCalibrationConfig.entropy,
    "minmax": AutoCalibrationConfig.minmax,
}
# What a static graph computes in int8; the rest of a transformer gains nothing from fixed ranges.
_STATIC_OPERATORS = ["MatMul", "Gemm"]


def convert(model: Any, path: Path, opset: int | None) -> None:
    """Writes a transformers model as an fp32 graph.

    Args:
        model: a sequence classifier.
        path: `model.onnx` in an existing directory.
        opset: of ONNX; optimum's choice where None.

    Raises:
        UsageError: the model cannot be exported at this opset.
    """
    with _scratch(path) as scratch:
        try:
            onnx_export_from_model(
                model, scratch, task="text-classification", do_validation=False, opset=opset, monolith=True
            )
        except (ValueError, RuntimeError) as error:
            reason = str(error).strip().splitlines()[0][:200]
            raise UsageError(f"{model.config.model_type} cannot be converted to ONNX: {reason}") from None
        for file in scratch.glob("model.onnx*"):  # the graph, and its external data above 2 GB
            file.rename(path.with_name(file.name))


def optimize(source: Path, directory: Path, level: str, path: Path) -> None:
    """Writes the graph at an optimisation level of optimum.

    Args:
        source: the fp32 graph.
        directory: that holds the model's config.json.
        level: "O1", "O2" or "O3".
        path: the file to write.

    Raises:
        UsageError: optimum does not know the architecture.
    """
    config = AutoConfig.from_pretrained(directory)
    with _scratch(path) as scratch:
        try:
            optimizer = ORTOptimizer([source], config)
            optimizer.optimize(getattr(AutoOptimizationConfig, level)(), scratch, file_suffix=level)
        except (NotImplementedError, KeyError, ValueError) as error:
            raise UsageError(f"{level}: optimum cannot optimise a {config.model_type} model: {error}") from None
        _take(scratch, path)


def to_float16(source: Path, path: Path) -> None:
    """Writes the graph with fp16 weights and products; inputs and logits keep their types."""
    model = convert_float_to_float16(onnx.load(source), keep_io_types=True)
    onnx.save(model, path)


def quantize(
    source: Path,
    directory: Path,
    preset: str,
    path: Path,
    *,
    per_channel: bool,
    activation_ranges: ActivationRanges | None = None,
    batches: Sequence[Mapping[str, Any]] = (),
) -> None:
    """Writes the graph in int8, by a preset of optimum.

    Args:
        source: the fp32 graph.
        directory: that holds the model's config.json.
        preset: a key of `INT8_PRESETS`.
        path: the file to write.
        per_channel: whether each output channel of a weight has a scale of its own.
        activation_ranges: how they are fixed from `batches`; None measures them as each run goes (dynamic).
        batches: inputs, each of shape [1, tokens].
    """
    with _scratch(path) as scratch:
        model = AutoConfig.from_pretrained(directory)
        quantizer = ORTQuantizer(source, model)
        if activation_ranges is None:
            config = INT8_PRESETS[preset](is_static=False, per_channel=per_channel)
            quantizer.quantize(save_dir=scratch, quantization_config=config)
        else:
            config = INT8_PRESETS[preset](
                is_static=True, per_channel=per_channel, operators_to_quantize=_STATIC_OPERATORS
            )
            data = Dataset.from_list(_padded(batches, model.pad_token_id or 0))
            ranges = quantizer.fit(
                data,
                _RANGES[activation_ranges](data),
                onnx_augmented_model_name=str(scratch / "augmented.onnx"),
                operators_to_quantize=_STATIC_OPERATORS,
            )
            (scratch / "augmented.onnx").unlink()
            quantizer.quantize(save_dir=scratch, quantization_config=config, calibration_tensors_range=ranges)
        _take(scratch, path)


def _padded(batches: Sequence[Mapping[str, Any]], padding_id: int) -> list[dict[str, list[int]]]:
    """Rows of one length, masked behind their end: the histograms of a calibration are of one shape."""
    longest = max(batch["input_ids"].shape[1] for batch in batches)
    fill = {"input_ids": padding_id}
    return [
        {name: values[0].tolist() + [fill.get(name, 0)] * (longest - values.shape[1]) for name, values in batch.items()}
        for batch in batches
    ]


def _take(scratch: Path, path: Path) -> None:
    """Moves the one graph that a tool wrote to its place."""
    (made,) = scratch.glob("*.onnx")
    made.rename(path)


@contextlib.contextmanager
def _scratch(path: Path) -> Iterator[Path]:
    """A directory on the same file system, while the tools' own words stay unsaid."""
    with (
        tempfile.TemporaryDirectory(dir=path.parent) as scratch,
        warnings.catch_warnings(),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield Path(scratch)
        finally:
            logging.disable(logging.NOTSET)
