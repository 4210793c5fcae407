"""Folds: every image once, nothing split that must stay whole, a buffer that geopy measures."""

import importlib.util
from pathlib import Path

import h3
import numpy as np
import pandas as pd
import pytest
from oracles import kilometres
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from sklearn.model_selection import GroupKFold, KFold

from geoprobe.geodesy import EARTH_RADIUS_KM, azimuthal_positions, block_of, draw_on_sphere
from geoprobe.images.store import write_store
from geoprobe.probes.folds import CROSS_VALIDATIONS, Split, assign_folds, near_folds, shared_folds, unit_of
from geoprobe.probes.labels import control_positions

COUNT, DEGREES = 4, 10
OPTIONS = {
    **{"count": COUNT, "seed": 42, "blocks": "degrees", "block_degrees": DEGREES},
    **{"h3_resolution": 1, "buffer_km": 0},
}
UNITS = {"blocked": "block", "buffered": "block", "grouped": "group", "countries": "country"}


def world(n=300, seed=0, groups=40):
    """Positions all over the Earth, and groups that do not care for blocks."""
    random = np.random.default_rng(seed)
    positions = draw_on_sphere(n, random)
    # most images are a group of their own
    names = np.where(
        random.random(n) < 0.2, random.integers(0, groups, n).astype(str), np.char.add("own", np.arange(n).astype(str))
    )
    return np.array([f"image {index}" for index in range(n)]), positions, names


def states(positions):
    """Names of 72 countries that cover the Earth, each about as large as Australia."""
    return np.char.add("country ", block_of(positions, 25).astype(str))


def assign(n=300, seed=0, **options):
    ids, positions, groups = world(n, seed)
    cells = block_of(positions, 15).astype(str)
    return ids, positions, groups, assign_folds(ids, positions, cells, groups, states(positions), OPTIONS | options)


def assign_own(positions, groups=None, countries=None, **options):
    """Folds of images that share neither geocell nor, unless they are told, group or country."""
    ids = np.array([f"image {index}" for index in range(len(positions))], dtype=object)
    groups, countries = (ids if values is None else values for values in (groups, countries))
    return assign_folds(ids, np.asarray(positions, dtype=float), ids, groups, countries, OPTIONS | options)


def partition(labels):
    """The sets of rows that share a label."""
    labels = np.asarray(labels)
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)}


@pytest.mark.parametrize("cv", CROSS_VALIDATIONS)
def test_every_image_is_in_exactly_one_fold_and_no_fold_is_empty(cv):
    ids, _, _, folds = assign()
    assert folds["id"].tolist() == ids.tolist()
    assert sorted(folds[cv].unique()) == list(range(COUNT))
    assert folds.attrs["impossible"] == {}


def test_random_folds_are_scikit_learns_shuffled_ones():
    ids, positions, _, folds = assign()
    for fold, (_, test) in enumerate(KFold(COUNT, shuffle=True, random_state=42).split(positions)):
        assert set(folds.loc[folds["random"] == fold, "id"]) == set(ids[test])


@pytest.mark.parametrize("cv", ["blocked", "buffered"])
@pytest.mark.parametrize("seed", range(5))
def test_blocked_folds_split_no_block_and_train_on_no_group_that_is_tested(seed, cv):
    _, positions, groups, folds = assign(seed=seed, buffer_km=200)
    blocks = block_of(positions, DEGREES)
    for label in np.unique(blocks):
        assert len(set(folds.loc[blocks == label, cv])) == 1
    split, left_out = Split(folds[cv].to_numpy(), folds[f"{cv}_near"].to_numpy()), 0
    for fold in split.numbers:
        train = ~split.excluded(fold)
        assert not set(groups[train]) & set(groups[split.tested(fold)])
        # and whoever shares neither group nor, with a buffer, neighbourhood is trained on
        apart = ~np.isin(groups, groups[split.tested(fold)]) & ~split.tested(fold)
        if cv == "blocked":
            np.testing.assert_array_equal(train, apart)
        left_out += (~train & ~split.tested(fold)).sum()
    assert left_out > 0


def test_travelling_authors_do_not_join_the_blocks_of_the_earth():
    _, positions, _ = world(400)
    random = np.random.default_rng(1)
    authors = np.array([f"author {number}" for number in np.where(random.random(400) < 0.1, 0, np.arange(400))])
    folds = assign_own(positions, groups=authors)
    assert folds.attrs["impossible"] == {}
    assert partition(folds["block"]) == partition(block_of(positions, DEGREES))
    assert folds["blocked"].value_counts().min() > 50


def test_shared_folds_are_those_of_the_group_less_ones_own():
    near = shared_folds(np.array([0, 0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 3, 62]))
    assert near.tolist() == [0b10, 0b1, 0b1, 0, 1 << 62, 0b1000]


def test_random_folds_do_split_blocks():
    _, positions, _, folds = assign()
    blocks = block_of(positions, DEGREES)
    assert any(len(set(folds.loc[blocks == block, "random"])) > 1 for block in np.unique(blocks))


def test_units_of_blocked_folds_are_blocks():
    _, positions, _ = world()
    folds = assign_own(positions)
    assert partition(folds["block"]) == partition(block_of(positions, DEGREES))


def test_a_seed_gives_the_same_folds_and_another_seed_others():
    ids, positions, groups = world()
    first, again, other = (
        assign_folds(ids, positions, ids, groups, states(positions), OPTIONS | {"seed": seed}) for seed in (1, 1, 2)
    )
    assert first.equals(again)
    for cv in CROSS_VALIDATIONS:
        assert not first[cv].equals(other[cv])


@pytest.mark.parametrize("cv", ["blocked", "grouped", "countries"])
def test_folds_are_scikit_learns_over_the_units(cv):
    _, positions, groups, folds = assign()
    units = {"blocked": pd.factorize(block_of(positions, DEGREES))[0], "grouped": groups}
    units["countries"] = states(positions)
    split = GroupKFold(COUNT, shuffle=True, random_state=42).split(positions, groups=units[cv])
    for fold, (_, test) in enumerate(split):
        assert set(np.flatnonzero(folds[cv] == fold)) == set(test)


@pytest.mark.parametrize("cv", list(UNITS))
def test_units_of_a_cross_validation_are_numbered_and_never_on_both_sides(cv):
    _, positions, groups, folds = assign()
    labels = {"group": groups, "country": states(positions)}.get(UNITS[cv])
    if labels is not None:
        assert partition(folds[UNITS[cv]]) == partition(labels)
    assert folds[UNITS[cv]].dtype == np.int64
    assert all(len(set(part)) == 1 for _, part in folds.groupby(UNITS[cv])[cv])


def test_units_of_the_bootstrap_are_columns_of_the_table():
    folds = assign()[3]
    assert {cv: unit_of(cv) for cv in CROSS_VALIDATIONS} == {
        **dict.fromkeys(("random", "blocked", "buffered", "grouped"), "block"),
        "countries": "country",
    }
    assert {unit_of(cv) for cv in CROSS_VALIDATIONS} <= set(folds)


def test_groups_and_countries_do_not_hang_on_the_order_of_the_images():
    ids, positions, groups = world()
    turn = np.random.default_rng(5).permutation(len(ids))
    straight = assign_folds(ids, positions, ids, groups, states(positions), OPTIONS)
    turned = assign_folds(ids[turn], positions[turn], ids[turn], groups[turn], states(positions)[turn], OPTIONS)
    for name in ("grouped", "countries", "group", "country"):
        assert turned.set_index("id")[name].loc[ids].tolist() == straight[name].tolist()


def test_blocks_may_be_geocells():
    ids, positions, groups = world()
    cells = np.char.add("cell ", (positions[:, 0] // 6).astype(int).astype(str))
    folds = assign_folds(ids, positions, cells, groups, ids, OPTIONS | {"blocks": "geocell"})
    assert partition(folds["block"]) == partition(cells)
    for cell in np.unique(cells):
        assert len(set(folds.loc[cells == cell, "blocked"])) == 1
    # the units are not those of degrees
    assert partition(folds["block"]) != partition(block_of(positions, DEGREES))


@pytest.mark.parametrize("resolution", [0, 1])
def test_blocks_may_be_h3_cells(resolution):
    _, positions, _ = world(150)
    folds = assign_own(positions, blocks="h3", h3_resolution=resolution, buffer_km=900)
    names = np.array([h3.latlng_to_cell(*position, resolution) for position in positions])
    assert {h3.get_resolution(name) for name in names} == {resolution}
    assert partition(folds["block"]) == partition(names)
    # latitude and longitude are not swapped: each image is as near its cell's centre as a hexagon of h3 is wide
    edge = h3.average_hexagon_edge_length(resolution, unit="km")
    for _, rows in folds.groupby("block").groups.items():
        centre = h3.cell_to_latlng(names[rows[0]])
        assert all(kilometres(positions[row], centre) < 1.6 * edge for row in rows)
    assert folds["buffered"].tolist() == folds["blocked"].tolist()
    assert folds["buffered_near"].any()


def test_blocks_of_another_kind_are_refused_with_the_kinds_there_are():
    with pytest.raises(ValueError, match=r'folds\.blocks is "hexagons"; allowed: degrees, geocell, h3'):
        assign(blocks="hexagons")


def test_buffered_has_the_folds_of_blocked():
    folds = assign(buffer_km=500)[3]
    assert folds["buffered"].tolist() == folds["blocked"].tolist()


@pytest.mark.parametrize("buffer_km", [400.0, 900.0])
def test_near_folds_are_those_whose_images_geopy_finds_within_the_buffer(buffer_km):
    _, positions, _, folds = assign(n=250, buffer_km=buffer_km)
    fold = folds["buffered"].to_numpy()
    near = near_folds(positions, fold, buffer_km)
    np.testing.assert_array_equal(folds["buffered_near"], near | folds["blocked_near"])
    found = 0
    for row in range(len(folds)):
        for number in range(COUNT):
            distances = [kilometres(positions[row], positions[other]) for other in np.flatnonzero(fold == number)]
            expected = number != fold[row] and min(distances) <= buffer_km
            assert bool(near[row] >> number & 1) == expected
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


def test_what_cannot_be_had_is_said_and_the_rest_is_there():
    positions = [[1.0, 1.0], [1.1, 1.1], [60.0, 60.0], [60.1, 60.1], [1.2, 1.2]]
    folds = assign_own(positions, countries=["Ghana"] * 5, count=3, buffer_km=50)
    assert folds.attrs["impossible"] == {
        "blocked": "there are only 2 geographic blocks for 3 folds",
        "buffered": "there are only 2 geographic blocks for 3 folds",
        "countries": "there is only 1 country for 3 folds",
    }
    for cv in ("blocked", "buffered", "countries"):
        assert folds[cv].tolist() == [-1] * 5
    assert folds["buffered_near"].tolist() == [0] * 5
    assert folds["buffered_near"].dtype == np.int64
    for cv in ("random", "grouped"):
        assert sorted(folds[cv].unique()) == [0, 1, 2]
    # the bootstrap has its units all the same
    assert partition(folds["block"]) == {frozenset({0, 1, 4}), frozenset({2, 3})}
    assert folds["country"].tolist() == [0] * 5


def test_a_single_author_leaves_nothing_to_train_on_in_blocks():
    _, positions, _ = world(50)
    folds = assign_own(positions, groups=np.repeat("one author", 50))
    assert folds.attrs["impossible"] == {"grouped": "there is only 1 group for 4 folds"}
    split = Split(folds["blocked"].to_numpy(), folds["blocked_near"].to_numpy())
    assert all(split.excluded(fold).all() for fold in split.numbers)
    assert sorted(folds["countries"].unique()) == list(range(COUNT))


def test_an_image_without_a_country_is_neither_tested_nor_trained_on_across_countries():
    _, positions, _ = world(200)
    countries = states(positions).astype(object)
    countries[[3, 50]], countries[[7, 51]] = "", "unknown"
    folds = assign_own(positions, countries=countries)
    nowhere = np.isin(np.arange(200), [3, 7, 50, 51])
    np.testing.assert_array_equal(folds["countries"] == -1, nowhere)
    np.testing.assert_array_equal(folds["country"] == -1, nowhere)
    assert folds["countries"].max() == COUNT - 1
    assert all(len(set(part)) == 1 for _, part in folds.loc[~nowhere].groupby("country")["countries"])
    for cv in ("random", "blocked", "buffered", "grouped"):
        assert (folds[cv] >= 0).all()
    split = Split(folds["countries"].to_numpy())
    for fold in split.numbers:
        assert split.excluded(fold)[nowhere].all()
        assert not split.tested(fold)[nowhere].any()


def test_no_country_at_all_is_said_as_such():
    folds = assign_own(world(20)[1], countries=[""] * 20)
    assert folds.attrs["impossible"]["countries"] == "there are no countries for 4 folds"
    assert folds["country"].tolist() == [-1] * 20


def test_as_many_units_as_folds_are_enough():
    _, positions, _ = world(40)
    folds = assign_own(positions, countries=[f"country {row % COUNT}" for row in range(40)])
    assert "countries" not in folds.attrs["impossible"]
    assert sorted(folds["countries"].value_counts()) == [10] * COUNT


def test_fewer_images_than_folds_are_refused_with_both_numbers():
    _, positions, _ = world(3)
    with pytest.raises(ValueError, match=r"folds\.count is 5, but there are only 3 images\. Ask for fewer folds"):
        assign_own(positions, count=5)


def test_a_split_tells_tested_excluded_and_numbers():
    split = Split(np.array([0, 2, -1, 2, 0, 5]), np.array([0b100, 0b1, 0, 0b100000, 0b100100, 0], dtype=np.int64))
    assert split.numbers.tolist() == [0, 2, 5]
    assert split.tested(2).tolist() == [False, True, False, True, False, False]
    assert split.excluded(2).tolist() == [True, True, True, True, True, False]
    assert split.excluded(0).tolist() == [True, True, True, False, True, False]
    assert split.excluded(5).tolist() == [False, False, True, True, True, True]
    assert Split(split.folds).excluded(2).tolist() == [False, True, True, True, False, False]
    assert Split(np.array([0, 1]), np.array([1 << 62, 0], dtype=np.int64)).excluded(62).tolist() == [True, False]


def test_the_script_keeps_in_parquet_what_could_not_be_had(tmp_path, capsys):
    path = Path(__file__).parents[2] / "workflow/scripts/assign_folds.py"
    spec = importlib.util.spec_from_file_location("assign_folds_script", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    ids, positions, groups = world(60)
    columns = {"ids": list(ids), "latitudes": positions[:, 0], "longitudes": positions[:, 1], "geocells": list(ids)}
    columns |= {"countries": ["Peru"] * 59 + [""], "groups": list(groups)}
    write_store(tmp_path / "images.h5", [b"image"] * 60, columns, {}, {})
    script.assign(tmp_path / "images.h5", tmp_path / "folds.parquet", OPTIONS | {"buffer_km": 500})
    written = pd.read_parquet(tmp_path / "folds.parquet")
    countries = ["Peru"] * 59 + [""]
    expected = assign_folds(ids, positions, ids, groups, countries, OPTIONS | {"buffer_km": 500})
    pd.testing.assert_frame_equal(written, expected, check_dtype=False)
    assert written.attrs["impossible"] == {"countries": "there is only 1 country for 4 folds"}
    assert {"images_digest", "geoprobe"} <= set(written.attrs)
    printed = capsys.readouterr().out
    assert "countries: cannot be had, as there is only 1 country for 4 folds" in printed
    assert "leaves out 1 images without a country" in printed


@pytest.fixture(scope="module")
def places():
    """1,000 images of 50 places, and their folds."""
    random = np.random.default_rng(3)
    centres = draw_on_sphere(50, random)
    place = np.repeat(np.arange(50), 20)
    offsets = random.uniform(-5, 5, (2, 1000))
    positions = np.concatenate([azimuthal_positions(centres[[row]], *offsets[:, place == row])[0] for row in range(50)])
    return positions, place, assign_own(positions, groups=np.char.add("place ", place.astype(str)), count=5)


def held_out_r2(features, labels, folds):
    """R2 of scikit-learn's ridge on each fold, the mean."""
    split = Split(folds)
    scores = []
    for fold in split.numbers:
        train, test = ~split.excluded(fold), split.tested(fold)
        predicted = Ridge(alpha=0.1).fit(features[train], labels[train]).predict(features[test])
        scores.append(r2_score(labels[test], predicted))
    return np.mean(scores)


@pytest.mark.parametrize("kind", ["one-hot", "random vector"])
def test_the_mere_identity_of_places_pays_under_random_folds_and_not_under_blocked_ones(places, kind):
    positions, place, folds = places
    features = np.eye(50) if kind == "one-hot" else np.random.default_rng(4).normal(size=(50, 100))
    features = features[place] + np.random.default_rng(5).normal(0, 0.01, (1000, features.shape[1]))
    control = control_positions(positions, np.arange(1000), "permuted_cells", 1, place.astype(str))
    for labels in (positions, control):
        assert held_out_r2(features, labels, folds["random"].to_numpy()) > 0.95
        for cv in ("blocked", "grouped"):
            assert held_out_r2(features, labels, folds[cv].to_numpy()) < 0.1
