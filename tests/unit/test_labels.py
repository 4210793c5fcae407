"""Which images a probe sees, and with which labels."""

import numpy as np
import pandas as pd
import pytest

from geoprobe.geodesy import draw_on_sphere
from geoprobe.probes.labels import ALL, cluster_rows, control_positions, join_on_ids

POSITIONS = draw_on_sphere(50, np.random.default_rng(0))
ROWS = np.arange(5, 45, 2)


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
