"""Choose the options of training that all objectives share, on geographic blocks from which no result is made.

    python benchmarks/training_options.py [--folder tuning] [--cores 2]

Trains the masked, the contrastive and the image-text encoder once a setting, each setting differing from the first in
one option, and scores them on the part `tune` of the Blue Marble (config/tuning.yaml). The choice is the setting with
the highest mean over the three objectives of R2 at the last layer with blocks held out: it favours no objective. A
setting that has been run is not run again.
"""

import argparse
import subprocess
import sys
from pathlib import Path

import pandas as pd
import yaml

ROOT = Path(__file__).resolve().parent.parent
FIRST = {"colour": 0.1, "crop": 0.3, "learning_rate": 0.001}
OTHERS = (
    {"colour": 0.0},
    {"colour": 0.2},
    {"colour": 0.4},
    {"crop": 0.15},
    {"learning_rate": 0.002},
)
SUMMARY = Path("results/analysis/families.csv")


def run_setting(setting, folder, cores):
    """Train and score the three objectives with one setting; returns R2 by objective.

    Raises:
        subprocess.CalledProcessError: the run failed; its output has been printed.
    """
    name = "-".join(f"{key}-{value}" for key, value in setting.items())
    kept = folder / f"{name}.csv"
    if not kept.is_file():
        delta = folder / f"{name}.yaml"
        delta.write_text(yaml.safe_dump({"encoders": {"training": setting}}))
        command = [sys.executable, "-m", "snakemake", "--snakefile", ROOT / "Snakefile", "--cores", cores, "--quiet"]
        command += ["all", "--directory", folder, "--configfile", ROOT / "config/tuning.yaml", delta.resolve()]
        subprocess.run([*map(str, command), "--", str(SUMMARY)], check=True)
        pd.read_csv(folder / SUMMARY, dtype={"cluster": str}).to_csv(kept, index=False)
    scores = pd.read_csv(kept, dtype={"cluster": str})
    scores = scores[(scores["cluster"] == "all") & (scores["pooling"] == "cls")]
    return scores[scores["layer"] == scores["layer"].max()].set_index("family")["r2"]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--folder", type=Path, default=Path("tuning"), help="where runs are kept (default: tuning)")
    parser.add_argument("--cores", type=int, default=2, help="cores of Snakemake (default: 2)")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for other in ({}, *OTHERS):
        setting = FIRST | other
        scores = run_setting(setting, arguments.folder, arguments.cores)
        rows.append({**setting, **scores.round(3), "mean": scores.mean()})
        print(pd.DataFrame(rows[-1:]).to_string(index=False), flush=True)
    frame = pd.DataFrame(rows).sort_values("mean", ascending=False)
    print(frame.to_markdown(index=False, floatfmt=".3f"))
