"""Extraction on a GPU: what cannot be seen without one."""

import h5py
import pytest
import torch
from test_features import OPTIONS, assert_same, extract, make_row, make_store
from tiny_multimodal import make_row as multimodal_row
from tiny_multimodal import save_model

from geoprobe.features import memory
from geoprobe.features.engine import extract_features

# Where there is no GPU there is nothing to see here: what runs on a CPU is tested in test_features.
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device on this machine"),
]
CLOSE = {"rtol": 1e-3, "atol": 1e-4}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """An image store and the row of an encoder."""
    folder = tmp_path_factory.mktemp("made")
    return make_store(folder / "images.h5", count=40), make_row(folder / "encoder")


def attributes(path):
    with h5py.File(path) as file:
        return dict(file.attrs)


@pytest.mark.parametrize("workers", [0, 2])
def test_features_are_those_of_the_cpu(made, tmp_path, workers):
    on_cpu = extract(made, tmp_path / "cpu.h5")
    on_gpu = extract(made, tmp_path / "gpu.h5", device="cuda", workers=workers)
    assert_same(on_cpu, on_gpu, **CLOSE)
    made_with = attributes(on_gpu)
    assert made_with["device"] == torch.cuda.get_device_name()
    assert made_with["peak_memory_mb"] > 0


def test_the_batch_size_is_found_from_the_free_memory(made, tmp_path):
    fixed = extract(made, tmp_path / "fixed.h5", device="cuda")
    found = extract(made, tmp_path / "found.h5", device="cuda", batch_size="auto", chunk=40)
    assert 8 <= attributes(found)["batch_size"] <= memory.MOST
    assert_same(fixed, found, **CLOSE)


def test_a_model_too_large_for_the_gpu_is_spread_and_gives_the_same(tmp_path, monkeypatch):
    folder = tmp_path / "qwen"
    save_model("qwen2_5_vl", folder)
    store = make_store(tmp_path / "images.h5", sizes=[(60, 80), (80, 60), (100, 60)])
    options = OPTIONS | {"poolings": ["last", "mean"], "prompt": {"text": "Where?"}, "device": "cuda"}
    row = multimodal_row(folder)
    extract_features(store, row, tmp_path / "whole.h5", folder=folder, **options)
    size = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    monkeypatch.setattr(memory, "free_gpus", lambda: [size // 2])
    extract_features(store, row, tmp_path / "spread.h5", folder=folder, **options)
    assert_same(tmp_path / "whole.h5", tmp_path / "spread.h5", **CLOSE)
