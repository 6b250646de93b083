import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from crossrank.client import RankClient
from export import convert, pipeline
from export.pipeline import ExportRefused, ExportReport, export_ranker
from judgements.judged_set import read_judged_set
from serve.errors import UsageError
from serve.manifest import read_manifest, sha256_of
from serve.scorer import Scorer
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


def test_pytorch_onnx_in_sentence_transformers_and_the_server_agree(
    trained: Path, ranker: Path, server: str, pairs: list[tuple[str, str]]
) -> None:
    from sentence_transformers import CrossEncoder

    expected = CrossEncoder(str(trained)).predict(pairs)
    opened = CrossEncoder(str(ranker), backend="onnx", model_kwargs={"file_name": "model.onnx"})
    assert opened.max_seq_length == 96
    np.testing.assert_allclose(opened.predict(pairs), expected, atol=1e-4)
    with RankClient(server) as client:
        np.testing.assert_allclose(client.predict(pairs), expected, atol=1e-4)
    assert np.ptp(expected) > 0.1, "a model that says the same of every pair proves nothing"


def test_the_manifest_names_every_file_that_can_change_a_score(ranker: Path) -> None:
    manifest = read_manifest(ranker)
    assert {"config.json", "tokenizer.json", "onnx/model.onnx"} <= set(manifest.files)
    assert all(sha256_of(ranker / name) == digest for name, digest in manifest.files.items())
    first = manifest.variants[0]
    assert (first.file, first.precision, first.inputs[0]) == ("onnx/model.onnx", "fp32", "input_ids")
    assert "token_type_ids" in first.inputs
    assert first.agreement is not None
    assert first.agreement.max_error <= 1e-4
    assert (manifest.max_length, manifest.activation, manifest.model_type) == (96, "identity", "bert")
    assert not list(ranker.glob("*.safetensors"))
    assert str(ranker) not in json.dumps(manifest.model_dump())


def test_the_int8_variant_is_written_only_within_its_tolerance(ranker: Path, exported: ExportReport) -> None:
    report = exported.variants[1]
    assert (ranker / report.file).exists() == (report.failure is None)
    assert (report.file in read_manifest(ranker).files) == (report.failure is None)


def test_a_graph_with_one_swapped_layer_norm_is_not_shipped(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sabotaged(model: Any, directory: Path) -> Any:
        variant = convert.convert(model, directory)
        path = directory / variant.file
        graph = onnx.load(path)
        norm = next(entry for entry in graph.graph.initializer if entry.name.endswith("LayerNorm.weight"))
        norm.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(norm)[::-1].copy(), norm.name))
        onnx.save(graph, path)
        return variant

    monkeypatch.setattr(pipeline, "convert", sabotaged)
    with pytest.raises(ExportRefused, match="does not rank as PyTorch does: a logit is off") as refused:
        export_ranker(str(trained), tmp_path / "out", judgements=HELDOUT)
    assert refused.value.exit_code == 3
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "model",
    ["/nowhere/at/all", "{empty}", "no such name"],
)
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


def test_more_than_one_label(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "model")
    config = json.loads((tmp_path / "model" / "config.json").read_text())
    config["id2label"] = {"0": "no", "1": "yes"}
    config["label2id"] = {"no": 0, "yes": 1}
    (tmp_path / "model" / "config.json").write_text(json.dumps(config))
    with pytest.raises(UsageError, match="gives 2 labels"):
        export_ranker(str(tmp_path / "model"), tmp_path / "out")


def test_weights_that_are_pickles_are_refused(trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "model")
    (tmp_path / "model" / "model.safetensors").rename(tmp_path / "model" / "pytorch_model.bin")
    with pytest.raises(UsageError, match=r"no usable model\.safetensors"):
        export_ranker(str(tmp_path / "model"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_existing_target_needs_force(trained: Path, ranker: Path) -> None:
    before = sorted(ranker.iterdir())
    with pytest.raises(UsageError, match="--force"):
        export_ranker(str(trained), ranker)
    assert sorted(ranker.iterdir()) == before


def test_scorer_ranks_like_sentence_transformers(trained: Path, ranker: Path) -> None:
    from sentence_transformers import CrossEncoder

    documents = ["def add(a, b): return a + b", "def mul(a, b): return a * b", "import os", "return a + b"]
    expected = CrossEncoder(str(trained)).rank("add two numbers", documents, top_k=3, return_documents=True)
    with Scorer.open(ranker) as scorer:
        got = scorer.rank("add two numbers", documents, top_n=3, return_documents=True)
        assert scorer.predict([]).shape == (0,)
    assert [(entry["corpus_id"], entry["text"]) for entry in got] == [
        (entry["corpus_id"], entry["text"]) for entry in expected
    ]
    np.testing.assert_allclose([entry["score"] for entry in got], [entry["score"] for entry in expected], atol=1e-4)
