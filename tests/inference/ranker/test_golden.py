"""Sabotage that every sha256 agrees with, and machines that a ranker was not made for: golden pairs tell."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from crossrank import machine
from crossrank.errors import InvalidRanker, UsageError
from crossrank.export.pipeline import ExportReport
from crossrank.inference import scorer as scorer_module
from crossrank.inference.ranker import golden
from crossrank.inference.ranker.golden import needs_precise_products, runnable_variants
from crossrank.inference.ranker.manifest import read_manifest, sha256_of
from crossrank.inference.scorer import Scorer
from crossrank.inference.session import OnnxSession
from tests.support.small_ranker import operators_of

FP32 = "onnx/model.onnx"


@pytest.fixture
def copied(tiny: ExportReport, tmp_path: Path) -> Path:
    shutil.copytree(tiny.directory, tmp_path / "ranker")
    return tmp_path / "ranker"


def change_manifest(ranker: Path, change: Callable[[dict[str, Any]], object]) -> None:
    path = ranker / "onnx" / "manifest.json"
    manifest = json.loads(path.read_text())
    change(manifest)
    manifest["files"] = {name: sha256_of(ranker / name) for name in manifest["files"]}
    path.write_text(json.dumps(manifest))


def change_graph(ranker: Path, change: Callable[[onnx.ModelProto], object], file: str = FP32) -> None:
    graph = onnx.load(ranker / file)
    change(graph)
    onnx.save(graph, ranker / file)

    def describe(manifest: dict[str, Any]) -> None:
        [variant] = (variant for variant in manifest["variants"] if variant["file"] == file)
        variant["operators"] = operators_of(graph)

    change_manifest(ranker, describe)


def reverse_a_norm(graph: onnx.ModelProto) -> None:
    norm = next(entry for entry in graph.graph.initializer if entry.name.endswith("LayerNorm.weight"))
    norm.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(norm)[::-1].copy(), norm.name))


def append(graph: onnx.ModelProto, operator: str) -> None:
    last = next(node for node in graph.graph.node if "logits" in node.output)
    last.output[list(last.output).index("logits")] = "before"
    graph.graph.node.append(onnx.helper.make_node(operator, ["before"], ["logits"]))


def forget_token_types(graph: onnx.ModelProto) -> None:
    graph.graph.input.remove(next(entry for entry in graph.graph.input if entry.name == "token_type_ids"))
    graph.graph.node.insert(0, onnx.helper.make_node("Sub", ["input_ids", "input_ids"], ["token_type_ids"]))


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (reverse_a_norm, r"onnx/model\.onnx: golden pair 0 \(short, .* has the logit -?[\d.]+ here and -?[\d.]+ in"),
        (lambda graph: append(graph, "Sigmoid"), "golden pair 0"),
        (lambda graph: append(graph, "Log"), "golden pair . .* nan here"),
        (forget_token_types, "takes attention_mask, input_ids, where the manifest says"),
    ],
)
def test_a_changed_graph_is_named(copied: Path, change: Callable[[onnx.ModelProto], object], sentence: str) -> None:
    change_graph(copied, change)
    with pytest.raises(InvalidRanker, match=sentence):
        Scorer.open(copied, variant="fp32")


def forget_in_the_manifest_too(manifest: dict[str, Any]) -> None:
    variant = next(entry for entry in manifest["variants"] if entry["file"] == FP32)
    variant["inputs"] = [name for name in variant["inputs"] if name != "token_type_ids"]


def test_dropped_token_types_change_golden_scores(copied: Path) -> None:
    change_graph(copied, forget_token_types)
    change_manifest(copied, forget_in_the_manifest_too)
    with pytest.raises(InvalidRanker, match="golden pair"):
        Scorer.open(copied, variant="fp32")


@pytest.mark.parametrize(
    ("change", "kind"),
    [
        (lambda manifest: manifest.update(max_length=64), "golden pair . .(code|long|truncated)"),
        (lambda manifest: manifest.update(max_length=24), "golden pair . .(code|long|truncated)"),
        (lambda manifest: manifest.update(activation="identity"), "golden pair 0 .* has the score"),
        (lambda manifest: manifest["golden_pairs"].pop(), "6 golden pairs, but scores for 7"),
    ],
)
def test_a_changed_manifest_is_refused_for_every_variant(
    copied: Path, change: Callable[[dict[str, Any]], object], kind: str
) -> None:
    change_manifest(copied, change)
    with pytest.raises(InvalidRanker, match=kind):
        Scorer.open(copied, variant="fp32")
    with pytest.raises(InvalidRanker):
        Scorer.open(copied)


def test_the_fastest_that_conforms_is_taken_and_what_was_passed_over_is_said(copied: Path) -> None:
    def order(manifest: dict[str, Any]) -> None:
        for variant in manifest["variants"]:
            variant["speed"] = {FP32: 2.0, "onnx/model_pruned.onnx": 1.5}.get(variant["file"], 1.0)

    change_manifest(copied, order)
    with Scorer.open(copied) as scorer:
        assert (scorer.variant.name, scorer.rejected_variants) == ("fp32", [])
    change_graph(copied, reverse_a_norm)
    with Scorer.open(copied) as scorer:
        assert scorer.variant.name == "pruned"
        (reason,) = scorer.rejected_variants
        assert reason.startswith("onnx/model.onnx: golden pair 0")


def test_an_unknown_variant_and_a_device_without_one(copied: Path) -> None:
    with pytest.raises(UsageError, match="has no variant 'int4'; it has "):
        Scorer.open(copied, variant="int4")
    with pytest.raises(UsageError, match="CUDAExecutionProvider is not available"):
        Scorer.open(copied, device="cuda")


@pytest.mark.parametrize(
    ("flags", "architecture", "targets"),
    [
        ({"avx2", "avx512bw", "avx512_vnni"}, "x86_64", {"any", "avx2", "avx512_vnni"}),
        ({"avx2", "avx512bw"}, "x86_64", {"any", "avx2"}),
        ({"avx2"}, "x86_64", {"any", "avx2"}),
        ({"sse4_2"}, "x86_64", {"any"}),
        (set(), "aarch64", {"any"}),
    ],
)
def test_only_graphs_for_this_instruction_set_are_taken_unasked(
    tiny: ExportReport, monkeypatch: pytest.MonkeyPatch, flags: set[str], architecture: str, targets: set[str]
) -> None:
    monkeypatch.setattr(machine, "cpu_flags", lambda: frozenset(flags))
    monkeypatch.setattr("platform.machine", lambda: architecture)
    manifest = read_manifest(tiny.directory)
    fit = runnable_variants(manifest, "cpu")
    assert {variant.target for variant in fit} == targets
    assert [variant.speed for variant in fit] == sorted((variant.speed for variant in fit), reverse=True)
    assert "fp16" not in {variant.precision for variant in fit}
    vnni = next(variant for variant in manifest.variants if variant.name == "qint8_avx512_vnni")
    assert needs_precise_products(vnni) == (architecture == "x86_64" and "avx512_vnni" not in flags)
    assert not any(needs_precise_products(variant) for variant in manifest.variants if "per_token" in variant.name)


def test_cuda_takes_fp16_first_and_never_int8(tiny: ExportReport) -> None:
    fit = runnable_variants(read_manifest(tiny.directory), "cuda")
    assert [fit[0].name, fit[1].name] == ["fp16", "fp32"]
    assert {variant.precision for variant in fit} == {"fp16", "fp32"}


def test_precise_products_are_asked_of_the_session_where_the_cpu_saturates(
    tiny: ExportReport, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [("how to read a file", "def read")]
    asked: list[bool] = []

    class Watched(OnnxSession):
        def __init__(self, path: Path, *, padding_id: int, device: str = "cpu", precise: bool = False) -> None:
            asked.append(precise)
            super().__init__(path, padding_id=padding_id, device=device, precise=precise)

    monkeypatch.setattr(scorer_module, "OnnxSession", Watched)
    monkeypatch.setattr(golden, "int8_saturates", lambda: True)
    for variant in ("qint8_avx512_vnni", "qint8_per_token"):
        with Scorer.open(tiny.directory, variant=variant) as scorer:
            assert np.isfinite(scorer.predict(pairs)).all()
    assert asked == [True, False]
