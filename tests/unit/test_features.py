"""Extraction: equal to timm's own forward pass, whatever the batches, and whole after any interruption."""

import io
import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from PIL import Image

from geoprobe import features
from geoprobe.encoders.architecture import build_encoder, save_encoder
from geoprobe.feature_store import list_layers, read_features
from geoprobe.features import extract_features
from geoprobe.images.store import write_store
from geoprobe.models.loading import load_model
from geoprobe.runtime import provenance

torch.set_num_threads(1)

ROOT = Path(__file__).resolve().parents[2]
DEPTH, WIDTH, TOKENS, COUNT = 3, 24, 17, 11
ARCHITECTURE = {"image_size": 16, "patch_size": 4, "width": WIDTH, "depth": DEPTH, "heads": 2}
LAYOUT = [("vision", pooling, layer) for pooling in ("cls", "mean") for layer in range(DEPTH)]


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    return buffer.getvalue()


def make_store(path, order=None, seed=0, count=COUNT):
    """An image store of random pictures of 16 pixels, in the given order."""
    pixels = np.random.default_rng(seed).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8)
    order = np.arange(count) if order is None else np.asarray(order)
    names = [f"image {index}" for index in order]
    columns = {
        "ids": names,
        "latitudes": np.linspace(-80, 80, count)[order],
        "longitudes": np.linspace(-170, 170, count)[order],
        **dict.fromkeys(("geocells", "countries", "groups"), names),
    }
    write_store(path, [png(pixels[index]) for index in order], columns, {}, {"source": "test"})
    return path


def make_row(folder, seed=1, spoil=None):
    """An encoder's folder, as a row of the registry; `spoil` may change its weights."""
    encoder = build_encoder(**ARCHITECTURE, seed=seed)
    if spoil:
        with torch.no_grad():
            spoil(encoder)
    config = {"architecture": ARCHITECTURE, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
    save_encoder(folder, encoder, config)
    return {
        "model": "random-seed1",
        "loader": "local",
        "id": str(folder),
        "revision": "none",
        "supervision": "vision-only",
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An image store and the row of an encoder."""
    folder = tmp_path_factory.mktemp("made")
    return make_store(folder / "images.h5"), make_row(folder / "encoder")


def extract(made, output, batch_size=4, chunk=3, poolings=("cls", "mean"), prompt="none"):
    store, row = made
    extract_features(store, row, prompt, output, list(poolings), batch_size, chunk)
    return output


def read_all(path):
    with h5py.File(path) as file:
        return {key: file["/".join(map(str, key))][:] for key in list_layers(path)}


def assert_same(a, b, **tolerance):
    a, b = read_all(a), read_all(b)
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_allclose(a[key], b[key], **({"rtol": 0, "atol": 0} | tolerance))


@pytest.fixture(scope="module")
def undisturbed(made, tmp_path_factory):
    return extract(made, tmp_path_factory.mktemp("undisturbed") / "features.h5")


class Killed(Exception):
    pass


def stop(*_):
    raise Killed


@pytest.fixture
def killed(monkeypatch, made):
    """Extract, and raise at forward pass number `passes`; the number of images seen by each pass is kept."""

    def run(output, passes, **options):
        seen = []

        def counted(model, images, *args):
            if len(seen) == passes:
                raise Killed
            seen.append(len(images))
            return original(model, images, *args)

        original = features.extract_batch
        with monkeypatch.context() as patch:
            patch.setattr(features, "extract_batch", counted)
            if passes is None:
                extract(made, output, **options)
            else:
                with pytest.raises(Killed):
                    extract(made, output, **options)
        return seen

    return run


def partial_of(output):
    return output.with_name(output.name + ".partial")


def test_features_are_timms_own_intermediates_pooled(made, undisturbed):
    model = load_model(made[1])
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 16, 16, 3), dtype=np.uint8)
    images = torch.stack([model.preprocess(Image.fromarray(image)) for image in pixels])
    with torch.inference_mode():
        expected = model.module.forward_intermediates(
            images, norm=False, return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
        )
    stored = read_all(undisturbed)
    assert list(stored) == LAYOUT
    for layer, (tokens, prefix) in enumerate(expected):
        np.testing.assert_allclose(stored["vision", "cls", layer], prefix[:, 0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(stored["vision", "mean", layer], tokens.mean(dim=1), rtol=1e-4, atol=1e-5)


def test_layers_are_the_residual_stream_without_the_final_norm(undisturbed):
    last = read_all(undisturbed)["vision", "cls", DEPTH - 1]
    # a normed row would have mean 0 and deviation 1
    assert np.abs(last.std(axis=1) - 1).max() > 0.05


@pytest.mark.parametrize(
    ("batch_size", "chunk"), [(1, 1), (1, 100), (2, 3), (3, 2), (4, 5), (5, 4), (TOKENS, 100), (100, 4), (11, 11)]
)
def test_batches_and_chunks_of_any_size_give_the_features_of_single_images(
    made, undisturbed, tmp_path, batch_size, chunk
):
    assert_same(extract(made, tmp_path / "f.h5", batch_size, chunk), undisturbed, rtol=1e-4, atol=1e-5)


def test_shuffling_the_images_shuffles_the_rows(made, undisturbed, tmp_path):
    order = np.random.default_rng(5).permutation(COUNT)
    shuffled = make_store(tmp_path / "images.h5", order)
    batch_size = 4
    assert batch_size != TOKENS
    other = extract((shuffled, made[1]), tmp_path / "f.h5", batch_size)
    before, after = read_all(undisturbed), read_all(other)
    for key, values in before.items():
        np.testing.assert_allclose(after[key], values[order], rtol=1e-4, atol=1e-5)
        assert not np.allclose(after[key], values, rtol=1e-3)
    # and a reader who joins on the ids gets the old order back
    ids = [f"image {index}" for index in range(COUNT)]
    np.testing.assert_allclose(
        read_features(other, ids, "vision", "cls", 0), before["vision", "cls", 0], rtol=1e-4, atol=1e-5
    )


def test_only_the_poolings_that_are_asked_for_are_stored(made, undisturbed, tmp_path):
    output = extract(made, tmp_path / "f.h5", poolings=("mean",))
    assert list_layers(output) == [("vision", "mean", layer) for layer in range(DEPTH)]
    np.testing.assert_array_equal(read_all(output)["vision", "mean", 1], read_all(undisturbed)["vision", "mean", 1])


@pytest.mark.parametrize("passes", [0, 1, 2, 3, 5, 6])
def test_an_interrupted_extraction_resumes_and_ends_as_an_undisturbed_one(undisturbed, tmp_path, killed, passes):
    # chunks of 3, 3, 3 and 2 images in batches of 2: seven forward passes, two a chunk but for the last
    output = tmp_path / "f.h5"
    killed(output, passes, batch_size=2)
    assert not output.exists()
    assert partial_of(output).exists()
    seen = killed(output, None, batch_size=2)
    finished = passes // 2
    assert sum(seen) == COUNT - 3 * finished
    assert_same(output, undisturbed, rtol=1e-4, atol=1e-5)
    assert not partial_of(output).exists()


def test_a_resumed_extraction_equals_an_undisturbed_one_bit_for_bit(undisturbed, tmp_path, killed):
    output = tmp_path / "f.h5"
    killed(output, 2)
    killed(output, 1)
    killed(output, None)
    assert_same(output, undisturbed)


def test_a_job_stopped_after_its_last_chunk_finishes_without_another_forward_pass(
    made, undisturbed, tmp_path, killed, monkeypatch
):
    output = tmp_path / "f.h5"
    with monkeypatch.context() as patch:
        # the disk is full, the user presses Ctrl-C, ... while the attributes are written
        patch.setattr(features, "provenance", stop)
        with pytest.raises(Killed):
            extract(made, output)
    assert not output.exists()
    assert killed(output, None) == []
    assert_same(output, undisturbed)


def test_a_job_stopped_before_its_file_is_renamed_finishes(made, undisturbed, tmp_path, monkeypatch):
    output = tmp_path / "f.h5"
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", stop)
        with pytest.raises(Killed):
            extract(made, output)
    assert not output.exists()
    extract(made, output)
    assert_same(output, undisturbed)


@pytest.mark.parametrize("cut", [0, 100, 0.5])
def test_a_partial_file_that_is_no_hdf5_or_cut_short_is_started_anew(undisturbed, tmp_path, killed, cut, capsys):
    output = tmp_path / "f.h5"
    killed(output, 3)
    whole = partial_of(output).read_bytes()
    partial_of(output).write_bytes(whole[: int(len(whole) * cut)] if cut < 1 else b"no HDF5 " * cut)
    assert sum(killed(output, None)) == COUNT
    assert "starting anew" in capsys.readouterr().out
    assert_same(output, undisturbed)


def test_a_partial_file_of_other_weights_is_started_anew(made, tmp_path, killed, capsys):
    output = tmp_path / "f.h5"
    killed(output, 3)
    other = make_row(tmp_path / "other", seed=2)
    extract((made[0], other), output)
    assert "other images, weights or options; starting anew" in capsys.readouterr().out
    assert_same(output, extract((made[0], other), tmp_path / "clean.h5"))


def test_a_partial_file_of_other_images_is_started_anew(made, tmp_path, killed, capsys):
    output = tmp_path / "f.h5"
    killed(output, 3)
    other = make_store(tmp_path / "other.h5", seed=9)
    extract((other, made[1]), output)
    assert "starting anew" in capsys.readouterr().out
    assert_same(output, extract((other, made[1]), tmp_path / "clean.h5"))


@pytest.mark.parametrize("changed", [{"poolings": ("mean",)}, {"chunk": 4}, {"prompt": "other"}], ids=str)
def test_a_partial_file_of_other_options_is_started_anew(made, tmp_path, killed, changed, capsys):
    output = tmp_path / "f.h5"
    killed(output, 3)
    extract(made, output, **changed)
    assert "starting anew" in capsys.readouterr().out
    assert_same(output, extract(made, tmp_path / "clean.h5", **changed))


def test_extracting_again_replaces_the_store(made, undisturbed, tmp_path):
    output = tmp_path / "f.h5"
    output.write_text("what was here")
    assert_same(extract(made, output), undisturbed)


def test_a_model_whose_weights_are_broken_is_refused_with_layer_and_image(made, tmp_path):
    def spoil(encoder):
        encoder.blocks[1].mlp.fc2.bias[3] = float("inf")

    output = tmp_path / "f.h5"
    with pytest.raises(FloatingPointError, match=r"vision/cls/1: a feature of image image 0 is not finite"):
        extract((made[0], make_row(tmp_path / "broken", spoil=spoil)), output)
    assert not output.exists()


@pytest.mark.parametrize("image", [0, 4, 10])
def test_a_feature_that_is_no_number_is_named_with_its_own_image(made, tmp_path, monkeypatch, image):
    original, first = features.extract_batch, [0]

    def spoiled(model, images, *args):
        values = original(model, images, *args)
        if first[0] <= image < first[0] + len(images):
            values["vision", "mean", 2][image - first[0], 5] = np.nan
        first[0] += len(images)
        return values

    monkeypatch.setattr(features, "extract_batch", spoiled)
    with pytest.raises(FloatingPointError, match=rf"vision/mean/2: a feature of image image {image} is not finite"):
        extract(made, tmp_path / "f.h5", batch_size=2)
    assert not (tmp_path / "f.h5").exists()


def test_the_store_says_how_it_was_made(made, undisturbed):
    store, row = made
    with h5py.File(undisturbed) as file, h5py.File(store) as images:
        attributes = dict(file.attrs)
        assert attributes["images_digest"] == images.attrs["digest"]
        assert "chunks_done" not in file
        assert file["ids"].asstr()[:].tolist() == images["ids"].asstr()[:].tolist()
    assert attributes["model"] == "random-seed1"
    assert attributes["model_id"] == row["id"]
    assert attributes["revision"] == "none"
    assert attributes["supervision"] == "vision-only"
    assert attributes["weights_digest"] == load_model(row).digest
    assert attributes["class"] == "timm.models.vision_transformer.VisionTransformer"
    assert "16 pixels" in attributes["preprocessing"]
    assert attributes["dtype"] == "float32"
    assert json.loads(attributes["blocks"]) == {"vision": f"blocks[{DEPTH}]"}
    assert attributes["prompt"] == "none"
    assert attributes["device"] == "cpu"
    assert attributes["images_per_second"] > 0
    made_by = provenance()
    assert attributes["geoprobe"] == made_by["geoprobe"]
    assert attributes["python"] == made_by["python"]
    assert {"torch", "timm", "numpy", "h5py"} <= set(json.loads(attributes["versions"]))
    time.strptime(attributes["created"], "%Y-%m-%dT%H:%M:%SZ")


def test_features_are_stored_as_float32(undisturbed):
    assert all(
        values.dtype == np.float32 and values.shape == (COUNT, WIDTH) for values in read_all(undisturbed).values()
    )


def test_a_process_killed_by_the_kernel_at_any_moment_resumes_to_the_same_features(made, tmp_path, capsys):
    """kill -9 three times at moments drawn anew each time, each run going on from what the last one left."""
    store, row = make_store(tmp_path / "images.h5", count=400), made[1]
    output = tmp_path / "f.h5"
    code = (
        "import json, sys, torch\n"
        "from geoprobe.features import extract_features\n"
        "torch.set_num_threads(1)\n"
        "store, row, output = json.loads(sys.argv[1])\n"
        "extract_features(store, row, 'none', output, ['cls', 'mean'], 2, 2)\n"
    )
    command = [sys.executable, "-c", code, json.dumps([str(store), row, str(output)])]
    moments = random.Random()  # the property holds at any moment
    for _ in range(3):
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            # it has started when the partial file is there and it says so, which it does after loading the model
            before = partial_of(output).stat().st_mtime_ns if partial_of(output).exists() else 0
            while process.poll() is None and not (
                partial_of(output).exists() and partial_of(output).stat().st_mtime_ns > before
            ):
                time.sleep(0.002)
            time.sleep(moments.uniform(0, 0.15))
            process.kill()
            said = process.communicate()[0].decode()
        assert process.returncode == -signal.SIGKILL, said
        assert not output.exists()
    extract_features(store, row, "none", output, ["cls", "mean"], 2, 2)
    # the file opens after the kill, and what was finished is not lost
    assert "resuming" in capsys.readouterr().out
    assert_same(output, extract((store, row), tmp_path / "undisturbed.h5", batch_size=2, chunk=2))
