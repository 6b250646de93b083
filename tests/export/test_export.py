import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from crossrank.client import RankClient
from export import pipeline, presets
from export.pipeline import ExportOptions, ExportRefused, ExportReport, export_ranker
from judgements.judged_set import read_judged_set
from serve.errors import InvalidRanker, UsageError
from serve.manifest import Budget, read_manifest, sha256_of
from serve.scorer import Scorer
from tests.conftest import HELDOUT
from tests.tiny_models import tiny_cross_encoder


@pytest.fixture(scope="module")
def pairs() -> list[tuple[str, str]]:
    judged = read_judged_set(HELDOUT)
    assert judged.candidates
    chosen = [
        (judged.queries[query_id], judged.corpus[doc_id])
        for query_id, ids in list(judged.candidates.items())[:4]
        for doc_id in ids
    ]
    return [*chosen, ("empty document", ""), ("größe 日本語", "🙂 \0 мир"), ("long", "word " * 3000)]


@pytest.fixture
def untrained(tmp_path: Path) -> Path:
    return tiny_cross_encoder("bert", tmp_path / "model")


@pytest.mark.parametrize("variant", ["fp32", "pruned"])
def test_pytorch_sentence_transformers_and_the_scorer_agree(
    trained: Path, ranker: Path, pairs: list[tuple[str, str]], variant: str
) -> None:
    from sentence_transformers import CrossEncoder

    expected = CrossEncoder(str(trained)).predict(pairs)
    file = {"fp32": "model.onnx", "pruned": "model_pruned.onnx"}[variant]
    opened = CrossEncoder(str(ranker), backend="onnx", model_kwargs={"file_name": file})
    assert opened.max_seq_length == 96
    np.testing.assert_allclose(opened.predict(pairs), expected, atol=1e-4)
    with Scorer.open(ranker, variant=variant) as scorer:
        np.testing.assert_allclose(scorer.predict(pairs), expected, atol=1e-4)
    assert np.ptp(expected) > 0.1, "a model that says the same of every pair proves nothing"


def test_a_server_gives_the_scores_of_the_fastest_variant(
    trained: Path, ranker: Path, server: str, pairs: list[tuple[str, str]]
) -> None:
    from sentence_transformers import CrossEncoder

    with RankClient(server) as client, Scorer.open(ranker) as scorer:
        served = client.predict(pairs)
        np.testing.assert_array_equal(served, scorer.predict(pairs))
        assert scorer.variant == read_manifest(ranker).variants[0]
    expected = CrossEncoder(str(trained)).predict(pairs)
    assert np.abs(served - expected).max() < 0.1 * np.ptp(expected)


def test_the_manifest_says_what_was_promised(ranker: Path) -> None:
    manifest = read_manifest(ranker)
    assert {"config.json", "tokenizer.json", "onnx/model.onnx"} <= set(manifest.files)
    assert all(sha256_of(ranker / name) == digest for name, digest in manifest.files.items())
    assert (manifest.max_length, manifest.activation, manifest.model_type) == (96, "identity", "bert")
    variants = {variant.name: variant for variant in manifest.variants}
    assert set(variants) == {"fp32", "pruned", "qint8_per_token"}
    assert [variant.speed for variant in manifest.variants] == sorted(
        (variant.speed for variant in manifest.variants), reverse=True
    )
    for variant in manifest.variants:
        (figures,) = variant.agreement
        assert (figures.data, figures.queries, figures.pairs) == ("code-search-heldout", 12, 120)
        assert figures.ndcg is not None
        assert figures.ndcg_difference is not None
        assert len(variant.golden) == len(manifest.golden_pairs)
        assert "token_type_ids" in variant.inputs
    assert variants["fp32"].agreement[0].max_error <= 1e-4
    assert variants["pruned"].agreement[0].max_error <= 1e-4
    assert variants["qint8_per_token"].precision == "int8"
    assert not list(ranker.glob("*.safetensors"))
    assert str(ranker) not in json.dumps(manifest.model_dump())


def test_golden_pairs_cover_what_can_go_wrong(ranker: Path) -> None:
    manifest = read_manifest(ranker)
    kinds = {pair.kind: (pair.query, pair.document) for pair in manifest.golden_pairs}
    assert set(kinds) == {"short", "code", "long", "truncated", "non-ASCII", "empty document"}
    with Scorer.open(ranker) as scorer:
        long, truncated = scorer.tokenizer.encode([kinds["long"], kinds["truncated"]])
    assert not long.truncated
    assert len(long.ids) > 0.8 * manifest.max_length
    assert truncated.truncated
    assert kinds["empty document"][1] == ""


def test_configs_say_max_length_and_activation_where_other_servers_look(ranker: Path) -> None:
    config = json.loads((ranker / "config.json").read_text())
    assert config["max_position_embeddings"] == 96
    assert config["sentence_transformers"]["activation_fn"].endswith("Identity")
    assert list(config["id2label"]) == ["0"]
    assert json.loads((ranker / "tokenizer_config.json").read_text())["model_max_length"] == 96
    assert json.loads((ranker / "sentence_bert_config.json").read_text())["max_seq_length"] == 96


def test_a_variant_over_its_budget_is_not_written(untrained: Path, tmp_path: Path) -> None:
    options = ExportOptions(variants=["fp32", "qint8_avx512_vnni"], max_queries=4, budget=Budget(max_error=1e-4))
    report = export_ranker(str(untrained), tmp_path / "out", options)
    failures = {trial.variant.name: trial.failure for trial in report.trials}
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
    assert [trial.variant.name for trial in refused.value.trials] == ["qint8_avx512_vnni"]
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
        presets.convert(model, path, opset)
        graph = onnx.load(path)
        assert callable(sabotage)
        sabotage(graph)
        onnx.save(graph, path)

    monkeypatch.setattr(pipeline, "convert", convert)
    with pytest.raises(ExportRefused) as refused:
        export_ranker(str(untrained), tmp_path / "out", ExportOptions(variants=["fp32"], max_queries=4))
    assert reason in (refused.value.trials[0].failure or "")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


@pytest.mark.parametrize("model", ["/nowhere/at/all", "{empty}", "no such name"])
def test_a_bad_model_path(tmp_path: Path, model: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match=r"neither a directory with a config\.json nor"):
        export_ranker(model.format(empty=tmp_path / "empty"), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_model_that_is_no_cross_encoder(tmp_path: Path) -> None:
    from train.base import PACKAGED_BASE, locate_base

    with pytest.raises(UsageError, match="is no cross-encoder: it is a BertModel"):
        export_ranker(locate_base(PACKAGED_BASE), tmp_path / "out")
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
    with pytest.raises(UsageError, match=r"no usable model\.safetensors"):
        export_ranker(str(untrained), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_existing_target_needs_force(untrained: Path, ranker: Path) -> None:
    before = sorted(ranker.iterdir())
    with pytest.raises(UsageError, match="--force"):
        export_ranker(str(untrained), ranker)
    assert sorted(ranker.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (ExportOptions(variants=["int9"]), "'int9' is not a variant; known are auto, fp32"),
        (ExportOptions(judgements=[HELDOUT, HELDOUT]), "two judged sets have the same name"),
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
    with pytest.raises(InvalidRanker, match=r"calibration\.json is no calibration: curve\.platt\.slope: Input should"):
        export_ranker(str(untrained), tmp_path / "out", progress=steps.append)
    assert steps == ["open the cross-encoder"]
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_scorer_ranks_like_sentence_transformers(trained: Path, ranker: Path) -> None:
    from sentence_transformers import CrossEncoder

    documents = ["def add(a, b): return a + b", "def mul(a, b): return a * b", "import os", "return a + b"]
    expected = CrossEncoder(str(trained)).rank("add two numbers", documents, top_k=3, return_documents=True)
    with Scorer.open(ranker, variant="fp32") as scorer:
        got = scorer.rank("add two numbers", documents, top_n=3, return_documents=True)
        assert scorer.predict([]).shape == (0,)
    assert [(entry["corpus_id"], entry["text"]) for entry in got] == [
        (entry["corpus_id"], entry["text"]) for entry in expected
    ]
    np.testing.assert_allclose([entry["score"] for entry in got], [entry["score"] for entry in expected], atol=1e-4)


def test_the_tiny_export_has_every_variant(tiny: ExportReport) -> None:
    presets = ("quint8_avx2", "qint8_avx512_vnni", "qint8_avx512_vnni_static")
    names = ("fp32", "pruned", "O1", "O2", "O3", "fp16", "qint8_per_token", *presets)
    assert {trial.variant.name: trial.failure for trial in tiny.trials} == dict.fromkeys(names)
