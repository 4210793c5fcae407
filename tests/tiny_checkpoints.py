"""Tiny models with trained weights in the layouts of timm and open_clip."""

import json

import open_clip
import timm
from golden import randomise
from safetensors.torch import save_file
from timm.models import save_for_hf

TIMM = {"embed_dim": 32, "depth": 3, "num_heads": 2, "img_size": 64}
TIMM_NAME = "vit_base_patch16_224"
OPEN_CLIP = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "patch_size": 8, "width": 32, "head_width": 16, "layers": 3},
    "text_cfg": {"context_length": 8, "vocab_size": 40, "width": 32, "heads": 2, "layers": 3},
}


def write_timm(folder):
    model = randomise(timm.create_model(TIMM_NAME, pretrained=False, **TIMM))
    config = {**model.pretrained_cfg, "architecture": TIMM_NAME, "input_size": (3, 64, 64)}
    save_for_hf(model, folder, model_config=config, model_args=TIMM, safe_serialization=True)


def write_open_clip(folder):
    folder.mkdir()
    weights = randomise(open_clip.CLIP(**OPEN_CLIP)).state_dict()
    save_file({name: value.contiguous() for name, value in weights.items()}, folder / "open_clip_model.safetensors")
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": OPEN_CLIP, "preprocess_cfg": {}}))
