"""Redrawing figures from cached tables of the paper's size: seconds and peak memory of each, and of all.

    python benchmarks/figures.py [--folder FOLDER] [--only objectives captions]

Makes the tables of tests/paper_size.py first; a folder that is given keeps them for the next time. Each figure is
drawn in a process of its own, imports and reading of its tables included, and one through Snakemake, whose start comes
on top. A run of config/paper.yaml draws each once a data set and probe, or once a model: `jobs` says how often, and the
last lines add up what all of them take on two cores. The goals are 15 seconds for one figure with Snakemake's start,
and 3 minutes for all.
"""

import argparse
import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

GOAL_ONE, GOAL_ALL, CORES, DPI = 15, 180, 2, 200
PROMPTS = ["none", "coordinates", "city", "where"]
HEADLINE = {"dataset": "yfcc100m", "probe": "ridge", "prompts": PROMPTS, "choice": "inner", "target": "degrees"}
BLOCKED = HEADLINE | {"cv": "blocked"}
LAYERS = {name: HEADLINE[name] for name in ("dataset", "probe", "prompts", "target")}
# Name to: script, its arguments before paths and resolution (names that end in .csv are tables), jobs in the run.
FIGURES = {
    "objectives": ("plot_objectives", ["analysis/choices.csv", HEADLINE], 4),
    "captions": ("plot_captions", ["analysis/choices.csv", "analysis/differences.csv", HEADLINE], 4),
    "heatmap": ("plot_heatmap", ["analysis/choices.csv", "analysis/localizability.csv", BLOCKED], 4),
    "layers": ("plot_layers", ["analysis/families.csv", LAYERS | {"poolings": ["cls", "last", "mean"]}], 4),
    "prompts": ("plot_prompts", ["analysis/prompt_curves.csv", BLOCKED, "text"], 4),
    "finetuning": ("plot_finetuning", ["analysis/finetuning.csv", "analysis/finetuning_rates.csv", "landmarks"], 1),
    "steering": ("plot_steering", ["steering.csv", "Qwen2.5-VL-3B"], 3),
}
# Drawn by Snakemake too, for its start.
TARGET = "results/figures/yfcc100m/ridge/objectives.png"


def draw_one(name, folder):
    """Draw one figure in this process; prints seconds of CPU time and the peak of the process in MB as JSON."""
    import resource

    from geoprobe.runtime import peak_mb

    script, arguments, _ = FIGURES[name]
    spec = importlib.util.spec_from_file_location(script, ROOT / "workflow" / "scripts" / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    tables = [folder / "results" / value if str(value).endswith(".csv") else value for value in arguments]
    module.plot(*tables, [folder / "drawn" / f"{name}.{kind}" for kind in ("png", "pdf", "svg")], DPI)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": peak_mb()}))


def timed(command, folder):
    """Wall time of a command in seconds, and the last line of its output."""
    start = time.perf_counter()
    done = subprocess.run(command, cwd=folder, text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr[-3000:]}")
    return time.perf_counter() - start, (done.stdout.splitlines() or [""])[-1]


def main():
    """Read the options; draw one figure here, or all in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", nargs="+", choices=FIGURES, default=list(FIGURES))
    parser.add_argument("--one", choices=FIGURES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        draw_one(options.one, options.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        report((options.folder or Path(temporary)).resolve(), options.only)


def report(folder, names):
    """Time figures by name, and one by Snakemake; prints a table."""
    if not (folder / "done").exists():
        import paper_size

        paper_size.write_tables(folder)
        paper_size.steering().to_csv(folder / "results" / "steering.csv", index=False)
        (folder / "done").touch()
    rows = []
    for name in names:
        seconds, said = timed([sys.executable, __file__, "--one", name, "--folder", folder], ROOT)
        rows.append({"figure": name, "seconds": seconds, "jobs": FIGURES[name][2]} | json.loads(said))
        print(f"{name}: {seconds:.1f} s", file=sys.stderr)
    (folder / TARGET).unlink(missing_ok=True)
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder]
    command += ["--configfile", ROOT / "config" / "paper.yaml", "--cores", CORES]
    command += ["--rerun-triggers", "mtime", "--", TARGET]
    seconds, _ = timed(list(map(str, command)), ROOT)
    rows.append({"figure": "objectives, by Snakemake", "seconds": seconds, "jobs": 1})
    table = pd.DataFrame(rows).round(1)
    print(table.to_markdown(index=False))
    start = seconds - next((row["seconds"] for row in rows if row["figure"] == "objectives"), seconds)
    slowest = max(row["seconds"] for row in rows[:-1]) + start
    together = start + sum(row["seconds"] * row["jobs"] for row in rows[:-1]) / CORES
    print(f"slowest with Snakemake's start: {slowest:.0f} s (goal {GOAL_ONE} s)")
    print(f"all on {CORES} cores: {together:.0f} s (goal {GOAL_ALL} s)")


if __name__ == "__main__":
    main()
