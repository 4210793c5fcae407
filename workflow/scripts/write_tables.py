"""Write the probes' comparison as tables: scores, differences, clusters, layers, kinds of models, baselines."""

from geoprobe.analysis.families import read_clusters, read_summary
from geoprobe.analysis.printed import layers, of_whole, scores, write_tables
from geoprobe.runtime import rule_log


def write(inputs, headline, paths, protocol):
    """Read the summaries, keep the headline's rows, write each table in three formats.

    Args:
        inputs: choices, ranking, and the tables that are printed by their own name.
        headline: prompts and target.
        paths: table name to its csv, tex and md paths.
        protocol: of the run, for the captions.
    """
    choices = read_summary(inputs["choices"])
    tables = {
        "scores": scores(choices, headline),
        "layers": layers(choices, headline),
        "clusters": read_clusters(inputs["ranking"]),
    }
    for name in ("differences", "supervisions", "text_effect", "baselines"):
        tables[name] = of_whole(read_summary(inputs[name]), headline["target"])
    write_tables(tables, paths, protocol)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        files = zip(snakemake.output.csv, snakemake.output.tex, snakemake.output.md, strict=True)
        paths = dict(zip(snakemake.params.tables, files, strict=True))
        write(dict(snakemake.input.items()), snakemake.params.headline, paths, snakemake.params.protocol)
