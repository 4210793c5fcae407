"""The tables of clusters: a row an image, a row a cluster."""

import numpy as np
import pandas as pd

from geoprobe.geodesy import from_sphere, great_circle_km, to_sphere

NOT_SAMPLED = -1  # the cluster of images that belong to the whole data set alone
NOT_SAMPLED_NAME = "not sampled"


def cluster_table(ids, clusters, distances, names):
    """The frame that `clusters/{dataset}.parquet` holds: id, cluster, name, distance, one row an image.

    Args:
        ids: n image ids.
        clusters: cluster of each image, shape (n,); -1 for images in none.
        distances: of each image to the centroid of the cluster that it was assigned to, shape (n,).
        names: name of each cluster by its number.
    """
    names = {**names, NOT_SAMPLED: NOT_SAMPLED_NAME}
    return pd.DataFrame(
        {"id": ids, "cluster": clusters, "name": [names[number] for number in clusters], "distance": distances}
    )


def spread_km(positions):
    """Median great-circle distance of positions to their spherical mean.

    Args:
        positions: latitude and longitude in degrees, shape (n, 2).

    Returns:
        Kilometres; not a number where the mean is not defined, as of two antipodes.
    """
    mean = to_sphere(np.asarray(positions, dtype=np.float64)).mean(axis=0)
    if np.linalg.norm(mean) < 1e-9:
        return np.nan
    return float(np.median(great_circle_km(positions, from_sphere(mean))))


def summarise_clusters(table, positions):
    """One row a cluster: cluster, name, images, mean distance to the centroid, variances of the labels, spread.

    Args:
        table: frame with id, cluster, name, distance, one row an image.
        positions: latitude and longitude in degrees, shape (n, 2).

    Returns:
        A frame with cluster, name, images, distance, latitude_variance and longitude_variance (degrees squared),
        spread_km (median great-circle distance to the cluster's spherical mean).
    """
    frame = table.assign(latitude=positions[:, 0], longitude=positions[:, 1])
    groups = frame.groupby(["cluster", "name"])
    summary = groups.agg(
        images=("id", "size"),
        distance=("distance", "mean"),
        latitude_variance=("latitude", "var"),
        longitude_variance=("longitude", "var"),
    )
    summary["spread_km"] = [spread_km(positions[groups.indices[key]]) for key in summary.index]
    return summary.reset_index()


def typical_rows(table, cluster, count):
    """Row numbers of the images nearest to a cluster's centroid, nearest first."""
    rows = np.flatnonzero(table["cluster"] == cluster)
    return rows[np.argsort(table["distance"].to_numpy()[rows], kind="stable")[:count]]
