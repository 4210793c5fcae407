"""Baselines: cases worked out by hand, scikit-learn's R2, and a search that asks geopy for every distance."""

import time

import numpy as np
import pandas as pd
import pytest
from oracles import kilometres
from sklearn.dummy import DummyRegressor
from sklearn.metrics import r2_score

from geoprobe.geodesy import draw_on_sphere
from geoprobe.probes.baselines import BASELINES, cell_prior, score_baselines, training_mean
from geoprobe.probes.folds import assign_folds
from geoprobe.probes.labels import ALL, cluster_rows
from geoprobe.probes.metrics import METRICS

OPTIONS = {"count": 4, "seed": 1, "blocks": "degrees", "block_degrees": 30, "h3_resolution": 1, "buffer_km": 500}


def fold_table(**columns):
    """A folds table by hand."""
    frame = pd.DataFrame({"id": [f"image {row}" for row in range(len(next(iter(columns.values()))))], **columns})
    frame.attrs["impossible"] = {}
    return frame


def only(table, **keys):
    """The one row of a table with these values."""
    for name, value in keys.items():
        table = table[table[name] == value]
    (row,) = table.to_dict("records")
    return row


def test_the_training_mean_is_that_of_degrees():
    assert training_mean(np.array([[10.0, 170.0], [20.0, -170.0], [0.0, 30.0]])).tolist() == [10.0, 10.0]


def test_the_cell_prior_is_the_centre_of_the_fullest_cell_across_the_antimeridian():
    positions = np.array([[0.0, 179.0], [0.0, -179.0], [50.0, 5.0], [1.0, 180.0], [51.0, 5.0], [-1.0, 180.0]])
    latitude, longitude = cell_prior(positions, np.array([7, 7, 3, 7, 3, 7]))
    assert latitude == pytest.approx(0, abs=1e-9)
    assert abs(longitude) == pytest.approx(180, abs=1e-9)


def test_among_cells_as_full_the_one_with_most_images_around_it_is_taken():
    # three cells of two; around the last lies a cell of one, and the first is alone
    positions = np.array(
        [[-30.0, 20.0], [-30.0, 21.0], [60.0, 100.0], [60.0, 101.0], [10.0, 0.0], [10.0, 2.0], [14.0, 1.0]]
    )
    cells = np.array([0, 0, 1, 1, 2, 2, 3])
    latitude, longitude = cell_prior(positions, cells)
    assert longitude == pytest.approx(1, abs=1e-9)
    assert latitude == pytest.approx(10, abs=0.01)
    # the mean on the sphere of two points of a parallel lies on their great circle, nearer the pole
    assert latitude > 10


def test_the_fullest_cell_is_taken_though_more_images_lie_around_others():
    positions = np.array([[-40.0, 0.0]] * 3 + [[60.0, -90.0]] * 3 + [[10.0, 50.0]] * 2 + [[11.0, 50.0]] * 2)
    cells = np.array([0, 0, 0, 1, 1, 1, 2, 2, 3, 3])
    assert cell_prior(positions, cells) == pytest.approx([-40, 0])


@pytest.mark.parametrize(("degrees", "first"), [(6.70, False), (6.80, True)], ids=["within 750 km", "beyond"])
def test_the_neighbourhood_ends_at_750_km(degrees, first):
    # 750 km are 6.745 degrees of a meridian; a cell of one image lies that far from the second of two cells of two
    positions = np.array([[-40.0, 0.0], [-40.0, 0.0], [10.0, 50.0], [10.0, 50.0], [10.0 + degrees, 50.0]])
    assert (cell_prior(positions, np.array([0, 0, 1, 1, 2]))[0] < 0) == first


def test_cells_alike_in_all_are_taken_in_the_order_of_their_numbers():
    positions = np.array([[-40.0, 0.0], [10.0, 50.0], [-40.0, 0.0], [10.0, 50.0]])
    assert cell_prior(positions, np.array([5, 2, 5, 2])) == pytest.approx([10, 50])
    assert cell_prior(positions, np.array([2, 5, 2, 5])) == pytest.approx([-40, 0])


@pytest.mark.parametrize("seed", range(5))
def test_the_cell_prior_is_what_geopy_finds_in_a_balanced_data_set(seed):
    random = np.random.default_rng(seed)
    positions = draw_on_sphere(20, random)[np.repeat(np.arange(20), 4)] + random.uniform(-3, 3, (80, 2))
    positions = np.clip(positions, -89, 89)
    cells = random.permutation(np.repeat(np.arange(20), 4)) if seed > 2 else np.repeat(np.arange(20), 4)
    around = []
    for cell in range(20):
        centre = cell_prior(positions[cells == cell], cells[cells == cell])
        around.append((sum(kilometres(centre, position) <= 750 for position in positions), -cell, centre))
    assert cell_prior(positions, cells) == pytest.approx(max(around, key=lambda entry: entry[:2])[2])


def test_scores_of_two_folds_worked_out_by_hand():
    positions = np.array([[0.0, 0.0], [0.0, 2.0], [10.0, 30.0], [20.0, 50.0]])
    table = score_baselines(
        positions, np.array(["a", "a", "b", "c"]), {ALL: np.arange(4)}, fold_table(random=[0, 0, 1, 1]), ["random"]
    )
    assert table.columns.tolist() == ["baseline", "cluster", "cv", "fold", "n_train", "n_test", *METRICS, "reason"]
    assert table["reason"].tolist() == [""] * 4
    mean = only(table, baseline="training-mean", fold=1)  # predicts (0, 1)
    assert (mean["n_train"], mean["n_test"]) == (2, 2)
    assert mean["r2_latitude"] == pytest.approx(1 - (100 + 400) / 50)
    assert mean["r2_longitude"] == pytest.approx(1 - (29**2 + 49**2) / 200)
    assert mean["mae_degrees"] == pytest.approx((10 + 20 + 29 + 49) / 4)
    prior = only(table, baseline="cell-prior", fold=1)  # cell a, whose centre is (0, 1)
    assert prior["median_km"] == pytest.approx(
        (kilometres((0, 1), positions[2]) + kilometres((0, 1), positions[3])) / 2
    )
    tie = only(table, baseline="cell-prior", fold=0)  # b and c are alike: b, at (10, 30)
    assert tie["mae_degrees"] == pytest.approx((10 + 10 + 30 + 28) / 4)
    assert only(table, baseline="training-mean", fold=0)["mae_degrees"] == pytest.approx((15 + 15 + 40 + 38) / 4)


def test_a_prediction_that_does_not_vary_has_no_rank_correlation():
    table = score_baselines(
        draw_on_sphere(40, np.random.default_rng(0)),
        np.arange(40).astype(str),
        {ALL: np.arange(40)},
        fold_table(random=np.arange(40) % 2),
        ["random"],
    )
    assert table[["spearman_latitude", "spearman_longitude"]].isna().all(axis=None)
    assert table["geoscore"].notna().all()


def test_near_images_and_those_in_no_fold_are_not_trained_on():
    positions = np.array([[0.0, 0.0], [1.0, 1.0], [10.0, 10.0], [20.0, 20.0], [80.0, 80.0], [60.0, 60.0]])
    folds = fold_table(buffered=[0, 0, 1, 1, -1, 1], buffered_near=[0, 0, 0, 0, 0, 0b1])
    cells = np.array(["a", "a", "b", "c", "d", "d"])
    table = score_baselines(positions, cells, {ALL: np.arange(6)}, folds, ["buffered"])
    row = only(table, baseline="training-mean", fold=0)
    assert (row["n_train"], row["n_test"]) == (2, 2)
    assert row["mae_degrees"] == pytest.approx(14.5)  # from (15, 15)
    # d, the fullest cell of all, is not there to be chosen
    assert only(table, baseline="cell-prior", fold=0)["mae_degrees"] == pytest.approx(9.5)
    assert only(table, baseline="training-mean", fold=1)["n_train"] == 2


@pytest.fixture(scope="module")
def world():
    random = np.random.default_rng(7)
    positions = draw_on_sphere(400, random)
    ids = np.array([f"image {row}" for row in range(400)], dtype=object)
    clusters = random.integers(-1, 3, 400)
    folds = assign_folds(ids, positions, ids, ids, ["Chad"] * 400, OPTIONS)
    return positions, random.integers(0, 30, 400).astype(str), cluster_rows(clusters), folds


def test_the_training_mean_scores_as_scikit_learns_dummy_does(world):
    positions, cells, rows_of, folds = world
    table = score_baselines(positions, cells, rows_of, folds, ["random", "blocked"])
    assert len(table) == len(rows_of) * 2 * 4 * len(BASELINES)
    for cluster, rows in rows_of.items():
        for cv in ("random", "blocked"):
            for fold in range(4):
                test = folds[cv].to_numpy()[rows] == fold
                truth = positions[rows]
                dummy = DummyRegressor().fit(np.zeros((int((~test).sum()), 1)), truth[~test])
                row = only(table, baseline="training-mean", cluster=cluster, cv=cv, fold=fold)
                predicted = dummy.predict(np.zeros((int(test.sum()), 1)))
                assert row["r2"] == pytest.approx(r2_score(truth[test], predicted))
                assert row["r2"] <= 0
                assert (row["n_train"], row["n_test"]) == ((~test).sum(), test.sum())


def test_what_the_folds_cannot_have_is_a_row_with_the_reason(world):
    positions, cells, rows_of, folds = world
    table = score_baselines(positions, cells, rows_of, folds, ["countries", "grouped"])
    rows = table[table["cv"] == "countries"]
    assert len(rows) == len(rows_of) * len(BASELINES)
    assert set(rows["baseline"]) == set(BASELINES)
    assert set(rows["reason"]) == {"there is only 1 country for 4 folds"}
    assert set(rows["fold"]) == {-1}
    assert rows[[*METRICS]].isna().all(axis=None)
    assert set(table.loc[table["cv"] == "grouped", "reason"]) == {""}


def test_a_cluster_without_images_enough_has_reasons_and_the_others_scores():
    positions = draw_on_sphere(8, np.random.default_rng(0))
    folds = fold_table(random=[0, 0, 1, 1, 0, 0, 1, -1])
    rows_of = {ALL: np.arange(8), "0": np.array([4, 5, 6]), "1": np.array([7])}
    table = score_baselines(positions, np.array(list("aabbccdd")), rows_of, folds, ["random"])
    assert set(table.loc[table["cluster"] == ALL, "reason"]) == {""}
    row = only(table, baseline="cell-prior", cluster="0", fold=1)
    assert row["reason"] == "2 training and 1 test images; at least 2 of each are needed"
    row = only(table, baseline="training-mean", cluster="0", fold=0)
    assert row["reason"] == "1 training and 2 test images; at least 2 of each are needed"
    row = only(table, baseline="cell-prior", cluster="1")
    assert (row["fold"], row["reason"]) == (-1, "none of the cluster's images is in a fold")


def test_a_balanced_data_set_of_100_000_images_takes_seconds():
    random = np.random.default_rng(0)
    positions = draw_on_sphere(100_000, random)
    cells = np.repeat(np.arange(20_000), 5).astype(str)
    folds = fold_table(random=np.tile(np.arange(5), 20_000))
    start = time.process_time()
    score_baselines(positions, cells, {ALL: np.arange(100_000)}, folds, ["random"])
    assert time.process_time() - start < 20
