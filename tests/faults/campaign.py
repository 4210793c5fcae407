"""Inject faults of every kind into every stage, and write how many were survived.

python -m tests.faults.campaign FOLDER [--rounds 8] [--minutes M] [--table docs/faults.md]

A round is one run, hit again and again: each stage by one fault, of a kind that is another one in each round. In the
first three all goes on beside a job that is hit; in the five others Snakemake or the disk is hit, or a file, while one
stage is made. So eight rounds see all pairs. A round ends as a user would end it: started again until all is made. Its
faults are survived if nothing of its results differs from an undisturbed run's, nothing is missing, left over or half
written, and each failure was told with its place. What has been seen is kept in FOLDER: started again, the campaign
goes on where it was, also within a round.
"""

import argparse
import collections
import json
import os
import random
import re
import shutil
import sys
import time
from pathlib import Path

from tests.conftest import copy_project
from tests.faults.comparison import differences, left_behind
from tests.faults.injection import JOB_KINDS, RUN_KINDS, Pipeline, Run, Undone, hit_jobs
from tests.faults.inputs import DAMAGES, SOURCES, damage_input

TARGETS = ("all", "paper", "results/exports/bluemarble.h5")
KINDS = [*JOB_KINDS, *RUN_KINDS, *DAMAGES]
ROUNDS = len(JOB_KINDS) + len(RUN_KINDS)
LATER = "time is up; the same command goes on from here"
TABLE = re.compile(r"(?<=<!-- written by tests/faults/campaign.py -->\n).*?(?=<!-- end -->)", re.DOTALL)


class Outcomes:
    """What became of each fault, a line each in a file, of which the last one on a fault counts."""

    def __init__(self, path):
        self.path, self.found = path, {}
        if path.is_file():
            for line in path.read_text().splitlines():
                self.take(json.loads(line))

    def take(self, row):
        self.found[row["round"], row["stage"]] = row

    def add(self, turn, stage, kind, outcome, seen):
        row = {"round": turn, "stage": stage, "kind": kind, "outcome": outcome, "seen": seen}
        self.take(row)
        with open(self.path, "a") as file:
            file.write(json.dumps(row) + "\n")
        print(f"{time.strftime('%H:%M:%S')}  round {turn}, {stage}, {kind}: {outcome}; {seen}", flush=True)

    def of_round(self, turn):
        return {stage: row for (number, stage), row in self.found.items() if number == turn}


def inject(undisturbed, kind, rule, seed, folder, targets):
    """One fault in a copy of a whole run, of which a stage is made anew.

    Returns:
        What was seen; None where the fault came too late.

    Raises:
        Undone: the run did not go on, or ended with other results.
    """
    pipeline = Pipeline(undisturbed, targets)
    run = Run(shutil.copytree(undisturbed, folder, symlinks=True), pipeline)
    if kind in JOB_KINDS:
        seen = hit_jobs(run, {rule: kind}, random.Random(seed), float("inf"), "--forcerun", rule)[rule]
        if isinstance(seen, Undone):
            raise seen
    else:
        seen = RUN_KINDS[kind](run, rule, random.Random(seed))
    run.go_on()
    found = unlike(run)
    if found:
        raise Undone(f"{kind}, {rule}, seed {seed}: {seen}; then {'; '.join(found[:10])}")
    return seen


def unlike(run):
    """What of a run's results is not as in the undisturbed run."""
    results = run.folder / "results"
    return differences(run.pipeline.results, results) + left_behind(results)


def make_round(turn, pipeline, folder, outcomes, arguments, end):
    """One run with a fault in each stage; goes on where it was."""
    stages = list(pipeline.products)
    kinds = list(JOB_KINDS if turn % ROUNDS < len(JOB_KINDS) else RUN_KINDS)
    plan = {stage: kinds[(turn + number) % len(kinds)] for number, stage in enumerate(stages)}
    plan = {stage: kind for stage, kind in plan.items() if kind in arguments.kinds}
    rows = outcomes.of_round(turn)
    if all(stage in rows and rows[stage]["outcome"] != "injected" for stage in plan):
        return
    if not folder.exists():
        copy_project(folder)
    run = Run(folder, pipeline)
    while left := {stage: kind for stage, kind in plan.items() if stage not in outcomes.of_round(turn)}:
        if time.monotonic() > end:
            sys.exit(LATER)
        stage, kind = next(iter(left.items()))
        generator = random.Random(f"{arguments.seed}-{turn}-{stage}")
        if kind in JOB_KINDS:
            found = hit_jobs(run, left, generator, end)
            if not found:
                sys.exit(f"no stage of {', '.join(left)} was made:\n{run.words()[-3000:]}")
        else:
            try:
                found = {stage: RUN_KINDS[kind](run, stage, generator)}
            except Undone as error:
                found = {stage: error}
        for stage, seen in found.items():
            lost = isinstance(seen, Undone)
            outcomes.add(
                turn, stage, plan[stage], "lost" if lost else "injected" if seen else "too late", str(seen or "")
            )
    run.go_on()
    found, rows = unlike(run), outcomes.of_round(turn)
    # the first stage whose files differ; what is made of them differs with them
    guilty = next((stage for stage in stages if any(p in name for name in found for p in names(pipeline, stage))), None)
    for stage, row in rows.items():
        if row["outcome"] == "injected":
            seen = found if guilty in (stage, None) else []
            outcomes.add(turn, stage, row["kind"], "lost" if seen else "survived", "; ".join([row["seen"], *seen]))
    if found:
        sys.exit(f"round {turn}, kept in {folder}: {'; '.join(found[:20])}")
    shutil.rmtree(folder.parent)


def damage_inputs(turn, folder, outcomes, arguments, end):
    """Each input of a user's damaged in each way, in runs of their own."""
    for kind in (kind for kind in DAMAGES if kind in arguments.kinds):
        for name in SOURCES:
            stage = f"{kind}: {name}"
            if stage in outcomes.of_round(turn):
                continue
            if time.monotonic() > end:
                sys.exit(LATER)
            shutil.rmtree(folder, ignore_errors=True)  # of a campaign that was stopped
            try:
                seen = damage_input(name, kind, folder, random.Random(f"{arguments.seed}-{turn}-{stage}"))
                outcomes.add(turn, stage, kind, "survived", seen)
            except Undone as error:
                outcomes.add(turn, stage, kind, "lost", str(error))
            shutil.rmtree(folder)


def names(pipeline, stage):
    """Products of a stage as the comparison names them."""
    return [path.removeprefix("results/") for path in pipeline.products[stage]]


def write_table(path, outcomes):
    """Write how many faults of each kind there were so far into a page, between its two marks."""
    counts = collections.defaultdict(collections.Counter)
    stages = collections.defaultdict(set)
    for row in outcomes.found.values():
        counts[row["kind"]][row["outcome"]] += 1
        stages[row["kind"]].add(row["stage"])
    lines = ["| fault | injected | stages | survived | lost | round not ended | came too late |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for kind in KINDS:
        survived, lost, still, late = (counts[kind][name] for name in ("survived", "lost", "injected", "too late"))
        injected = survived + lost + still
        lines.append(f"| {kind} | {injected} | {len(stages[kind])} | {survived} | {lost} | {still} | {late} |")
    text = path.read_text()
    assert len(TABLE.findall(text)) == 1, f"{path} has no place for the table"
    path.write_text(TABLE.sub("\n".join(["", *lines, "", ""]), text))


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="where runs and outcomes are kept; what is there is gone on with")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="runs with a fault in each stage (default: 8)")
    parser.add_argument("--first", type=int, default=0, help="number of the first round (default: 0)")
    parser.add_argument("--seed", type=int, default=1, help="of the moments (default: 1)")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=KINDS, help="kinds (default: all)")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="after which no new fault is injected")
    parser.add_argument("--table", type=Path, help="Markdown page to write the table into")
    arguments = parser.parse_args()
    end = time.monotonic() + 60 * arguments.minutes
    if os.geteuid():
        arguments.kinds = [kind for kind in arguments.kinds if kind != "disk full"]
        print("disk full: needs root, left out", file=sys.stderr)
    folder = arguments.folder.resolve()
    folder.mkdir(parents=True, exist_ok=True)
    undisturbed, outcomes = folder / "undisturbed" / "geoprobe", Outcomes(folder / "outcomes.jsonl")
    if not (folder / "undisturbed" / "made").exists():
        copy_project(undisturbed).snakemake(*TARGETS)
        (folder / "undisturbed" / "made").touch()
    pipeline = Pipeline(undisturbed, TARGETS)
    try:
        for turn in range(arguments.first, arguments.first + arguments.rounds):
            make_round(turn, pipeline, folder / f"round-{turn}" / "geoprobe", outcomes, arguments, end)
            damage_inputs(turn, folder / "inputs", outcomes, arguments, end)
    finally:
        if arguments.table:
            write_table(arguments.table, outcomes)
    if lost := [row for row in outcomes.found.values() if row["outcome"] == "lost"]:
        sys.exit("\n\n".join(f"{row['stage']}, {row['kind']}: {row['seen']}" for row in lost))


if __name__ == "__main__":
    main()
