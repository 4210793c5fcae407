"""Image-text models of transformers: vision tower and decoder, read in one forward pass without the language head."""

import inspect
from dataclasses import dataclass, field

import torch
from PIL import Image
from transformers import AutoConfig, AutoModelForImageTextToText, AutoProcessor, GenerationConfig
from transformers.vision_utils import get_vision_window_index

from geoprobe.models.image_text import PAPER_SIDES, Collator, describe_images, make_cost, make_preparer
from geoprobe.models.loading import LoadedModel, Tower
from geoprobe.models.pooling import TokenMap
from geoprobe.models.prompts import make_prompt
from geoprobe.models.token_maps import count_prefix, map_packed, map_text, map_views
from geoprobe.models.towers import depth_of, find_blocks, find_part
from geoprobe.models.untrained import digest_model, draw, spread
from geoprobe.models.weights import is_random

GRID = "image_grid_thw"


def build(row, folder):
    """The whole model as transformers initialises it, in the row's dtype."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    return AutoModelForImageTextToText.from_config(config, dtype=getattr(torch, row["dtype"]), trust_remote_code=False)


def load_weights(row, folder, placement=None):
    """The whole model, its weights in the row's dtype.

    Raises:
        ValueError: weights are missing in the folder; names them.
    """
    if is_random(row):
        return spread(draw(row, folder, lambda: build(row, folder)), placement)
    model, found = AutoModelForImageTextToText.from_pretrained(
        folder,
        dtype=getattr(torch, row["dtype"]),
        local_files_only=True,
        trust_remote_code=False,
        # None takes safetensors where there are any
        use_safetensors=None if row["weights"] == "any" else True,
        output_loading_info=True,
        **(placement or {}),
    )
    if missing := sorted(found["missing_keys"]):
        raise ValueError(
            f"{folder}: {len(missing)} weights of {type(model).__name__} are not in its files, among them "
            f'{", ".join(missing[:5])}; fetch the files of "{row["id"]}" again'
        )
    return model


def find_base(model):
    """The model without its language head.

    Raises:
        ValueError: there is none.
    """
    for name in ("model", model.base_model_prefix):
        if name and isinstance(base := getattr(model, name, None), torch.nn.Module):
            return base
    raise ValueError(f"{type(model).__name__} has no part without the language head; it cannot be read by this loader")


def find_whole_view(prepare):
    """Which of an image's views is the whole image: 0 for the first, -1 for the last.

    Found by what the views show: only the whole shows both ends of a long image that is red at the left end, blue at
    the right and green between.

    Raises:
        ValueError: it is neither the first nor the last.
    """
    image = Image.new("RGB", (1600, 400), (0, 255, 0))
    image.paste((255, 0, 0), (0, 0, 200, 400))
    image.paste((0, 0, 255), (1400, 0, 1600, 400))
    inputs = prepare(image)
    pixels = next(values for name, values in inputs.items() if name.startswith("pixel_values"))
    pixels = pixels.reshape(-1, *pixels.shape[-3:])
    redness = (pixels[:, 0] - pixels[:, 2]).flatten(1)
    view = int(torch.minimum(redness.amax(dim=1), -redness.amin(dim=1)).argmax())
    if view not in (0, len(pixels) - 1):
        raise ValueError(f"{type(prepare.processor).__name__} puts the whole image among its crops, as view {view}")
    return -1 if view else 0


@dataclass
class VisionTokens:
    """From a batch and the stream of a vision tower to its TokenMap.

    Attributes:
        name: of the model's class, for messages.
        part: the tower.
        paper: a tower without a class token gives the last token of its stream instead.
        whole: of :func:`find_whole_view`.
    """

    name: str
    part: torch.nn.Module
    paper: bool
    whole: int = 0
    made: tuple = field(default=(None, None, None), init=False)

    def __post_init__(self):
        path, blocks = find_blocks(self.part, depth_of(self.part.config))
        self.classes, self.registers = count_prefix(self.part, path, width_of(blocks, self.part.config))

    def __call__(self, batch, stream):
        """Tokens of each image.

        Raises:
            ValueError: the stream's layout is not known, or it is not that of this batch.
        """
        of = batch.get(GRID, batch.get("views"))
        # all blocks of a batch have one map: counting patches waits for the device, so it is done once
        key = (stream.shape, stream.device)
        if of is None or self.made[0] is not of or self.made[1] != key:
            self.made = (of, key, self._make(batch, stream))
        return self.made[2]

    def _make(self, batch, stream):
        config = self.part.config
        if stream.ndim == 2 and GRID in batch and hasattr(config, "spatial_merge_size"):
            return self._map_packed(batch[GRID], stream)
        if stream.ndim == 3 and "views" in batch and GRID not in batch and hasattr(config, "patch_size"):
            return self._map_views(batch, stream)
        raise ValueError(
            f"{self.name}: the stream of its vision tower has the shape {tuple(stream.shape)} for inputs named "
            f"{', '.join(batch)}; which token is which image's is not known for this family"
        )

    def _map_packed(self, grids, stream):
        config, triples = self.part.config, grids.tolist()
        if (tokens := sum(a * b * c for a, b, c in triples)) != len(stream):
            raise ValueError(f"{self.name}: {len(stream)} tokens in the stream of the vision tower, {tokens} patches")
        windows = order_windows(config, grids) if hasattr(config, "fullatt_block_indexes") else None
        return map_packed(triples, config.spatial_merge_size, windows, last=self.paper).to(stream.device)

    def _map_views(self, batch, stream):
        rows, length, _ = stream.shape
        height, width = next(values for name, values in batch.items() if name.startswith("pixel_values")).shape[-2:]
        size = self.part.config.patch_size
        down, across = (size, size) if isinstance(size, int) else size
        patches, prefix = (height // down) * (width // across), self.classes + self.registers
        if length != prefix + patches or self.classes > 1:
            raise ValueError(
                f"{self.name}: {length} tokens a view in the stream of the vision tower, but {self.classes} class "
                f"tokens, {self.registers} registers and {patches} patches; its layout is not known"
            )
        summary = 0 if self.classes else length - 1 if self.paper else None
        views = batch["views"].to(stream.device)
        # an image has at least one view: as many rows as images are one each, without asking the device
        if rows == len(views):
            return TokenMap(own=slice(prefix, None), summary=summary)
        if (tokens := int(views.sum())) != rows:
            raise ValueError(f"{self.name}: {rows} rows in the stream of the vision tower, {tokens} views of images")
        return map_views(views, length, prefix, summary, self.whole if self.classes else -1)


def order_windows(config, grids):
    """For each merged square of patches in the stream of a tower with attention windows, its number in packed order."""
    return get_vision_window_index(
        grids,
        spatial_merge_size=config.spatial_merge_size,
        window_size=config.window_size,
        patch_size=config.patch_size,
    )[0]


def width_of(blocks, config):
    """Width of the residual stream: that of the norm that a block begins with."""
    for child in blocks[0].children():
        weight = getattr(child, "weight", None)
        if "norm" in type(child).__name__.lower() and weight is not None:
            return weight.shape[-1]
    return config.hidden_size


def make_tower(model, config, poolings, tokens, note):
    """The Tower of that part of a model which was made from a part of its configuration."""
    name, part = find_part(model, config)
    path, blocks = find_blocks(part, depth_of(config))
    return Tower(blocks, f"{name}.{path}" if name else path, width_of(blocks, config), poolings, tokens, note)


def vision_tower(model, prepare, probe, paper):
    """The vision tower, told apart by the inputs that the model's processor makes.

    Args:
        model: the whole.
        prepare: its Preparer.
        probe: what it makes of some image.
        paper: as under protocol paper.
    """
    _, part = find_part(model, model.config.vision_config)
    packed = GRID in probe
    tokens = VisionTokens(type(model).__name__, part, paper, 0 if packed else find_whole_view(prepare))
    if packed:
        note = "patches of each image in raster order"
        if hasattr(part.config, "fullatt_block_indexes"):
            note += ", put back from the order of attention windows"
    else:
        which = "last" if tokens.whole else "first"
        note = (
            "patches of an image in raster order, those of several views (crops, and the whole image) one after the "
            f"other and pooled together; the whole image is the {which} view"
        )
    if tokens.classes:
        note += "; the class token is that of the whole image and is not among the patches"
    elif paper:
        note += "; no class token: cls is the last token of each image as it lies in the stream"
    poolings = ("mean", "maxmin", "mean-all", "maxmin-all")
    poolings = ("cls", *poolings) if tokens.classes or paper else poolings
    return make_tower(model, model.config.vision_config, poolings, tokens, note)


def text_tower(model, base):
    """The decoder."""
    image_token = model.config.image_token_id

    def tokens(batch, stream):
        return map_text(batch, stream, image_token)

    note = (
        "left-padded sequence; last: the last token, of the generation prompt where there is one; mean and maxmin: "
        "over the tokens that hold the image's place, -all: over the whole sequence, template and prompt included"
    )
    if hasattr(base, "image_newline"):
        note += "; a token at the end of each row of patches is among those that hold the image's place"
    if hasattr(model.config.vision_config, "deepstack_visual_indexes"):
        note += "; the stream of the first blocks is read before the features of vision blocks are added to it"
    poolings = ("last", "mean", "maxmin", "mean-all", "maxmin-all")
    return make_tower(model, model.config.get_text_config(decoder=True), poolings, tokens, note)


@dataclass
class Forward:
    """One pass through both towers, without the language head and without a cache.

    Attributes:
        base: the model without its language head.
        accepted: names of what its forward takes; all else in a batch is for us.
        positions: count each sequence's positions from its first token that is not padding; False where the model
            counts for itself, in the two dimensions of the image.
    """

    base: torch.nn.Module
    accepted: frozenset
    positions: bool

    def __call__(self, batch):
        inputs = {name: values for name, values in batch.items() if name in self.accepted}
        if self.positions:
            inputs["position_ids"] = (batch["attention_mask"].cumsum(dim=1) - 1).clamp(min=0)
        self.base(**inputs, use_cache=False, return_dict=True)


@dataclass
class Generator:
    """Text from a model by its own greedy decoding.

    What its checkpoint says of sampling, penalties and caches is dropped; which tokens end a text is kept.

    Attributes:
        module: the model with its language head.
        tokenizer: of transformers.
        accepted: names of what the model's forward takes; all else in a batch is for us.
        pad_token: id of the token that fills a row after its end.
    """

    module: torch.nn.Module
    tokenizer: object
    accepted: frozenset
    pad_token: int

    def __post_init__(self):
        ends = self.module.generation_config.eos_token_id
        ends = self.tokenizer.eos_token_id if ends is None else ends
        self.ends = sorted({ends} if isinstance(ends, int) else {*(ends or ())})
        # a value that is not given to a call is taken from here
        self.module.generation_config = self._options()

    def _options(self, **options):
        return GenerationConfig(
            do_sample=False, num_beams=1, pad_token_id=self.pad_token, eos_token_id=self.ends or None, **options
        )

    def __call__(self, batch, steps):
        """Token ids, shape (n, steps), of a batch on the device; a row is filled up after its end."""
        inputs = {name: values for name, values in batch.items() if name in self.accepted}
        made = self.module.generate(**inputs, generation_config=self._options(max_new_tokens=steps))
        made = made[:, batch["input_ids"].shape[1] :]
        return torch.nn.functional.pad(made, (0, steps - made.shape[1]), value=self.pad_token)

    def lengths(self, tokens):
        """Number of tokens of each row up to its end, that token included, shape (n,)."""
        ended = torch.isin(tokens, torch.tensor(self.ends, dtype=tokens.dtype, device=tokens.device))
        return torch.where(ended.any(dim=1), ended.int().argmax(dim=1) + 1, tokens.shape[1])

    def decode(self, tokens):
        """Text of each row up to its end, without special tokens and white space around it."""
        rows = [row[:length] for row, length in zip(tokens.tolist(), self.lengths(tokens).tolist(), strict=True)]
        return [self.tokenizer.decode(row, skip_special_tokens=True).strip() for row in rows]


def make_generator(model, tokenizer, pad_token):
    """A Generator; None for a model that does not write."""
    if not model.can_generate():
        return None
    accepted = frozenset(inspect.signature(type(model).forward).parameters)
    return Generator(model, tokenizer, accepted, pad_token)


def load(row, folder, prompt=None, protocol="sound", placement=None):
    """Load an image-text model from a folder in the hub's layout.

    Args:
        row: of the registry.
        folder: weights, configuration and processor.
        prompt: options of :func:`geoprobe.models.prompts.make_prompt`, or None for the image alone.
        protocol: sound; or paper, by which Gemma gets its prompt without a template, Qwen2.5-VL images whose sides are
            bounded one by one, and vision towers without a class token give their last token for it.
        placement: keywords of from_pretrained (device_map, max_memory, offload_folder) for a model that does not fit
            on one device.

    Returns:
        A LoadedModel with the towers vision and text.

    Raises:
        ValueError: weights are missing, or which token is which image's is not known for this family.
    """
    model = load_weights(row, folder, placement)
    base = find_base(model)
    for name in ("vision_config", "image_token_id"):
        if getattr(model.config, name, None) is None:
            raise ValueError(f"{folder}: {type(model.config).__name__} has no {name}; its towers cannot be told apart")
    processor = AutoProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    accepted = frozenset(inspect.signature(type(base).forward).parameters)
    paper, family = protocol == "paper", model.config.model_type
    sides = PAPER_SIDES if paper and family == "qwen2_5_vl" else None
    prepare, made = make_preparer(
        processor,
        accepted,
        make_prompt(prompt, processor.tokenizer),
        template=not (paper and family == "gemma3"),
        sides=sides,
    )
    probe = prepare(Image.new("RGB", (64, 64)))
    if GRID not in probe and "views" not in probe:
        raise ValueError(
            f"{type(model).__name__}: its processor gives {', '.join(probe)}; which token of its vision tower is which "
            "image's is not known for this family"
        )
    tokenizer = processor.tokenizer
    pad_token = next(token for token in (tokenizer.pad_token_id, tokenizer.eos_token_id, 0) if token is not None)
    return LoadedModel(
        module=model,
        prepare=prepare,
        collate=Collator(pad_token),
        cost=make_cost(processor, sides),
        forward=Forward(base, accepted, positions=not hasattr(base, "get_rope_index")),
        towers={"vision": vision_tower(model, prepare, probe, paper), "text": text_tower(model, base)},
        attributes={
            "class": f"{type(model).__module__}.{type(model).__name__}",
            "preprocessing": describe_images(processor, sides),
            "prompt_text": prepare.text,
            "prompt_format": made,
        },
        digest=digest_model(row, folder, "transformers"),
        placed=placement is not None,
        generate=make_generator(model, tokenizer, pad_token),
    )
