"""
Compare with the paper: its numbers joined with the run's, and everything that it shows.

INPUTS
  numbers                             config/published/numbers.csv, our transcription
  choices, correlation, dimensions    results/analysis/*.csv
  finetuning, steering                results/analysis/finetuning.csv, results/steering/, of models that are asked for
OUTPUTS
  results/analysis/published.csv, the same in results/tables/published.{csv,tex,md}
  results/figures/published.{png,pdf,svg}
"""

import csv

from geoprobe.models.weights import is_random

# Data sets, prompts and rows that stand for the paper's; one with random weights bears a checkpoint's name and no more.
COMPARED = {
    "models": {
        row["family"]: {"id": row["id"], "label": row["label"]}
        for row in MODELS.values()
        if needs_weights(row) and not is_random(row)
    },
    "protocol": config["protocol"],
    "datasets": config["published"],
    "probes": WEIGHED,
    "shown": {"cv": SHOWN["cv"], "choice": SHOWN["choice"]},
    "prompts": list(dict.fromkeys(["none", *RUN["prompts"]])),
    "asking": [
        name
        for name in RUN["prompts"]
        if name != "none"
        and not {"random_tokens", "as_long_as"} & {*config["prompts"][name]}
    ],
    "steered": [
        (STEERING["dataset"], MODELS[model]["family"])
        for model in intervened("steering")
    ],
}
# Whether any model and data set of the run has numbers in the paper: the figure else says that there are none.
with open(
    shipped("config/published/numbers.csv"), newline="", encoding="utf-8"
) as numbers:
    CHECKPOINTS = {row["checkpoint"] for row in csv.DictReader(numbers)}
COMPARABLE = bool(
    CHECKPOINTS & {row["id"] for row in COMPARED["models"].values()}
    and (
        {*config["published"].values()} & {*RUN["datasets"]}
        or intervened("steering")
        or intervened("finetuning")
    )
)


localrules:
    paper,


rule compare_published:
    """Join the paper's numbers with the run's: difference, interval, agreement, protocol."""
    input:
        numbers=shipped("config/published/numbers.csv"),
        choices=rules.compare_models.output.choices,
        correlation=rules.join_analyses.output.correlation,
        dimensions=rules.join_analyses.output.dimensions,
        finetuning=branch(
            bool(intervened("finetuning")),
            then=rules.compare_finetuning.output.finetuning,
        ),
        steering=of_interventions(rules.score_steering.output.scores, "steering"),
    output:
        published="results/analysis/published.csv",
        csv=report(
            "results/tables/published.csv",
            caption="../workflow/report/tables.rst",
            category="4 Tables",
        ),
        tex="results/tables/published.tex",
        md="results/tables/published.md",
    log:
        "results/logs/compare_published.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(2000),
        runtime=minutes(10),
    params:
        options=COMPARED,
        code=source_digest("compare_published"),
    script:
        "../workflow/scripts/compare_published.py"


rule plot_published:
    """Draw the paper's numbers beside the run's."""
    input:
        published=rules.compare_published.output.published,
    output:
        png=report(
            "results/figures/published.png",
            caption="../workflow/report/published.rst",
            category="1 Models",
            labels={"figure": "published", "data set": "all", "probe": "all"},
        ),
        pdf="results/figures/published.pdf",
        svg="results/figures/published.svg",
    log:
        "results/logs/plot_published.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=megabytes(1000),
        runtime=minutes(10),
    params:
        # for the caption
        shown=COMPARED["shown"],
        dpi=lookup(within=config, dpath="figures/dpi"),
        code=source_digest("plot_published"),
    script:
        "../workflow/scripts/plot_published.py"


rule paper:
    """Make all that the paper shows: figures, tables, closer analyses, interventions, the comparison with its numbers."""
    input:
        rules.figures.input,
        rules.tables.input,
        rules.analyses.input,
        rules.interventions.input,
        rules.write_methods.output,
        rules.compare_published.output,
        branch(COMPARABLE, then=rules.plot_published.output),
