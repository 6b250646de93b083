from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrank.data.examples import Example
from crossrank.errors import UsageError
from crossrank.train.fit.samplers import text_lengths
from crossrank.train.materialise import Relabel, TrainingSet, materialise, open_training_set
from crossrank.train.recipe import Loss, LossName
from tests.train.data.stored import stored

ONE = Example("q", ("a", "b", "c"), (1.0, 0.5, 0.0))
TEXTS = st.text(max_size=5).filter(str.strip)
FLAT = Example("flat", ("a", "b"), (1.0, 1.0))


def written(
    directory: Path,
    name: LossName,
    *parts: tuple[float, list[Example]],
    withheld: Collection[str] = (),
    relabel: Relabel | None = None,
    **loss: Any,
) -> TrainingSet:
    wanted = Loss(name=name, **loss)
    materialise(stored(directory, wanted, *parts), wanted, directory / "set", withheld=withheld, relabel=relabel)
    return open_training_set(directory / "set", seed=0)


def test_pairs(tmp_path: Path) -> None:
    learnt = written(tmp_path, "binary_cross_entropy", (1, [ONE, FLAT]))
    assert learnt.dataset.to_dict() == {
        "query": ["q", "q", "q", "flat", "flat"],
        "document": ["a", "b", "c", "a", "b"],
        "label": [1.0, 0.5, 0.0, 1.0, 1.0],
    }
    assert (learnt.pairs, learnt.useless) == (5, 0)


def test_lists_without_a_difference_are_left_out(tmp_path: Path) -> None:
    learnt = written(tmp_path, "lambda_loss", (1, [ONE, FLAT]))
    assert learnt.dataset.to_dict() == {"query": ["q"], "documents": [["a", "b", "c"]], "labels": [[1.0, 0.5, 0.0]]}
    assert (learnt.pairs, learnt.useless) == (3, 1)


def test_tuples_set_a_document_against_what_is_less_relevant(tmp_path: Path) -> None:
    learnt = written(tmp_path, "cross_entropy", (1, [ONE, FLAT]), num_negatives=3)
    first, second = (list(row.values()) for row in learnt.dataset)
    assert (first[:2], set(first[2:]), second) == (["q", "a"], {"b", "c"}, ["q", "b", "c", "c", "c"])
    assert learnt.useless == 2


def test_every_negative_has_its_turn(tmp_path: Path) -> None:
    example = Example("q", ("p", "o", "a", "b", "c", "d"), (1.0, 1.0, 0.0, 0.0, 0.0, 0.0))
    learnt = written(tmp_path, "cross_entropy", (1, [example]), num_negatives=2)
    assert {row["positive"] for row in learnt.dataset} == {"p", "o"}
    negatives = [row[column] for row in learnt.dataset for column in ("negative_1", "negative_2")]
    assert sorted(negatives) == ["a", "b", "c", "d"]


def test_tuples_of_a_teacher_carry_its_scores(tmp_path: Path) -> None:
    def relabel(examples: Iterable[Example]) -> Iterator[Example]:
        return (Example(each.query, each.documents, (-1.0, 4.0, -3.0)) for each in examples)

    learnt = written(tmp_path, "margin_mse", (1, [ONE]), num_negatives=1, relabel=relabel)
    assert [list(row.values()) for row in learnt.dataset] == [
        ["q", "b", "a", [4.0, -1.0]],
        ["q", "a", "c", [-1.0, -3.0]],
    ]


def test_weights_repeat_and_thin_out(tmp_path: Path) -> None:
    many = [Example(f"q{number}", ("a", "b"), (1.0, 0.0)) for number in range(20)]
    learnt = written(tmp_path, "binary_cross_entropy", (2.0, [ONE]), (0.25, many))
    assert learnt.dataset["query"][:6] == ["q"] * 6
    assert len(learnt.dataset) == 6 + 10
    assert len({(row["query"], row["document"]) for row in learnt.dataset}) == 3 + 10


def test_one_label_teaches_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="all 2 rows have the same label"):
        written(tmp_path, "binary_cross_entropy", (1, [FLAT]))
    with pytest.raises(UsageError, match="no example is left"):
        written(tmp_path, "list_net", (1, [FLAT]))


@given(
    st.lists(
        st.lists(st.text(max_size=5).filter(str.strip), min_size=2, max_size=4, unique=True), min_size=1, max_size=5
    )
)
def test_lengths_are_those_of_all_texts(tmp_path_factory: pytest.TempPathFactory, texts: list[list[str]]) -> None:
    examples = [Example(f"ab{n}", tuple(some), (1.0, *[0.0] * (len(some) - 1))) for n, some in enumerate(texts)]
    lists = written(tmp_path_factory.mktemp("set"), "list_net", (1, examples))
    assert text_lengths(lists.dataset).tolist() == [3 + sum(map(len, some)) for some in texts]
    pairs = written(tmp_path_factory.mktemp("set"), "fit", (1, examples))
    assert text_lengths(pairs.dataset).tolist() == [3 + len(text) for some in texts for text in some]


@given(st.lists(st.tuples(st.sampled_from(["q", "qa"]), st.sampled_from(["a", "ab", "b"])), min_size=1, max_size=15))
def test_repeated_pairs_are_those_that_a_set_finds(
    tmp_path_factory: pytest.TempPathFactory, pairs: list[tuple[str, str]]
) -> None:
    examples = [Example(query, (document,), (1.0,)) for query, document in pairs]
    parts = [(1.0, part) for part in (examples[:7], examples[7:]) if part]
    collected = stored(tmp_path_factory.mktemp("set"), Loss(), *parts)
    assert [(each.query, *each.documents) for each in collected.all_examples()] == list(dict.fromkeys(pairs))


def test_the_first_of_repeated_rows_stays(tmp_path: Path) -> None:
    learnt = written(tmp_path, "fit", (1, [ONE]), (1, [Example("q", ("a", "c", "d"), (1.0, 1.0, 1.0))]))
    assert learnt.dataset["document"][:] == ["a", "b", "c", "d"]
    assert learnt.dataset["label"][:] == [1.0, 0.5, 0.0, 1.0]


def test_what_is_withheld_is_not_learnt_and_what_was_written_is_not_written_again(tmp_path: Path) -> None:
    learnt = written(tmp_path, "fit", (1, [ONE, FLAT]), withheld={"flat"})
    assert set(learnt.dataset["query"][:]) == {"q"}
    materialise(stored(tmp_path / "other", Loss(), (1, [FLAT, ONE])), Loss(), tmp_path / "set")
    assert set(open_training_set(tmp_path / "set", 0).dataset["query"][:]) == {"q"}
