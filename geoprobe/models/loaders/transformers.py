"""Loader `transformers`: a vision tower, or a multimodal model with a decoder, by the configuration."""

from transformers import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING, AutoConfig


def has_decoder(config):
    """Whether a configuration is that of a model which continues a text about an image."""
    return type(config) in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING


def _loader(folder):
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if has_decoder(config):
        from geoprobe.models.loaders import multimodal as loader
    else:
        from geoprobe.models.loaders import vision as loader
    return loader


def build(row, folder):
    """The model in a folder as transformers initialises it, in the row's dtype."""
    return _loader(folder).build(row, folder)


def load(row, folder, prompt=None, protocol="sound", placement=None):
    """Load a checkpoint of transformers from a folder in the hub's layout.

    Raises:
        ValueError: it cannot be read layer by layer; says why.
    """
    return _loader(folder).load(row, folder, prompt=prompt, protocol=protocol, placement=placement)
