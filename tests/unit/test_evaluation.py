"""Accuracies against scikit-learn, their intervals against resamples written out, rank correlations against scipy."""

import itertools
import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from sklearn.metrics import balanced_accuracy_score, top_k_accuracy_score

from geoprobe.analysis.bootstrap import draw_weights
from geoprobe.finetune.comparison import MIN_INTERVAL, MIN_MODELS, compare_finetuning, correlate_probes, correlate_ranks
from geoprobe.finetune.evaluation import chance_levels, mean_per_country, rank_truth, score_predictions

COUNTRIES = ["BR", "CA", "DE", "FR", "IT", "JP", "KE", "PE"]
RESAMPLES = 200


def logits_of(truth, seed, skill=1.5):
    logits = np.random.default_rng(seed).normal(size=(len(truth), len(COUNTRIES)))
    logits[np.arange(len(truth)), truth] += skill
    return logits


def predictions(seeds=(1, 2, 3), count=240, groups=60):
    """Predictions of trainings, and their logits; groups of unlike size in countries of unlike size."""
    generator = np.random.default_rng(0)
    group = generator.choice(groups, size=count, p=generator.dirichlet(np.ones(groups)))
    truth = np.minimum(group**2 // (groups * 6), len(COUNTRIES) - 1)
    truth[: len(COUNTRIES)] = np.arange(len(COUNTRIES))
    parts, logits = [], {}
    for seed in seeds:
        logits[seed] = logits_of(truth, seed)
        parts.append(
            pd.DataFrame(
                {
                    "id": [f"image {number}" for number in range(count)],
                    "country": np.array(COUNTRIES)[truth],
                    "group": [f"group {number}" for number in group],
                    "predicted": np.array(COUNTRIES)[logits[seed].argmax(axis=1)],
                    "rank": rank_truth(logits[seed], truth),
                    "seed": seed,
                }
            )
        )
    return pd.concat(parts, ignore_index=True), truth, logits


@pytest.fixture(scope="module")
def made():
    return predictions()


@pytest.fixture(scope="module")
def scores(made):
    return score_predictions(made[0], RESAMPLES, 7)


def value(scores, member, metric, column="value", group="all"):
    rows = scores[(scores["member"] == member) & (scores["metric"] == metric) & (scores["group"] == group)]
    (found,) = rows[column]
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_accuracies_are_scikit_learns(made, scores, seed):
    frame, truth, logits = made
    labels = range(len(COUNTRIES))
    for metric, most in (("top1", 1), ("top5", 5)):
        expected = top_k_accuracy_score(truth, logits[seed], k=most, labels=labels)
        assert value(scores, str(seed), metric) == pytest.approx(expected, abs=1e-12)
    own = frame[frame["seed"] == seed]
    expected = balanced_accuracy_score(own["country"], own["predicted"])
    assert value(scores, str(seed), "per_country") == pytest.approx(expected, abs=1e-12)


def test_a_continents_accuracy_is_that_of_its_images(made, scores):
    _, truth, logits = made
    chosen = np.isin(np.array(COUNTRIES)[truth], ["DE", "FR", "IT"])
    expected = top_k_accuracy_score(truth[chosen], logits[2][chosen], k=5, labels=range(len(COUNTRIES)))
    assert value(scores, "2", "top5", group="Europe") == pytest.approx(expected, abs=1e-12)
    assert value(scores, "2", "top5", "images", "Europe") == chosen.sum()
    assert value(scores, "2", "top5", "countries", "Europe") == 3
    continents = scores[(scores["by"] == "continent") & (scores["member"] == "2") & (scores["metric"] == "top1")]
    assert continents["images"].sum() == len(truth)


def test_the_mean_is_that_of_the_trainings_and_lies_in_its_interval(scores):
    for metric in ("top1", "top5", "per_country"):
        own = [value(scores, str(seed), metric) for seed in (1, 2, 3)]
        assert value(scores, "mean", metric) == pytest.approx(np.mean(own))
    assert (scores["low"] <= scores["value"]).all()
    assert (scores["value"] <= scores["high"]).all()


def test_top5_is_at_least_top1_everywhere(scores):
    wide = scores[scores["metric"] != "per_country"].pivot_table("value", ["member", "by", "group"], "metric")
    assert (wide["top5"] >= wide["top1"]).all()
    assert (wide["top5"] > wide["top1"]).any()


@pytest.mark.parametrize("metric", ["top1", "per_country"])
def test_intervals_are_those_of_resamples_written_out_group_by_group(made, scores, metric):
    frame, _, _ = made
    own = frame[frame["seed"] == 1].sort_values("id")
    units = pd.factorize(own["group"], sort=True)[0]
    drawn = []
    for weights in draw_weights(units.max() + 1, RESAMPLES, 7):
        rows = np.repeat(np.arange(len(own)), weights[units].astype(int))
        sample = own.iloc[rows]
        hit = sample["predicted"] == sample["country"]
        drawn.append(hit.mean() if metric == "top1" else hit.groupby(sample["country"]).mean().mean())
    low, high = np.quantile(drawn, [0.025, 0.975])
    assert value(scores, "1", metric, "low") == pytest.approx(low, abs=1e-12)
    assert value(scores, "1", metric, "high") == pytest.approx(high, abs=1e-12)


def test_groups_make_intervals_wider_than_images_do(made):
    frame = made[0][made[0]["seed"] == 1]
    # all images of a group are told or not together
    told = frame.assign(rank=1 + (pd.factorize(frame["group"])[0] % 2))
    widths = []
    for groups in (told["group"], told["id"]):
        found = score_predictions(told.assign(group=groups), RESAMPLES, 7)
        widths.append(value(found, "1", "top1", "high") - value(found, "1", "top1", "low"))
    assert widths[0] > 1.5 * widths[1]


def test_trainings_of_different_images_are_refused(made):
    frame = made[0]
    with pytest.raises(ValueError, match="not tested on the same images"):
        score_predictions(frame[~((frame["seed"] == 2) & (frame["id"] == "image 3"))], RESAMPLES, 7)


def test_ranks_agree_with_argmax_where_logits_are_equal():
    logits = np.array([[1.0, 1.0, 0.0], [0.0, 2.0, 2.0], [3.0, 3.0, 3.0]])
    assert [rank_truth(logits, np.full(3, truth)).tolist() for truth in range(3)] == [[1, 3, 1], [2, 1, 2], [3, 2, 3]]
    first = rank_truth(logits, logits.argmax(axis=1))
    assert (first == 1).all()


def test_countries_that_are_not_drawn_do_not_count():
    hits, countries = np.array([True, False, True]), np.array([0, 0, 1])
    assert mean_per_country(hits, countries) == 0.75
    assert mean_per_country(hits, countries, np.array([1.0, 1.0, 0.0])) == 0.5


def test_chance_is_one_in_the_number_of_countries_and_majority_names_the_largest():
    found = chance_levels(["a"] * 5 + ["b", "c"], ["a", "a", "b", "c"])
    assert found == {"top1": 1 / 3, "top5": 1.0, "per_country": 1 / 3, "majority": 0.5}


@pytest.mark.parametrize("count", [3, 4, 6])
def test_the_rank_correlation_is_scipys_and_its_p_that_of_all_orders(count):
    generator = np.random.default_rng(count)
    x, y = generator.normal(size=count), generator.normal(size=count)
    found = correlate_ranks(x, y, RESAMPLES, 1)
    assert found["rho"] == pytest.approx(stats.spearmanr(x, y).statistic)
    orders = [stats.spearmanr(np.array(order), y).statistic for order in itertools.permutations(x)]
    greater = np.mean([rho >= found["rho"] - 1e-9 for rho in orders])
    less = np.mean([rho <= found["rho"] + 1e-9 for rho in orders])
    assert found["p"] == pytest.approx(min(1, 2 * min(greater, less)))
    assert found["method"] == "exact"
    if count < MIN_INTERVAL:
        assert np.isnan([found["low"], found["high"]]).all()
        assert found["reason"] == "no interval from fewer than 5 models"
    else:
        assert found["low"] <= found["rho"] <= found["high"]
        assert found["reason"] == ""


def test_many_models_in_the_same_order_have_the_least_p_of_the_permutations():
    found = correlate_ranks(np.arange(12), np.arange(12.0) ** 3, RESAMPLES, 1)
    assert found["rho"] == pytest.approx(1)
    assert found["method"] == "permutations"
    assert found["p"] == pytest.approx(2 / 10000)


@pytest.mark.parametrize(("x", "said"), [([1, 2], "2 models"), ([2, 2, 2, 2], "the same score")], ids=["few", "equal"])
def test_where_there_is_no_rank_correlation_the_reason_is_given(x, said):
    found = correlate_ranks(x, np.arange(len(x)), RESAMPLES, 1)
    assert said in found["reason"]
    assert "rho" not in found


def write_results(folder, model, skill, encoder_seed=0):
    """Results and predictions of one model, as finetune_model writes what is read of them."""
    frame, truth, _ = predictions()
    for seed in (1, 2, 3):
        ranks = rank_truth(logits_of(truth, [encoder_seed, seed], skill), truth)
        frame.loc[frame["seed"] == seed, "rank"] = ranks
    run = {"validation_accuracy": 0.4, "best_epoch": 2, "end": "epochs", "history": []}
    content = {
        "names": {"model": model, "dataset": "places"},
        "learning_rate": 0.001,
        "runs": [{"learning_rate": rate, "seed": 1, **run} for rate in (0.0001, 0.001)],
        "chance": chance_levels(COUNTRIES, COUNTRIES),
    }
    (folder / f"{model}.json").write_text(json.dumps(content))
    frame.to_parquet(folder / f"{model}.parquet")
    return folder / f"{model}.json", folder / f"{model}.parquet", frame


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder, models, written = tmp_path_factory.mktemp("compared"), {}, []
    for place, family in enumerate(["weak", "fair", "good"]):
        for seed in (1, 2):
            name = f"{family}-seed{seed}"
            models[name] = {"family": family, "label": family.title(), "supervision": "vision-only"}
            written.append(write_results(folder, name, 0.5 + place, seed))
    results, frames, tables = zip(*written, strict=True)
    return compare_finetuning(results, frames, models, RESAMPLES, 7), dict(zip(models, tables, strict=True))


def test_a_familys_accuracy_is_the_mean_over_its_models_and_their_trainings(compared):
    (families, rates, continents), tables = compared
    for row in families.itertuples():
        ranks = np.concatenate([tables[f"{row.family}-seed{seed}"]["rank"] for seed in (1, 2)])
        assert row.top1 == pytest.approx((ranks == 1).mean())
        assert row.top5 == pytest.approx((ranks <= 5).mean())
        assert (row.models, row.trainings, row.learning_rate) == (2, 6, "0.001")
        assert row.rate_at_border == 1  # of two rates either is
        assert row.top1_low < row.top1 < row.top1_high
    assert families["top1"].is_monotonic_increasing
    assert rates.groupby("model")["chosen"].sum().eq(1).all()
    assert set(continents["continent"]) == {"Europe", "Asia", "Africa", "North America", "South America"}


def choices(r2, tower="vision"):
    keys = {"dataset": "tiles", "prompt": "none", "probe": "ridge", "cluster": "all", "target": "degrees",
            "cv": "blocked", "control": "none", "choice": "depth"}  # fmt: skip
    rows = [{**keys, "family": family, "label": family, "tower": tower, "r2": r} for family, r in r2.items()]
    return pd.DataFrame(rows)


def test_accuracies_are_ranked_against_the_vision_towers_of_the_same_families(compared):
    (families, _, _), _ = compared
    probes = pd.concat(
        [choices({"weak": 0.3, "good": 0.2, "fair": 0.1, "other": 0.9}), choices({"good": 0.99}, tower="text")]
    )
    found = correlate_probes(families, probes, ["none"], "depth", RESAMPLES, 1)
    row = found[found["metric"] == "top1"].iloc[0]
    # weak, fair, good have the ranks 1, 2, 3 by accuracy and 3, 1, 2 by R2
    assert row["rho"] == pytest.approx(-0.5)
    assert (row["models"], row["finetuned_on"], row["dataset"]) == (3, "places", "tiles")


def test_models_that_have_learned_nothing_do_not_count_in_the_correlation(compared):
    (families, _, _), _ = compared
    nothing = families.iloc[[0, 0]].assign(
        family=["random", "good-untrained"], supervision=["baseline", "vision-only"], top1=[0.01, 0.02]
    )
    probes = choices({"weak": 0.3, "good": 0.2, "fair": 0.1, "random": -0.5, "good-untrained": -0.4})
    found = correlate_probes(pd.concat([families, nothing]), probes, ["none"], "depth", RESAMPLES, 1)
    row = found[found["metric"] == "top1"].iloc[0]
    assert row["models"] == 3
    assert row["rho"] == pytest.approx(-0.5)
    alone = correlate_probes(nothing, probes, ["none"], "depth", RESAMPLES, 1)
    assert (alone["models"] == 0).all()
    assert alone["reason"].str.contains("0 models").all()


def test_two_models_are_not_correlated(compared):
    (families, _, _), _ = compared
    found = correlate_probes(families, choices({"weak": 0.1, "fair": 0.2}), ["none"], "depth", RESAMPLES, 1)
    assert found["rho"].isna().all()
    assert found["reason"].str.contains(f"2 models, and a rank correlation needs {MIN_MODELS}").all()
