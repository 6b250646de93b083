import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.plan import plan

LENGTHS = st.lists(st.integers(1, 512), max_size=200)


@given(LENGTHS, st.integers(0, 4096))
def test_every_pair_stands_in_one_run_of_equal_length_within_the_budget(lengths: list[int], budget: int) -> None:
    runs = plan(lengths, max_run_tokens=budget)
    assert sorted(index for run in runs for index in run) == list(range(len(lengths)))
    for run in runs:
        assert len({lengths[index] for index in run}) == 1
        assert len(run) == 1 or sum(lengths[index] for index in run) <= budget


@given(LENGTHS)
def test_no_run_could_take_a_pair_of_another(lengths: list[int]) -> None:
    runs = plan(lengths, max_run_tokens=256)
    room = [256 - sum(lengths[index] for index in run) for run in runs]
    for length in set(lengths):
        of_length = [free for run, free in zip(runs, room, strict=True) if lengths[run[0]] == length]
        assert sum(free >= length for free in of_length) <= 1


@given(LENGTHS)
def test_longest_runs_come_first(lengths: list[int]) -> None:
    order = [lengths[run[0]] for run in plan(lengths, max_run_tokens=256)]
    assert order == sorted(order, reverse=True)


def test_a_pair_without_tokens_is_refused() -> None:
    with pytest.raises(ValueError, match="pair 1 has length 0"):
        plan([3, 0], max_run_tokens=10)
