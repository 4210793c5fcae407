"""The paper's numbers: the transcription against facts typed from its text, and the join with a made-up run."""

import csv

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from geoprobe.analysis import published
from geoprobe.analysis.published import compare, difference_interval, mean_over, read_numbers
from geoprobe.figures.published import draw

NUMBERS = ROOT / "config/published/numbers.csv"
DATASETS = {"yfcc100m": "photos", "landmarks": "sights"}
SHOWN = {"cv": "blocked", "choice": "inner"}
MODELS = {"clip-l14": {"id": "openai/clip-vit-large-patch14", "label": "CLIP-L/14"}}
MODELS["qwen2-5-vl-3b"] = {"id": "Qwen/Qwen2.5-VL-3B-Instruct", "label": "Qwen2.5-VL-3B"}


@pytest.fixture(scope="module")
def numbers():
    return read_numbers(NUMBERS)


def the(numbers, **conditions):
    """The one row with these values."""
    for name, value in conditions.items():
        numbers = numbers[numbers[name] == value]
    (row,) = numbers.to_dict("records")
    return row


def test_the_transcription_holds_what_the_paper_prints(numbers):
    clip = {"checkpoint": "openai/clip-vit-large-patch14"}
    assert the(numbers, quantity="mean_r2", **clip)["value"] == 0.482
    assert the(numbers, quantity="country_accuracy", **clip)["value"] == 0.36
    row = the(numbers, quantity="coefficient_correlation", of="longitude", share=0.4, **clip)
    assert (row["value"], row["half_width"]) == (0.749, 0.004)
    assert [row["low"], row["high"]] == pytest.approx([0.745, 0.753])
    # the table of swaps as it is told in prose: efficacy .111 against .005 at .8, success at most .134 against .120
    swaps = numbers[numbers["quantity"].str.startswith("steering")]
    of = {kind: f"{kind} dimensions" for kind in ("geographic", "random")}
    efficacy = [the(swaps, quantity="steering_efficacy", share=0.8, of=name)["value"] for name in of.values()]
    assert efficacy == pytest.approx([0.111, 0.005], abs=5e-4)
    success = swaps[swaps["quantity"] == "steering_success"].groupby("of")["value"].max()
    assert success.to_dict() == pytest.approx({of["geographic"]: 0.134, of["random"]: 0.120}, abs=5e-4)
    assert swaps["n"].between(215, 218).all()


def test_every_number_stands_once_and_belongs_to_a_model_of_the_registry(numbers):
    assert not numbers.duplicated(["quantity", "checkpoint", "of", "share"]).any()
    with open(ROOT / "config/models.tsv", encoding="utf-8") as file:
        known = {row["id"] for row in csv.DictReader(file, delimiter="\t")}
    # fine-tuned was a checkpoint that was not probed
    assert {*numbers["checkpoint"]} - known == {"google/vit-large-patch16-224-in21k"}
    sizes = numbers["quantity"].value_counts()
    assert sizes["mean_r2"] == 29
    assert sizes["coefficient_correlation"] == 27 * 4
    assert {sizes[f"steering_{name}"] for name in ("stability", "efficacy", "success")} == {22}


def test_models_on_a_few_clusters_are_those_with_wide_intervals(numbers):
    correlations = numbers[numbers["quantity"] == "coefficient_correlation"]
    wide = correlations.groupby("checkpoint")["half_width"].max() > 0.02
    marked = correlations.groupby("checkpoint")["few_clusters"].agg(set)
    assert {name for name, flag in wide.items() if flag} == {name for name, found in marked.items() if found == {"yes"}}
    few = {*numbers.loc[numbers["few_clusters"] == "yes", "checkpoint"]}
    assert few == {name for name in few if any(word in name for word in ("webssl", "metaclip", "dinov2-small"))}
    assert len(few) == 10
    assert (
        numbers.loc[numbers["checkpoint"].isin(few) & (numbers["quantity"] == "mean_r2"), "few_clusters"] == "yes"
    ).all()


def test_a_table_that_lacks_something_is_refused(tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_text("quantity,checkpoint\n")
    with pytest.raises(
        ValueError, match=r"has no column images, of, share, value, half_width, n, few_clusters, source"
    ):
        read_numbers(path)
    path.write_text(f"{','.join(published.COLUMNS)}\nr3,a,both,,,0.1,,,no,x\n")
    with pytest.raises(ValueError, match="has the quantity r3; there are: mean_r2"):
        read_numbers(path)


def test_the_interval_of_a_difference_is_that_of_independent_errors():
    # closed form: half widths of .03 and .04 give .05
    low, high = difference_interval(*np.array([[0.5], [0.47], [0.53], [0.3], [0.26], [0.34]]))
    assert (low[0], high[0]) == pytest.approx((0.15, 0.25))
    # below, ours may be too high by .03 and theirs too low by .04; above, by .05 and .12
    low, high = difference_interval(*np.array([[0.5], [0.47], [0.55], [0.3], [0.18], [0.34]]))
    assert (low[0], high[0]) == pytest.approx((0.2 - 0.05, 0.2 + 0.13))
    # what was printed without an interval counts as exact
    low, high = difference_interval(*np.array([[0.5], [0.47], [0.55], [0.3], [np.nan], [np.nan]]))
    assert (low[0], high[0]) == pytest.approx((0.17, 0.25))
    # an interval of percentiles that its own estimate lies outside of reaches to it
    low, high = difference_interval(*np.array([[0.5], [0.52], [0.55], [0.3], [np.nan], [np.nan]]))
    assert (low[0], high[0]) == pytest.approx((0.2, 0.25))
    generator = np.random.default_rng(0)
    ours, theirs = generator.normal(0.4, 0.02, 20_000), generator.normal(0.3, 0.05, 20_000)
    half = (1.96 * 0.02, 1.96 * 0.05)
    low, high = difference_interval(ours, ours - half[0], ours + half[0], theirs, theirs - half[1], theirs + half[1])
    assert np.mean((low <= 0.1) & (high >= 0.1)) == pytest.approx(0.95, abs=0.005)


def test_a_mean_has_the_papers_interval():
    # scatter 0.1, three clusters, one that was not fitted
    found = mean_over([0.1, 0.2, np.nan, 0.3])
    assert found["n"] == 3
    assert [found["ours"], found["high"] - 0.2, 0.2 - found["low"]] == pytest.approx([0.2, *[1.96 * 0.1 / 3**0.5] * 2])
    assert np.isnan(mean_over([0.5])["low"])
    assert mean_over([np.nan]) == {"n": 0}


def choices(**more):
    """Choices of one model: three clusters of photos and the sights, by the paper's way and by the run's own."""
    rows = []
    for cv, choice, shift in (("random", "maximum", 0.0), ("blocked", "inner", -0.1), ("random", "inner", 9.0)):
        for dataset, cluster, r2 in (
            *(("photos", "0", 0.2), ("photos", "1", 0.4), ("photos", "2", 0.6), ("photos", "all", 7.0)),
            *(("sights", "0", 7.0), ("sights", "all", 0.8), ("tiles", "0", 7.0)),
        ):
            row = {"family": "clip-l14", "label": "CLIP-L/14", "supervision": "vision-language", "prompt": "none"}
            row |= {"dataset": dataset, "cluster": cluster, "probe": "ridge", "target": "degrees", "cv": cv}
            row |= {"control": "none", "choice": choice, "tower": "vision", "reason": "", "images": 500}
            row |= {"r2": r2 + shift, "r2_folds": r2 + shift - 0.01, "low": r2 - 0.1, "high": r2 + 0.1}
            rows += [row | more, row | more | {"control": "permuted", "r2": 5.0, "r2_folds": 5.0}]
            rows.append(row | more | {"target": "sphere", "r2": 5.0, "r2_folds": 5.0})
    return pd.DataFrame(rows)


def test_mean_r2_is_over_the_clusters_and_the_landmarks_by_both_protocols():
    paper, run = published.mean_r2(choices(), ["ridge"], SHOWN, DATASETS, ["none"])
    assert (paper["protocol"], paper["cv"], paper["choice"], paper["n"]) == ("paper", "random", "maximum", 4)
    assert paper["ours"] == pytest.approx(0.5 - 0.01)  # the mean of folds
    assert (run["protocol"], run["ours"]) == ("run", pytest.approx(0.5 - 0.1))  # of all images together
    assert run["where"] == "clusters: 3 of photos and 1 of sights (ridge)"
    assert published.mean_r2(choices(), ["mlp"], SHOWN, DATASETS, ["none"]) == []


def test_a_run_shown_as_the_paper_did_has_both_ways_of_averaging():
    found = published.mean_r2(choices(), ["ridge"], {"cv": "random", "choice": "maximum"}, DATASETS, ["none"])
    assert [(row["protocol"], row["ours"]) for row in found] == [
        ("paper", pytest.approx(0.49)),
        ("run", pytest.approx(0.5)),
    ]


def test_only_prompts_that_ask_for_a_place_count_as_such():
    asked = pd.concat([choices(prompt="city"), choices(prompt="neutral")])
    found = published.prompted_r2(asked, ["ridge"], SHOWN, DATASETS, ["city"])
    assert [(row["protocol"], round(row["ours"], 2)) for row in found] == [("paper", 0.79), ("run", 0.7)]
    assert {row["where"] for row in found} == {"vision, prompt city (ridge)"}


def test_the_mean_over_folds_has_not_the_interval_of_all_images_together(numbers):
    """Where it lies below that, an interval of the difference would have reached to the wrong side."""
    asked = choices(prompt="city", family="qwen2-5-vl-3b").assign(r2_folds=0.1)
    found = published.prompted_r2(asked, ["ridge"], SHOWN, DATASETS, ["city"])
    assert [(row["low"], row["high"]) for row in found][1] == (pytest.approx(0.7), pytest.approx(0.9))
    compared = compare(numbers, found, MODELS)
    paper, run = (the(compared, quantity="prompted_r2", protocol=name) for name in ("paper", "run"))
    assert np.isnan([paper["low"], paper["high"], paper["difference_low"], paper["difference_high"]]).all()
    assert paper["difference"] == pytest.approx(0.1 - paper["published"])
    assert (paper["agree"], paper["interval_of"]) == ("", "")
    assert paper["reason"].startswith("no interval of ours: that of R² is of all images together")
    assert run["agree"]
    assert run["reason"] == ""


def found_of_a_run():
    """Numbers of a run: one that agrees, one that does not, one without an interval, one that could not be fitted."""
    clip = {"family": "clip-l14", "protocol": "run", "cv": "blocked", "dataset": "photos", "n": 40}
    correlation = clip | {"quantity": "coefficient_correlation"}
    return [
        clip | {"quantity": "mean_r2", "ours": 0.5, "low": 0.45, "high": 0.55},
        clip | {"quantity": "mean_r2", "protocol": "paper", "ours": 0.7, "low": 0.65, "high": 0.75},
        correlation | {"of": "latitude", "share": 0.4, "ours": 0.7},
        correlation | {"of": "latitude", "share": 1.0, "ours": np.nan, "reason": "0 clusters were fitted"},
        clip | {"quantity": "country_accuracy", "ours": 0.4, "low": 0.35, "high": 0.45},
        {"family": "other", "quantity": "mean_r2", "ours": 0.5, "low": 0.4, "high": 0.6},
        clip | {"family": "qwen2-5-vl-3b", "quantity": "steering_efficacy", "of": "random dimensions"}
        | {"share": 0.1 + 0.2, "ours": 0.0, "low": 0.0, "high": 0.02},
    ]  # fmt: skip


def test_numbers_are_joined_by_checkpoint_and_agree_where_the_difference_may_be_none(numbers):
    compared = compare(numbers, found_of_a_run(), MODELS)
    assert list(compared) == published.OUTPUT
    assert len(compared) == len(numbers) + 1  # one that was made in two ways
    there = compared[compared["ours"].notna()]
    assert len(there) == 5
    r2 = there[there["quantity"] == "mean_r2"].set_index("protocol")
    assert r2["agree"].to_dict() == {"run": "yes", "paper": "no"}
    assert r2["difference"].to_dict() == pytest.approx({"run": 0.018, "paper": 0.218})
    half = np.hypot(0.05, 0.048)
    assert [r2.loc["run", "difference_low"], r2.loc["run", "difference_high"]] == pytest.approx(
        [0.018 - half, 0.018 + half]
    )
    assert set(r2["interval_of"]) == {"both"}
    accuracy = the(there, quantity="country_accuracy")
    assert (accuracy["interval_of"], accuracy["agree"]) == ("ours", "yes")
    # .1 + .2 is the share .3
    assert the(there, quantity="steering_efficacy")["published"] == 0
    correlation = the(there, quantity="coefficient_correlation")
    assert (correlation["agree"], correlation["reason"]) == ("", "no interval of ours")


def test_what_has_no_counterpart_stays_with_its_reason(numbers):
    compared = compare(numbers, found_of_a_run(), MODELS)
    left = compared[compared["ours"].isna()]
    assert left["reason"].ne("").all()
    assert left["agree"].eq("").all()
    of_clip = left[left["checkpoint"] == MODELS["clip-l14"]["id"]].set_index(["quantity", "of", "share"])["reason"]
    assert of_clip["coefficient_correlation", "latitude", 1.0] == "0 clusters were fitted"
    assert of_clip["coefficient_correlation", "longitude", 1.0] == published.MISSING["coefficient_correlation"]
    assert (of_clip["country_training_loss"] == "no loss is kept of fine-tuning").all()
    others = left[~left["checkpoint"].isin([row["id"] for row in MODELS.values()])]
    assert (others["reason"] == "no model of the run is " + others["checkpoint"]).all()


def test_a_run_with_none_of_the_models_keeps_every_row(numbers):
    compared = compare(numbers, [], {})
    assert len(compared) == len(numbers)
    assert compared["reason"].str.startswith("no model of the run is").all()
    assert published.tell(compared) == "222 published numbers, 0 with a counterpart"
    (text,) = draw(compared).axes[0].texts
    assert text.get_text() == "Nothing to compare: this run has none of the 30 models of which the paper prints numbers"


def test_what_is_drawn_is_what_has_a_counterpart(numbers):
    drawn = draw(compare(numbers, found_of_a_run(), MODELS))
    drawn.canvas.draw()
    labels = {axes.get_xlabel(): axes for axes in drawn.axes if axes.get_xlabel()}
    r2 = labels["mean R² over clusters"]
    assert [label.get_text() for label in r2.get_yticklabels()] == ["CLIP-L/14"]
    points = [
        line.get_xdata()[0] for line in r2.lines if line.get_marker() in ("D", "o", "s") and len(line.get_xdata())
    ]
    assert points == pytest.approx([0.482, 0.7, 0.5])  # published, by the paper's protocol, by its own
    # what is at the left edge of a panel is not cut off by its number
    assert "accuracy of fine-tuned models on countries" in labels
    height, width = drawn.bbox.height, drawn.bbox.width
    for axes in drawn.axes:
        for text in (axes.title, axes.xaxis.label, axes.yaxis.label, *axes.get_yticklabels()):
            if text.get_text():
                box = text.get_window_extent()
                assert 0 <= box.x0 <= box.x1 <= width, text
                assert 0 <= box.y0 <= box.y1 <= height, text
