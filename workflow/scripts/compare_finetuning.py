"""Compare fine-tuned models, and correlate how they rank with how their probes do."""

from geoprobe.analysis.families import read_summary
from geoprobe.finetune.comparison import compare_finetuning, correlate_probes
from geoprobe.runtime import rule_log, write_table


def compare(results, predictions, choices, models, prompts, choice, bootstrap, seed, paths):
    """Read the results of all models and the probes' chosen layers, write the tables."""
    families, rates, continents = compare_finetuning(results, predictions, models, bootstrap, seed)
    correlation = correlate_probes(families, read_summary(choices), prompts, choice, bootstrap, seed)
    tables = {"finetuning": families, "rates": rates, "continents": continents, "correlation": correlation}
    for name, table in tables.items():
        write_table(table, paths[name])
        print(f"{paths[name]}: {len(table)} rows")


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        compare(
            snakemake.input.results,
            snakemake.input.predictions,
            snakemake.input.choices,
            snakemake.params.models,
            snakemake.params.prompts,
            snakemake.params.choice,
            snakemake.params.bootstrap,
            snakemake.params.seed,
            dict(snakemake.output.items()),
        )
