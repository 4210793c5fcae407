"""How long Snakemake takes to plan a run of many shards, with how many jobs, and how much memory.

A data set of addresses of N download shards and N feature shards, one public model, one probe: nothing is fetched, for
`snakemake -n` reads no image. There is no job an image: jobs grow with shards.

    python benchmarks/dag.py --shards 100 1000 10000
    python benchmarks/dag.py --shards 10000 --batch build_images=1/10 --target results/images/many.h5
"""

import argparse
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent


def configuration(shards, folder):
    """A configuration of so many shards, with a table of one image in `folder`."""
    table = Path(folder, "images.csv")
    table.write_text("url,latitude,longitude\nhttps://example.org/1.jpg,1,2\n", encoding="utf-8")
    balance = {"minimum": 5, "maximum": 20, "seed": 1}
    data = {"source": "urls", "path": str(table), "shards": shards, "caption_sets": ["scenery"], "balance": balance}
    return {
        "run": {"datasets": ["many"], "models": ["colour-histogram"]},
        "datasets": {"many": data},
        "features": {"shards": shards},
    }


def cpu_seconds():
    """CPU time of all processes that have been started and have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def plan(shards, target, batch=None):
    """Seconds, seconds of CPU, jobs and peak memory in MB of a dry run, or of one batch of a rule's inputs.

    Raises:
        subprocess.CalledProcessError: Snakemake refuses the configuration; its message has been printed.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "many.yaml")
        path.write_text(yaml.safe_dump(configuration(shards, folder)), encoding="utf-8")
        command = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--directory", folder]
        command += ["--cores", "1", "-n", "--quiet", "rules", "--configfile", str(path)]
        command += [*(["--batch", batch] if batch else []), "--", target]
        start, before = time.monotonic(), cpu_seconds()
        done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
        seconds, used = time.monotonic() - start, cpu_seconds() - before
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-2000:], file=sys.stderr)
        done.check_returncode()
    jobs = re.search(r"^total\s+(\d+)", done.stdout + done.stderr, re.MULTILINE)
    # the highest of all children so far: sizes are run from small to large
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return seconds, used, int(jobs[1]), peak


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--target", default="results/features/many/colour-histogram/none.h5")
    parser.add_argument("--batch", help="such as build_images=1/10; see Snakemake's --batch")
    arguments = parser.parse_args()
    print("shards  jobs    seconds  CPU s    MB")
    for number in sorted(arguments.shards):
        took, used, count, memory = plan(number, arguments.target, arguments.batch)
        print(f"{number:<7} {count:<7} {took:<8.1f} {used:<8.1f} {memory:.0f}", flush=True)
