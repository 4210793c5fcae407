"""Fitting all probes of a model: the numbers of a plain scikit-learn loop, the table's contract, planted truths."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import RidgeCV
from sklearn.metrics import r2_score
from sklearn.model_selection import KFold

from geoprobe.analysis.correlation import relate_coefficients
from geoprobe.analysis.dimensions import ablate_dimensions
from geoprobe.analysis.fairness import score_fairness
from geoprobe.analysis.layers import find_fit, fitted_layers
from geoprobe.analysis.transfer import transfer
from geoprobe.geodesy import draw_on_sphere, to_sphere
from geoprobe.images.store import write_store
from geoprobe.interventions.push_plan import plan_pushes
from geoprobe.probes.fit import fit_all, fit_layer
from geoprobe.probes.folds import Split, assign_folds

FOLDS, SEED = 4, 42
NAMES = {"dataset": "earth", "model": "masked-seed1", "prompt": "none", "probe": "ridge"}
SHARED = {
    "targets": ["degrees", "sphere"],
    "cv": ["random", "blocked"],
    "controls": ["none", "permuted"],
    "poolings": "all",
    "layers": "all",
    "device": "cpu",
    "threads": 1,
    "seed": SEED,
}
OPTIONS = {
    "kind": "ridge",
    "alphas": {"low": -1, "high": 4, "count": 6},
    "penalty": "leave-one-out",
    "per_column": False,
    "standardise": False,
    **SHARED,
}
MLP = {
    "kind": "mlp",
    **{"hidden": 16, "learning_rate": 0.01, "alpha": 0.01, "max_iter": 30, "batch_size": 200},
    **{"validation_fraction": 0.1, "patience": 10, "tolerance": 0.0001},
    **SHARED,
}
ALPHAS = np.logspace(-1, 4, 6)
METRICS = [
    *("r2", "r2_latitude", "r2_longitude", "r2_haversine", "rmse_degrees", "mae_degrees"),
    *("spearman_latitude", "spearman_longitude"),
    *("median_km", "within_1km", "within_25km", "within_200km", "within_750km", "within_2500km", "geoscore"),
    *("proximity_error", "clipped", "wrapped"),
]
CONTRACT = [
    *("dataset", "model", "prompt", "probe", "cluster", "tower", "layer", "pooling", "target", "cv", "control"),
    *("fold", "n_train", "n_test", "alpha", "alpha_at_border", "ill_conditioned", "r2_inner", *METRICS, "reason"),
]


class World:
    """Files of one data set and one model, and the probe fitted on them."""

    def __init__(self, folder, positions, features, clusters=None, seed=SEED, countries=None):
        self.folder = folder
        self.positions = positions
        self.features = features
        self.clusters = np.zeros(len(positions), int) if clusters is None else np.asarray(clusters)
        self.ids = [f"image {row}" for row in range(len(positions))]
        self.store, self.stored_features = folder / "images.h5", folder / "features.h5"
        self.cluster_table, self.fold_table = folder / "clusters.parquet", folder / "folds.parquet"
        self.fits, self.scores = folder / "fits.h5", folder / "scores.parquet"
        columns = {"ids": self.ids, "latitudes": positions[:, 0], "longitudes": positions[:, 1]}
        columns |= dict.fromkeys(("geocells", "groups"), self.ids)
        columns["countries"] = countries or [("FR", "DE", "NG", "BR")[row % 4] for row in range(len(positions))]
        write_store(self.store, [b"image"] * len(positions), columns, {}, {})
        self.write_features(self.ids)
        pd.DataFrame({"id": self.ids, "cluster": self.clusters}).to_parquet(self.cluster_table)
        options = {"count": FOLDS, "blocks": "degrees", "block_degrees": 15, "buffer_km": 1500, "seed": seed}
        options["h3_resolution"] = 1
        folds = assign_folds(self.ids, positions, self.ids, self.ids, columns["countries"], options)
        folds.to_parquet(self.fold_table)

    def write_features(self, ids):
        with h5py.File(self.stored_features, "w") as file:
            file.create_dataset("ids", data=np.array(ids, dtype=object), dtype=h5py.string_dtype())
            for (tower, pooling, layer), values in self.features.items():
                file[f"{tower}/{pooling}/{layer}"] = np.asarray(values, dtype=np.float32)

    def fit(self, budget=2**30, code="", **options):
        fit_all(
            self.store,
            self.stored_features,
            self.cluster_table,
            self.fold_table,
            self.fits,
            self.scores,
            NAMES,
            OPTIONS | options,
            budget,
            code,
        )
        return pd.read_parquet(self.scores)


def rows_of(table, **conditions):
    for name, value in conditions.items():
        table = table[table[name] == value]
    assert len(table), conditions
    return table


def make_positions(n=80):
    return draw_on_sphere(n, np.random.default_rng(0))


def telling(positions, width=6, seed=1, noise=0.3):
    """Features that hold the position and noise."""
    random = np.random.default_rng(seed)
    mixed = to_sphere(positions) @ random.normal(size=(3, width))
    return mixed + noise * random.normal(size=mixed.shape)


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """Two layers of two poolings, two clusters, everything fitted; and the probe table."""
    positions = make_positions()
    features = {
        ("vision", pooling, layer): telling(positions, seed=10 * layer + len(pooling), noise=1 - 0.7 * layer)
        for pooling in ("cls", "mean")
        for layer in (0, 1)
    }
    world = World(tmp_path_factory.mktemp("world"), positions, features, np.arange(80) % 2)
    return world, world.fit(cv=["random", "blocked", "buffered"])


def group_of(row):
    return f"{row.tower}/{row.pooling}/{row.layer}/{row.cluster}/{row.target}/{row.cv}/{row.control}"


def test_the_table_has_exactly_the_columns_of_the_contract(fitted):
    assert list(fitted[1]) == CONTRACT


def test_there_is_one_row_for_each_combination_and_fold(fitted):
    _, table = fitted
    keys = ["cluster", "tower", "layer", "pooling", "target", "cv", "control", "fold"]
    assert not table.duplicated(keys).any()
    assert len(table) == 3 * 1 * 2 * 2 * 2 * 3 * 2 * FOLDS
    assert table["cluster"].unique().tolist() == ["all", "0", "1"]
    assert (table["reason"] == "").all()
    assert table[METRICS].notna().all().all()
    for name, value in NAMES.items():
        assert (table[name] == value).all()


def test_scores_are_those_of_a_plain_scikit_learn_loop(fitted):
    world, table = fitted
    x = world.features["vision", "cls", 1].astype(np.float32).astype(np.float64)
    for target, y in (("degrees", world.positions), ("sphere", to_sphere(world.positions))):
        rows = rows_of(
            table, cluster="all", layer=1, pooling="cls", target=target, cv="random", control="none"
        ).set_index("fold")
        splits = KFold(FOLDS, shuffle=True, random_state=SEED).split(x)
        for fold, (train, test) in enumerate(splits):
            oracle = RidgeCV(ALPHAS).fit(x[train], y[train])
            assert rows.loc[fold, "r2"] == pytest.approx(r2_score(y[test], oracle.predict(x[test])), abs=1e-8)
            assert rows.loc[fold, "alpha"] == pytest.approx(oracle.alpha_)
            assert (rows.loc[fold, "n_train"], rows.loc[fold, "n_test"]) == (len(train), len(test))


def test_scores_of_a_cluster_are_those_of_its_images_alone(fitted):
    world, table = fitted
    folds = pd.read_parquet(world.fold_table)["blocked"].to_numpy()
    x = world.features["vision", "mean", 0].astype(np.float32).astype(np.float64)
    rows = rows_of(
        table, cluster="1", layer=0, pooling="mean", target="degrees", cv="blocked", control="none"
    ).set_index("fold")
    own = world.clusters == 1
    for fold in range(FOLDS):
        train, test = own & (folds != fold), own & (folds == fold)
        oracle = RidgeCV(ALPHAS).fit(x[train], world.positions[train])
        expected = r2_score(world.positions[test], oracle.predict(x[test]))
        assert rows.loc[fold, "r2"] == pytest.approx(expected, abs=1e-8)


def test_buffered_folds_train_on_no_image_that_is_near_a_test_image(fitted):
    world, table = fitted
    folds = pd.read_parquet(world.fold_table)
    x = world.features["vision", "cls", 0].astype(np.float32).astype(np.float64)
    rows = rows_of(
        table, cluster="all", layer=0, pooling="cls", target="degrees", cv="buffered", control="none"
    ).set_index("fold")
    smaller = 0
    for fold in range(FOLDS):
        test = (folds["buffered"] == fold).to_numpy()
        far = np.array([near // 2**fold % 2 == 0 for near in folds["buffered_near"]])
        train = ~test & far
        smaller += train.sum() < (~test).sum()
        oracle = RidgeCV(ALPHAS).fit(x[train], world.positions[train])
        expected = r2_score(world.positions[test], oracle.predict(x[test]))
        assert rows.loc[fold, "r2"] == pytest.approx(expected, abs=1e-8)
        assert rows.loc[fold, "n_train"] == train.sum()
    assert smaller == FOLDS


def test_a_penalty_at_the_end_of_the_grid_is_marked(fitted):
    _, table = fitted
    ends = np.isclose(table["alpha"], ALPHAS[0]) | np.isclose(table["alpha"], ALPHAS[-1])
    assert table["alpha_at_border"].tolist() == ends.tolist()
    assert 0 < ends.mean() < 1


def test_fits_hold_the_predictions_that_the_scores_are_of(fitted):
    world, table = fitted
    with h5py.File(world.fits) as file:
        for _, part in table.groupby(["cluster", "layer", "pooling", "target", "cv"]):
            row = rows_of(part, control="none").iloc[0]
            rows = file[f"rows/{row.cluster}"][:]
            predictions = file[f"{group_of(row)}/predictions"][:]
            folds = pd.read_parquet(world.fold_table)[row.cv].to_numpy()[rows]
            truth = world.positions if row.target == "degrees" else to_sphere(world.positions)
            expected = r2_score(truth[rows][folds == row.fold], predictions[folds == row.fold])
            assert row.r2 == pytest.approx(expected, abs=1e-5)


def test_fits_hold_the_coefficients_that_give_the_predictions(fitted):
    world, table = fitted
    with h5py.File(world.fits) as file:
        for row in table[table["fold"] == 0].itertuples():
            rows, group = file[f"rows/{row.cluster}"][:], file[group_of(row)]
            x = world.features[row.tower, row.pooling, row.layer][rows]
            folds = pd.read_parquet(world.fold_table)[row.cv].to_numpy()[rows]
            for fold in range(FOLDS):
                expected = x[folds == fold] @ group["coefficients"][fold] + group["intercepts"][fold]
                np.testing.assert_allclose(group["predictions"][:][folds == fold], expected, rtol=1e-3, atol=1e-3)


def test_fits_hold_rows_ids_and_the_spread_of_the_features(fitted):
    world, _ = fitted
    with h5py.File(world.fits) as file:
        assert file["ids"].asstr()[:].tolist() == world.ids
        assert file["rows/all"][:].tolist() == list(range(80))
        assert file["rows/1"][:].tolist() == list(range(1, 80, 2))
        spread = world.features["vision", "cls", 1][1::2].std(axis=0)
        np.testing.assert_allclose(file["deviations/vision/cls/1/1"][:], spread, rtol=1e-5)


def test_table_and_fits_say_how_they_were_made(fitted):
    world, table = fitted
    with h5py.File(world.fits) as file:
        attributes = dict(file.attrs)
    for name, value in NAMES.items():
        assert attributes[name] == value
    for made in (attributes, table.attrs):
        assert json.loads(made["options"])["cv"] == ["random", "blocked", "buffered"]
        assert "scikit-learn" in json.loads(made["versions"])


def test_a_feature_that_is_the_place_scores_high_in_random_folds_and_nothing_in_blocked_ones(tmp_path):
    places, each = 40, 6
    at = draw_on_sphere(places, np.random.default_rng(3))
    place = np.repeat(np.arange(places), each)
    positions = at[place]
    one_hot = np.eye(places)[place] + 0.01 * np.random.default_rng(4).normal(size=(len(place), places))
    table = World(tmp_path, positions, {("vision", "cls", 0): one_hot}).fit(targets=["degrees"], controls=["none"])
    assert rows_of(table, cluster="all", cv="random")["r2"].min() > 0.9
    assert rows_of(table, cluster="all", cv="blocked")["r2"].max() < 0.1
    assert rows_of(table, cluster="all", cv="blocked")["r2"].mean() < 0.02


def test_permuted_labels_score_nothing_where_true_ones_score_high(tmp_path):
    positions = make_positions(200)
    table = World(tmp_path, positions, {("vision", "cls", 0): telling(positions, noise=0.1)}).fit(targets=["sphere"])
    for cv in ("random", "blocked"):
        part = rows_of(table, cluster="all", cv=cv)
        assert rows_of(part, control="none")["r2"].min() > 0.9
        assert rows_of(part, control="permuted")["r2"].mean() < 0.05


@pytest.mark.parametrize("size", [1, 3])
def test_a_cluster_too_small_for_its_folds_has_rows_with_a_reason_and_no_numbers(tmp_path, size):
    positions = make_positions()
    clusters = np.where(np.arange(80) < size, 1, 0)
    world = World(tmp_path, positions, {("vision", "cls", 0): telling(positions)}, clusters)
    table = world.fit()
    assert list(table) == CONTRACT
    small = rows_of(table, cluster="1", cv="random")
    assert (small["n_test"] + small["n_train"] == size).all()
    failed = small[(small["n_test"] < 2) | (small["n_train"] < 2)]
    assert len(failed)
    assert failed["reason"].str.contains("at least 2").all()
    assert failed[[*METRICS, "alpha", "alpha_at_border", "r2_inner"]].isna().all().all()
    assert (rows_of(table, cluster="all")["reason"] == "").all()
    with h5py.File(world.fits) as file:
        group = file["vision/cls/0/1/degrees/random/none"]
        assert (
            np.isnan(group["predictions"][:]).sum()
            == 2 * failed[failed["target"] == "degrees"].query("control == 'none'")["n_test"].sum()
        )


def test_a_cluster_within_one_fold_has_nothing_to_train_on():
    x, positions = np.random.default_rng(0).normal(size=(9, 4)), make_positions(9)
    [[fit]] = fit_layer(lambda: [(np.arange(9), x)], [Split(np.full(9, 2), None)], [positions], OPTIONS)
    assert (fit.folds.tolist(), fit.n_train.tolist(), fit.n_test.tolist()) == ([2], [0], [9])
    assert fit.reasons[0]
    assert np.isnan(fit.predictions).all()


def test_a_cluster_in_one_country_has_a_reason_when_countries_are_left_out(tmp_path):
    positions = make_positions()
    countries = ["FR" if row < 20 else ("DE", "NG", "BR")[row % 3] for row in range(80)]
    clusters = np.where(np.arange(80) < 20, 1, 0)
    world = World(tmp_path, positions, {("vision", "cls", 0): telling(positions)}, clusters, countries=countries)
    table = world.fit(cv=["countries"])
    assert (rows_of(table, cluster="all")["reason"] == "").all()
    french = rows_of(table, cluster="1")
    assert (french["reason"] != "").all()
    assert french[METRICS].isna().all().all()


def test_folds_that_a_data_set_cannot_have_leave_rows_with_the_reason(tmp_path):
    positions = make_positions()
    features = {("vision", "cls", 0): telling(positions)}
    table = World(tmp_path, positions, features, countries=["FR"] * 80).fit(cv=["random", "countries"])
    assert (rows_of(table, cv="random")["reason"] == "").all()
    impossible = rows_of(table, cv="countries")
    assert impossible["reason"].str.contains("for 4 folds").all()
    assert (impossible["fold"] == -1).all()
    assert list(table) == CONTRACT


def test_where_no_folds_can_be_had_the_layers_are_there_without_fits_and_analyses_give_reasons(tmp_path):
    positions = make_positions()
    features = {("vision", "cls", layer): telling(positions, seed=layer) for layer in (0, 1)}
    world = World(tmp_path, positions, features, np.arange(80) % 2, countries=["FR"] * 80)
    assert (world.fit(cv=["countries"])["reason"] != "").all()
    with h5py.File(world.fits) as file:
        assert fitted_layers(file) == list(features)
        for where in features:
            for cluster in ("all", "0", "1"):
                assert find_fit(file, where, cluster, "degrees", "countries") is None
        [push] = plan_pushes(file, ["cls"], "all", "countries")
        assert len(push.folds) == 0
    held_out = (world.store, world.fold_table)
    read = (world.stored_features, *held_out)
    of_dimensions = {"clusters": "each", "shares": [1.0, 0.5], "rankings": ["raw"], "draws": 1}
    frames = {
        "fairness": score_fairness(world.fits, *held_out, "degrees", ["countries"], ["cls"], "last", 20, SEED),
        "transfer": transfer(world.fits, *read, "degrees", ["countries"], ["cls"], "last", 20, SEED),
        "dimensions": ablate_dimensions(world.fits, *read, ["countries"], ["cls"], "last", of_dimensions, 20, SEED),
    }
    # one layer; every pair of three clusters; three clusters in the first layer and in the last
    assert {name: len(frame) for name, frame in frames.items()} == {"fairness": 1, "transfer": 9, "dimensions": 6}
    for frame in frames.values():
        assert frame["reason"].str.contains("for 4 folds").all()
        assert (frame["images"] == 0).all()
    pairs, summary = relate_coefficients(world.fits, ["countries"], ["cls"], "last", [1.0], 20, SEED)
    assert pairs.empty
    assert summary["reason"].str.startswith("0 clusters were fitted").all()


def test_a_data_set_that_is_too_small_as_a_whole_has_reasons_for_a_table(tmp_path):
    positions = np.array([[0.0, 0.0], [40.0, 100.0], [-40.0, -100.0], [70.0, 30.0]])
    # four folds of one image: nothing can be tested
    table = World(tmp_path, positions, {("vision", "cls", 0): telling(positions)}).fit()
    assert set(CONTRACT) == set(table)
    assert (table["reason"] != "").all()


def test_features_of_other_images_are_refused(tmp_path):
    positions = make_positions()
    world = World(tmp_path, positions, {("vision", "cls", 0): telling(positions)})
    world.write_features([*world.ids[:-1], "stranger"])
    with pytest.raises(ValueError, match=r"features\.h5: .*1 of them are not there \(such as image 79\)"):
        world.fit()
    assert not world.scores.exists()
    assert not world.fits.exists()


@pytest.mark.parametrize("name", ["cluster_table", "fold_table"])
def test_clusters_and_folds_of_other_images_are_refused(tmp_path, name):
    positions = make_positions()
    world = World(tmp_path, positions, {("vision", "cls", 0): telling(positions)})
    path = getattr(world, name)
    pd.read_parquet(path).replace("image 3", "stranger").to_parquet(path)
    with pytest.raises(ValueError, match="lacks image 3") as error:
        world.fit()
    assert path.name in str(error.value)


def test_features_in_another_order_are_joined_on_their_ids(tmp_path):
    positions = make_positions()
    features = telling(positions)
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    table = World(tmp_path / "a", positions, {("vision", "cls", 0): features}).fit()
    order = np.random.default_rng(1).permutation(80)
    world = World(tmp_path / "b", positions, {("vision", "cls", 0): features[order]})
    world.write_features([f"image {row}" for row in order])
    pd.testing.assert_frame_equal(world.fit(), table)


def test_a_feature_that_is_not_finite_is_refused_and_nothing_is_written(tmp_path):
    positions = make_positions()
    features = telling(positions)
    features[5, 2] = np.nan
    world = World(tmp_path, positions, {("vision", "cls", 0): features})
    with pytest.raises(
        ValueError, match=r"/vision/cls/0 holds values that are not finite, the first for image image 5"
    ):
        world.fit()
    assert not world.scores.exists()
    assert not world.fits.exists()


@pytest.mark.parametrize("options", [OPTIONS, OPTIONS | {"penalty": "inner-folds"}, OPTIONS | {"standardise": True}])
def test_layers_read_through_from_disk_give_what_layers_in_memory_give(tmp_path, monkeypatch, options):
    monkeypatch.setattr("geoprobe.features.reading.CHUNK", 17)
    positions = make_positions()
    features = {("vision", "cls", 0): telling(positions), ("vision", "cls", 1): telling(positions, width=90)}
    world = World(tmp_path, positions, features, np.arange(80) % 2)
    order = np.random.default_rng(1).permutation(80)
    world.features = {where: values[order] for where, values in features.items()}
    world.write_features([f"image {row}" for row in order])
    held = world.fit(**options)
    read = world.fit(budget=0, **options)
    # chunks have another common shift, which the single precision of leave-one-out's leverages shows
    np.testing.assert_allclose(read["r2_inner"], held["r2_inner"], rtol=0, atol=1e-6)
    rest = [frame.drop(columns="r2_inner") for frame in (read, held)]
    pd.testing.assert_frame_equal(*rest, rtol=1e-6, atol=1e-9)


def test_a_killed_job_goes_on_with_the_layer_that_it_was_at(tmp_path, monkeypatch):
    positions = make_positions()
    features = {("vision", "cls", layer): telling(positions, seed=layer) for layer in range(3)}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    undisturbed = World(tmp_path / "a", positions, features).fit()
    world = World(tmp_path / "b", positions, features)
    from geoprobe.probes import fit

    whole, fitted = fit.fit_layer, []

    def count_and_fail(*arguments):
        fitted.append(1)
        if len(fitted) == 3:
            raise KeyboardInterrupt
        return whole(*arguments)

    monkeypatch.setattr(fit, "fit_layer", count_and_fail)
    with pytest.raises(KeyboardInterrupt):
        world.fit()
    assert not world.scores.exists()
    assert len(list(world.fits.with_suffix(".parts").iterdir())) == 1
    resumed = world.fit()
    # the layer that was whole is not fitted again: each has two clusters, all and 0
    assert len(fitted) == 3 + 2 * 2
    pd.testing.assert_frame_equal(resumed, undisturbed)
    assert not world.fits.with_suffix(".parts").exists()


def test_a_part_of_other_code_is_not_used(tmp_path, monkeypatch):
    positions = make_positions()
    world = World(tmp_path, positions, {("vision", "cls", layer): telling(positions, seed=layer) for layer in (0, 1)})
    from geoprobe.probes import fit

    monkeypatch.setattr(fit, "probe_table", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        world.fit(code="as it was")
    monkeypatch.undo()
    fitted = []
    monkeypatch.setattr(fit, "fit_layer", lambda *arguments, whole=fit.fit_layer: fitted.append(1) or whole(*arguments))
    world.fit(code="edited")
    # each layer has two clusters, all and 0
    assert len(fitted) == 2 * 2


def test_a_part_of_other_options_is_not_used(tmp_path, monkeypatch):
    positions = make_positions()
    world = World(tmp_path, positions, {("vision", "cls", layer): telling(positions, seed=layer) for layer in (0, 1)})
    from geoprobe.probes import fit

    monkeypatch.setattr(fit, "probe_table", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        world.fit()
    assert len(list(world.fits.with_suffix(".parts").iterdir())) == 2
    monkeypatch.undo()
    table = world.fit(controls=["permuted"])
    assert set(table["control"]) == {"permuted"}


def test_a_part_that_a_kill_left_broken_is_made_anew(tmp_path):
    positions = make_positions()
    world = World(tmp_path, positions, {("vision", "cls", 0): telling(positions)})
    expected = world.fit()
    parts = world.fits.with_suffix(".parts")
    parts.mkdir()
    (parts / "vision-cls-0.h5").write_bytes(b"no HDF5 file")
    pd.testing.assert_frame_equal(world.fit(), expected)


def test_a_probe_may_be_fitted_on_some_poolings_and_last_layers(tmp_path):
    positions = make_positions()
    features = {("vision", pooling, layer): telling(positions) for pooling in ("cls", "mean") for layer in (0, 1, 2)}
    world = World(tmp_path, positions, features)
    table = world.fit(poolings=["mean", "last"], layers="last")
    assert {*zip(table["pooling"], table["layer"], strict=True)} == {("mean", 2)}
    with pytest.raises(ValueError, match="have the poolings cls, mean, and the probe is to be fitted on last"):
        world.fit(poolings=["last"])


def test_a_network_is_fitted_and_scored_like_a_ridge(tmp_path):
    positions = make_positions(200)
    world = World(tmp_path, positions, {("vision", "cls", 0): telling(positions, noise=0.1)})
    fit_all(
        *(world.store, world.stored_features, world.cluster_table, world.fold_table, world.fits, world.scores),
        NAMES,
        MLP | {"max_iter": 100},
    )
    table = pd.read_parquet(world.scores)
    assert list(table) == CONTRACT
    assert table["alpha"].isna().all()
    assert rows_of(table, target="sphere", control="none", cv="random")["r2"].min() > 0.8
    with h5py.File(world.fits) as file:
        assert file.attrs["kind"] == "mlp"
        assert set(file["vision/cls/0/all/sphere/random/none"]) == {"predictions", "folds"}
