"""Conversion to ONNX in fp32 by optimum, and to fp16 by ONNX Runtime's tools."""

import contextlib
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import onnx
from onnxruntime.transformers.float16 import convert_float_to_float16
from optimum.exporters.onnx import onnx_export_from_model

from crossrank.errors import UsageError


def convert(model: Any, path: Path, opset: int | None) -> None:
    """Writes a transformers model as an fp32 graph.

    Args:
        model: a sequence classifier.
        path: `model.onnx` in an existing directory.
        opset: of ONNX; optimum's choice where None.

    Raises:
        UsageError: the model cannot be exported at this opset.
    """
    with quiet_scratch(path) as scratch:
        try:
            onnx_export_from_model(
                model, scratch, task="text-classification", do_validation=False, opset=opset, monolith=True
            )
        except (ValueError, RuntimeError, IndexError) as error:
            reason = str(error).strip().splitlines()[0][:200]
            raise UsageError(f"{model.config.model_type} cannot be converted to ONNX: {reason}") from None
        for file in scratch.glob("model.onnx*"):  # the graph, and its external data above 2 GB
            file.rename(path.with_name(file.name))


def to_float16(source: Path, path: Path) -> None:
    """Writes the graph with fp16 weights and products; inputs and logits keep their types."""
    model = convert_float_to_float16(onnx.load(source), keep_io_types=True)
    onnx.save(model, path)


@contextlib.contextmanager
def quiet_scratch(path: Path) -> Iterator[Path]:
    """A temporary directory on the file system of a path, while warnings and output of optimum are suppressed."""
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
