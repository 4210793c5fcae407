"""Effects of prompts: planted curves and differences, seeds of random tokens joined, gaps, and empty tables."""

import h5py
import numpy as np
import pandas as pd
import pytest

from geoprobe.analysis.bootstrap import interval, resample_members
from geoprobe.analysis.comparison import compare_families, holm
from geoprobe.analysis.families import read_summary
from geoprobe.analysis.prompts import CURVES, EFFECTS, compare_prompts, peak_of, sort_prompts

RESAMPLES, LAYERS = 199, 5
PROMPTS = {
    "coordinates": {"text": "Guess the latitude and longitude."},
    "where": {"text": "Where is this photo?"},
    **{f"random-{seed}": {"random_tokens": 20, "seed": seed} for seed in (1, 2, 3)},
    "neutral": {"text": "Please look.", "as_long_as": "coordinates"},
}
MODELS = {
    name: {"family": name, "label": name.title(), "supervision": supervision}
    for name, supervision in (("llava", "multimodal"), ("gemma", "multimodal"), ("clip", "vision-language"))
}
# R2 of the text tower's layers; the last is below the peak except where the place is asked for
PEAKED = np.array([0.1, 0.3, 0.5, 0.4, 0.2])
RISING = np.array([0.1, 0.3, 0.5, 0.6, 0.7])
TEXT = {"none": PEAKED, "coordinates": RISING, "where": PEAKED, "neutral": PEAKED - 0.05}
TEXT |= {f"random-{seed}": PEAKED - 0.1 * seed for seed in (1, 2, 3)}
VISION = np.array([0.0, 0.1, 0.2, 0.3, 0.4])
SHARED = np.random.default_rng(0).normal(0, 0.03, RESAMPLES)  # what the draw of units does to all prompts alike


class Run:
    """Score tables and samples of models and prompts, then compared."""

    def __init__(self, folder):
        self.folder, self.probes = folder, []

    def add(self, model, prompt, text=None, noise=0.0, images=90, resamples=RESAMPLES, poolings=("mean", "last")):
        folder = self.folder / model / prompt
        folder.mkdir(parents=True)
        rows, drawn = [], []
        random = np.random.default_rng(len(self.probes))
        curves = {"vision": VISION, "text": TEXT[prompt] if text is None else text}
        # deepest first, so that rows are not in the order of the layers
        for layer in range(LAYERS)[::-1]:
            for tower, curve in curves.items():
                for pooling in poolings:
                    for cluster in ("all", "3"):
                        for target in ("degrees", "sphere"):
                            for cv in ("blocked", "random"):
                                for control in ("none", "permuted"):
                                    what = (tower, pooling, cluster, target, cv, control)
                                    shown = what == (tower, "last", "all", "degrees", "blocked", "none")
                                    # what is not shown has other numbers
                                    r2 = curve[layer] if shown else -0.3
                                    place = ("earth", prompt, "ridge", cluster, tower, layer, pooling, target, cv)
                                    rows.append((model, *place, control, images, 12, r2))
                                    own = random.normal(0, noise, resamples) if noise else 0.0
                                    drawn.append(r2 + SHARED[:resamples] + own)
        names = ["model", "dataset", "prompt", "probe", "cluster", "tower", "layer", "pooling", "target", "cv"]
        pd.DataFrame(rows, columns=[*names, "control", "images", "blocks", "r2"]).to_parquet(folder / "scores.parquet")
        with h5py.File(folder / "samples.h5", "w") as file:
            file["scores"] = np.array(drawn, dtype=np.float32)
        self.probes.append((folder / "scores.parquet", folder / "samples.h5"))
        return self

    def compare(self, each_cluster=False, poolings=("cls", "last", "mean"), prompts=PROMPTS):
        paths = {name: self.folder / f"prompt_{name}.csv" for name in ("curves", "effects")}
        compare_prompts(self.probes, MODELS, prompts, poolings, "degrees", each_cluster, 1, paths)
        return tuple(read_summary(path) for path in paths.values())


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Two multimodal models, one of them without a random seed and without the neutral prompt, and another model."""
    run = Run(tmp_path_factory.mktemp("run"))
    run.add("clip", "none")
    for prompt in ("none", *PROMPTS):
        run.add("llava", prompt)
    for prompt in ("none", "coordinates", "random-1", "random-3"):
        run.add("gemma", prompt)
    return run.compare()


def pick(frame, **conditions):
    conditions = {"model": "llava", "tower": "text", "cv": "blocked"} | conditions
    for name, value in conditions.items():
        frame = frame[frame[name] == value]
    return frame


def one(frame, **conditions):
    [row] = pick(frame, **conditions).to_dict("records")
    return row


def test_only_multimodal_models_are_compared_with_all_images_the_target_and_the_first_pooling(compared):
    for frame, columns in zip(compared, (CURVES, EFFECTS), strict=True):
        assert list(frame) == columns
        assert list(frame["model"].unique()) == ["llava", "gemma"]
        assert set(frame["tower"]) == {"vision", "text"}
        assert set(frame["cv"]) == {"blocked", "random"}
        assert (frame[["cluster", "target", "pooling"]] == ["all", "degrees", "last"]).all(axis=None)
    assert set(compared[0]["label"]) == {"Llava", "Gemma"}


def test_each_cluster_is_compared_where_it_is_asked_for(run):
    curves, effects = run.add("llava", "none").add("llava", "where").compare(each_cluster=True)
    for frame in (curves, effects):
        assert frame["cluster"].value_counts()["3"] == frame["cluster"].value_counts()["all"]


def test_curves_are_the_scores_by_layer_with_their_intervals(compared):
    rows = pick(compared[0], prompt="coordinates")
    assert rows["layer"].tolist() == [0, 1, 2, 3, 4]
    assert rows["depth"].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert rows["r2"].tolist() == RISING.tolist()
    low, high = interval(SHARED)
    assert rows["low"].tolist() == pytest.approx(RISING + low, abs=1e-6)
    assert rows["high"].tolist() == pytest.approx(RISING + high, abs=1e-6)
    assert (rows[["kind", "seeds", "images", "blocks"]] == ["text", 1, 90, 12]).all(axis=None)


def test_random_seeds_are_joined_with_an_interval_over_units_and_seeds(compared):
    curves, _ = compared
    assert list(pick(curves)["prompt"].unique()) == ["none", "coordinates", "where", "random", "neutral"]
    rows = pick(curves, prompt="random")
    assert rows["r2"].tolist() == pytest.approx(PEAKED - 0.2)
    assert (rows[["kind", "seeds"]] == ["random", 3]).all(axis=None)
    members = np.array([PEAKED[2] - 0.1 * seed + SHARED for seed in (1, 2, 3)])
    assert rows.iloc[2][["low", "high"]].tolist() == pytest.approx(interval(resample_members(members, 1)), abs=1e-6)
    # a seed that one model lacks is left out there alone
    rows = pick(curves, prompt="random", model="gemma")
    assert rows["r2"].tolist() == pytest.approx(PEAKED - 0.2)
    assert (rows["seeds"] == 2).all()
    assert "neutral" not in set(pick(curves, model="gemma")["prompt"])


def test_the_planted_peak_is_found(compared):
    _, effects = compared
    where, asked = ({row["measure"]: row for row in pick(effects, prompt=prompt).to_dict("records")
                     if row["measure"].startswith(("peak", "last", "drop"))}
                    for prompt in ("where", "coordinates"))  # fmt: skip
    assert [where[name]["value"] for name in ("peak_layer", "peak_depth", "peak_r2", "last_r2")] == [2, 0.5, 0.5, 0.2]
    assert where["drop"]["value"] == pytest.approx(0.3)
    assert asked["peak_layer"]["value"] == 4
    assert asked["peak_depth"]["value"] == 1.0
    assert asked["drop"]["value"] == 0.0
    # what moves all layers alike moves neither the peak nor the drop
    for row, name in ((where, "peak_layer"), (where, "drop"), (asked, "drop")):
        assert (row[name]["low"], row[name]["high"]) == pytest.approx((row[name]["value"],) * 2, abs=1e-6)
    assert where["last_r2"]["high"] - where["last_r2"]["low"] > 0.05


def test_the_interval_of_the_peak_is_of_a_choice_in_each_resample():
    curves = np.zeros((3, 100))
    curves[0, :30], curves[2, 30:95], curves[:, 95:] = 1.0, 1.0, np.nan
    assert np.bincount(peak_of(curves) + 1).tolist() == [5, 30, 0, 65]


def test_the_peak_wanders_where_layers_are_alike(run):
    flat = np.array([0.1, 0.3, 0.3001, 0.3, 0.1])
    _, effects = run.add("llava", "none", flat, 0.02).add("llava", "where", PEAKED, 0.001).compare()
    wide, narrow = (one(effects, prompt=prompt, measure="peak_depth") for prompt in ("none", "where"))
    assert (wide["low"], wide["high"]) == (0.25, 0.75)
    assert (narrow["low"], narrow["high"]) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("measure", "baseline", "value"),
    [
        ("change_last", "none", 0.5),
        ("change_last", "neutral", 0.55),
        ("change_last", "random", 0.7),
        ("change_peak", "none", 0.2),
        ("change_peak", "neutral", 0.25),
        ("change_peak", "random", 0.4),
    ],
)
def test_a_change_is_against_each_prompt_that_asks_nothing_on_the_same_resamples(compared, measure, baseline, value):
    row = one(compared[1], prompt="coordinates", measure=measure, baseline=baseline)
    assert row["value"] == pytest.approx(value)
    # the units' share drops out; seeds stay
    assert row["low"] <= value + 1e-6
    assert row["high"] >= value - 1e-6
    assert (row["high"] - row["low"] > 0.1) == (baseline == "random")
    assert row["p"] < 1e-6


def test_two_prompts_that_do_the_same_differ_by_zero_with_zero_width(compared):
    same = pick(compared[1], prompt="where", baseline="none")
    assert same["measure"].tolist() == ["change_last", "change_peak"]
    assert (same[["value", "low", "high"]] == 0).all(axis=None)
    assert (same[["p", "p_holm"]] == 1).all(axis=None)
    # nor does a prompt change what the vision tower sees
    seen = pick(compared[1], tower="vision")
    seen = seen[seen["measure"].str.startswith("change")]
    assert len(seen) == 18
    # though a mean over seeds is rounded
    assert (seen[["value", "low", "high"]] == 0).all(axis=None)
    assert (seen[["p", "p_holm"]] == 1).all(axis=None)


def test_prompts_that_ask_nothing_are_compared_once(compared):
    changes = pick(compared[1], measure="change_last")
    pairs = list(zip(changes["prompt"], changes["baseline"], strict=True))
    assert len(pairs) == len(set(pairs)) == 9
    assert {pair for pair in pairs if pair[0] in ("none", "neutral", "random")} == {
        ("neutral", "none"),
        ("random", "none"),
        ("random", "neutral"),
    }
    # what one model lacks is not compared there
    changes = pick(compared[1], measure="change_last", model="gemma")
    pairs = set(zip(changes["prompt"], changes["baseline"], strict=True))
    assert pairs == {("coordinates", "none"), ("random", "none"), ("coordinates", "random")}


def test_p_values_are_those_of_compared_families_and_corrected_within_a_model_and_measure(run):
    for prompt, r2 in (("none", 0.0), ("coordinates", 0.02), ("where", 0.035), ("neutral", -0.01)):
        run.add("llava", prompt, np.full(LAYERS, r2), noise=0.02)
        run.add("gemma", prompt, np.full(LAYERS, r2 / 2), noise=0.02)
    _, effects = run.compare()
    for model in ("llava", "gemma"):
        for measure in ("change_last", "change_peak"):
            rows = pick(effects, model=model, measure=measure)
            assert len(rows) == 5
            assert rows["p_holm"].tolist() == pytest.approx(holm(rows["p"]))
    # the same numbers through the comparison of models
    drawn, frame = {}, []
    for scores, samples in run.probes:
        table = pd.read_parquet(scores)
        wanted = {"model": "llava", "tower": "text", "layer": 4, "pooling": "last", "cluster": "all"}
        wanted |= {"target": "degrees", "cv": "blocked", "control": "none"}
        rows = table[(table[list(wanted)] == list(wanted.values())).all(axis=1)]
        for index, row in rows.iterrows():
            frame.append({**row, "family": row["prompt"], "choice": "depth"})
            with h5py.File(samples) as file:
                drawn[row["prompt"]] = file["scores"][index].astype(float)
    oracle = compare_families(pd.DataFrame(frame), lambda row: drawn[row["family"]])
    oracle = oracle.set_index(["family", "baseline"])
    for prompt in ("coordinates", "where"):
        row = one(effects, prompt=prompt, baseline="none", measure="change_last")
        expected = oracle.loc[prompt, "none"]
        assert [row[name] for name in ("value", "low", "high", "p")] == pytest.approx(
            expected[["difference", "low", "high", "p"]].tolist()
        )


def test_prompts_without_r2_have_no_numbers(run):
    nothing = np.full(LAYERS, np.nan)
    curves, effects = run.add("llava", "none", nothing).add("llava", "where").compare()
    assert pick(curves, prompt="none")[["r2", "low", "high"]].isna().all(axis=None)
    rows = pick(effects)
    gone = rows[(rows["prompt"] == "none") | (rows["baseline"] == "none")]
    assert len(gone) == 7
    assert gone[["value", "low", "high", "p", "p_holm"]].isna().all(axis=None)
    assert one(effects, prompt="where", measure="peak_r2")["value"] == 0.5


@pytest.mark.parametrize(
    "probes",
    [[], [("clip", "none"), ("clip", "where")], [("llava", "none")], [("llava", "random-1"), ("llava", "random-2")]],
    ids=["no model", "no multimodal model", "one prompt", "seeds of one kind"],
)
def test_with_nothing_to_compare_there_are_columns_alone(run, probes):
    for probe in probes:
        run.add(*probe)
    curves, effects = run.compare()
    assert curves.empty
    assert effects.empty
    assert (list(curves), list(effects)) == (CURVES, EFFECTS)


@pytest.mark.parametrize("changes", [{"images": 89}, {"resamples": 99}], ids=["images", "resamples"])
def test_prompts_that_were_not_tested_alike_are_an_error(run, changes):
    run.add("llava", "none").add("llava", "where", **changes)
    with pytest.raises(ValueError, match=r"llava on earth, .*: the prompts none and where differ in their layers"):
        run.compare()


def test_a_prompt_that_the_configuration_lacks_is_an_error(run):
    run.add("llava", "none").add("llava", "where")
    with pytest.raises(ValueError, match='prompt "where" was read and is not in prompts; there are: coordinates'):
        run.compare(prompts={"coordinates": {"text": "x"}})


def test_random_tokens_of_other_numbers_are_other_families():
    prompts = PROMPTS | {"long": {"random_tokens": 40, "seed": 1}}
    families = sort_prompts(prompts, ["none", "random-2", "long", "random-1"])
    assert families == {
        "none": ("none", ["none"]),
        "random (20 tokens)": ("random", ["random-2", "random-1"]),
        "random (40 tokens)": ("random", ["long"]),
    }
    # a text of that name keeps it
    named = {"random": {"text": "Random?"}, "noise": {"random_tokens": 3, "seed": 1}}
    assert list(sort_prompts(named, ["random", "noise"])) == ["random", "random (3 tokens)"]
