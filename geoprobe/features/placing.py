"""A model where it runs: on one device, or spread over all that there are and the machine's memory."""

from pathlib import Path

from geoprobe.features import memory
from geoprobe.models.loading import load_model, model_bytes


def load_placed(row, folder, prompt, protocol, device, offload):
    """Load a model onto the device, or spread it over what there is.

    Args:
        row, folder, prompt, protocol: of :func:`geoprobe.models.loading.load_model`.
        device: torch device.
        offload: folder for weights that fit neither into GPUs nor into memory.

    Raises:
        MemoryError: it does not fit.
    """
    placement, files = None, Path(folder or row["id"])
    if files.is_dir():
        placement = memory.choose_placement(row["model"], model_bytes(row, files), device, offload)
    model = load_model(row, folder, prompt, protocol, placement)
    if not model.placed:
        model.module.to(device)
    return model
