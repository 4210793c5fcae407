"""The embedding of clusters: statistics by closed forms, a model's features as they are stored, and the digest."""

import hashlib
import json

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geoprobe.clusters.embedding import BATCH, digest_embedding, embed_images, embed_pixels, read_embedding

PROPERTY = settings(max_examples=100, deadline=None, derandomize=True, database=None)
COLOURS, TEXTURES = 64, 8
SIZE = 12
CHANNEL = st.integers(0, 255)
IDS = [f"image {number}" for number in range(5)]


def noise(count=4, seed=0, size=SIZE):
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def shares(pixels):
    """Histograms of one image: joint colours, and steps of grey at 1, 2 and 4 pixels."""
    (embedding,) = embed_pixels(pixels[None]) ** 2
    return np.split(embedding, [COLOURS, COLOURS + TEXTURES, COLOURS + 2 * TEXTURES])


def one_hot(bins, position):
    return np.eye(bins)[position]


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


# of a store


def write_images(path, images):
    """An image store as far as the embedding reads it; PNG keeps every pixel."""
    from io import BytesIO

    from PIL import Image

    with h5py.File(path, "w") as file:
        data = file.create_dataset("images", (len(images),), dtype=h5py.vlen_dtype(np.uint8))
        for row, pixels in enumerate(images):
            stream = BytesIO()
            Image.fromarray(pixels).save(stream, "PNG")
            data[row] = np.frombuffer(stream.getvalue(), dtype=np.uint8)
    return path


def test_a_store_is_embedded_as_its_pixels_are_whatever_the_batch(tmp_path, monkeypatch):
    images = noise(7, size=32)
    store = write_images(tmp_path / "store.h5", images)
    expected = embed_pixels(images)
    assert BATCH > 7
    np.testing.assert_array_equal(embed_images(store, 7), expected)
    for batch in (1, 3, 7):
        monkeypatch.setattr("geoprobe.clusters.embedding.BATCH", batch)
        np.testing.assert_array_equal(embed_images(store, 7), expected)


def test_the_statistics_are_those_of_the_store_and_say_so(tmp_path):
    images = noise(5, size=32)
    values, kind = read_embedding(write_images(tmp_path / "store.h5", images), IDS, "statistics")
    np.testing.assert_array_equal(values, embed_pixels(images))
    assert kind == {"by": "statistics", "pixels": 32}


# of a model


@pytest.fixture
def features(tmp_path):
    """A feature store with two poolings, the layers 0 to 10 under mean; each value tells its place."""
    path = tmp_path / "features.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("ids", data=np.asarray(IDS[::-1], dtype=object), dtype=h5py.string_dtype())
        file["vision/cls/0"] = np.full((5, 3), -1, dtype=np.float32)
        for layer in range(11):
            file[f"vision/mean/{layer}"] = (100 * layer + np.arange(5)[::-1, None] + np.zeros(3)).astype(np.float32)
        file.attrs["weights_digest"] = "abc"
    return path


@pytest.mark.parametrize(("layer", "read"), [("last", 10), (10, 10), (2, 2), (0, 0)])
def test_a_models_layer_is_read_in_the_order_of_the_ids(features, layer, read):
    wanted = {"model": "vit", "tower": "vision", "pooling": "mean", "layer": layer}
    values, kind = read_embedding(None, IDS, wanted, features)
    np.testing.assert_array_equal(values, 100 * read + np.arange(5)[:, None] + np.zeros(3))
    assert kind == {**wanted, "by": "model", "layer": read, "weights_digest": "abc"}


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"layer": 11}, r"tower vision, pooling mean, layer 11; .* has vision/cls 0, vision/mean 0, .*Choose one"),
        ({"pooling": "max"}, r"tower vision, pooling max, layer last; .* has vision/cls 0"),
        ({"tower": "text"}, r"tower text, pooling mean, layer last; .* has vision/cls 0"),
        ({"pooling": "cls", "layer": 1}, r"tower vision, pooling cls, layer 1; .* has vision/cls 0"),
    ],
)
def test_what_the_feature_store_lacks_is_an_error_that_says_what_it_has(features, change, sentence):
    wanted = {"model": "vit", "tower": "vision", "pooling": "mean", "layer": "last"} | change
    with pytest.raises(ValueError, match=sentence):
        read_embedding(None, IDS, wanted, features)


def test_features_of_other_images_are_refused(features):
    wanted = {"model": "vit", "tower": "vision", "pooling": "mean", "layer": "last"}
    with pytest.raises(ValueError, match="extracted from another image store"):
        read_embedding(None, ["another", *IDS[1:]], wanted, features)


# the digest


def test_the_digest_is_that_of_the_ids_and_the_rows_as_float32():
    values = np.array([[1.5, -2], [0, 3]])
    stated = json.dumps([["a", "b"], 2]).encode() + np.array([1.5, -2, 0, 3], dtype="<f4").tobytes()
    assert digest_embedding(["a", "b"], values) == hashlib.sha256(stated).hexdigest()
    assert digest_embedding(np.array(["a", "b"]), np.asfortranarray(values)) == hashlib.sha256(stated).hexdigest()


def test_the_digest_changes_with_an_id_a_value_and_the_shape():
    values = np.arange(6.0).reshape(2, 3)
    variants = [
        (["a", "b"], values),
        (["b", "a"], values),
        (["a", "c"], values),
        (["a", "b"], np.where(np.arange(6).reshape(2, 3) == 4, 4.001, values)),
        (["a", "b"], values[:, ::-1]),
        (["a", "b", "c"], values.reshape(3, 2)),
    ]
    assert len({digest_embedding(*variant) for variant in variants}) == len(variants)
