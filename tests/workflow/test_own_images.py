"""A user's own photos: a table of JPEG files, end to end to a figure."""

import os

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

pytestmark = pytest.mark.workflow

TOWNS = {"Paris": (48.85, 2.35), "Nairobi": (-1.29, 36.82), "Lima": (-12.05, -77.04), "Perth": (-31.95, 115.86)}
COLOURS = (220, 40, 40), (40, 220, 40), (40, 40, 220), (220, 220, 220)
DAMAGED = 2


@pytest.fixture
def photos(tmp_path):
    """A table of photos about four towns in four colours, two of whose files are no images."""
    generator = np.random.default_rng(0)
    rows = []
    for number in range(80):
        town = list(TOWNS)[number % 4]
        pixels = np.full((40, 60, 3), COLOURS[number % 4]) + generator.normal(0, 20, (40, 60, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(tmp_path / f"{number}.jpg", quality=90)
        latitude, longitude = np.array(TOWNS[town]) + generator.normal(0, 2, 2)
        rows.append(
            {"path": f"{number}.jpg", "latitude": latitude, "longitude": longitude, "title": f"a street in {town}"}
        )
    for number in range(DAMAGED):
        (tmp_path / f"{number}.jpg").write_text("not a photo")
    pd.DataFrame(rows).to_csv(tmp_path / "photos.csv", index=False)
    return tmp_path / "photos.csv"


def test_own_photos_reach_the_figures(tiny_run, tmp_path, photos):
    mine = {
        "run": {"datasets": ["my-photos"], "models": ["random"]},
        "datasets": {
            "my-photos": {
                "source": "table",
                "path": str(photos),
                "captions": ["title"],
                "balance": {"minimum": 2, "maximum": 50, "seed": 1},
                "caption_sets": ["places"],
            }
        },
        "clusters": {"count": 2, "names": {"set": "title"}},
    }
    delta = tmp_path / "mine.yaml"
    delta.write_text(yaml.safe_dump(mine))
    files = ["--snakefile", tiny_run.folder / "Snakefile"]
    files += ["--configfile", tiny_run.folder / "tests/workflow/tiny.yaml", delta]
    tiny_run.snakemake(*files, config=None, folder=tmp_path)
    results = tmp_path / "results"
    for name in ("objectives", "heatmap", "localizability"):
        assert (results / f"figures/my-photos/ridge/{name}.png").is_file()
    rejects = pd.read_parquet(results / "images/my-photos.rejects.parquet")
    assert rejects["id"].tolist() == [f"{number}.jpg" for number in range(DAMAGED)]
    assert set(rejects["reason"]) == {"not an image"}
    scores = pd.read_csv(results / "tables/scores.csv")
    scores = scores[(scores["cv"] == "random") & (scores["choice"] == "depth")].set_index("control")["r2"]
    assert scores["none"] > 0.1 > 0.03 > scores["permuted"]
    names = pd.read_csv(results / "clusters/my-photos.csv")["name"]
    assert names.str.contains("|".join(TOWNS), case=False).any()
    assert not names.str.contains(r"\b(?:a|in)\b").any()
    assert pd.read_csv(results / "clusters/my-photos.csv")["images"].sum() == 80 - DAMAGED

    def planned():
        return tiny_run.planned(*files, targets=["all"], config=None, folder=tmp_path)

    assert planned() == set()
    photo = tmp_path / "5.jpg"
    original, state = photo.read_bytes(), photo.stat()
    photo.write_bytes(original + b"more")
    assert planned() & {"plan_images", "build_images", "fit_probes"} == {"build_images", "fit_probes"}
    photo.write_bytes(original)
    os.utime(photo, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert planned() == set()
    with open(photos, "a", encoding="utf-8") as table:
        table.write("6.jpg,1,2,a street in Perth\n")
    assert planned() & {"plan_images", "build_images", "fit_probes"} == {"plan_images", "build_images", "fit_probes"}
