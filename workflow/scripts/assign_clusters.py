"""Cluster the images of one data set and name the clusters."""

from geoprobe.clusters import (
    assign_clusters,
    cluster_table,
    embed_pixels,
    name_clusters,
    summarise_clusters,
)
from geoprobe.images.store import read_columns, read_pixels, read_positions
from geoprobe.runtime import rule_log, write_table

EMBEDDED_PIXELS = 32  # enough for colour and texture statistics, whatever the images' own size


def cluster(store, clusters, summary, count, components, captions, words, seed):
    """Embed, cluster and name; write a row an image and a row a cluster."""
    columns = read_columns(store)
    if captions is not None and captions not in columns["captions"]:
        there = ", ".join(columns["captions"]) or "none"
        raise ValueError(f'clusters.captions is "{captions}"; {store} has: {there}. Choose one, or null.')
    assigned, distance, _ = assign_clusters(embed_pixels(read_pixels(store, EMBEDDED_PIXELS)), count, components, seed)
    names = name_clusters(columns["captions"].get(captions), assigned, words)
    table = cluster_table(columns["ids"], assigned, distance, names)
    table.attrs["images_digest"] = columns["digest"]
    write_table(table, clusters)
    write_table(summarise_clusters(table, read_positions(store)[0]), summary)


if __name__ == "__main__":
    with rule_log(snakemake.log[0]):
        cluster(
            snakemake.input.store,
            snakemake.output.clusters,
            snakemake.output.summary,
            **snakemake.params.options,
        )
