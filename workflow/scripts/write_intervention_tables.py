"""Write what fine-tuning and swaps give as tables."""

from geoprobe.analysis.families import read_summary
from geoprobe.analysis.printed import steering, write_tables
from geoprobe.runtime import rule_log


def write(inputs, steered, paths, protocol):
    """Read the results of interventions, write each table in three formats.

    Args:
        inputs: path of the fine-tuning, and a list of paths of steering, as far as there are any.
        steered: data set, prompt, family and label of each of these.
        paths: table name to its csv, tex and md paths.
        protocol: of the run, for the captions.
    """
    tables = {}
    if "finetuning" in paths:
        tables["finetuning"] = read_summary(inputs["finetuning"])
    if "steering" in paths:
        frames = zip(steered, map(read_summary, inputs["steering"]), strict=True)
        tables["steering"] = steering({tuple(names): frame for names, frame in frames})
    write_tables(tables, paths, protocol)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        files = zip(snakemake.output.csv, snakemake.output.tex, snakemake.output.md, strict=True)
        paths = dict(zip(snakemake.params.tables, files, strict=True))
        inputs = {"finetuning": snakemake.input.get("finetuning"), "steering": snakemake.input.get("steering")}
        write(inputs, snakemake.params.steered, paths, snakemake.params.protocol)
