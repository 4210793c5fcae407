"""The effect of text over matched pairs: pooling, the two levels of the bootstrap, and what varies between pairs."""

import numpy as np
import pandas as pd
import pytest

from geoprobe.analysis.bootstrap import interval
from geoprobe.analysis.pairs import COLUMNS, compare_pairs, pool_pairs, spread_between

RESAMPLES = 2000
SAMPLED = 0.05  # standard error of a pair's difference by the images


def pairs_of(effects, seed=0, shared=0.0, sampled=SAMPLED, resamples=RESAMPLES):
    """Observed differences and their resamples; a share of the sampling variance is common to all pairs."""
    random = np.random.default_rng(seed)

    def errors(size):
        own, common = random.normal(0, 1, (len(effects), size)), random.normal(0, 1, (1, size))
        return sampled * (np.sqrt(1 - shared) * own + np.sqrt(shared) * common)

    observed = np.asarray(effects) + errors(1)[:, 0]
    return observed, observed[:, None] + errors(resamples)


def dersimonian_laird(effects, variances):
    """The estimate as in the paper, for independent studies: sqrt of (Q - (k - 1)) / (sum w - sum w^2 / sum w)."""
    w = 1 / variances
    q = (w * (effects - (w * effects).sum() / w.sum()) ** 2).sum()
    return np.sqrt(max(0.0, (q - (len(effects) - 1)) / (w.sum() - (w**2).sum() / w.sum())))


def test_with_one_pair_both_intervals_are_that_over_units():
    effects, samples = pairs_of([0.1])
    pooled = pool_pairs(effects, samples, seed=1)
    assert (pooled["low"], pooled["high"]) == interval(samples[0])
    assert (pooled["low_fixed"], pooled["high_fixed"]) == interval(samples[0])
    assert (pooled["pairs"], pooled["positive"], pooled["effect"]) == (1, 1, effects[0])
    assert np.isnan(pooled["between"])


def test_of_several_pairs_the_mean_is_reported_and_the_positive_ones_are_counted():
    effects, samples = pairs_of([0.3, -0.2, 0.1], sampled=0.001)
    pooled = pool_pairs(effects, samples, seed=1)
    assert pooled["effect"] == pytest.approx(effects.mean())
    assert (pooled["pairs"], pooled["positive"]) == (3, 2)


def test_the_fixed_interval_is_over_units_alone_and_the_other_over_pairs_as_well():
    values = np.linspace(-0.5, 0.7, 24)
    effects, samples = pairs_of(values, sampled=0.02, resamples=20000)
    pooled = pool_pairs(effects, samples, seed=1)
    normal = 2 * 1.96
    assert pooled["high_fixed"] - pooled["low_fixed"] == pytest.approx(normal * 0.02 / np.sqrt(24), rel=0.05)
    # drawn with replacement the mean of pairs has the variance of pairs over their number
    assert pooled["high"] - pooled["low"] == pytest.approx(normal * effects.std() / np.sqrt(24), rel=0.05)


def test_the_interval_over_pairs_holds_the_mean_of_all_such_pairs_and_the_fixed_one_does_not():
    held = fixed = 0
    for seed in range(200):
        true = np.random.default_rng([seed, 3]).normal(0.1, 0.1, 15)
        pooled = pool_pairs(*pairs_of(true, seed, shared=0.5, resamples=300), seed=seed)
        held += pooled["low"] <= 0.1 <= pooled["high"]
        fixed += pooled["low_fixed"] <= 0.1 <= pooled["high_fixed"]
    assert 0.9 <= held / 200 <= 0.99
    assert fixed / 200 < 0.92


def test_pairs_that_err_together_do_not_average_their_error_out():
    alone, together = (
        pool_pairs(*pairs_of([0.1] * 16, shared=shared), seed=1) for shared in (0.0, 1.0)
    )  # fmt: skip
    width = [pooled["high_fixed"] - pooled["low_fixed"] for pooled in (alone, together)]
    assert width[1] == pytest.approx(4 * width[0], rel=0.1)


def test_equal_differences_do_not_vary_between_pairs():
    samples = np.random.default_rng(0).normal(0.2, SAMPLED, (6, RESAMPLES))
    assert spread_between(np.full(6, 0.2), samples) == 0.0
    assert spread_between(np.full(6, 0.25), np.full((6, RESAMPLES), 0.25)) == 0.0


@pytest.mark.parametrize("seed", range(3))
def test_for_independent_pairs_it_is_dersimonian_and_lairds(seed):
    random = np.random.default_rng(seed)
    scale = random.uniform(0.02, 0.2, (5, 1))
    noise = random.normal(size=(RESAMPLES, 5))
    # resamples without any correlation
    noise, _ = np.linalg.qr(noise - noise.mean(axis=0))
    samples = scale * (noise - noise.mean(axis=0)).T * np.sqrt(RESAMPLES - 1)
    effects = random.normal(0, 0.2, 5)
    expected = dersimonian_laird(effects, scale[:, 0] ** 2)
    assert expected > 0
    assert spread_between(effects, samples) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("shared", [0.0, 0.9], ids=["apart", "together"])
@pytest.mark.parametrize("planted", [0.0, 0.05, 0.2])
def test_a_planted_spread_is_found(planted, shared):
    squares = []
    for seed in range(60):
        true = np.random.default_rng([seed, 9]).normal(0.1, planted, 12)
        squares.append(spread_between(*pairs_of(true, seed, shared, resamples=200)) ** 2)
    # cut off at zero, where a true zero gives a little
    assert np.sqrt(np.mean(squares)) == pytest.approx(planted, abs=0.2 * planted + 0.6 * SAMPLED * (planted == 0))


def test_resamples_without_a_number_are_left_out():
    effects, samples = pairs_of([0.1, 0.4, 0.2])
    spoiled = np.concatenate([samples, np.full((3, 5), np.nan)], axis=1)
    assert spread_between(effects, spoiled) == spread_between(effects, samples)


BASE = {"dataset": "earth", "prompt": "none", "probe": "ridge", "target": "degrees", "cv": "blocked", "control": "none"}
R2 = {"vit": 0.1, "clip": 0.3, "dino": 0.4, "siglip": 0.35}
PAIRS = [
    {"baseline": "vit", "text": "clip", "matched": "size"},
    {"baseline": "dino", "text": "siglip", "matched": "data"},
    {"baseline": "vit", "text": "siglip", "matched": "data"},
    {"baseline": "vit", "text": "not run", "matched": "architecture"},
]


def chosen(r2=R2, clusters=("all",), choice="inner", **changes):
    return pd.DataFrame(
        [
            {
                **BASE,
                "family": name,
                "origin": name,
                "tower": "vision",
                "choice": choice,
                "cluster": cluster,
                "r2": value,
            }
            | changes
            for cluster in clusters
            for name, value in r2.items()
        ]
    )


def samples_of(row):
    seed = sum(map(ord, row["family"] + row["cluster"] + row["tower"]))
    return row["r2"] + np.random.default_rng(seed).normal(0, SAMPLED, 300)


def compare(frame, pairs=PAIRS):
    return compare_pairs(frame, samples_of, pairs, seed=1)


def test_pairs_are_pooled_by_what_they_are_matched_in_and_together():
    table = compare(chosen())
    assert list(table) == COLUMNS
    pooled = table[table["text"] == ""].set_index("matched")
    assert pooled["pairs"].to_dict() == {"size": 1, "data": 2, "all": 3}
    assert pooled["positive"].to_dict() == {"size": 1, "data": 1, "all": 2}
    assert pooled["effect"].to_dict() == pytest.approx({"size": 0.2, "data": 0.1, "all": 0.4 / 3})
    single = table[table["text"] != ""]
    assert single[["matched", "baseline", "text"]].to_numpy().tolist() == [
        [pair["matched"], pair["baseline"], pair["text"]] for pair in PAIRS[:3]
    ]
    assert single["effect"].tolist() == pytest.approx([0.2, -0.05, 0.25])


def test_a_pairs_interval_is_that_of_its_paired_resamples():
    frame = chosen()
    row = compare(frame).query("text == 'siglip' and baseline == 'dino'").iloc[0]
    rows = {row["family"]: row for row in frame.to_dict("records")}
    difference = samples_of(rows["siglip"]) - samples_of(rows["dino"])
    assert (row["low"], row["high"]) == (row["low_fixed"], row["high_fixed"]) == interval(difference)


def test_a_pair_that_is_listed_twice_counts_once_over_all():
    twice = [*PAIRS[:1], {**PAIRS[0], "matched": "data"}, PAIRS[0], PAIRS[1]]
    pooled = compare(chosen(), twice).query("text == ''").set_index("matched")
    assert pooled["pairs"].to_dict() == {"size": 1, "data": 2, "all": 2}


def test_clusters_and_conditions_are_pooled_by_themselves_and_gaps_are_left_out():
    frame = pd.concat([chosen(clusters=("all", "3")), chosen(cv="random")], ignore_index=True)
    frame.loc[(frame["cluster"] == "3") & (frame["family"] == "dino"), "r2"] = np.nan
    pooled = compare(frame).query("text == '' and matched == 'all'")
    found = {(row.cv, row.cluster): row.pairs for row in pooled.itertuples()}
    assert found == {("blocked", "all"): 3, ("blocked", "3"): 2, ("random", "all"): 3}
    assert np.isfinite(pooled[["effect", "low", "high"]]).all(axis=None)


def test_of_a_model_with_several_towers_the_vision_tower_is_compared_unless_another_is_named():
    towers = pd.DataFrame(
        [
            {**BASE, "family": f"llava/{tower}", "origin": "llava", "tower": tower, "choice": "depth", "cluster": "all"}
            | {"r2": value}
            for tower, value in (("vision", 0.2), ("text", 0.6))
        ]
    )
    frame = pd.concat([chosen({"vit": 0.1}, choice="depth"), towers], ignore_index=True)
    pairs = [{"baseline": "vit", "text": text, "matched": "size"} for text in ("llava", "llava/text")]
    single = compare(frame, pairs).query("text != ''")
    assert dict(zip(single["text"], single["effect"], strict=True)) == pytest.approx({"llava": 0.1, "llava/text": 0.5})


def test_no_pairs_give_an_empty_table_with_its_columns():
    assert list(compare(chosen(), [])) == list(compare(chosen(), PAIRS[3:])) == COLUMNS
    assert compare(chosen(), []).empty
    assert compare(chosen(), PAIRS[3:]).empty
