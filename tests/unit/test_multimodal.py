"""Image-text models of each family, tiny and random, against passes through the library's own interface."""

import contextlib
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from tiny_multimodal import FAMILIES, LLAMA, make_row, mistral3, save_model
from transformers import FuyuConfig, FuyuForCausalLM, Qwen2VLImageProcessor

from geoprobe.models.image_text import Collator
from geoprobe.models.loading import load_model
from geoprobe.models.pooling import gather_tokens, pool_tokens
from geoprobe.models.token_maps import raster_order
from geoprobe.models.towers import reading_blocks

# one of InternVL's processor's own, in transformers before 5.24
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]

QUESTION = "Where on Earth was this photograph taken?"
CHATML = f"<|im_start|>user\n{{}}{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
# What is sent with an image, as the families' templates say it.
TEXTS = {
    "llava": f"USER: <image>\n{QUESTION} ASSISTANT:",
    "llava_onevision": CHATML.format("<image>"),
    "qwen2_5_vl": CHATML.format("<|vision_start|><|image_pad|><|vision_end|>"),
    "qwen3_vl": CHATML.format("<|vision_start|><|image_pad|><|vision_end|>"),
    "gemma3": f"<bos><start_of_turn>user\n<start_of_image>{QUESTION}<end_of_turn>\n<start_of_turn>model\n",
    "gemma3_pt": f"<start_of_image> {QUESTION}",
    "internvl": CHATML.format("<IMG_CONTEXT>\n"),
}
IMAGE_TOKENS = {
    "llava": "<image>",
    "llava_onevision": "<image>",
    "qwen2_5_vl": "<|image_pad|>",
    "qwen3_vl": "<|image_pad|>",
    "gemma3": "<image_soft_token>",
    "gemma3_pt": "<image_soft_token>",
    "internvl": "<IMG_CONTEXT>",
}
PACKED = {"qwen2_5_vl": 14, "qwen3_vl": 16}  # and the side of their patches in pixels
CLASS_TOKEN_OF_VIEW = {"llava": 0, "internvl": -1}
PREFIX = {"llava": 1, "internvl": 1}
SIZES = ((200, 120), (100, 100), (90, 230), (330, 100), (64, 64))


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(3)
    return [Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8)) for width, height in SIZES]


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """From a family to its folder, and the model and the processor that were saved there."""
    made = {}

    def save(family, depths=(3, 2)):
        if (family, depths) not in made:
            folder = tmp_path_factory.mktemp(family)
            made[family, depths] = (folder, *save_model(family, folder, depths))
        return made[family, depths]

    return save


def load(folder, dtype="float32", prompt=QUESTION, **options):
    return load_model(make_row(folder, dtype), folder, prompt and {"text": prompt}, **options)


@pytest.fixture(scope="module")
def loaded(saved):
    made = {}

    def get(family):
        if family not in made:
            made[family] = load(saved(family)[0])
        return made[family]

    return get


def read_streams(model, batch):
    """Tower and layer to the raw stream and its TokenMap, from one pass."""
    found = {}

    def reader(tower):
        def read(layer, stream):
            found[tower, layer] = (stream, model.towers[tower].tokens(batch, stream))

        return read

    with torch.no_grad(), contextlib.ExitStack() as stack:
        for name, tower in model.towers.items():
            stack.enter_context(reading_blocks(tower.blocks, range(len(tower.blocks)), reader(name)))
        model.forward(batch)
    return found


def extract(model, images):
    """Tower, layer and pooling to an array of a row an image, all images in one batch."""
    batch = model.collate([model.prepare(image, "an id") for image in images])
    return {
        (tower, layer, pooling): pool_tokens(gather_tokens(stream, tokens), tokens, pooling)
        for (tower, layer), (stream, tokens) in read_streams(model, batch).items()
        for pooling in model.towers[tower].poolings
    }


def own_inputs(family, processor, image):
    """A single image's input as the library itself makes it."""
    if family == "gemma3_pt":
        return processor(images=image, text=TEXTS[family], return_tensors="pt")
    content = [{"type": "image", "image": image}, {"type": "text", "text": QUESTION}]
    return processor.apply_chat_template(
        [{"role": "user", "content": content}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )


def find_places(model, grid, patch):
    """For each patch in raster order its row in the stream of a tower that packs patches, found by what it shows.

    An image is put in whose every patch has a grey of its own; what the tower's first block is given, positions left
    out, is compared with the embeddings of patches of one grey.
    """
    _, rows, columns = grid
    tower = model.model.visual
    greys = torch.linspace(-1, 1, rows * columns)
    flat = tower.patch_embed.proj.weight.shape[1:].numel()
    order = raster_oracle(rows, columns)
    seen = {}
    positions = getattr(tower, "pos_embed", None)
    kept = positions.weight.clone() if positions is not None else None

    def look(_module, arguments, options):
        seen["stream"] = arguments[0] if arguments else options["hidden_states"]

    handle = tower.blocks[0].register_forward_pre_hook(look, with_kwargs=True)
    try:
        if positions is not None:
            positions.weight.data.zero_()
        with torch.no_grad():
            tower(greys[order][:, None].expand(-1, flat).contiguous(), grid_thw=torch.tensor([grid]))
            wanted = tower.patch_embed(greys[:, None].expand(-1, flat).contiguous())
    finally:
        handle.remove()
        if positions is not None:
            positions.weight.data.copy_(kept)
    return torch.cdist(wanted.double(), seen["stream"].double()).argmin(dim=1)


def raster_oracle(rows, columns):
    """Raster numbers of patches in the order in which Qwen's image processor packs them, from an image of its own."""
    greys = np.arange(rows * columns, dtype=np.uint8).reshape(rows, columns)
    picture = Image.fromarray(np.repeat(np.repeat(greys, 14, axis=0), 14, axis=1)).convert("RGB")
    processor = Qwen2VLImageProcessor(
        patch_size=14,
        size={"shortest_edge": 784, "longest_edge": 10**6},
        image_mean=[0, 0, 0],
        image_std=[1, 1, 1],
    )
    made = processor(images=picture, return_tensors="pt")
    assert made["image_grid_thw"].tolist() == [[1, rows, columns]]
    return (made["pixel_values"].mean(dim=1) * 255).round().long()


def own_streams(family, model, processor, image):
    """What the library itself gives for one image.

    Returns:
        Tower and layer to a stream: of the decoder (L, width), of the vision tower (views, T, width), packed patches in
        raster order as (1, T, width); and the inputs.
    """
    inputs = own_inputs(family, processor, image)
    with torch.no_grad():
        text = model(**{k: v for k, v in inputs.items() if k != "batch_num_images"}, output_hidden_states=True)
        if family in PACKED:
            pixels, grid = inputs["pixel_values"], inputs["image_grid_thw"]
            seen = model.model.visual(pixels, grid_thw=grid, output_hidden_states=True, return_dict=True).hidden_states
            places = find_places(model, grid[0].tolist(), PACKED[family])
            vision = [stream[places][None] for stream in seen]
        else:
            pixels = inputs["pixel_values"].flatten(0, -4)
            vision = model.model.vision_tower(pixels, output_hidden_states=True, return_dict=True).hidden_states
    streams = {("text", layer): stream[0] for layer, stream in enumerate(text.hidden_states[1:])}
    streams.update({("vision", layer): stream for layer, stream in enumerate(vision[1:])})
    return streams, inputs


def pool_by_hand(family, model, streams, inputs, token):
    """Tower, layer and pooling to a vector, from the streams of a single image."""
    pooled = {}
    last = len(model.model.language_model.layers) - 1
    for (tower, layer), stream in streams.items():
        if (tower, layer) == ("text", last):
            continue  # the library gives it after the final norm
        if tower == "text":
            whole, own = stream, stream[inputs["input_ids"][0] == token]
            pooled[tower, layer, "last"] = stream[-1]
        else:
            whole, own = stream.flatten(0, 1), stream[:, PREFIX.get(family, 0) :].flatten(0, 1)
            if family in CLASS_TOKEN_OF_VIEW:
                pooled[tower, layer, "cls"] = stream[CLASS_TOKEN_OF_VIEW[family], 0]
        for suffix, values in (("", own), ("-all", whole)):
            pooled[tower, layer, f"mean{suffix}"] = values.mean(dim=0)
            pooled[tower, layer, f"maxmin{suffix}"] = torch.cat([values.amax(dim=0), values.amin(dim=0)])
    return pooled


each_family = pytest.mark.parametrize("family", FAMILIES)


@each_family
def test_pooled_features_of_a_mixed_batch_equal_those_by_hand_from_the_librarys_own_single_passes(
    family, saved, loaded, images
):
    _, model, processor = saved(family)
    token = processor.tokenizer.convert_tokens_to_ids(IMAGE_TOKENS[family])
    batched = extract(loaded(family), images)
    seen = set()
    for number, image in enumerate(images):
        streams, inputs = own_streams(family, model, processor, image)
        for key, wanted in pool_by_hand(family, model, streams, inputs, token).items():
            torch.testing.assert_close(
                batched[key][number], wanted, rtol=1e-4, atol=1e-5, msg=lambda m, k=key: f"{k} {m}"
            )
            seen.add(key)
    last = max(layer for tower, layer, _ in batched if tower == "text")
    assert seen == {key for key in batched if key[:2] != ("text", last)}


@each_family
def test_the_last_block_of_the_decoder_is_read_before_the_final_norm(family, saved, loaded, images):
    _, model, processor = saved(family)
    reader = loaded(family)
    last = len(reader.towers["text"].blocks) - 1
    stream, _ = read_streams(reader, reader.collate([reader.prepare(images[0], "")]))["text", last]
    wanted = own_streams(family, model, processor, images[0])[0]["text", last]
    with torch.no_grad():
        torch.testing.assert_close(model.model.language_model.norm(stream)[0], wanted, rtol=1e-4, atol=1e-5)
    assert (stream[0] - wanted).abs().max() > 0.1


@each_family
def test_tokens_of_the_vision_tower_equal_those_of_the_tower_run_alone_in_raster_order(family, saved, loaded, images):
    _, model, processor = saved(family)
    reader = loaded(family)
    found = read_streams(reader, reader.collate([reader.prepare(image, "") for image in images]))
    for number, image in enumerate(images):
        streams, _ = own_streams(family, model, processor, image)
        for layer in range(len(reader.towers["vision"].blocks)):
            stream, tokens = found["vision", layer]
            gathered = gather_tokens(stream, tokens)[number]
            gathered = gathered if tokens.mask is None else gathered[tokens.mask[number]]
            torch.testing.assert_close(gathered, streams["vision", layer].flatten(0, 1), rtol=1e-4, atol=1e-5)


@each_family
def test_a_batch_of_unlike_images_gives_what_each_gives_alone(family, loaded, images):
    model = loaded(family)
    batched = extract(model, images)
    for number, image in enumerate(images):
        for key, wanted in extract(model, [image]).items():
            torch.testing.assert_close(batched[key][number : number + 1], wanted, rtol=1e-4, atol=1e-5)


@each_family
def test_shuffling_a_batch_shuffles_the_rows(family, loaded, images):
    model = loaded(family)
    order = [3, 0, 4, 2, 1]
    straight, shuffled = extract(model, images), extract(model, [images[place] for place in order])
    for key, rows in straight.items():
        torch.testing.assert_close(shuffled[key], rows[order], rtol=1e-4, atol=1e-5)
        assert torch.pdist(rows).min() > 1e-3, f"{key}: unlike images have like features, which shows nothing"


@each_family
def test_a_batch_has_another_number_of_images_than_of_tokens_blocks_and_channels(family, loaded, images):
    model = loaded(family)
    batch = model.collate([model.prepare(image, "") for image in images])
    count = len(images)
    assert batch["input_ids"].shape[0] == count
    assert batch["input_ids"].shape[1] != count
    for (tower, _), (stream, _) in read_streams(model, batch).items():
        assert count not in (stream.shape[-2], stream.shape[-1], len(model.towers[tower].blocks))
        assert stream.shape[-1] == model.towers[tower].width
    for rows in extract(model, images).values():
        assert len(rows) == count


@each_family
@pytest.mark.parametrize("depths", [(3, 2), (2, 2), (2, 3)])
def test_towers_are_told_apart_whatever_their_depths(family, depths, saved):
    folder, model, _ = saved(family, depths)
    towers = load(folder).towers
    assert list(towers) == ["vision", "text"]
    assert tuple(len(tower.blocks) for tower in towers.values()) == depths
    assert towers["vision"].width == 32
    assert towers["text"].width == 48
    for tower in towers.values():
        assert type(model.get_submodule(tower.path)[0]) is type(tower.blocks[0])
    assert towers["vision"].path != towers["text"].path


@each_family
def test_the_input_of_an_image_is_what_the_library_makes_of_it(family, saved, loaded, images):
    _, _, processor = saved(family)
    for image in images:
        wanted = own_inputs(family, processor, image)
        made = loaded(family).prepare(image, "an id")
        assert set(made) - {"views"} == set(wanted)
        for name, values in wanted.items():
            torch.testing.assert_close(made[name], torch.as_tensor(values), rtol=0, atol=0)


@each_family
def test_the_prompt_is_sent_through_the_models_own_template_and_recorded(family, loaded):
    attributes = loaded(family).attributes
    assert attributes["prompt_text"] == TEXTS[family]
    assert ("without a chat template" in attributes["prompt_format"]) == (family == "gemma3_pt")


@pytest.mark.parametrize(("family", "begin"), [("llava", "<s>"), ("gemma3", "<bos>"), ("gemma3_pt", "<bos>")])
@pytest.mark.parametrize("protocol", ["sound", "paper"])
def test_a_sequence_begins_with_one_beginning_token(family, begin, protocol, saved, images):
    folder, _, processor = saved(family)
    tokens = load(folder, protocol=protocol).prepare(images[0], "")["input_ids"][0].tolist()
    number = processor.tokenizer.convert_tokens_to_ids(begin)
    assert tokens[0] == number
    assert tokens.count(number) == 1


@each_family
def test_without_a_prompt_the_text_is_left_out(family, saved, images):
    folder, _, processor = saved(family)
    model = load(folder, prompt=None)
    alone = TEXTS[family].replace(f" {QUESTION}" if family == "gemma3_pt" else QUESTION, "")
    alone = alone.replace("\n ASSISTANT", "\nASSISTANT")
    assert model.attributes["prompt_text"] == alone
    tokens = model.prepare(images[0], "")["input_ids"][0].tolist()
    assert processor.tokenizer.convert_tokens_to_ids(IMAGE_TOKENS[family]) in tokens
    assert all(torch.isfinite(rows).all() for rows in extract(model, images[:2]).values())


def test_random_tokens_reach_the_sequence_unchanged(saved, images):
    folder, _, processor = saved("qwen2_5_vl")
    model = load_model(make_row(folder), folder, {"random_tokens": 20, "seed": 1})
    text = model.attributes["prompt_text"].split("<|vision_end|>")[1].split("<|im_end|>")[0]
    drawn = processor.tokenizer.encode(text, add_special_tokens=False)
    assert len(drawn) == 20
    tokens = model.prepare(images[0], "")["input_ids"][0].tolist()
    start = tokens.index(processor.tokenizer.convert_tokens_to_ids("<|vision_end|>")) + 1
    assert tokens[start : start + 20] == drawn


@each_family
def test_weights_are_held_in_the_rows_dtype_and_features_stay_near(family, saved, loaded, images):
    model = load(saved(family)[0], dtype="bfloat16")
    assert {parameter.dtype for parameter in model.module.parameters()} == {torch.bfloat16}
    exact = extract(loaded(family), images)
    for key, rows in extract(model, images).items():
        assert rows.dtype == torch.float32
        scale = exact[key].abs().max()
        # eight bits of mantissa, through a few layers
        assert (rows - exact[key]).abs().max() < 0.1 * scale, key


@each_family
def test_what_workers_need_can_be_pickled(family, loaded, images):
    model = loaded(family)
    prepare, collate = pickle.loads(pickle.dumps((model.prepare, model.collate)))
    wanted = model.collate([model.prepare(image, "") for image in images])
    made = collate([prepare(image, "") for image in images])
    assert set(made) == set(wanted)
    for name, values in wanted.items():
        torch.testing.assert_close(made[name], values, rtol=0, atol=0)


# accelerate's, of LLaVA-OneVision's parameter that lies in no module of its own
@pytest.mark.filterwarnings("ignore:The following device_map keys do not match any submodules:UserWarning")
@each_family
def test_a_model_spread_over_memory_and_disk_gives_the_same(family, saved, loaded, images, tmp_path):
    folder, _, _ = saved(family)
    placement = {"device_map": "auto", "max_memory": {"cpu": "150KB"}, "offload_folder": str(tmp_path)}
    model = load(folder, placement=placement)
    assert model.placed
    assert not loaded(family).placed
    places = set(model.module.hf_device_map.values())
    assert "disk" in places
    assert any(parameter.is_meta for parameter in model.module.parameters())
    for key, rows in extract(model, images[:3]).items():
        torch.testing.assert_close(rows, extract(loaded(family), images[:3])[key], rtol=1e-5, atol=1e-6)


@each_family
def test_the_cost_of_an_image_is_the_number_of_its_tokens_in_the_decoder(family, saved, loaded, images):
    model = loaded(family)
    token = saved(family)[2].tokenizer.convert_tokens_to_ids(IMAGE_TOKENS[family])
    counts = [int((model.prepare(image, "")["input_ids"] == token).sum()) for image in images]
    if family in ("llava", "gemma3", "gemma3_pt"):
        assert model.cost is None
        assert len(set(counts)) == 1
    else:
        assert len(set(counts)) > 1
        # InternVL counts the tokens before and after the image too
        around = 2 if family == "internvl" else 0
        assert [model.cost(*image.size) - around for image in images] == counts


@each_family
def test_sequences_are_padded_on_the_left_with_what_is_masked(family, saved, loaded, images):
    model = loaded(family)
    inputs = [model.prepare(image, "") for image in images]
    batch = model.collate(inputs)
    pad = saved(family)[2].tokenizer.pad_token_id
    length = batch["input_ids"].shape[1]
    assert length == max(one["input_ids"].shape[1] for one in inputs)
    for row, one in enumerate(inputs):
        size = one["input_ids"].shape[1]
        for name in [name for name in one if one[name].shape == one["input_ids"].shape]:
            fill = pad if name == "input_ids" else 0
            assert batch[name][row, : length - size].eq(fill).all()
            assert batch[name][row, length - size :].equal(one[name][0])


def test_images_whose_shapes_cannot_be_joined_are_an_error():
    one, two = ({"input_ids": torch.ones(1, 4).long(), "pixel_values": torch.zeros(1, 3, 8, side)} for side in (8, 16))
    with pytest.raises(ValueError, match=r"pixel_values .* unlike shapes \(3, 8, 8\), \(3, 8, 16\).*batch_size: 1"):
        Collator(0)([one, two])


def test_missing_weights_are_named(saved, tmp_path):
    _, model, processor = saved("llava")
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    gone = [name for name in weights if name.endswith("layers.1.mlp.up_proj.weight")]
    save_file(
        {name: weights[name] for name in weights if name not in gone}, tmp_path / "model.safetensors", {"format": "pt"}
    )
    assert len(gone) == 1
    with pytest.raises(
        ValueError, match=r"1 weights of LlavaForConditionalGeneration .*layers\.1\.mlp\.up_proj\.weight"
    ):
        load(tmp_path)


def test_the_digest_is_that_of_the_weights(saved, loaded, tmp_path):
    save_model("llava", tmp_path, seed=1)
    assert len(loaded("llava").digest) == 64
    assert load(saved("llava")[0], prompt=None).digest == loaded("llava").digest
    assert load(tmp_path).digest != loaded("llava").digest


@pytest.mark.parametrize("family", ["llava", "llava_onevision", "qwen2_5_vl"])
def test_a_stream_that_is_not_that_of_the_batch_is_an_error(family, loaded, images):
    model = loaded(family)
    batch = model.collate([model.prepare(image, "") for image in images])
    stream, _ = read_streams(model, batch)["vision", 0]
    tokens = model.towers["vision"].tokens
    wrong = [stream[None] if family == "qwen2_5_vl" else stream[0], stream[:-1]]
    for other in wrong + ([] if family == "qwen2_5_vl" else [stream[:, :-1]]):
        with pytest.raises(ValueError, match=type(model.module).__name__):
            tokens(batch, other)


def test_a_family_whose_tokens_cannot_be_told_apart_is_an_error(images, tmp_path):
    save_model(mistral3, tmp_path)
    model = load(tmp_path)
    batch = model.collate([model.prepare(image.resize((112, 56)), "") for image in images[:2]])
    with pytest.raises(ValueError, match=r"Mistral3ForConditionalGeneration: .* vision tower"):
        read_streams(model, batch)


def test_a_family_without_a_vision_tower_is_an_error(tmp_path):
    text = {"model_type": "persimmon", "num_hidden_layers": 2, **LLAMA, "num_key_value_heads": 4}
    config = FuyuConfig(text_config=text, image_size=28, patch_size=7, **LLAMA, num_hidden_layers=2)
    FuyuForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"FuyuConfig has no vision_config; its towers cannot be told apart"):
        load(tmp_path)


def test_a_template_without_a_place_for_an_image_is_an_error(saved, tmp_path):
    _, model, processor = saved("gemma3_pt")
    model.save_pretrained(tmp_path)
    processor.tokenizer.chat_template = "{% for message in messages %}{{ message['role'] }}{% endfor %}"
    try:
        processor.save_pretrained(tmp_path)
    finally:
        processor.tokenizer.chat_template = None
    with pytest.raises(ValueError, match=r"chat template of Gemma3Processor .* does not stand once"):
        load(tmp_path)


def test_attributes_say_how_images_are_prepared(loaded):
    attributes = loaded("llava").attributes
    assert attributes["class"].endswith(".LlavaForConditionalGeneration")
    assert "backend torchvision" in attributes["preprocessing"]
    for part in ("image_mean", "image_std", '"crop_size"', "resample"):
        assert part in attributes["preprocessing"]


# Protocol paper


@pytest.mark.parametrize("family", ["llava", "llava_onevision", "qwen3_vl", "internvl", "gemma3_pt"])
def test_the_paper_prompts_other_families_as_is_sound(family, saved, loaded, images):
    paper = load(saved(family)[0], protocol="paper")
    assert paper.attributes["prompt_text"] == TEXTS[family]
    for name, values in loaded(family).prepare(images[0], "").items():
        torch.testing.assert_close(paper.prepare(images[0], "")[name], values, rtol=0, atol=0)


def test_the_paper_prompts_gemma_without_its_template(saved):
    paper = load(saved("gemma3")[0], protocol="paper")
    assert paper.attributes["prompt_text"] == TEXTS["gemma3_pt"]
    assert load(saved("gemma3")[0], protocol="paper", prompt=None).attributes["prompt_text"] == "<start_of_image>"


@pytest.mark.parametrize(
    ("size", "bounded"), [((1000, 20), (800, 28)), ((300, 900), (300, 800)), ((500, 90), (500, 90))]
)
def test_the_paper_bounds_each_side_of_qwens_images_by_itself(size, bounded, saved):
    generator = np.random.default_rng(5)
    image = Image.fromarray(generator.integers(0, 256, (size[1], size[0], 3), np.uint8))
    sound, paper = (load(saved("qwen2_5_vl")[0], protocol=protocol) for protocol in ("sound", "paper"))
    wanted = sound.prepare(image.resize(bounded), "")
    for name, values in paper.prepare(image, "").items():
        torch.testing.assert_close(values, wanted[name], rtol=0, atol=0)
    assert paper.cost(*size) == sound.cost(*bounded)
    assert "28 to 800 pixels by itself" in paper.attributes["preprocessing"]


@pytest.mark.parametrize("family", ["gemma3", "llava_onevision", "qwen2_5_vl", "qwen3_vl"])
def test_the_paper_takes_the_last_token_of_a_vision_tower_without_a_class_token(family, saved, loaded, images):
    folder, model, _ = saved(family)
    assert "cls" not in loaded(family).towers["vision"].poolings
    paper = load(folder, protocol="paper")
    assert "last token" in paper.towers["vision"].note
    features = extract(paper, images)
    for number, image in enumerate(images):
        inputs = paper.prepare(image, "")
        with torch.no_grad():
            if family in PACKED:
                options = {"grid_thw": inputs["image_grid_thw"]}
                raw = model.model.visual(inputs["pixel_values"], output_hidden_states=True, **options)
            else:
                raw = model.model.vision_tower(inputs["pixel_values"].flatten(0, -4), output_hidden_states=True)
        for layer, stream in enumerate(raw.hidden_states[1:]):
            wanted = stream.reshape(-1, stream.shape[-1])[-1]
            torch.testing.assert_close(features["vision", layer, "cls"][number], wanted, rtol=1e-4, atol=1e-5)


def test_attention_windows_permute_the_stream_and_leave_the_bottom_right_patch_last(saved):
    _, model, _ = saved("qwen2_5_vl")
    grid = [1, 6, 10]
    places = find_places(model, grid, 14)
    assert sorted(places.tolist()) == list(range(60))
    assert not places.equal(torch.arange(60))
    assert not places.equal(raster_order(grid, 2))
    assert places[-1] == 59
