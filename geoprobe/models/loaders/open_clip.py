"""Loader `open_clip`: the vision tower of a contrastive model, its own transformer or one of timm."""

import json
from pathlib import Path

import open_clip
import torch
from open_clip.factory import load_state_dict
from open_clip.timm_model import TimmModel
from open_clip.transform import PreprocessCfg, image_transform_v2, merge_preprocess_dict
from open_clip.transformer import VisionTransformer

from geoprobe.models.loaders.patches import patch_tower, patches_of, refuse_placement, weights_for
from geoprobe.models.loaders.timm import Transformed, timm_tower
from geoprobe.models.loading import LoadedModel
from geoprobe.models.towers import find_blocks
from geoprobe.models.untrained import digest_model, draw
from geoprobe.models.weights import is_random

# open_clip builds both towers; of the text tower, which sees no image, the smallest there is
NO_TEXT = {"context_length": 1, "vocab_size": 1, "width": 1, "heads": 1, "layers": 1}


def read_config(folder):
    """Configurations of the model and of its image transform.

    Raises:
        ValueError: there is no open_clip_config.json, or it has no model in it.
    """
    path = Path(folder, "open_clip_config.json")
    if not path.is_file():
        raise ValueError(f"{folder}: no open_clip_config.json; is this a model of another loader?")
    config = json.loads(path.read_text(encoding="utf-8"))
    if "vision_cfg" not in config.get("model_cfg", {}):
        raise ValueError(f"{path}: no model_cfg with a vision_cfg; take the file from the model's own repository")
    return config["model_cfg"], config.get("preprocess_cfg", {})


def build_visual(model_cfg):
    """The vision tower of a configuration, its weights not loaded."""
    visual = open_clip.CLIP(
        embed_dim=model_cfg["embed_dim"],
        # never fetched: weights are those of the folder
        vision_cfg={**model_cfg["vision_cfg"], "timm_model_pretrained": False},
        text_cfg=NO_TEXT,
        quick_gelu=model_cfg.get("quick_gelu", False),
    ).visual
    if not isinstance(visual, VisionTransformer | TimmModel):
        raise ValueError(
            f"{type(visual).__name__} of open_clip is no stack of blocks with one stream of the shape (images, tokens, "
            "width); it cannot be read layer by layer"
        )
    return visual


def build(row, folder):
    """The vision tower of the model in a folder, as open_clip initialises it; of the row nothing is used."""
    return build_visual(read_config(folder)[0])


def load_visual_weights(visual, path):
    """Give a vision tower its weights out of the file of a whole model.

    Raises:
        ValueError: they are those of another model.
    """
    every = load_state_dict(str(path), weights_only=True)
    own = {name.removeprefix("visual."): value for name, value in every.items() if name.startswith("visual.")}
    try:
        visual.load_state_dict(own)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: not the weights of the model in open_clip_config.json: {reason}") from error


def visual_tower(visual, protocol):
    """The tower of open_clip's own vision transformer or of the model of timm in its adapter."""
    if isinstance(visual, TimmModel):
        return timm_tower(visual.trunk, protocol, name="trunk")
    path, blocks = find_blocks(visual, visual.transformer.layers)
    return patch_tower(
        visual,
        path,
        blocks,
        width=visual.transformer.width,
        prefix=1,
        has_class=True,
        patches=patches_of(visual.conv1),
        protocol=protocol,
        batch_first=visual.transformer.batch_first,
    )


def load(row, folder, prompt=None, protocol="sound", placement=None):
    """Load the vision tower of a model of open_clip, alone.

    Args:
        row: of the registry; its `dtype` and `weights` are used.
        folder: with open_clip_config.json and the weights.
        prompt: not used: no text passes a vision tower.
        protocol: sound or paper.
        placement: must be empty.

    Raises:
        ValueError: the tower cannot be read layer by layer, or the files lack some of its weights.
    """
    refuse_placement(row, placement)
    model_cfg, preprocess_cfg = read_config(folder)
    if is_random(row):
        visual = draw(row, folder, lambda: build(row, folder))
    else:
        path, *_ = weights_for(row, folder, "open_clip")
        visual = build_visual(model_cfg)
        load_visual_weights(visual, path)
    dtype = getattr(torch, row["dtype"])
    visual.to(dtype)
    # as open_clip does: the size is the tower's, whatever the file says
    settings = {**merge_preprocess_dict(PreprocessCfg(), preprocess_cfg), "size": visual.image_size}
    transform = image_transform_v2(PreprocessCfg(**settings), is_train=False)
    # in the adapter, heads come after the blocks
    body = visual.trunk.forward_features if isinstance(visual, TimmModel) else visual
    inner = visual.trunk if isinstance(visual, TimmModel) else visual
    return LoadedModel(
        module=visual,
        prepare=Transformed(transform),
        forward=lambda batch: body(batch["pixel_values"].to(dtype)),
        towers={"vision": visual_tower(visual, protocol)},
        attributes={
            "class": f"{type(inner).__module__}.{type(inner).__name__}",
            "preprocessing": f"open_clip's evaluation transform, PIL: {json.dumps(settings, sort_keys=True)}",
        },
        digest=digest_model(row, folder, "open_clip"),
    )
