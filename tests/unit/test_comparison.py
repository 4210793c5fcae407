"""Models compared: seeds joined, paired differences, Holm's correction, and the tables that are written."""

import math

import h5py
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from geoprobe.analysis.bootstrap import interval, resample_members
from geoprobe.analysis.comparison import DIFFERENCES, comparable, compare_families, compare_models, holm, join_members
from geoprobe.analysis.families import CHOICE_WHERE, WHERE, read_summary
from geoprobe.probes.metrics import METRICS

RESAMPLES = 199
PLACE = {"dataset": "earth", "probe": "ridge", "target": "degrees", "cv": "blocked", "control": "none"}
ROW = {**PLACE, "prompt": "none", "cluster": "all", "choice": "inner"}


def compare(members, **changes):
    """Differences of families, given as their resampled R2."""
    members = {name: np.asarray(drawn, dtype=float) for name, drawn in members.items()}
    frame = pd.DataFrame([{**ROW, "family": name, "r2": drawn.mean()} | changes for name, drawn in members.items()])
    return compare_families(frame, lambda row: members[row["family"]])


def test_a_model_does_not_differ_from_itself():
    drawn = np.random.default_rng(0).normal(size=99)
    [row] = compare({"a": drawn, "b": drawn}).to_dict("records")
    assert (row["difference"], row["low"], row["high"]) == (0.0, 0.0, 0.0)
    assert row["p"] == row["p_holm"] == 1.0


def test_a_difference_is_the_later_family_minus_the_earlier_on_the_same_resamples():
    noise = np.random.default_rng(0).normal(0, 5, 199)  # shared by both, so it drops out
    [row] = compare({"early": noise, "late": noise + 0.25}).to_dict("records")
    assert (row["family"], row["baseline"], row["choice"]) == ("late", "early", "inner")
    assert (row["difference"], row["low"], row["high"]) == pytest.approx((0.25, 0.25, 0.25))
    assert row["p"] == pytest.approx(0.0, abs=1e-12)


def test_the_other_order_gives_the_other_sign():
    random = np.random.default_rng(0)
    a, b = random.normal(0.1, 1, 199), random.normal(0, 1, 199)
    [one], [other] = (compare(members).to_dict("records") for members in ({"a": a, "b": b}, {"b": b, "a": a}))
    assert one["difference"] == -other["difference"]
    assert (one["low"], one["high"]) == pytest.approx((-other["high"], -other["low"]))
    assert one["p"] == other["p"]


@pytest.mark.parametrize("z", [0.5, 1.96, 3.0, 8.0])
def test_p_is_that_of_a_normal_distribution(z):
    drawn = np.random.default_rng(0).normal(size=199)
    drawn = (drawn - drawn.mean()) / drawn.std(ddof=1) + z
    for sign in (1, -1):
        [row] = compare({"zero": np.zeros(199), "other": sign * drawn}).to_dict("records")
        assert row["p"] == pytest.approx(math.erfc(z / math.sqrt(2)))


def test_a_model_without_r2_differs_from_none_and_does_not_count():
    drawn = 1.0 + np.random.default_rng(0).normal(0, 0.5, 199)
    members = {"a": np.zeros(199), "gap": np.full(199, np.nan), "b": drawn}
    table = compare(members).set_index(["family", "baseline"])
    assert table.loc[[("gap", "a"), ("b", "gap")], ["difference", "low", "p", "p_holm"]].isna().all(axis=None)
    # one comparison is left, so nothing is corrected
    assert table.loc[("b", "a"), "p_holm"] == table.loc[("b", "a"), "p"] < 0.2


def sized(sizes, **changes):
    """Rows of families with these numbers of images and blocks."""
    rows = [{**ROW, "family": name, "images": n, "blocks": b, "r2": 0.5} for name, (n, b) in sizes.items()]
    return pd.DataFrame(rows).assign(**changes)


@pytest.mark.parametrize(
    ("sizes", "left_out"),
    [
        ({"a": (90, 9), "b": (80, 9), "c": (90, 9)}, ["b"]),
        ({"a": (90, 9), "b": (90, 8), "c": (90, 9)}, ["b"]),
        ({"a": (80, 9), "b": (90, 9), "c": (80, 9), "d": (70, 9)}, ["b", "d"]),
        ({"a": (80, 9), "b": (90, 9)}, ["a"]),
        ({"a": (90, 9), "b": (90, 9)}, []),
    ],
    ids=["images", "blocks", "most", "tie", "none"],
)
def test_models_tested_on_other_images_than_most_are_named_and_lose_their_r2(sizes, left_out, capsys):
    made, said = comparable(sized(sizes)), capsys.readouterr().out
    assert made.loc[made["r2"].isna(), "family"].tolist() == left_out
    assert (made["r2"].dropna() == 0.5).all()
    assert said.count("\n") == bool(left_out)
    assert all((f"{name} (earth, 1 rows)" in said) == (name in left_out) for name in sizes)


def test_what_most_models_were_tested_on_is_asked_in_each_condition_of_those_that_have_an_r2(capsys):
    whole, other = sized({"a": (90, 9), "b": (90, 9)}), {"a": (30, 5), "b": (30, 5)}
    conditions = {"cluster": "3", "cv": "random", "dataset": "moon", "target": "cells", "choice": "depth"}
    parts = [sized(other, **{name: value}) for name, value in conditions.items()]
    empty = sized({"c": (0, 0), "d": (0, 0), "e": (0, 0)}, r2=np.nan)
    prompts = sized({"f": (80, 9)}, prompt="where")  # a prompt makes no condition of its own
    made = comparable(pd.concat([whole, *parts, empty, prompts], ignore_index=True))
    assert made.loc[made["r2"].isna(), "family"].tolist() == ["c", "d", "e", "f"]
    assert capsys.readouterr().out.count("(") == 1


def test_a_model_tested_on_other_images_differs_from_none_and_does_not_count():
    drawn = 1.0 + np.random.default_rng(0).normal(0, 0.5, 199)
    frame = comparable(sized({"a": (90, 9), "other": (80, 9), "b": (90, 9)}, r2=[0.0, 2.0, 1.0]))
    members = {"a": np.zeros(199), "other": drawn + 1, "b": drawn}
    table = compare_families(frame, lambda row: members[row["family"]]).set_index(["family", "baseline"])
    numbers = ["difference", "low", "high", "p", "p_holm"]
    assert table.loc[[("other", "a"), ("b", "other")], numbers].isna().all(axis=None)
    assert table.loc[("b", "a"), "difference"] == 1
    assert table.loc[("b", "a"), "p_holm"] == table.loc[("b", "a"), "p"]


def written_out(p):
    """Holm (1979): the k-th smallest times the number not yet decided, never below an earlier one."""
    adjusted, highest = [None] * len(p), 0.0
    for rank, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        highest = max(highest, min(1.0, (len(p) - rank) * p[index]))
        adjusted[index] = highest
    return adjusted


def test_holms_correction_of_a_worked_example():
    # p of .01, .03 and .04 becomes 3 x .01, 2 x .03 and, as it may not fall, .06
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, np.nan, 0.6, 0.9]) == pytest.approx([1.0, np.nan, 1.0, 1.0], nan_ok=True)
    random = np.random.default_rng(0)
    table = compare({name: random.normal(level, 0.1, 199) for name, level in (("a", 0), ("b", 0.1), ("c", 0.3))})
    assert table["p_holm"].tolist() == pytest.approx(written_out(table["p"].tolist()))
    assert (table["p_holm"] > table["p"]).any()


@pytest.mark.parametrize("seed", range(5))
def test_holms_correction_is_that_of_the_definition(seed):
    p = np.random.default_rng(seed).uniform(0, 0.2, 12).round(2)
    assert holm(p) == pytest.approx(written_out(p.tolist()))


def test_pairs_come_in_the_order_of_the_registry():
    random = np.random.default_rng(0)
    table = compare({name: random.normal(size=199) for name in ("zebra", "ape", "newt")})
    pairs = list(zip(table["family"], table["baseline"], strict=True))
    assert pairs == [("ape", "zebra"), ("newt", "zebra"), ("newt", "ape")]


def test_each_condition_is_corrected_by_itself_and_clusters_and_controls_are_left_out():
    frame = pd.DataFrame(
        [
            {**ROW, "family": name, "r2": value, **changes}
            for changes in ({"cv": "random"}, {"cv": "blocked"}, {"cluster": "1"}, {"control": "permuted"})
            for name, value in (("a", 0.0), ("b", 1.0))
        ]
    )
    noise = np.random.default_rng(0).normal(0, 0.5, 199)
    table = compare_families(frame, lambda row: row["r2"] + row["r2"] * noise)
    assert table["cv"].tolist() == ["random", "blocked"]
    assert table["p_holm"].tolist() == table["p"].tolist()


def test_a_single_family_has_nothing_to_be_compared_with():
    table = compare({"a": np.zeros(9)})
    assert table.empty
    assert list(table) == DIFFERENCES


MODELS = {
    **{
        f"masked-seed{n}": {"family": "masked", "label": "Masked", "supervision": "vision-only", "geolocation": "no"}
        for n in (1, 2, 3)
    },
    "clip": {"family": "clip", "label": "CLIP", "supervision": "vision-language", "geolocation": "no"},
    "llava": {"family": "llava", "label": "LLaVA", "supervision": "multimodal", "geolocation": "no"},
}
LEVEL = {"masked-seed1": 0.1, "masked-seed2": 0.2, "masked-seed3": 0.3, "clip": 0.4, "llava": 0.5}
CONTROLS = {"none": 0.0, "permuted_cells": -0.3}


class Run:
    """Score and choice tables with samples of five models, two of them with something special; then compared."""

    def __init__(self, folder):
        self.folder, self.probes, self.samples = folder, [], {}
        self.random = np.random.default_rng(0)
        for model in MODELS:
            for prompt in ("none", "where") if model == "llava" else ("none",):
                self.add(model, prompt)
        baselines = {"baseline": ["mean", "mean", "cell"], "cluster": "all", "cv": "blocked", "fold": [0, 1, -1]}
        frame = pd.DataFrame({**baselines, "n_test": [40, 60, 0]}).assign(**dict.fromkeys(METRICS, np.nan))
        frame.loc[:1, "r2"] = [-0.1, -0.3]
        frame.to_parquet(folder / "baselines.parquet")

    def add(self, model, prompt):
        towers = ("vision", "text") if model == "llava" else ("vision",)
        conditions = [
            {**PLACE, "prompt": prompt, "cluster": cluster, "control": control}
            for cluster in ("all", "3")
            for control in CONTROLS
        ]
        scores = [
            {**where, "tower": tower, "layer": layer, "pooling": "cls"}
            for where in conditions
            for tower in towers
            for layer in (0, 1)
        ]
        choices = []
        for where in conditions:
            seed = LEVEL[model] * 10
            layers = "0, 1" if seed == 2 else "1, 1"
            choices += [
                {**where, "choice": "inner", "tower": "vision" if seed != 5 else "text, vision", "layers": layers},
                *({**where, "choice": "depth", "tower": tower, "layers": "1, 1"} for tower in towers),
                {**where, "choice": "maximum", "tower": "vision", "layers": "1, 1"},
            ]
        paths = [self.folder / f"{model}-{prompt}.{kind}" for kind in ("scores", "choices", "h5")]
        frames = {"scores": pd.DataFrame(scores), "choices": pd.DataFrame(choices).assign(pooling="cls")}
        with h5py.File(paths[2], "w") as file:
            for (name, frame), path in zip(frames.items(), paths, strict=False):
                frame = frame.assign(images=90, blocks=15, r2_folds=0.5, median_km=100.0, r2_inner=0.4, reason="")
                frame["r2_latitude"] = frame["r2_longitude"] = frame["alpha_at_border"] = 0.0
                frame["r2"] = LEVEL[model] + frame["control"].map(CONTROLS) + 0.01 * np.arange(len(frame))
                frame["r2"] += 1.0 * (frame["tower"] == "text") + 0.1 * (prompt == "where")
                drawn = frame["r2"].to_numpy()[:, None] + self.random.normal(0, 0.05, (len(frame), RESAMPLES))
                file[name] = drawn.astype(np.float32)
                frame["low"], frame["high"] = np.array([interval(row) for row in file[name][:].astype(float)]).T
                if model == "clip" and name == "scores":
                    frame.loc[0, ["r2", "low", "high", "images"]] = [np.nan, np.nan, np.nan, 0]
                    frame.loc[0, "reason"] = "too few images"
                self.samples[model, prompt, name] = (frame, file[name][:].astype(float))
                frame = frame.assign(model=model)
                first = WHERE if name == "scores" else [*CHOICE_WHERE, "tower", "pooling", "layers"]
                frame[[*first, *(column for column in frame if column not in first)]].to_parquet(path)
        self.probes.append(paths)

    def compare(self, choice="inner", prompts=("none",), pairs=()):
        names = ("scores", "families_csv", "choices_csv", "differences", "supervisions", "text_effect", "baselines")
        paths = {name: self.folder / f"{name.removesuffix('_csv')}.csv" for name in names}
        paths |= {name: self.folder / f"{name}.parquet" for name in ("families", "choices")}
        tables = {"earth": self.folder / "baselines.parquet"}
        compare_models(self.probes, tables, MODELS, {"prompts": list(prompts)}, choice, list(pairs), 1, paths)
        return {name.removesuffix("_csv"): read_summary(path) for name, path in paths.items() if path.suffix == ".csv"}


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def test_all_models_layers_are_written_with_their_names_and_reasons(run):
    scores = run.compare()["scores"]
    assert list(scores)[:14] == ["model", "family", "label", "supervision", *WHERE]
    assert scores["model"].drop_duplicates().tolist() == list(MODELS)
    assert len(scores) == sum(len(frame) for (*_, name), (frame, _) in run.samples.items() if name == "scores")
    empty = scores[scores["r2"].isna()]
    assert empty[["model", "reason", "images"]].to_numpy().tolist() == [["clip", "too few images", 0]]


def test_the_files_that_figures_read_hold_the_same_rows_the_shown_ones_in_groups_of_their_own(run):
    tables = run.compare()
    for name in ("families", "choices"):
        both = [
            frame.sort_values(list(frame)) for frame in (tables[name], read_summary(run.folder / f"{name}.parquet"))
        ]
        pd.testing.assert_frame_equal(*(frame.reset_index(drop=True) for frame in both), check_dtype=False)
    file = pq.ParquetFile(run.folder / "families.parquet")
    for number in range(file.num_row_groups):
        group = file.read_row_group(number).to_pandas()
        assert len(group[["family", "dataset", "prompt", "probe"]].drop_duplicates()) == 1
        true = group["control"] == "none"
        alike = group.assign(cluster=group["cluster"] == "all")[["cluster", "target", "cv"]].drop_duplicates()
        assert not true.any() or (true.all() and len(alike) == 1)
    assert file.num_row_groups >= 2 * len(tables["families"][["family", "prompt"]].drop_duplicates())


def test_a_family_is_the_mean_of_its_seeds_with_an_interval_over_blocks_and_seeds(run):
    families = run.compare()["families"]
    masked = families[families["family"] == "masked"].reset_index(drop=True)
    members = [run.samples[f"masked-seed{n}", "none", "scores"] for n in (1, 2, 3)]
    assert (masked["seeds"] == 3).all()
    np.testing.assert_allclose(masked["r2"], np.mean([frame["r2"] for frame, _ in members], axis=0))
    for index, row in masked.iterrows():
        expected = interval(resample_members([drawn[index] for _, drawn in members], 1))
        assert (row["low"], row["high"]) == pytest.approx(expected)
        # the seeds differ, so it is wider than that of these very seeds
        low, high = interval(np.mean([drawn[index] for _, drawn in members], axis=0))
        assert row["high"] - row["low"] > 1.5 * (high - low)


def test_a_row_without_r2_in_any_seed_keeps_the_first_reason_and_one_with_r2_has_none(run):
    frames = []
    for number, reason in enumerate(["", "too few", "other"]):
        frame = run.samples[f"masked-seed{number + 1}", "none", "scores"][0].copy()
        frame.loc[0, ["r2", "low", "high"]] = np.nan
        frame.loc[1, "r2"] = np.nan if number else 0.5
        frames.append(frame.assign(reason=reason))
    joined = join_members(frames, [probe[2] for probe in run.probes[:3]], "scores", WHERE, 1)
    assert joined["reason"].tolist() == ["too few"] + [""] * 7
    assert joined["r2"].isna().tolist() == [True] + [False] * 7


def test_a_family_of_one_seed_keeps_its_numbers_and_its_reason(run):
    families = run.compare()["families"]
    clip, (frame, _) = families[families["family"] == "clip"], run.samples["clip", "none", "scores"]
    for name in ("r2", "low", "high", "images", "median_km"):
        np.testing.assert_allclose(clip[name], frame[name])
    assert clip["reason"].tolist()[0] == "too few images"
    assert (clip["seeds"] == 1).all()


def test_choices_are_joined_with_the_words_of_each_seed(run):
    choices = run.compare()["choices"]
    masked = choices[(choices["family"] == "masked") & (choices["cluster"] == "all") & (choices["control"] == "none")]
    words = masked.set_index("choice")[["tower", "layers"]].to_numpy().tolist()
    assert words == [["vision", "1, 1; 0, 1; 1, 1"], ["vision", "1, 1"], ["vision", "1, 1"]]
    assert list(choices)[:11] == ["family", "label", "supervision", *CHOICE_WHERE]
    llava = choices[(choices["family"] == "llava") & (choices["choice"] == "depth")]
    assert llava["tower"].value_counts().to_dict() == {"vision": 8, "text": 8}


def test_selectivity_is_what_is_left_over_the_control_of_cells(run):
    choices = run.compare()["choices"]
    keys = [*(name for name in CHOICE_WHERE if name != "control"), "family", "tower"]
    true, control = (
        choices[choices["control"] == name].set_index(keys)[["r2", "selectivity"]] for name in CONTROLS
    )  # fmt: skip
    assert control["selectivity"].isna().all()
    np.testing.assert_allclose(true["selectivity"], true["r2"] - control["r2"].reindex(true.index))


def test_without_that_control_there_is_no_selectivity(run):
    for (_, path, _), (key, (frame, _)) in zip(
        run.probes, [item for item in run.samples.items() if item[0][2] == "choices"], strict=True
    ):
        names = {"permuted_cells": "permuted"}
        frame.assign(model=key[0], control=frame["control"].replace(names)).to_parquet(path)
    assert run.compare()["choices"]["selectivity"].isna().all()


def test_further_metrics_of_choices_are_means_over_seeds(run):
    values = {}
    drawn = [item for item in run.samples.items() if item[0][2] == "choices"]
    for number, ((_, path, _), (key, (frame, _))) in enumerate(zip(run.probes, drawn, strict=True)):
        values.setdefault(MODELS[key[0]]["family"], []).append(float(number))
        frame.assign(model=key[0], geoscore=float(number)).to_parquet(path)
    choices = run.compare()["choices"].groupby("family")["geoscore"]
    assert any(len(own) > 1 for own in values.values())
    assert choices.mean().to_dict() == pytest.approx({family: np.mean(own) for family, own in values.items()})


def rows_of(run, model, prompt, **conditions):
    """Index of a row of choices among its model's samples, and its resamples."""
    frame, drawn = run.samples[model, prompt, "choices"]
    for name, value in {"cluster": "all", "control": "none", **conditions}.items():
        frame = frame[frame[name] == value]
    [index] = frame.index
    return frame.loc[index, "r2"], drawn[index]


@pytest.mark.parametrize("prompt", ["none", "where"])
def test_differences_are_of_the_compared_choice_on_the_samples_of_its_rows(run, prompt):
    table = run.compare("inner", (prompt, "none"))["differences"]
    assert table[["family", "baseline"]].to_numpy().tolist() == [
        ["clip", "masked"], ["llava", "masked"], ["llava", "clip"]
    ]  # fmt: skip
    (high, after), (low, before) = (
        rows_of(run, "llava", prompt, choice="inner"),
        rows_of(run, "clip", "none", choice="inner"),
    )
    row = table.iloc[2]
    assert row["difference"] == pytest.approx(high - low)
    assert (row["low"], row["high"]) == pytest.approx(interval(after - before))
    seeds = [rows_of(run, f"masked-seed{n}", "none", choice="inner") for n in (1, 2, 3)]
    joined = resample_members([drawn for _, drawn in seeds], 1)
    assert table["low"].iloc[0] == pytest.approx(interval(before - joined)[0])
    assert table["difference"].iloc[0] == pytest.approx(low - np.mean([r2 for r2, _ in seeds]))


def test_by_depth_the_towers_of_a_model_are_compared_with_other_models_and_with_each_other(run):
    table = run.compare("depth")["differences"].set_index(["family", "baseline"])
    assert len(table) == 6
    vision, text = (rows_of(run, "llava", "none", choice="depth", tower=tower) for tower in ("vision", "text"))
    assert table.loc[("llava/text", "llava/vision"), "difference"] == pytest.approx(text[0] - vision[0])
    assert table.loc[("llava/text", "llava/vision"), "low"] == pytest.approx(interval(text[1] - vision[1])[0])


def test_the_effect_of_text_is_that_of_the_pairs_in_every_cluster(run):
    pairs = [{"baseline": "masked", "text": text, "matched": "size"} for text in ("clip", "llava", "not run")]
    tables = run.compare(pairs=pairs)
    effect, differences = tables["text_effect"], tables["differences"].set_index(["family", "baseline"])
    assert effect["cluster"].unique().tolist() == ["all", "3"]
    pooled = effect[(effect["cluster"] == "all") & (effect["matched"] == "all")].iloc[0]
    expected = [differences.loc[(text, "masked"), "difference"] for text in ("clip", "llava")]
    assert pooled["effect"] == pytest.approx(np.mean(expected))
    assert (pooled["pairs"], pooled["positive"]) == (2, 2)
    single = effect[(effect["cluster"] == "all") & (effect["text"] == "clip")].iloc[0]
    limits = differences.loc[("clip", "masked"), ["low", "high"]].tolist()
    assert single[["low", "high"]].tolist() == pytest.approx(limits)


def test_a_model_tested_on_other_images_is_left_out_of_all_comparisons_but_keeps_its_choices(run, capsys):
    [path] = [choices for _, choices, _ in run.probes if choices.name.startswith("clip")]
    pd.read_parquet(path).assign(images=70).to_parquet(path)
    run.compare(pairs=[{"baseline": "masked", "text": text, "matched": "size"} for text in ("clip", "llava")])
    tables = {name: read_summary(run.folder / f"{name}.csv") for name in ("choices", "differences", "text_effect")}
    kinds = read_summary(run.folder / "supervisions.csv")
    assert tables["choices"]["r2"].notna().all()
    differences = tables["differences"].set_index(["family", "baseline"])[["difference", "low", "high", "p", "p_holm"]]
    assert differences.loc[[("clip", "masked"), ("llava", "clip")]].isna().all(axis=None)
    assert differences.loc[("llava", "masked")].notna().all()
    assert set(tables["text_effect"]["text"].dropna()) == {"llava"}
    assert set(kinds["supervision"]) | set(kinds["baseline"]) == {"vision-only", "multimodal"}
    assert "clip (earth, 2 rows)" in capsys.readouterr().out


def test_baselines_are_the_mean_of_their_folds(run):
    table = run.compare()["baselines"].set_index("baseline")
    assert table.loc["mean", ["folds", "n_test", "r2_folds"]].tolist() == [2, 100, -0.2]
    assert table.loc["cell", "folds"] == 0
    assert np.isnan(table.loc["cell", "r2_folds"])
    by_fold = {"r2", "r2_latitude", "r2_longitude", "r2_haversine"}
    assert set(METRICS) - by_fold | {f"{name}_folds" for name in by_fold} < set(table)
    assert not by_fold & set(table)
