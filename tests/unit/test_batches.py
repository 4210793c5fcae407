"""Batches: every image once, padded cost within the budget, the same plan every time."""

from itertools import chain, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from geoprobe.features.batches import halve, plan, sample_rows, schedule, split_rows, without

COSTS = st.lists(st.integers(1, 1000), min_size=1, max_size=60)


def padded(batch, costs):
    return len(batch) * max(costs[row] for row in batch)


@given(st.integers(0, 50), st.integers(1, 20), st.integers(0, 9))
def test_images_of_one_cost_stay_in_order_in_batches_of_the_size(count, size, start):
    batches = plan(range(start, start + count), size)
    assert list(chain(*batches)) == list(range(start, start + count))
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(1 <= len(batch) <= size for batch in batches)


@given(COSTS, st.floats(0.1, 20), st.integers(1, 1000))
def test_images_of_unlike_cost_are_each_in_one_batch_within_the_budget(costs, size, reference):
    batches = plan(range(len(costs)), size, costs, reference)
    assert sorted(chain(*batches)) == list(range(len(costs)))
    for batch in batches:
        assert len(batch) == 1 or padded(batch, costs) <= size * reference


@given(COSTS, st.floats(0.1, 20), st.integers(1, 1000))
def test_no_batch_could_have_taken_the_next_image_too(costs, size, reference):
    batches = plan(range(len(costs)), size, costs, reference)
    for batch, following in pairwise(batches):
        assert max(costs[row] for row in following) <= min(costs[row] for row in batch)
        assert padded([*batch, following[0]], costs) > size * reference


@given(COSTS, st.floats(0.1, 20), st.integers(1, 1000), st.randoms())
def test_the_plan_depends_on_the_images_and_not_on_their_order(costs, size, reference, random):
    rows = list(range(len(costs)))
    expected = plan(rows, size, costs, reference)
    random.shuffle(rows)
    assert plan(rows, size, [costs[row] for row in rows], reference) == expected


def test_costs_for_other_rows_are_an_error():
    with pytest.raises(ValueError, match="zip"):
        plan([1, 2, 3], 2, [5, 5], 5)


@given(COSTS.filter(lambda costs: len(costs) > 1), st.floats(0.1, 20), st.integers(1, 1000))
def test_after_halving_a_batch_is_planned_in_parts(costs, size, reference):
    for batch in plan(range(len(costs)), size, costs, reference):
        if len(batch) > 1:
            own = [costs[row] for row in batch]
            smaller = halve(size, batch, own, reference)
            assert smaller <= size / 2
            assert len(plan(batch, smaller, own, reference)) > 1


@given(st.integers(2, 100), st.integers(0, 100))
def test_after_halving_images_of_one_cost_go_in_halves(count, more):
    smaller = halve(count + more, range(count))
    assert smaller == count // 2
    assert len(plan(range(count), smaller)) in (2, 3)


def test_chunks_are_measured_one_after_the_other_and_never_mixed():
    measured = []

    def measure(rows):
        measured.append(list(rows))
        return [1 + row % 2 for row in rows]

    batches = schedule([[0, 1, 2], [3, 4]], 2, measure, 2)
    assert measured == []
    assert next(batches) == [1, 0]
    assert measured == [[0, 1, 2]]
    assert list(batches) == [[2], [3, 4]]
    assert measured == [[0, 1, 2], [3, 4]]


def test_what_is_finished_is_left_out():
    assert without([[0, 1], [2, 3], [4]], {1, 2, 3}) == [[0], [4]]


@given(st.integers(0, 1000), st.integers(1, 30))
def test_shards_cover_every_image_once_in_order_and_differ_by_one_at_most(count, shards):
    parts = [split_rows(count, shard, shards) for shard in range(shards)]
    assert list(chain(*parts)) == list(range(count))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


@pytest.mark.parametrize("shard", [-1, 3])
def test_a_shard_that_there_is_not_is_an_error(shard):
    with pytest.raises(ValueError, match=rf"shard {shard} of 3: shards are counted from 0 to 2"):
        split_rows(10, shard, 3)


@given(st.integers(1, 200), st.integers(1, 50))
def test_a_sample_is_in_order_without_repetition_and_not_too_large(count, most):
    rows = sample_rows(range(7, 7 + count), most)
    assert rows == sorted(set(rows))
    assert len(rows) == min(count, most)
    assert rows[0] == 7
    assert rows[-1] < 7 + count
