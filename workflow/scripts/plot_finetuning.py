"""Draw how well fine-tuned models tell countries."""

from geoprobe.analysis.families import read_summary, select
from geoprobe.figures.finetuning import draw
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log


def plot(finetuned, rates, dataset, paths, dpi):
    """Read the tables, keep one data set's rows, draw."""
    parts = [select(read_summary(path), dataset=dataset) for path in (finetuned, rates)]
    save_figure(draw(*parts), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        plot(
            snakemake.input.finetuning,
            snakemake.input.rates,
            snakemake.wildcards.dataset,
            snakemake.output,
            snakemake.params.dpi,
        )
