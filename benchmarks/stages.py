"""Where the time of a run goes: wall time by stage, from the benchmark files that Snakemake kept of it.

    python benchmarks/stages.py [results]

Jobs run side by side, so the stages add up to more than the run's own time.
"""

import sys
from pathlib import Path

import pandas as pd


def stage_times(results):
    """A row a stage: jobs, seconds of all jobs, seconds of the longest, largest resident memory in MB."""
    rows = []
    for path in sorted(Path(results, "benchmarks").rglob("*.tsv")):
        rule = path.relative_to(Path(results, "benchmarks")).parts[0].removesuffix(".tsv")
        table = pd.read_csv(path, sep="\t", usecols=["s", "max_rss"], na_values="-")
        rows += table.assign(stage=rule).to_dict("records")
    if not rows:
        raise SystemExit(f"{results}/benchmarks holds no benchmark files. Run `make demo` first.")
    frame = pd.DataFrame(rows)
    return (
        frame.groupby("stage")
        .agg(jobs=("s", "size"), seconds=("s", "sum"), longest=("s", "max"), memory_mb=("max_rss", "max"))
        .sort_values("seconds", ascending=False)
        .round(1)
        .reset_index()
    )


if __name__ == "__main__":
    print(stage_times(sys.argv[1] if len(sys.argv) > 1 else "results").to_markdown(index=False))
