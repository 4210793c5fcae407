"""Differences between kinds of supervision: means over models, both intervals, and who does not count."""

import numpy as np
import pandas as pd
import pytest

from geoprobe.analysis.bootstrap import interval
from geoprobe.analysis.supervision import COLUMNS, compare_supervisions

RESAMPLES = 4000
MODELS = {
    "mae": ("vision-only", 0.1),
    "dino": ("vision-only", 0.3),
    "clip": ("vision-language", 0.5),
    "siglip": ("vision-language", 0.4),
    "street": ("vision-language", 0.9),
    "random": ("baseline", -0.5),
    "clip-untrained": ("vision-language", -0.9),
    "llava": ("multimodal", 0.45),
}


def rows(models=MODELS, clusters=("all",)):
    condition = {"dataset": "d", "probe": "ridge", "target": "degrees", "cv": "blocked", "choice": "inner"}
    return pd.DataFrame(
        {**condition, "cluster": cluster, "family": name, "origin": name, "supervision": kind, "r2": r2}
        for cluster in clusters
        for name, (kind, r2) in models.items()
    )


def samples_of(sampled=0.02, shared=0.0):
    """Resamples about each model's R2; a part of the deviations is common to all, as images are."""
    common = np.random.default_rng(99).normal(0, 1, RESAMPLES)

    def of(row):
        own = np.random.default_rng(sorted(MODELS).index(row["origin"])).normal(0, 1, RESAMPLES)
        return row["r2"] + sampled * (np.sqrt(shared) * common + np.sqrt(1 - shared) * own)

    return of


def pair(frame, kind, baseline):
    return frame[(frame["supervision"] == kind) & (frame["baseline"] == baseline)].iloc[0]


def test_means_of_all_models_of_a_kind_are_compared_and_others_do_not_count():
    frame = compare_supervisions(rows(), samples_of(), {"street"}, seed=1)
    assert list(frame) == COLUMNS
    assert len(frame) == 3  # of three kinds; the baseline is none
    row = pair(frame, "vision-language", "vision-only")
    assert row["difference"] == pytest.approx(0.45 - 0.2)
    assert (row["models"], row["baseline_models"]) == (2, 2)
    assert pair(frame, "multimodal", "vision-only")["difference"] == pytest.approx(0.25)


def test_the_fixed_interval_is_over_units_and_the_other_over_models_as_well():
    row = pair(compare_supervisions(rows(), samples_of(), {"street"}, seed=1), "vision-language", "vision-only")
    of = samples_of()
    drawn = {name: of({"origin": name, "r2": r2}) for name, (_, r2) in MODELS.items()}
    fixed = (drawn["clip"] + drawn["siglip"]) / 2 - (drawn["mae"] + drawn["dino"]) / 2
    assert (row["low_fixed"], row["high_fixed"]) == pytest.approx(interval(fixed))
    # two models of each kind: their means lie at 0.1, 0.2 or 0.3 and at 0.4, 0.45 or 0.5
    assert row["low"] == pytest.approx(0.4 - 0.3, abs=0.05)
    assert row["high"] == pytest.approx(0.5 - 0.1, abs=0.05)


def test_what_all_models_share_does_not_widen_a_difference():
    apart = pair(compare_supervisions(rows(), samples_of(), {"street"}, 1), "vision-language", "vision-only")
    together = pair(
        compare_supervisions(rows(), samples_of(shared=0.99), {"street"}, 1), "vision-language", "vision-only"
    )
    width = together["high_fixed"] - together["low_fixed"]
    assert width == pytest.approx(0.1 * (apart["high_fixed"] - apart["low_fixed"]), rel=0.1)


def test_each_cluster_has_its_rows_and_a_model_without_a_number_is_left_out_there():
    frame = rows(clusters=("all", "3"))
    frame.loc[(frame["cluster"] == "3") & (frame["family"] == "mae"), "r2"] = np.nan
    found = compare_supervisions(frame, samples_of(), {"street"}, seed=1)
    assert sorted(found["cluster"].unique()) == ["3", "all"]
    assert pair(found[found["cluster"] == "3"], "vision-language", "vision-only")["baseline_models"] == 1


def test_one_kind_alone_has_nothing_to_differ_from():
    frame = compare_supervisions(rows({"mae": MODELS["mae"], "random": MODELS["random"]}), samples_of(), set(), seed=1)
    assert frame.empty
    assert list(frame) == COLUMNS
