"""As many images from each cluster, so that their scores can be compared."""

import numpy as np

from geoprobe.clusters.table import NOT_SAMPLED
from geoprobe.images.geocells import cap_geocells

SMALLEST = "smallest"


def match_clusters(ids, clusters, images, seed):
    """Draw the same number of images from each cluster, uniformly at random.

    Args:
        ids: n image ids; which images of a cluster are drawn hangs on these and the seed alone.
        clusters: cluster of each image, shape (n,); below 0 for images in none.
        images: how many, or "smallest" for as many as the smallest cluster has.
        seed: of the draw.

    Returns:
        clusters with -1 for each image that was not drawn, shape (n,). A cluster with fewer images than asked for
        is not sampled at all, and this is printed.

    Raises:
        ValueError: no cluster has as many.

    The number is the same, the geography is not: a uniform draw keeps that of the cluster. What R2 is relative to
    is the variance of a cluster's labels, which the summary of the clusters states beside the number of images.
    """
    numbers, sizes = np.unique(clusters[clusters >= 0], return_counts=True)
    wanted = int(sizes.min()) if images == SMALLEST else images
    if sizes.max() < wanted:
        raise ValueError(
            f"clusters.matched.images is {wanted}, but the largest cluster has {sizes.max()} images. "
            f'Ask for fewer, or for "{SMALLEST}".'
        )
    for number, size in zip(numbers, sizes, strict=True):
        if size < wanted:
            print(f"cluster {number}: {size} images, fewer than clusters.matched.images ({wanted}); not sampled")
    large_enough = np.isin(clusters, numbers[sizes >= wanted])
    drawn = large_enough & cap_geocells(ids, clusters, wanted, seed)
    return np.where(drawn, clusters, NOT_SAMPLED)
