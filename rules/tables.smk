"""
Write tables: CSV, LaTeX (booktabs) and Markdown of the same rows.

INPUTS
  choices, differences, ranking   results/analysis/*.csv
OUTPUTS
  results/tables/{table}.{csv,tex,md}, table one of scores, differences, clusters
"""


localrules:
    tables,


rule write_tables:
    """Write the headline scores, the paired differences and the clusters as tables."""
    input:
        choices=rules.compare_models.output.choices,
        differences=rules.compare_models.output.differences,
        ranking=rules.rank_clusters.output.ranking,
    output:
        csv=report(
            expand("results/tables/{table}.csv", table=TABLES),
            caption="../workflow/report/tables.rst",
            category="4 Tables",
        ),
        tex=expand("results/tables/{table}.tex", table=TABLES),
        md=expand("results/tables/{table}.md", table=TABLES),
    log:
        "results/logs/write_tables.log",
    conda:
        "../envs/geoprobe.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        tables=TABLES,
        headline={"prompts": PROMPTS, "target": SHOWN["target"]},
        code=source_digest("write_tables"),
    script:
        "../workflow/scripts/write_tables.py"


rule tables:
    """Make every table of the run."""
    input:
        rules.write_tables.output.csv,
