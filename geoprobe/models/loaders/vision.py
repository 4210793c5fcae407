"""Vision towers of transformers: ViT, MAE, DINO, and the vision half of CLIP-like models."""

import hashlib
import inspect
import json
import math

import torch
from torch import nn
from transformers import MODEL_MAPPING, AutoConfig, AutoImageProcessor, AutoModel
from transformers.image_processing_backends import PilBackend
from transformers.models.vit_mae.modeling_vit_mae import ViTMAEEmbeddings

from geoprobe.models.loaders.patches import patch_tower, patches_of, refuse_random_weights, weights_for
from geoprobe.models.loading import LoadedModel
from geoprobe.models.token_maps import count_prefix
from geoprobe.models.towers import depth_of, find_blocks, find_part
from geoprobe.models.untrained import digest_model, draw, spread
from geoprobe.models.weights import is_random

# Switches of attention-pooling heads, which come after the blocks and are not read. Not every release of transformers
# declares those that its models obey.
HEADS = ("vision_use_head", "use_head")


class ImageInputs:
    """What a vision tower takes of one image, made by its own image processor."""

    def __init__(self, processor, names, masked_patch=None):
        """
        Args:
            processor: an image processor of transformers.
            names: of the inputs that the tower's forward takes.
            masked_patch: width of a square patch, for a masked autoencoder that is to mask; else None.
        """
        self.processor, self.names, self.masked_patch = processor, names, masked_patch

    def __call__(self, image, image_id):
        """Tensors by name, without an axis for the batch."""
        made = self.processor(images=image, return_tensors="pt")
        inputs = {name: made[name][0] for name in self.names if name in made}
        if self.masked_patch is not None:
            # seeded by the image, so that it does not matter which images are beside it in a batch
            seed = int.from_bytes(hashlib.sha256(str(image_id).encode()).digest()[:7])
            patches = math.prod(side // self.masked_patch for side in inputs["pixel_values"].shape[-2:])
            inputs["order"] = torch.randperm(patches, generator=torch.Generator().manual_seed(seed))
        return inputs


def load_image_processor(folder):
    """The image processor in a folder, with the PIL backend where its class has one, and what it does in words.

    Raises:
        ValueError: the folder holds none.
    """
    try:
        processor = AutoImageProcessor.from_pretrained(
            folder, backend="pil", local_files_only=True, trust_remote_code=False
        )
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{folder}: no image processor could be made of preprocessor_config.json ({error}); save the model's own "
            "beside its weights"
        ) from error
    backend = "PIL" if isinstance(processor, PilBackend) else "torchvision"
    settings = {name: value for name, value in processor.to_dict().items() if value is not None}
    return processor, f"{type(processor).__name__}, {backend}: {json.dumps(settings, sort_keys=True, default=str)}"


def read_config(folder, protocol="sound"):
    """The configuration in a folder, for a model of which the blocks alone are read.

    Args:
        folder: of the model.
        protocol: sound; or paper, under which a masked autoencoder masks as in training.

    Returns:
        The configuration, and that part of it which is the vision tower's.
    """
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    vision = getattr(config, "vision_config", None) or config
    for switch in HEADS:
        setattr(vision, switch, False)
    if hasattr(vision, "mask_ratio") and protocol != "paper":
        vision.mask_ratio = 0.0
    return config, vision


def bare_class(config, folder):
    """Class of the bare model of a configuration, and keywords that leave out what comes after its blocks.

    Raises:
        ValueError: transformers has no bare model for it.
    """
    if type(config) not in MODEL_MAPPING:
        raise ValueError(f"{folder}: transformers has no bare model for a {type(config).__name__}")
    kind = MODEL_MAPPING[type(config)]
    # what is pooled after the blocks is not read; many checkpoints lack its weights
    pools = "add_pooling_layer" in inspect.signature(kind.__init__).parameters
    return kind, {"add_pooling_layer": False} if pools else {}


def fix_positions(model):
    """Give a masked autoencoder that was built without a checkpoint the sines that its positions are.

    transformers 5 means to, but then takes the patch embedding, which it initialises first, for one with weights of a
    checkpoint, and leaves the positions, which are never trained, at zero.
    """
    for part in model.modules():
        if isinstance(part, ViTMAEEmbeddings) and not part.position_embeddings.any():
            part.patch_embeddings.projection._is_hf_initialized = False
            part.initialize_weights()
            part.patch_embeddings.projection._is_hf_initialized = True


def build(row, folder, protocol="sound"):
    """The bare model of the configuration in a folder as transformers initialises it, in the row's dtype.

    Raises:
        ValueError: transformers has no bare model for it.
    """
    config, _ = read_config(folder, protocol)
    _, extra = bare_class(config, folder)
    model = AutoModel.from_config(config, dtype=getattr(torch, row["dtype"]), trust_remote_code=False, **extra)
    if not next(model.parameters()).is_meta:
        fix_positions(model)
    return model


def load_weights(config, row, folder, placement=None):
    """The bare model of a configuration, with the weights in a folder.

    Returns:
        The model and the set of its weights that the files lack.

    Raises:
        ValueError: transformers has no bare model for it, or the files hold no weights that the row allows.
    """
    kind, extra = bare_class(config, folder)
    weights_for(row, folder, "transformers")
    model, report = kind.from_pretrained(
        folder,
        config=config,
        dtype=getattr(torch, row["dtype"]),
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=None if row["weights"] == "any" else True,
        output_loading_info=True,
        **extra,
        **(placement or {}),
    )
    return model, set(report["missing_keys"])


def patch_counter(part, path):
    """From a batch to the number of patches in the stream of a tower, if nothing is masked."""
    for name, module in part.named_modules():
        if name == path:
            break
        if isinstance(module, nn.Conv2d):
            return patches_of(module)
    size = part.config.patch_size
    height, width = size if isinstance(size, list | tuple) else (size, size)

    def count(batch):
        shape = batch["pixel_values"].shape
        # without a convolution, the image processor may have cut the image: (images, patches, numbers)
        return shape[1] if len(shape) == 3 else (shape[-2] // height) * (shape[-1] // width)

    return count


def refuse_stages(part):
    """Raise a ValueError for a hierarchical model: its stages differ in width and in number of tokens."""
    config = part.config
    for name in ("hidden_sizes", "depths", "embed_dims"):
        if isinstance(value := getattr(config, name, None), list | tuple):
            raise ValueError(
                f"{type(part).__name__} has stages ({name} {list(value)}): its blocks do not share one stream of the "
                "shape (images, tokens, width), so it cannot be read layer by layer"
            )


def make_forward(part, names, dtype, every):
    """From a batch to nothing: one pass of a tower.

    Args:
        part: the tower.
        names: of the inputs that it takes.
        dtype: that its weights are held in.
        every: of :func:`patch_counter`.
    """

    def forward(batch):
        given = {name: batch[name] for name in names if name in batch}
        inputs = {name: value.to(dtype) if value.is_floating_point() else value for name, value in given.items()}
        if "noise" in names:
            # a masked autoencoder keeps patches in the order of this noise; whole numbers are exact in float32
            pixels = inputs["pixel_values"]
            order = batch["order"] if "order" in batch else torch.arange(every(batch)).expand(len(pixels), -1)
            inputs["noise"] = order.to(pixels.device, torch.float32)
        part(**inputs)

    return forward


def load(row, folder, prompt=None, protocol="sound", placement=None):
    """Load a vision tower, alone, from a folder in the hub's layout.

    Args:
        row: of the registry; its `dtype` and `weights` are used.
        folder: with config.json, preprocessor_config.json and the weights.
        prompt: not used: no text passes a vision tower.
        protocol: sound; or paper, under which a masked autoencoder masks as in training.
        placement: keywords of `from_pretrained` that spread the model over devices.

    Raises:
        ValueError: the model takes no images, is no stack of blocks, or the files lack some of its weights.
    """
    config, vision = read_config(folder, protocol)
    masks = hasattr(vision, "mask_ratio") and protocol == "paper"
    if is_random(row):
        model, missing = spread(draw(row, folder, lambda: build(row, folder, protocol)), placement), set()
    else:
        model, missing = load_weights(config, row, folder, placement)
    name, part = find_part(model, vision)
    names = [key for key in inspect.signature(part.forward).parameters if key != "kwargs"]
    if "pixel_values" not in names:
        raise ValueError(f"{folder}: {type(part).__name__} takes no images (pixel_values)")
    refuse_stages(part)
    path, blocks = find_blocks(part, depth_of(part.config))
    inside = f"{name}." if name else ""
    refuse_random_weights(part, path, {key.removeprefix(inside) for key in missing if key.startswith(inside)}, folder)
    width, every = part.config.hidden_size, patch_counter(part, path)
    classes, registers = count_prefix(part, path, width)
    kept = 1 - getattr(part.config, "mask_ratio", 0)
    tower = patch_tower(
        part,
        path,
        blocks,
        width=width,
        prefix=classes + registers,
        has_class=classes > 0,
        patches=lambda batch: int(every(batch) * kept),
        protocol=protocol,
        mask=(lambda batch: batch["pixel_attention_mask"]) if "pixel_attention_mask" in names else None,
    )
    if masks:
        tower.note += f"; {part.config.mask_ratio:.0%} of them masked at random by the image's id, the rest shuffled"
    processor, preprocessing = load_image_processor(folder)
    return LoadedModel(
        module=part,
        prepare=ImageInputs(processor, names, part.config.patch_size if masks else None),
        forward=make_forward(part, names, getattr(torch, row["dtype"]), every),
        towers={"vision": tower},
        attributes={"class": f"{type(part).__module__}.{type(part).__name__}", "preprocessing": preprocessing},
        digest=digest_model(row, folder, "transformers"),
        placed=bool(placement),
    )
