"""Which images a probe sees, and with which labels."""

import time

import numpy as np
import pandas as pd
import pytest
from geopy.distance import great_circle

from geoprobe.geodesy import draw_on_sphere
from geoprobe.probes.labels import ALL, CONTROLS, cell_centres, cluster_rows, control_positions, join_on_ids

POSITIONS = draw_on_sphere(50, np.random.default_rng(0))
ROWS = np.arange(5, 45, 2)
CELLS = np.array([f"cell {row % 7}" for row in range(50)], dtype=object)


def pairs(positions):
    return sorted(map(tuple, positions.tolist()))


def test_a_frame_is_brought_into_the_order_of_the_ids():
    frame = pd.DataFrame({"id": ["c", "a", "b"], "fold": [3, 1, 2]})
    joined = join_on_ids(np.array(["a", "b", "c"], dtype=object), frame, "folds")
    assert joined["id"].tolist() == ["a", "b", "c"]
    assert joined["fold"].tolist() == [1, 2, 3]


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        (["a", "b"], "folds.parquet: has 2 images, the image store 3, and lacks c. It belongs to another image store"),
        (["a", "b", "x"], "folds.parquet: has 3 images, the image store 3, and lacks c. It belongs to another"),
        (["a", "b", "c", "d"], "folds.parquet: has 4 images, the image store 3. It belongs to another image store"),
        (["a", "b", "c", "c"], "folds.parquet: has 4 images, the image store 3. It belongs to another image store"),
    ],
)
def test_a_frame_of_other_images_is_refused_with_numbers_and_a_name(names, sentence):
    with pytest.raises(ValueError, match="delete it to make it again") as error:
        join_on_ids(["a", "b", "c"], pd.DataFrame({"id": names}), "folds.parquet")
    assert str(error.value).startswith(sentence)


@pytest.mark.parametrize("dtype", [object, str], ids=["objects", "fixed width"])
def test_all_columns_come_along_and_so_do_attributes(dtype):
    random = np.random.default_rng(0)
    frame = pd.DataFrame({"id": [f"image {row}" for row in range(500)], "value": np.arange(500), "text": "x"})
    frame.attrs["impossible"] = {"countries": "there is only 1 country for 5 folds"}
    order = random.permutation(500)
    joined = join_on_ids(np.array(frame["id"].tolist(), dtype=dtype)[order], frame, "folds")
    assert joined["value"].tolist() == order.tolist()
    assert joined.columns.tolist() == ["id", "value", "text"]
    assert joined.index.tolist() == list(range(500))
    assert joined.attrs == {"impossible": {"countries": "there is only 1 country for 5 folds"}}


def test_200_000_ids_are_joined_in_seconds():
    ids = np.array([f"image {row}" for row in range(200_000)], dtype=object)
    frame = pd.DataFrame({"id": ids[::-1], "value": np.arange(200_000)})
    start = time.process_time()
    assert join_on_ids(ids, frame, "folds")["value"].iloc[0] == 199_999
    assert time.process_time() - start < 10


def test_the_whole_data_set_is_a_cluster_and_the_others_part_it():
    clusters = np.array([2, 0, 2, 1, 0, 2])
    rows = cluster_rows(clusters)
    assert list(rows) == [ALL, "0", "1", "2"]
    assert rows[ALL].tolist() == [0, 1, 2, 3, 4, 5]
    assert {name: part.tolist() for name, part in rows.items() if name != ALL} == {
        "0": [1, 4],
        "1": [3],
        "2": [0, 2, 5],
    }


def test_without_control_the_labels_are_the_true_ones():
    np.testing.assert_array_equal(control_positions(POSITIONS, ROWS, "none", seed=1), POSITIONS[ROWS])


def test_permuted_labels_are_those_of_the_cluster_in_another_order():
    permuted = control_positions(POSITIONS, ROWS, "permuted", seed=1)
    assert pairs(permuted) == pairs(POSITIONS[ROWS])
    assert (permuted != POSITIONS[ROWS]).any(axis=1).mean() > 0.5


def test_permuted_labels_hang_on_the_seed_alone():
    first, again, other = (control_positions(POSITIONS, ROWS, "permuted", seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_permuting_leaves_rows_and_positions_as_they_were():
    rows, positions = ROWS.copy(), POSITIONS.copy()
    control_positions(positions, rows, "permuted", seed=1)
    np.testing.assert_array_equal(rows, ROWS)
    np.testing.assert_array_equal(positions, POSITIONS)


def test_a_control_that_is_none_is_refused_with_those_there_are():
    with pytest.raises(ValueError, match='the control is "shuffled"; allowed: none, permuted, permuted_cells'):
        control_positions(POSITIONS, ROWS, "shuffled", seed=1, cells=CELLS)


@pytest.mark.parametrize("seed", range(20))
def test_permuted_labels_are_drawn_by_seed_and_number_of_images_alone(seed):
    order = np.random.default_rng([seed, len(ROWS)]).permutation(ROWS)
    np.testing.assert_array_equal(control_positions(POSITIONS, ROWS, "permuted", seed, CELLS), POSITIONS[order])


@pytest.mark.parametrize("count", [2, 3, 7])
@pytest.mark.parametrize("seed", range(10))
def test_permuted_cells_stay_together_and_each_gets_another_cells_centre(seed, count):
    cells = np.array([f"cell {row // 2 % count}" for row in range(50)], dtype=object)
    labels = control_positions(POSITIONS, ROWS, "permuted_cells", seed, cells)
    names = sorted(set(cells[ROWS]))
    assert len(names) == count
    centres = {
        name: cell_centres(POSITIONS[ROWS[cells[ROWS] == name]], np.zeros((cells[ROWS] == name).sum(), int), 1)
        for name in names
    }
    got = {}
    for name in names:
        own = labels[cells[ROWS] == name]
        np.testing.assert_array_equal(own, np.broadcast_to(own[0], own.shape))
        (got[name],) = (other for other in names if np.allclose(centres[other][0], own[0]))
    assert sorted(got.values()) == names
    assert all(name != other for name, other in got.items())


def test_permuted_cells_of_two_cells_by_hand():
    positions = np.array([[0.0, 179.0], [0.0, -179.0], [80.0, 0.0], [80.0, 180.0], [5.0, 5.0]])
    labels = control_positions(positions, np.arange(4), "permuted_cells", 3, np.array(list("aaccd")))
    assert labels[0] == pytest.approx(labels[1])
    assert labels[0][0] == pytest.approx(90)
    assert labels[2] == pytest.approx(labels[3])
    assert labels[2][0] == pytest.approx(0, abs=1e-9)
    assert abs(labels[2][1]) == pytest.approx(180)


def test_every_other_cell_is_drawn_by_some_seed():
    drawn = {tuple(control_positions(POSITIONS, ROWS, "permuted_cells", seed, CELLS)[0]) for seed in range(200)}
    assert len(drawn) == 6


def test_permuted_cells_hang_on_the_seed_alone():
    first, again, other = (control_positions(POSITIONS, ROWS, "permuted_cells", seed, CELLS) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_permuted_cells_know_the_clusters_images_only():
    elsewhere = POSITIONS.copy()
    others = np.setdiff1d(np.arange(50), ROWS)
    elsewhere[others] = 0
    cells = CELLS.copy()
    cells[others] = "far away"
    np.testing.assert_array_equal(
        control_positions(POSITIONS, ROWS, "permuted_cells", 1, CELLS),
        control_positions(elsewhere, ROWS, "permuted_cells", 1, cells),
    )


def test_a_single_cell_keeps_its_own_centre():
    labels = control_positions(POSITIONS, ROWS, "permuted_cells", 1, np.repeat("one", 50))
    assert len(np.unique(labels, axis=0)) == 1


@pytest.mark.parametrize("control", CONTROLS)
def test_labels_are_positions_of_the_clusters_images(control):
    labels = control_positions(POSITIONS, ROWS, control, 1, CELLS)
    assert labels.shape == (len(ROWS), 2)
    assert np.isfinite(labels).all()
    assert (np.abs(labels) <= (90, 180)).all()
    assert not np.shares_memory(labels, POSITIONS)


def test_centres_are_where_the_squared_chords_are_least():
    random = np.random.default_rng(2)
    positions, cell = np.clip(POSITIONS / 10 + [70, 175], -90, 180), random.integers(0, 4, 50)
    for number, centre in enumerate(cell_centres(positions, cell, 4)):
        own = positions[cell == number]

        def spread(point, own=own):
            angle = [great_circle(tuple(point), tuple(one), radius=1).km for one in own]
            return sum(np.sin(np.array(angle) / 2) ** 2)

        for north, east in ((0.05, 0), (-0.05, 0), (0, 0.2), (0, -0.2)):
            assert spread(centre) < spread(centre + np.array([north, east]))
