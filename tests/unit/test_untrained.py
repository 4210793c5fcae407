"""Random weights: what the library itself draws from the seed, without a file of weights and without side effects."""

import json
import random
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import timm
import tiny_checkpoints
import torch
import transformers
import yaml
from conftest import ROOT
from golden import batch_of, photos, randomise, read
from tiny_checkpoints import OPEN_CLIP, TIMM, TIMM_NAME
from tiny_multimodal import save_model
from torch import nn

from geoprobe.config import check_config, used_datasets
from geoprobe.encoders.architecture import build_encoder, save_encoder
from geoprobe.models.loading import load_model, model_bytes
from geoprobe.models.registry import expand_seeds, expand_untrained, files_of, is_encoder, read_registry
from geoprobe.models.untrained import draw
from geoprobe.models.weights import weights_in

ROW = {"model": "m", "id": "org/m", "revision": "none", "dtype": "float32", "weights": "safetensors", "seed": None}
SEED = 7
SIZES = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
VISION = {**SIZES, "image_size": 32, "patch_size": 8}
TEXT = {**SIZES, "vocab_size": 50, "max_position_embeddings": 16, "bos_token_id": 0, "eos_token_id": 1}
SQUARE = {"height": 32, "width": 32}
MAE = {
    "decoder_num_hidden_layers": 1, "decoder_hidden_size": 16, "decoder_num_attention_heads": 2,
    "decoder_intermediate_size": 16, "mask_ratio": 0.0,
}  # fmt: skip
ENCODER = {"image_size": 16, "patch_size": 4, "width": 32, "depth": 2, "heads": 2}


# Each writes a model with trained weights (any that the library would not draw) into a folder, and gives the row's
# loader and what draws the same architecture by the library's own constructor.
def write_vit(folder):
    config = transformers.ViTConfig(**VISION)
    randomise(transformers.ViTModel(config)).save_pretrained(folder)
    transformers.ViTImageProcessorPil(size=SQUARE).save_pretrained(folder)
    return "transformers", lambda: transformers.ViTModel(config, add_pooling_layer=False)


def write_mae(folder):
    config = transformers.ViTMAEConfig(**VISION, **MAE)
    randomise(transformers.ViTMAEForPreTraining(config)).save_pretrained(folder)
    transformers.ViTImageProcessorPil(size=SQUARE).save_pretrained(folder)
    return "transformers", lambda: transformers.ViTMAEModel(config)


def write_clip(folder):
    config = transformers.CLIPConfig(vision_config=VISION, text_config=TEXT, projection_dim=16)
    randomise(transformers.CLIPModel(config)).save_pretrained(folder)
    transformers.CLIPImageProcessorPil(size={"shortest_edge": 36}, crop_size=SQUARE).save_pretrained(folder)
    return "transformers", lambda: transformers.CLIPModel(config).vision_model


def write_timm(folder):
    tiny_checkpoints.write_timm(folder)
    return "timm", lambda: timm.create_model(TIMM_NAME, pretrained=False, **TIMM)


def write_open_clip(folder):
    tiny_checkpoints.write_open_clip(folder)
    return "open_clip", lambda: open_clip.CLIP(**OPEN_CLIP).visual


def write_encoder(folder):
    save_encoder(folder, randomise(build_encoder(**ENCODER, seed=1)), {"architecture": ENCODER})
    return "local", lambda: build_encoder(**ENCODER, seed=SEED)


def write_multimodal(family):
    def write(folder):
        model, _ = save_model(family, folder)
        return "transformers", lambda: type(model)(model.config)

    return write


WRITERS = {
    "ViT": write_vit,
    "masked autoencoder": write_mae,
    "CLIP": write_clip,
    "timm": write_timm,
    "open_clip": write_open_clip,
    "controlled encoder": write_encoder,
    **{name: write_multimodal(name) for name in ("llava", "qwen2_5_vl", "gemma3")},
}


class Made:
    """A folder with trained weights, a copy of it without, and rows for both."""

    def __init__(self, folder, write):
        self.trained, self.bare = folder / "trained", folder / "bare"
        loader, self.construct = write(self.trained)
        shutil.copytree(self.trained, self.bare)
        for path in weights_in(self.bare):
            path.unlink()
        assert not weights_in(self.bare)
        self.row = {**ROW, "loader": loader, "supervision": "any", "id": str(self.trained)}
        self.random = {**self.row, "weights": "random", "seed": SEED, "id": str(self.bare)}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """From a name in WRITERS to its Made."""
    kept = {}

    def make(name):
        if name not in kept:
            kept[name] = Made(tmp_path_factory.mktemp("model"), WRITERS[name])
        return kept[name]

    return make


def load(row, **options):
    return load_model(row, row["id"], **options)


def states():
    # numpy's old global state is read, not drawn from: a library that draws from it would be found out
    old = np.random.get_state()  # noqa: NPY002
    return torch.get_rng_state().numpy().tobytes(), old[1].tobytes(), old[2:], random.getstate()


@pytest.mark.parametrize("name", WRITERS)
def test_the_weights_are_those_that_the_librarys_constructor_draws_from_the_seed(name, made):
    model = load(made(name).random)
    with torch.random.fork_rng():
        torch.manual_seed(SEED)
        expected = made(name).construct()
    assert type(model.module) is type(expected)
    given = model.module.state_dict()
    assert given.keys() == expected.state_dict().keys()
    different = [key for key, value in expected.state_dict().items() if not torch.equal(value, given[key])]
    # see the test of its positions
    assert all(key.startswith("embeddings.") for key in different) if name == "masked autoencoder" else not different


@pytest.mark.parametrize("name", WRITERS)
def test_features_are_repeated_bit_by_bit_and_are_not_those_of_the_trained_model_or_of_another_seed(name, made):
    pair = made(name)
    rows = (pair.random, pair.random, {**pair.random, "seed": SEED + 1}, pair.row)
    first, again, other, trained = (load(row) for row in rows)
    batch = batch_of(first, photos())
    pooled = [read(model, batch)[1]["mean"] for model in (first, again, other, trained)]
    assert pooled[0].isfinite().all()
    assert torch.equal(pooled[0], pooled[1])
    for features in pooled[2:]:
        # in every layer of every image, by far
        assert ((features - pooled[0]).norm(dim=-1) > 0.01 * pooled[0].norm(dim=-1)).all()
    # all but the weights is as it is for the trained model
    assert first.attributes == {**trained.attributes, "weights": f"random, seed {SEED}"}
    assert {key: value.shape for key, value in batch_of(trained, photos()).items()} == {
        key: value.shape for key, value in batch.items()
    }
    assert first.towers.keys() == trained.towers.keys()
    assert [tower.note for tower in first.towers.values()] == [tower.note for tower in trained.towers.values()]
    assert len({first.digest, other.digest, trained.digest}) == 3
    assert first.digest == again.digest


@pytest.mark.parametrize("name", WRITERS)
def test_drawing_weights_leaves_the_state_of_all_random_numbers_as_it_was(name, made):
    torch.manual_seed(3)
    before = states()
    load(made(name).random)
    model_bytes(made(name).random, made(name).random["id"])
    assert states() == before
    assert not torch.are_deterministic_algorithms_enabled()
    # and does not depend on it
    torch.manual_seed(4)
    model = load(made(name).random)
    torch.manual_seed(5)
    again = load(made(name).random).module.state_dict()
    assert all(torch.equal(value, again[key]) for key, value in model.module.state_dict().items())


@pytest.mark.parametrize("name", WRITERS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_memory_of_a_model_is_known_before_it_is_loaded(name, dtype, made):
    pair = made(name)
    row = {**pair.random, "dtype": dtype}
    module = load(row).module
    assert {weight.dtype for weight in module.parameters()} == {getattr(torch, dtype)}
    held = sum(weight.numel() * weight.element_size() for weight in module.parameters())
    told = model_bytes(row, pair.bare)
    # of CLIP both towers are built, and one is kept
    assert told > held if name == "CLIP" else told == held
    files = sum(path.stat().st_size for path in weights_in(pair.trained))
    assert model_bytes(pair.row, pair.trained) == pytest.approx(files, rel=0.2)


@pytest.mark.parametrize(("name", "std"), [("ViT", 0.02), ("masked autoencoder", 0.02), ("timm", 0.02)])
def test_weights_have_the_spread_that_the_architecture_is_initialised_with(name, std, made):
    module = load(made(name).random).module
    norms = [part for part in module.modules() if isinstance(part, nn.LayerNorm)]
    assert len(norms) >= 6
    assert all((part.weight == 1).all() and (part.bias == 0).all() for part in norms)
    tower = load(made(name).random).towers["vision"].blocks
    linear = [part for part in tower.modules() if isinstance(part, nn.Linear)]
    assert all((part.bias == 0).all() for part in linear)
    values = torch.cat([part.weight.flatten() for part in linear])
    # 3 blocks of at least 8000 values: the standard error of the deviation is below 0.5 %
    assert values.std().item() == pytest.approx(std, rel=0.03)
    assert abs(values.mean().item()) < 0.001


def test_positions_of_a_masked_autoencoder_are_the_fixed_sines_that_it_is_trained_with(made):
    embeddings = load(made("masked autoencoder").random).module.embeddings
    places = embeddings.position_embeddings[0]
    # the class token has none; of patches, sines and cosines of the column, then those of the row (He et al., 2022)
    assert (places[0] == 0).all()
    row, column, frequencies = torch.arange(16) // 4, torch.arange(16) % 4, 10000.0 ** (-torch.arange(8) / 8)
    angles = [place[:, None] * frequencies for place in (column, row)]
    expected = torch.cat([wave(angle) for angle in angles for wave in (torch.sin, torch.cos)], dim=1)
    torch.testing.assert_close(places[1:], expected)
    # and the class token is drawn as its authors do
    assert 0.01 < embeddings.cls_token.std() < 0.03


class Forgetful(nn.Module):
    def __init__(self):
        super().__init__()
        self.whole = nn.Linear(3, 3)
        self.forgotten = nn.Parameter(torch.empty(4))
        self.register_buffer("table", torch.empty(2))


def test_a_library_that_leaves_weights_uninitialised_is_refused_with_their_names():
    with pytest.raises(ValueError, match="Forgetful leaves weights uninitialised") as error:
        draw({"weights": "random", "seed": 1}, "folder", Forgetful)
    assert str(error.value).startswith("folder: ")
    assert "(forgotten, table)" in str(error.value)
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_state_is_restored_after_an_error_too():
    def build():
        torch.rand(3)
        raise RuntimeError("no such layer")

    before = states()
    with pytest.raises(RuntimeError, match="no such layer"):
        draw({"weights": "random", "seed": 1}, "folder", build)
    assert states() == before
    assert not torch.are_deterministic_algorithms_enabled()


def test_the_digest_changes_with_the_configuration_and_not_with_the_processor(made, tmp_path):
    row = made("ViT").random
    folder = shutil.copytree(row["id"], tmp_path / "changed")
    before = load(row).digest
    (folder / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "ViTImageProcessor"}))
    assert load({**row, "id": str(folder)}).digest == before
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "initializer_range": 0.03}))
    assert load({**row, "id": str(folder)}).digest != before


def test_a_row_of_a_table_has_the_seed_0(made):
    row = made("ViT").random
    assert load({**row, "seed": None}).digest == load({**row, "seed": 0}).digest != load(row).digest
    assert load({**row, "seed": None}).attributes["weights"] == "random, seed 0"


@pytest.mark.parametrize("name", ["ViT", "timm", "open_clip", "llava"])
def test_a_folder_of_ones_own_may_have_random_weights_and_needs_no_file_of_them(name, made):
    row = {**made(name).random, "loader": "local"}
    names = {Path(path).name for path in files_of(row)}
    assert names & {"config.json", "open_clip_config.json"}
    assert not any(path.endswith((".safetensors", ".bin")) for path in files_of({**row, "id": str(made(name).trained)}))
    assert load(row).digest == load(made(name).random).digest


def test_a_controlled_encoder_with_random_weights_needs_its_configuration_alone():
    row = {**ROW, "loader": "local", "id": "results/encoders/masked-seed1", "weights": "random"}
    assert is_encoder(row)
    assert files_of(row) == ["results/encoders/masked-seed1/config.json"]


@pytest.mark.parametrize("name", ["llava", "qwen2_5_vl"])
def test_a_model_that_is_spread_over_memory_and_disk_gives_the_same_features(name, made, tmp_path):
    row = made(name).random
    whole = load(row)
    batch = batch_of(whole, photos())
    placement = {"device_map": "auto", "max_memory": {"cpu": "250KB"}, "offload_folder": str(tmp_path / "offload")}
    spread = load(row, placement=placement)
    assert spread.placed
    assert any(weight.is_meta for weight in spread.module.parameters())
    for tower in ("vision", "text"):
        expected, given = (read(model, batch, tower)[1]["mean"] for model in (whole, spread))
        assert torch.equal(expected, given)


def test_a_vision_tower_is_placed_where_the_map_says(made, tmp_path):
    row = made("ViT").random
    whole = load(row)
    names = {name.partition(".")[0] for name, _ in whole.module.named_parameters()}
    middle = next(name for name in names if name not in ("embeddings", "layernorm"))
    places = {name: "disk" if name == middle else "cpu" for name in names}
    spread = load(row, placement={"device_map": places, "offload_folder": str(tmp_path / "offload")})
    batch = batch_of(whole, photos())
    assert any(weight.is_meta for weight in spread.module.parameters())
    assert torch.equal(read(whole, batch)[1]["mean"], read(spread, batch)[1]["mean"])


# run.untrained


def run_config(**run):
    """The default configuration, with other keys of `run`."""
    config = {}
    for name in ("config.yaml", "datasets.yaml"):
        config |= yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8"))
    return {**config, "run": {**config["run"], **run}}


def test_each_public_model_of_a_run_gets_a_control_a_seed_beside_it():
    config = run_config(models=["masked", "vit-b16", "colour-histogram", "llava-1-5-7b"], untrained=[1, 20])
    models = check_config(config, ROOT)
    assert list(models) == [
        "masked-seed1",
        "vit-b16", "vit-b16-untrained-seed1", "vit-b16-untrained-seed20",
        "colour-histogram",
        "llava-1-5-7b", "llava-1-5-7b-untrained-seed1", "llava-1-5-7b-untrained-seed20",
    ]  # fmt: skip
    for name in ("vit-b16", "llava-1-5-7b"):
        assert models[f"{name}-untrained-seed20"] == models[name] | {
            "label": f"{models[name]['label']}, random weights",
            "weights": "random",
            "family": f"{name}-untrained",
            "seed": 20,
        }
    assert (models["vit-b16"]["seed"], models["vit-b16"]["weights"]) == (None, "safetensors")


def test_the_default_adds_none():
    assert run_config()["run"]["untrained"] == []
    assert not any("untrained" in name for name in check_config(run_config(models=["vit-b16"]), ROOT))


def test_a_control_of_a_public_model_is_no_controlled_encoder_which_would_need_images_to_train_on():
    config = run_config(models=["vit-b16"], untrained=[1])
    assert used_datasets(config, check_config(config, ROOT)) == ["bluemarble"]
    config = run_config(models=["masked"], untrained=[1])
    assert used_datasets(config, check_config(config, ROOT)) == ["bluemarble", "bluemarble-pretrain"]


@pytest.mark.parametrize(
    ("untrained", "sentence"),
    [
        (1, "config: run.untrained is 1; it must be of type array."),
        (["a"], 'config: run.untrained[0] is "a"; it must be of type integer.'),
        ([-1], "config: run.untrained[0] is -1; it must be at least 0."),
        ([2, 2], "config: run.untrained is [2, 2]; it names something twice; leave one out."),
    ],
)
def test_seeds_that_are_none_are_named(untrained, sentence):
    with pytest.raises(ValueError, match=r"^config: run\.untrained") as error:
        check_config(run_config(untrained=untrained), ROOT)
    assert str(error.value) == sentence


def test_what_has_no_trained_weights_gets_no_control():
    row = {**read_registry(ROOT / "config" / "models.tsv")["vit-b16"], "weights": "random"}
    models = expand_seeds({"mine": row}, [])
    assert expand_untrained(models, [1]) == models


@pytest.mark.parametrize("taken", ["vit-b16-untrained-seed1", "vit-b16-untrained"])
def test_a_name_that_a_control_would_have_is_refused(taken):
    rows = read_registry(ROOT / "config" / "models.tsv")
    models = expand_seeds({"vit-b16": rows["vit-b16"], taken: {**rows["vit-l16"], "model": taken}}, [])
    with pytest.raises(ValueError, match=r"rename its row") as error:
        expand_untrained(models, [1])
    assert f'model "{taken}" is in run.models' in str(error.value)
    assert expand_untrained(models, []) == models
