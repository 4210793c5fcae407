"""What several tests share: a copy of the project, and the tiny run through Snakemake in it."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent
TINY = ROOT / "tests" / "workflow" / "tiny.yaml"
MADE = (".git", ".venv", ".snakemake", "results", "__pycache__", ".pytest_cache", ".ruff_cache", ".hypothesis")
LEFT_OUT = shutil.ignore_patterns(*MADE)
TARGETS = ("all", "analyses")
# `make fuzz` has the long one; what it finds is kept in .hypothesis/ and tried first the next time
settings.register_profile("short", max_examples=25, deadline=None, derandomize=True, database=None)
settings.register_profile(
    "long", max_examples=1000, deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("short")
STATS = re.compile(r"^Job stats:\njob +count\n[- ]+\n(.*?)^total ", re.MULTILINE | re.DOTALL)


class Project:
    """A copy of the project in a folder of its own, in which Snakemake can be run and files edited."""

    def __init__(self, folder):
        self.folder = Path(folder)

    def snakemake(self, *arguments, config=TINY, check=True, folder=None):
        """Run Snakemake with the tiny configuration; returns the finished process with its output as text."""
        command = [sys.executable, "-m", "snakemake"]
        # before an option of one value: --configfile takes all that follows it, targets as well
        command += ["--configfile", str(config)] if config is not None else []
        command += ["--cores", "2"]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [*command, *map(str, arguments)],
            cwd=folder or self.folder,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        if check and done.returncode:
            raise AssertionError(f"snakemake {' '.join(map(str, arguments))}\n{done.stdout[-6000:]}")
        return done

    def planned(self, *arguments, targets=TARGETS, **options):
        """Rules that a dry run would run, without the target rules."""
        output = self.snakemake("--dry-run", *targets, *arguments, **options).stdout
        if "Nothing to be done" in output:
            return set()
        return {line.split()[0] for line in STATS.search(output).group(1).splitlines()} - {*targets}


def copy_project(folder):
    """Copy the project's own files, without what runs have made."""
    shutil.copytree(ROOT, folder, ignore=LEFT_OUT, dirs_exist_ok=True)
    return Project(folder)


@pytest.fixture(autouse=True)
def _close_figures():
    """No figure outlives its test; matplotlib warns of many that are open, and a warning is an error."""
    yield
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


@pytest.fixture(scope="module")
def one_thread():
    """Small products are slower on several threads, and their rounding may hang on how they are shared out."""
    import torch  # of use to some modules alone

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def direct(monkeypatch):
    """No proxy stands between a test and its server, and back-off takes a hundredth of its time."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.setenv(name, "*")
    monkeypatch.setattr("geoprobe.images.http.BACKOFF_S", 0.01)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A copy of the project in which the tiny configuration has been run to the end.

    The run is made once and copied, with its time stamps, to each process that tests: some tests edit its files.
    """
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "tiny"
    with FileLock(f"{shared}.lock"):
        if not (shared / "done").exists():
            copy_project(shared / "geoprobe").snakemake(*TARGETS)
            (shared / "done").touch()
    return Project(shutil.copytree(shared / "geoprobe", tmp_path_factory.mktemp("run") / "geoprobe"))
