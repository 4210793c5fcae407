"""Clusters: the embedding by closed forms, k-means on planted clusters, names by hand-calculated c-TF-IDF."""

import statistics

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score

from geoprobe.clusters import (
    assign_clusters,
    cluster_table,
    embed_pixels,
    name_clusters,
    summarise_clusters,
    typical_rows,
)

PROPERTY = settings(max_examples=100, deadline=None, derandomize=True, database=None)
COLOURS, TEXTURES = 64, 8
SIZE = 12
CHANNEL = st.integers(0, 255)


def noise(count=4, seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def shares(pixels):
    """Histograms of one image: joint colours, and steps of grey at 1, 2 and 4 pixels."""
    (embedding,) = embed_pixels(pixels[None]) ** 2
    return np.split(embedding, [COLOURS, COLOURS + TEXTURES, COLOURS + 2 * TEXTURES])


def one_hot(bins, position):
    return np.eye(bins)[position]


def planted(sizes=(12, 40, 25), dimensions=10, seed=0):
    """Tight clusters far from each other, in random order; the embedding and the true cluster of each row."""
    generator = np.random.default_rng(seed)
    truth = generator.permutation(np.repeat(np.arange(len(sizes)), sizes))
    return 10 * np.eye(dimensions)[truth] + generator.normal(0, 0.1, (len(truth), dimensions)), truth


# the embedding


@PROPERTY
@given(CHANNEL, CHANNEL, CHANNEL)
def test_a_plain_image_has_one_colour_and_no_texture(red, green, blue):
    colour, *textures = shares(np.full((SIZE, SIZE, 3), (red, green, blue), dtype=np.uint8))
    np.testing.assert_allclose(colour, one_hot(COLOURS, red // 64 * 16 + green // 64 * 4 + blue // 64))
    for texture in textures:
        np.testing.assert_allclose(texture, one_hot(TEXTURES, 0))


def test_an_image_half_black_half_white_has_the_shares_of_a_closed_form():
    pixels = np.zeros((SIZE, SIZE, 3), dtype=np.uint8)
    pixels[:, SIZE // 2 :] = 255
    colour, *textures = shares(pixels)
    np.testing.assert_allclose(colour, (one_hot(COLOURS, 0) + one_hot(COLOURS, 63)) / 2, atol=1e-15)
    for distance, texture in zip((1, 2, 4), textures, strict=True):
        # of SIZE (SIZE - d) horizontal steps SIZE d cross the edge, of as many vertical ones none
        crossing = distance / (2 * (SIZE - distance))
        expected = (1 - crossing) * one_hot(TEXTURES, 0) + crossing * one_hot(TEXTURES, 7)
        np.testing.assert_allclose(texture, expected, atol=1e-15)


@pytest.mark.parametrize(
    ("step", "level"), [(0, 0), (1, 1), (2, 1), (3, 2), (6, 2), (7, 3), (15, 4), (31, 5), (63, 6), (127, 7), (255, 7)]
)
def test_a_chessboards_steps_are_counted_by_their_binary_logarithm(step, level):
    board = np.indices((SIZE, SIZE)).sum(axis=0) % 2 * step
    _, near, twice, four = shares(np.repeat(board[..., None], 3, axis=2).astype(np.uint8))
    np.testing.assert_allclose(near, one_hot(TEXTURES, level))
    # fields two and four apart are alike
    np.testing.assert_allclose(twice, one_hot(TEXTURES, 0))
    np.testing.assert_allclose(four, one_hot(TEXTURES, 0))


def test_the_distance_of_two_images_is_that_of_hellinger_between_their_histograms():
    a, b = noise(2, seed=1)
    first, second = (np.concatenate(shares(image)) for image in (a, b))
    affinity = np.sqrt(first * second).sum()
    # four histograms, each of sum 1: |sqrt p - sqrt q|^2 = 2 * 4 - 2 * sum sqrt(p q)
    expected = np.sqrt(2 * 4 - 2 * affinity)
    assert np.linalg.norm(np.subtract(*embed_pixels(np.stack([a, b])))) == pytest.approx(expected)


@PROPERTY
@given(st.integers(0, 2**32 - 1), st.integers(5, 20))
def test_every_histogram_sums_to_one(seed, size):
    embedding = embed_pixels(noise(3, seed, size))
    assert embedding.shape == (3, COLOURS + 3 * TEXTURES)
    for image in noise(3, seed, size):
        assert [part.sum() for part in shares(image)] == pytest.approx([1, 1, 1, 1])


@PROPERTY
@given(st.integers(0, 2**32 - 1))
def test_flips_turns_and_the_transpose_change_nothing(seed):
    (pixels,) = noise(1, seed)
    views = [pixels, pixels[::-1], pixels[:, ::-1], np.rot90(pixels), pixels.transpose(1, 0, 2)]
    embedding = embed_pixels(np.stack(views))
    np.testing.assert_allclose(embedding, np.repeat(embedding[:1], len(views), axis=0), atol=1e-15)


def test_an_images_embedding_does_not_hang_on_its_neighbours():
    pixels = noise(5)
    np.testing.assert_array_equal(embed_pixels(pixels), np.concatenate([embed_pixels(image[None]) for image in pixels]))


def test_colours_in_another_place_change_the_texture_alone():
    (pixels,) = noise(1)
    smooth = np.sort(pixels.reshape(-1, 3), axis=0).reshape(pixels.shape)
    ordered = pixels.reshape(-1, 3)[np.lexsort(pixels.reshape(-1, 3).T)].reshape(pixels.shape)
    np.testing.assert_array_equal(shares(ordered)[0], shares(pixels)[0])
    assert shares(smooth)[1][0] > shares(pixels)[1][0]


# k-means


@pytest.mark.parametrize("seed", range(4))
def test_planted_clusters_are_found(seed):
    embedding, truth = planted(seed=seed)
    clusters, _, _ = assign_clusters(embedding, 3, 5, seed)
    assert adjusted_rand_score(truth, clusters) == 1


@pytest.mark.parametrize("seed", range(8))
def test_cluster_0_is_the_largest_and_sizes_fall(seed):
    # alike in size, so that k-means finds them in any order
    sizes = np.random.default_rng(seed).permutation([10, 11, 12, 13, 14, 15])
    embedding, _ = planted(sizes, seed=seed)
    clusters, _, _ = assign_clusters(embedding, len(sizes), 9, seed)
    assert np.bincount(clusters).tolist() == sorted(sizes, reverse=True)


def test_the_distance_is_that_to_the_mean_of_the_cluster():
    embedding, _ = planted()
    # with as many components as dimensions PCA is a rotation: distances are those of the embedding
    clusters, distances, centroids = assign_clusters(embedding, 3, embedding.shape[1], 0)
    means = np.stack([embedding[clusters == number].mean(axis=0) for number in range(3)])
    np.testing.assert_allclose(distances, np.linalg.norm(embedding - means[clusters], axis=1), rtol=1e-6)
    between = np.linalg.norm(means[:, None] - means[None], axis=2)
    np.testing.assert_allclose(np.linalg.norm(centroids[:, None] - centroids[None], axis=2), between, atol=1e-6)


@pytest.mark.parametrize(("components", "kept"), [(2, 2), (10, 10), (99, 10)])
def test_no_more_components_are_kept_than_there_are(components, kept):
    embedding, _ = planted()
    clusters, distances, centroids = assign_clusters(embedding, 3, components, 0)
    assert clusters.shape == distances.shape == (len(embedding),)
    assert centroids.shape == (3, kept)


def test_the_clusters_are_the_seeds():
    embedding = np.random.default_rng(0).normal(size=(60, 6))
    first, again = (assign_clusters(embedding, 5, 4, 1) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        np.testing.assert_array_equal(a, b)


def test_fewer_images_than_clusters_is_an_error_that_names_both():
    embedding, _ = planted((2, 2))
    with pytest.raises(ValueError, match=r"clusters\.count is 5, but there are 4 images\. Ask for fewer clusters"):
        assign_clusters(embedding, 5, 3, 0)


def test_as_many_clusters_as_images_is_allowed():
    embedding, _ = planted((2, 2))
    clusters, distances, _ = assign_clusters(embedding, 4, 3, 0)
    assert sorted(clusters) == [0, 1, 2, 3]
    np.testing.assert_allclose(distances, 0, atol=1e-9)


# names


def test_names_are_by_hand_calculated_weights():
    # A = (6 + 4) / 2 = 5 words a cluster; f: ice 3, rock 4, sea 1, sand 2
    # cluster 0: ice 3 log(1 + 5/3) = 2.94, rock 2 log(1 + 5/4) = 1.62, sea 1 log(1 + 5) = 1.79
    # cluster 1: rock 2 log(1 + 5/4) = 1.62, sand 2 log(1 + 5/2) = 2.51
    captions = ["ice, rock", "Sand rock", "ice ice rock", "sea", "rock, SAND"]
    clusters = np.array([0, 1, 0, 0, 1])
    assert name_clusters(captions, clusters, 3) == ["ice, sea, rock", "sand, rock"]
    assert name_clusters(captions, clusters, 2) == ["ice, sea", "sand, rock"]
    assert name_clusters(captions, clusters, 1) == ["ice", "sand"]


def test_a_word_of_all_clusters_yields_to_a_rarer_one():
    # A = 3; rock 2 log(1 + 3/5) = 0.94 is less than ice 1 log(1 + 3/1) = 1.39
    assert name_clusters(["rock rock ice", "rock rock rock"], np.array([0, 1]), 1) == ["ice", "rock"]


def test_single_letters_and_digits_are_words():
    assert name_clusters(["x 7 x 7 x", "b"], np.array([0, 1]), 2) == ["x, 7", "b"]


def test_stop_words_name_nothing():
    captions = ["the ice of the ice and the ice", "the sea sea", "of the rock"]
    clusters = np.array([0, 0, 1])
    assert name_clusters(captions, clusters, 9) == ["ice, sea", "rock"]


@pytest.mark.parametrize("captions", [None, ["", " , ", "_"], ["the", "of", "And the"]])
def test_without_a_word_a_cluster_is_its_number(captions):
    assert name_clusters(captions, np.array([0, 1, 2]), 3) == ["cluster 0", "cluster 1", "cluster 2"]


def test_a_cluster_without_words_is_its_number_beside_named_ones():
    assert name_clusters(["ice", "", "sand"], np.array([0, 1, 2]), 3) == ["ice", "cluster 1", "sand"]


# tables


def table(clusters, distances, names=("ice", "sand")):
    return cluster_table([f"image {k}" for k in range(len(clusters))], np.array(clusters), np.array(distances), names)


def test_the_table_has_a_row_an_image_with_its_clusters_name():
    frame = table([1, 0, 1], [0.5, 0.25, 0.1])
    assert frame.to_dict("list") == {
        "id": ["image 0", "image 1", "image 2"],
        "cluster": [1, 0, 1],
        "name": ["sand", "ice", "sand"],
        "distance": [0.5, 0.25, 0.1],
    }


def test_the_summary_counts_images_and_spreads_of_each_cluster():
    frame = table([0, 1, 0, 1, 0, 2], [1.0, 2.0, 3.0, 5.0, 8.0, 0.5], ["ice", "sand", "sea"])
    positions = np.array([(0, 1), (10, 20), (5, 4), (30, -20), (1, 9), (7, 7)], dtype=float)
    summary = summarise_clusters(frame, positions)
    assert summary["name"].tolist() == ["ice", "sand", "sea"]
    assert summary["images"].tolist() == [3, 2, 1]
    assert summary["distance"].tolist() == [4, 3.5, 0.5]
    for column, values in (
        ("latitude_variance", [(0, 5, 1), (10, 30)]),
        ("longitude_variance", [(1, 4, 9), (20, -20)]),
    ):
        assert summary[column].tolist()[:2] == pytest.approx([statistics.variance(map(float, row)) for row in values])
        assert np.isnan(summary[column][2])


def test_clusters_of_one_name_are_summarised_apart():
    summary = summarise_clusters(table([0, 1, 0], [1, 1, 1], ["ice", "ice"]), np.zeros((3, 2)))
    assert summary["images"].tolist() == [2, 1]
    assert summary["cluster"].tolist() == [0, 1]


def test_typical_images_are_the_nearest_to_the_centroid():
    frame = table([0, 1, 0, 0, 1, 0], [0.9, 0.1, 0.2, 0.7, 0.05, 0.2])
    assert typical_rows(frame, 0, 3).tolist() == [2, 5, 3]
    assert typical_rows(frame, 1, 9).tolist() == [4, 1]
    assert typical_rows(frame, 7, 3).tolist() == []


def test_typical_images_are_row_numbers_whatever_the_index():
    frame = table([0, 1, 0], [0.9, 0.1, 0.2]).set_index(pd.Index([30, 10, 20]))
    assert typical_rows(frame, 0, 2).tolist() == [2, 0]
