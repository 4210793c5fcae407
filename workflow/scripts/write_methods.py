"""Write the methods paragraph of the run: Markdown, LaTeX and a page for the report."""

from geoprobe.analysis.families import read_summary
from geoprobe.methods.page import paragraphs, read_commits, read_store, write_methods
from geoprobe.runtime import rule_log
from geoprobe.software import ROOT, git_commit, software_sentence


def write(options, stores, manifests, choices, paths):
    """Read what the run has made, put it into sentences with the options, write them three times.

    Args:
        options: see :func:`geoprobe.methods.page.paragraphs`.
        stores: data set to its image store.
        manifests: model to the manifest of its fetched weights, where it has any.
        choices: scores by chosen layer, which know how many blocks were resampled.
        paths: of Markdown, LaTeX and HTML.
    """
    frame = read_summary(choices)
    # under left-out countries it is countries that are counted
    whole = frame[(frame["cluster"] == "all") & (frame["cv"] != "countries")]
    most = whole.groupby("dataset")["blocks"].max().fillna(0)
    blocks = {name: int(most.get(name, 0)) for name in options["datasets"]}
    described = {name: read_store(path) for name, path in stores.items()}
    software = software_sentence(git_commit(ROOT))
    write_methods(paragraphs(options, described, read_commits(manifests), blocks, software), *paths)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        write(
            snakemake.params.options,
            dict(zip(snakemake.params.datasets, snakemake.input.stores, strict=True)),
            dict(zip(snakemake.params.fetched, snakemake.input.weights, strict=True)),
            snakemake.input.choices,
            snakemake.output,
        )
