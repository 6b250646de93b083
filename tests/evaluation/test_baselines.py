import json
from dataclasses import asdict
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrank.data.eval_set import JudgedSet
from crossrank.evaluation.baselines import Baselines, rank_baselines, reciprocal_rank_fusion
from crossrank.evaluation.eval_set import EvalSet
from crossrank.evaluation.first_stage import retrieve_by_cosine
from crossrank.models.bi_encoder import BiEncoder
from crossrank.models.packaged import PACKAGED_BASE

TEXTS = ["read a file", "write a file", "the capital of France", "Paris is in France", "sort a list", "boil an egg"]


def test_reciprocal_ranks_are_added() -> None:
    first, second = {"q": ["a", "b", "c"]}, {"q": ["c", "a", "b"]}
    # a: 1/61 + 1/62; c: 1/63 + 1/61; b: 1/62 + 1/63.
    assert reciprocal_rank_fusion(first, second) == {"q": ["a", "c", "b"]}


@given(st.permutations("abcde"))
def test_an_order_fused_with_itself_is_itself(order: list[str]) -> None:
    assert reciprocal_rank_fusion({"q": order}, {"q": order}) == {"q": order}


@pytest.fixture(scope="module")
def bi_encoder() -> BiEncoder:
    return BiEncoder(PACKAGED_BASE)


def test_vectors_are_remembered(bi_encoder: BiEncoder, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = bi_encoder.vectors(TEXTS)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    asked: list[list[str]] = []
    encode = bi_encoder._model.encode

    def noted(texts: list[str], **others: Any) -> Any:
        asked.append(texts)
        return encode(texts, **others)

    monkeypatch.setattr(bi_encoder._model, "encode", noted)
    again = bi_encoder.vectors([TEXTS[2], "new", TEXTS[0], "new", TEXTS[2]])
    assert asked == [["new"]]
    np.testing.assert_array_equal(again[[0, 2, 4]], vectors[[2, 0, 2]])
    np.testing.assert_array_equal(again[1], again[3])
    assert bi_encoder.vectors([]).shape == (0, vectors.shape[1])


@pytest.mark.parametrize("depth", [1, 3, 6, 9])
def test_the_nearest_are_those_of_the_highest_cosine(bi_encoder: BiEncoder, depth: int) -> None:
    queries = {"files": "how is a file read", "france": "French cities"}
    judged = JudgedSet(queries, {str(number): text for number, text in enumerate(TEXTS)}, {})
    vectors = bi_encoder.vectors(TEXTS)
    for query_id, ids in retrieve_by_cosine(judged, bi_encoder, depth).items():
        cosines = vectors @ bi_encoder.vectors([queries[query_id]])[0]
        assert ids == [str(row) for row in np.argsort(-cosines)[:depth]]


def test_baselines_rank_the_candidates_and_survive_a_file(bi_encoder: BiEncoder) -> None:
    corpus = {str(number): text for number, text in enumerate(TEXTS)}
    candidates = {"files": ["5", "1", "0"], "none": []}
    eval_set = EvalSet({"files": "read a file", "none": "?"}, corpus, {"files": {"0": 1}}, candidates, "set")
    asked: list[tuple[str, str]] = []

    def predict(pairs: Any) -> Any:
        asked.extend(pairs)
        return np.array([len(text) for _, text in pairs], dtype=np.float32)

    found = rank_baselines(eval_set, bi_encoder, {"teacher": predict})
    assert list(found.rankings) == ["bm25", "cosine", "rrf", "teacher"]
    assert asked == eval_set.pairs
    assert found.rankings["bm25"]["files"] == found.rankings["cosine"]["files"] == ["0", "1", "5"]
    assert found.rankings["teacher"]["files"] == ["1", "5", "0"]
    assert (found.reference, list(found.scores)) == ("cosine", ["teacher"])
    assert Baselines(**json.loads(json.dumps(asdict(found)))) == found
    assert rank_baselines(eval_set, scorers={"base": predict}).reference == "base"
    assert rank_baselines(eval_set).reference == "bm25"
