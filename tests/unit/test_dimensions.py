"""Dimension subsets: planted dimensions are found, in training images alone, and the whole is the full probe."""

import h5py
import numpy as np
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import r2_score
from tiny_fits import Files

from geoprobe.analysis.dimensions import COLUMNS, ablate_dimensions, count_of, predict_ranked, rank_dimensions
from geoprobe.geodesy import draw_on_sphere
from geoprobe.probes.folds import Split

N, D, FOLDS = 300, 40, 3
WHERE, FIRST = ("vision", "cls", 5), ("vision", "cls", 0)
OPTIONS = {"shares": [0.1, 0.5, 1.0], "rankings": ["standardised", "raw"], "draws": 3, "clusters": ["all"]}
ENGINE = {"alphas": np.array([1.0]), "penalty": "leave-one-out", "per_column": True, "standardise": False}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Dimensions 0 to 3 carry latitude, 4 to 7 longitude; 8 to 11 are noise of so small a scale that raw ones rise."""
    generator = np.random.default_rng(0)
    positions = draw_on_sphere(N, generator)
    features = generator.normal(0, 1, (N, D))
    for axis in range(2):
        unit = positions[:, axis : axis + 1] / positions[:, axis].std()
        features[:, 4 * axis : 4 * axis + 4] = unit + generator.normal(0, 0.4, (N, 4))
    features[:, 8:12] *= 0.001
    layers = {FIRST: generator.normal(0, 1, (N, D)), ("vision", "cls", 3): features, WHERE: features}
    folder = tmp_path_factory.mktemp("dimensions")
    files = Files(folder, positions, layers, np.arange(N) % 2, np.arange(N) % FOLDS, np.arange(N) // 4)
    files.fit(alpha=1e-4, alphas={"low": -4, "high": -4, "count": 1})
    return files


def run(files, cvs=("random",), **options):
    paths = (files.fits, files.stored_features, files.store, files.fold_table)
    return ablate_dimensions(*paths, cvs, ["cls"], "last", OPTIONS | options, 50, 7)


@pytest.fixture(scope="module")
def table(files):
    return run(files)


def scores(table, ranking, share, axis, where=WHERE):
    rows = table[(table["ranking"] == ranking) & (table["share"] == share) & (table["axis"] == axis)]
    return rows[rows["layer"] == where[2]]["r2"].to_numpy()


@pytest.mark.parametrize("axis", ["latitude", "longitude"])
def test_the_top_tenth_has_nearly_the_whole_score_where_a_tenth_carries_it(table, axis):
    [top], [whole] = scores(table, "standardised", 0.1, axis), scores(table, "standardised", 1.0, axis)
    assert whole > 0.9
    assert top > whole - 0.02
    assert scores(table, "random", 0.1, axis).mean() < 0.6
    assert len(set(scores(table, "random", 0.1, axis))) == 3
    # the raw coefficients of dimensions of small scale are large, and say nothing
    assert scores(table, "raw", 0.1, axis)[0] < whole - 0.5


@pytest.mark.parametrize("where", [FIRST, WHERE])
def test_the_whole_share_is_the_full_probe_under_any_ranking(files, table, where):
    truth, predicted = files.positions, files.predictions(where, "all")
    for axis, name in enumerate(("latitude", "longitude")):
        expected = r2_score(truth[:, axis], predicted[:, axis])
        for ranking in ("standardised", "raw", "random"):
            assert scores(table, ranking, 1.0, name, where) == pytest.approx(expected, abs=1e-4)


def test_a_subset_is_a_ridge_on_the_columns_ranked_in_each_training_fold(files, table):
    x, y, predicted = files.features[WHERE], files.positions[:, 0], np.full(N, np.nan)
    for fold in range(FOLDS):
        train = files.folds != fold
        full = Ridge(1e-4).fit(x[train], y[train])
        columns = np.argsort(-np.abs(full.coef_) * x[train].std(axis=0))[: D // 2]
        kept = Ridge(1e-4).fit(x[train][:, columns], y[train])
        predicted[~train] = kept.predict(x[~train][:, columns])
    [found] = scores(table, "standardised", 0.5, "latitude")
    assert found == pytest.approx(r2_score(y, predicted), abs=1e-4)


def test_the_table_has_a_row_for_every_subset(table):
    assert list(table.columns) == COLUMNS
    # two layers (the middle one is neither first nor shown), three shares, two axes, two rankings and three draws
    assert len(table) == 2 * 3 * 2 * (2 + 3)
    assert set(table["layer"]) == {0, 5}
    assert table.groupby("share")["dimensions"].unique().str[0].tolist() == [4, 20, 40]
    assert table[table["ranking"] == "random"]["seed"].unique().tolist() == [7, 8, 9]
    assert table[table["ranking"] != "random"]["seed"].isna().all()
    assert ((table["low"] <= table["r2"]) & (table["r2"] <= table["high"])).all()
    assert (table["images"] == N).all()


def test_a_share_is_at_least_one_dimension():
    assert [count_of(share, 30) for share in (0.001, 0.05, 0.1, 1.0)] == [1, 2, 3, 30]


def test_ranking_is_by_what_moves_the_prediction():
    coefficients, deviations = np.array([1.0, -30.0, 2.0]), np.array([50.0, 0.1, 5.0])
    assert rank_dimensions(coefficients, deviations, "standardised").tolist() == [0, 2, 1]
    assert rank_dimensions(coefficients, deviations, "raw").tolist() == [1, 2, 0]


def leaky_world(carrier):
    """Features of noise but for one dimension that is the latitude in test fold 0, or everywhere else."""
    generator = np.random.default_rng(3)
    labels = draw_on_sphere(N, generator)
    values, folds = generator.normal(0, 1, (N, 20)), np.arange(N) % 2
    rows = folds == (0 if carrier == "test" else 1)
    values[rows, 11] = labels[rows, 0] / labels[:, 0].std() * 50
    models = {}
    for fold in range(2):
        ridge = Ridge(1.0).fit(values[folds != fold], labels[folds != fold])
        models[fold] = (ridge.coef_.T, ridge.intercept_)
    return values, labels, Split(folds), models


@pytest.mark.parametrize(("carrier", "chosen"), [("test", False), ("training", True)])
def test_the_choice_never_sees_the_test_fold(monkeypatch, carrier, chosen):
    from geoprobe.analysis import dimensions

    values, labels, split, models = leaky_world(carrier)
    kept = []
    plain = dimensions._fit

    def spy(values, columns, targets, split, engine, only):
        kept.append((only, columns.tolist()))
        return plain(values, columns, targets, split, engine, only)

    monkeypatch.setattr(dimensions, "_fit", spy)
    predict_ranked(values, labels, split, {0: models[0]}, [0.05], "standardised", ENGINE)
    latitude, _ = kept
    assert latitude[0] == (0,)
    assert (latitude[1] == [11]) == chosen


def test_predictions_of_a_fold_do_not_change_with_its_labels():
    values, labels, split, models = leaky_world("test")
    other = labels.copy()
    other[split.tested(0)] = 0.0
    found = [predict_ranked(values, y, split, {0: models[0]}, [0.5], "raw", ENGINE)[0][0.5] for y in (labels, other)]
    np.testing.assert_allclose(*(predicted[split.tested(0)] for predicted in found))
    assert np.isnan(found[0][split.tested(1)]).all()


def test_deviations_are_those_of_what_is_trained_on():
    generator = np.random.default_rng(5)
    labels, values = draw_on_sphere(N, generator), generator.normal(0, 1, (N, 4))
    folds = np.arange(N) % 3
    near = np.where(np.arange(N) % 9 == 1, 1, 0)  # of fold 1, near fold 0
    values[(folds == 0) | (near == 1), 2] *= 1000
    coefficients = np.ones((4, 2)) * [[3.0], [2.0], [1.0], [0.5]]
    predicted, _ = predict_ranked(
        values, labels, Split(folds, near), {0: (coefficients, np.zeros(2))}, [0.5], "standardised", ENGINE
    )
    train = (folds != 0) & (near == 0)
    expected = Ridge(1.0).fit(values[train][:, :2], labels[train]).predict(values[folds == 0][:, :2])
    np.testing.assert_allclose(predicted[0.5][folds == 0], expected, rtol=1e-6)


def test_what_is_near_a_fold_under_buffered_is_not_trained_on(tmp_path, files):
    near = np.where(np.arange(N) < 150, 1 << (np.arange(N) + 1) % FOLDS, 0)
    features = {WHERE: files.features[WHERE][:, :6]}
    own = Files(tmp_path, files.positions, features, np.zeros(N, int), files.folds, near=near)
    own.fit(cvs=("random", "buffered"), alpha=50.0, alphas={"low": np.log10(50), "high": np.log10(50), "count": 1})
    found = run(own, cvs=("random", "buffered"), shares=[1.0], rankings=["standardised"], draws=0).set_index(
        ["cv", "axis"]
    )
    for cv in ("random", "buffered"):
        expected = r2_score(own.positions[:, 1], own.predictions(WHERE, "all", cv=cv)[:, 1])
        assert found.loc[(cv, "longitude"), "r2"] == pytest.approx(expected, abs=1e-6)
    assert abs(found.loc[("random", "longitude"), "r2"] - found.loc[("buffered", "longitude"), "r2"]) > 1e-4


def test_without_the_whole_share_nothing_is_fitted_for_it(files):
    table = run(files, shares=[0.2], rankings=["standardised"], draws=0, clusters=[1])
    assert len(table) == 4
    assert (table["images"] == N // 2).all()


def test_an_impossible_cross_validation_has_its_reason(files):
    table = run(files, cvs=("countries",))
    assert table["reason"].tolist() == ["all images are of one country"] * 2
    assert table["r2"].isna().all()


def test_each_cluster_may_be_asked_for(files):
    table = run(files, clusters="each", shares=[1.0], draws=1)
    with h5py.File(files.fits) as file:
        assert set(table["cluster"]) == set(file["rows"]) > {"all"}


def test_what_cannot_be_ranked_is_refused(files, tmp_path):
    with pytest.raises(ValueError, match="no cluster 9"):
        run(files, clusters=["all", "9"])
    own = Files(tmp_path, files.positions, {WHERE: files.features[WHERE]}, np.zeros(N, int), files.folds)
    own.fit(kind="mlp")
    with pytest.raises(ValueError, match="of kind mlp"):
        run(own)
    with h5py.File(own.fits, "r") as file:
        assert "vision" in file


def test_fits_of_images_in_another_order_are_refused(files, tmp_path):
    own = Files(tmp_path, files.positions, {WHERE: files.features[WHERE]}, np.zeros(N, int), files.folds)
    own.fit()
    own.swap_ids()
    with pytest.raises(ValueError, match="the probes are of other images than the image store"):
        run(own)
