"""Models that a user puts in, each by one row of a table, on a user's photos, end to end to the figures.

A vision model and an image-text model as folders in the hub's layout, and a model of timm's from a hub on this machine.
All are tiny, with random weights, of the real classes.
"""

import contextlib
import json

import h5py
import numpy as np
import open_clip
import pandas as pd
import pytest
import safetensors.torch
import timm
import torch
import transformers
import yaml
from conftest import ROOT, Project
from hub_server import Hub
from PIL import Image
from timm.models import save_for_hf
from tiny_multimodal import save_model

from geoprobe.models.registry import COLUMNS

pytestmark = pytest.mark.workflow
PROJECT = Project(ROOT)

COUNT = 60
TOWNS = ((48.85, 2.35), (-1.29, 36.82), (-12.05, -77.04), (-31.95, 115.86))
LANDMARKS = (
    ("Red Tower", "Paris", "FR"),
    ("Green Hill", "Nairobi", "KE"),
    ("Blue Gate", "Lima", "PE"),
    ("White Pier", "Perth", "AU"),
)
COLOURS = ((220, 40, 40), (40, 220, 40), (40, 40, 220), (220, 220, 220))
ROW = {"revision": "none", "geolocation": "no", "dtype": "float32", "memory_gb": "1", "weights": "safetensors"}
CLIP = {
    "embed_dim": 12,
    "vision_cfg": {"image_size": 16, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
}
LABELS = ["Beach", "Old Buildings", "Snow"]
TIMM = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2}


def write_photos(folder):
    """A table of photos about four towns, in four colours, of four shapes."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(COUNT):
        shape = ((40, 60), (60, 40), (56, 84), (48, 48))[number // 4 % 4]
        pixels = np.full((*shape, 3), COLOURS[number % 4]) + generator.normal(0, 25, (*shape, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{number}.jpg", quality=90)
        latitude, longitude = np.array(TOWNS[number % 4]) + generator.normal(0, 2, 2)
        group = LANDMARKS[number % 4][0]
        rows.append({"path": f"{number}.jpg", "latitude": latitude, "longitude": longitude, "group": group})
    pd.DataFrame(rows).to_csv(folder / "photos.csv", index=False)
    return folder / "photos.csv"


def write_landmarks(path):
    """The four towns as landmarks."""
    columns = ("name", "city", "country", "latitude", "longitude")
    rows = [(*names, *at) for names, at in zip(LANDMARKS, TOWNS, strict=True)]
    table = pd.DataFrame(rows, columns=columns).assign(category=lambda frame: frame["name"])
    for name in ("aliases", "city_aliases", "region", "region_aliases"):
        table[name] = ""
    table.to_csv(path, index=False)


def write_registry(path, *rows):
    pd.DataFrame([ROW | row for row in rows])[list(COLUMNS)].to_csv(path, sep="\t", index=False)


def test_own_checkpoints_and_a_hubs_reach_the_figures_on_own_photos(tmp_path, monkeypatch):
    torch.manual_seed(0)
    shape = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 48}
    config = transformers.Dinov2Config(image_size=32, patch_size=8, **shape)
    transformers.Dinov2Model(config).save_pretrained(tmp_path / "dino")
    transformers.BitImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}).save_pretrained(
        tmp_path / "dino"
    )
    save_model("qwen2_5_vl", tmp_path / "qwen")
    save_for_hf(
        timm.create_model("vit_tiny_patch16_224", **TIMM), tmp_path / "timm", model_args=TIMM, safe_serialization=True
    )
    files = {path.name: path.read_bytes() for path in (tmp_path / "timm").iterdir()}
    clip = {
        "open_clip_config.json": json.dumps({"model_cfg": CLIP, "preprocess_cfg": {}}).encode(),
        "open_clip_model.safetensors": safetensors.torch.save(open_clip.CLIP(**CLIP).state_dict()),
    }
    write_registry(
        tmp_path / "mine.tsv",
        {"model": "my-dino", "label": "My DINO", "loader": "local", "id": "dino", "supervision": "vision-only"},
        {"model": "my-qwen", "label": "My Qwen", "loader": "local", "id": "qwen", "supervision": "multimodal"},
        {"model": "their-vit", "label": "Their ViT", "loader": "timm", "id": "someone/vit", "revision": "main",
         "supervision": "vision-language"},
        {"model": "their-clip", "label": "Their CLIP", "loader": "open_clip", "id": "someone/clip", "revision": "main",
         "supervision": "vision-language"},
    )  # fmt: skip
    mine = {
        "registry": "mine.tsv",
        "run": {"datasets": ["photos"], "models": ["my-dino", "my-qwen", "their-vit"], "prompts": ["where", "none"]},
        "datasets": {
            "photos": {
                "source": "table",
                "path": str(write_photos(tmp_path)),
                "balance": {"minimum": 2, "maximum": 50, "seed": 1},
                "caption_sets": ["places"],
            }
        },
        "clusters": {"count": 2, "names": {"by": "text", "labels": LABELS, "model": "their-clip"}},
        "folds": {"count": 3, "buffer_km": 0},
        "features": {"shards": 2, "chunk": 16, "layers": 2, "poolings": ["cls", "last", "mean", "maxmin"]},
        "probes": {"ridge": {"cv": ["random", "blocked"]}},
        "analysis": {"bootstrap": 20, "cv": "random"},
        "interventions": {
            "directions": {"models": ["my-dino"], "km": [500], "random_seeds": 2, "images": 30, "batch_size": 10},
            "steering": {
                "models": ["my-qwen"],
                "dataset": "photos",
                "landmarks": "landmarks.csv",
                "prompt": "where",
                "probed": {"dataset": "photos", "prompt": "where", "probe": "ridge"},
                "block": 1,
                "shares": [0.0, 0.5, 1.0],
                "rankings": ["coefficients", "random"],
                "random_seeds": 2,
                "where": ["prefill", "every_step"],
                "max_new_tokens": 3,
                "batch_size": 4,
                "pairs": None,
            },
            "finetuning": {"models": []},
        },
        "figures": {"dpi": 60},
    }
    write_landmarks(tmp_path / "landmarks.csv")
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(mine))
    with contextlib.closing(Hub()) as hub:
        hub.add("someone/vit", files, kind="model")
        hub.add("someone/clip", clip, kind="model")
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "cache"))
        options = {"config": tmp_path / "mine.yaml", "folder": tmp_path}
        manifests = [f"results/weights/their-{name}.json" for name in ("vit", "clip")]
        PROJECT.snakemake("--snakefile", ROOT / "Snakefile", *manifests, **options)
        asked = len(hub.asked)
        assert asked > 0
        PROJECT.snakemake("--snakefile", ROOT / "Snakefile", "all", "interventions", **options)
        # what runs on a compute node asks the hub for nothing
        assert len(hub.asked) == asked
    assert set(pd.read_csv(tmp_path / "results/clusters/photos.csv")["name"]) <= {*LABELS, "all", "left out"}
    results = tmp_path / "results"
    manifest = json.loads((results / "weights/their-vit.json").read_text())
    assert manifest["commit"] == hub.commit("someone/vit", -1)
    for name in (
        "objectives",
        "heatmap",
        "layers",
        "captions",
        "localizability",
        "map/my-qwen",
        "prompts",
        "directions/my-dino",
    ):
        assert (results / f"figures/photos/ridge/{name}.png").is_file()
    with h5py.File(results / "features/photos/my-qwen/where.h5") as file:
        # every second block, counted from the last
        assert sorted(file["vision/mean"]) == ["0", "2"]
        assert sorted(file["text/last"]) == ["1"]
        assert set(file["vision"]) == {"mean", "maxmin"}
        assert set(file["text"]) == {"last", "mean", "maxmin"}
        assert file["text/maxmin/1"].shape == (COUNT, 2 * file["text/mean/1"].shape[1])
        asked_of = file["text/last/1"][:]
    with h5py.File(results / "features/photos/my-qwen/none.h5") as file:
        assert np.abs(file["text/last/1"][:] - asked_of).max() > 1e-3
    assert not (results / "features/photos/my-dino/where.h5").exists()
    scores = pd.read_csv(results / "tables/scores.csv")
    # at a fixed depth each tower has a row; the best of a model is one of its towers
    at_depth = scores[scores["choice"] == "depth"]
    assert set(at_depth["label"]) == {"My DINO", "My Qwen, vision", "My Qwen, text", "Their ViT"}
    assert set(scores["label"]) == {*at_depth["label"], "My Qwen"}
    best = scores[(scores["cv"] == "random") & (scores["control"] == "none")].set_index("label")["r2"]
    # colour tells the town, and random weights let colour through
    assert (best > 0.3).all(), best
    assert (results / "figures/photos/steering/my-qwen.png").is_file()
    effects = pd.read_csv(results / "analysis/prompt_effects.csv")
    assert set(effects["model"]) == {"my-qwen"}
    # a prompt cannot change what was seen before it was read
    change = effects[(effects["tower"] == "vision") & (effects["measure"] == "change_last")]
    assert change["value"].abs().max() < 1e-3
    texts = [json.loads(line) for line in (results / "steering/photos/my-qwen/where.jsonl").read_text().splitlines()]
    plain = {text["source"]: text["text"] for text in texts if text["kind"] == "plain"}
    swapped = [text for text in texts if text["kind"] == "swap"]
    assert len(plain) == 4
    # each of four landmarks with the three others, under two rankings of two and one draws
    assert len({(text["source"], text["target"]) for text in swapped}) == 12
    assert all(text["text"] == plain[text["source"]] for text in swapped if text["share"] == 0)
    assert any(text["text"] != plain[text["source"]] for text in swapped if text["share"] == 1)
