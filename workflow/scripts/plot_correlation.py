"""Draw the correlations between the coefficients of one model's probes of clusters."""

from geoprobe.analysis.families import read_summary, select
from geoprobe.figures.correlation import draw
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log


def plot(correlations, summary, ranking, dataset, probe, shown, label, paths, dpi):
    """Read one model's tables and the ranking of the clusters, keep one share of dimensions and one scaling, draw."""
    ranked = select(read_summary(ranking), dataset=dataset, probe=probe)
    names = dict(zip(ranked["cluster"], ranked["name"], strict=True))
    pairs = read_summary(correlations)
    pairs = pairs[(pairs["share"] == shown["share"]) & (pairs["scaled"] == shown["scaled"])]
    reason = "; ".join(read_summary(summary)["reason"].dropna().unique())
    save_figure(draw(pairs, names, label, reason), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        plot(
            snakemake.input.correlations,
            snakemake.input.summary,
            snakemake.input.ranking,
            snakemake.wildcards.dataset,
            snakemake.wildcards.probe,
            snakemake.params.shown,
            snakemake.params.label,
            snakemake.output,
            snakemake.params.dpi,
        )
