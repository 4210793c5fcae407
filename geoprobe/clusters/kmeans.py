"""Principal components, k-means, the number of clusters by the elbow, and the nearest centroid."""

import numpy as np
import pandas as pd
from scipy.spatial.distance import cdist
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.decomposition import PCA
from tqdm import tqdm

# Images above which k-means works on mini-batches, and the components are those of a random sample of this size:
# in memory and time both would otherwise grow beyond a job of hours.
LARGE = 100_000
MINI_BATCH = 8192
CURVE = ("k", "inertia", "chosen")  # columns of the elbow
ROWS = 65_536  # of the embedding that are projected or compared at a time


def fit_components(embedding, components, seed):
    """Principal components of an embedding.

    Args:
        embedding: shape (n, d).
        components: how many are kept, at most n and d.
        seed: of the solver, and of the sample where there are more than LARGE images.

    Returns:
        mean (d,) and components (components, d), float64.
    """
    if len(embedding) > LARGE:
        rows = np.random.default_rng(seed).choice(len(embedding), LARGE, replace=False)
        embedding = embedding[np.sort(rows)]
    # float64: the covariance squares the condition number of float32 features
    embedding = np.asarray(embedding, dtype=np.float64)
    pca = PCA(min(components, *embedding.shape), random_state=seed).fit(embedding)
    return pca.mean_, pca.components_


def project(embedding, mean, components):
    """Coordinates of an embedding in principal components, float64, shape (n, components)."""
    # one layout whether they were just fitted or read from a file, so that the products round alike
    components = np.asfortranarray(components)
    # in this order, as scikit-learn does it: no centred copy of the embedding
    offset = mean @ components.T
    starts = range(0, len(embedding), ROWS)
    return np.concatenate(
        [np.asarray(embedding[start : start + ROWS], np.float64) @ components.T - offset for start in starts]
    )


def nearest_centroids(reduced, centroids):
    """Index of the nearest centroid of each image (the first of several as near), and the distance to it.

    Args:
        reduced: shape (n, components).
        centroids: shape (count, components).
    """
    starts = range(0, len(reduced), ROWS)
    index = np.concatenate([cdist(reduced[start : start + ROWS], centroids).argmin(axis=1) for start in starts])
    return index, np.linalg.norm(reduced - centroids[index], axis=1)


def fit_kmeans(reduced, count, seed):
    """Centroids of k-means and the inertia, the sum of squared distances to them.

    Args:
        reduced: shape (n, components).
        count: number of clusters.
        seed: of the first centroids.

    Returns:
        centroids, shape (count, components), the one with most images first; one that no image is nearest to is
        left out, which happens where fewer images differ than clusters are asked for; inertia.

    Raises:
        ValueError: fewer images than clusters.
    """
    if len(reduced) < count:
        raise ValueError(f"clusters.count is {count}, but there are {len(reduced)} images. Ask for fewer clusters.")
    if len(reduced) > LARGE:
        means = MiniBatchKMeans(count, n_init=10, batch_size=MINI_BATCH, random_state=seed).fit(reduced)
    else:
        means = KMeans(count, n_init=10, random_state=seed).fit(reduced)
    # the largest is number 0, so that numbers do not hang on k-means' arbitrary order
    order = np.argsort(-np.bincount(means.labels_, minlength=count), kind="stable")
    centroids = means.cluster_centers_[order]
    used = np.unique(nearest_centroids(reduced, centroids)[0])
    if len(used) < count:
        print(f"{count} clusters were asked for, {len(used)} have images: too many images are alike")
    return centroids[used], float(means.inertia_)


def find_elbow(counts, inertias):
    """The number of clusters at which more of them begin to gain little.

    Args:
        counts: numbers of clusters, rising.
        inertias: sum of squared distances to the centroids at each, falling.

    Returns:
        The count whose point lies farthest below the chord from the first point to the last, both axes scaled
        to [0, 1] (Satopaa et al. 2011, "Finding a Kneedle in a Haystack", without smoothing); the first of
        several, and the first of all where the curve does not fall.
    """
    counts, inertias = np.asarray(counts), np.asarray(inertias, dtype=np.float64)
    fall = inertias[0] - inertias[-1]
    if fall <= 0:
        return int(counts[0])
    x = (counts - counts[0]) / (counts[-1] - counts[0])
    y = (inertias - inertias[-1]) / fall
    # rounded, so that it is not rounding errors that choose along a straight line
    return int(counts[np.argmax(np.round(1 - x - y, 9))])


def choose_count(reduced, low, high, step, seed):
    """Fit every number of clusters from low to high (inclusive) and keep that of the elbow.

    Args:
        reduced: shape (n, components).
        low, high, step: which numbers of clusters.
        seed: of each fit.

    Returns:
        centroids as of :func:`fit_kmeans`; frame with the columns CURVE, a row a number of clusters.

    Raises:
        ValueError: fewer images than `high`.
    """
    if len(reduced) < high:
        raise ValueError(f"clusters.count.high is {high}, but there are {len(reduced)} images. Ask for fewer clusters.")
    counts = range(low, high + 1, step)
    fits = {}
    for count in tqdm(counts, unit="fit", desc="k-means", mininterval=5):
        fits[count] = fit_kmeans(reduced, count, seed)
    chosen = find_elbow(counts, [inertia for _, inertia in fits.values()])
    curve = pd.DataFrame({"k": counts, "inertia": [inertia for _, inertia in fits.values()]})
    return fits[chosen][0], curve.assign(chosen=curve["k"] == chosen)
