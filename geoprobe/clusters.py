"""Localizability clusters: a neutral embedding, k-means, and names from over-represented caption words.

The embedding is colour and texture statistics by a fixed formula. No model under test takes part, and nothing
in it was trained: a cluster drawn by one of the encoders would favour that encoder's view of what is alike.
"""

import numpy as np
import pandas as pd
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

from geoprobe.words import WORD, split_words

COLOUR_BINS = 4  # a channel: 64 joint bins
TEXTURE_BINS = 8
SCALES = (1, 2, 4)  # pixels between the neighbours whose difference is texture


def embed_pixels(pixels):
    """Colour and texture statistics of images.

    Args:
        pixels: uint8 red, green, blue, shape (n, size, size, 3).

    Returns:
        float64, shape (n, 64 + 24): square roots of the shares of pixels in each joint colour bin, and of the
        shares of steps of grey in each logarithmic bin at distances of 1, 2 and 4 pixels. The square root makes
        Euclidean distance the Hellinger distance between histograms.
    """
    n = len(pixels)
    bins = pixels.astype(np.int64) * COLOUR_BINS // 256
    joint = (bins[..., 0] * COLOUR_BINS + bins[..., 1]) * COLOUR_BINS + bins[..., 2]
    parts = [_histograms(joint.reshape(n, -1), COLOUR_BINS**3)]
    grey = pixels.mean(axis=3)
    for scale in SCALES:
        steps = np.concatenate(
            [
                np.abs(grey[:, scale:] - grey[:, :-scale]).reshape(n, -1),
                np.abs(grey[:, :, scale:] - grey[:, :, :-scale]).reshape(n, -1),
            ],
            axis=1,
        )
        level = np.minimum(np.log2(1 + steps).astype(np.int64), TEXTURE_BINS - 1)
        parts.append(_histograms(level, TEXTURE_BINS))
    return np.sqrt(np.concatenate(parts, axis=1))


def _histograms(values, bins):
    """Shares of each of `bins` values in each row of values, shape (n, bins)."""
    n, width = values.shape
    flat = (values + np.arange(n)[:, None] * bins).ravel()
    return np.bincount(flat, minlength=n * bins).reshape(n, bins) / width


def assign_clusters(embedding, count, components, seed):
    """Reduce the embedding by PCA and cut it by k-means.

    Args:
        embedding: shape (n, d).
        count: number of clusters.
        components: principal components kept.
        seed: of k-means.

    Returns:
        cluster of each image, shape (n,), 0 the largest; distance to its centroid; centroids (count, components).

    Raises:
        ValueError: fewer images than clusters.
    """
    if len(embedding) < count:
        raise ValueError(f"clusters.count is {count}, but there are {len(embedding)} images. Ask for fewer clusters.")
    reduced = PCA(min(components, *embedding.shape), random_state=seed).fit_transform(embedding)
    means = KMeans(count, n_init=10, random_state=seed).fit(reduced)
    # the largest is number 0, so that numbers do not hang on k-means' arbitrary order
    order = np.argsort(-np.bincount(means.labels_, minlength=count), kind="stable")
    rank = np.argsort(order)
    distance = np.linalg.norm(reduced - means.cluster_centers_[means.labels_], axis=1)
    return rank[means.labels_], distance, means.cluster_centers_[order]


def name_clusters(captions, clusters, words):
    """Name each cluster by the words that are over-represented in its captions.

    Args:
        captions: n captions, or None.
        clusters: cluster of each image, shape (n,).
        words: words a name.

    Returns:
        Names by cluster number; without captions, or for a cluster whose captions have no word, "cluster <k>".

    English stop words ("a", "in") are left out. Class-based TF-IDF, tf(word, cluster) * log(1 + A / f(word)) with A
    the mean number of words a cluster (Grootendorst 2022, BERTopic, equation 2).
    """
    count = int(clusters.max()) + 1
    names = [f"cluster {number}" for number in range(count)]
    texts = (
        [" ".join(np.asarray(captions)[clusters == number]) for number in range(count)] if captions is not None else []
    )
    if not any(set(split_words(text)) - ENGLISH_STOP_WORDS for text in texts):
        return names
    vectorizer = CountVectorizer(token_pattern=WORD.pattern, stop_words="english")
    frequency = vectorizer.fit_transform(texts).toarray()
    weight = frequency * np.log1p(frequency.sum(axis=1).mean() / frequency.sum(axis=0))
    vocabulary = vectorizer.get_feature_names_out()
    for number in range(count):
        best = [index for index in np.argsort(-weight[number], kind="stable")[:words] if weight[number, index] > 0]
        if best:
            names[number] = ", ".join(vocabulary[best])
    return names


def summarise_clusters(table, positions):
    """One row a cluster: cluster, name, images, mean distance to the centroid, variances of the labels.

    Args:
        table: frame with id, cluster, name, distance, one row an image.
        positions: latitude and longitude in degrees, shape (n, 2).
    """
    frame = table.assign(latitude=positions[:, 0], longitude=positions[:, 1])
    return (
        frame.groupby(["cluster", "name"])
        .agg(
            images=("id", "size"),
            distance=("distance", "mean"),
            latitude_variance=("latitude", "var"),
            longitude_variance=("longitude", "var"),
        )
        .reset_index()
    )


def typical_rows(table, cluster, count):
    """Row numbers of the images nearest to a cluster's centroid, nearest first."""
    rows = np.flatnonzero(table["cluster"] == cluster)
    return rows[np.argsort(table["distance"].to_numpy()[rows], kind="stable")[:count]]


def cluster_table(ids, clusters, distances, names):
    """The frame that `clusters/{dataset}.parquet` holds: id, cluster, name, distance, one row an image."""
    return pd.DataFrame(
        {"id": ids, "cluster": clusters, "name": np.asarray(names, dtype=object)[clusters], "distance": distances}
    )
