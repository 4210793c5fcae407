"""Redrawing figures from cached tables of the paper's size: seconds and peak memory of each, and of all.

    python benchmarks/figures.py [--folder FOLDER] [--only objectives captions] [--all]

Makes the files of tests/paper_files.py first (some minutes and 2 GB); a folder that is given keeps them for the next
time. Each figure is drawn in a process of its own, imports and reading of its tables included, and one through
Snakemake, whose start comes on top. A run of config/paper.yaml draws each once a data set and probe, or once a model:
`jobs` says how often. With --all every figure of the run is drawn by Snakemake on two cores, and the time is that of
the whole command. The goals are 15 seconds for one figure with Snakemake's start, and 3 minutes for all.
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
DATASET, MODEL = "yfcc100m", "clip-l14"
PROMPTS = ["none", "coordinates", "city", "where"]
POOLINGS = ["cls", "last", "mean"]
JOB = {"dataset": DATASET, "probe": "ridge"}
OF_ALL = JOB | {"prompts": PROMPTS, "target": "degrees"}
CHOSEN = OF_ALL | {"choice": "inner"}
CLOSER = JOB | {"prompts": PROMPTS, "poolings": POOLINGS, "cv": "blocked"}
PAIRS = [{"baseline": "vit-l16", "text": "clip-l14"}, {"baseline": "dinov2-l14", "text": "clip-l14"}]
STORE, CHOICES, FAMILIES = f"images/{DATASET}.h5", "analysis/choices.parquet", "analysis/families.parquet"
RANKING, CLUSTERS = "analysis/localizability.csv", f"clusters/{DATASET}.parquet"
OWN = f"analysis/{DATASET}/{MODEL}/none/ridge"
# Figures of each data set and probe; of each data set and ridge regression; of each data set.
EACH, RIDGE, IMAGES = "{dataset}/{probe}", "{dataset}/ridge", "{dataset}"
# Name to: script, its arguments before paths and resolution (paths are below results/), and where its figures lie.
FIGURES = {
    "objectives": ("plot_objectives", [CHOICES, CHOSEN], EACH),
    "captions": ("plot_captions", [CHOICES, "analysis/differences.csv", CHOSEN], EACH),
    "heatmap": ("plot_heatmap", [CHOICES, RANKING, CHOSEN | {"cv": "blocked"}], EACH),
    "cross_validations": ("plot_cross_validations", [CHOICES, CHOSEN], EACH),
    "scale": ("plot_scale", [CHOICES, "features of all", CHOSEN | {"cv": "blocked"}, PAIRS], EACH),
    "layers": ("plot_layers", [FAMILIES, OF_ALL | {"poolings": POOLINGS}], EACH),
    "poolings": (
        "plot_poolings",
        [FAMILIES, PROMPTS, [*POOLINGS, "maxmin"], 1.0, JOB | {"target": "degrees", "cv": "blocked"}],
        EACH,
    ),
    "prompts": (
        "plot_prompts", ["analysis/prompt_curves.csv", JOB | {"target": "degrees", "cv": "blocked"}, "text"], EACH,
    ),
    "localizability": ("plot_localizability", [RANKING, CLUSTERS, STORE, DATASET, "ridge"], EACH),
    "map": ("plot_maps", [STORE, "fits of all", "labels", POOLINGS, "degrees", "blocked"], EACH),
    "fairness": ("plot_fairness", ["analysis/fairness.csv", CLOSER | {"target": "degrees"}], EACH),
    "transfer": ("plot_transfers", ["analysis/transfer.csv", RANKING, CLOSER | {"target": "degrees"}], RIDGE),
    "correlation": ("plot_correlation_summary", ["analysis/correlation.csv", CLOSER, "raw"], RIDGE),
    "dimensions": ("plot_dimensions", ["analysis/dimensions.csv", CLOSER], RIDGE),
    "directions": ("plot_push", [f"directions/{DATASET}/{MODEL}/none/ridge.csv"], "{dataset}/ridge/directions"),
    "balance": (
        "plot_balance",
        [STORE, f"images/{DATASET}.rejects.parquet", f"images/{DATASET}.balance.csv", DATASET],
        IMAGES,
    ),
    "contact_sheet": ("plot_contact_sheet", [CLUSTERS, STORE], IMAGES),
    "finetuning": (
        "plot_finetuning", ["analysis/finetuning.csv", "analysis/finetuning_rates.csv", "landmarks"], "landmarks",
    ),
    "steering": (
        "plot_steering",
        ["steering/steering-landmarks/qwen2-5-vl-3b/landmark.csv", "Qwen2.5-VL-3B"],
        "steering-landmarks/steering",
    ),
    "published": ("plot_published", ["analysis/published.csv"], ""),
    # of one model, which the paper's run draws where it is asked for
    "map of a model": (
        "plot_map", [STORE, f"probes/{DATASET}/{MODEL}/none/ridge.h5", MODEL, POOLINGS, "degrees", "blocked"], None,
    ),
    "transfer of a model": ("plot_transfer", [f"{OWN}/transfer.csv", RANKING, DATASET, "ridge", MODEL], None),
    "correlation of a model": (
        "plot_correlation",
        [
            *(f"{OWN}/correlations.csv", f"{OWN}/correlation.csv", RANKING, DATASET, "ridge"),
            {"share": 1.0, "scaled": "raw"},
            MODEL,
        ],
        None,
    ),
}  # fmt: skip
MODELS = {"directions": ["clip-l14", "dinov2-l14"], "steering": ["qwen2-5-vl-3b", "llava-1-5-7b", "gemma-3-4b-it"]}
# Drawn by Snakemake too, for its start.
FIRST = "objectives"


def targets(name):
    """Paths of a figure in a run of config/paper.yaml."""
    where = FIGURES[name][2]
    if where is None:
        return []
    folders = dict.fromkeys(
        where.format(dataset=dataset, probe=probe) for dataset in (DATASET, "landmarks") for probe in ("ridge", "mlp")
    )
    names = MODELS.get(name, [name])
    return [str(Path("results/figures", folder, f"{last}.png")) for folder in folders for last in names]


def resolve(value, folder):
    """An argument of a script: a path below results/, files of all models, or as it is."""
    import paper_size

    models = paper_size.models()
    results = folder / "results"
    named = {
        "features of all": {name: results / f"features/{DATASET}/{name}/none.h5" for name in models},
        "fits of all": {name: results / f"probes/{DATASET}/{name}/none/ridge.h5" for name in models},
        "labels": {name: row["label"] for name, row in models.items()},
    }
    if isinstance(value, str):
        return named.get(value, results / value if "." in value and "/" in value else value)
    return value


def draw_one(name, folder):
    """Draw one figure in this process; prints seconds of CPU time and the peak of the process in MB as JSON."""
    import resource

    from geoprobe.runtime import peak_mb

    script, arguments, _ = FIGURES[name]
    spec = importlib.util.spec_from_file_location(script, ROOT / "workflow" / "scripts" / f"{script}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    drawn = [folder / "drawn" / f"{name.replace(' ', '_')}.{kind}" for kind in ("png", "pdf", "svg")]
    module.plot(*(resolve(value, folder) for value in arguments), drawn[: 3 if writes_svg(script) else 2], DPI)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    print(json.dumps({"cpu_s": usage.ru_utime + usage.ru_stime, "peak_mb": peak_mb()}))


def writes_svg(script):
    """Whether a rule writes SVG as well."""
    rules = "".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    rule = rules.split(f"rule {script}:", maxsplit=1)[1].split("\nrule ", maxsplit=1)[0]
    return "svg=" in rule


def timed(command):
    """Wall time of a command in seconds, and the last line of its output."""
    start = time.perf_counter()
    done = subprocess.run([*map(str, command)], cwd=ROOT, text=True, capture_output=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{done.stderr[-3000:]}")
    return time.perf_counter() - start, (done.stdout.splitlines() or [""])[-1]


def by_snakemake(folder, paths):
    """Seconds that Snakemake takes to draw the figures at these paths anew."""
    for path in paths:
        (folder / path).unlink(missing_ok=True)
    command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--directory", folder]
    command += ["--configfile", ROOT / "config" / "paper.yaml", "--cores", CORES, "--quiet", "all"]
    return timed([*command, "--rerun-triggers", "mtime", "--", *paths])[0]


def main():
    """Read the options; draw one figure here, or all in processes of their own."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--only", nargs="*", choices=FIGURES, default=list(FIGURES))
    parser.add_argument("--all", action="store_true", help="every figure of the run by Snakemake")
    parser.add_argument("--one", choices=FIGURES, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        draw_one(options.one, options.folder)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = (options.folder or Path(temporary)).resolve()
        if not (folder / "done").exists():
            import paper_files

            paper_files.write_files(folder)
            (folder / "done").touch()
        report(folder, options.only)
        if options.all:
            paths = [path for name in FIGURES for path in targets(name)]
            seconds = by_snakemake(folder, paths)
            print(f"all {len(paths)} figures on {CORES} cores by Snakemake: {seconds:.0f} s (goal {GOAL_ALL} s)")


def report(folder, names):
    """Time figures by name, and one by Snakemake; prints a table."""
    rows = []
    for name in names:
        seconds, said = timed([sys.executable, __file__, "--one", name, "--folder", folder])
        rows.append({"figure": name, "seconds": seconds, "jobs": len(targets(name))} | json.loads(said))
        print(f"{name}: {seconds:.1f} s", file=sys.stderr)
    seconds = by_snakemake(folder, targets(FIRST)[:1])
    rows.append({"figure": f"{FIRST}, by Snakemake", "seconds": seconds, "jobs": 1})
    print(pd.DataFrame(rows).round(1).to_markdown(index=False))
    start = seconds - next((row["seconds"] for row in rows if row["figure"] == FIRST), seconds)
    slowest = max(row["seconds"] for row in rows[:-1] or rows) + start
    print(f"slowest with Snakemake's start: {slowest:.0f} s (goal {GOAL_ONE} s)")


if __name__ == "__main__":
    main()
