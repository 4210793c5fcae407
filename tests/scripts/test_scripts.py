"""The scripts' own functions, called as the rules call them, on the files of the tiny run."""

import importlib.util

import h5py
import pandas as pd
import pytest
import yaml
from conftest import ROOT, TINY
from PIL import Image

from geoprobe.clusters.assign import assign_images

pytestmark = pytest.mark.workflow

HEADLINE = {"prompts": ["none"], "poolings": ["cls"], "target": "degrees", "dataset": "bluemarble", "probe": "ridge"}


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
        assert len(lines) <= 60 or path.stem == "summarise_scores", path
        assert len(lines) <= 75, path
        assert not any("snakemake" in line for line in lines[: lines.index('if __name__ == "__main__":')]), path


def test_train_writes_the_encoder_that_the_rule_wrote(results, tmp_path):
    import json

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
    )
    name = "model.safetensors"
    assert (tmp_path / "random-seed1" / name).read_bytes() == (results / "encoders/random-seed1" / name).read_bytes()


def test_clusters_and_folds_cover_every_image(results, tmp_path):
    store = results / "images/bluemarble.h5"
    options = {"by": "kmeans", "embedding": "statistics", "matched": None, "components": 4, "seed": 1, "count": 4}
    paths = {"clusters": tmp_path / "c.parquet", "summary": tmp_path / "c.csv", "fitted": tmp_path / "c.h5"}
    assign_images(store, "bluemarble", options | {"names": {"by": "number"}}, paths)
    load_script("assign_folds").assign(store, tmp_path / "f.parquet", 4, 5, 100, 1)
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


def test_plan_repeats_the_plan_of_the_rule(results, tmp_path):
    options = yaml.safe_load((ROOT / "config/datasets.yaml").read_text())["datasets"]["bluemarble"]
    options |= yaml.safe_load(TINY.read_text())["datasets"]["bluemarble"]
    paths = tmp_path / "plan.parquet", tmp_path / "left_out.parquet"
    load_script("plan_images").plan("bluemarble", options, None, None, *paths)
    pd.testing.assert_frame_equal(
        pd.read_parquet(paths[0]), pd.read_parquet(results / "images/bluemarble.plan.parquet")
    )


def test_summarise_and_rank_repeat_the_run(results, tiny_run, tmp_path):
    models = {"random-seed1": {"family": "random", "label": "Random weights", "supervision": "vision-only"}}
    folder = results / "probes/bluemarble/random-seed1/none"
    outputs = {name: tmp_path / f"{name}.csv" for name in ("scores", "families", "differences")}
    load_script("summarise_scores").summarise(
        [(folder / "ridge.parquet", folder / "ridge.h5")],
        {"bluemarble": results / "images/bluemarble.h5"},
        {"bluemarble": results / "folds/bluemarble.parquet"},
        models,
        {"ridge": 42},
        50,
        1,
        {"prompts": ["none"], "poolings": ["cls", "mean"]},
        **outputs,
    )
    made, run = pd.read_csv(outputs["scores"]), pd.read_csv(results / "analysis/scores.csv")
    run = run[run["model"] == "random-seed1"].reset_index(drop=True)
    pd.testing.assert_frame_equal(made, run)
    assert pd.read_csv(outputs["differences"]).empty
    headline = {name: HEADLINE[name] for name in ("prompts", "poolings", "target")} | {"cv": "blocked"}
    load_script("rank_clusters").rank(
        outputs["families"],
        {"bluemarble": results / "clusters/bluemarble.csv"},
        headline,
        [0.0],
        ["low", "high"],
        tmp_path / "ranking.csv",
    )
    ranking = pd.read_csv(tmp_path / "ranking.csv")
    assert ranking["r2"].is_monotonic_decreasing
    assert ((ranking["r2"] >= 0) == (ranking["tier"] == "high")).all()


@pytest.mark.parametrize("name", ["objectives", "layers"])
def test_plots_of_families_are_drawn(results, paths, name):
    load_script(f"plot_{name}").plot(results / "analysis/families.csv", HEADLINE, paths, 60)
    assert_drawn(paths)


def test_plots_of_rankings_differences_and_images_are_drawn(results, paths):
    families, ranking = results / "analysis/families.csv", results / "analysis/localizability.csv"
    clusters, store = results / "clusters/bluemarble.parquet", results / "images/bluemarble.h5"
    calls = {
        "plot_heatmap": (families, ranking, HEADLINE | {"cv": "blocked"}),
        "plot_captions": (families, results / "analysis/differences.csv", HEADLINE),
        "plot_localizability": (ranking, clusters, store, "bluemarble"),
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
    }
    for name, arguments in calls.items():
        load_script(name).plot(*arguments, paths, 60)
        assert_drawn(paths)


def test_a_plot_of_rows_that_are_not_there_says_so(results, paths):
    headline = HEADLINE | {"poolings": ["maxmin"]}
    with pytest.raises(ValueError, match=r"random, text-places: has none of .* the poolings maxmin"):
        load_script("plot_layers").plot(results / "analysis/families.csv", headline, paths, 60)


def test_a_map_of_a_tower_without_the_poolings_says_which_it_has(results, paths):
    store, fits = results / "images/bluemarble.h5", results / "probes/bluemarble/random-seed1/none/ridge.h5"
    with pytest.raises(ValueError, match=r"the vision tower has cls, mean, none of analysis\.poolings"):
        load_script("plot_map").plot(store, fits, "Random", ["last"], "degrees", "blocked", paths, 60)


def test_write_makes_three_formats_of_each_table(results, tmp_path):
    analysis = results / "analysis"
    files = {
        name: [tmp_path / f"{name}.{kind}" for kind in ("csv", "tex", "md")]
        for name in ("scores", "differences", "clusters")
    }
    headline = {name: HEADLINE[name] for name in ("prompts", "poolings", "target")}
    load_script("write_tables").write(
        analysis / "families.csv", analysis / "differences.csv", analysis / "localizability.csv", headline, files
    )
    for csv, tex, md in files.values():
        assert len(pd.read_csv(csv)) == len(md.read_text().strip().splitlines()) - 4
        assert r"\toprule" in tex.read_text()
