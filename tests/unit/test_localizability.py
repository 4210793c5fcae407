"""Localizability: tiers and ranks of clusters."""

import numpy as np
import pandas as pd
import pytest

from geoprobe.analysis.localizability import rank_clusters, tier_of

THRESHOLDS, TIERS = [0.0, 0.1, 0.3], ["none", "hardly", "partly", "very"]


def families(scores, dataset="earth", control="none"):
    """Chosen layers; `scores` gives, by cluster, the R2 of each family."""
    return pd.DataFrame(
        [
            {
                "dataset": dataset,
                "family": f"family {number}",
                "origin": f"family {number}",
                "supervision": "vision-only",
                "cluster": cluster,
                "control": control,
                "r2": value,
            }
            for cluster, values in scores.items()
            for number, value in enumerate(values)
        ]
    )


def clusters(count=3):
    return pd.DataFrame(
        {
            "cluster": range(count),
            "name": [f"name {number}" for number in range(count)],
            "images": [100 - number for number in range(count)],
            "distance": 1.5,
            "latitude_variance": 20.0,
            "longitude_variance": 30.0,
        }
    )


def rank(scores, **options):
    return rank_clusters(families(scores, **options), {"earth": clusters()}, THRESHOLDS, TIERS)


@pytest.mark.parametrize(
    ("r2", "tier"),
    [
        (-5.0, "none"),
        (np.nextafter(0.0, -1), "none"),
        (0.0, "hardly"),
        (np.nextafter(0.1, 0), "hardly"),
        (0.1, "partly"),
        (np.nextafter(0.3, 0), "partly"),
        (0.3, "very"),
        (1.0, "very"),
    ],
)
def test_a_threshold_belongs_to_the_tier_above_it(r2, tier):
    assert tier_of(r2, THRESHOLDS, TIERS) == tier


def test_clusters_are_ranked_by_their_mean_over_families():
    ranked = rank({"0": [-0.1, 0.1], "1": [0.2, 0.4], "2": [0.1, 0.2]})
    assert ranked["cluster"].tolist() == [1, 2, 0]
    assert ranked["rank"].tolist() == [1, 2, 3]
    assert ranked["r2"].tolist() == pytest.approx([0.3, 0.15, 0.0])
    assert ranked["lowest"].tolist() == [0.2, 0.1, -0.1]
    assert ranked["highest"].tolist() == [0.4, 0.2, 0.1]
    assert ranked["models"].tolist() == [2, 2, 2]


def test_a_rank_carries_name_tier_and_statistics_of_its_cluster():
    ranked = rank({"0": [-0.4], "1": [0.5], "2": [0.2]})
    assert ranked["name"].tolist() == ["name 1", "name 2", "name 0"]
    assert ranked["tier"].tolist() == ["very", "partly", "none"]
    assert ranked["images"].tolist() == [99, 98, 100]
    assert ranked["latitude_variance"].tolist() == [20.0] * 3
    assert list(ranked) == [
        *("dataset", "rank", "cluster", "name", "tier", "r2", "lowest", "highest", "models"),
        *("images", "distance", "latitude_variance", "longitude_variance"),
    ]


def test_the_whole_data_set_and_the_control_take_no_part():
    scores = {"0": [0.2], "1": [0.1], "all": [0.9]}
    both = pd.concat([families(scores), families({"1": [0.95]}, control="permuted")])
    ranked = rank_clusters(both, {"earth": clusters()}, THRESHOLDS, TIERS)
    assert ranked["cluster"].tolist() == [0, 1]
    assert ranked["r2"].tolist() == [0.2, 0.1]


def test_each_data_set_is_ranked_by_itself():
    both = pd.concat([families({"0": [0.1], "1": [0.2]}), families({"0": [0.9], "1": [0.8]}, dataset="moon")])
    ranked = rank_clusters(both, {"earth": clusters(), "moon": clusters()}, THRESHOLDS, TIERS)
    assert ranked["dataset"].tolist() == ["earth", "earth", "moon", "moon"]
    assert ranked["cluster"].tolist() == [1, 0, 0, 1]
    assert ranked["rank"].tolist() == [1, 2, 1, 2]


def test_a_cluster_that_no_probe_could_be_fitted_in_comes_last_and_is_not_called_localizable():
    ranked = rank({"0": [0.05], "1": [np.nan], "2": [0.2]})
    assert ranked["cluster"].tolist() == [2, 0, 1]
    assert ranked["tier"].iloc[-1] not in TIERS[1:]


def test_baselines_and_untrained_copies_do_not_count_unless_there_is_nothing_else():
    frame = families({"0": [0.4, 0.2, 0.0, 0.0], "1": [0.1, 0.3, 0.9, 0.9]})
    frame.loc[frame["family"] == "family 2", "supervision"] = "baseline"
    frame.loc[frame["family"] == "family 3", "origin"] = "clip-untrained"
    ranked = rank_clusters(frame, {"earth": clusters()}, THRESHOLDS, TIERS)
    assert ranked["cluster"].tolist() == [0, 1]
    assert ranked["r2"].tolist() == pytest.approx([0.3, 0.2])
    assert ranked["models"].tolist() == [2, 2]
    alone = rank_clusters(frame[frame["family"] == "family 2"], {"earth": clusters()}, THRESHOLDS, TIERS)
    assert alone["r2"].tolist() == pytest.approx([0.9, 0.0])
