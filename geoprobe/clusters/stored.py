"""The clusters of a data set as a file: what is needed to sort other images into them."""

import json
from dataclasses import dataclass, field

import h5py
import numpy as np

from geoprobe.clusters.kmeans import nearest_centroids, project
from geoprobe.runtime import provenance, replacing


@dataclass
class Clusters:
    """Clusters, apart from the images that were assigned to them.

    Attributes:
        numbers: of the clusters, int64, shape (count,).
        names: texts, in the order of the numbers.
        centroids: in principal components, float64, shape (count, components).
        mean, components: of the embedding, shapes (d,) and (components, d).
        embedding: what the embedding is, plain values; images of another kind cannot be assigned.
        attributes: digests, seeds, options, ... for the file.
    """

    numbers: np.ndarray
    names: list
    centroids: np.ndarray
    mean: np.ndarray
    components: np.ndarray
    embedding: dict
    attributes: dict = field(default_factory=dict)

    def assign(self, embedding):
        """Number of the nearest cluster of each image, shape (n,), and the distance to its centroid."""
        index, distance = nearest_centroids(project(embedding, self.mean, self.components), self.centroids)
        return self.numbers[index], distance


ARRAYS = ("numbers", "centroids", "mean", "components")


def write_clusters(path, clusters):
    """Write clusters as HDF5 in one step: numbers, names, centroids, mean, components; the rest are attributes."""
    with replacing(path) as temporary, h5py.File(temporary, "w") as file:
        for name in ARRAYS:
            file[name] = getattr(clusters, name)
        file.create_dataset("names", data=np.asarray(clusters.names, dtype=object), dtype=h5py.string_dtype())
        file.attrs["embedding"] = json.dumps(clusters.embedding, sort_keys=True)
        for name, value in {**clusters.attributes, **provenance()}.items():
            file.attrs[name] = value


def read_clusters(path):
    """Clusters of a file that :func:`write_clusters` has written."""
    with h5py.File(path, "r") as file:
        attributes = dict(file.attrs)
        return Clusters(
            **{name: file[name][:] for name in ARRAYS},
            names=file["names"].asstr()[:].tolist(),
            embedding=json.loads(attributes.pop("embedding")),
            attributes=attributes,
        )


def read_source_clusters(store):
    """The clusters that an image store has of its source, int64, shape (n,); -1 for images in none.

    Raises:
        ValueError: the store has none, or they are not whole numbers from -1.
    """
    with h5py.File(store, "r") as file:
        if "clusters" not in file:
            raise ValueError(
                f'clusters.by is "stored", but {store} has no clusters: its source gave none. Choose kmeans or source.'
            )
        values = file["clusters"][:]
    numbers = values.astype(np.int64)
    bad = (numbers != values) | (numbers < -1)
    if bad.any():
        row = int(np.argmax(bad))
        raise ValueError(f"{store}: cluster {values[row]} of image {row} is no number from 0, nor -1 for none.")
    if (numbers < 0).all():
        raise ValueError(f'{store}: all its clusters are -1, that is none. Choose kmeans or source for "clusters.by".')
    return numbers
