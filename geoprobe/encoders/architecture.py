"""The one architecture of the controlled experiment: timm's VisionTransformer, small."""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import VisionTransformer

from geoprobe.runtime import replacing

# Statistics of ImageNet, as timm's own models use them; the same for every objective.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def build_encoder(image_size, patch_size, width, depth, heads, seed):
    """A VisionTransformer with a class token, without a classifier, its weights drawn from the seed.

    Every objective starts from the same draw, so `random` is what the others were before training.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return VisionTransformer(
            img_size=image_size,
            patch_size=patch_size,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            num_classes=0,
            # the objectives read the tokens themselves
            global_pool="",
            class_token=True,
        )


def normalise(pixels):
    """uint8 images (n, 3, h, w) to float32 in the range the encoder was made for."""
    mean = torch.tensor(MEAN, device=pixels.device).view(1, 3, 1, 1)
    std = torch.tensor(STD, device=pixels.device).view(1, 3, 1, 1)
    return (pixels.float() / 255 - mean) / std


def save_encoder(folder, encoder, config):
    """Write model.safetensors and config.json into a folder."""
    folder = Path(folder)
    with replacing(folder / "model.safetensors") as temporary:
        save_file({name: weight.contiguous() for name, weight in encoder.state_dict().items()}, temporary)
    with replacing(folder / "config.json") as temporary:
        Path(temporary).write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")


def load_encoder(folder):
    """Read an encoder back from a folder of :func:`save_encoder`.

    Returns:
        The encoder in evaluation mode, and its configuration.

    Raises:
        FileNotFoundError: the folder lacks config.json or model.safetensors.
    """
    folder = Path(folder)
    for name in ("config.json", "model.safetensors"):
        if not (folder / name).is_file():
            raise FileNotFoundError(f"{folder}: no {name}. Is this the folder of a trained encoder?")
    config = json.loads((folder / "config.json").read_text())
    encoder = build_encoder(**config["architecture"], seed=0)
    encoder.load_state_dict(load_file(folder / "model.safetensors"))
    return encoder.eval(), config
