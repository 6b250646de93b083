from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from crossrank.train.packed.batches import Assembler, Batch, Plan, ahead, cut, plan_pairs
from crossrank.train.packed.inputs import PackedInputs

_VOCABULARY = {"[CLS]": 0, "[SEP]": 1, "[UNK]": 2, "q": 3, "d": 4}


def _tokenizer() -> Tokenizer:
    tokenizer = Tokenizer(models.WordLevel(_VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 0), ("[SEP]", 1)]
    )
    return tokenizer


@given(query=st.integers(0, 60), document=st.integers(0, 60), longest=st.integers(4, 50))
def test_pairs_are_cut_as_hugging_face_cuts_them(query: int, document: int, longest: int) -> None:
    tokenizer = _tokenizer()
    tokenizer.enable_truncation(longest, strategy="longest_first")
    expected = tokenizer.encode("q " * query, "d " * document).ids
    queries, documents = cut(np.array([query]), np.array([document]), longest)
    assert (expected.count(3), expected.count(4)) == (queries[0], documents[0])


def test_a_batch_is_the_tokenizers_own() -> None:
    texts = [np.full(length, token, np.uint16) for length, token in ((3, 3), (9, 4), (0, 4), (5, 3))]
    starts = np.concatenate(([0], np.cumsum([len(text) for text in texts])))
    inputs = PackedInputs(np.concatenate(texts), starts, {"cls": 0, "sep": 1, "pad": 2}, [], [], "")
    query, document = np.array([0, 3, 0]), np.array([1, 1, 2])
    plan, count = plan_pairs(query, document, inputs.lengths.astype(np.int64), np.arange(3), 12, 200)
    batch = Assembler(inputs, torch.device("cpu")).pairs(plan)
    tokenizer = _tokenizer()
    tokenizer.enable_truncation(12, strategy="longest_first")
    assert count == 3
    for number, place in enumerate(plan.places[:, 0]):
        words = [
            " ".join("qd"[texts[text][0] - 3] for _ in texts[text]) if len(texts[text]) else ""
            for text in (query[number], document[number])
        ]
        expected = tokenizer.encode(*words)
        mine = batch.sequence == int(place)
        assert batch.ids[mine].tolist() == expected.ids
        assert batch.types[mine].tolist() == expected.type_ids
        assert batch.positions[mine].tolist() == list(range(len(expected.ids)))


@given(st.data())
def test_a_batch_fills_its_budget_with_whole_lists_from_the_first_on(data: st.DataObject) -> None:
    lengths = np.array(data.draw(st.lists(st.integers(0, 80), min_size=2, max_size=30)))
    sizes = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=20))
    lists = np.repeat(np.arange(len(sizes)), sizes)
    texts = st.lists(st.integers(0, len(lengths) - 1), min_size=len(lists), max_size=len(lists))
    query, document = np.array(data.draw(texts)), np.array(data.draw(texts))
    plan, count = plan_pairs(query, document, lengths, lists, 40, 1200)
    size = plan.query_length + plan.document_length + 3
    assert size.sum() == 1200
    assert size.max() <= 40
    assert np.all(np.diff(size) >= 0)
    assert 1 <= count <= len(sizes)
    for number in range(count):
        places = plan.places[number][plan.places[number] >= 0]
        assert sorted(zip(plan.query[places], plan.document[places], strict=True)) == sorted(
            zip(query[lists == number], document[lists == number], strict=True)
        )


def test_what_fails_ahead_fails_where_it_is_wanted() -> None:
    numbers = np.zeros((1, 1), np.int64)
    first = Batch(Plan(numbers, numbers, numbers, numbers, 8, numbers), numbers.astype(np.float32), numbers > 0)

    def failing() -> Iterator[Batch]:
        yield first
        raise ValueError("broken")

    made = ahead(failing())
    assert next(made) is first
    with pytest.raises(ValueError, match="broken"):
        next(made)
