"""What image-text models of transformers are fed: one image and a prompt as the model's own processor has them."""

import json
from dataclasses import dataclass, field

import torch

# Sides of an image under protocol paper for Qwen: each by itself, so that the aspect ratio is not kept.
PAPER_SIDES = (28, 800)


def bound_sides(size, sides):
    """Width and height in pixels, each brought into the bounds by itself."""
    low, high = sides
    return tuple(min(max(side, low), high) for side in size)


def render_prompt(processor, prompt, template=True):
    """The text that goes with an image, the image's place in it.

    Args:
        processor: of transformers.
        prompt: text, or None for the image alone.
        template: through the model's own chat template, with the beginning of an answer; where the model has none or
            template is False, the image's token, a space and the prompt.

    Returns:
        The text, and how it was made, in words.

    Raises:
        ValueError: the model's template has no place for an image.
    """
    own = getattr(processor, "chat_template", None) or getattr(processor.tokenizer, "chat_template", None)
    if not (template and own):
        words = "image token and prompt without a chat template" + (
            ", which the model does not have" if template else ""
        )
        return " ".join([processor.image_token, *([] if prompt is None else [prompt])]), words
    content = [{"type": "image"}, *([] if prompt is None else [{"type": "text", "text": prompt}])]
    # a template that only the tokenizer has is not found by the processor
    given = {} if getattr(processor, "chat_template", None) else {"chat_template": own}
    text = processor.apply_chat_template(
        [{"role": "user", "content": content}], add_generation_prompt=True, tokenize=False, **given
    )
    if text.count(processor.image_token) != 1:
        raise ValueError(
            f"the chat template of {type(processor).__name__} renders an image as {text!r}, in which "
            f"{processor.image_token} does not stand once; the checkpoint needs the template of an image-text model"
        )
    return text, "the model's own chat template, with the generation prompt"


def is_pixels(name):
    """Whether an input of this name holds pixels."""
    return name.startswith("pixel_values")


def count_views(inputs):
    """Number of views (crops, and the whole) that the inputs of one image hold; None where patches are packed."""
    for name, values in inputs.items():
        if is_pixels(name) and values.ndim >= 4:
            return values.shape[:-3].numel()
    return None


@dataclass
class Preparer:
    """From an image and its id to the model's input for that image alone; can be pickled.

    Attributes:
        processor: of transformers.
        text: what goes with each image.
        options: of the call of the processor.
        sides: bounds of the image's sides in pixels, each brought into them by itself; None for the image as it is.
    """

    processor: object
    text: str
    options: dict = field(default_factory=dict)
    sides: tuple | None = None

    def __call__(self, image, _image_id=None):
        """Tensors by name, each with a first axis of 1 (or of crops or patches); `views` counts the image's views."""
        if self.sides is not None and (size := bound_sides(image.size, self.sides)) != image.size:
            image = image.resize(size)
        inputs = dict(self.processor(images=image, text=self.text, return_tensors="pt", **self.options))
        inputs.setdefault("attention_mask", torch.ones_like(inputs["input_ids"]))
        if (views := count_views(inputs)) is not None:
            inputs["views"] = torch.tensor([views])
        return {name: values for name, values in inputs.items() if isinstance(values, torch.Tensor)}


def make_preparer(processor, accepted, prompt, template=True, sides=None):
    """A Preparer, and how the prompt was made, in words.

    Args:
        processor: of transformers.
        accepted: names of what the model's forward takes.
        prompt, template: of :func:`render_prompt`.
        sides: of the Preparer.
    """
    text, words = render_prompt(processor, prompt, template)
    options = {}
    start = processor.tokenizer.bos_token
    if start and text.startswith(start):
        # the template has written it already; the tokenizer would write it again
        options["add_special_tokens"] = False
    if "mm_token_type_ids" in accepted:
        # older processors return them when asked; without them positions in the image are not counted in two dimensions
        options["return_mm_token_type_ids"] = True
    return Preparer(processor, text, options, sides), words


def is_sequence(name, inputs):
    """Whether an input has an item for each token of the sequence."""
    values, tokens = inputs[name], inputs["input_ids"]
    return values.shape == tokens.shape and not is_pixels(name) and not name.startswith("image")


def pad_left(values, length, fill):
    """One image's sequence, shape (1, L), with `fill` before it up to a length."""
    return torch.nn.functional.pad(values, (length - values.shape[1], 0), value=fill)


def pad_crops(values, number):
    """One image's crops, shape (1, crops, ...), with zeros after them up to a number."""
    return torch.cat([values, values.new_zeros(1, number - values.shape[1], *values.shape[2:])], dim=1)


@dataclass
class Collator:
    """From what a Preparer gives for several images to a batch; can be pickled.

    Sequences are padded on the left, so that each ends at the same place; padding is masked. All else is put one after
    the other along the first axis, crops (axes: image, crop, colour, row, column) filled up with empty ones first.

    Attributes:
        pad_token: id of the token that fills sequences.
    """

    pad_token: int

    def __call__(self, inputs):
        """A dict of tensors.

        Raises:
            ValueError: images of unlike shape cannot be put into one batch.
        """
        batch = {}
        for name in inputs[0]:
            parts = [one[name] for one in inputs]
            if is_sequence(name, inputs[0]):
                length = max(part.shape[1] for part in parts)
                fill = self.pad_token if name == "input_ids" else 0
                parts = [pad_left(part, length, fill) for part in parts]
            elif parts[0].ndim == 5:
                number = max(part.shape[1] for part in parts)
                parts = [pad_crops(part, number) for part in parts]
            shapes = {tuple(part.shape[1:]) for part in parts}
            if len(shapes) > 1:
                raise ValueError(
                    f"{name} of images in one batch have the unlike shapes {', '.join(map(str, sorted(shapes)))}; "
                    "this model's images can only be read one at a time: set features: batch_size: 1"
                )
            batch[name] = torch.cat(parts)
        return batch


# Sizes in pixels (width, height): some of them a processor treats unlike others, unless it makes all images one size.
UNLIKE_SIZES = [
    (scale * across, scale * down)
    for scale in (32, 200, 1000)
    for across, down in ((1, 1), (4, 3), (3, 2), (16, 9), (2, 1), (3, 1), (2, 3), (1, 2))
]


@dataclass
class TokenCount:
    """From an image's width and height in pixels to the number of tokens that hold its place in the decoder."""

    processor: object
    sides: tuple | None = None

    def __call__(self, width, height):
        if self.sides is not None:
            width, height = bound_sides((width, height), self.sides)
        # transformers names this with an underscore; servers of models count tokens with it before they read an image
        counts = self.processor._get_num_multimodal_tokens(image_sizes=[(height, width)])
        return int(counts["num_image_tokens"][0])


def make_cost(processor, sides=None):
    """A TokenCount; None where every image takes the same number of tokens, or the processor does not tell."""
    if not hasattr(processor, "_get_num_multimodal_tokens"):
        return None
    cost = TokenCount(processor, sides)
    return cost if len({cost(*size) for size in UNLIKE_SIZES}) > 1 else None


def describe_images(processor, sides=None):
    """How a processor makes its input from an image, in words that suffice to repeat it."""
    images = processor.image_processor
    backend = getattr(images, "backend", None) or "unnamed"
    options = {name: value for name, value in sorted(images.to_dict().items()) if value is not None}
    first = f"each side brought into {sides[0]} to {sides[1]} pixels by itself (PIL, bicubic); " if sides else ""
    return f"{first}{type(images).__name__}, backend {backend}: {json.dumps(options, default=str)}"
