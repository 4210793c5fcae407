"""Draw R2 of every model against its number of parameters."""

from geoprobe.analysis.families import read_chosen
from geoprobe.features.store import read_parameters
from geoprobe.figures.scale import draw
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log


def plot(choices, features, headline, pairs, paths, dpi):
    """Read the chosen layers by family and the sizes of the models, draw.

    Args:
        features: family to a feature store of one of its models, which says how many parameters it has.
    """
    chosen = read_chosen(choices, **headline, cluster="all", control="none")
    sizes = {family: read_parameters(path) for family, path in features.items()}
    save_figure(draw(chosen.assign(parameters=chosen["origin"].map(sizes)), pairs), paths, dpi)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        headline = snakemake.params.headline | {name: snakemake.wildcards[name] for name in ("dataset", "probe")}
        plot(
            snakemake.input.choices,
            dict(zip(snakemake.params.families, snakemake.input.features, strict=True)),
            headline,
            snakemake.params.pairs,
            snakemake.output,
            snakemake.params.dpi,
        )
