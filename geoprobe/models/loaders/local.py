"""Loader `local`: a folder on disk, handed to the loader that its files are for."""

import importlib
import json
from pathlib import Path


def library_of(folder):
    """Name of the module in geoprobe.models.loaders that a folder's files are for.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no configuration that a loader knows.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder. Has the encoder been trained, or is the row's id mistyped?")
    config = folder / "config.json"
    if config.is_file():
        try:
            keys = json.loads(config.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{config}: not JSON ({error}); save the model again") from error
        architecture = keys.get("architecture") if isinstance(keys, dict) else None
        if isinstance(architecture, dict):
            return "encoder"
        if isinstance(keys, dict) and "model_type" in keys:
            return "transformers"
        if isinstance(architecture, str):
            return "timm"
    if (folder / "open_clip_config.json").is_file():
        return "open_clip"
    raise ValueError(
        f'{folder}: no config.json with "model_type" (a transformers model) or "architecture" (a timm model or an '
        "encoder of this project), and no open_clip_config.json; the folder must be laid out as its model's hub "
        "repository"
    )


def load(row, folder, prompt=None, protocol="sound", placement=None):
    """Load the model in a folder, whichever of the other loaders it needs.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no loader knows its files.
    """
    loader = importlib.import_module(f"geoprobe.models.loaders.{library_of(folder)}")
    return loader.load(row, folder, prompt=prompt, protocol=protocol, placement=placement)
