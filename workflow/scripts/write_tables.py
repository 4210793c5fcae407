"""Write the headline scores, the paired differences and the clusters as tables."""

import pandas as pd

from geoprobe.analysis.families import chosen_rows, read_summary, select
from geoprobe.analysis.selection import CHOICES
from geoprobe.runtime import rule_log
from geoprobe.tables import write_formats

COLUMNS = ["dataset", "probe", "label", "supervision", "choice", "cv", "control", "r2", "low", "high", "selectivity"]
CAPTIONS = {
    "scores": "R² of latitude and longitude on the whole data set, by how the layer was chosen, with 95 % intervals.",
    "differences": "Paired differences in R², with 95 % intervals and Holm-corrected p.",
    "clusters": "Clusters by mean R² over models, with their tier.",
}


def write(choices, differences, ranking, headline, paths):
    """Read the summaries, keep the headline's rows of every choice, write each table in three formats.

    Args:
        headline: prompts and target.
        paths: table name to its csv, tex and md paths.
    """
    frame = read_summary(choices)
    scores = pd.concat([chosen_rows(frame, choice=choice, **headline, cluster="all") for choice in CHOICES])
    pairs = read_summary(differences)
    if not pairs.empty:  # a single model has nothing to differ from
        pairs = select(pairs, target=headline["target"]).drop(columns="target")
    tables = {
        "scores": scores[[*COLUMNS, "tower", "layers", "r2_folds", "median_km", "images", "blocks", "seeds"]].fillna(
            {"tower": "–", "layers": "–"}
        ),
        "differences": pairs,
        "clusters": pd.read_csv(ranking),
    }
    for name, files in paths.items():
        write_formats(tables[name], *files, caption=CAPTIONS[name])


if __name__ == "__main__":
    with rule_log(snakemake.log[0]):
        files = zip(snakemake.output.csv, snakemake.output.tex, snakemake.output.md, strict=True)
        write(
            snakemake.input.choices,
            snakemake.input.differences,
            snakemake.input.ranking,
            snakemake.params.headline,
            dict(zip(snakemake.params.tables, files, strict=True)),
        )
