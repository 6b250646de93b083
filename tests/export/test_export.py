import json
import math
from pathlib import Path

import numpy as np
import pytest

from crossrank.client import RankClient
from crossrank.data.eval_set import read_judged_set
from crossrank.export.pipeline import ExportReport
from crossrank.inference.ranker.hub import DEFAULT_RANKER
from crossrank.inference.ranker.manifest import read_manifest, sha256_of
from crossrank.inference.scorer import _CUDA_POLICY, Scorer
from tests.conftest import HELDOUT


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


@pytest.mark.parametrize("variant", ["fp32", "pruned"])
def test_pytorch_sentence_transformers_and_the_scorer_agree(
    tiny_model: Path, tiny: ExportReport, pairs: list[tuple[str, str]], variant: str
) -> None:
    from sentence_transformers import CrossEncoder

    expected = CrossEncoder(str(tiny_model)).predict(pairs)
    file = {"fp32": "model.onnx", "pruned": "model_pruned.onnx"}[variant]
    opened = CrossEncoder(str(tiny.directory), backend="onnx", model_kwargs={"file_name": file})
    assert opened.max_seq_length == 48
    np.testing.assert_allclose(opened.predict(pairs), expected, atol=1e-4)
    with Scorer.open(tiny.directory, variant=variant) as scorer:
        np.testing.assert_allclose(scorer.predict(pairs), expected, atol=1e-4)
    assert np.ptp(expected) > 0.1, "a model that says the same of every pair proves nothing"


def test_a_server_gives_the_scores_of_the_scorer(server: str, pairs: list[tuple[str, str]]) -> None:
    with RankClient(server) as client, Scorer.open(DEFAULT_RANKER) as scorer:
        np.testing.assert_array_equal(client.predict(pairs), scorer.predict(pairs))


def test_the_manifest_says_what_was_promised(tiny: ExportReport) -> None:
    ranker = tiny.directory
    manifest = read_manifest(ranker)
    assert {"config.json", "tokenizer.json", "onnx/model.onnx"} <= set(manifest.files)
    assert all(sha256_of(ranker / name) == digest for name, digest in manifest.files.items())
    assert (manifest.max_length, manifest.activation, manifest.model_type) == (48, "sigmoid", "bert")
    variants = {variant.name: variant for variant in manifest.variants}
    assert {"fp32", "pruned", "qint8_per_token"} <= set(variants)
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


def test_golden_pairs_cover_what_can_go_wrong(tiny: ExportReport) -> None:
    manifest = read_manifest(tiny.directory)
    kinds = {pair.kind: (pair.query, pair.document) for pair in manifest.golden_pairs}
    assert set(kinds) == {"short", "padded", "code", "long", "truncated", "non-ASCII", "empty document"}
    with Scorer.open(tiny.directory) as scorer:
        long, truncated = scorer.tokenizer.encode([kinds["long"], kinds["truncated"]])
        short, padded = (len(pair.ids) for pair in scorer.tokenizer.encode([kinds["short"], kinds["padded"]]))
    assert math.ceil(short * (1 - _CUDA_POLICY.padding)) <= padded < short
    assert not long.truncated
    assert len(long.ids) > 0.8 * manifest.max_length
    assert truncated.truncated
    assert kinds["empty document"][1] == ""


def test_configs_say_max_length_and_activation_where_other_servers_look(tiny: ExportReport) -> None:
    ranker = tiny.directory
    config = json.loads((ranker / "config.json").read_text())
    assert config["max_position_embeddings"] == 48
    assert config["sentence_transformers"]["activation_fn"].endswith("Sigmoid")
    assert list(config["id2label"]) == ["0"]
    assert json.loads((ranker / "tokenizer_config.json").read_text())["model_max_length"] == 48
    assert json.loads((ranker / "sentence_bert_config.json").read_text())["max_seq_length"] == 48


def test_scorer_ranks_like_sentence_transformers(tiny_model: Path, tiny: ExportReport) -> None:
    from sentence_transformers import CrossEncoder

    documents = ["def add(a, b): return a + b", "def mul(a, b): return a * b", "import os", "return a + b"]
    expected = CrossEncoder(str(tiny_model)).rank("add two numbers", documents, top_k=3, return_documents=True)
    with Scorer.open(tiny.directory, variant="fp32") as scorer:
        got = scorer.rank("add two numbers", documents, top_k=3, return_documents=True)
        assert scorer.predict([]).shape == (0,)
    assert [(entry["corpus_id"], entry["text"]) for entry in got] == [
        (entry["corpus_id"], entry["text"]) for entry in expected
    ]
    np.testing.assert_allclose([entry["score"] for entry in got], [entry["score"] for entry in expected], atol=1e-4)


def test_the_tiny_export_has_every_variant(tiny: ExportReport) -> None:
    names = ("fp32", "pruned", "fp16", "qint8_per_token", "quint8_avx2", "qint8_avx512_vnni")
    assert {trial.graph.name: trial.failure for trial in tiny.trials} == dict.fromkeys(names)
