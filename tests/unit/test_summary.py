"""Summary of a probe: pooled R2 with its bootstrap, of every layer and of the chosen ones."""

import h5py
import numpy as np
import pandas as pd
import pytest
from oracles import kilometres
from scipy.stats import spearmanr
from sklearn.metrics import r2_score

from geoprobe.analysis.bootstrap import draw_weights
from geoprobe.analysis.families import CHOICE_WHERE, WHERE
from geoprobe.analysis.summary import NO_VARIANCE, UNKNOWN, summarise_probe
from geoprobe.geodesy import draw_on_sphere, to_sphere

N, BLOCKS, COUNTRIES, FOLDS, RESAMPLES = 90, 15, 6, 3, 40
BASE = {"dataset": "earth", "prompt": "none", "probe": "ridge", "tower": "vision", "pooling": "cls", "cv": "blocked"}
POSITIONS = draw_on_sphere(N, np.random.default_rng(0))
BLOCK = np.random.default_rng(1).permutation(np.arange(N) % BLOCKS) * 7 + 3  # numbers with gaps
COUNTRY = np.random.default_rng(2).permutation(np.arange(N) % COUNTRIES)
FOLD = BLOCK % FOLDS
SCORES = ["r2", "low", "high", "r2_latitude", "r2_longitude", "median_km"]


def predict(truth, noise, seed=0):
    return truth + np.random.default_rng(seed).normal(0, noise, truth.shape)


class Run:
    """The files that one model's probe leaves, with predictions that the test makes up."""

    def __init__(self, folder):
        self.folder, self.entries, self.rows = folder, [], {"all": np.arange(N)}
        self.labels = {"none": POSITIONS}
        ids = [f"image {row}" for row in range(N)]
        folds = {"id": ids, "blocked": FOLD, "random": FOLD, "countries": COUNTRY % FOLDS}
        # the folds table is joined by id
        pd.DataFrame({**folds, "block": BLOCK, "country": COUNTRY})[::-1].to_parquet(folder / "folds.parquet")
        self.ids = ids

    def add(self, predictions, r2=(0.5, 0.7, 0.6), inner=(0.4, 0.4, 0.4), reasons=None, border=False, **where):
        where = {**BASE, "cluster": "all", "layer": 0, "target": "degrees", "control": "none", **where}
        self.entries.append((where, predictions, r2, inner, reasons or [""] * len(r2), border))

    def impossible(self, reason, **where):
        """A cross-validation that the data set cannot have leaves one row, and no fits."""
        where = {**BASE, "cluster": "all", "layer": 0, "target": "degrees", "control": "none", **where}
        self.entries.append((where, None, (np.nan,), (np.nan,), [reason], pd.NA))

    def summarise(self, poolings=("cls",), depth=1.0):
        table = [
            {**where, "model": "vit", "fold": -1 if predictions is None else fold, "alpha_at_border": border}
            | {"r2": r2[fold], "r2_inner": inner[fold], "reason": reasons[fold]}
            for where, predictions, r2, inner, reasons, border in self.entries
            for fold in range(len(r2))
        ]
        frame = pd.DataFrame(table)
        frame["alpha_at_border"] = frame["alpha_at_border"].astype("boolean")
        frame.to_parquet(self.folder / "scores.parquet")
        with h5py.File(self.folder / "fits.h5", "w") as file:
            file.create_dataset("ids", data=np.array(self.ids, dtype=object), dtype=h5py.string_dtype())
            for name, rows in self.rows.items():
                file[f"rows/{name}"] = rows
                for control, labels in self.labels.items():
                    file[f"labels/{name}/{control}"] = labels[rows]
            for where, predictions, *_ in self.entries:
                path = [where[n] for n in ("tower", "pooling", "layer", "cluster", "target", "cv", "control")]
                if predictions is not None:
                    file["/".join(map(str, path)) + "/predictions"] = predictions.astype(np.float32)
        with h5py.File(self.folder / "samples.h5", "w") as file:
            files = [self.folder / name for name in ("folds.parquet", "scores.parquet", "fits.h5")]
            scores, choices = summarise_probe(*files, poolings, depth, RESAMPLES, 5, file)
            samples = {name: file[name][:] for name in ("scores", "choices")}
            assert {data.dtype for data in samples.values()} == {np.dtype(np.float32)}
        assert (len(samples["scores"]), len(samples["choices"])) == (len(scores), len(choices))
        return scores, choices, samples


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def resampled(truth, predicted, unit):
    """R2, mean over columns, of rows written out as often as their unit is drawn."""
    numbers = sorted(set(unit.tolist()))
    samples = []
    for weights in draw_weights(len(numbers), RESAMPLES, 5).astype(int):
        rows = np.concatenate(
            [np.tile(np.flatnonzero(unit == number), times) for number, times in zip(numbers, weights, strict=True)]
        )
        samples.append(r2_score(truth[rows], predicted[rows]))
    return np.array(samples)


def choice_of(choices, name, **conditions):
    for column, value in {"choice": name, **conditions}.items():
        choices = choices[choices[column] == value]
    [row] = choices.to_dict("records")
    return row


def test_r2_is_that_of_all_held_out_predictions_together(run):
    predicted = predict(POSITIONS, [20.0, 60.0])
    run.add(predicted, r2=(0.2, 0.6, 0.1), inner=(0.3, np.nan, 0.5), border=True)
    [row] = run.summarise()[0].to_dict("records")
    axes = r2_score(POSITIONS, predicted, multioutput="raw_values")
    assert row["r2"] == pytest.approx(r2_score(POSITIONS, predicted), rel=1e-5)
    assert (row["r2_latitude"], row["r2_longitude"]) == pytest.approx(tuple(axes), rel=1e-5)
    assert (row["r2_folds"], row["r2_inner"], row["alpha_at_border"]) == pytest.approx((0.3, 0.4, 1.0))
    assert (row["images"], row["blocks"], row["model"], row["reason"]) == (N, BLOCKS, "vit", "")
    assert {name: row[name] for name in BASE} == BASE


def test_chosen_layers_have_the_other_metrics_of_all_held_out_predictions_on_true_labels(run):
    run.labels["permuted"] = POSITIONS[::-1]
    predicted = predict(POSITIONS, [6.0, 20.0])
    for control in ("none", "permuted"):
        run.add(predicted, control=control)
    choices = run.summarise()[1]
    row = choice_of(choices, "depth", control="none")
    at = np.column_stack([np.clip(predicted[:, 0], -90, 90), (predicted[:, 1] + 180) % 360 - 180])
    km = np.array(kilometres(POSITIONS, at))
    for limit in (1, 25, 200, 750, 2500):
        assert row[f"within_{limit}km"] == (km <= limit).mean()
    assert 0 < row["within_750km"] < row["within_2500km"] < 1
    assert row["geoscore"] == pytest.approx((5000 * np.exp(-km / 1492.7)).mean(), rel=1e-5)
    assert row["mae_degrees"] == pytest.approx(np.abs(POSITIONS - predicted).mean(), rel=1e-5)
    assert row["spearman_longitude"] == pytest.approx(spearmanr(POSITIONS[:, 1], predicted[:, 1])[0], rel=1e-5)
    assert choice_of(choices, "inner", control="none")["geoscore"] == row["geoscore"]
    assert np.isnan(choice_of(choices, "depth", control="permuted")["geoscore"])


def test_distances_are_geopys_after_clipping_and_wrapping(run):
    predicted = predict(POSITIONS, [40.0, 120.0])
    run.add(predicted)
    at = np.column_stack([np.clip(predicted[:, 0], -90, 90), (predicted[:, 1] + 180) % 360 - 180])
    assert run.summarise()[0]["median_km"].iloc[0] == pytest.approx(np.median(kilometres(POSITIONS, at)), rel=1e-5)


@pytest.mark.parametrize(("cv", "unit"), [("random", BLOCK), ("blocked", BLOCK), ("countries", COUNTRY)])
def test_resamples_are_those_of_writing_out_the_units_that_are_held_out(run, cv, unit):
    predicted = predict(POSITIONS, [20.0, 60.0])
    run.add(predicted, cv=cv)
    scores, _, samples = run.summarise()
    expected = resampled(POSITIONS, predicted.astype(np.float32), unit)
    np.testing.assert_allclose(samples["scores"], expected[None], rtol=1e-5, atol=1e-6)
    assert scores["low"].iloc[0] == pytest.approx(np.quantile(expected, 0.025))
    assert scores["high"].iloc[0] == pytest.approx(np.quantile(expected, 0.975))
    assert scores["blocks"].iloc[0] == len(set(unit))


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


def test_the_truth_is_what_was_regressed(run):
    run.labels["permuted"] = POSITIONS[::-1]
    predicted = predict(POSITIONS[::-1], [20.0, 60.0])
    run.add(predicted, control="permuted")
    assert run.summarise()[0]["r2"].iloc[0] == pytest.approx(r2_score(POSITIONS[::-1], predicted), rel=1e-5)


def test_images_of_folds_that_could_not_be_fitted_are_left_out(run):
    predicted = predict(POSITIONS, [20.0, 60.0])
    predicted[FOLD == 1] = np.nan
    run.add(predicted, r2=(0.5, np.nan, 0.3), reasons=["", "too few", ""])
    scores, choices, samples = run.summarise()
    tested = FOLD != 1
    for row in (scores.iloc[0], choice_of(choices, "maximum"), choice_of(choices, "depth")):
        assert row["images"] == tested.sum()
        assert row["r2"] == pytest.approx(r2_score(POSITIONS[tested], predicted[tested]), rel=1e-5)
        assert row["r2_folds"] == pytest.approx(0.4)
        assert row["reason"] == ""
    expected = resampled(POSITIONS[tested], predicted[tested].astype(np.float32), BLOCK[tested])
    np.testing.assert_allclose(samples["scores"][0], expected, rtol=1e-5, atol=1e-6)


def test_a_cluster_in_which_nothing_could_be_fitted_has_the_reason_and_stops_nothing(run):
    run.rows["1"] = np.array([3, 4, 5])
    nothing = {"r2": (np.nan,) * 3, "inner": (np.nan,) * 3, "reasons": ["", "1 training image", "2 training images"]}
    run.add(np.full((3, 2), np.nan), cluster="1", **nothing)
    run.add(predict(POSITIONS, [20.0, 60.0]))
    scores, choices, samples = run.summarise()
    for frame, drawn in ((scores, samples["scores"]), (choices, samples["choices"])):
        empty = (frame["cluster"] == "1").to_numpy()
        assert (frame.loc[empty, "images"] == 0).all()
        assert frame.loc[empty, SCORES].isna().all(axis=None)
        assert set(frame.loc[empty, "reason"]) == {"1 training image"}
        assert frame.loc[~empty, SCORES].notna().all(axis=None)
        np.testing.assert_array_equal(np.isnan(drawn), np.tile(empty[:, None], RESAMPLES))
    assert choice_of(choices, "inner", cluster="1")["layers"] == "–, –, –"
    assert choice_of(choices, "depth", cluster="1")["layers"] == "0, 0, 0"


def test_a_cross_validation_that_the_data_set_cannot_have_keeps_its_reason(run):
    run.add(predict(POSITIONS, [20.0, 60.0]))
    run.impossible("only one country", cv="countries")
    scores, choices, _ = run.summarise()
    assert scores["reason"].tolist() == ["", "only one country"]
    assert (choices["reason"] == "only one country").tolist() == [False] * 3 + [True] * 3
    row = choice_of(choices, "depth", cv="countries")
    assert (row["tower"], row["pooling"], row["layers"], row["images"]) == ("vision", "cls", "", 0)


def test_images_at_one_place_have_no_r2_and_the_reason_says_so(run):
    run.labels["none"] = np.tile([10.0, 20.0], (N, 1))
    run.add(predict(POSITIONS, 1.0), r2=(np.nan,) * 3)
    scores, choices, _ = run.summarise()
    assert scores["reason"].tolist() == [NO_VARIANCE]
    assert np.isnan(scores["r2"].iloc[0])
    assert choice_of(choices, "maximum")["reason"] == UNKNOWN["maximum"]
    assert choice_of(choices, "inner")["reason"] == NO_VARIANCE


def test_two_layers_are_resampled_alike(run):
    predicted = predict(POSITIONS, [20.0, 60.0])
    run.add(predicted, layer=0)
    run.add(predicted, layer=1)
    first, second = run.summarise()[2]["scores"]
    np.testing.assert_array_equal(first, second)


def three_layers(run, inner, test, **where):
    """Three layers of different predictions; `inner` and `test` give the table's R2 by layer and fold."""
    predictions = [predict(POSITIONS, [10.0 * (n + 1), 30.0 * (n + 1)], seed=n) for n in range(3)]
    for layer, predicted in enumerate(predictions):
        run.add(predicted, r2=test[layer], inner=inner[layer], border=layer == 1, layer=layer + 4, **where)
    return predictions


def test_each_folds_images_are_predicted_by_the_layer_chosen_in_that_fold(run):
    inner = [(0.9, 0.1, 0.2), (0.3, 0.8, 0.3), (0.2, 0.1, 0.7)]
    test = [(0.1, 0.2, 0.3), (0.4, 0.5, 0.6), (0.7, 0.8, 0.9)]
    predictions = three_layers(run, inner, test)
    _, choices, samples = run.summarise()
    row = choice_of(choices, "inner")
    assembled = np.choose(FOLD[:, None], predictions).astype(np.float32)
    assert row["layers"] == "4, 5, 6"
    assert row["r2"] == pytest.approx(r2_score(POSITIONS, assembled), rel=1e-5)
    axes = r2_score(POSITIONS, assembled, multioutput="raw_values")
    assert (row["r2_latitude"], row["r2_longitude"]) == pytest.approx(tuple(axes), rel=1e-5)
    assert (row["r2_folds"], row["r2_inner"]) == pytest.approx((np.mean([0.1, 0.5, 0.9]), 0.8))
    assert row["alpha_at_border"] == pytest.approx(1 / 3)
    expected = resampled(POSITIONS, assembled, BLOCK)
    np.testing.assert_allclose(samples["choices"][choices["choice"] == "inner"][0], expected, rtol=1e-5, atol=1e-6)
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(expected, [0.025, 0.975])))


def test_the_layer_that_only_the_test_folds_prefer_is_the_maximum_and_no_other_choice(run):
    inner = [(0.3,) * 3, (0.5,) * 3, (-0.9,) * 3]
    test = [(0.3,) * 3, (0.2,) * 3, (0.9,) * 3]
    three_layers(run, inner, test)
    scores, choices, samples = run.summarise(depth=0)
    layers = dict(zip(choices["choice"], choices["layers"], strict=True))
    assert layers == {"inner": "5, 5, 5", "depth": "4, 4, 4", "maximum": "6, 6, 6"}
    # a choice that is one layer throughout is that layer
    same = ["images", "blocks", *SCORES, "r2_folds", "r2_inner", "alpha_at_border"]
    for choice, row in (("inner", 1), ("depth", 0), ("maximum", 2)):
        assert choice_of(choices, choice)[SCORES[0]] == scores["r2"][row]
        assert [choice_of(choices, choice)[name] for name in same] == scores.loc[row, same].tolist()
        np.testing.assert_array_equal(samples["choices"][choices["choice"] == choice][0], samples["scores"][row])


def test_a_fold_without_an_inner_score_has_no_choice_and_its_images_are_left_out(run):
    inner = [(0.3, np.nan, 0.1), (0.2, np.nan, 0.4), (0.1, np.nan, 0.2)]
    predictions = three_layers(run, inner, [(0.5, 0.5, 0.5)] * 3)
    row = choice_of(run.summarise()[1], "inner")
    assembled = np.choose(FOLD[:, None], [predictions[0], predictions[0], predictions[1]])
    tested = FOLD != 1
    assert (row["layers"], row["images"]) == ("4, –, 5", tested.sum())
    assert row["r2"] == pytest.approx(r2_score(POSITIONS[tested], assembled[tested]), rel=1e-5)


def test_without_any_inner_score_there_is_no_inner_choice(run):
    three_layers(run, [(np.nan,) * 3] * 3, [(0.5, 0.5, 0.5)] * 3)
    _, choices, _ = run.summarise()
    row = choice_of(choices, "inner")
    assert (row["images"], row["reason"], row["tower"]) == (0, UNKNOWN["inner"], "")
    assert choice_of(choices, "maximum")["images"] == N


def test_a_control_is_scored_on_the_layers_that_the_true_labels_chose(run):
    run.labels["permuted"] = POSITIONS[::-1]
    low, high = (0.1,) * 3, (0.9,) * 3
    three_layers(run, [high, low, low], [(0.5,) * 3, (0.5,) * 3, (0.6,) * 3])
    permuted = three_layers(run, [low, low, high], [(0.5,) * 3] * 3, control="permuted")
    choices = run.summarise()[1]
    for control in ("none", "permuted"):
        assert choice_of(choices, "inner", control=control)["layers"] == "4, 4, 4"
        assert choice_of(choices, "maximum", control=control)["layers"] == "6, 6, 6"
    expected = r2_score(POSITIONS[::-1], permuted[0])
    assert choice_of(choices, "inner", control="permuted")["r2"] == pytest.approx(expected, rel=1e-5)


def test_towers_and_poolings_are_chosen_from_as_preferred(run):
    predictions = [predict(POSITIONS, [20.0, 60.0], seed) for seed in range(4)]
    run.add(predictions[0], inner=(0.1, 0.1, 0.1), layer=3)
    run.add(predictions[1], inner=(0.9, 0.9, 0.9), layer=3, pooling="mean")  # not the first pooling
    run.add(predictions[2], inner=(0.0, 0.5, 0.0), tower="text", pooling="last", layer=7)
    run.add(predictions[3], inner=(0.0, 0.0, 0.0), tower="text", pooling="last", layer=8)
    _, choices, _ = run.summarise(poolings=("cls", "last", "mean"))
    row = choice_of(choices, "inner")
    assert (row["tower"], row["pooling"]) == ("text, vision", "last, cls")
    assert row["layers"] == "vision 3, text 7, vision 3"
    assembled = np.where((FOLD == 1)[:, None], predictions[2], predictions[0])
    assert row["r2"] == pytest.approx(r2_score(POSITIONS, assembled), rel=1e-5)
    deep = choices[choices["choice"] == "depth"]
    assert deep[["tower", "pooling", "layers"]].to_numpy().tolist() == [
        ["vision", "cls", "3, 3, 3"],
        ["text", "last", "8, 8, 8"],
    ]
    with pytest.raises(ValueError, match="vit: has the poolings cls, mean, last, none of max"):
        run.summarise(poolings=("max",))


def test_tables_and_samples_are_in_the_order_of_the_probe_table(run):
    run.rows["1"] = np.arange(40)
    for layer in (0, 1):
        for cluster, rows in run.rows.items():
            for target, truth in (("degrees", POSITIONS), ("sphere", to_sphere(POSITIONS))):
                noise = truth.std() * (0.3 + 0.1 * layer)
                run.add(predict(truth[rows], noise), cluster=cluster, layer=layer, target=target)
    scores, choices, samples = run.summarise(depth=0)
    asked = pd.DataFrame([where for where, *_ in run.entries])[WHERE]
    pd.testing.assert_frame_equal(scores[WHERE], asked)
    assert choices[["cluster", "target", "choice"]].drop_duplicates().shape == (12, 3)
    assert set(CHOICE_WHERE) <= set(choices)
    for frame, drawn in ((scores, samples["scores"]), (choices, samples["choices"])):
        np.testing.assert_allclose(np.quantile(drawn, 0.025, axis=1), frame["low"], rtol=1e-5)
        np.testing.assert_allclose(np.quantile(drawn, 0.975, axis=1), frame["high"], rtol=1e-5)


def test_folds_of_other_images_are_an_error(run):
    run.add(predict(POSITIONS, [20.0, 60.0]))
    run.ids = [f"other {row}" for row in range(N)]
    with pytest.raises(ValueError, match=r"folds\.parquet: .*lacks other 0"):
        run.summarise()
