"""Draw the transfer of one model's probes between clusters."""

from geoprobe.analysis.families import read_summary, select
from geoprobe.figures.style import save_figure
from geoprobe.figures.transfer import draw
from geoprobe.runtime import rule_log


def plot(transfer, ranking, dataset, probe, label, paths, dpi):
    """Read one model's table and the ranking of the clusters, draw."""
    ranked = select(read_summary(ranking), dataset=dataset, probe=probe)
    names = dict(zip(ranked["cluster"], ranked["name"], strict=True))
    save_figure(draw(read_summary(transfer), names, label), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        plot(
            snakemake.input.transfer,
            snakemake.input.ranking,
            snakemake.wildcards.dataset,
            snakemake.wildcards.probe,
            snakemake.params.label,
            snakemake.output,
            snakemake.params.dpi,
        )
