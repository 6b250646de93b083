"""A GPU's batches are padded: with the model's own padding id, which the head of a decoder looks for."""

from pathlib import Path

import numpy as np
import pytest

from crossrank.export.options import ExportOptions
from crossrank.export.pipeline import export_ranker
from crossrank.inference import scorer
from crossrank.inference.ranker.manifest import read_manifest
from crossrank.inference.scorer import Scorer
from crossrank.reranker import RankOptions
from tests.support.tiny_models import tiny_cross_encoder

LOGITS = RankOptions(score_kind="logit")
DOCUMENTS = ("def read file json parse", "def read file json par", "def read file")
PAIRS = [("how to read", document) for document in DOCUMENTS]


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("decoder")
    tiny_cross_encoder("qwen2", root / "model")
    options = ExportOptions(variants=["fp32"], max_queries=2)
    return export_ranker(str(root / "model"), root / "ranker", options).directory


def test_padded_logits_are_those_without_padding(decoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_manifest(decoder).padding_id == 4
    with Scorer.open(decoder) as alone:
        expected = alone.score(PAIRS, LOGITS).logits
        np.testing.assert_allclose(alone.session.run(alone.tokenizer.encode(PAIRS)), expected, atol=1e-4)
    monkeypatch.setattr(scorer, "_CPU_POLICY", scorer._CUDA_POLICY)
    with Scorer.open(decoder) as together:
        np.testing.assert_allclose(together.score(PAIRS, LOGITS).logits, expected, atol=1e-4)
    assert np.ptp(expected) > 0.1


def test_golden_pairs_find_another_padding_id(decoder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    manifest = read_manifest(decoder)
    wrong = manifest.model_copy(update={"padding_id": 0})
    monkeypatch.setattr(scorer, "_CPU_POLICY", scorer._CUDA_POLICY)
    with Scorer(decoder, wrong, manifest.variants[0]) as opened:
        logits, _ = opened.golden()
    golden = [each.logit for each in manifest.variants[0].golden]
    assert np.abs(logits - golden).max() > 1e-3
