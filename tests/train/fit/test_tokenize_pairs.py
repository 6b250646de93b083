from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sentence_transformers import CrossEncoder

from crossrank.train.fit.tokenize_pairs import fast_preprocess
from tests.support.tiny_models import tiny_cross_encoder

texts = st.text(alphabet="abc def(é\u4e2d", max_size=90)


@pytest.fixture(scope="module", params=["bert", "roberta"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return CrossEncoder(str(tiny_cross_encoder(request.param, tmp_path_factory.mktemp("model"))), max_length=24)


def assert_same(got: dict[str, Any], expected: dict[str, Any]) -> None:
    assert got.keys() == expected.keys()
    for name, value in got.items():
        if isinstance(value, torch.Tensor):
            assert value.dtype == expected[name].dtype
            assert torch.equal(value, expected[name])
        else:
            assert value == expected[name]


@settings(deadline=None)
@given(st.lists(st.tuples(texts, texts), min_size=1, max_size=6))
def test_the_tensors_are_those_of_sentence_transformers(model: Any, pairs: list[tuple[str, str]]) -> None:
    expected = model.preprocess(pairs)
    with fast_preprocess(model):
        got = model.preprocess(pairs)
    assert_same(got, expected)
    assert_same(model.preprocess(pairs), expected)


def test_what_is_no_batch_of_pairs_goes_the_usual_way(model: Any) -> None:
    expected = model.preprocess([("a b", "c")], prompt="def ")
    with fast_preprocess(model):
        assert_same(model.preprocess([("a b", "c")], prompt="def "), expected)
        assert "preprocess" in vars(model)
    assert "preprocess" not in vars(model)
