"""The colour histogram: against numpy's own histogram, and through the engine as any model."""

import io
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from golden import batch_of, photos, read
from PIL import Image, ImageOps

from geoprobe.features.engine import extract_features
from geoprobe.features.store import list_layers, read_features
from geoprobe.images.store import write_store
from geoprobe.models.loading import load_model, model_bytes
from geoprobe.models.registry import read_registry

ROW = read_registry(Path(__file__).resolve().parents[2] / "config" / "models.tsv")["colour-histogram"]
OPTIONS = {"poolings": ["cls", "last", "mean"], "layers": "all", "batch_size": 4, "chunk": 3, "dtype": "float32"}
EDGES = [np.arange(5) * 64] * 3


def expected(image, resize=True):
    """Square roots of numpy's joint histogram of the central square."""
    if resize:
        image = ImageOps.fit(image, (64, 64), Image.Resampling.BICUBIC)
    colours = np.asarray(image).reshape(-1, 3)
    counts, _ = np.histogramdd(colours, bins=EDGES)
    return np.sqrt(counts.ravel() / len(colours))


def noise(width, height, seed=0):
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture(scope="module")
def model():
    return load_model(ROW)


def histograms(model, images):
    return read(model, batch_of(model, images))[1]["mean"][0].numpy()


@pytest.mark.parametrize("size", [(64, 64), (200, 120), (90, 230), (10, 7)])
def test_shares_are_those_of_numpys_histogram(model, size):
    images = [noise(*size, seed) for seed in range(3)] + photos(2, size)
    given = histograms(model, images)
    np.testing.assert_allclose(given, [expected(image) for image in images], rtol=0, atol=1e-6)
    np.testing.assert_allclose((given**2).sum(axis=1), 1, rtol=1e-6)


def test_an_image_of_its_size_is_counted_as_it_is(model):
    image = noise(64, 64)
    np.testing.assert_allclose(histograms(model, [image])[0], expected(image, resize=False), rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("colour", "place"),
    [
        ((0, 0, 0), 0), ((63, 63, 63), 0), ((0, 0, 64), 1), ((0, 127, 127), 5), ((64, 0, 0), 16), ((128, 64, 192), 39),
        ((255, 255, 255), 63),
    ],
)  # fmt: skip
def test_a_colour_is_counted_in_the_bin_between_whose_edges_it_lies(model, colour, place):
    given = histograms(model, [Image.new("RGB", (30, 50), colour)])[0]
    assert given.tolist() == [float(k == place) for k in range(64)]


def test_where_the_colours_are_does_not_matter(model):
    pixels = np.asarray(noise(64, 64)).reshape(-1, 3)
    mixed = np.random.default_rng(1).permutation(pixels)
    a, b = histograms(model, [Image.fromarray(part.reshape(64, 64, 3)) for part in (pixels, mixed)])
    assert a.tolist() == b.tolist()


def test_the_distance_is_that_of_hellinger(model):
    a, b = histograms(model, photos(2)).astype(float)
    # of discrete distributions p and q: sqrt(1 - sum of sqrt(p q))
    hellinger = np.sqrt(1 - np.sqrt(a**2 * b**2).sum())
    assert np.linalg.norm(a - b) == pytest.approx(np.sqrt(2) * hellinger, rel=1e-5)


def test_it_is_a_frozen_model_without_weights_whose_digest_stays(model):
    assert not list(model.module.parameters())
    assert not any(part.training for part in model.module.modules())
    assert model_bytes(ROW, None) == 0
    assert model.digest == load_model(ROW).digest != ""
    tower = model.towers["vision"]
    assert (len(tower.blocks), tower.width, tower.poolings) == (1, 64, ("mean",))


def test_a_placement_is_refused():
    with pytest.raises(ValueError, match="the loader histogram cannot spread a model over devices"):
        load_model(ROW, placement={"device_map": "auto"})


def encode(image):
    buffer = io.BytesIO()
    image.save(buffer, format="png")
    return buffer.getvalue()


@pytest.mark.parametrize("workers", [0, 1])
def test_features_come_out_of_the_engine_as_any_models(tmp_path, workers):
    sizes = [(16, 16), (64, 64), (120, 70), (33, 90), (64, 64), (100, 100), (80, 64)]
    images = [noise(*size, seed) for seed, size in enumerate(sizes)]
    names = [f"image {number}" for number in range(len(images))]
    places = np.linspace(-80, 80, len(images))
    columns = {"ids": names, "latitudes": places, "longitudes": places}
    columns |= dict.fromkeys(("geocells", "countries", "groups"), names)
    write_store(tmp_path / "images.h5", [encode(image) for image in images], columns, {}, {"source": "test"})
    extract_features(tmp_path / "images.h5", ROW, tmp_path / "features.h5", workers=workers, **OPTIONS)
    assert list_layers(tmp_path / "features.h5") == [("vision", "mean", 0)]
    given = read_features(tmp_path / "features.h5", names, "vision", "mean", 0)
    np.testing.assert_allclose(given, [expected(image) for image in images], rtol=0, atol=1e-6)
    with h5py.File(tmp_path / "features.h5") as file:
        assert file["vision/mean/0"].shape == (7, 64)
        assert (file.attrs["supervision"], file.attrs["model"]) == ("baseline", "colour-histogram")
        assert "square roots of the shares" in file.attrs["preprocessing"]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device on this machine")
def test_counts_are_the_same_on_a_gpu(model):
    batch = batch_of(model, photos())["pixel_values"]
    assert torch.equal(model.module(batch.cuda()).cpu(), model.module(batch))
