"""Transfer between clusters: against scikit-learn, a mirrored cluster, and which fold predicts whom."""

import h5py
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from tiny_fits import Files

from geoprobe.analysis.layers import shown_layers
from geoprobe.analysis.transfer import COLUMNS, transfer
from geoprobe.geodesy import draw_on_sphere, great_circle_km

N, D, FOLDS = 240, 6, 4
WHERE = ("vision", "cls", 1)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Clusters 0 and 1 write position into the features alike, cluster 2 upside down."""
    generator = np.random.default_rng(0)
    positions = draw_on_sphere(N, generator)
    clusters = np.arange(N) % 3
    signal = positions * np.where(clusters == 2, -1, 1)[:, None]
    features = signal @ generator.normal(0, 0.05, (2, D)) + generator.normal(0, 1, (N, D)) + 3
    layers = {("vision", "cls", 0): generator.normal(0, 1, (N, D)), WHERE: features, ("vision", "mean", 2): features}
    folder = tmp_path_factory.mktemp("transfer")
    files = Files(folder, positions, layers, clusters, np.arange(N) // 3 % FOLDS, blocks=np.arange(N) // 5)
    files.fit()
    return files


def run(files, target="degrees", cvs=("random",), poolings=("cls", "mean"), layers="last", resamples=60):
    paths = (files.fits, files.stored_features, files.store, files.fold_table)
    return transfer(*paths, target, cvs, poolings, layers, resamples, 5)


@pytest.fixture(scope="module")
def table(files):
    return run(files).set_index(["trained_on", "tested_on"])


def test_every_pair_is_there_once_at_the_shown_layer(files, table):
    names = ["all", "0", "1", "2"]
    assert sorted(table.index) == sorted((a, b) for a in names for b in names)
    assert list(run(files).columns) == COLUMNS
    assert set(zip(table["tower"], table["pooling"], table["layer"], strict=True)) == {WHERE}
    assert (table["images"] == [N if b == "all" else N // 3 for _, b in table.index]).all()
    assert (table["reason"] == "").all()


@pytest.mark.parametrize("cluster", ["all", "0", "1", "2"])
def test_a_cluster_on_itself_is_its_cross_validated_score(files, table, cluster):
    truth, predicted = files.positions[files.members()[cluster]], files.predictions(WHERE, cluster)
    axes = r2_score(truth, predicted, multioutput="raw_values")
    row = table.loc[(cluster, cluster)]
    assert row["r2"] == pytest.approx(axes.mean(), abs=1e-5)
    assert (row["r2_latitude"], row["r2_longitude"]) == pytest.approx(tuple(axes), abs=1e-5)
    at = np.column_stack([np.clip(predicted[:, 0], -90, 90), (predicted[:, 1] + 180) % 360 - 180])
    assert row["median_km"] == pytest.approx(np.median(great_circle_km(truth, at)), rel=1e-5)


@pytest.mark.parametrize(("a", "b"), [("0", "1"), ("all", "2"), ("2", "all")])
def test_a_pair_is_fitted_on_one_cluster_without_the_fold_that_the_other_is_tested_in(files, table, a, b):
    x, y, members = files.features[WHERE], files.positions, files.members()
    predicted = np.full((N, 2), np.nan)
    for fold in range(FOLDS):
        train = [row for row in members[a] if files.folds[row] != fold]
        test = [row for row in members[b] if files.folds[row] == fold]
        predicted[test] = Ridge(1.0).fit(x[train], y[train]).predict(x[test])
    expected = r2_score(y[members[b]], predicted[members[b]])
    assert table.loc[(a, b), "r2"] == pytest.approx(expected, abs=1e-5)


def test_an_upside_down_cluster_transfers_negatively_and_the_like_one_well(table):
    r2 = table["r2"]
    assert r2["0", "0"] > 0.3
    assert r2["0", "1"] > 0.3
    assert r2["0", "2"] < -0.5
    assert r2["2", "1"] < -0.5


def test_the_interval_is_of_blocks_and_holds_the_score(files, table):
    assert (table["low"] < table["r2"]).all()
    assert (table["r2"] < table["high"]).all()
    units = files.blocks[files.members()["1"]]
    truth, predicted = files.positions[files.members()["1"]], files.predictions(WHERE, "1")
    generator, numbers, samples = np.random.default_rng(5), np.unique(units), []
    for counts in generator.multinomial(len(numbers), np.full(len(numbers), 1 / len(numbers)), size=60):
        repeats = counts[np.searchsorted(numbers, units)]
        samples.append(r2_score(np.repeat(truth, repeats, axis=0), np.repeat(predicted, repeats, axis=0)))
    row = table.loc[("1", "1")]
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(samples, [0.025, 0.975])), abs=1e-5)


def test_on_the_sphere_the_score_is_of_unit_vectors(files, tmp_path):
    own = Files(tmp_path, files.positions, {WHERE: files.features[WHERE]}, files.clusters, files.folds)
    own.fit("sphere")
    row = run(own, "sphere").set_index(["trained_on", "tested_on"]).loc[("1", "1")]
    phi, lam = np.radians(files.positions[files.members()["1"]]).T
    truth = np.column_stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
    assert row["r2"] == pytest.approx(r2_score(truth, own.predictions(WHERE, "1", "sphere")), abs=1e-5)


def test_a_cluster_without_images_in_a_fold_says_for_whom_it_has_no_fit(files, tmp_path):
    folds = np.where((files.clusters == 0) & (files.folds == 3), 2, files.folds)
    own = Files(tmp_path, files.positions, {WHERE: files.features[WHERE]}, files.clusters, folds)
    own.fit()
    table = run(own).set_index(["trained_on", "tested_on"])
    assert table.loc[("0", "1"), "images"] == N // 3 - (folds[files.clusters == 1] == 3).sum()
    assert table.loc[("0", "1"), "reason"] == "the training cluster has no fit for fold 3"
    assert table.loc[("0", "0"), "reason"] == ""
    assert table.loc[("1", "0"), "images"] == N // 3


def test_an_impossible_cross_validation_has_its_reason_and_no_numbers(files):
    table = run(files, cvs=("countries",))
    assert len(table) == 16
    assert set(table["reason"]) == {"all images are of one country"}
    assert table["r2"].isna().all()
    assert (table["images"] == 0).all()


def test_a_probe_without_coefficients_or_the_target_is_refused(files, tmp_path):
    with pytest.raises(ValueError, match="fitted on degrees, and sphere is asked for"):
        run(files, "sphere")
    own = Files(tmp_path, files.positions, {WHERE: files.features[WHERE]}, files.clusters, files.folds)
    own.fit()
    with h5py.File(own.fits, "r+") as file:
        del file["vision/cls/1/0/degrees/random/none/coefficients"]
    with pytest.raises(ValueError, match="no coefficients"):
        run(own)


def test_fits_of_images_in_another_order_are_refused(files, tmp_path):
    own = Files(tmp_path, files.positions, {WHERE: files.features[WHERE]}, files.clusters, files.folds)
    own.fit()
    own.swap_ids()
    with pytest.raises(ValueError, match="the probes are of other images than the image store"):
        run(own)


LAYERS = [("text", "last", layer) for layer in range(4)] + [
    ("vision", p, k) for p in ("cls", "mean") for k in (0, 2, 10)
]


@pytest.mark.parametrize(
    ("depth", "expected"),
    [
        ("last", [("text", "last", 3), ("vision", "cls", 10)]),
        ("first", [("text", "last", 0), ("vision", "cls", 0)]),
        (0.6, [("text", "last", 2), ("vision", "cls", 2)]),
    ],
)
def test_the_shown_layer_is_at_a_share_of_the_depth_under_the_first_pooling(depth, expected):
    assert shown_layers(LAYERS, ["cls", "last", "mean"], depth) == expected
