import pytest
from hypothesis import given
from hypothesis import strategies as st

from reiqa.errors import BadInputError
from reiqa.pretrain.sampler import EpochSampler


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 5))
def test_an_epoch_takes_each_turn_of_an_item_at_most_once(items, per_step, seed):
    order = EpochSampler(items, per_step, seed)
    seen = [place for step in order.steps(0, order.steps_per_epoch) for place in step]
    assert order.steps_per_epoch >= 1
    assert len(seen) == len(set(seen))
    assert all(0 <= item < items and 0 <= turn < order.repeats for item, turn in seen)
    assert items * order.repeats - len(seen) < per_step


def test_epochs_differ_in_order_and_turn():
    order = EpochSampler(12, 3, 0)
    first, second = ([p for s in order.steps(4 * e, 4 * e + 4) for p in s] for e in (0, 1))
    assert sorted(i for i, _ in first) == sorted(i for i, _ in second) == list(range(12))
    assert [i for i, _ in first] != [i for i, _ in second]
    assert {t for _, t in first} == {0} and {t for _, t in second} == {1}


@given(st.integers(0, 30))
def test_starting_in_the_middle_goes_on_with_the_same_steps(start):
    order = EpochSampler(10, 3, 7)
    assert list(order.steps(start, 31)) == list(order.steps(0, 31))[start:]


def test_processes_share_each_step_in_order():
    whole = list(EpochSampler(20, 4, 1).steps(0, 9))
    halves = [list(EpochSampler(20, 4, 1, rank, 2).steps(0, 9)) for rank in (0, 1)]
    assert [a + b for a, b in zip(*halves, strict=True)] == whole


def test_a_step_that_cannot_be_shared_evenly_is_refused():
    with pytest.raises(BadInputError, match=r"training\.batch_size: 5"):
        EpochSampler(20, 5, 0, 0, 2)


def test_nothing_to_learn_from_is_refused():
    with pytest.raises(BadInputError, match="no photograph"):
        EpochSampler(0, 5, 0)
