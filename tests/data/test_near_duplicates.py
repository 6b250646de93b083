import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossrank.data.near_duplicates import NearDuplicates, is_near_duplicate, similarity

TEXTS = st.text(alphabet="ab cD\n\té!", max_size=15)


def test_similarity_by_hand() -> None:
    # 2 shared shingles of 4.
    assert similarity("one two three four five", "zero one two three four") == pytest.approx(2 / 4)
    assert similarity("one two", "two three four five") == pytest.approx(1 / 5)
    assert similarity("Return  THE\nvalue", "return the value") == 1.0
    assert similarity("???", "!!!") == 0.0
    assert similarity("", "") == 1.0
    assert similarity("", "word") == 0.0


@given(TEXTS, TEXTS)
def test_similarity_is_symmetric_and_bounded(a: str, b: str) -> None:
    assert similarity(a, b) == similarity(b, a)
    assert 0.0 <= similarity(a, b) <= 1.0
    assert similarity(a, f" {a.upper()}\n") == 1.0


def test_the_threshold_is_inclusive() -> None:
    text = " ".join(map(str, range(11)))
    assert is_near_duplicate(text, f"{text} and", threshold=0.9)
    assert not is_near_duplicate(text, f"{text} and", threshold=0.91)
    assert is_near_duplicate(text, f"{text} and")
    assert not is_near_duplicate("one two three", "four five six")


WORDY = st.lists(st.sampled_from(["a", "b", "B", "c", "?"]), max_size=8).map(" ".join)


@given(st.lists(WORDY, max_size=8), WORDY)
def test_the_index_finds_what_a_comparison_of_all_finds(texts: list[str], text: str) -> None:
    found = list(NearDuplicates(texts).find(text))
    assert len(found) == len(set(found))
    assert set(found) == {place for place, other in enumerate(texts) if is_near_duplicate(text, other)}
