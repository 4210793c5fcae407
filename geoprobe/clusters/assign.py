"""From an image store to clusters: embed, find or take over the clusters, name them, draw as many from each."""

import json

import numpy as np
import pandas as pd

from geoprobe.clusters import naming
from geoprobe.clusters.embedding import digest_embedding, read_embedding
from geoprobe.clusters.kmeans import CURVE, choose_count, fit_components, fit_kmeans, project
from geoprobe.clusters.sampling import match_clusters
from geoprobe.clusters.stored import Clusters, read_clusters, read_source_clusters, write_clusters
from geoprobe.clusters.table import cluster_table, summarise_clusters, typical_rows
from geoprobe.clusters.zero_shot import TYPICAL, label_similarities, match_labels
from geoprobe.images.store import read_columns
from geoprobe.runtime import write_table

LISTS = ("labels", "table")  # options that may be longer than an attribute of HDF5 can be


def assign_images(store, dataset, options, outputs, features=None, fitted=None, labeller=None, threads=1):
    """Assign the images of a data set to clusters, and write a row an image, a row a cluster, and the clusters.

    Args:
        store: image store.
        dataset: its name.
        options: of options_of in geoprobe/clusters/options.py.
        outputs: paths by name: clusters (Parquet), summary (CSV), fitted (HDF5) and, where the number of clusters
            of some data set is to be chosen, elbow (CSV with k, inertia, chosen; without a row where it was not).
        features: feature store of the embedding's model; None for the statistics.
        fitted: the clusters of another data set (HDF5) that the images are assigned to; None to find clusters.
        labeller: folder of the model that compares images with labels, where clusters are named by text.
        threads: of the model that compares images with labels.

    Raises:
        ValueError: the options do not fit the store, or the other data set's embedding is of another kind.
    """
    columns = read_columns(store)
    ids, by = columns["ids"], options["by"]
    _check_captions(options, columns["captions"], store)
    given = {"stored": read_source_clusters, "source": lambda _: np.zeros(len(ids), dtype=np.int64)}
    numbers = given[by](store) if by in given else None
    embedding, kind = read_embedding(store, ids, options["embedding"], features)
    curve = pd.DataFrame(columns=CURVE)
    named_by = {}
    if by == "from":
        clusters = _read_fitted(fitted, kind, dataset)
        numbers, distances = clusters.assign(embedding)
    else:
        if by == "kmeans":
            clusters, curve = _cluster_freely(embedding, kind, options)
            numbers, distances = clusters.assign(embedding)
        else:
            clusters, distances = _cluster_as_given(embedding, kind, options, numbers)
        clusters.names, named_by = _names(
            options, dataset, store, columns, clusters, numbers, distances, labeller, threads
        )
    clusters.attributes |= {
        "dataset": dataset,
        "by": by,
        "options": json.dumps(_without_lists(options)),
        "embedding_digest": digest_embedding(ids, embedding),
        "images_digest": columns["digest"],
        **named_by,
    }
    if options["matched"] is not None:
        numbers = match_clusters(ids, numbers, **options["matched"])
    table = cluster_table(ids, numbers, distances, dict(zip(clusters.numbers.tolist(), clusters.names, strict=True)))
    table.attrs["images_digest"] = columns["digest"]
    write_table(table, outputs["clusters"])
    positions = np.column_stack([columns["latitudes"], columns["longitudes"]])
    write_table(summarise_clusters(table, positions), outputs["summary"])
    write_clusters(outputs["fitted"], clusters)
    if "elbow" in outputs:
        write_table(curve, outputs["elbow"])


def _check_captions(options, captions, store):
    """Refuse a caption set that the store lacks before anything is computed."""
    names = options.get("names", {})
    if names.get("by") == "captions" and names["set"] not in captions:
        there = ", ".join(captions) or "none"
        raise ValueError(
            f'clusters.names.set is "{names["set"]}"; {store} has: {there}. '
            "Choose one, or name the clusters by number, table or text."
        )


def _without_lists(options):
    names = {key: value for key, value in options.get("names", {}).items() if key not in LISTS}
    return options | {"names": names}


def _read_fitted(path, kind, dataset):
    """Clusters of another data set; they keep their numbers and names."""
    clusters = read_clusters(path)
    if clusters.embedding != kind:
        raise ValueError(
            f"{path} holds clusters by {json.dumps(clusters.embedding)}, the images of {dataset} are embedded by "
            f"{json.dumps(kind)}. Both must be alike; delete {path} to make it again."
        )
    clusters.attributes = {f"fitted_{name}": clusters.attributes[name] for name in ("dataset", "embedding_digest")}
    return clusters


def _cluster_freely(embedding, kind, options):
    """Clusters of k-means, not named yet, and the curve of the elbow, without a row if their number was given."""
    mean, components = fit_components(embedding, options["components"], options["seed"])
    reduced, count = project(embedding, mean, components), options["count"]
    if isinstance(count, dict):
        centroids, curve = choose_count(reduced, **count, seed=options["seed"])
    else:
        (centroids, _), curve = fit_kmeans(reduced, count, options["seed"]), pd.DataFrame(columns=CURVE)
    return Clusters(np.arange(len(centroids)), [], centroids, mean, components, kind), curve


def _cluster_as_given(embedding, kind, options, numbers):
    """Clusters whose images are known, with their means as centroids, and the distances of the images to these."""
    mean, components = fit_components(embedding, options["components"], options["seed"])
    reduced = project(embedding, mean, components)
    there, rows = np.unique(numbers[numbers >= 0], return_inverse=True)
    centroids = np.stack([reduced[numbers == number].mean(axis=0) for number in there])
    distances = np.full(len(numbers), np.nan)
    distances[numbers >= 0] = np.linalg.norm(reduced[numbers >= 0] - centroids[rows], axis=1)
    return Clusters(there, [], centroids, mean, components, kind), distances


def _names(options, dataset, store, columns, clusters, numbers, distances, labeller, threads):
    """Names of the clusters, and what is to be kept of how they were found."""
    if options["by"] == "source":
        return [dataset], {}
    names, wanted = options["names"], clusters.numbers.tolist()
    if names["by"] == "captions":
        return naming.name_by_captions(columns["captions"][names["set"]], numbers, wanted, names["words"]), {}
    if names["by"] == "table":
        return naming.name_by_table(names["table"], wanted), {}
    if names["by"] == "number":
        return naming.name_by_number(wanted), {}
    frame = pd.DataFrame({"cluster": numbers, "distance": distances})
    rows = [typical_rows(frame, number, TYPICAL) for number in wanted]
    labels, how = names["labels"], {key: names[key] for key in ("template", "device")}
    similarities, weights = label_similarities(store, rows, labels, labeller, **how, threads=threads)
    found = match_labels(similarities)
    for row, (number, label) in enumerate(zip(wanted, found, strict=True)):
        print(f"cluster {number}: {labels[label]} (mean cosine similarity {similarities[row, label]:.3f})")
    return [labels[label] for label in found], {"names_weights_digest": weights}
