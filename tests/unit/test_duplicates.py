"""Near duplicates: every pair within the distance, against all pairs compared one by one."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geoprobe.images.duplicates import join_near_duplicates, near_pairs

HASHES = st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=30)


def components(count, pairs):
    """Partition of `count` things that pairs join, by scipy."""
    first, second = np.array(pairs, dtype=int).reshape(-1, 2).T
    graph = coo_array((np.ones(len(first)), (first, second)), shape=(count, count))
    return connected_components(graph, directed=False)[1].tolist()


def by_comparison(hashes, bits):
    return [
        (a, b) for a, b in itertools.combinations(range(len(hashes)), 2) if (hashes[a] ^ hashes[b]).bit_count() <= bits
    ]


@settings(deadline=None)
@given(HASHES, st.integers(0, 8), st.integers(0, 2**32))
def test_the_pairs_join_what_a_comparison_of_all_joins(hashes, bits, seed):
    # some neighbours, at distances about the limit
    generator = np.random.default_rng(seed)
    for value in hashes[:5]:
        flips = generator.choice(64, size=generator.integers(0, 2 * bits + 2), replace=False)
        hashes = [*hashes, value ^ sum(1 << int(flip) for flip in flips)]
    first, second = near_pairs(np.array(hashes, dtype=np.uint64), bits)
    found = list(zip(first.tolist(), second.tolist(), strict=True))
    assert set(found) <= set(by_comparison(hashes, bits))
    assert components(len(hashes), found) == components(len(hashes), by_comparison(hashes, bits))


def test_groups_are_joined_through_their_near_duplicates():
    hashes = ["0000000000000000", "ffffffff00000000", "0000000000000003", "00000000ffffffff", "ffffffff00000001"]
    groups = ["ann", "bob", "cem", "ann", "dia"]
    assert join_near_duplicates(groups, hashes, 2).tolist() == ["ann", "bob", "ann", "ann", "bob"]
    assert join_near_duplicates(groups, hashes, 0).tolist() == groups


def test_many_copies_of_one_image_take_neither_time_nor_memory():
    hashes = ["0123456789abcdef"] * 200_000
    groups = [str(number) for number in range(len(hashes))]
    assert set(join_near_duplicates(groups, hashes, 4)) == {"0"}


def test_nothing_has_no_groups():
    assert len(join_near_duplicates([], [], 4)) == 0


@pytest.mark.parametrize("bits", [0, 4])
def test_random_hashes_of_many_images_hardly_ever_meet(bits):
    drawn = np.random.default_rng(0).integers(0, 2**64, 50_000, dtype=np.uint64)
    groups = [str(number) for number in range(len(drawn))]
    joined = join_near_duplicates(groups, [f"{value:016x}" for value in drawn], bits)
    assert len(set(joined)) == len(groups)
