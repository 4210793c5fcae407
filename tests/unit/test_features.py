"""Extraction: equal to timm's own forward pass, whatever the batches, and whole after any interruption."""

import dataclasses
import io
import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import h5py
import numpy as np
import pytest
import torch
from conftest import ROOT
from PIL import Image
from torch import nn

from geoprobe.encoders.architecture import build_encoder, save_encoder
from geoprobe.features import engine, memory, placing
from geoprobe.features.engine import extract_features
from geoprobe.features.joining import join_shards
from geoprobe.features.store import list_layers, partial_of, read_features
from geoprobe.images.store import write_store
from geoprobe.models.loading import LoadedModel, Tower, load_model
from geoprobe.models.pooling import TokenMap
from geoprobe.runtime import provenance

torch.set_num_threads(1)

DEPTH, WIDTH, TOKENS, COUNT = 3, 24, 17, 11
ARCHITECTURE = {"image_size": 16, "patch_size": 4, "width": WIDTH, "depth": DEPTH, "heads": 2}
LAYOUT = [("vision", pooling, layer) for pooling in ("cls", "mean") for layer in range(DEPTH)]
OPTIONS = {"poolings": ["cls", "mean"], "layers": "all", "batch_size": 4, "chunk": 3, "workers": 0, "dtype": "float32"}
# what may differ between two runs of one making
MEASURED = {"created", "images_per_second", "seconds", "peak_memory_mb"}
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


def png(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="png")
    return buffer.getvalue()


def make_store(path, order=None, seed=0, count=COUNT, sizes=None, spoil=None):
    """An image store of random pictures of 16 pixels, or of the given widths and heights, in the given order.

    The file of image number `spoil` is cut off after its header.
    """
    generator = np.random.default_rng(seed)
    sizes = sizes or [(16, 16)] * count
    encoded = [png(generator.integers(0, 256, (height, width, 3), dtype=np.uint8)) for width, height in sizes]
    count = len(encoded)
    if spoil is not None:
        encoded[spoil] = encoded[spoil][:60]
    order = np.arange(count) if order is None else np.asarray(order)
    names = [f"image {index}" for index in order]
    columns = {
        "ids": names,
        "latitudes": np.linspace(-80, 80, count)[order],
        "longitudes": np.linspace(-170, 170, count)[order],
        **dict.fromkeys(("geocells", "countries", "groups"), names),
    }
    write_store(path, [encoded[index] for index in order], columns, {}, {"source": "test"})
    return path


def make_row(folder, seed=1, spoil=None, dtype="float32"):
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
        "dtype": dtype,
        "weights": "safetensors",
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An image store and the row of an encoder."""
    folder = tmp_path_factory.mktemp("made")
    return make_store(folder / "images.h5"), make_row(folder / "encoder")


def extract(made, output, **options):
    store, row = made
    extract_features(store, row, output, **OPTIONS | options)
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


def images_in(batch):
    return len(batch["pixel_values"])


@pytest.fixture
def killed(monkeypatch, made):
    """Extract, and raise at forward pass number `passes`; the number of images seen by each pass is kept."""

    def run(output, passes, **options):
        seen = []

        def counted(model, batch, *args):
            if len(seen) == passes:
                raise Killed
            seen.append(images_in(batch))
            return original(model, batch, *args)

        original = engine.extract_batch
        with monkeypatch.context() as patch:
            patch.setattr(engine, "extract_batch", counted)
            if passes is None:
                extract(made, output, **options)
            else:
                with pytest.raises(Killed):
                    extract(made, output, **options)
        return seen

    return run


@pytest.fixture
def changed_model(monkeypatch):
    """Let the engine load what a function makes of the model that it would have loaded."""

    def change(function):
        monkeypatch.setattr(placing, "load_model", lambda *args: function(load_model(*args)))

    return change


# What is extracted


def test_features_are_timms_own_intermediates_pooled(made, undisturbed):
    model = load_model(made[1])
    pixels = np.random.default_rng(0).integers(0, 256, (COUNT, 16, 16, 3), dtype=np.uint8)
    images = torch.stack([model.prepare(Image.fromarray(image), "")["pixel_values"] for image in pixels])
    with torch.inference_mode():
        expected = model.module.forward_intermediates(
            images, norm=False, return_prefix_tokens=True, output_fmt="NLC", intermediates_only=True
        )
    stored = read_all(undisturbed)
    assert list(stored) == LAYOUT
    for layer, (tokens, prefix) in enumerate(expected):
        np.testing.assert_allclose(stored["vision", "cls", layer], prefix[:, 0], **CLOSE)
        np.testing.assert_allclose(stored["vision", "mean", layer], tokens.mean(dim=1), **CLOSE)


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
    assert_same(extract(made, tmp_path / "f.h5", batch_size=batch_size, chunk=chunk), undisturbed, **CLOSE)


def test_shuffling_the_images_shuffles_the_rows(made, undisturbed, tmp_path):
    order = np.random.default_rng(5).permutation(COUNT)
    shuffled = make_store(tmp_path / "images.h5", order)
    assert OPTIONS["batch_size"] != TOKENS
    other = extract((shuffled, made[1]), tmp_path / "f.h5")
    before, after = read_all(undisturbed), read_all(other)
    for key, values in before.items():
        np.testing.assert_allclose(after[key], values[order], **CLOSE)
        assert not np.allclose(after[key], values, rtol=1e-3)
    # and a reader who joins on the ids gets the old order back
    ids = [f"image {index}" for index in range(COUNT)]
    np.testing.assert_allclose(read_features(other, ids, "vision", "cls", 0), before["vision", "cls", 0], **CLOSE)


def test_only_the_poolings_that_are_asked_for_and_there_are_stored(made, undisturbed, tmp_path):
    output = extract(made, tmp_path / "f.h5", poolings=["mean", "last"])
    assert list_layers(output) == [("vision", "mean", layer) for layer in range(DEPTH)]
    np.testing.assert_array_equal(read_all(output)["vision", "mean", 1], read_all(undisturbed)["vision", "mean", 1])


def test_the_largest_and_smallest_values_lie_side_by_side(made, tmp_path):
    output = extract(made, tmp_path / "f.h5", poolings=["maxmin", "mean"])
    stored = read_all(output)
    both, mean = stored["vision", "maxmin", 2], stored["vision", "mean", 2]
    assert both.shape == (COUNT, 2 * WIDTH)
    assert (both[:, :WIDTH] > mean).all()
    assert (both[:, WIDTH:] < mean).all()


@pytest.mark.parametrize(("layers", "kept"), [(1, [0, 1, 2]), (2, [0, 2]), (3, [2]), ([-1, 0, 7], [0, 2])])
def test_only_the_layers_that_are_asked_for_are_stored(made, undisturbed, tmp_path, layers, kept):
    output = extract(made, tmp_path / "f.h5", layers=layers)
    assert list_layers(output) == [(*where, layer) for *where, layer in LAYOUT if layer in kept]
    for key, values in read_all(output).items():
        np.testing.assert_array_equal(values, read_all(undisturbed)[key])


def test_two_runs_of_one_making_give_identical_files_but_for_what_is_measured(made, undisturbed, tmp_path):
    again = extract(made, tmp_path / "f.h5")
    assert_same(again, undisturbed)
    with h5py.File(again) as file, h5py.File(undisturbed) as other:
        differ = {name for name in {*file.attrs, *other.attrs} if file.attrs[name] != other.attrs[name]}
        assert file["ids"].asstr()[:].tolist() == other["ids"].asstr()[:].tolist()
    assert differ <= MEASURED


def test_a_model_held_in_bfloat16_gives_the_features_of_float32_to_its_precision(made, undisturbed, tmp_path):
    row = make_row(tmp_path / "encoder", dtype="bfloat16")
    low = extract((made[0], row), tmp_path / "f.h5")
    for key, values in read_all(undisturbed).items():
        error = np.abs(read_all(low)[key] - values).max()
        # eight bits of mantissa; and it was not computed in float32 in truth
        assert 1e-4 < error < 0.05 * np.abs(values).max()
    with h5py.File(low) as file:
        assert file.attrs["dtype"] == "bfloat16"
        assert file["vision/cls/0"].dtype == np.float32


# Worker processes


def test_decoding_in_workers_gives_the_same_features(made, undisturbed, tmp_path):
    assert_same(extract(made, tmp_path / "f.h5", workers=2), undisturbed)


@pytest.mark.parametrize("workers", [0, 1])
def test_an_image_that_cannot_be_decoded_is_named(made, tmp_path, workers):
    store = make_store(tmp_path / "images.h5", spoil=6)
    with pytest.raises(ValueError, match=r"images\.h5: image image 6 cannot be decoded \(.+\); leave it out") as error:
        extract((store, made[1]), tmp_path / "f.h5", workers=workers)
    assert "DataLoader" not in str(error.value)
    # the chunks before it are kept
    with h5py.File(partial_of(tmp_path / "f.h5")) as file:
        assert file["chunks_done"][:].tolist() == [1, 1, 0, 0]


# Interruptions


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
    assert_same(output, undisturbed, **CLOSE)
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
        patch.setattr(engine, "provenance", stop)
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
    assert "other images, weights, options or code; starting anew" in capsys.readouterr().out
    assert_same(output, extract((made[0], other), tmp_path / "clean.h5"))


def test_a_partial_file_of_other_images_is_started_anew(made, tmp_path, killed, capsys):
    output = tmp_path / "f.h5"
    killed(output, 3)
    other = make_store(tmp_path / "other.h5", seed=9)
    extract((other, made[1]), output)
    assert "starting anew" in capsys.readouterr().out
    assert_same(output, extract((other, made[1]), tmp_path / "clean.h5"))


@pytest.mark.parametrize(
    "changed",
    [
        {"poolings": ["mean"]},
        {"layers": 2},
        {"chunk": 4},
        {"prompt_name": "other"},
        {"prompt": {"text": "Where is this?"}},
        {"protocol": "paper"},
        {"dtype": "float16"},
        {"shards": 2},
        {"shards": 1, "shard": 0, "layers": [0, 1]},
        {"code": "edited"},
    ],
    ids=str,
)
def test_a_partial_file_of_other_options_is_started_anew(made, tmp_path, killed, changed, capsys):
    output = tmp_path / "f.h5"
    killed(output, 2)
    extract(made, output, **changed)
    assert "starting anew" in capsys.readouterr().out
    assert_same(output, extract(made, tmp_path / "clean.h5", **changed))


def test_extracting_again_replaces_the_store(made, undisturbed, tmp_path):
    output = tmp_path / "f.h5"
    output.write_text("what was here")
    assert_same(extract(made, output), undisturbed)


def kill_and_resume(made, output, options, times):
    """kill -9 so many times at random moments, each run going on from what the last one left; then let it finish."""
    code = (
        "import json, sys, torch\n"
        "from geoprobe.features.engine import extract_features\n"
        "torch.set_num_threads(1)\n"
        "store, row, output, options = json.loads(sys.argv[1])\n"
        "extract_features(store, row, output, **options)\n"
    )
    command = [sys.executable, "-c", code, json.dumps([str(made[0]), made[1], str(output), options])]
    seed = random.randrange(2**32)  # the property holds at any moment
    moments = random.Random(seed)
    for _ in range(times):
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            # it has started when a chunk is written after it has loaded the model
            before = partial_of(output).stat().st_mtime_ns if partial_of(output).exists() else 0
            while process.poll() is None and not (
                partial_of(output).exists() and partial_of(output).stat().st_mtime_ns > before
            ):
                time.sleep(0.002)
            time.sleep(moments.uniform(0, 0.15))
            process.kill()
            # which ends only when no process of the job is left, its workers included
            said = process.communicate(timeout=60)[0].decode()
        assert process.returncode == -signal.SIGKILL, f"{said} (seed {seed})"
        assert not output.exists(), f"seed {seed}"
    extract(made, output, **options)


def test_a_process_killed_by_the_kernel_at_any_moment_resumes_to_the_same_features(made, tmp_path, capsys):
    made = make_store(tmp_path / "images.h5", count=400), made[1]
    options = OPTIONS | {"batch_size": 2, "chunk": 2}
    kill_and_resume(made, tmp_path / "f.h5", options, times=3)
    # the file opens after the kill, and what was finished is not lost
    assert "resuming" in capsys.readouterr().out
    assert_same(tmp_path / "f.h5", extract(made, tmp_path / "undisturbed.h5", **options))


def test_a_killed_shard_whose_images_are_decoded_by_a_worker_resumes_to_the_same_features(made, tmp_path, capsys):
    made = make_store(tmp_path / "images.h5", count=600), made[1]
    options = OPTIONS | {"batch_size": 2, "chunk": 2, "workers": 1, "shards": 2, "shard": 1}
    kill_and_resume(made, tmp_path / "f.h5", options, times=2)
    assert "resuming" in capsys.readouterr().out
    assert_same(tmp_path / "f.h5", extract(made, tmp_path / "undisturbed.h5", **options | {"workers": 0}))


# Shards


@pytest.mark.parametrize("shards", [1, 2, 3, 13])
def test_shards_joined_equal_one_shard(made, undisturbed, tmp_path, shards):
    paths = [extract(made, tmp_path / f"{k}.h5", shard=k, shards=shards) for k in range(shards)]
    join_shards(paths, tmp_path / "joined.h5")
    assert_same(tmp_path / "joined.h5", undisturbed, **CLOSE)
    with h5py.File(tmp_path / "joined.h5") as joined, h5py.File(undisturbed) as whole:
        assert joined["ids"].asstr()[:].tolist() == whole["ids"].asstr()[:].tolist()


# Values that must not be stored


def test_a_model_whose_weights_are_broken_is_refused_with_layer_and_image(made, tmp_path):
    def spoil(encoder):
        encoder.blocks[1].mlp.fc2.bias[3] = float("inf")

    output = tmp_path / "f.h5"
    with pytest.raises(FloatingPointError, match=r"vision/cls/1: a feature of image image 0 is not finite"):
        extract((made[0], make_row(tmp_path / "broken", spoil=spoil)), output)
    assert not output.exists()


@pytest.mark.parametrize("image", [0, 4, 10])
def test_a_feature_that_is_no_number_is_named_with_its_own_image(made, tmp_path, monkeypatch, image):
    original, first = engine.extract_batch, [0]

    def spoiled(model, batch, *args):
        pooled, count = original(model, batch, *args), images_in(batch)
        if first[0] <= image < first[0] + count:
            pooled["vision", "mean", 2] = (
                pooled["vision", "mean", 2].clone().index_fill_(0, torch.tensor(image - first[0]), torch.nan)
            )
        first[0] += count
        return pooled

    monkeypatch.setattr(engine, "extract_batch", spoiled)
    with pytest.raises(FloatingPointError, match=rf"vision/mean/2: a feature of image image {image} is not finite"):
        extract(made, tmp_path / "f.h5", batch_size=2)
    assert not (tmp_path / "f.h5").exists()


def test_features_stored_as_float16_are_those_of_float32_rounded(made, undisturbed, tmp_path):
    half = read_all(extract(made, tmp_path / "f.h5", dtype="float16"))
    for key, values in read_all(undisturbed).items():
        assert half[key].dtype == np.float16
        np.testing.assert_array_equal(half[key], values.astype(np.float16))
    ids = [f"image {index}" for index in range(COUNT)]
    assert read_features(tmp_path / "f.h5", ids, "vision", "cls", 0).dtype == np.float32


def test_a_feature_too_large_for_float16_is_refused_with_the_fix(made, tmp_path):
    def spoil(encoder):
        encoder.blocks[2].mlp.fc2.bias[3] = -70000.0

    row = make_row(tmp_path / "large", spoil=spoil)
    sentence = r"vision/cls/2: a feature of image image 0 is -\d+.*, beyond 65504, .*features\.dtype: float32"
    with pytest.raises(OverflowError, match=sentence):
        extract((made[0], row), tmp_path / "f.h5", dtype="float16")
    extract((made[0], row), tmp_path / "f.h5", dtype="float32")


def test_what_goes_wrong_while_writing_ends_the_job_at_once(made, tmp_path, changed_model, monkeypatch):
    """The thread that writes fails at the first batch of two thousand: the model must not go through them all."""
    seen = []

    def count(model):
        def forward(batch):
            seen.append(images_in(batch))
            model.forward(batch)

        return dataclasses.replace(model, forward=forward)

    def full(*_):
        raise OSError("No space left on device")

    changed_model(count)
    monkeypatch.setattr("geoprobe.features.writing.check_values", full)
    store = make_store(tmp_path / "images.h5", count=2000)
    with pytest.raises(OSError, match="No space left on device"):
        extract((store, made[1]), tmp_path / "f.h5", batch_size=1, chunk=100)
    assert len(seen) < 200
    assert not [thread for thread in threading.enumerate() if thread.name == "write features"]


# Memory and disk


def limited(limit):
    """A change of a model: its device is full with more than `limit` images."""

    def change(model):
        def forward(batch):
            if images_in(batch) > limit:
                raise torch.OutOfMemoryError(f"CUDA out of memory with {images_in(batch)} images")
            model.forward(batch)

        return dataclasses.replace(model, forward=forward)

    return change


def test_a_batch_that_does_not_fit_is_halved_until_it_does(made, undisturbed, tmp_path, changed_model, capsys):
    changed_model(limited(2))
    output = extract(made, tmp_path / "f.h5", batch_size=8, chunk=9)
    # 8, 4, 2
    assert capsys.readouterr().out.count("out of memory with") == 2
    assert_same(output, undisturbed, **CLOSE)
    with h5py.File(output) as file:
        assert file.attrs["batch_size"] == 2


def test_memory_that_does_not_hold_one_image_is_an_error_that_names_it(made, tmp_path, changed_model):
    changed_model(limited(0))
    with pytest.raises(MemoryError, match=r"cpu has no memory for image image 0 alone \(CUDA out of memory with 1"):
        extract(made, tmp_path / "f.h5")


def test_so_it_is_where_the_batch_is_measured(made, tmp_path, monkeypatch):
    store, row = made
    model = engine.load_placed(row, None, None, "sound", torch.device("cpu"), tmp_path / "offload")
    job = engine.Job(store, model, {}, torch.device("cuda"), torch.float32, 0, range(COUNT))

    def full(batch):
        raise torch.OutOfMemoryError(f"CUDA out of memory with {images_in(batch)} images\nmore")

    monkeypatch.setattr(job, "_extract", full)
    with pytest.raises(MemoryError, match=r"cuda has no memory for image image 0 alone \(CUDA .* with 1 images\);"):
        job._choose_size("auto")


def test_a_disk_without_room_is_refused_before_any_forward_pass(made, tmp_path, changed_model, monkeypatch, capsys):
    changed_model(limited(0))  # any forward pass would fail
    monkeypatch.setattr(memory, "free_disk", lambda folder: 6000)
    # 11 images, 2 poolings of 3 layers, 24 wide, 4 bytes
    sentence = (
        r"f\.h5: 11 images x 144 numbers \(6 datasets\) x 4 bytes = 0\.01 MB are to be written, but its file system "
        r"has room for 0\.01 MB; free some"
    )
    with pytest.raises(OSError, match=sentence):
        extract(made, tmp_path / "f.h5")
    assert not partial_of(tmp_path / "f.h5").exists()


def test_room_that_an_unfinished_file_takes_is_counted(made, undisturbed, tmp_path, killed, monkeypatch, capsys):
    output = tmp_path / "f.h5"
    killed(output, 2)
    monkeypatch.setattr(memory, "free_disk", lambda folder: 0)
    assert partial_of(output).stat().st_blocks * 512 >= 11 * 144 * 4
    extract(made, output)
    assert_same(output, undisturbed)


def test_a_model_that_memory_does_not_hold_is_refused_before_it_is_loaded(made, tmp_path, changed_model, monkeypatch):
    changed_model(stop)
    monkeypatch.setattr(memory, "free_ram", lambda: 1000)
    with pytest.raises(MemoryError, match=r"random-seed1: its weights take .* 0\.00 MB of memory are free"):
        extract(made, tmp_path / "f.h5")


def test_a_model_that_is_spread_is_loaded_in_its_places_and_leaves_no_offloaded_weights(
    made, undisturbed, tmp_path, monkeypatch
):
    placement = {"device_map": "auto", "max_memory": {"cpu": 10**9}, "offload_folder": str(tmp_path / "f.h5.offload")}
    asked = []

    def choose(name, weights, device, offload):
        asked.append((name, str(offload)))
        # three blocks of width 24 are about 22,000 numbers of four bytes
        assert 50_000 < weights < 200_000
        return placement

    def load(row, folder, prompt, protocol, given):
        asked.append(given)
        Path(given["offload_folder"]).mkdir()
        Path(given["offload_folder"], "weights.dat").touch()
        model = dataclasses.replace(load_model(row, folder), placed=True)
        model.module.to = stop  # accelerate refuses it
        return model

    monkeypatch.setattr(memory, "choose_placement", choose)
    monkeypatch.setattr(placing, "load_model", load)
    assert_same(extract(made, tmp_path / "f.h5"), undisturbed)
    assert asked == [("random-seed1", placement["offload_folder"]), placement]
    assert [path.name for path in tmp_path.iterdir()] == ["f.h5"]


# Images of unlike size


class Patches:
    """Patches of 4 pixels as a sequence, whose length depends on the image."""

    def __call__(self, image, image_id):
        pixels = torch.from_numpy(np.array(image)).float() / 255
        height, width, _ = pixels.shape
        patches = pixels.reshape(height // 4, 4, width // 4, 4, 3).transpose(1, 2)
        return {"pixel_values": patches.reshape(-1, 48)}


def pad(inputs):
    sequences = [one["pixel_values"] for one in inputs]
    lengths = torch.tensor([len(one) for one in sequences])
    # what stands in the padding must not matter
    padded = nn.utils.rnn.pad_sequence(sequences, batch_first=True, padding_value=1000.0)
    return {"pixel_values": padded, "mask": torch.arange(padded.shape[1]) < lengths[:, None]}


class Block(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.attention, self.linear = nn.MultiheadAttention(width, 2, batch_first=True), nn.Linear(width, width)

    def forward(self, x, mask):
        x = x + self.attention(x, x, x, key_padding_mask=~mask, need_weights=False)[0]
        return x + torch.tanh(self.linear(x))


class Ragged(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed, self.blocks = nn.Linear(48, WIDTH), nn.ModuleList(Block(WIDTH) for _ in range(DEPTH))

    def forward(self, batch):
        x = self.embed(batch["pixel_values"])
        for block in self.blocks:
            x = block(x, batch["mask"])


def tokens_of(batch, stream):
    return TokenMap(mask=batch["mask"], own=batch["mask"])


def cost(width, height):
    return (width // 4) * (height // 4)


@pytest.fixture
def ragged(monkeypatch, tmp_path):
    """A store of images of unlike size, the row of a model that pads them to a batch, and the batches it was given."""
    torch.manual_seed(3)
    module, seen = Ragged().eval().requires_grad_(False), []

    def load(*_, cost=cost):
        def forward(batch):
            seen.append(tuple(batch["mask"].shape))
            module(batch)

        tower = Tower(module.blocks, "blocks", WIDTH, ("last", "mean", "maxmin"), tokens_of, "")
        return LoadedModel(module, Patches(), forward, {"text": tower}, pad, cost, digest="ragged")

    monkeypatch.setattr(placing, "load_model", load)
    sides = np.random.default_rng(4).integers(1, 9, (23, 2)) * 4
    sizes = [(int(width), int(height)) for width, height in sides]
    row = {"model": "ragged", "loader": "local", "id": "none", "revision": "none", "supervision": "multimodal"}
    return make_store(tmp_path / "unlike.h5", sizes=sizes), row | {"dtype": "float32"}, seen, sizes, load, module


RAGGED = {"poolings": ["last", "mean", "maxmin"], "chunk": 10}


def test_images_of_unlike_size_give_the_features_of_each_alone(ragged, tmp_path, monkeypatch):
    store, row, seen, sizes, load, module = ragged
    bucketed = extract((store, row), tmp_path / "bucketed.h5", **RAGGED, batch_size=3)
    together = list(seen)
    assert sum(count for count, _ in together) == len(sizes)
    # all images of a batch are padded to the longest: that stays within three of the costliest image's tokens
    assert max(count * length for count, length in together) <= 3 * max(cost(*size) for size in sizes)
    assert max(count for count, _ in together) > 3
    monkeypatch.setattr(placing, "load_model", lambda *_: load(cost=None))
    in_order = extract((store, row), tmp_path / "order.h5", **RAGGED, batch_size=3)
    single = extract((store, row), tmp_path / "single.h5", **RAGGED, batch_size=1)
    assert_same(bucketed, single, **CLOSE)
    assert_same(in_order, single, **CLOSE)
    # and a pass of our own over each image, without mask or padding
    with h5py.File(store) as file, torch.inference_mode():
        for row, data in enumerate(file["images"][:]):
            x = module.embed(Patches()(Image.open(io.BytesIO(data.tobytes())), "")["pixel_values"][None])
            for layer, block in enumerate(module.blocks):
                x = x + block.attention(x, x, x)[0]
                x = x + torch.tanh(block.linear(x))
                np.testing.assert_allclose(read_all(bucketed)["text", "mean", layer][row], x[0].mean(dim=0), **CLOSE)
                np.testing.assert_allclose(read_all(bucketed)["text", "last", layer][row], x[0, -1], **CLOSE)


def test_bucketed_images_resume_after_a_kill_bit_for_bit(ragged, tmp_path, monkeypatch):
    store, row, seen, *_ = ragged
    undisturbed = extract((store, row), tmp_path / "undisturbed.h5", **RAGGED, batch_size=2)
    passes, original = len(seen), engine.extract_batch

    def killed(*args):
        if len(seen) == 2 * passes - 1:
            raise Killed
        return original(*args)

    with monkeypatch.context() as patch:
        patch.setattr(engine, "extract_batch", killed)
        with pytest.raises(Killed):
            extract((store, row), tmp_path / "f.h5", **RAGGED, batch_size=2)
    assert_same(extract((store, row), tmp_path / "f.h5", **RAGGED, batch_size=2), undisturbed)
    # the last chunk alone was done again
    assert len(seen) < 3 * passes - 2


def test_memory_full_of_images_of_unlike_size_makes_smaller_batches(ragged, tmp_path, monkeypatch):
    store, row, seen, sizes, load, _ = ragged
    undisturbed = extract((store, row), tmp_path / "undisturbed.h5", **RAGGED, batch_size=1)
    most = max(cost(*size) for size in sizes)

    def full(*_):
        model = load()

        def forward(batch):
            if batch["mask"].numel() > 1.2 * most:
                raise torch.OutOfMemoryError("full")
            model.forward(batch)

        return dataclasses.replace(model, forward=forward)

    monkeypatch.setattr(placing, "load_model", full)
    del seen[:]
    assert_same(extract((store, row), tmp_path / "f.h5", **RAGGED, batch_size=8), undisturbed, **CLOSE)
    assert max(count * length for count, length in seen) <= 1.2 * most
    assert sum(count for count, _ in seen) == len(sizes)


def test_an_image_whose_header_cannot_be_read_is_named(ragged, tmp_path):
    _, row, *_ = ragged
    store = tmp_path / "broken.h5"
    make_store(store, sizes=[(8, 8)] * 3)
    with h5py.File(store, "r+") as file:
        file["images"][1] = np.frombuffer(b"no image", dtype=np.uint8)
    with pytest.raises(ValueError, match=r"image image 1 cannot be decoded \(UnidentifiedImageError"):
        extract((store, row), tmp_path / "f.h5", **RAGGED)


# A model that does not do what its loader says


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda x: x[:2], r"vision/cls/0: 4 images gave features of shape \(2, 24\); expected \(4, 24\)"),
        (lambda x: x[..., :7], r"vision/cls/0: 4 images gave features of shape \(4, 7\); expected \(4, 24\)"),
    ],
)
def test_features_of_another_shape_are_refused(made, tmp_path, monkeypatch, change, sentence):
    original = engine.pool_tokens
    monkeypatch.setattr(engine, "pool_tokens", lambda *args: change(original(*args)))
    with pytest.raises(RuntimeError, match=sentence):
        extract(made, tmp_path / "f.h5", chunk=4)


def test_a_block_that_the_forward_pass_leaves_out_is_named(made, tmp_path, changed_model):
    def cut(model):
        def forward(batch):
            x = model.module._pos_embed(model.module.patch_embed(batch["pixel_values"]))
            model.module.blocks[0](x)

        return dataclasses.replace(model, forward=forward)

    changed_model(cut)
    with pytest.raises(RuntimeError, match=r"vision/cls/1: the forward pass did not reach this block"):
        extract(made, tmp_path / "f.h5")


# What the file says


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
    assert attributes["dtype"] == attributes["storage_dtype"] == "float32"
    assert json.loads(attributes["blocks"]) == {"vision": f"blocks[{DEPTH}]"}
    assert json.loads(attributes["tokens"]) == {"vision": load_model(row).towers["vision"].note}
    assert json.loads(attributes["poolings"]) == ["cls", "mean"]
    assert json.loads(attributes["layers"]) == "all"
    assert attributes["prompt"] == "none"
    assert attributes["protocol"] == "sound"
    assert attributes["shard"] == "0/1"
    assert attributes["batch_size"] == 4
    assert attributes["workers"] == 0
    assert attributes["device"] == "cpu"
    assert attributes["peak_memory_mb"] > 50
    assert 0 < attributes["seconds"] < 60
    assert attributes["images_per_second"] == pytest.approx(COUNT / attributes["seconds"])
    made_by = provenance()
    assert attributes["geoprobe"] == made_by["geoprobe"]
    assert attributes["python"] == made_by["python"]
    assert {"torch", "timm", "numpy", "h5py"} <= set(json.loads(attributes["versions"]))
    time.strptime(attributes["created"], "%Y-%m-%dT%H:%M:%SZ")


def test_the_text_of_a_prompt_is_in_the_file(made, tmp_path, changed_model):
    changed_model(
        lambda model: dataclasses.replace(model, attributes=model.attributes | {"prompt_text": "Wo value das?"})
    )
    output = extract(made, tmp_path / "f.h5", prompt_name="where", prompt={"text": "Wo value das?"})
    with h5py.File(output) as file:
        assert (file.attrs["prompt"], file.attrs["prompt_text"]) == ("where", "Wo value das?")


def test_features_are_stored_as_float32(undisturbed):
    assert all(
        values.dtype == np.float32 and values.shape == (COUNT, WIDTH) for values in read_all(undisturbed).values()
    )


def test_a_measured_batch_is_a_fixed_one_on_a_cpu(made, undisturbed, tmp_path):
    output = extract(made, tmp_path / "f.h5", batch_size="auto")
    assert_same(output, undisturbed, **CLOSE)
    with h5py.File(output) as file:
        assert file.attrs["batch_size"] == memory.PLAIN
