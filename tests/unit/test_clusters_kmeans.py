"""k-means on planted clusters and against scikit-learn's own steps; the elbow's closed forms are in test_elbow.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.metrics import adjusted_rand_score, pairwise_distances
from threadpoolctl import threadpool_limits

from geoprobe.clusters import kmeans
from geoprobe.clusters.kmeans import choose_count, fit_components, fit_kmeans, nearest_centroids, project

PROPERTY = settings(max_examples=50, deadline=None, derandomize=True, database=None)


@pytest.fixture(autouse=True, scope="module")
def _threads():
    """As a job of one thread."""
    with threadpool_limits(1):
        yield


def planted(sizes=(12, 40, 25), dimensions=10, seed=0):
    """Tight clusters far from each other, in random order; the embedding and the true cluster of each row."""
    generator = np.random.default_rng(seed)
    truth = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return 10 * np.eye(dimensions)[truth] + generator.normal(0, 0.1, (len(truth), dimensions)), truth


def cluster(embedding, count, components, seed):
    """Clusters, distances and centroids, as a job finds them."""
    reduced = project(embedding, *fit_components(embedding, components, seed))
    centroids, _ = fit_kmeans(reduced, count, seed)
    return *nearest_centroids(reduced, centroids), centroids


def earlier_formula(embedding, count, components, seed):
    """The formula that the embedded experiment has always used, by scikit-learn's own steps."""
    reduced = PCA(min(components, *embedding.shape), random_state=seed).fit_transform(embedding)
    means = KMeans(count, n_init=10, random_state=seed).fit(reduced)
    order = np.argsort(-np.bincount(means.labels_, minlength=count), kind="stable")
    distance = np.linalg.norm(reduced - means.cluster_centers_[means.labels_], axis=1)
    return np.argsort(order)[means.labels_], distance, means.cluster_centers_[order]


@pytest.mark.parametrize(("images", "width", "count", "components"), [(300, 20, 8, 16), (60, 88, 5, 16), (40, 6, 3, 9)])
@pytest.mark.parametrize("seed", [0, 1])
def test_clusters_distances_and_centroids_are_those_of_scikit_learns_own_steps(images, width, count, components, seed):
    embedding = np.random.default_rng(seed).gamma(1, size=(images, width))
    ours, theirs = (way(embedding, count, components, seed) for way in (cluster, earlier_formula))
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_allclose(ours[1], theirs[1], rtol=1e-9)
    np.testing.assert_allclose(ours[2], theirs[2], atol=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_planted_clusters_are_found(seed):
    embedding, truth = planted(seed=seed)
    clusters, _, _ = cluster(embedding, 3, 5, seed)
    assert adjusted_rand_score(truth, clusters) == 1


@pytest.mark.parametrize("seed", range(8))
def test_cluster_0_is_the_largest_and_sizes_fall(seed):
    # alike in size, so that k-means finds them in any order
    sizes = np.random.default_rng(seed).permutation([10, 11, 12, 13, 14, 15])
    embedding, _ = planted(sizes, seed=seed)
    clusters, _, _ = cluster(embedding, len(sizes), 9, seed)
    assert np.bincount(clusters).tolist() == sorted(sizes, reverse=True)


def test_the_distance_is_that_to_the_mean_of_the_cluster():
    embedding, _ = planted()
    # with as many components as dimensions PCA is a rotation: distances are those of the embedding
    clusters, distances, centroids = cluster(embedding, 3, embedding.shape[1], 0)
    means = np.stack([embedding[clusters == number].mean(axis=0) for number in range(3)])
    np.testing.assert_allclose(distances, np.linalg.norm(embedding - means[clusters], axis=1), rtol=1e-6)
    between = np.linalg.norm(means[:, None] - means[None], axis=2)
    np.testing.assert_allclose(np.linalg.norm(centroids[:, None] - centroids[None], axis=2), between, atol=1e-6)


@pytest.mark.parametrize(("components", "kept"), [(2, 2), (10, 10), (99, 10)])
def test_no_more_components_are_kept_than_there_are(components, kept):
    embedding, _ = planted()
    clusters, distances, centroids = cluster(embedding, 3, components, 0)
    assert clusters.shape == distances.shape == (len(embedding),)
    assert centroids.shape == (3, kept)


def test_the_clusters_are_the_seeds():
    embedding = np.random.default_rng(0).normal(size=(60, 6))
    first, again = (cluster(embedding, 5, 4, 1) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_fewer_images_than_clusters_is_an_error_that_names_both():
    embedding, _ = planted((2, 2))
    with pytest.raises(ValueError, match=r"clusters\.count is 5, but there are 4 images\. Ask for fewer clusters"):
        fit_kmeans(embedding, 5, 0)
    with pytest.raises(
        ValueError, match=r"clusters\.count\.high is 6, but there are 4 images\. Ask for fewer clusters"
    ):
        choose_count(embedding, 2, 6, 2, 0)


def test_as_many_clusters_as_images_is_allowed():
    embedding, _ = planted((2, 2))
    clusters, distances, _ = cluster(embedding, 4, 3, 0)
    assert sorted(clusters) == [0, 1, 2, 3]
    np.testing.assert_allclose(distances, 0, atol=1e-9)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")  # scikit-learn says the same in its own words
def test_a_centroid_without_images_is_left_out(capsys):
    embedding = np.repeat(np.eye(3), [6, 5, 4], axis=0)
    centroids, inertia = fit_kmeans(embedding, 5, 0)
    np.testing.assert_allclose(centroids, np.eye(3), atol=1e-12)
    assert inertia == pytest.approx(0, abs=1e-12)
    assert "5 clusters were asked for, 3 have images" in capsys.readouterr().out


# many images


@PROPERTY
@given(st.integers(0, 2**32 - 1), st.integers(1, 70), st.integers(1, 9), st.integers(1, 80))
def test_the_nearest_centroid_is_that_of_all_distances_whatever_the_rows_at_a_time(seed, images, count, rows):
    generator = np.random.default_rng(seed)
    embedding, mean = generator.normal(size=(images, 4)).astype(np.float32), generator.normal(size=4)
    components, centroids = generator.normal(size=(3, 4)), generator.normal(size=(count, 3))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kmeans, "ROWS", rows)
        reduced = project(embedding, mean, components)
        index, distance = nearest_centroids(reduced, centroids)
    np.testing.assert_allclose(reduced, (embedding.astype(np.float64) - mean) @ components.T, atol=1e-12)
    between = pairwise_distances(reduced, centroids)
    np.testing.assert_allclose(distance, between.min(axis=1), atol=1e-6)
    np.testing.assert_allclose(between[np.arange(images), index], between.min(axis=1), atol=1e-6)


def test_of_centroids_as_near_the_first_is_taken():
    index, distance = nearest_centroids(np.array([[0.0], [1.0]]), np.array([[1.0], [-1.0], [1.0]]))
    assert index.tolist() == [0, 0]
    assert distance.tolist() == [1, 0]


def test_above_the_limit_mini_batches_find_the_planted_clusters(monkeypatch):
    monkeypatch.setattr(kmeans, "LARGE", 500)
    embedding, truth = planted((300, 250, 200, 150), seed=3)
    clusters, _, centroids = cluster(embedding.astype(np.float32), 4, 5, 0)
    assert adjusted_rand_score(truth, clusters) == 1
    assert centroids.shape == (4, 5)
    assert np.bincount(clusters).tolist() == [300, 250, 200, 150]


def test_above_the_limit_the_components_are_those_of_a_sample(monkeypatch):
    # images on a plane: any sample of them spans it
    generator = np.random.default_rng(0)
    plane, _ = np.linalg.qr(generator.normal(size=(6, 2)))
    embedding = generator.normal(size=(900, 2)) * [5, 2] @ plane.T + 3
    monkeypatch.setattr(kmeans, "LARGE", 100)
    mean, components = fit_components(embedding, 2, 0)
    assert not np.allclose(mean, embedding.mean(axis=0), atol=1e-3)
    np.testing.assert_allclose(components.T @ components, plane @ plane.T, atol=1e-9)


# the number of clusters


def test_the_curve_is_scikit_learns_inertia_and_the_planted_number_is_chosen():
    embedding, truth = planted((30, 28, 26, 24, 22), dimensions=8)
    centroids, curve = choose_count(embedding, 2, 12, 1, 0)
    expected = [KMeans(k, n_init=10, random_state=0).fit(embedding).inertia_ for k in range(2, 13)]
    assert curve["k"].tolist() == list(range(2, 13))
    np.testing.assert_allclose(curve["inertia"], expected, rtol=1e-9)
    assert curve.loc[curve["chosen"], "k"].tolist() == [5]
    assert adjusted_rand_score(truth, nearest_centroids(embedding, centroids)[0]) == 1


def test_the_centroids_are_those_of_a_fit_with_the_chosen_number():
    embedding = np.random.default_rng(5).gamma(1, size=(80, 4))
    centroids, curve = choose_count(embedding, 3, 15, 4, 7)
    assert curve["k"].tolist() == [3, 7, 11, 15]
    (chosen,) = curve.loc[curve["chosen"], "k"]
    np.testing.assert_array_equal(centroids, fit_kmeans(embedding, chosen, 7)[0])
