"""Summaries: pooled R2 with its block bootstrap, families over seeds, paired differences, Holm's correction."""

import h5py
import numpy as np
import pandas as pd
import pytest
from geopy.distance import great_circle
from sklearn.metrics import r2_score

from geoprobe.analysis.bootstrap import draw_weights
from geoprobe.analysis.families import WHERE, headline_rows
from geoprobe.analysis.summary import compare_families, join_seeds, summarise_families, summarise_model
from geoprobe.geodesy import EARTH_RADIUS_KM, draw_on_sphere, to_sphere
from geoprobe.images.store import write_store
from geoprobe.probes.labels import control_positions

N, BLOCKS, RESAMPLES = 90, 15, 40
BASE = {"dataset": "earth", "prompt": "none", "probe": "ridge", "tower": "vision", "pooling": "cls", "cv": "blocked"}
POSITIONS = draw_on_sphere(N, np.random.default_rng(0))
BLOCK = np.random.default_rng(1).permutation(np.arange(N) % BLOCKS) * 7 + 3  # numbers with gaps


def predict(truth, noise, seed=0):
    return truth + np.random.default_rng(seed).normal(0, noise, truth.shape)


class Run:
    """The files that one model's probe leaves, with predictions that the test makes up."""

    def __init__(self, folder):
        self.folder, self.entries, self.rows = folder, [], {"all": np.arange(N)}
        ids = [f"image {row}" for row in range(N)]
        columns = {"ids": ids, "latitudes": POSITIONS[:, 0], "longitudes": POSITIONS[:, 1]}
        columns |= dict.fromkeys(("geocells", "countries", "groups"), ids)
        write_store(folder / "images.h5", [b"image"] * N, columns, {}, {})
        pd.DataFrame({"id": ids, "block": BLOCK}).to_parquet(folder / "folds.parquet")

    def add(self, predictions, r2=(0.5, 0.7), **where):
        where = {**BASE, "cluster": "all", "layer": 0, "target": "degrees", "control": "none", **where}
        self.entries.append((where, predictions, r2))

    def summarise(self):
        scores = [
            {**where, "fold": fold, "r2": value} for where, _, r2 in self.entries for fold, value in enumerate(r2)
        ]
        pd.DataFrame(scores).to_parquet(self.folder / "scores.parquet")
        with h5py.File(self.folder / "fits.h5", "w") as file:
            for name, rows in self.rows.items():
                file[f"rows/{name}"] = rows
            for where, predictions, _ in self.entries:
                path = [where[n] for n in ("tower", "pooling", "layer", "cluster", "target", "cv", "control")]
                file["/".join(map(str, path)) + "/predictions"] = predictions.astype(np.float32)
        return summarise_model(
            self.folder / "images.h5",
            self.folder / "folds.parquet",
            self.folder / "scores.parquet",
            self.folder / "fits.h5",
            seed=42,
            resamples=RESAMPLES,
            bootstrap_seed=5,
        )


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def kilometres(a, b):
    return [great_circle(tuple(p), tuple(q), radius=EARTH_RADIUS_KM).km for p, q in zip(a, b, strict=True)]


def resampled(truth, predicted, block):
    """R2, mean over columns, of rows written out as often as their block is drawn."""
    numbers = sorted(set(block.tolist()))
    samples = []
    for weights in draw_weights(len(numbers), RESAMPLES, 5).astype(int):
        rows = np.concatenate(
            [np.tile(np.flatnonzero(block == number), times) for number, times in zip(numbers, weights, strict=True)]
        )
        samples.append(r2_score(truth[rows], predicted[rows]))
    return np.array(samples)


def test_r2_is_that_of_all_held_out_predictions_together(run):
    predicted = predict(POSITIONS, [20.0, 60.0])
    run.add(predicted, r2=(0.2, 0.6, 0.1))
    table, samples = run.summarise()
    [row] = table.to_dict("records")
    axes = r2_score(POSITIONS, predicted, multioutput="raw_values")
    assert row["r2"] == pytest.approx(r2_score(POSITIONS, predicted), rel=1e-5)
    assert (row["r2_latitude"], row["r2_longitude"]) == pytest.approx(tuple(axes), rel=1e-5)
    assert row["r2_folds"] == pytest.approx(0.3)
    assert (row["images"], row["blocks"]) == (N, BLOCKS)
    assert {name: row[name] for name in BASE} == BASE
    assert list(samples) == [tuple(row[name] for name in WHERE)]


def test_distances_are_geopys_after_clipping_and_wrapping(run):
    predicted = predict(POSITIONS, [40.0, 120.0])
    run.add(predicted)
    at = np.column_stack([np.clip(predicted[:, 0], -90, 90), (predicted[:, 1] + 180) % 360 - 180])
    assert run.summarise()[0]["median_km"].iloc[0] == pytest.approx(np.median(kilometres(POSITIONS, at)), rel=1e-5)


def test_resamples_are_those_of_writing_out_the_blocks(run):
    predicted = predict(POSITIONS, [20.0, 60.0])
    run.add(predicted)
    table, samples = run.summarise()
    expected = resampled(POSITIONS, predicted.astype(np.float32), BLOCK)
    [drawn] = samples.values()
    np.testing.assert_allclose(drawn, expected, rtol=1e-6)
    assert table["low"].iloc[0] == pytest.approx(np.quantile(expected, 0.025))
    assert table["high"].iloc[0] == pytest.approx(np.quantile(expected, 0.975))


def test_on_the_sphere_r2_is_of_the_vectors_and_the_axes_are_of_their_directions(run):
    predicted = predict(to_sphere(POSITIONS), 0.2)
    run.add(predicted, target="sphere")
    [row] = run.summarise()[0].to_dict("records")
    unit = predicted / np.linalg.norm(predicted, axis=1, keepdims=True)
    at = np.degrees(np.column_stack([np.arcsin(unit[:, 2]), np.arctan2(unit[:, 1], unit[:, 0])]))
    axes = r2_score(POSITIONS, at, multioutput="raw_values")
    assert row["r2"] == pytest.approx(r2_score(to_sphere(POSITIONS), predicted), rel=1e-5)
    assert (row["r2_latitude"], row["r2_longitude"]) == pytest.approx(tuple(axes), rel=1e-4)
    assert row["median_km"] == pytest.approx(np.median(kilometres(POSITIONS, at)), rel=1e-4)


def test_a_cluster_is_compared_with_its_own_images_and_blocks(run):
    rows = np.arange(4, 70, 3)
    run.rows["2"] = rows
    predicted = predict(POSITIONS[rows], [20.0, 60.0])
    run.add(predicted, cluster="2")
    [row] = run.summarise()[0].to_dict("records")
    assert row["r2"] == pytest.approx(r2_score(POSITIONS[rows], predicted), rel=1e-5)
    assert (row["images"], row["blocks"]) == (len(rows), len(set(BLOCK[rows])))


def test_the_control_is_compared_with_the_permuted_labels(run):
    truth = control_positions(POSITIONS, np.arange(N), "permuted", 42)
    predicted = predict(truth, [20.0, 60.0])
    run.add(predicted, control="permuted")
    assert run.summarise()[0]["r2"].iloc[0] == pytest.approx(r2_score(truth, predicted), rel=1e-5)


def test_images_of_folds_that_could_not_be_fitted_are_left_out(run):
    predicted = predict(POSITIONS, [20.0, 60.0])
    predicted[10:40] = np.nan
    run.add(predicted, r2=(0.5, np.nan))
    [row] = run.summarise()[0].to_dict("records")
    tested = np.isfinite(predicted[:, 0])
    assert row["images"] == N - 30
    assert row["r2"] == pytest.approx(r2_score(POSITIONS[tested], predicted[tested]), rel=1e-5)
    assert row["r2_folds"] == pytest.approx(0.5)


def test_a_cluster_in_which_nothing_could_be_fitted_has_no_numbers_and_stops_nothing(run):
    run.rows["1"] = np.array([3, 4, 5])
    run.add(np.full((3, 2), np.nan), r2=(np.nan, np.nan), cluster="1")
    run.add(predict(POSITIONS, [20.0, 60.0]))
    table, _ = run.summarise()
    table = table.set_index("cluster")
    assert table.loc["1", "images"] == 0
    assert table.loc["1", ["r2", "low", "high", "r2_latitude", "r2_longitude", "median_km"]].isna().all()
    assert np.isfinite(table.loc["all", "r2"])


def test_two_models_are_resampled_alike(run):
    predicted = predict(POSITIONS, [20.0, 60.0])
    run.add(predicted, layer=0)
    run.add(predicted, layer=1)
    first, second = run.summarise()[1].values()
    np.testing.assert_array_equal(first, second)


def test_one_seed_joined_is_itself():
    samples = np.random.default_rng(0).normal(size=(1, 50))
    np.testing.assert_array_equal(join_seeds(samples, seed=1), samples[0])


def test_seeds_that_agree_joined_are_any_of_them():
    samples = np.tile(np.random.default_rng(0).normal(size=50), (4, 1))
    np.testing.assert_allclose(join_seeds(samples, seed=1), samples[0])


def test_joined_seeds_spread_as_the_mean_of_seeds_drawn_with_replacement():
    values = np.array([0.0, 1.0, 5.0])
    joined = join_seeds(np.repeat(values[:, None], 40000, axis=1), seed=1)
    assert joined.mean() == pytest.approx(values.mean(), abs=0.03)
    assert joined.var() == pytest.approx(values.var() / 3, rel=0.03)
    assert set(np.round(joined * 3, 9)) == {a + b + c for a in values for b in values for c in values}


def where(layer=3, **changes):
    return {**BASE, "cluster": "all", "layer": layer, "target": "degrees", "control": "none"} | changes


def key_of(name, place):
    return (name, *(place[column] for column in WHERE))


def scores_of(members, **changes):
    """Frame and resampled R2 of models; `members` gives, by family, the samples of each of its seeds."""
    place, rows, samples = where(**changes), [], {}
    for family, seeds in members.items():
        for seed, drawn in enumerate(seeds):
            model = f"{family}-seed{seed}"
            samples[key_of(model, place)] = np.asarray(drawn, dtype=float)
            numbers = {"images": 90, "blocks": 15, "r2": np.mean(drawn), "r2_folds": seed, "median_km": 100.0 + seed}
            rows.append(
                {**place, "model": model, "family": family, "label": family.title(), "supervision": "vision-only"}
                | numbers
            )
    return pd.DataFrame(rows), samples


def compare_scores(scores, samples, prompts=("none",), poolings=("cls",)):
    families, joined = summarise_families(scores, samples, seed=1)
    return compare_families(headline_rows(families, prompts, poolings), joined)


def compare(members, **changes):
    return compare_scores(*scores_of(members, **changes))


def test_a_family_is_the_mean_of_its_seeds():
    random = np.random.default_rng(0)
    members = {"masked": random.normal(0.3, 0.1, (3, 400)), "public": random.normal(0.5, 0.1, (1, 400))}
    table, joined = summarise_families(*scores_of(members), seed=1)
    table = table.set_index("family")
    assert table["seeds"].to_dict() == {"masked": 3, "public": 1}
    assert table.loc["masked", "r2"] == pytest.approx(members["masked"].mean())
    assert table.loc["masked", "r2_folds"] == 1.0
    assert table.loc["masked", "median_km"] == 101.0
    assert table.loc["masked", "label"] == "Masked"
    np.testing.assert_array_equal(joined[key_of("public", where())], members["public"][0])
    for family, row in table.iterrows():
        low, high = np.quantile(joined[key_of(family, where())], [0.025, 0.975])
        assert (row["low"], row["high"]) == pytest.approx((low, high))


def test_seeds_that_differ_widen_the_interval():
    noise = np.random.default_rng(0).normal(0, 0.01, 400)
    agreeing, _ = summarise_families(*scores_of({"a": [noise, noise, noise]}), seed=1)
    differing, _ = summarise_families(*scores_of({"a": [noise - 0.3, noise, noise + 0.3]}), seed=1)
    width = [table["high"].iloc[0] - table["low"].iloc[0] for table in (agreeing, differing)]
    assert width[1] > 5 * width[0]


def test_a_model_does_not_differ_from_itself():
    drawn = np.random.default_rng(0).normal(size=(1, 99))
    [row] = compare({"a": drawn, "b": drawn}).to_dict("records")
    assert (row["difference"], row["low"], row["high"]) == (0.0, 0.0, 0.0)
    assert row["p"] == row["p_holm"] == 1.0


def test_a_difference_is_the_later_family_minus_the_earlier_on_the_same_resamples():
    noise = np.random.default_rng(0).normal(0, 5, 199)  # shared by both, so it drops out
    [row] = compare({"early": [noise], "late": [noise + 0.25]}).to_dict("records")
    assert (row["family"], row["baseline"]) == ("late", "early")
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((0.25, 0.25, 0.25))
    # never on the other side: 2 (0 + 1) / (199 + 1)
    assert row["p"] == pytest.approx(0.01)


def test_p_counts_the_resamples_on_the_other_side_of_zero_twice():
    drawn = np.ones(199)
    drawn[:9] = -1
    for sign in (1, -1):
        [row] = compare({"zero": [np.zeros(199)], "other": [sign * drawn]}).to_dict("records")
        assert row["p"] == pytest.approx(2 * (9 + 1) / 200)


def holm(p):
    """Holm (1979), written out: the k-th smallest times the number not yet decided, never below an earlier one."""
    adjusted, highest = [None] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = highest
    return adjusted


def test_holms_correction_of_a_worked_example():
    # p of .01, .03 and .04 becomes 3 x .01, 2 x .03 and, as it may not fall, .06
    b, c = np.ones(199), np.full(199, 2.0)
    c[0], c[1:3] = 0.5, -1.0
    table = compare({"a": [np.zeros(199)], "b": [b], "c": [c]})
    found = {(row.family, row.baseline): (row.p, row.p_holm) for row in table.itertuples()}
    assert found["b", "a"] == pytest.approx((0.01, 0.03))
    assert found["c", "a"] == pytest.approx((0.03, 0.06))
    assert found["c", "b"] == pytest.approx((0.04, 0.06))
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])


@pytest.mark.parametrize("seed", range(5))
def test_holms_correction_is_that_of_the_definition(seed):
    random = np.random.default_rng(seed)
    members = {
        name: [random.normal(shift, 1, 199)] for name, shift in zip("abcde", random.normal(0, 1.5, 5), strict=True)
    }
    table = compare(members)
    assert len(table) == 10
    assert table["p_holm"].tolist() == pytest.approx(holm(table["p"].tolist()))
    assert table["p"].nunique() > 3


def test_pairs_come_in_the_order_of_the_registry():
    random = np.random.default_rng(0)
    table = compare({name: [random.normal(size=199)] for name in ("zebra", "ape", "newt")})
    pairs = list(zip(table["family"], table["baseline"], strict=True))
    assert pairs == [("ape", "zebra"), ("newt", "zebra"), ("newt", "ape")]


def test_only_the_last_layer_of_the_whole_data_set_and_the_true_labels_is_compared():
    zero, one = [np.zeros(99)], [np.ones(99)]
    frames, samples = [], {}
    for changes in ({}, {"layer": 0}, {"cluster": "1"}, {"control": "permuted"}):
        wanted = not changes
        frame, drawn = scores_of({"a": zero, "b": one if wanted else [np.full(99, 7.0)]}, **changes)
        frames.append(frame)
        samples |= drawn
    table = compare_scores(pd.concat(frames), samples)
    assert table["difference"].tolist() == [1.0]


def test_each_condition_is_corrected_by_itself():
    zero, frames, samples = [np.zeros(199)], [], {}
    for cv in ("random", "blocked"):
        frame, drawn = scores_of({"a": zero, "b": [np.ones(199)]}, cv=cv)
        frames.append(frame)
        samples |= drawn
    table = compare_scores(pd.concat(frames), samples)
    assert table["cv"].tolist() == ["random", "blocked"]
    assert table["p_holm"].tolist() == pytest.approx([0.01, 0.01])


def test_a_single_family_has_nothing_to_be_compared_with():
    table = compare({"a": [np.zeros(9)]})
    assert table.empty
    assert {"family", "baseline", "difference", "low", "high", "p", "p_holm"} <= set(table)


def test_the_towers_of_a_model_are_compared_with_other_models_and_with_each_other():
    frames, samples = [], {}
    for members, changes in (
        ({"a": [np.zeros(199)], "b": [np.ones(199)]}, {}),
        ({"b": [np.full(199, 3.0)]}, {"tower": "text", "pooling": "last", "layer": 7}),
    ):
        frame, drawn = scores_of(members, **changes)
        frames.append(frame)
        samples |= drawn
    table = compare_scores(pd.concat(frames), samples, poolings=("cls", "last"))
    found = {(row.family, row.baseline): row.difference for row in table.itertuples()}
    assert found == {("b/vision", "a"): 1.0, ("b/text", "a"): 3.0, ("b/text", "b/vision"): 2.0}
