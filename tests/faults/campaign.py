"""Inject faults of every kind into every stage, and write how many were survived.

python -m tests.faults.campaign [--rounds 1] [--seed 1] [--rules ...] [--kinds ...] [--table docs/faults.md]

A fault is survived if the run, started again, ends with the results of an undisturbed run: every table, store and
figure equal but for what tells when and how fast it was made, none left over and none missing.
"""

import argparse
import collections
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.conftest import copy_project
from tests.faults.comparison import differences, left_behind
from tests.faults.injection import KINDS, TARGETS, Undone, command, environment, go_on

TABLE = """# Faults

How many faults of each kind were injected into a run of the tiny configuration, and how many were survived: the run,
started again, ended with the results of an undisturbed one. Made by `make faults`; the stages are all of the default
target and of `analyses`, the moments random.

{table}

{rounds}
"""


def stages(folder):
    """Rules that leave files, in the order of the pipeline."""
    listed = subprocess.run(
        command("--forceall", "--dry-run", "--quiet", "rules", "--", *TARGETS),
        cwd=folder,
        env=environment(),
        capture_output=True,
        text=True,
    ).stdout
    scripts = {path.stem for path in (folder / "workflow/scripts").glob("*.py")}
    words = [line.split() for line in listed.splitlines()]
    return [line[0] for line in words if len(line) == 2 and line[0] in scripts and line[1].isdigit()]


def inject(undisturbed, kind, rule, seed):
    """One fault in a copy of a whole run.

    Returns:
        What was seen; None where the fault came too late.

    Raises:
        Undone: the run did not go on, or ended with other results; its folder is kept.
    """
    folder = Path(tempfile.mkdtemp(prefix="faults-")).resolve() / "geoprobe"
    shutil.copytree(undisturbed, folder, symlinks=True)
    seen = KINDS[kind](folder, rule, random.Random(seed))
    go_on(folder)
    found = differences(undisturbed / "results", folder / "results") + left_behind(folder / "results")
    if found:
        raise Undone(f"{kind}, {rule}, seed {seed}: {seen}; then {'; '.join(found[:10])} (kept in {folder})")
    shutil.rmtree(folder.parent)
    return seen


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=1, help="faults of each kind in each stage (default: 1)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default: 1)")
    parser.add_argument("--rules", nargs="*", help="stages (default: all)")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=list(KINDS), help="kinds (default: all)")
    parser.add_argument("--run", type=Path, help="folder of a whole tiny run (default: one is made)")
    parser.add_argument("--table", type=Path, help="Markdown file to write")
    arguments = parser.parse_args()
    undisturbed = arguments.run
    if undisturbed is None:
        undisturbed = Path(tempfile.mkdtemp(prefix="faults-")).resolve() / "geoprobe"
        copy_project(undisturbed).snakemake(*TARGETS)
    kinds = arguments.kinds
    if os.geteuid():
        kinds = [kind for kind in kinds if kind != "disk full"]
        print("disk full: needs root, left out", file=sys.stderr)
    rules = arguments.rules or stages(undisturbed)
    counts = {kind: collections.Counter() for kind in kinds}
    failures, start = [], time.monotonic()
    for turn in range(arguments.rounds):
        for rule in rules:
            for kind in kinds:
                seed = f"{arguments.seed}-{turn}-{kind}-{rule}"
                try:
                    seen = inject(undisturbed, kind, rule, seed)
                    outcome = "too late" if seen is None else "survived"
                except Undone as error:
                    seen, outcome = str(error), "lost"
                    failures.append(f"{kind}, {rule}: {error}")
                counts[kind][outcome] += 1
                print(f"{time.monotonic() - start:6.0f} s  {kind}, {rule}: {outcome}; {seen}", flush=True)
                if arguments.table:
                    write(arguments.table, counts, len(rules), turn + 1)
    if failures:
        sys.exit("\n\n".join(failures))


def write(path, counts, rules, rounds):
    """Write the table of what has been injected so far."""
    lines = ["| Fault | injected | survived | lost | came too late |", "|---|---:|---:|---:|---:|"]
    for kind, found in counts.items():
        injected = found["survived"] + found["lost"]
        lines.append(f"| {kind} | {injected} | {found['survived']} | {found['lost']} | {found['too late']} |")
    text = TABLE.format(table="\n".join(lines), rounds=f"{rules} stages, {rounds} round(s).")
    path.write_text(text)


if __name__ == "__main__":
    main()
