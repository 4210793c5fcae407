"""Write the headline scores, the paired differences and the clusters as tables."""

import pandas as pd

from geoprobe.analysis.families import headline_rows, last_layer, read_summary, select
from geoprobe.runtime import rule_log
from geoprobe.tables import write_formats

COLUMNS = ["dataset", "probe", "label", "supervision", "cv", "control", "r2", "low", "high"]
CAPTIONS = {
    "scores": "R² of latitude and longitude at the last layer on the whole data set, with 95 % intervals.",
    "differences": "Paired differences in R² at the last layer, with 95 % intervals and Holm-corrected p.",
    "clusters": "Clusters by mean R² over models at the last layer, with their tier.",
}


def write(families, differences, ranking, headline, paths):
    """Read the summaries, keep the headline's rows, write each table in three formats.

    Args:
        paths: table name to its csv, tex and md paths.
    """
    scores = last_layer(headline_rows(read_summary(families), **headline, cluster="all"))
    pairs = read_summary(differences)
    if not pairs.empty:  # a single model has nothing to differ from
        pairs = select(pairs, target=headline["target"]).drop(columns="target")
    tables = {
        "scores": scores[[*COLUMNS, "r2_folds", "median_km", "images", "blocks", "seeds"]],
        "differences": pairs,
        "clusters": pd.read_csv(ranking),
    }
    for name, files in paths.items():
        write_formats(tables[name], *files, caption=CAPTIONS[name])


if __name__ == "__main__":
    with rule_log(snakemake.log[0]):
        files = zip(snakemake.output.csv, snakemake.output.tex, snakemake.output.md, strict=True)
        write(
            snakemake.input.families,
            snakemake.input.differences,
            snakemake.input.ranking,
            snakemake.params.headline,
            dict(zip(snakemake.params.tables, files, strict=True)),
        )
