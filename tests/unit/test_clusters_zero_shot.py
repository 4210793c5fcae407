"""Names by text: a tiny image-text model of open_clip's own class, built on the spot, against its bare forward pass."""

import io
import itertools
import json

import h5py
import numpy as np
import open_clip
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from PIL import Image
from safetensors.torch import save_file

from geoprobe.clusters.zero_shot import BATCH, label_similarities, match_labels

PROPERTY = settings(max_examples=100, deadline=None, derandomize=True, database=None)
SIDE, CONTEXT = 16, 12
CONFIG = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": SIDE, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": CONTEXT, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
LABELS = ["Beach", "Old Buildings", "Snow", "Birds and Insects", "Musicians"]
TEMPLATE = "a photo of {}"
COLOURS = [(200, 30, 30), (20, 180, 40), (30, 60, 220), (240, 240, 240)]


def build(seed=0):
    """The model with random weights, larger than usual, so that images and texts differ clearly."""
    torch.manual_seed(seed)
    clip = open_clip.CLIP(**CONFIG).eval()
    with torch.no_grad():
        for name, values in clip.named_parameters():
            if name != "logit_scale":
                values += 0.2 * torch.randn_like(values)
    return clip


def save(clip, folder):
    """Write the model as open_clip keeps one in a folder; returns the folder."""
    folder.mkdir()
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": CONFIG, "preprocess_cfg": {}}))
    save_file({name: value.contiguous() for name, value in clip.state_dict().items()}, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store with images in four colours by turns, as far as it is read here, and the pixels."""
    generator = np.random.default_rng(0)
    pixels = [
        (np.array(COLOURS[number % 4]) + generator.normal(0, 12, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)
        for number in range(100)
    ]
    path = tmp_path_factory.mktemp("store") / "store.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("images", (len(pixels),), dtype=h5py.vlen_dtype(np.uint8))
        for row, image in enumerate(pixels):
            stream = io.BytesIO()
            Image.fromarray(image).save(stream, "PNG")
            data[row] = np.frombuffer(stream.getvalue(), dtype=np.uint8)
    return path, pixels


@torch.no_grad()
def encode(clip, image):
    """One image by the bare model, its channels normalised by hand."""
    values = (image / 255 - np.array(OPENAI_DATASET_MEAN)) / np.array(OPENAI_DATASET_STD)
    return clip.encode_image(torch.from_numpy(values.transpose(2, 0, 1)[None]).float())[0].double().numpy()


@torch.no_grad()
def encode_text(clip, text):
    tokens = open_clip.SimpleTokenizer(context_length=CONTEXT)(text)
    return clip.encode_text(tokens)[0].double().numpy()


def cosine(a, b):
    return a @ b / np.linalg.norm(a) / np.linalg.norm(b)


def test_similarities_are_mean_cosines_of_single_images_and_texts(store, tmp_path):
    path, pixels = store
    clip = build()
    # more than a batch, not a multiple of it, and one image alone
    rows = [np.arange(BATCH + 7), np.array([5, 3, 90]), np.array([99])]
    found, _ = label_similarities(path, rows, LABELS, save(clip, tmp_path / "clip"), TEMPLATE)
    texts = [encode_text(clip, f"a photo of {label}") for label in LABELS]
    expected = [[np.mean([cosine(encode(clip, pixels[row]), text) for row in part]) for text in texts] for part in rows]
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.ptp(expected, axis=1).min() > 0.01


def test_a_planted_label_is_found_for_each_cluster(store, tmp_path):
    path, pixels = store
    clip = build(1)
    clusters = [np.arange(colour, 100, 4) for colour in range(4)]
    images = np.stack([np.mean([encode(clip, pixels[row]) for row in part], axis=0) for part in clusters])
    # the texts before the projection; then the projection that sends the label of each cluster to its images
    projection, clip.text_projection = clip.text_projection, torch.nn.Parameter(torch.eye(16))
    planted = [3, 0, 2, 1]
    texts = np.stack([encode_text(clip, f"a photo of {LABELS[label]}") for label in planted])
    solved = np.linalg.lstsq(texts, images - images.mean(axis=0))[0]
    clip.text_projection = torch.nn.Parameter(torch.from_numpy(solved).to(projection.dtype))
    found, _ = label_similarities(path, clusters, LABELS, save(clip, tmp_path / "clip"), TEMPLATE)
    assert match_labels(found).tolist() == planted


def test_the_digest_is_that_of_the_weights(store, tmp_path):
    digests = []
    for number, seed in enumerate([0, 0, 1]):
        name = save(build(seed), tmp_path / str(number))
        digests.append(label_similarities(store[0], [np.array([0])], ["Beach"], name, TEMPLATE)[1])
    assert digests[0] == digests[1] != digests[2]


def test_a_model_without_its_weights_is_an_error(store, tmp_path):
    save(build(), tmp_path / "clip")
    (tmp_path / "clip" / "model.safetensors").unlink()
    with pytest.raises(RuntimeError, match=r"Required pretrained weights .* could not be loaded"):
        label_similarities(store[0], [np.array([0])], LABELS, tmp_path / "clip", TEMPLATE)


# labels by similarity


@PROPERTY
@given(st.integers(0, 2**32 - 1), st.integers(1, 4), st.integers(0, 2))
def test_labels_are_the_best_of_all_ways_to_use_each_once(seed, clusters, more):
    similarities = np.random.default_rng(seed).uniform(-1, 1, (clusters, clusters + more))
    found = match_labels(similarities)
    ways = itertools.permutations(range(clusters + more), clusters)
    best = max(sum(similarities[row, label] for row, label in enumerate(way)) for way in ways)
    assert len(set(found)) == clusters
    assert similarities[np.arange(clusters), found].sum() == pytest.approx(best)


def test_with_fewer_labels_than_clusters_each_has_its_best():
    assert match_labels(np.array([[0.1, 0.2], [0.3, 0.1], [0.0, 0.9]])).tolist() == [1, 0, 1]


def test_a_label_that_suits_two_clusters_goes_where_it_is_missed_most():
    assert match_labels(np.array([[0.9, 0.8, 0.1], [0.85, 0.2, 0.1]])).tolist() == [1, 0]
