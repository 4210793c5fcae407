"""Localizability: tiers and ranks of clusters."""

import importlib.util

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT

from geoprobe.analysis.localizability import rank_clusters, tier_of

THRESHOLDS, TIERS = [0.0, 0.1, 0.3], ["none", "hardly", "partly", "very"]


def families(scores, dataset="earth", control="none", probe="ridge"):
    """Chosen layers; `scores` gives, by cluster, the R2 of each family."""
    return pd.DataFrame(
        [
            {
                "dataset": dataset,
                "probe": probe,
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
        *("dataset", "probe", "rank", "cluster", "name", "tier", "r2", "lowest", "highest", "models"),
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


def test_each_probe_gives_a_ranking_of_its_own():
    both = pd.concat([families({"0": [0.1], "1": [0.2]}), families({"0": [0.9], "1": [0.8]}, probe="mlp")])
    ranked = rank_clusters(both, {"earth": clusters()}, THRESHOLDS, TIERS)
    assert ranked["probe"].tolist() == ["ridge", "ridge", "mlp", "mlp"]
    assert ranked["cluster"].tolist() == [1, 0, 0, 1]
    assert ranked["rank"].tolist() == [1, 2, 1, 2]
    assert ranked["r2"].tolist() == [0.2, 0.1, 0.9, 0.8]
    assert ranked["models"].tolist() == [1, 1, 1, 1]


def test_models_are_those_with_a_number():
    ranked = rank({"0": [0.3, np.nan, 0.1], "1": [0.1, 0.1, 0.1], "2": [np.nan] * 3})
    assert ranked["cluster"].tolist() == [0, 1, 2]
    assert ranked["models"].tolist() == [2, 3, 0]
    assert ranked["r2"].tolist()[:2] == pytest.approx([0.2, 0.1])
    assert ranked["tier"].tolist() == ["partly", "partly", "not fitted"]


def test_a_model_that_was_read_in_several_towers_counts_once():
    # clip/vision, clip/text and dino
    frame = families({"0": [0.1, 0.3, 0.8], "1": [0.6, np.nan, 0.0]})
    frame["origin"] = frame["family"].replace({"family 0": "clip", "family 1": "clip", "family 2": "dino"})
    ranked = rank_clusters(frame, {"earth": clusters()}, THRESHOLDS, TIERS)
    assert ranked["cluster"].tolist() == [0, 1]
    assert ranked["r2"].tolist() == pytest.approx([0.5, 0.3])
    assert ranked["lowest"].tolist() == pytest.approx([0.2, 0.0])
    assert ranked["highest"].tolist() == pytest.approx([0.8, 0.6])
    assert ranked["models"].tolist() == [2, 2]


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


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"workflow/scripts/{name}.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script


def drawn_by(name, monkeypatch, *arguments):
    """What a plotting script draws."""
    script, drawn = load(name), []
    monkeypatch.setattr(script, "draw", lambda *of: drawn.append(of))
    monkeypatch.setattr(script, "save_figure", lambda *of: None)
    monkeypatch.setattr(script, "read_squares", lambda store, rows: [], raising=False)
    script.plot(*arguments, [], 40)
    return drawn[0]


@pytest.mark.parametrize(("probe", "order"), [("ridge", [1, 0]), ("mlp", [0, 1])])
def test_figures_show_the_ranking_by_their_probe(tmp_path, monkeypatch, probe, order):
    scores = {"ridge": {"0": [0.1], "1": [0.2]}, "mlp": {"0": [0.9], "1": [0.8]}}
    chosen = pd.concat([families(values, probe=name) for name, values in scores.items()])
    chosen = chosen.assign(prompt="none", choice="inner", target="degrees", cv="blocked")
    paths = [tmp_path / name for name in ("choices.csv", "ranking.csv", "clusters.parquet")]
    chosen.drop(columns="origin").to_csv(paths[0], index=False)
    rank_clusters(chosen, {"earth": clusters()}, THRESHOLDS, TIERS).to_csv(paths[1], index=False)
    pd.DataFrame({"cluster": [0, 1], "distance": [0.0, 0.0]}).to_parquet(paths[2])

    ranked, _ = drawn_by("plot_localizability", monkeypatch, *paths[1:], "images.h5", "earth", probe)
    assert ranked["cluster"].tolist() == order
    assert ranked["r2"].tolist() == [scores[probe][str(cluster)][0] for cluster in order]

    headline = {"prompts": ["none"], "choice": "inner", "target": "degrees", "cv": "blocked", "dataset": "earth"}
    shown, names = drawn_by("plot_heatmap", monkeypatch, *paths[:2], headline | {"probe": probe})
    assert list(names) == [str(cluster) for cluster in order]
    assert set(shown["probe"]) == {probe}


def test_a_cluster_may_be_called_none_or_na(tmp_path, monkeypatch):
    called = ["NA", "None", "null"]
    chosen = families({str(number): [0.1 * number] for number in range(3)}, probe="ridge")
    chosen = chosen.assign(prompt="none", choice="inner", target="degrees", cv="blocked").drop(columns="origin")
    paths = [tmp_path / name for name in ("choices.csv", "clusters.csv", "ranking.csv", "clusters.parquet")]
    chosen.to_csv(paths[0], index=False)
    clusters().assign(name=called).to_csv(paths[1], index=False)
    headline = {"prompts": ["none"], "choice": "inner", "target": "degrees", "cv": "blocked"}
    load("rank_clusters").rank(paths[0], {"earth": paths[1]}, headline, THRESHOLDS, TIERS, paths[2])

    pd.DataFrame({"cluster": [0, 1, 2], "distance": 0.0}).to_parquet(paths[3])
    ranked, _ = drawn_by("plot_localizability", monkeypatch, *paths[2:], "images.h5", "earth", "ridge")
    assert ranked["name"].tolist() == called[::-1]

    tables, script = {}, load("write_tables")
    for name in ("scores", "layers", "of_whole"):
        monkeypatch.setattr(script, name, lambda *of: None)
    monkeypatch.setattr(script, "write_tables", lambda found, *of: tables.update(found))
    others = dict.fromkeys(("choices", "differences", "supervisions", "text_effect", "baselines"), paths[0])
    script.write({"ranking": paths[2]} | others, {"target": "degrees"}, {}, "sound")
    assert tables["clusters"]["name"].tolist() == called[::-1]
