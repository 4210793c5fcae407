"""Join the paper's numbers with those of the run."""

from geoprobe.analysis import published
from geoprobe.analysis.families import read_summary
from geoprobe.analysis.printed import write_tables
from geoprobe.runtime import rule_log, write_table


def compare(inputs, options, path, printed):
    """Read published numbers and the run's results, join them, write the table, and print it in three formats.

    Args:
        inputs: numbers, choices, correlation, dimensions; finetuning and steering (a list) where there are any.
        options: models (family to id and label), datasets, probes, shown (cv and choice), prompts, asking (those for a
            place), steered (data set and family of each path of steering), protocol.
        path: of the table.
        printed: its csv, tex and md paths.
    """
    datasets, prompts = options["datasets"], options["prompts"]
    choices, correlation, dimensions = (read_summary(inputs[name]) for name in ("choices", "correlation", "dimensions"))
    of_ridge = (choices, options["probes"], options["shown"], datasets)
    found = published.mean_r2(*of_ridge, prompts) + published.prompted_r2(*of_ridge, options["asking"])
    found += published.coefficient_correlation(correlation, datasets, prompts)
    found += published.relative_r2(dimensions, datasets, prompts)
    if inputs.get("finetuning"):
        found += published.country_accuracy(read_summary(inputs["finetuning"]), datasets)
    for (dataset, family), scores in zip(options["steered"], inputs.get("steering") or [], strict=True):
        found += published.steering(read_summary(scores), family, dataset)
    compared = published.compare(published.read_numbers(inputs["numbers"]), found, options["models"])
    write_table(compared, path)
    write_tables({"published": compared}, {"published": printed}, options["protocol"])
    print(published.tell(compared))


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        output = snakemake.output
        options = dict(snakemake.params.options)
        compare(dict(snakemake.input.items()), options, output.published, [output.csv, output.tex, output.md])
