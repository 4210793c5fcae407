"""Whether a job fits on the disk and into memory, and how many images fit at once; all sizes in bytes."""

import shutil
from pathlib import Path

import psutil
import torch

WORKING = 1.25  # memory over that of the weights: activations, the library's own buffers
SHARE = 0.8  # of the free memory that a batch may fill; the rest is for what differs between batches
MOST = 512  # images a batch: more gain nothing
PLAIN = 32  # images a batch where memory is not measured


def say_size(size):
    """A number of bytes in GB or MB (powers of 1000)."""
    return f"{size / 1e9:,.2f} GB" if size >= 1e8 else f"{size / 1e6:,.2f} MB"


def free_disk(folder):
    """Free space of the file system of a folder."""
    return shutil.disk_usage(folder).free


def free_ram():
    """Memory that this process can still have: of the machine, and of the control groups (such as SLURM's) it is in."""
    free = psutil.virtual_memory().available
    own = Path("/proc/self/cgroup")  # Linux has it
    groups = [line.partition("::")[2] for line in own.read_text().splitlines()] if own.is_file() else []
    for group in filter(None, groups):  # "0::/path" is a group of version 2
        folder = Path("/sys/fs/cgroup") / group.lstrip("/")
        for place in (folder, *folder.parents):
            if (limit := _read_number(place / "memory.max")) is not None:
                kept = dict(line.split() for line in (place / "memory.stat").read_text().splitlines())
                used = _read_number(place / "memory.current") - int(kept["inactive_file"])
                free = min(free, max(0, limit - used))
    return free


def _read_number(path):
    """The number in a file; None without the file, or where it says "max"."""
    text = path.read_text().strip() if path.is_file() else "max"
    return None if text == "max" else int(text)


def free_gpus():
    """Free memory of each GPU."""
    return [torch.cuda.mem_get_info(number)[0] for number in range(torch.cuda.device_count())]


def check_disk(output, images, datasets, itemsize, there):
    """Print how large a feature store will be.

    Args:
        output: its path; the folder exists.
        images: number of rows.
        datasets: (tower, pooling, layer, width) of each dataset.
        itemsize: bytes a value.
        there: bytes that an unfinished file holds already, which are used or freed.

    Raises:
        OSError: the file system has less room than that.
    """
    numbers = sum(width for *_, width in datasets)
    need, free = images * numbers * itemsize, free_disk(Path(output).parent) + there
    what = f"{images} images x {numbers} numbers ({len(datasets)} datasets) x {itemsize} bytes = {say_size(need)}"
    if need > free:
        raise OSError(
            f"{output}: {what} are to be written, but its file system has room for {say_size(free)}; free some, or "
            "choose fewer features.layers or features.poolings, or features.dtype: float16."
        )
    print(f"{output}: {what}; the file system has room for {say_size(free)}")


def choose_placement(name, weights, device, offload):
    """How the weights of a model are laid out.

    Args:
        name: of the model, for the message.
        weights: their size.
        device: torch device that is asked for.
        offload: folder for what fits neither into the GPUs nor into memory.

    Returns:
        None where all of it fits on the device; else keywords of accelerate's placement over all GPUs and memory.

    Raises:
        MemoryError: it does not fit into all of them together.
    """
    need, ram = weights * WORKING, free_ram()
    asks = f"{name}: its weights take {say_size(weights)}, with working space {say_size(need)}"
    if device.type != "cuda":
        if need > ram:
            raise MemoryError(
                f"{asks}, but {say_size(ram)} of memory are free; give the job more (mem_mb), or use a GPU "
                "(device: cuda) or a smaller model."
            )
        return None
    gpus = free_gpus()
    if need <= gpus[device.index or 0]:
        return None
    if need > sum(gpus) + ram:
        raise MemoryError(
            f"{asks}, but {say_size(sum(gpus))} are free on {len(gpus)} GPUs and {say_size(ram)} in memory; give the "
            "job more GPUs or memory (mem_mb), or use a smaller model."
        )
    print(f"{asks}; {say_size(gpus[device.index or 0])} are free on {device}, so it is spread over GPUs and memory")
    share = {**dict(enumerate(gpus)), "cpu": ram}
    return {
        "device_map": "auto",
        "max_memory": {place: int(free / WORKING) for place, free in share.items()},
        "offload_folder": str(offload),
    }


def solve_batch(one, two, free):
    """Images a batch that fill SHARE of the free memory, from the memory that one and two images take.

    A forward takes a part that is there once and a part an image. Above 8 the result is a multiple of 8, which
    matrix units are made for; at most MOST.
    """
    image = max(two - one, 1)
    fixed = max(one - image, 0)
    count = int(max(1, min(MOST, (SHARE * free - fixed) // image)))
    return count if count <= 8 else count // 8 * 8


def measure_batch(devices, run):
    """Images a batch that fit into the free memory of GPUs.

    Args:
        devices: CUDA devices that hold the model.
        run: passes so many images through the model, and keeps nothing.

    Raises:
        torch.OutOfMemoryError: one image alone does not fit.
    """
    run(1)  # libraries allocate what they keep on the first pass
    one_image = _peaks(devices, run, 1)
    try:
        peaks = one_image, _peaks(devices, run, 2)
    except torch.OutOfMemoryError:
        peaks = None
    if peaks is None:  # out of the handler, whose error holds on to what the pass had allocated
        torch.cuda.empty_cache()
        return 1
    return min(solve_batch(one, two, _free(device)) for device, one, two in zip(devices, *peaks, strict=True))


def _peaks(devices, run, count):
    """Most memory of each device over what it held before."""
    before = [torch.cuda.memory_allocated(device) for device in devices]
    for device in devices:
        torch.cuda.synchronize(device)
        torch.cuda.reset_peak_memory_stats(device)
    run(count)
    for device in devices:
        torch.cuda.synchronize(device)
    return [torch.cuda.max_memory_allocated(device) - held for device, held in zip(devices, before, strict=True)]


def _free(device):
    """Free memory of a GPU, with that which torch keeps and does not use."""
    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return torch.cuda.mem_get_info(device)[0] + kept
