"""Write what the closer analyses give as tables: correlation, dimensions, transfer, fairness, prompts."""

import pandas as pd

from geoprobe.analysis.families import split_models
from geoprobe.analysis.printed import correlation, dimensions, of_whole, transfer, write_tables
from geoprobe.runtime import rule_log

SHAPED = {"correlation": correlation, "dimensions": dimensions, "transfer": transfer}
SHAPED |= dict.fromkeys(("fairness", "prompts"), of_whole)


def write(inputs, paths, protocol):
    """Read the joined analyses, shape them, write each table in three formats.

    Args:
        inputs: table name to path.
        paths: table name to its csv, tex and md paths.
        protocol: of the run, for the captions.
    """
    # names of clusters are words, and there are more rows than pandas looks at to tell
    words = dict.fromkeys(("trained_on", "tested_on", "cluster", "reason"), str)
    tables = {}
    for name in paths:
        frame = pd.read_csv(inputs[name], dtype=words, keep_default_na=False, na_values=[""])
        # a row a model: seeds that share a label are told apart, as in the figures
        tables[name] = SHAPED[name](split_models(frame))
    write_tables(tables, paths, protocol)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        files = zip(snakemake.output.csv, snakemake.output.tex, snakemake.output.md, strict=True)
        paths = dict(zip(snakemake.params.tables, files, strict=True))
        write(dict(snakemake.input.items()), paths, snakemake.params.protocol)
