"""The workflow on a real SLURM that the tests start: `snakemake --cores 8 --profile slurm` in a copy of the project.

What SLURM itself says of each job (scontrol) is held against what the rules and the registry ask for. Then jobs are
cancelled and killed, an input is cut short, and the driver dies; the outputs must be those of the undisturbed run.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import local_cluster
import pandas as pd
import pytest
import yaml
from conftest import copy_project
from image_server import ImageServer
from real_towns import towns

from geoprobe.models.registry import COLUMNS
from tests.faults.comparison import differences

pytestmark = [pytest.mark.slurm, pytest.mark.workflow]

COMMAND = ("snakemake", "--cores", "8", "--profile", "slurm")
# First looked at when a job here has just ended, as the plugin then waits longer and longer.
TRIAL = ("--slurm-init-seconds-before-status-checks", "13")
# No CUDA device is here, so what `device: cuda` would ask for is asked for by hand.
GPU = ("--set-resources", "train_encoder:gpu=1", "extract_features:gpu=1")
ENCODER, TIGHT = "text-places-seed1", "tight"
CONFIG = {
    "run": {"models": ["text-places", TIGHT]},
    "registry": "models.tsv",
    "datasets": {
        "bluemarble-pretrain": {"tiles": 200, "tile_pixels": 16, "ground_km": 14},
        "bluemarble": {"tiles": 200, "tile_pixels": 16, "ground_km": 14},
    },
    "encoders": {
        "architecture": {"image_size": 16, "patch_size": 8, "width": 16, "depth": 2, "heads": 2},
        "training": {"presentations": 640, "batch_size": 32},
    },
    "clusters": {"count": 2},
    "folds": {"count": 3, "buffer_km": 200},
    "probes": {"ridge": {"cv": ["random", "blocked"], "controls": ["none"]}},
    "features": {"batch_size": 50},
    "analysis": {"bootstrap": 20},
}
# Half a GB is less than Python with its libraries takes; twice that is enough.
ROW = {"model": TIGHT, "label": "Tight", "loader": "histogram", "id": "none", "revision": "none", "weights": "none"}
ROW |= {"supervision": "baseline", "geolocation": "no", "dtype": "float32", "memory_gb": "0.5"}
FEATURES = "results/features/bluemarble/{}/none.h5"
FITS = f"results/probes/bluemarble/{ENCODER}/none/ridge.h5"
FOLDS = "results/folds/bluemarble.parquet"
SCORED = f"results/analysis/bluemarble/{ENCODER}/none/ridge/scores.parquet"


class Run:
    """The copy of the project, the cluster, and what is done with both."""

    def __init__(self, folder, cluster):
        self.folder, self.cluster, self.results = folder, cluster, folder / "results"
        self.undisturbed = folder / "undisturbed"

    def start(self, *targets, options=(), **environment):
        """Start Snakemake; its output can be read from driver.log."""
        with open(self.folder / "driver.log", "w") as log:
            return subprocess.Popen(
                [sys.executable, "-m", *COMMAND, *TRIAL, *options, "--configfile", "tiny.yaml", "--", *targets],
                cwd=self.folder,
                env=self.cluster.environment() | environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def finish(self, driver, status=0):
        """Wait for Snakemake to end as it should; returns what it said."""
        try:
            driver.wait(timeout=1800)
        finally:
            driver.kill()
            driver.wait()
        assert driver.returncode == status, self.said()[-6000:]
        return self.said()

    def said(self):
        return (self.folder / "driver.log").read_text()

    def jobs(self, rule, after=0):
        """What SLURM knows of the jobs of a rule, first to last, that came after a job's number."""
        return [job for job in self.cluster.jobs() if rule_of(job) == rule and int(job["JobId"]) > after]

    def unlike(self):
        """What differs from the undisturbed run, is missing, or was left over."""
        return differences(self.undisturbed, self.results)

    def remove(self, *paths):
        """Remove results that are to be made anew, with the shards that they are made of."""
        for path in paths:
            shutil.rmtree((self.folder / path).with_suffix(""), ignore_errors=True)
            (self.folder / path).unlink()

    def check_told(self, rule, log, pattern):
        """Snakemake names a failed job's log, whose last line says why."""
        assert log in self.said().split(f"Error in rule {rule}")[1]
        last = (self.folder / log).read_text().splitlines()[-1]
        assert re.match(pattern, last), last

    def last_number(self):
        return int(self.cluster.jobs()[-1]["JobId"])

    def process(self, rule, after):
        """Number of the job, and of the process that runs the script of a rule in it, as soon as there is one."""
        end = time.monotonic() + 600
        while time.monotonic() < end:
            for job in self.jobs(rule, after):
                for entry in Path("/proc").glob("[0-9]*"):
                    with contextlib.suppress(OSError):
                        if f"SLURM_JOB_ID={job['JobId']}\0" in (entry / "environ").read_text():
                            arguments = (entry / "cmdline").read_text().split("\0")
                            if len(arguments) > 1 and arguments[1].endswith(f"{rule}.py"):
                                return job["JobId"], int(entry.name)
            time.sleep(0.1)
        raise AssertionError(f"no process of {rule} after ten minutes\n{self.said()[-3000:]}")

    def hold(self, rule, after):
        """As :meth:`process`; the process is stopped when it has begun its log, so that it is not through too early."""
        number, process = self.process(rule, after)
        with contextlib.suppress(ProcessLookupError):
            while True:
                os.kill(process, signal.SIGSTOP)
                held = []
                with contextlib.suppress(FileNotFoundError):  # it was not stopped yet, and closed a file
                    for link in Path(f"/proc/{process}/fd").iterdir():
                        held.append(os.readlink(link))
                if any(name.startswith(str(self.results / "logs")) and name.endswith(".log") for name in held):
                    return number, process
                os.kill(process, signal.SIGCONT)
                time.sleep(0.01)
        raise AssertionError(f"the job of {rule} ended before it was stopped\n{self.said()[-3000:]}")


def rule_of(job):
    """The rule of a job, from the comment that the executor writes."""
    return re.fullmatch(r"rule_(\w+?)(_wildcards_.*)?", job["Comment"]).group(1)


def megabytes(text):
    """MB of what scontrol says of a job's memory."""
    return round(float(text[:-1]) * {"M": 1, "G": 1024}[text[-1]])


def minutes(text):
    """Minutes of what scontrol says of a job's time limit, [days-]hours:minutes:seconds."""
    days, _, clock = text.rpartition("-")
    hours, minute, _ = map(int, clock.split(":"))
    return int(days or 0) * 1440 + hours * 60 + minute


def submitted(said):
    """What Snakemake gave out as resources of each job that it submitted, by the number that SLURM gave the job."""
    resources, found = {}, {}
    for block in re.split(r"\n(?=rule |localrule |Job \d+ has been)", said):
        if match := re.match(r"Job (\d+) has been submitted with SLURM jobid (\d+)", block):
            found[match[2]] = resources[match[1]]
        elif match := re.search(r"jobid: (\d+)\n.*?resources: (.*)", block, re.DOTALL):
            resources[match[1]] = dict(part.split("=", 1) for part in match[2].splitlines()[0].split(", "))
            threads = re.search(r"threads: (\d+)", block)
            resources[match[1]]["threads"] = threads[1] if threads else "1"
    return found


@pytest.fixture(scope="module")
def cluster():
    """A SLURM of its own, for the tests of this file."""
    if reason := local_cluster.why_not():
        pytest.skip(reason)
    pytest.importorskip("snakemake_executor_plugin_slurm", reason="requirements.txt is not installed")
    # not below pytest's folder, which munged refuses, as others may not enter it
    with tempfile.TemporaryDirectory(prefix="geoprobe-slurm-", ignore_cleanup_errors=True) as folder:
        cluster = local_cluster.Cluster(folder)
        try:
            cluster.start()
            yield cluster
        finally:
            cluster.stop()


@pytest.fixture(scope="module")
def run(cluster, tmp_path_factory):
    """The tiny run, made on the cluster from nothing to a model's scores, with one GPU at a time."""
    folder = copy_project(tmp_path_factory.mktemp("cluster") / "geoprobe").folder
    (folder / "tiny.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "models.tsv").write_text(
        "\n".join("\t".join(line) for line in (COLUMNS, [ROW[name] for name in COLUMNS]))
    )
    run = Run(folder, cluster)
    site = {"SBATCH_PARTITION": "main", "SBATCH_ACCOUNT": "lab"}
    driver = run.start(SCORED, FEATURES.format(TIGHT), options=[*GPU, "--resources", "gpu=1"], **site)
    run.text = run.finish(driver)
    run.first = run.cluster.jobs()
    shutil.copytree(run.results, run.undisturbed)
    return run


def test_every_stage_is_a_job_of_slurm_but_what_belongs_to_the_submit_host(run):
    states = {}
    for job in run.first:
        states.setdefault(rule_of(job), []).append(job["JobState"])
    remote = {"plan_images": 2, "build_images": 2, "train_encoder": 1, "assign_clusters": 1, "assign_folds": 1}
    remote |= {"extract_features": 2, "fit_probes": 1, "score_probe": 1}
    assert {rule: found.count("COMPLETED") for rule, found in states.items()} == remote
    assert {(job["Partition"], job["Account"]) for job in run.first} == {("main", "lab")}
    for model in (ENCODER, TIGHT):
        joined = (run.results / f"logs/join_features/bluemarble/{model}/none.log").read_text()
        extracted = (run.results / f"logs/extract_features/bluemarble/{model}/none/0.log").read_text()
        assert "SLURM job" not in joined
        assert "SLURM job" in extracted


def test_slurm_is_asked_for_what_the_rules_ask_for(run):
    asked = submitted(run.text)
    assert set(asked) == {job["JobId"] for job in run.first}
    for job in run.first:
        resources = asked[job["JobId"]]
        assert megabytes(job["MinMemoryNode"]) == int(resources["mem_mb"]), job
        assert minutes(job["TimeLimit"]) == int(resources["runtime"]), job
        assert job["NumCPUs"] == resources["threads"], job
        assert job["Requeue"] == "0"


def test_gpu_jobs_get_a_gpu_and_no_more_run_at_once_than_the_cap(run):
    gpu_jobs = [job for job in run.first if rule_of(job) in ("train_encoder", "extract_features")]
    for job in run.first:
        assert job.get("TresPerJob") == ("gres:gpu:1" if job in gpu_jobs else None)
    assert {job["NodeList"] for job in gpu_jobs} == {"fast"}
    for log in ("train_encoder/text-places-seed1.log", f"extract_features/bluemarble/{ENCODER}/none/0.log"):
        assert re.search(r"SLURM job \d+, node fast, GPU [01]$", (run.results / "logs" / log).read_text(), re.MULTILINE)
    times = sorted((job["StartTime"], job["EndTime"]) for job in gpu_jobs)
    assert all(one[1] <= other[0] for one, other in pairwise(times))


def test_a_job_that_ran_out_of_memory_asks_for_more(run):
    jobs = [job for job in run.first if job["Comment"].endswith(f"bluemarble_{TIGHT}_none_0")]
    # the registry's half a GB, and 120 minutes a GB; then as much again
    assert [(megabytes(job["MinMemoryNode"]), minutes(job["TimeLimit"])) for job in jobs] == [(500, 60), (1000, 120)]
    assert jobs[0]["JobState"] in ("FAILED", "OUT_OF_MEMORY")
    assert jobs[1]["JobState"] == "COMPLETED"
    (log,) = re.findall(rf"submitted with SLURM jobid {jobs[0]['JobId']} \(log: (.*)\)", run.text)
    assert "memory limit" in Path(log).read_text()
    assert log in run.text.split("Error in rule extract_features")[1]


def test_a_failed_job_names_its_log_which_says_why(run):
    whole = run.folder / "whole.h5"
    shutil.copy2(run.folder / FITS, whole)
    os.truncate(run.folder / FITS, whole.stat().st_size // 2)
    said = run.finish(run.start(SCORED, options=["--retries", "0"]), status=1)
    log = f"results/logs/score_probe/bluemarble/{ENCODER}/none/ridge.log"
    run.check_told("score_probe", log, rf"ValueError: {FITS} is damaged or was cut off .*truncated")
    assert (run.folder / log).read_text().splitlines()[-1] in said
    assert not (run.folder / SCORED).exists()
    whole.replace(run.folder / FITS)
    run.finish(run.start(SCORED))
    assert run.unlike() == []


def test_cancelled_and_killed_jobs_are_made_again_alike(run):
    last = run.last_number()
    run.remove(FEATURES.format(ENCODER), FOLDS)
    # a file of the site with its partitions: the one with GPUs is for jobs that ask for one
    (run.folder / "site.yaml").write_text("partitions:\n  main: {max_runtime: 7d}\n  gpus: {max_gpu: 2}\n")
    site = {"SNAKEMAKE_SLURM_PARTITIONS": str(run.folder / "site.yaml")}
    driver = run.start(FEATURES.format(ENCODER), FOLDS, options=GPU, **site)
    _, process = run.hold("assign_folds", last)
    os.kill(process, signal.SIGKILL)
    number, _ = run.hold("extract_features", last)
    run.cluster.command("scancel", number)
    run.finish(driver)
    assert run.unlike() == []
    jobs = {rule: run.jobs(rule, last) for rule in ("assign_folds", "extract_features")}
    states = {rule: [job["JobState"] for job in found] for rule, found in jobs.items()}
    assert states == {"assign_folds": ["FAILED", "COMPLETED"], "extract_features": ["CANCELLED", "COMPLETED"]}
    partitions = {rule: {job["Partition"] for job in found} for rule, found in jobs.items()}
    assert partitions == {"assign_folds": {"main"}, "extract_features": {"gpus"}}


def test_a_node_that_is_lost_and_a_cancelled_job_are_told_and_made_up_for(run):
    last = run.last_number()
    run.remove(FEATURES.format(ENCODER), FOLDS)
    apart = ["--set-resources", "train_encoder:gpu=1", "extract_features:gpu=1"]
    apart += ["assign_folds:slurm_extra=--nodelist=plain", "--retries", "0"]
    driver = run.start(FEATURES.format(ENCODER), FOLDS, options=apart)
    number, _ = run.hold("assign_folds", last)
    run.cluster.command("scancel", number)
    run.hold("extract_features", last)
    run.cluster.lose_node("fast")
    run.finish(driver, status=1)
    states = {rule: run.jobs(rule, last)[0]["JobState"] for rule in ("assign_folds", "extract_features")}
    assert states == {"assign_folds": "CANCELLED", "extract_features": "NODE_FAIL"}
    run.check_told("assign_folds", "results/logs/assign_folds/bluemarble.log", "ended by SIGTERM")
    run.check_told(
        "extract_features",
        f"results/logs/extract_features/bluemarble/{ENCODER}/none/0.log",
        "ended without a word of its own: killed",
    )
    run.cluster.bring_back_node("fast")
    run.finish(run.start(FEATURES.format(ENCODER), FOLDS))
    assert run.unlike() == []


def test_a_driver_that_died_is_followed_by_another_as_the_readme_says(run):
    last = run.last_number()
    run.remove(FEATURES.format(ENCODER))
    driver = run.start(FEATURES.format(ENCODER))
    run.process("extract_features", last)
    beside = subprocess.run([sys.executable, "-m", *COMMAND, "--configfile", "tiny.yaml", "--", "all"], cwd=run.folder,
                            env=run.cluster.environment(), text=True, capture_output=True)  # fmt: skip
    assert beside.returncode == 1
    assert "cannot be locked" in beside.stderr
    driver.kill()
    driver.wait()
    (name,) = re.findall(r"SLURM run ID: (\S+)", run.said())
    run.cluster.command("scancel", "--name", name)
    run.cluster.wait_for("the end of the orphan", lambda: not run.cluster.command("squeue", "-h"))
    assert run.jobs("extract_features", last)[0]["JobState"] in ("CANCELLED", "COMPLETED")
    run.finish(run.start(options=["--unlock"]))
    run.finish(run.start(FEATURES.format(ENCODER)))
    assert run.unlike() == []


def test_a_driver_that_is_started_while_the_jobs_of_a_dead_one_still_run_does_no_harm(run):
    last = run.last_number()
    run.remove(FEATURES.format(ENCODER))
    driver = run.start(FEATURES.format(ENCODER))
    number, process = run.hold("extract_features", last)
    driver.kill()
    driver.wait()
    run.finish(run.start(options=["--unlock"]))
    driver = run.start(FEATURES.format(ENCODER))
    try:
        run.process("extract_features", int(number))
    finally:
        os.kill(process, signal.SIGCONT)
    run.finish(driver)
    assert [job["JobState"] for job in run.jobs("extract_features", last)][1:] == ["COMPLETED"]
    assert run.unlike() == []


def test_what_asks_the_network_runs_on_the_submit_host(run):
    positions, _ = towns(4, seed=3, jitter_km=1.0)
    last = run.last_number()
    with ImageServer() as server:
        addresses = [f"{server.root}/ok/{row}.jpg" for row in range(4)]
        frame = pd.DataFrame({"url": addresses, "latitude": positions[:, 0], "longitude": positions[:, 1]})
        frame.to_csv(run.folder / "street.csv", index=False)
        balance = {"minimum": 1, "maximum": 5, "seed": 1}
        street = {"source": "urls", "path": "street.csv", "balance": balance, "caption_sets": ["places"]}
        limits = {"limits": {"allow_private": True}}
        config = CONFIG | {"datasets": {**CONFIG["datasets"], "street": street}, "download": limits}
        (run.folder / "tiny.yaml").write_text(yaml.safe_dump(config))
        run.finish(run.start("results/downloads/street/0.parquet"))
    assert [rule_of(job) for job in run.cluster.jobs() if int(job["JobId"]) > last] == ["plan_images"]
    assert "SLURM job" not in (run.results / "logs/download_images/street/0.log").read_text()
    assert pd.read_parquet(run.results / "downloads/street/0.parquet")["status"].tolist() == ["ok"] * 4
