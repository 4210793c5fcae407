"""The model registry: what a table may say, and that reading it loads no model library."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

from geoprobe.models.registry import (
    ALLOWED,
    COLUMNS,
    did_you_mean,
    expand_seeds,
    files_of,
    is_encoder,
    loader_of,
    needs_weights,
    read_registry,
    trained_as,
)
from geoprobe.models.weights import hub_id

GOOD = {
    "model": "masked",
    "label": "Masked",
    "loader": "local",
    "id": "results/masked-seed{seed}",
    "revision": "none",
    "supervision": "vision-only",
    "geolocation": "no",
    "dtype": "float32",
    "memory_gb": "2",
    "weights": "safetensors",
}
PUBLIC = {"model": "public", "loader": "transformers", "id": "org/name", "revision": "main"}
HISTOGRAM = {"loader": "histogram", "id": "none", "revision": "none", "supervision": "baseline", "weights": "none"}

# The models of the paper by their supervision.
PAPER = {
    "vision-only": """
        google/vit-base-patch16-224 google/vit-large-patch16-224 facebook/vit-mae-base
        facebook/vit-mae-large facebook/dinov2-small facebook/dinov2-base facebook/dinov2-large
        facebook/dinov2-giant facebook/webssl-mae300m-full2b-224 facebook/webssl-mae1b-full2b-224
        facebook/webssl-dino300m-full2b-224 facebook/webssl-dino1b-full2b-224
        facebook/webssl-dino7b-full8b-224 facebook/dinov3-vitb16-pretrain-lvd1689m
        facebook/dinov3-vitl16-pretrain-lvd1689m
    """,
    "vision-language": """
        openai/clip-vit-base-patch32 openai/clip-vit-large-patch14 geolocal/StreetCLIP
        facebook/metaclip-b16-400m facebook/metaclip-b32-400m facebook/metaclip-l14-400m
        facebook/metaclip-b16-fullcc2.5b facebook/metaclip-b32-fullcc2.5b facebook/metaclip-l14-fullcc2.5b
        facebook/metaclip-h14-fullcc2.5b
    """,
    "multimodal": """
        llava-hf/llava-1.5-7b-hf Qwen/Qwen2.5-VL-3B-Instruct Qwen/Qwen2.5-VL-7B-Instruct
        google/gemma-3-4b-pt google/gemma-3-12b-pt google/gemma-3-4b-it google/gemma-3-12b-it
    """,
}
SHIPPED = read_registry(ROOT / "config" / "models.tsv")


@pytest.fixture
def table(tmp_path):
    """Write a registry from rows given as what differs from a good one."""

    def write(*rows, columns=COLUMNS, name="models.tsv"):
        lines = ["\t".join(columns)]
        lines += ["\t".join((GOOD | row)[name] for name in columns) for row in rows]
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def test_the_registry_that_ships_reads():
    assert list(SHIPPED)[:6] == ["random", "masked", "contrastive", "text-places", "text-scenery", "text-shuffled"]
    for name, row in SHIPPED.items():
        assert row["model"] == name
        assert tuple(row) == COLUMNS
    assert len({row["label"] for row in SHIPPED.values()}) == len(SHIPPED)
    assert len({row["id"] for row in SHIPPED.values()}) == len(SHIPPED)


def test_the_models_of_the_paper_and_newer_ones_of_every_kind_are_in_it():
    public = [row for row in SHIPPED.values() if needs_weights(row)]
    for supervision, ids in PAPER.items():
        assert set(ids.split()) <= {row["id"] for row in public if row["supervision"] == supervision}
    assert sum(len(ids.split()) for ids in PAPER.values()) == 32
    newer = {"siglip2-b16", "pe-core-l14", "aimv2-l14", "llava-onevision-7b", "qwen3-vl-4b", "internvl3-8b"}
    assert newer <= {row["model"] for row in public}
    assert {row["loader"] for row in public} == {"transformers", "timm", "open_clip"}
    assert [name for name, row in SHIPPED.items() if row["geolocation"] == "yes"] == ["streetclip"]


@pytest.mark.parametrize("name", [name for name, row in SHIPPED.items() if needs_weights(row)])
def test_a_public_row_is_at_a_whole_commit_or_at_the_main_branch(name):
    assert re.fullmatch(r"main|[0-9a-f]{40}", SHIPPED[name]["revision"])


@pytest.mark.parametrize("name", [name for name, row in SHIPPED.items() if row["loader"] == "timm"])
def test_timm_knows_the_repositories_of_its_rows(name):
    import timm

    repository = hub_id(SHIPPED[name])
    architecture = repository.removeprefix("timm/")
    assert timm.models.get_pretrained_cfg(architecture).hf_hub_id == repository
    assert architecture in timm.list_pretrained()


@pytest.mark.parametrize("name", [name for name, row in SHIPPED.items() if row["loader"] == "open_clip"])
def test_open_clip_knows_the_repositories_of_its_rows(name):
    import open_clip

    known = {open_clip.get_pretrained_cfg(*pair).get("hf_hub", "").rstrip("/") for pair in open_clip.list_pretrained()}
    assert SHIPPED[name]["id"] in known


def test_rows_keep_the_order_of_the_table(table):
    path = table({"model": "zebra"}, {"model": "ape"}, {"model": "newt"})
    assert list(read_registry(path)) == ["zebra", "ape", "newt"]


def test_a_good_row_is_read_as_it_is_written(table):
    assert read_registry(table({}))["masked"] == GOOD


def test_a_missing_column_is_named_with_all_that_are_needed(table):
    columns = [name for name in COLUMNS if name != "revision"]
    with pytest.raises(
        ValueError, match=r"columns are model, label, loader, id, supervision, ge.*; they must"
    ) as error:
        read_registry(table({}, columns=columns))
    assert "revision" in str(error.value).split("they must be")[1]


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(ValueError, match=r"empty\.tsv: the columns are"):
        read_registry(tmp_path / "empty.tsv")


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (
            {"loader": "lcal"},
            'loader is "lcal"; allowed: local, transformers, timm, open_clip, histogram. Did you mean "local"?',
        ),
        (
            {"supervision": "vision-langauge"},
            'supervision is "vision-langauge"; allowed: vision-only, vision-language, multimodal, baseline. '
            'Did you mean "vision-language"?',
        ),
        ({"supervision": "xyz"}, 'supervision is "xyz"; allowed: vision-only, vision-language, multimodal, baseline.'),
        ({"geolocation": "true"}, 'geolocation is "true"; allowed: yes, no.'),
        ({"dtype": "bf16"}, 'dtype is "bf16"; allowed: float32, bfloat16, float16. Did you mean "bfloat16"?'),
        (
            {"weights": "safetensor"},
            'weights is "safetensor"; allowed: safetensors, any, random, none. Did you mean "safetensors"?',
        ),
        (
            {"weights": "none"},
            "weights is none; the loader local reads some: write safetensors, any or random.",
        ),
        (
            PUBLIC | {"weights": "none"},
            "weights is none; the loader transformers reads some: write safetensors, any or random.",
        ),
        (
            PUBLIC | {"weights": "random"},
            'supervision is "vision-only", and random weights have learned nothing: write baseline, or have the '
            "trained model read with random weights as well by run.untrained.",
        ),
        (
            HISTOGRAM | {"weights": "random"},
            'weights is "random"; the loader histogram has no files and counts in float32: write none.',
        ),
        (
            HISTOGRAM | {"id": "org/name"},
            'id is "org/name"; the loader histogram has no files and counts in float32: write none.',
        ),
        (
            HISTOGRAM | {"dtype": "float16"},
            'dtype is "float16"; the loader histogram has no files and counts in float32: write float32.',
        ),
        ({"memory_gb": "8G"}, 'memory_gb is "8G"; give the GB that the model takes, weights and working space.'),
        ({"memory_gb": "0"}, 'memory_gb is "0"; give the GB that the model takes, weights and working space.'),
        ({"memory_gb": "inf"}, 'memory_gb is "inf"; give the GB that the model takes, weights and working space.'),
        ({"memory_gb": "nan"}, 'memory_gb is "nan"; give the GB that the model takes, weights and working space.'),
        ({"label": ""}, 'label is ""; give a value, without spaces around it.'),
        ({"id": " org/name"}, 'id is " org/name"; give a value, without spaces around it.'),
        (
            {"model": "qwen2.5"},
            'model is "qwen2.5"; a name is of a-z, 0-9 and hyphens, as it becomes a part of paths.',
        ),
        ({"model": "a/b"}, 'model is "a/b"; a name is of a-z, 0-9 and hyphens, as it becomes a part of paths.'),
        ({"revision": "main"}, 'revision is "main"; a folder has none, so write none.'),
        (
            PUBLIC | {"revision": "none"},
            "revision is none; give a commit of the repository, or a branch such as main.",
        ),
        (
            PUBLIC | {"id": "vit"},
            'id is "vit"; give the repository of the hub as owner/name; a folder has the loader local.',
        ),
        (
            PUBLIC | {"id": "/data/my/vit", "loader": "open_clip"},
            'id is "/data/my/vit"; give the repository of the hub as owner/name; a folder has the loader local.',
        ),
        (
            PUBLIC | {"id": "hf-hub:timm/vit", "loader": "timm"},
            'id is "hf-hub:timm/vit"; give the repository of the hub as owner/name, or the bare name of one of '
            "timm's; a folder has the loader local.",
        ),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_its_line_and_the_fix(table, bad, sentence):
    path = table({}, {"model": "other", **bad})
    with pytest.raises(ValueError, match="line 3") as error:
        read_registry(path)
    assert str(error.value) == f"{path}, line 3: {sentence}"


@pytest.mark.parametrize(
    "good",
    [
        PUBLIC,
        PUBLIC | {"loader": "timm", "id": "vit_tiny_patch16_224.augreg_in21k"},
        PUBLIC | {"loader": "timm", "id": "ann/vit_tiny"},
        PUBLIC | {"loader": "open_clip", "id": "laion/CLIP-ViT-B-32", "weights": "any", "dtype": "bfloat16"},
        PUBLIC | {"loader": "local", "id": "/data/my models/vit", "revision": "none", "memory_gb": "0.5"},
        PUBLIC | {"weights": "random", "supervision": "baseline"},
        PUBLIC
        | {"loader": "local", "id": "/data/vit", "revision": "none"}
        | {"weights": "random", "supervision": "baseline"},
        HISTOGRAM | {"model": "public"},
    ],
)
def test_a_row_of_every_loader_reads(table, good):
    assert read_registry(table({}, good))["public"] == GOOD | good


def test_a_model_listed_twice_is_refused_with_both_lines(table):
    path = table({}, {"model": "other"}, {})
    with pytest.raises(ValueError, match="listed twice") as error:
        read_registry(path)
    assert str(error.value) == f'{path}, line 4: model "masked" is listed twice, first in {path}, line 2; rename one'


def test_tables_are_read_one_after_the_other(table):
    first, own = table({}, {"model": "zebra"}, name="shipped.tsv"), table(PUBLIC)
    assert list(read_registry(first, own)) == ["masked", "zebra", "public"]
    assert read_registry() == {}


def test_a_model_of_two_tables_is_refused_with_both_places(table):
    first, own = table({}, name="shipped.tsv"), table(PUBLIC, {})
    with pytest.raises(ValueError, match="listed twice") as error:
        read_registry(first, own)
    assert str(error.value) == f'{own}, line 3: model "masked" is listed twice, first in {first}, line 2; rename one'


def test_a_table_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ValueError, match=rf"^{tmp_path / 'own.tsv'}: there is no such table of models"):
        read_registry(tmp_path / "own.tsv")


@pytest.mark.parametrize("change", [lambda line: line + "\tmore", lambda line: line.rsplit("\t", 1)[0]])
def test_a_row_with_too_many_or_too_few_fields_is_refused_with_its_line(table, change):
    path = table({}, {"model": "other"})
    lines = path.read_text().splitlines()
    lines[2] = change(lines[2])
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"models\.tsv, line 3: weights must be the last of 10 fields parted by"):
        read_registry(path)


def test_the_line_is_that_of_the_file_even_after_an_empty_line(table):
    path = table({}, {"model": "other", "loader": "hub"})
    path.write_text(path.read_text().replace("\nother", "\n\nother"))
    assert path.read_text().splitlines()[3].startswith("other")
    with pytest.raises(ValueError, match=r"models\.tsv, line 4: loader"):
        read_registry(path)


def test_a_row_with_seed_in_its_id_stands_for_one_model_a_seed(table):
    rows = read_registry(table({}, PUBLIC))
    models = expand_seeds(rows, [1, 30])
    assert list(models) == ["masked-seed1", "masked-seed30", "public"]
    assert models["masked-seed30"] == {**GOOD, "id": "results/masked-seed30", "family": "masked", "seed": 30}
    assert models["public"]["family"] == "public"
    assert models["public"]["seed"] is None
    assert models["public"]["id"] == "org/name"


def test_expanding_leaves_the_rows_as_they_were(table):
    rows = read_registry(table({}))
    expand_seeds(rows, [1, 2])
    assert rows == {"masked": GOOD}


def test_braces_of_a_folder_that_stand_for_no_seed_are_left_alone():
    rows = {"masked": {**GOOD, "id": "results/{seed}/{x}"}}
    assert expand_seeds(rows, [7])["masked-seed7"]["id"] == "results/7/{x}"


def test_an_encoder_of_ours_needs_its_two_files_before_they_are_there():
    assert files_of({**GOOD, "id": "results/encoders/masked-seed1"}) == [
        "results/encoders/masked-seed1/model.safetensors",
        "results/encoders/masked-seed1/config.json",
    ]


@pytest.mark.parametrize("loader", ALLOWED["loader"])
def test_what_lies_in_a_folder_and_what_has_no_files_is_not_fetched(loader):
    assert needs_weights({**GOOD, "loader": loader}) is (loader not in ("local", "histogram"))


@pytest.mark.parametrize("loader", ["transformers", "timm", "open_clip"])
def test_what_describes_a_model_is_fetched_even_if_its_weights_are_random(loader):
    assert needs_weights({**GOOD, "loader": loader, "weights": "random"})


@pytest.mark.parametrize(
    ("row", "encoder"),
    [
        ({"id": "results/encoders/masked-seed3"}, True),
        ({"id": "results/encoders/masked-seed3", "weights": "random", "seed": None}, True),
        ({"id": "results/mine-seed3", "seed": 3}, False),
        (PUBLIC | {"weights": "random", "seed": 3}, False),
        (PUBLIC | {"id": "encoders/masked"}, False),
        (HISTOGRAM, False),
    ],
)
def test_a_controlled_encoder_is_known_by_the_folder_that_a_rule_makes(row, encoder):
    assert is_encoder(GOOD | row) is encoder


@pytest.mark.parametrize(
    ("folder", "objective"),
    [
        ("results/encoders/masked-seed3", "masked"),
        ("results/encoders/text-seed-seed12", "text-seed"),
        ("results/encoders/masked", "masked"),
    ],
)
def test_the_objective_of_a_controlled_encoder_is_that_of_its_folder(folder, objective):
    assert trained_as(GOOD | {"id": folder}) == objective


def test_a_baseline_has_no_files():
    assert files_of(GOOD | HISTOGRAM) == []
    assert loader_of(GOOD | HISTOGRAM) == "geoprobe.models.loaders.histogram"


def test_of_a_folder_with_random_weights_all_but_those_is_needed(folder):
    row = folder("config.json", "preprocessor_config.json", "pytorch_model.bin", weights="random")
    assert named(row) == ["config.json", "preprocessor_config.json"]
    Path(row["id"], "pytorch_model.bin").unlink()
    assert named(row) == ["config.json", "preprocessor_config.json"]
    with pytest.raises(ValueError, match="there is no such folder"):
        files_of({**row, "id": "elsewhere"})


def test_a_folder_is_loaded_by_what_its_files_are_for_and_a_controlled_encoder_before_it_is_trained(folder):
    assert loader_of({**GOOD, "id": "results/encoders/masked-seed1"}) == "geoprobe.models.loaders.encoder"
    row = folder("config.json")
    Path(row["id"], "config.json").write_text('{"model_type": "vit"}')
    assert loader_of(row) == loader_of(GOOD | PUBLIC) == "geoprobe.models.loaders.transformers"


def test_a_public_model_needs_no_file_of_ours():
    assert files_of(GOOD | PUBLIC) == []


@pytest.fixture
def folder(tmp_path):
    """Make a folder of files; returns the row that names it."""

    def make(*names, **changes):
        for name in names:
            path = tmp_path / "own model" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"{}")
        return {**GOOD, "id": str(tmp_path / "own model"), **changes}

    return make


def named(row):
    return [Path(path).relative_to(row["id"]).as_posix() for path in files_of(row)]


def test_of_a_folder_of_ones_own_what_lies_there_is_needed(folder):
    row = folder(
        "config.json", "preprocessor_config.json", "merges.txt", "additional_chat_templates/a.jinja",
        "model.safetensors", "pytorch_model.bin", "training_args.bin", "modeling.py", "checkpoint-1/config.json",
        "runs/events.txt",
    )  # fmt: skip
    assert named(row) == [
        "additional_chat_templates/a.jinja", "config.json", "merges.txt", "preprocessor_config.json",
        "model.safetensors",
    ]  # fmt: skip


def test_of_a_folder_with_shards_all_are_needed(folder):
    row = folder("config.json", "model.safetensors.index.json", "a.safetensors", "b.safetensors")
    Path(row["id"], "model.safetensors.index.json").write_text('{"weight_map": {"x": "b.safetensors"}}')
    assert named(row) == ["config.json", "b.safetensors"]


def test_a_folder_for_open_clip_is_known_by_its_own_names(folder):
    assert named(folder("open_clip_config.json", "open_clip_model.safetensors")) == [
        "open_clip_config.json",
        "open_clip_model.safetensors",
    ]


def test_a_pickle_in_a_folder_is_allowed_by_the_row_alone(folder):
    assert named(folder("config.json", "pytorch_model.bin", weights="any")) == ["config.json", "pytorch_model.bin"]
    with pytest.raises(ValueError, match="its weights are a pickle; set the row's weights to any to allow one"):
        files_of(folder())


@pytest.mark.parametrize(
    ("names", "sentence"),
    [
        ([], "and there is no such folder; give the folder that holds the model's files."),
        (["model.safetensors"], "and no config.json or open_clip_config.json lies there; give a folder as"),
        (["config.json", "training_args.bin"], "and no weights lie there; they are model.safetensors or pytorch_model"),
    ],
)
def test_a_folder_that_holds_no_model_is_named_with_its_row(folder, names, sentence):
    row = folder(*names)
    with pytest.raises(ValueError, match=r"^model masked: id is ") as error:
        files_of(row)
    assert str(error.value).startswith(f'model masked: id is "{row["id"]}", {sentence}')


def test_nothing_near_gives_no_suggestion():
    assert did_you_mean("qqq", ["local"]) == ""
    assert did_you_mean(7, [1, 70]) == ' Did you mean "70"?'


def test_importing_and_reading_the_registry_loads_no_model_library():
    code = (
        "import sys\n"
        "from geoprobe.models.registry import read_registry\n"
        "read_registry('config/models.tsv')\n"
        "heavy = {'torch', 'timm', 'transformers', 'open_clip', 'torchvision', 'sklearn', 'huggingface_hub'}\n"
        "print(sorted(heavy & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
