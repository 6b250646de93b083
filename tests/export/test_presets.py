from pathlib import Path
from typing import get_args

import numpy as np
import onnxruntime
import pytest
from transformers import AutoTokenizer

from crossrank.export.options import ActivationRanges
from crossrank.export.pipeline import ExportReport
from crossrank.export.presets import quantize
from crossrank.inference.manifest import Variant


@pytest.mark.parametrize("ranges", get_args(ActivationRanges))
def test_ranges_are_fixed_from_pairs_of_any_length(
    tiny: ExportReport, tmp_path: Path, ranges: ActivationRanges
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny.directory)
    texts = [("how to read", "file"), ("capital of france", "paris " * 12), ("add two numbers", "def " * 5)]
    batches = [dict(tokenizer(*text, return_tensors="pt")) for text in texts]
    assert len({batch["input_ids"].shape for batch in batches}) == 3
    path = tmp_path / "static.onnx"
    source = tiny.directory / "onnx" / "model.onnx"
    quantize(
        source, tiny.directory, "qint8_avx512_vnni", path, per_channel=True, activation_ranges=ranges, batches=batches
    )
    assert [file.name for file in tmp_path.iterdir()] == ["static.onnx"]
    logits = []
    for graph in (source, path):
        session = onnxruntime.InferenceSession(str(graph))
        names = {entry.name for entry in session.get_inputs()}
        feeds = [{name: value.numpy() for name, value in batch.items() if name in names} for batch in batches]
        logits.append([float(session.run(None, feed)[0][0, 0]) for feed in feeds])
    errors = np.abs(np.array(logits[0]) - np.array(logits[1]))
    assert 0 < errors.max() < 0.5


def test_a_static_preset_does_not_depend_on_its_batch_and_a_dynamic_one_does(tiny: ExportReport) -> None:
    variants: dict[str, Variant] = {trial.variant.name: trial.variant for trial in tiny.trials}
    assert variants["qint8_avx512_vnni_static"].batch_invariant
    assert not variants["qint8_avx512_vnni"].batch_invariant
    assert variants["qint8_per_token"].batch_invariant
