"""Folds: every image once, nothing split that must stay whole, a buffer that geopy measures."""

import numpy as np
import pytest
from geopy.distance import great_circle
from sklearn.model_selection import KFold

from geoprobe.geodesy import EARTH_RADIUS_KM, block_of, draw_on_sphere
from geoprobe.probes.folds import assign_folds, join_groups, near_folds

COUNT, DEGREES = 4, 10


def world(n=300, seed=0, groups=40):
    """Positions all over the Earth, and groups that do not care for blocks."""
    random = np.random.default_rng(seed)
    positions = draw_on_sphere(n, random)
    # most images are a group of their own
    names = np.where(
        random.random(n) < 0.2, random.integers(0, groups, n).astype(str), np.char.add("own", np.arange(n).astype(str))
    )
    return np.array([f"image {index}" for index in range(n)]), positions, names


def assign(n=300, seed=0, fold_seed=42, **options):
    ids, positions, groups = world(n, seed)
    options = {"count": COUNT, "block_degrees": DEGREES, "seed": fold_seed} | options
    return ids, positions, groups, assign_folds(ids, positions, groups, **options)


def merged(blocks, groups):
    """Units by joining any two images that share a block or a group until nothing changes."""
    unit = list(range(len(blocks)))
    changed = True
    while changed:
        changed = False
        for values in (blocks, groups):
            for value in set(values):
                rows = [row for row in range(len(values)) if values[row] == value]
                least = min(unit[row] for row in rows)
                changed |= any(unit[row] != least for row in rows)
                for row in rows:
                    unit[row] = least
    return unit


def partition(labels):
    """The sets of rows that share a label."""
    labels = np.asarray(labels)
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)}


def kilometres(a, b):
    return great_circle(tuple(a), tuple(b), radius=EARTH_RADIUS_KM).km


@pytest.mark.parametrize("cv", ["random", "blocked", "buffered"])
def test_every_image_is_in_exactly_one_fold_and_no_fold_is_empty(cv):
    ids, _, _, folds = assign()
    assert folds["id"].tolist() == ids.tolist()
    assert sorted(folds[cv].unique()) == list(range(COUNT))


def test_random_folds_are_scikit_learns_shuffled_ones():
    ids, positions, _, folds = assign()
    for fold, (_, test) in enumerate(KFold(COUNT, shuffle=True, random_state=42).split(positions)):
        assert set(folds.loc[folds["random"] == fold, "id"]) == set(ids[test])


@pytest.mark.parametrize("seed", range(5))
def test_blocked_folds_split_no_block_and_no_group(seed):
    _, positions, groups, folds = assign(seed=seed)
    for labels in (block_of(positions, DEGREES), groups):
        for label in np.unique(labels):
            assert folds.loc[labels == label, "blocked"].nunique() == 1
            assert folds.loc[labels == label, "block"].nunique() == 1


def test_random_folds_do_split_blocks():
    _, positions, _, folds = assign()
    blocks = block_of(positions, DEGREES)
    assert any(folds.loc[blocks == block, "random"].nunique() > 1 for block in np.unique(blocks))


@pytest.mark.parametrize("seed", range(20))
def test_units_are_what_joining_pair_by_pair_gives(seed):
    random = np.random.default_rng(seed)
    blocks, groups = random.integers(0, 12, 30), random.integers(0, 25, 30).astype(str)
    assert partition(join_groups(blocks, groups)) == partition(merged(blocks, groups))


def test_a_chain_of_blocks_and_groups_is_one_unit():
    assert join_groups(np.array([5, 5, 9, 9, 7]), np.array(["a", "b", "b", "c", "d"])).tolist() in (
        [0, 0, 0, 0, 1],
        [1, 1, 1, 1, 0],
    )


def test_without_shared_groups_units_are_blocks():
    ids, positions, _ = world()
    folds = assign_folds(ids, positions, ids, COUNT, DEGREES, seed=1)
    assert partition(folds["block"]) == partition(block_of(positions, DEGREES))


def test_a_seed_gives_the_same_folds_and_another_seed_others():
    first, again, other = (assign(fold_seed=seed)[3] for seed in (1, 1, 2))
    assert first.equals(again)
    assert not first["random"].equals(other["random"])
    assert not first["blocked"].equals(other["blocked"])


def test_buffered_has_the_folds_of_blocked():
    folds = assign(buffer_km=500)[3]
    assert folds["buffered"].tolist() == folds["blocked"].tolist()


@pytest.mark.parametrize("buffer_km", [400.0, 900.0])
def test_near_folds_are_those_whose_images_geopy_finds_within_the_buffer(buffer_km):
    _, positions, _, folds = assign(n=250, buffer_km=buffer_km)
    fold = folds["buffered"].to_numpy()
    found = 0
    for row in range(len(folds)):
        for number in range(COUNT):
            distances = [kilometres(positions[row], positions[other]) for other in np.flatnonzero(fold == number)]
            expected = number != fold[row] and min(distances) <= buffer_km
            assert bool(folds["buffered_near"][row] >> number & 1) == expected
            found += expected
    assert found > 10


def test_the_buffer_reaches_across_the_antimeridian_and_the_poles():
    positions = np.array([[0.0, 179.9], [0.0, -179.9], [89.9, 10.0], [89.9, -170.0], [40.0, 0.0]])
    near = near_folds(positions, np.array([0, 1, 0, 1, 2]), buffer_km=50)
    assert near.tolist() == [0b010, 0b001, 0b010, 0b001, 0]


def test_a_buffer_of_nothing_keeps_all_and_one_of_the_whole_earth_keeps_none():
    _, positions, _, folds = assign(n=60)
    fold = folds["blocked"].to_numpy()
    assert not near_folds(positions, fold, 0).any()
    everything = near_folds(positions, fold, 2 * np.pi * EARTH_RADIUS_KM)
    assert everything.tolist() == [(1 << COUNT) - 1 - (1 << number) for number in fold]


def test_the_last_fold_that_fits_is_told_from_the_others():
    positions = np.array([[0.0, 0.0], [0.0, 0.1], [50.0, 50.0]])
    near = near_folds(positions, np.array([62, 3, 61]), buffer_km=100)
    assert near.tolist() == [1 << 3, 1 << 62, 0]


def test_fewer_blocks_than_folds_are_refused_with_both_numbers():
    positions = np.array([[1.0, 1.0], [1.1, 1.1], [60.0, 60.0], [60.1, 60.1], [1.2, 1.2]])
    with pytest.raises(ValueError, match=r"folds\.count is 3, but there are only 2 geographic blocks\. Ask for fewer"):
        assign_folds(np.arange(5).astype(str), positions, np.arange(5).astype(str), 3, 10, seed=0)


def test_groups_that_tie_all_blocks_together_are_refused():
    ids, positions, _ = world(50)
    with pytest.raises(ValueError, match="only 1 geographic blocks"):
        assign_folds(ids, positions, np.repeat("one author", 50), 2, DEGREES, seed=0)


def test_fewer_images_than_folds_are_refused_with_both_numbers():
    ids, positions, groups = world(3)
    with pytest.raises(ValueError, match=r"folds\.count is 5, but there are only 3 images"):
        assign_folds(ids, positions, groups, 5, DEGREES, seed=0)
