"""What the exporter refuses to write, and models and options that it cannot use."""

import json
from pathlib import Path

import onnx
import pytest
from onnx import numpy_helper

from crossrank.errors import InvalidRanker, UsageError
from crossrank.export import pipeline
from crossrank.export.graph import convert as conversion
from crossrank.export.options import ExportOptions
from crossrank.export.pipeline import ExportRefused, ExportReport, export_ranker
from crossrank.inference.ranker.manifest import Budget
from crossrank.models.packaged import PACKAGED_BASE
from tests.conftest import HELDOUT
from tests.support.tiny_models import tiny_cross_encoder


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    return tiny_cross_encoder("bert", tmp_path / "model")


def test_a_variant_over_its_budget_is_not_written(untrained: Path, tmp_path: Path) -> None:
    options = ExportOptions(variants=["fp32", "qint8_avx512_vnni"], max_queries=4, budget=Budget(max_error=1e-4))
    report = export_ranker(str(untrained), tmp_path / "out", options)
    failures = {trial.graph.name: trial.failure for trial in report.trials}
    assert failures["fp32"] is None
    assert "the largest error of a logit on standard library" in (failures["qint8_avx512_vnni"] or "")
    assert sorted(path.name for path in (tmp_path / "out" / "onnx").iterdir()) == ["manifest.json", "model.onnx"]


def test_the_tighter_of_atol_and_max_error_binds_what_is_fp32(untrained: Path, tmp_path: Path) -> None:
    options = ExportOptions(variants=["fp32"], max_queries=4, atol=1e-4, budget=Budget(max_error=0.0))
    with pytest.raises(ExportRefused) as refused:
        export_ranker(str(untrained), tmp_path / "out", options)
    assert "more than 0" in (refused.value.trials[0].failure or "")


def test_nothing_within_its_budget_is_refused_with_exit_code_3(untrained: Path, tmp_path: Path) -> None:
    options = ExportOptions(variants=["qint8_avx512_vnni"], max_queries=4, budget=Budget(max_error=1e-6))
    with pytest.raises(ExportRefused, match="nothing was written") as refused:
        export_ranker(str(untrained), tmp_path / "out", options)
    assert refused.value.exit_code == 3
    assert [trial.graph.name for trial in refused.value.trials] == ["qint8_avx512_vnni"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def _reverse_a_norm(graph: onnx.ModelProto) -> None:
    norm = next(entry for entry in graph.graph.initializer if entry.name.endswith("LayerNorm.weight"))
    norm.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(norm)[::-1].copy(), norm.name))


def _forget_token_types(graph: onnx.ModelProto) -> None:
    ids = next(entry for entry in graph.graph.input if entry.name == "token_type_ids")
    graph.graph.input.remove(ids)
    zero = onnx.helper.make_node("Sub", ["input_ids", "input_ids"], ["token_type_ids"])
    graph.graph.node.insert(0, zero)


def _append(graph: onnx.ModelProto, operator: str) -> None:
    last = next(node for node in graph.graph.node if "logits" in node.output)
    last.output[list(last.output).index("logits")] = "before"
    graph.graph.node.append(onnx.helper.make_node(operator, ["before"], ["logits"]))


@pytest.mark.parametrize(
    ("sabotage", "reason"),
    [
        (_reverse_a_norm, "the largest error of a logit"),
        (_forget_token_types, "the largest error of a logit"),
        (lambda graph: _append(graph, "Sigmoid"), "the largest error of a logit"),
        (lambda graph: _append(graph, "Log"), "NaN or infinite"),
    ],
)
def test_a_graph_that_ranks_otherwise_is_not_shipped(
    untrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sabotage: object, reason: str
) -> None:
    def convert(model: object, path: Path, opset: int | None) -> None:
        conversion.convert(model, path, opset)
        graph = onnx.load(path)
        assert callable(sabotage)
        sabotage(graph)
        onnx.save(graph, path)

    monkeypatch.setattr(pipeline, "convert", convert)
    with pytest.raises(ExportRefused) as refused:
        export_ranker(str(untrained), tmp_path / "out", ExportOptions(variants=["fp32"], max_queries=4))
    assert reason in (refused.value.trials[0].failure or "")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        ("/nowhere/at/all", "neither a directory nor an id"),
        ("{empty}", r"no config\.json"),
        ("no such name", "neither a directory nor an id"),
    ],
)
def test_a_bad_model_path(tmp_path: Path, model: str, sentence: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=sentence):
        export_ranker(model.format(empty=tmp_path / "empty"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_model_that_is_no_cross_encoder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a cross-encoder but a BertModel"):
        export_ranker(PACKAGED_BASE, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_more_than_one_label(untrained: Path, tmp_path: Path) -> None:
    config = json.loads((untrained / "config.json").read_text())
    config["id2label"] = {"0": "no", "1": "yes"}
    config["label2id"] = {"no": 0, "yes": 1}
    (untrained / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="gives 2 labels"):
        export_ranker(str(untrained), tmp_path / "out")


def test_weights_that_are_pickles_are_refused(untrained: Path, tmp_path: Path) -> None:
    (untrained / "model.safetensors").rename(untrained / "pytorch_model.bin")
    with pytest.raises(UsageError, match="no weights in safetensors"):
        export_ranker(str(untrained), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_architecture_that_cannot_be_converted(tmp_path: Path) -> None:
    model = tiny_cross_encoder("longformer", tmp_path / "model")
    with pytest.raises(UsageError, match="longformer cannot be converted to ONNX"):
        export_ranker(str(model), tmp_path / "out", ExportOptions(variants=["fp32"], max_queries=2))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_an_existing_target_needs_force(untrained: Path, tiny: ExportReport) -> None:
    before = sorted(tiny.directory.iterdir())
    with pytest.raises(UsageError, match="--force"):
        export_ranker(str(untrained), tiny.directory)
    assert sorted(tiny.directory.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (ExportOptions(variants=["int9"]), "'int9'"),
        (ExportOptions(eval_sets=[HELDOUT, HELDOUT]), "two evaluation sets have the same name"),
        (ExportOptions(variants=["fp32"], opset=3, max_queries=2), "cannot be converted to ONNX"),
    ],
)
def test_bad_options_are_one_sentence(untrained: Path, tmp_path: Path, options: ExportOptions, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence):
        export_ranker(str(untrained), tmp_path / "out", options)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_broken_calibration_is_refused_before_any_work(untrained: Path, tmp_path: Path) -> None:
    (untrained / "calibration.json").write_text('{"curve": {"method": "platt", "slope": -1, "intercept": 0}}')
    steps: list[str] = []
    with pytest.raises(
        InvalidRanker, match=r"calibration\.json is not a calibration: curve\.platt\.slope: Input should"
    ):
        export_ranker(str(untrained), tmp_path / "out", progress=steps.append)
    assert steps == ["open the cross-encoder"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
