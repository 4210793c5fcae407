"""Memory and disk: batch sizes in closed form, and refusals with their numbers."""

import os
from pathlib import Path

import pytest
import torch

from geoprobe.features import memory

GB = 10**9


def test_sizes_are_said_in_the_unit_that_suits_them():
    assert memory.say_size(1_234_567_890_123) == "1,234.57 GB"
    assert memory.say_size(5_000_000) == "5.00 MB"


@pytest.mark.parametrize(
    ("fixed", "image", "free", "size"),
    [
        # 0.8 x 10 GB - 2 GB leave 6 GB: sixty of 0.1 GB, rounded down to a multiple of 8
        (2 * GB, GB // 10, 10 * GB, 56),
        (0, GB, 10 * GB, 8),
        (0, GB, 8 * GB, 6),
        (0, 1000, 80 * GB, 512),
        (0, 20 * GB, 10 * GB, 1),
        (20 * GB, GB, 10 * GB, 1),
    ],
)
def test_a_batch_fills_four_fifths_of_the_free_memory(fixed, image, free, size):
    assert memory.solve_batch(fixed + image, fixed + 2 * image, free) == size


def test_images_that_take_nothing_measurable_come_in_the_largest_batch():
    assert memory.solve_batch(1000, 1000, 10 * GB) == 512


def test_free_memory_is_at_most_what_the_machine_has():
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    assert 0 < memory.free_ram() <= total


def test_free_disk_is_that_of_the_folders_file_system(tmp_path):
    status = os.statvfs(tmp_path)
    assert memory.free_disk(tmp_path) == pytest.approx(status.f_bavail * status.f_frsize, rel=0.05)


@pytest.fixture
def machine(monkeypatch):
    """Give the machine so much free memory, in GB, on GPUs and off them."""

    def have(gpus, ram):
        monkeypatch.setattr(memory, "free_gpus", lambda: [int(size * GB) for size in gpus])
        monkeypatch.setattr(memory, "free_ram", lambda: int(ram * GB))

    return have


def place(weights, device):
    return memory.choose_placement("large", int(weights * GB), torch.device(device), Path("offload"))


def test_a_model_that_fits_is_not_spread(machine):
    machine([80], 1)
    assert place(60, "cuda") is None
    machine([], 10)
    assert place(7.9, "cpu") is None


def test_a_model_goes_by_the_gpu_that_is_asked_for(machine):
    machine([80, 10], 200)
    assert place(60, "cuda:0") is None
    assert place(60, "cuda:1")["device_map"] == "auto"


def test_a_model_that_does_not_fit_on_one_gpu_is_spread_over_all_and_memory(machine, capsys):
    machine([80, 40], 50)
    assert place(100, "cuda") == {
        "device_map": "auto",
        # a fifth of each is left for what the weights do not take
        "max_memory": {0: 64 * GB, 1: 32 * GB, "cpu": 40 * GB},
        "offload_folder": "offload",
    }
    assert "large: its weights take 100.00 GB, with working space 125.00 GB; 80.00 GB" in capsys.readouterr().out


def test_a_model_that_fits_nowhere_is_refused_with_the_numbers(machine):
    machine([80, 40], 50)
    sentence = (
        r"large: its weights take 140\.00 GB, with working space 175\.00 GB, but 120\.00 GB are free on 2 GPUs and "
        r"50\.00 GB in memory; give the job more GPUs"
    )
    with pytest.raises(MemoryError, match=sentence):
        place(140, "cuda")


def test_on_a_cpu_a_model_must_fit_into_memory(machine):
    machine([80], 10)
    with pytest.raises(MemoryError, match=r"with working space 10\.01 GB, but 10\.00 GB of memory are free"):
        place(8.01, "cpu")


def test_the_disk_must_hold_what_is_there_less(monkeypatch, tmp_path, capsys):
    datasets = [("vision", "cls", layer, 1000) for layer in range(5)]
    monkeypatch.setattr(memory, "free_disk", lambda folder: 1_500_000 if folder == tmp_path else 0)
    output = tmp_path / "f.h5"
    # 100 images x 5 x 1000 numbers x 4 bytes: 2 MB
    memory.check_disk(output, 100, datasets, 4, 500_000)
    assert "100 images x 5000 numbers (5 datasets) x 4 bytes = 2.00 MB" in capsys.readouterr().out
    memory.check_disk(output, 100, datasets, 2, 0)
    with pytest.raises(OSError, match=r"= 2\.00 MB are to be written, but its file system has room for 1\.99 MB; .*"):
        memory.check_disk(output, 100, datasets, 4, 490_000)


class Gpus:
    """Memory of GPUs by the calls of torch.cuda that tell of it: a pass takes `fixed` and `image` times its images."""

    def __init__(self, gpus):
        self.gpus = gpus
        self.peaks = dict.fromkeys(gpus, 0)
        self.passes = []

    def run(self, count):
        self.passes.append(count)
        for name, gpu in self.gpus.items():
            # what libraries keep from the first pass on is in none of the later peaks
            first = GB if len(self.passes) == 1 else 0
            taken = gpu["held"] + gpu["fixed"] + gpu["image"] * count + first
            self.peaks[name] = max(self.peaks[name], taken)

    def reset(self, name):
        self.peaks[name] = self.gpus[name]["held"]


@pytest.fixture
def two_gpus(monkeypatch):
    """Two GPUs, the second of which takes so many bytes an image."""

    def have(second):
        held = {"held": 5 * GB, "fixed": GB}
        gpus = Gpus({"cuda:0": held | {"image": GB // 16}, "cuda:1": held | {"image": second}})
        for name, call in calls_of(gpus).items():
            monkeypatch.setattr(torch.cuda, name, call)
        return gpus

    return have


def calls_of(gpus):
    return {
        "memory_allocated": lambda name: gpus.gpus[name]["held"],
        "max_memory_allocated": gpus.peaks.get,
        "reset_peak_memory_stats": gpus.reset,
        "synchronize": lambda name: None,
        # of 5 GB that are free, torch holds 1 GB for later
        "memory_reserved": lambda name: gpus.gpus[name]["held"] + GB,
        "mem_get_info": lambda name: (4 * GB, 80 * GB),
    }


@pytest.mark.parametrize(("second", "size"), [(GB // 100, 48), (GB, 3)])
def test_a_measured_batch_is_what_the_tightest_gpu_holds(two_gpus, second, size):
    gpus = two_gpus(second)
    # 0.8 x 5 GB - 1 GB leave 3 GB: 48 images on the first, 300 or 3 on the second
    assert memory.measure_batch(["cuda:0", "cuda:1"], gpus.run) == size
    assert gpus.passes == [1, 1, 2]


@pytest.mark.parametrize("limit", [0, 1])
def test_where_two_images_do_not_fit_the_batch_is_of_one_and_without_that_nothing_is(two_gpus, limit):
    gpus = two_gpus(GB)

    def run(count):
        if count > limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        gpus.run(count)

    if limit:
        assert memory.measure_batch(["cuda:0", "cuda:1"], run) == 1
    else:
        with pytest.raises(torch.OutOfMemoryError):
            memory.measure_batch(["cuda:0", "cuda:1"], run)
