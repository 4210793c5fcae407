"""Write the explorer: scores, layer curves and predictions in one HTML file."""

from geoprobe.explorer.data import prepare
from geoprobe.explorer.page import assemble, assets_size
from geoprobe.runtime import replacing, rule_log


def write(paths, stores, jobs, models, shown, options, page):
    """Prepare the data, embed them, write the page in one step."""
    content = prepare(paths, stores, jobs, models, shown, options, assets_size())
    text = assemble(content)
    with replacing(page) as path:
        path.write_text(text, encoding="utf-8")
    print(f"{page}: {len(text.encode()) / 1e6:.1f} MB, {content['limits']}")


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        given = snakemake.input
        stores = zip(given.stores, given.folds, given.clusters, strict=True)
        files = zip(given.fits, given.chosen, strict=True)
        write(
            {"choices": given.choices, "families": given.families},
            dict(zip(snakemake.params.datasets, stores, strict=True)),
            dict(zip((tuple(job.split("/")) for job in snakemake.params.jobs), files, strict=True)),
            snakemake.params.models,
            snakemake.params.shown,
            snakemake.params.options,
            snakemake.output.page,
        )
