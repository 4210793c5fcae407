"""The configuration's `clusters`: what of it one data set's job gets, and what in it cannot work.

Read with the configuration, before any job: importing this module imports nothing heavier than numpy.
"""

from pathlib import Path

from geoprobe.clusters.naming import name_by_table, read_names
from geoprobe.models.registry import LOADERS, check_name, loader_of

LABELS = "config/cluster_names.csv"  # the names that the paper's authors gave their 40 clusters


def way_of(clusters, dataset):
    """How a data set is cut into clusters: kmeans, from (another data set's clusters), source or stored.

    Args:
        clusters: the configuration's `clusters`.
        dataset: name of a data set.
    """
    by = clusters["by"]
    by = by.get(dataset, "kmeans") if isinstance(by, dict) else by
    return "from" if by == "kmeans" and clusters["from"] not in (None, dataset) else by


def caption_set(clusters, dataset):
    """The caption set that a data set's clusters are named by, or None."""
    named = clusters["names"]["by"] == "captions" and way_of(clusters, dataset) in ("kmeans", "stored")
    return clusters["names"]["set"] if named else None


def embedding_of(clusters):
    """The embedding with its defaults filled in: "statistics", or model, tower, pooling, layer."""
    embedding = clusters["embedding"]
    if isinstance(embedding, str):
        return embedding
    return {"tower": "vision", "pooling": "mean", "layer": "last", **embedding}


def has_elbow(clusters, dataset):
    """Whether a data set's number of clusters is chosen by the elbow."""
    return isinstance(clusters["count"], dict) and way_of(clusters, dataset) == "kmeans"


def needs_labeller(clusters, dataset):
    """Whether a model compares the images of a data set's clusters with labels, to name them."""
    return clusters["names"]["by"] == "text" and way_of(clusters, dataset) in ("kmeans", "stored")


def options_of(clusters, dataset, root, device):
    """What the job that assigns one data set's images needs to know, as plain values, and no more.

    Args:
        clusters: the configuration's `clusters`.
        dataset: name of the data set.
        root: folder of the Snakefile, where the built-in labels are.
        device: where a model that compares images with labels runs.

    Returns:
        A dict: by (of :func:`way_of`), embedding, matched, where clusters are found or taken from the source also
        components and seed, and count and names where they apply.
    """
    by = way_of(clusters, dataset)
    options = {"by": by, "embedding": embedding_of(clusters), "matched": clusters["matched"]}
    if by == "from":
        return options | {"from": clusters["from"]}
    options |= {"components": clusters["components"], "seed": clusters["seed"]}
    if by == "kmeans":
        options["count"] = clusters["count"]
    return options if by == "source" else options | {"names": _names(clusters["names"], root, device)}


def told_clusters(clusters, labellers):
    """What of the configuration's `clusters` the methods paragraph tells; names by the way that is used alone.

    Args:
        clusters: the configuration's `clusters`.
        labellers: registry row of the model that names clusters by text, by its name.
    """
    told = {key: clusters[key] for key in ("from", "count", "components", "seed", "matched")}
    names = _used_names(clusters["names"])
    if row := labellers.get(names.get("model")):
        names["model"] = {key: row[key] for key in ("label", "id", "revision")}
    return told | {"embedding": embedding_of(clusters), "names": names}


def _used_names(names):
    used = {"captions": ("set", "words"), "text": ("model", "template", "labels")}.get(names["by"], ())
    return {key: names[key] for key in ("by", *used)}


def _names(names, root, device):
    """What is needed of `clusters.names` for the way that it chooses."""
    used = _used_names(names)
    if used["by"] == "table":
        return used | {"table": read_names(names["path"])}
    if used["by"] == "text":
        return used | {"labels": _labels(names["labels"], root), "device": device}
    return used


def _labels(labels, root):
    if isinstance(labels, list):
        return labels
    return [name for _, name in read_names(Path(root, LABELS) if labels is None else labels)]


def check_clusters(config, models, registry, root):
    """Raise ValueError, one sentence, where `clusters` names what is not there or its keys do not fit together.

    Args:
        config: the configuration, valid by its schema.
        models: names of the run's models, seeds expanded.
        registry: rows of all models.
        root: folder of the Snakefile.
    """
    clusters, datasets = config["clusters"], config["datasets"]
    by, origin, count = clusters["by"], clusters["from"], clusters["count"]
    for name in by if isinstance(by, dict) else ():
        check_name("clusters.by", name, datasets, "datasets")
    if origin is not None:
        check_name("clusters.from", origin, datasets, "datasets")
        others = [name for name in config["run"]["datasets"] if name != origin]
        if others and all(way_of(clusters, name) != "from" for name in others):
            raise ValueError(
                f'config: clusters.from is "{origin}", but clusters.by takes the clusters of {", ".join(others)} from '
                "the source; choose kmeans for what is to be assigned, or leave clusters.from null."
            )
    embedding = embedding_of(clusters)
    if isinstance(embedding, dict):
        check_name("clusters.embedding.model", embedding["model"], models, "the run's models")
        check_name(
            "clusters.embedding.pooling", embedding["pooling"], config["features"]["poolings"], "features.poolings"
        )
    if isinstance(count, dict) and len(range(count["low"], count["high"] + 1, count["step"])) < 3:
        raise ValueError(
            f"config: clusters.count runs from {count['low']} to {count['high']} by {count['step']}; an elbow needs "
            "three numbers of clusters or more."
        )
    _check_names(clusters, registry, root)


def _check_names(clusters, registry, root):
    names = clusters["names"]
    if names["by"] == "text":
        if "{}" not in names["template"]:
            raise ValueError(
                f'config: clusters.names.template is "{names["template"]}"; it must hold {{}} where the label goes.'
            )
        check_name("clusters.names.model", names["model"], registry, "config/models.tsv or registry")
        try:
            loader = loader_of(registry[names["model"]])
        except (ValueError, OSError) as error:
            raise ValueError(f"config: clusters.names.model: {error}") from error
        if loader != LOADERS["open_clip"]:
            raise ValueError(
                f'config: clusters.names.model is "{names["model"]}"; names by text need a model of open_clip, whose '
                "text tower compares images with labels."
            )
    if names["by"] == "table" and names["path"] is None:
        raise ValueError("config: clusters.names.path is null; give the CSV (columns cluster, name) that names them.")
    try:
        made = _names(names, root, device=None)
        if made["by"] == "table" and clusters["by"] == "kmeans" and isinstance(clusters["count"], int):
            name_by_table(made["table"], range(clusters["count"]))
    except ValueError as error:
        raise ValueError(f"config: clusters.names: {error}") from error
