"""Vision towers of transformers: tiny models of the real classes, against their own hidden states."""

import json
import pickle
import re

import numpy as np
import pytest
import torch
import transformers
from golden import assert_close, batch_of, check_golden, photos, randomise, read
from safetensors.torch import load_file, save_file

from geoprobe.models.loaders import multimodal
from geoprobe.models.loading import LoadedModel, load_model

ROW = {"model": "m", "loader": "transformers", "id": "org/m", "dtype": "float32", "weights": "safetensors"}
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
VISION = {**SIZES, "image_size": 32, "patch_size": 8}
TEXT = {**SIZES, "vocab_size": 50, "max_position_embeddings": 16, "projection_dim": 16}
SQUARE = {"size": {"height": 32, "width": 32}}
SHORTEST = {"size": {"shortest_edge": 36}, "crop_size": {"height": 32, "width": 32}}


def plain(name, processor, settings, config=None, **more):
    """A vision model saved by itself: class name, configuration, image processor."""
    kind = getattr(transformers, name)
    return kind(kind.config_class(**{**VISION, **(config or {}), **more})), getattr(transformers, processor)(**settings)


def pair(name, processor, settings, text=None, vision=None, **more):
    """A model of a vision and a text tower."""
    kind = getattr(transformers, name)
    config = kind.config_class(
        vision_config={**VISION, **(vision or {})}, text_config={**TEXT, **(text or {})}, projection_dim=16, **more
    )
    return kind(config), getattr(transformers, processor)(**settings)


ROBERTA = {"pad_token_id": 1, "max_position_embeddings": 20, "type_vocab_size": 1, "project_dim": 16}
# family: how it is made, tokens before the patches, whether the first is a class token
FAMILIES = {
    "ViT": (lambda: plain("ViTModel", "ViTImageProcessorPil", SQUARE), 1, True),
    "ViT saved as a classifier": (lambda: plain("ViTForImageClassification", "ViTImageProcessorPil", SQUARE), 1, True),
    "DeiT": (lambda: plain("DeiTModel", "DeiTImageProcessorPil", {**SHORTEST, "size": SQUARE["size"]}), 2, True),
    "DINOv2": (lambda: plain("Dinov2Model", "BitImageProcessorPil", SHORTEST), 1, True),
    "DINOv2 with registers": (
        lambda: plain("Dinov2WithRegistersModel", "BitImageProcessorPil", SHORTEST, num_register_tokens=3),
        4,
        True,
    ),
    "DINOv3": (
        lambda: plain("DINOv3ViTModel", "DINOv3ViTImageProcessor", SQUARE, num_register_tokens=4),
        5,
        True,
    ),
    "BEiT": (lambda: plain("BeitModel", "BeitImageProcessorPil", {**SHORTEST, "size": SQUARE["size"]}), 1, True),
    "Pixio": (lambda: plain("PixioModel", "BitImageProcessorPil", SHORTEST, n_cls_tokens=2), 2, True),
    "RADIO": (lambda: plain("RadioModel", "CLIPImageProcessorPil", SHORTEST), 10, False),
    "TIPSv2": (lambda: pair("Tipsv2Model", "ViTImageProcessorPil", SQUARE), 2, True),
    "CLIP's vision tower": (lambda: plain("CLIPVisionModel", "CLIPImageProcessorPil", SHORTEST), 1, True),
    "SigLIP's vision tower": (lambda: plain("SiglipVisionModel", "SiglipImageProcessorPil", SQUARE), 0, False),
    "I-JEPA": (lambda: plain("IJepaModel", "ViTImageProcessorPil", SQUARE), 0, False),
    "CLIP": (lambda: pair("CLIPModel", "CLIPImageProcessorPil", SHORTEST), 1, True),
    "MetaCLIP 2": (lambda: pair("MetaClip2Model", "CLIPImageProcessorPil", SHORTEST), 1, True),
    "SigLIP": (lambda: pair("SiglipModel", "SiglipImageProcessorPil", SQUARE), 0, False),
    "AIMv2": (lambda: pair("Aimv2Model", "CLIPImageProcessorPil", SHORTEST), 0, False),
    "AltCLIP": (lambda: pair("AltCLIPModel", "CLIPImageProcessorPil", SHORTEST, text=ROBERTA), 1, True),
    "Chinese-CLIP": (
        lambda: pair(
            "ChineseCLIPModel",
            "ChineseCLIPImageProcessorPil",
            SHORTEST,
            vision={"projection_dim": 16},
            text={"pad_token_id": 0},
        ),
        1,
        True,
    ),
}


def save(folder, made):
    """Save a model and its image processor in the hub's layout."""
    model, processor = made
    randomise(model).save_pretrained(folder)
    processor.save_pretrained(folder)
    return type(model), processor


def hidden_states(kind, folder, inputs, **more):
    """Streams after each block as the class itself gives them, its weights read by its own from_pretrained."""
    model = kind.from_pretrained(folder, **more).eval()
    body = getattr(model, "vision_model", model)
    with torch.inference_mode():
        return body(**inputs, output_hidden_states=True).hidden_states[1:]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request, tmp_path_factory):
    """Folder of a saved model, its class, its processor, prefix, has_class, and the model as loaded."""
    make, prefix, has_class = FAMILIES[request.param]
    folder = tmp_path_factory.mktemp("model")
    kind, processor = save(folder, make())
    return folder, kind, processor, prefix, has_class, load_model(ROW, folder)


def test_every_layer_and_pooling_is_that_of_the_classs_own_hidden_states(family):
    folder, kind, processor, prefix, has_class, model = family
    inputs = processor(images=photos(), return_tensors="pt")
    expected = hidden_states(kind, folder, inputs)
    assert expected[0].shape == (3, prefix + 16, 32)
    check_golden(model, photos(), expected, prefix, has_class)


def test_an_image_is_prepared_by_the_models_own_processor(family):
    _, _, processor, _, _, model = family
    batch = batch_of(model, photos())
    expected = processor(images=photos(), return_tensors="pt")
    assert set(batch) == {"pixel_values"}
    assert torch.equal(batch["pixel_values"], expected["pixel_values"])


def test_only_the_vision_tower_is_kept_and_nothing_that_pools_after_it(family):
    _, _, _, prefix, has_class, model = family
    tower = model.towers["vision"]
    assert list(model.towers) == ["vision"]
    assert (tower.width, len(tower.blocks)) == (32, 3)
    assert model.module.get_submodule(tower.path) is tower.blocks
    parts = {name.split(".")[0] for name, _ in model.module.named_parameters()}
    assert not parts & {"text_model", "pooler", "head", "classifier"}
    assert ("cls" in tower.poolings) == has_class
    assert ("a class token" in tower.note) == has_class
    assert ("register" in tower.note) == (prefix > has_class)


def test_attributes_name_class_backend_and_processor(family):
    _, _, processor, _, _, model = family
    assert model.attributes["class"] == f"{type(model.module).__module__}.{type(model.module).__qualname__}"
    backend = "PIL" if type(processor).__name__.endswith("Pil") else "torchvision"
    words = model.attributes["preprocessing"]
    assert words.startswith(f"{type(processor).__name__}, {backend}: ")
    assert json.loads(words.partition(": ")[2])["image_mean"] == pytest.approx(list(processor.image_mean))
    assert len(model.digest) == 64


def small_vit(**config):
    return plain("ViTModel", "ViTImageProcessorPil", SQUARE, **config)


def rewrite(folder, change):
    """Change the weights in a folder by a function from a dict of tensors to another."""
    path = folder / "model.safetensors"
    save_file(change(load_file(path)), path, metadata={"format": "pt"})


def reconfigure(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_images_of_unlike_shape_become_one_batch_of_padded_patches(tmp_path):
    images = [*photos(2, (64, 40)), *photos(1, (24, 72))]
    made = pair(
        "Siglip2Model", "Siglip2ImageProcessorPil", {"patch_size": 8, "max_num_patches": 20}, vision={"num_patches": 16}
    )
    kind, processor = save(tmp_path, made)
    inputs = processor(images=images, return_tensors="pt")
    real = inputs["pixel_attention_mask"].sum(dim=1)
    assert real.tolist() != [20, 20, 20]
    assert len(set(real.tolist())) == 2
    expected = hidden_states(kind, tmp_path, inputs)
    model = load_model(ROW, tmp_path)
    check_golden(model, images, expected, 0, False, real=real)
    for name, value in batch_of(model, images).items():
        assert torch.equal(value, inputs[name])
    # where no padding is seen, its values do not matter
    batch = batch_of(model, images)
    batch["pixel_values"] = torch.where(
        batch["pixel_attention_mask"][..., None] > 0, batch["pixel_values"], torch.full((), 1e3)
    )
    _, pooled = read(model, batch)
    _, clean = read(model, batch_of(model, images))
    for name, values in pooled.items():
        assert_close(values, clean[name])


@pytest.fixture(scope="module")
def masked(tmp_path_factory):
    """Folder of a masked autoencoder saved with its decoder, and its processor."""
    folder = tmp_path_factory.mktemp("mae")
    decoder = {"decoder_hidden_size": 16, "decoder_num_hidden_layers": 1, "decoder_num_attention_heads": 2}
    made = plain("ViTMAEForPreTraining", "ViTImageProcessorPil", SQUARE, decoder_intermediate_size=16, **decoder)
    return folder, save(folder, made)[1]


def mae_streams(folder, pixels, keep):
    """Streams of a masked autoencoder's encoder over the patches numbered by `keep` (n, kept), put together by hand."""
    model = transformers.ViTMAEModel.from_pretrained(folder).eval()
    embeddings = model.embeddings
    with torch.inference_mode():
        patches = embeddings.patch_embeddings.projection(pixels).flatten(2).transpose(1, 2)
        patches = patches + embeddings.position_embeddings[:, 1:]
        patches = torch.stack([one[chosen] for one, chosen in zip(patches, keep, strict=True)])
        first = embeddings.cls_token + embeddings.position_embeddings[:, :1]
        stream, streams = torch.cat([first.expand(len(pixels), -1, -1), patches], dim=1), []
        blocks = next(part for part in model.modules() if isinstance(part, torch.nn.ModuleList) and len(part) == 3)
        for block in blocks:
            stream = block(stream)
            stream = stream[0] if isinstance(stream, tuple) else stream
            streams.append(stream)
    return streams


def test_a_masked_autoencoder_sees_every_patch_in_raster_order(masked):
    folder, processor = masked
    pixels = processor(images=photos(), return_tensors="pt")["pixel_values"]
    expected = mae_streams(folder, pixels, torch.arange(16).expand(3, -1))
    model = load_model(ROW, folder)
    assert set(batch_of(model, photos())) == {"pixel_values"}
    check_golden(model, photos(), expected, 1, True)
    assert model.towers["vision"].note == "a class token, patches in raster order"


def test_a_masked_autoencoder_masks_under_the_papers_protocol_by_the_images_id(masked):
    folder, processor = masked
    model = load_model(ROW, folder, protocol="paper")
    batch = batch_of(model, photos(), ["a", "b", "c"])
    pixels = processor(images=photos(), return_tensors="pt")["pixel_values"]
    # the patches of the least noise are kept, a quarter of sixteen, in the order of their noise
    expected = mae_streams(folder, pixels, batch["order"].argsort(dim=1)[:, :4])
    streams, _ = read(model, batch)
    assert expected[0].shape == (3, 5, 32)
    for stream, given in zip(streams, expected, strict=True):
        assert_close(stream, given)
    check_golden(model, photos(), read(model, batch_of(model, photos()))[0], 1, True)
    again = batch_of(model, photos(), ["a", "b", "d"])["order"]
    assert torch.equal(again[:2], batch["order"][:2])
    assert not torch.equal(again[2], batch["order"][2])
    assert sorted(again[2].tolist()) == list(range(16))
    assert "75% of them masked" in model.towers["vision"].note


def test_a_tower_without_a_class_token_has_its_last_token_under_the_papers_protocol(tmp_path):
    kind, processor = save(tmp_path, FAMILIES["SigLIP"][0]())
    model = load_model(ROW, tmp_path, protocol="paper")
    expected = hidden_states(kind, tmp_path, processor(images=photos(), return_tensors="pt"))
    _, pooled = read(model, batch_of(model, photos()))
    assert_close(pooled["cls"], torch.stack([stream[:, -1] for stream in expected]))
    assert "cls is the last token of the stream" in model.towers["vision"].note


@pytest.mark.parametrize("name", ["ViT", "SigLIP", "DINOv3"])
def test_a_row_in_half_precision_runs_in_it(name, tmp_path):
    kind, processor = save(tmp_path, FAMILIES[name][0]())
    model = load_model({**ROW, "dtype": "bfloat16"}, tmp_path)
    assert {parameter.dtype for parameter in model.module.parameters()} == {torch.bfloat16}
    streams, pooled = read(model, batch_of(model, photos()))
    inputs = processor(images=photos(), return_tensors="pt")
    inputs["pixel_values"] = inputs["pixel_values"].to(torch.bfloat16)
    expected = hidden_states(kind, tmp_path, inputs, dtype=torch.bfloat16)
    for stream, given in zip(streams, expected, strict=True):
        assert stream.dtype == torch.bfloat16
        assert_close(stream, given, tolerance=2e-2)
    assert {values.dtype for values in pooled.values()} == {torch.float32}


@pytest.mark.parametrize("lost", [r"layers?\.1\.", "cls_token|class_embedding", "position_embedding"])
@pytest.mark.parametrize("name", ["ViT", "ViT saved as a classifier", "CLIP"])
def test_files_that_lack_weights_of_the_stream_are_refused_by_the_weights_names(name, lost, tmp_path):
    save(tmp_path, FAMILIES[name][0]())
    weights = load_file(tmp_path / "model.safetensors")
    gone = [key for key in weights if re.search(lost, key) and not key.startswith("text_model")]
    assert gone
    rewrite(tmp_path, lambda weights: {key: value for key, value in weights.items() if key not in gone})
    with pytest.raises(ValueError, match=rf"would be random: .*({lost})"):
        load_model(ROW, tmp_path)


def test_files_of_a_shallower_model_are_refused(tmp_path):
    save(tmp_path, small_vit(num_hidden_layers=2))
    reconfigure(tmp_path, num_hidden_layers=4)
    with pytest.raises(ValueError, match=r"ViTModel, which would be random: .*\.2\."):
        load_model(ROW, tmp_path)


def test_files_that_lack_only_what_comes_after_the_blocks_are_read(tmp_path):
    save(tmp_path, small_vit())
    rewrite(tmp_path, lambda weights: {k: v for k, v in weights.items() if not k.startswith(("layernorm", "pooler"))})
    kind = transformers.ViTModel
    processor = transformers.ViTImageProcessorPil(**SQUARE)
    expected = hidden_states(kind, tmp_path, processor(images=photos(), return_tensors="pt"))
    check_golden(load_model(ROW, tmp_path), photos(), expected, 1, True)


def test_a_pickle_is_read_only_where_the_row_says_so(tmp_path):
    kind, processor = save(tmp_path, small_vit())
    torch.save(load_file(tmp_path / "model.safetensors"), tmp_path / "pytorch_model.bin")
    expected = hidden_states(kind, tmp_path, processor(images=photos(), return_tensors="pt"))
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r'pytorch_model\.bin is a pickle; set weights to "any"'):
        load_model(ROW, tmp_path)
    check_golden(load_model({**ROW, "weights": "any"}, tmp_path), photos(), expected, 1, True)


def test_a_folder_without_weights_is_refused(tmp_path):
    save(tmp_path, small_vit())
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(ValueError, match="no weights that the loader transformers knows"):
        load_model(ROW, tmp_path)


def test_a_folder_without_an_image_processor_is_refused(tmp_path):
    save(tmp_path, small_vit())
    (tmp_path / "preprocessor_config.json").unlink()
    with pytest.raises(ValueError, match=r"no image processor could be made of preprocessor_config\.json"):
        load_model(ROW, tmp_path)


def hierarchical(name):
    kind = getattr(transformers, name)
    sizes = (
        {"embed_dim": 16, "num_heads": [1, 2], "window_size": 2} if name == "SwinModel" else {"hidden_sizes": [16, 32]}
    )
    if name == "ConvNextModel":
        sizes["num_stages"] = 2
    return kind(kind.config_class(image_size=32, patch_size=4, depths=[1, 1], **sizes))


@pytest.mark.parametrize("name", ["SwinModel", "ConvNextModel"])
def test_a_hierarchical_model_is_refused_by_its_class_and_stages(name, tmp_path):
    save(tmp_path, (hierarchical(name), transformers.ViTImageProcessorPil(**SQUARE)))
    with pytest.raises(ValueError, match=rf"{name} has stages .*one stream of the shape \(images, tokens, width\)"):
        load_model(ROW, tmp_path)


def test_a_model_of_text_is_refused(tmp_path):
    kind = transformers.BertModel
    model = kind(kind.config_class(**SIZES, vocab_size=40))
    save(tmp_path, (model, transformers.ViTImageProcessorPil(**SQUARE)))
    with pytest.raises(ValueError, match="BertModel takes no images"):
        load_model(ROW, tmp_path)


def test_a_stream_of_another_length_than_the_patches_is_refused(tmp_path):
    save(tmp_path, small_vit())
    model = load_model(ROW, tmp_path)
    tower, batch = model.towers["vision"], batch_of(model, photos())
    with pytest.raises(ValueError, match=r"ViTModel: .* shape \(3, 16, 32\), not \(3, 17, 32\) \(1 tokens before 16"):
        tower.tokens(batch, torch.zeros(3, 16, 32))


def test_a_model_can_be_spread_over_devices_and_disk(tmp_path):
    kind, processor = save(tmp_path / "model", small_vit())
    expected = hidden_states(kind, tmp_path / "model", processor(images=photos(), return_tensors="pt"))
    path = load_model(ROW, tmp_path / "model").towers["vision"].path
    places = {"embeddings": "cpu", "layernorm": "cpu"}
    places |= {f"{path}.0": "cpu", f"{path}.1": "disk", f"{path}.2": "disk"}
    placement = {"device_map": places, "offload_folder": str(tmp_path / "offload")}
    model = load_model(ROW, tmp_path / "model", placement=placement)
    assert model.placed
    assert {parameter.device.type for parameter in model.module.parameters()} == {"cpu", "meta"}
    check_golden(model, photos(), expected, 1, True)


def test_the_digest_changes_with_the_weights_alone(tmp_path):
    digests = {}
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        save(tmp_path / name, small_vit())
        randomise(other := transformers.ViTModel.from_pretrained(tmp_path / name), seed).save_pretrained(
            tmp_path / name
        )
        digests[name] = load_model({**ROW, "id": other.name_or_path}, tmp_path / name).digest
    assert digests["a"] == digests["b"] != digests["c"]


def test_preparing_twice_gives_the_same(tmp_path):
    save(tmp_path, small_vit())
    model = load_model(ROW, tmp_path)
    prepare = pickle.loads(pickle.dumps(model.prepare))
    (image,) = photos(1)
    first, again = model.prepare(image, "a"), prepare(image, "a")
    assert torch.equal(first["pixel_values"], again["pixel_values"])
    assert np.isfinite(first["pixel_values"].numpy()).all()


@pytest.mark.parametrize(
    "name",
    ["LlavaConfig", "Qwen2_5_VLConfig", "Gemma3Config", "LlavaOnevisionConfig", "Qwen3VLConfig", "InternVLConfig"],
)
def test_a_model_with_a_decoder_goes_to_the_multimodal_loader(name, tmp_path, monkeypatch):
    getattr(transformers, name)().save_pretrained(tmp_path)
    asked, model = [], LoadedModel(torch.nn.Linear(1, 1), prepare=None, forward=None, towers={})

    def load(*arguments, **options):
        asked.append((arguments, options))
        return model

    monkeypatch.setattr(multimodal, "load", load)
    options = {"prompt": "Where?", "protocol": "paper", "placement": {"device_map": "auto"}}
    assert load_model(ROW, tmp_path, **options) is model
    assert asked == [((ROW, tmp_path), options)]


def test_code_beside_the_weights_is_not_run(tmp_path):
    save(tmp_path, small_vit())
    reconfigure(tmp_path, model_type="mine", auto_map={"AutoConfig": "code.Mine", "AutoModel": "code.Mine"})
    (tmp_path / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match="trust_remote_code"):
        load_model(ROW, tmp_path)
    assert not (tmp_path / "ran").exists()
