"""The tiny run, end to end: what it writes, that it is whole, and that a second run does nothing."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time

import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import TARGETS
from PIL import Image

from geoprobe.analysis.families import read_summary

pytestmark = pytest.mark.workflow

MODELS = ("random-seed1", "contrastive-seed1", "text-places-seed1")
FIGURES = ("objectives", "heatmap", "layers", "captions", "localizability", "cross_validations", "scale")
FIGURES += ("map", "transfer", "correlation", "dimensions", "fairness")
OF_IMAGES = ("balance", "contact_sheet", "elbow")
# no job where images and models are made on this machine and no file is exported
UNUSED = {"fetch_metadata", "fetch_boundaries", "download_images", "export_images", "fetch_weights"}
# these are asked for by name, or of multimodal models alone
UNUSED |= {"push_positions", "steer_model", "score_steering", "split_countries", "finetune_model"}
UNUSED |= {"compare_finetuning", "compare_prompts", "plot_prompts", "plot_push", "plot_steering", "plot_finetuning"}
UNUSED |= {"write_intervention_tables", "compare_published", "plot_published"}
# where a probe is fitted on one pooling of each tower
UNUSED |= {"plot_poolings"}


def test_every_stage_leaves_its_files(tiny_run):
    results = tiny_run.folder / "results"
    for name in FIGURES:
        for kind in ("png", "pdf"):
            assert (results / f"figures/bluemarble/ridge/{name}.{kind}").stat().st_size > 1000
    for name in OF_IMAGES:
        assert (results / f"figures/bluemarble/{name}.pdf").stat().st_size > 1000
    for model in MODELS:
        for name in ("map", "transfer", "correlation"):
            with Image.open(results / f"figures/bluemarble/ridge/{name}/{model}.png") as picture:
                assert np.asarray(picture.convert("L")).std() > 5
    page = (results / "explorer.html").read_text()
    assert page.count("</script>") == 3
    for table in ("scores", "differences", "clusters", "supervisions", "text_effect", "layers", "baselines"):
        frame = pd.read_csv(results / f"tables/{table}.csv")
        assert len(frame) > 2
        assert r"\toprule" in (results / f"tables/{table}.tex").read_text()
        assert (results / f"tables/{table}.md").read_text().count("\n|") == len(frame) + 2


def test_stores_and_tables_speak_of_the_same_images(tiny_run):
    results = tiny_run.folder / "results"
    with h5py.File(results / "images/bluemarble.h5") as file:
        ids = file["ids"].asstr()[:].tolist()
        digest = file.attrs["digest"]
    assert pd.read_parquet(results / "clusters/bluemarble.parquet")["id"].tolist() == ids
    assert pd.read_parquet(results / "folds/bluemarble.parquet")["id"].tolist() == ids
    for model in MODELS:
        with h5py.File(results / f"features/bluemarble/{model}/none.h5") as file:
            assert file["ids"].asstr()[:].tolist() == ids
            assert file.attrs["images_digest"] == digest
            assert set(file) == {"ids", "vision"}
            assert file["vision/cls/1"].shape == file["vision/mean/0"].shape == (len(ids), 16)


def test_analyses_of_all_models_agree_with_each_other(tiny_run):
    analysis = tiny_run.folder / "results/analysis"
    models = {*MODELS, "colour-histogram"}
    choices = read_summary(analysis / "choices.csv").set_index("family")
    choices = choices[(choices["choice"] == "depth") & (choices["cv"] == "blocked") & (choices["control"] == "none")]
    choices = choices[choices["target"] == "degrees"]
    transfer = pd.read_csv(analysis / "transfer.csv", dtype={"trained_on": str, "tested_on": str})
    assert set(transfer["model"]) == models
    within = transfer[transfer["trained_on"] == transfer["tested_on"]]
    assert len(within) == len(choices) > len(models)
    for row in within.itertuples():
        same = choices[choices["cluster"] == row.tested_on].loc[row.family]
        assert [row.r2, row.low, row.high] == pytest.approx(same[["r2", "low", "high"]].tolist(), abs=1e-4)
        assert row.images == same["images"]
    dimensions = pd.read_csv(analysis / "dimensions.csv")
    whole = dimensions[(dimensions["share"] == 1) & (dimensions["ranking"] == "random")]
    assert set(whole["model"]) == models
    assert whole.groupby(["model", "layer", "axis"])["r2"].agg(np.ptp).max() == 0  # all dimensions, in any order
    fairness = pd.read_csv(analysis / "fairness.csv").query("by != 'all'")
    assert (
        fairness.groupby(["model", "by"])["images"].sum() == choices[choices["cluster"] == "all"]["images"].max()
    ).all()
    correlation = pd.read_csv(analysis / "correlation.csv")
    pairs = pd.read_csv(analysis / "correlations.csv").groupby(["model", "share", "scaled", "axis"])["correlation"]
    means = correlation.set_index(["model", "share", "scaled", "axis"])["correlation"]
    pd.testing.assert_series_equal(means.sort_index(), pairs.mean(), check_names=False)


def test_what_needs_no_features_is_scored_beside_the_probes(tiny_run):
    baselines = pd.read_csv(tiny_run.folder / "results/analysis/baselines.csv", dtype={"cluster": str})
    mean = baselines[(baselines["baseline"] == "training-mean") & (baselines["cluster"] == "all")]
    assert (mean["r2_folds"] <= 0).all()
    assert (mean["r2_folds"] > -0.2).all()
    assert set(baselines["baseline"]) == {"training-mean", "cell-prior"}
    assert set(baselines["cv"]) == {"random", "blocked", "buffered"}


def test_every_left_out_tile_is_counted(tiny_run):
    results = tiny_run.folder / "results"
    for dataset, tiles in (("bluemarble", 400), ("bluemarble-pretrain", 300)):
        rejects = pd.read_parquet(results / f"images/{dataset}.rejects.parquet")
        with h5py.File(results / f"images/{dataset}.h5") as file:
            assert len(file["ids"]) + (rejects["reason"] == "geocell full").sum() == tiles
        balance = pd.read_csv(results / f"images/{dataset}.balance.csv", keep_default_na=False)
        assert balance["listed"].sum() == tiles + (rejects["reason"] != "geocell full").sum()
        assert balance["left_out"].sum() + balance["geocell_full"].sum() == len(rejects)
        assert (rejects["reason"] == "mostly sea").sum() > tiles


def test_every_rule_leaves_a_log_that_ends_well(tiny_run):
    logs = list((tiny_run.folder / "results/logs").rglob("*.log"))
    assert {log.relative_to(tiny_run.folder / "results/logs").parts[0].removesuffix(".log") for log in logs} == {
        path.stem for path in (tiny_run.folder / "workflow/scripts").glob("*.py")
    } - UNUSED
    for log in logs:
        assert "finished after" in log.read_text().splitlines()[-1], log


def test_provenance_is_in_every_store(tiny_run):
    results = tiny_run.folder / "results"
    for path in [*results.glob("images/*.h5"), *results.rglob("none.h5"), *results.glob("probes/**/ridge.h5")]:
        with h5py.File(path) as file:
            assert {"created", "geoprobe", "python", "versions"} <= set(file.attrs), path
            assert "h5py" in json.loads(file.attrs["versions"])


def test_a_second_run_does_nothing(tiny_run):
    start = time.monotonic()
    assert "Nothing to be done" in tiny_run.snakemake().stdout
    print(f"second run: {time.monotonic() - start:.1f} s")


def test_a_deleted_figure_is_redrawn_alone(tiny_run):
    figure = tiny_run.folder / "results/figures/bluemarble/ridge/layers.png"
    figure.unlink()
    assert tiny_run.planned() == {"plot_layers"}
    tiny_run.snakemake()
    assert figure.is_file()
    assert tiny_run.planned() == set()


def test_a_deleted_file_of_a_figure_or_a_table_is_made_again_whatever_its_format(tiny_run, tmp_path):
    results = tiny_run.folder / "results"
    files = [path for name in ("figures", "tables") for path in (results / name).rglob("*") if path.is_file()]
    gone = {path: tmp_path / str(number) for number, path in enumerate(files) if path.suffix not in (".png", ".csv")}
    assert {path.suffix for path in gone} == {".pdf", ".svg", ".tex", ".md"}
    for path, kept in gone.items():
        path.rename(kept)
    try:
        said = tiny_run.snakemake("--dry-run", *TARGETS).stdout
    finally:
        for path, kept in gone.items():
            kept.rename(path)
    reasons = " ".join(re.findall(r"Missing output files: (.*)", said)).replace(",", " ").replace(";", " ").split()
    assert {str(path.relative_to(tiny_run.folder)) for path in gone} <= set(reasons)
    assert tiny_run.planned() == set()


def test_a_figure_that_is_asked_for_by_name_says_why_it_is_empty(tiny_run):
    figure = tiny_run.folder / "results/figures/bluemarble/ridge/poolings.png"
    assert not figure.exists()
    tiny_run.snakemake(figure.relative_to(tiny_run.folder))
    with Image.open(figure) as picture:
        assert np.asarray(picture.convert("L")).std() > 5
    figure.unlink()


def test_the_report_is_one_file_with_every_figure(tiny_run):
    report = tiny_run.folder / "results/report.html"
    tiny_run.snakemake(*TARGETS, "--report", report)
    text = report.read_text()
    for name in FIGURES:
        assert f"{name}.png" in text
    assert "class-based TF-IDF" in text


def test_interventions_are_made_when_they_are_asked_for(tiny_run):
    results = tiny_run.folder / "results"
    assert not (results / "directions").exists()
    tiny_run.snakemake("interventions")
    assert tiny_run.planned(targets=["interventions"]) == set()
    for name in ("ridge/directions/text-places-seed1", "finetuning"):
        assert (results / f"figures/bluemarble/{name}.pdf").stat().st_size > 1000
    pushes = pd.read_csv(results / "directions/bluemarble/text-places-seed1/none/ridge.csv")
    own = pushes[(pushes["kind"] == "probe") & (pushes["block"] == pushes["readout"])]
    assert own["share_moved"].dropna().to_numpy() == pytest.approx(1, abs=1e-2)
    finetuned = pd.read_csv(results / "analysis/finetuning.csv")
    assert set(finetuned["family"]) == {"random", "contrastive", "text-places"}
    assert (finetuned["top5"] >= finetuned["top1"]).all()


def test_results_go_where_directory_says_and_the_default_is_still_loaded(tiny_run, tmp_path):
    planned = tiny_run.planned("--snakefile", tiny_run.folder / "Snakefile", "--directory", tmp_path, folder=tmp_path)
    assert {"build_images", "train_encoder", "fit_probes", "compare_models"} <= planned
    shutil.rmtree(tmp_path / ".snakemake", ignore_errors=True)


def test_training_killed_in_the_middle_resumes_to_the_same_weights(tiny_run, tmp_path):
    """SIGKILL of driver and job after a checkpoint; the rerun ends with the weights of an undisturbed run.

    So it does in a job of its own, as a cluster has it. After an edit of the code it begins anew.
    """
    longer = tmp_path / "longer.yaml"
    longer.write_text("encoders: {training: {presentations: 25600}}\n")
    target = "results/encoders/contrastive-seed1/model.safetensors"
    command = [sys.executable, "-m", "snakemake", target, "--cores", "1", "--rerun-triggers", "mtime"]
    command += ["--snakefile", str(tiny_run.folder / "Snakefile")]
    command += ["--configfile", str(tiny_run.folder / "tests/workflow/tiny.yaml"), str(longer)]
    for name in ("undisturbed", "killed"):
        shutil.copytree(tiny_run.folder / "results/images", tmp_path / name / "results/images")
    subprocess.run(command, cwd=tmp_path / "undisturbed", check=True, capture_output=True)

    killed = tmp_path / "killed"
    checkpoint = killed / "results/encoders/contrastive-seed1/checkpoint.pt"
    with open(tmp_path / "killed.log", "w") as log:
        running = subprocess.Popen(command, cwd=killed, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + 120
        while not checkpoint.is_file():
            assert time.monotonic() < deadline
            assert running.poll() is None, (tmp_path / "killed.log").read_text()
            time.sleep(0.005)
        os.killpg(running.pid, signal.SIGKILL)
        running.wait()
    assert not (killed / target).exists()
    # what a kill leaves behind is Snakemake's lock
    subprocess.run([*command, "--unlock"], cwd=killed, check=True, capture_output=True)
    for name in ("alone", "edited"):
        shutil.copytree(killed, tmp_path / name)
    module = tiny_run.folder / "geoprobe/encoders/augment.py"
    original = module.read_text()
    # as the executor of a cluster starts a job
    alone = ["--mode", "remote", "--force", "--ignore-incomplete", "--nolock", "--allowed-rules", "train_encoder"]
    for folder, options, code in (
        (killed, [], original),
        (tmp_path / "alone", alone, original),
        (tmp_path / "edited", alone, f"{original}\nEDITED = True\n"),
    ):
        module.write_text(code)
        try:
            subprocess.run([*command, *options], cwd=folder, check=True, capture_output=True)
        finally:
            module.write_text(original)
        log = (folder / "results/logs/train_encoder/contrastive-seed1.log").read_text()
        assert ("resumed after epoch" in log) == (code == original)
        assert ("training starts anew" in log) == (code != original)
        assert (folder / target).read_bytes() == (tmp_path / "undisturbed" / target).read_bytes()
        assert not (folder / checkpoint.relative_to(killed)).exists()
