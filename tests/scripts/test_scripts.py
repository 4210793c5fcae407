"""The scripts' own functions, called as the rules call them, on the files of the tiny run."""

import importlib.util
import json

import h5py
import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from conftest import ROOT, TINY
from PIL import Image
from safetensors.torch import load_file

from geoprobe.analysis.comparison import compare_models
from geoprobe.analysis.families import read_summary
from geoprobe.clusters.assign import assign_images
from geoprobe.encoders.architecture import build_encoder
from tests.unit.test_methods import options_of

pytestmark = pytest.mark.workflow

HEADLINE = {"prompts": ["none"], "choice": "inner", "target": "degrees", "dataset": "bluemarble", "probe": "ridge"}
LAYERS = {name: value for name, value in HEADLINE.items() if name != "choice"} | {"poolings": ["cls", "mean"]}


def load_script(name):
    """A script as a module; its main block does not run."""
    spec = importlib.util.spec_from_file_location(name, ROOT / f"workflow/scripts/{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def results(tiny_run):
    return tiny_run.folder / "results"


@pytest.fixture
def paths(tmp_path):
    return [tmp_path / "figure.png", tmp_path / "figure.pdf"]


def assert_drawn(paths):
    with Image.open(paths[0]) as picture:
        assert min(picture.size) > 50
    assert paths[1].read_bytes().startswith(b"%PDF")


def test_scripts_are_short_and_do_nothing_but_unpack_in_their_main_block():
    for path in (ROOT / "workflow/scripts").glob("*.py"):
        lines = path.read_text().splitlines()
        assert len(lines) <= 60, path
        assert not any("snakemake" in line for line in lines[: lines.index('if __name__ == "__main__":')]), path


def test_train_writes_an_untrained_encoder_as_the_seed_draws_it(results, tmp_path):
    config = json.loads((results / "encoders/random-seed1/config.json").read_text())
    load_script("train_encoder").train(
        results / "images/bluemarble-pretrain.h5",
        tmp_path / "random-seed1",
        {"objective": "random"},
        config["architecture"],
        config["training"],
        1,
        "cpu",
        1,
        "",
    )
    written = load_file(tmp_path / "random-seed1/model.safetensors")
    drawn = build_encoder(**config["architecture"], seed=1).state_dict()
    assert set(written) == set(drawn)
    assert all(torch.equal(written[name], drawn[name]) for name in drawn)


def test_clusters_and_folds_cover_every_image(results, tmp_path):
    store = results / "images/bluemarble.h5"
    options = {"by": "kmeans", "embedding": "statistics", "matched": None, "components": 4, "seed": 1, "count": 4}
    paths = {"clusters": tmp_path / "c.parquet", "summary": tmp_path / "c.csv", "fitted": tmp_path / "c.h5"}
    folds = {"count": 4, "blocks": "degrees", "block_degrees": 5, "h3_resolution": 2, "buffer_km": 100, "seed": 1}
    assign_images(store, "bluemarble", options | {"names": {"by": "number"}}, paths)
    load_script("assign_folds").assign(store, tmp_path / "f.parquet", folds)
    clusters, folds = pd.read_parquet(tmp_path / "c.parquet"), pd.read_parquet(tmp_path / "f.parquet")
    assert clusters["id"].tolist() == folds["id"].tolist()
    assert set(clusters["name"]) == {f"cluster {number}" for number in range(4)}
    assert pd.read_csv(tmp_path / "c.csv")["images"].sum() == len(clusters)
    assert set(folds["blocked"]) == set(range(4))


def test_export_links_the_images_and_has_their_clusters(results, tmp_path):
    store, clusters = results / "images/bluemarble.h5", results / "clusters/bluemarble.parquet"
    load_script("export_images").export(store, clusters, tmp_path / "export.h5")
    with h5py.File(tmp_path / "export.h5") as file, h5py.File(store) as original:
        assert file["images"][-1].tobytes() == original["images"][-1].tobytes()
        assert file["clusters"][:].tolist() == pd.read_parquet(clusters)["cluster"].tolist()


def test_plan_keeps_no_more_of_a_geocell_than_it_may_and_says_of_each_other_tile_why(results, tmp_path):
    options = yaml.safe_load((ROOT / "config/datasets.yaml").read_text())["datasets"]["bluemarble"]
    options |= yaml.safe_load(TINY.read_text())["datasets"]["bluemarble"]
    paths = tmp_path / "plan.parquet", tmp_path / "left_out.parquet"
    load_script("plan_images").plan("bluemarble", options, None, None, *paths)
    plan, left_out = map(pd.read_parquet, paths)
    most = options["balance"]["maximum"]
    assert plan.groupby("geocell").size().max() <= most
    assert not set(plan["id"]) & set(left_out["id"])
    assert plan["id"].is_unique
    assert left_out["reason"].ne("").all()


def test_score_compare_and_rank_repeat_the_run_to_the_last_digit(results, tmp_path):
    models = {"random-seed1": {"family": "random", "label": "Random weights"}}
    models["random-seed1"] |= {"supervision": "baseline", "geolocation": "no"}
    probe = results / "probes/bluemarble/random-seed1/none"
    names = {"scores": "scores.parquet", "choices": "choices.parquet", "samples": "samples.h5", "fairness": "fair.csv"}
    scored = {name: tmp_path / file for name, file in names.items()}
    folds = results / "folds/bluemarble.parquet"
    # resamples and their seed are those of the tiny configuration
    where = {"dataset": "bluemarble", "model": "random-seed1", "prompt": "none", "probe": "ridge"}
    load_script("score_probe").score(
        results / "images/bluemarble.h5",
        folds,
        probe / "ridge.parquet",
        probe / "ridge.h5",
        ["cls"],
        1.0,
        50,
        1,
        {"target": "degrees", "cvs": ["blocked"]},
        where,
        scored,
    )
    own = results / "analysis/bluemarble/random-seed1/none/ridge"
    pd.testing.assert_frame_equal(read_summary(scored.pop("fairness")), read_summary(own / "fairness.csv"))
    with h5py.File(scored["samples"]) as file:
        assert (file.attrs["model"], file.attrs["bootstrap"]) == ("random-seed1", 50)
        assert len(file["choices"]) == len(pd.read_parquet(scored["choices"]))
    outputs = {
        name: tmp_path / f"{name}.csv"
        for name in ("scores", "families_csv", "choices_csv", "differences", "supervisions", "text_effect", "baselines")
    }
    outputs |= {name: tmp_path / f"{name}.parquet" for name in ("families", "choices")}
    compare_models(
        [tuple(scored.values())],
        {"bluemarble": results / "baselines/bluemarble.parquet"},
        models,
        {"prompts": ["none"]},
        "inner",
        [],
        1,
        outputs,
    )
    made, run = read_summary(outputs["scores"]), read_summary(results / "analysis/scores.csv")
    run = run[run["model"] == "random-seed1"].reset_index(drop=True)
    pd.testing.assert_frame_equal(made, run)
    assert pd.read_csv(outputs["differences"]).empty
    headline = {name: HEADLINE[name] for name in ("prompts", "choice", "target")} | {"cv": "blocked"}
    load_script("rank_clusters").rank(
        outputs["choices"],
        {"bluemarble": results / "clusters/bluemarble.csv"},
        headline,
        [0.0],
        ["low", "high"],
        tmp_path / "ranking.csv",
    )
    ranking = pd.read_csv(tmp_path / "ranking.csv")
    assert ranking["r2"].is_monotonic_decreasing
    assert ((ranking["r2"] >= 0) == (ranking["tier"] == "high")).all()


def test_a_cluster_on_itself_scores_as_it_was_scored_and_closer_analyses_are_joined(results, tmp_path):
    where = {"dataset": "bluemarble", "model": "text-places-seed1", "prompt": "none", "probe": "ridge"}
    own = results.joinpath("analysis", *where.values())
    names = {"transfer": "transfer.csv", "correlations": "correlations.csv", "summary": "correlation.csv"}
    load_script("relate_clusters").relate(
        results / "probes/bluemarble/text-places-seed1/none/ridge.h5",
        results / "features/bluemarble/text-places-seed1/none.h5",
        results / "images/bluemarble.h5",
        results / "folds/bluemarble.parquet",
        where,
        *("degrees", ["blocked"], ["cls"], "last", [1.0, 0.4, 0.1], 50, 1),
        {name: tmp_path / file for name, file in names.items()},
    )
    transferred = read_summary(tmp_path / "transfer.csv")
    same = transferred[transferred["trained_on"] == transferred["tested_on"]].set_index("tested_on")["r2"]
    scores = read_summary(results / "analysis/scores.csv")
    at = {name: transferred[name].iloc[0] for name in ("model", "tower", "pooling", "layer", "cv", "target")}
    scores = scores[(scores[list(at)] == pd.Series(at)).all(axis=1) & (scores["control"] == "none")]
    np.testing.assert_allclose(same, scores.set_index("cluster")["r2"][same.index], atol=1e-6)
    assert same.notna().sum() > 2
    assert all(read_summary(tmp_path / names[name])["correlation"].between(-1, 1).all() for name in ("correlations",))
    models = {"text-places-seed1": {"family": "text-places", "label": "Places", "supervision": "vision-language"}}
    outputs = {"transfer": tmp_path / "joined.csv", "correlation": tmp_path / "empty.csv"}
    load_script("join_analyses").join(models, {"transfer": [own / "transfer.csv"], "correlation": []}, outputs)
    joined = read_summary(outputs["transfer"])
    pd.testing.assert_frame_equal(
        joined.drop(columns=["family", "label", "supervision"]), read_summary(own / "transfer.csv")
    )
    assert set(joined["label"]) == {"Places"}
    assert read_summary(outputs["correlation"]).empty


def test_baselines_explain_nothing_of_any_fold(results, tmp_path):
    inputs = (results / "images/bluemarble.h5", results / "clusters/bluemarble.parquet")
    folds, cvs = results / "folds/bluemarble.parquet", ["random", "blocked", "buffered"]
    load_script("score_baselines").score(*inputs, folds, cvs, tmp_path / "b.parquet")
    table = pd.read_parquet(tmp_path / "b.parquet")
    assert set(table["cv"]) == set(cvs)
    # whatever is predicted is the same for all images of a fold
    assert (table["r2"].dropna() <= 1e-12).all()
    assert table["r2"].notna().sum() > 20


@pytest.mark.parametrize(
    ("name", "table", "headline"), [("objectives", "choices", HEADLINE), ("layers", "families", LAYERS)]
)
def test_plots_of_layers_and_of_chosen_layers_are_drawn(results, paths, name, table, headline):
    load_script(f"plot_{name}").plot(results / f"analysis/{table}.parquet", headline, paths, 60)
    assert_drawn(paths)


def test_plots_of_rankings_differences_and_images_are_drawn(results, paths):
    choices, ranking = results / "analysis/choices.parquet", results / "analysis/localizability.csv"
    clusters, store = results / "clusters/bluemarble.parquet", results / "images/bluemarble.h5"
    calls = {
        "plot_heatmap": (choices, ranking, HEADLINE | {"cv": "blocked"}),
        "plot_captions": (choices, results / "analysis/differences.csv", HEADLINE),
        "plot_localizability": (ranking, clusters, store, "bluemarble", "ridge"),
        "plot_contact_sheet": (clusters, store),
        "plot_elbow": (results / "clusters/bluemarble.elbow.csv",),
        "plot_balance": (
            store,
            results / "images/bluemarble.rejects.parquet",
            results / "images/bluemarble.balance.csv",
            "bluemarble",
        ),
        "plot_map": (
            store,
            results / "probes/bluemarble/random-seed1/none/ridge.h5",
            "Random",
            ["last", "cls"],
            "degrees",
            "blocked",
        ),
        "plot_maps": (
            store,
            {f"random-seed{seed}": results / "probes/bluemarble/random-seed1/none/ridge.h5" for seed in (1, 2)},
            {"random-seed1": "Random", "random-seed2": "Random"},
            ["last", "cls"],
            "degrees",
            "blocked",
        ),
    }
    for name, arguments in calls.items():
        load_script(name).plot(*arguments, paths, 60)
        assert_drawn(paths)


def test_plots_of_closer_analyses_are_drawn(results, paths):
    analysis = results / "analysis"
    own, ranking = analysis / "bluemarble/random-seed1/none/ridge", analysis / "localizability.csv"
    shown, headline = {"share": 1.0, "scaled": "standardised"}, LAYERS | {"cv": "blocked"}
    of_all = {name: value for name, value in headline.items() if name != "target"}
    summary = (own / "correlations.csv", own / "correlation.csv")
    calls = {
        "plot_transfer": (own / "transfer.csv", ranking, "bluemarble", "ridge", "Random"),
        "plot_transfers": (analysis / "transfer.csv", ranking, headline),
        "plot_correlation": (*summary, ranking, "bluemarble", "ridge", shown, "Random"),
        "plot_correlation_summary": (analysis / "correlation.csv", of_all, "standardised"),
        "plot_dimensions": (analysis / "dimensions.csv", of_all),
        "plot_fairness": (analysis / "fairness.csv", headline),
    }
    for name, arguments in calls.items():
        load_script(name).plot(*arguments, paths, 60)
        assert_drawn(paths)


def test_plots_of_poolings_cross_validations_and_sizes_are_drawn(results, paths):
    choices, families = (results / f"analysis/{name}.csv" for name in ("choices", "families"))
    where = {"dataset": "bluemarble", "probe": "ridge", "target": "degrees", "cv": "blocked"}
    sizes = {
        family: results / f"features/bluemarble/{model}/none.h5"
        for family, model in (
            ("random", "random-seed1"),
            ("contrastive", "contrastive-seed1"),
            ("text-places", "text-places-seed1"),
            ("colour-histogram", "colour-histogram"),
        )
    }
    pairs = [{"baseline": "contrastive", "text": "text-places", "matched": "controlled"}]
    calls = {
        "plot_poolings": (families, ["none"], ["cls", "mean"], 1.0, where),
        "plot_cross_validations": (choices, HEADLINE),
        "plot_scale": (choices, sizes, HEADLINE | {"cv": "blocked"}, pairs),
    }
    for name, arguments in calls.items():
        load_script(name).plot(*arguments, paths, 60)
        assert_drawn(paths)


def test_the_explorer_of_the_run_is_written_within_its_size(results, tmp_path, capsys):
    model = "text-places-seed1"
    paths = {name: results / f"analysis/{name}.csv" for name in ("choices", "families")}
    # of one model of the run
    for name, path in paths.items():
        frame = read_summary(path)
        paths[name] = tmp_path / f"{name}.csv"
        frame[frame["family"] == "text-places"].to_csv(paths[name], index=False)
    stores = {
        "bluemarble": [
            results / path.format("bluemarble") for path in ("images/{}.h5", "folds/{}.parquet", "clusters/{}.csv")
        ]
    }
    files = [results / f"probes/bluemarble/{model}/none/ridge.h5"]
    files.append(results / f"analysis/bluemarble/{model}/none/ridge/choices.parquet")
    shown = {"prompts": ["none"], "poolings": ["cls"], "target": "degrees", "choice": "inner", "cv": "blocked"}
    options = {"page_megabytes": 5.4, "thumbnails": True, "edge": 16, "most": 100, "megabytes": 1, "points": 20000}
    jobs = {("bluemarble", model, "none", "ridge"): files}
    load_script("write_explorer").write(
        paths, stores, jobs, {model: "text-places"}, shown, options, tmp_path / "page.html"
    )
    page = (tmp_path / "page.html").read_text()
    assert "Image-text, places" in page
    assert "/9j/" in page  # how a JPEG begins in base64
    assert len(page.encode()) <= 5.4e6
    assert "MB, {" in capsys.readouterr().out


def test_the_methods_of_the_run_are_written_three_times(results, tmp_path):
    stores = {name: results / f"images/{name}.h5" for name in ("bluemarble", "bluemarble-pretrain")}
    paths = [tmp_path / f"methods.{kind}" for kind in ("md", "tex", "html")]
    frame = read_summary(results / "analysis/choices.csv")
    blocks = int(frame.loc[frame["cluster"] == "all", "blocks"].max())
    # of which there may be more than blocks
    countries = frame[frame["cluster"] == "all"].iloc[:1].assign(cv="countries", blocks=blocks + 1)
    choices = tmp_path / "choices.csv"
    pd.concat([frame, countries]).to_csv(choices, index=False)
    load_script("write_methods").write(options_of(yaml.safe_load(TINY.read_text())), stores, {}, choices, paths)
    with h5py.File(stores["bluemarble"]) as file:
        images = len(file["ids"])
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert f"bluemarble has {images} images" in text
        assert f"{blocks} of bluemarble" in text
        assert "Holm 1979" in text


def test_a_plot_of_rows_that_are_not_there_says_so(results, paths):
    headline = LAYERS | {"poolings": ["maxmin"]}
    with pytest.raises(ValueError, match=r"random, text-places.*: has none of .* the poolings maxmin"):
        load_script("plot_layers").plot(results / "analysis/families.csv", headline, paths, 60)


def test_a_map_of_a_tower_without_the_poolings_says_which_it_has(results, paths):
    store, fits = results / "images/bluemarble.h5", results / "probes/bluemarble/random-seed1/none/ridge.h5"
    with pytest.raises(ValueError, match=r"the vision tower has cls, none of analysis\.poolings"):
        load_script("plot_map").plot(store, fits, "Random", ["last"], "degrees", "blocked", paths, 60)


def test_write_makes_three_formats_of_each_table(results, tmp_path):
    analysis = results / "analysis"

    def files_of(*names):
        return {name: [tmp_path / f"{name}.{kind}" for kind in ("csv", "tex", "md")] for name in names}

    headline = {name: HEADLINE[name] for name in ("prompts", "target")}
    plain = ("differences", "supervisions", "text_effect", "baselines")
    inputs = {name: analysis / f"{name}.csv" for name in ("choices", *plain)}
    files = files_of("scores", "clusters", "layers", *plain)
    load_script("write_tables").write(inputs | {"ranking": analysis / "localizability.csv"}, headline, files, "sound")
    closer = files_of("correlation", "dimensions", "transfer", "fairness")
    load_script("write_analysis_tables").write({name: analysis / f"{name}.csv" for name in closer}, closer, "sound")
    files |= closer
    for csv, tex, md in files.values():
        assert len(pd.read_csv(csv)) == len(md.read_text().strip().splitlines()) - 4
        assert r"\toprule" in tex.read_text()


def test_tables_tell_the_seeds_of_an_encoder_apart(results, tmp_path):
    frame = read_summary(results / "analysis/fairness.csv")
    frame = frame[frame["model"] == "random-seed1"]
    pd.concat([frame, frame.assign(model="random-seed2")]).to_csv(tmp_path / "fairness.csv", index=False)
    paths = [tmp_path / f"printed.{kind}" for kind in ("csv", "tex", "md")]
    load_script("write_analysis_tables").write({"fairness": tmp_path / "fairness.csv"}, {"fairness": paths}, "sound")
    label = frame["label"].iloc[0]
    assert set(pd.read_csv(paths[0])["label"]) == {f"{label} (random-seed{seed})" for seed in (1, 2)}
    assert all(f"{label} (random-seed{seed})" in paths[2].read_text() for seed in (1, 2))


def test_a_run_without_the_papers_models_has_a_row_with_a_reason_for_each_of_its_numbers(results, tmp_path):
    analysis = results / "analysis"
    inputs = {name: analysis / f"{name}.csv" for name in ("choices", "correlation", "dimensions")}
    options = {"datasets": {"yfcc100m": "yfcc100m", "landmarks": "landmarks"}, "probes": ["ridge"], "steered": []}
    options |= {
        "protocol": "sound",
        "models": {},
        "shown": {"cv": "blocked", "choice": "depth"},
        "prompts": ["none"],
        "asking": [],
    }
    numbers = ROOT / "config/published/numbers.csv"
    printed = [tmp_path / f"published.{kind}" for kind in ("csv", "tex", "md")]
    load_script("compare_published").compare(inputs | {"numbers": numbers}, options, tmp_path / "all.csv", printed)
    compared = pd.read_csv(tmp_path / "all.csv")
    assert len(compared) == len(pd.read_csv(numbers))
    assert compared["reason"].str.startswith("no model of the run is ").all()
    paths = [tmp_path / "figure.png", tmp_path / "figure.pdf"]
    load_script("plot_published").plot(tmp_path / "all.csv", paths, 60)
    assert_drawn(paths)
