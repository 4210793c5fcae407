"""Models whose weights are random: the same architecture and input, as its own library initialises it."""

import contextlib
import hashlib
from importlib.metadata import version
from pathlib import Path

import torch

from geoprobe.models.registry import seed_of
from geoprobe.models.weights import LAYOUTS, digest_weights, is_random

# whose initialisation each loader's models have
LIBRARIES = {"transformers": ("transformers",), "timm": ("timm",), "open_clip": ("open_clip_torch", "timm")}


@contextlib.contextmanager
def drawing(seed):
    """Random numbers of torch on the CPU come from the seed, and memory that nothing is written to holds NaN.

    The state outside, that of GPUs too, is left as it was.
    """
    fills = torch.utils.deterministic.fill_uninitialized_memory
    strict, warns = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    with torch.random.fork_rng(devices=[]):
        # torch.manual_seed would seed GPUs as well
        torch.default_generator.manual_seed(seed)
        torch.utils.deterministic.fill_uninitialized_memory = True
        torch.use_deterministic_algorithms(True, warn_only=True)
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict, warn_only=warns)
            torch.utils.deterministic.fill_uninitialized_memory = fills


def draw(row, folder, build):
    """A module with random weights, the same for the same row.

    Args:
        row: of the registry; its seed is used.
        folder: of its files, for the error.
        build: makes the module on the CPU, initialised by its library.

    Raises:
        ValueError: the library leaves some weights uninitialised; they would be whatever was in memory.
    """
    with drawing(seed_of(row)):
        module = build()
    named = [*module.named_parameters(), *module.named_buffers()]
    left = [name for name, value in named if value.is_floating_point() and not value.is_meta and value.isnan().any()]
    if left:
        shown = ", ".join(left[:5]) + (f" and {len(left) - 5} more" if len(left) > 5 else "")
        raise ValueError(
            f"{folder}: {type(module).__name__} leaves weights uninitialised when it is built without a checkpoint "
            f"({shown}); leave this model out of a run with random weights"
        )
    return module


def spread(model, placement):
    """A model of transformers on the devices that a placement says; it was built in memory as a whole.

    Args:
        model: on the CPU.
        placement: of :func:`geoprobe.models.loading.load_model`; None to leave the model where it is.
    """
    if not placement:
        return model
    from accelerate import dispatch_model, infer_auto_device_map
    from accelerate.utils import get_balanced_memory

    places = placement["device_map"]
    if isinstance(places, str):
        # as from_pretrained does it
        whole = {"no_split_module_classes": list(model._no_split_modules)}
        most = get_balanced_memory(model, max_memory=placement.get("max_memory"), **whole)
        places = infer_auto_device_map(model, max_memory=most, **whole)
    return dispatch_model(
        model,
        device_map=places,
        offload_dir=placement.get("offload_folder"),
        skip_keys=model._skip_keys_device_placement,
    )


def digest_model(row, folder, loader):
    """SHA-256 in hexadecimal digits that changes with the weights of a row's model.

    Where they are random there is no file of them: it is that of what they follow from, the seed, the configuration
    and the releases of the libraries.

    Args:
        row: of the registry.
        folder: of the model.
        loader: whose layout the folder has.

    Raises:
        ValueError: weights are to be read, and not all of them are there.
    """
    if not is_random(row):
        return digest_weights(folder, loader)
    config = Path(folder, LAYOUTS[loader][0])
    # 2.14.1+cu130 and 2.14.1+cpu draw the same
    releases = {name: version(name).partition("+")[0] for name in ("torch", *LIBRARIES[loader])}
    made_of = [
        f"random, seed {seed_of(row)}",
        f"{config.name} {hashlib.sha256(config.read_bytes()).hexdigest()}",
        *(f"{name} {release}" for name, release in releases.items()),
    ]
    return hashlib.sha256("\n".join(made_of).encode()).hexdigest()
