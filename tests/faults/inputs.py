"""Damage of what a run is given: files that are cut off or overwritten, what is said of them, and how the run goes on.

Each input is damaged in a copy of a folder with five small data sets of one's own. The run says which file it is. Then
a whole copy is put in its place, and the run ends with the undisturbed results. What was downloaded is not put back but
fetched again as the error says.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import yaml
from PIL import Image

from tests.conftest import ROOT
from tests.faults.comparison import differences, left_behind
from tests.faults.injection import Undone, environment
from tests.image_server import ImageServer

COUNT = 24
BALANCE = {"balance": {"minimum": 2, "maximum": 50, "seed": 1}, "caption_sets": ["places"]}
SOURCES = {
    "csv": {"source": "table", "path": "mine.csv"},
    "parquet": {"source": "table", "path": "mine.parquet"},
    "hdf5": {"source": "hdf5", "path": "mine.h5"},
    "photos": {"source": "table", "path": "listed.csv"},
    "downloads": {"source": "urls", "path": "street.csv"},
}
PACK = "results/downloads/downloads/0.pack"
FILES = {"csv": "mine.csv", "parquet": "mine.parquet", "hdf5": "mine.h5", "photos": "photos/3.jpg"}
FILES["downloads"] = f"{PACK}/images.pack"
PAGE = b"<!DOCTYPE html><html><head><title>503 Service Unavailable</title></head><body></body></html>\n" * 8


def make_inputs(folder, address):
    """Photos about four towns: in a folder and listed in tables, stored in a file, and on a server."""
    generator, photos = np.random.default_rng(0), folder / "photos"
    photos.mkdir(parents=True)
    towns = np.array([(48.85, 2.35), (-1.29, 36.82), (-12.05, -77.04), (-31.95, 115.86)])
    places = towns[np.arange(COUNT) % 4] + generator.normal(0, 0.5, (COUNT, 2))
    for number in range(COUNT):
        pixels = generator.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        Image.fromarray(pixels).resize((80, 60), Image.Resampling.BICUBIC).save(photos / f"{number}.jpg", quality=90)
    paths = [f"photos/{number}.jpg" for number in range(COUNT)]
    table = pd.DataFrame({"path": paths, "latitude": places[:, 0], "longitude": places[:, 1], "author": "somebody"})
    for name in ("mine.csv", "listed.csv"):
        table.to_csv(folder / name, index=False)
    table.to_parquet(folder / "mine.parquet", index=False)
    addresses = [f"{address}/ok/{number}.jpg" for number in range(COUNT)]
    table.drop(columns="path").assign(url=addresses).to_csv(folder / "street.csv", index=False)
    with h5py.File(folder / "mine.h5", "w") as file:
        file["latitudes"], file["longitudes"] = places.T
        images = file.create_dataset("images", (COUNT,), dtype=h5py.vlen_dtype(np.uint8))
        for number, path in enumerate(paths):
            images[number] = np.fromfile(folder / path, dtype=np.uint8)
    for name, source in SOURCES.items():
        config = {"run": {"datasets": [name], "models": ["colour-histogram"]}, "datasets": {name: source | BALANCE}}
        config["clusters"] = {"count": 2, "names": {"set": "places"}}
        config["download"] = {"limits": {"allow_private": True}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(config))


def make_store(folder, name, *options):
    """Make the image store of a data set; returns the driver's status and words."""
    snakemake = [sys.executable, "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    done = subprocess.run(
        [*snakemake, "--configfile", f"{name}.yaml", *options, "--", f"results/images/{name}.h5"],
        cwd=folder,
        env=environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    return done.returncode, done.stdout


def cut(path, random):
    """Cut a file off. Of a CSV a cut between two lines, or in a last field, cannot be told from a shorter table."""
    content = path.read_bytes()
    place = random.randrange(1, len(content) - 1)
    if path.suffix == ".csv":
        line = random.choice(content.splitlines(keepends=True)[:-1])
        place = content.index(line) + random.randrange(1, line.rindex(b","))
    path.write_bytes(content[:place])
    return f"cut off at {place} of {len(content)} bytes"


def overwrite(path, random):
    """Put a page of a web server in place of the beginning, as downloads do that met an error."""
    content = path.read_bytes()
    page = PAGE[: random.randrange(64, len(PAGE))]
    path.write_bytes(page + content[len(page) :])
    return f"{len(page)} bytes overwritten"


DAMAGES = {"input cut off": cut, "input overwritten": overwrite}


def damage_input(name, kind, folder, random):
    """Damage the input of one data set, see what is said, put it back, and go on.

    Returns:
        What was seen.

    Raises:
        Undone: the file is not named, or the run ends with other results than an undisturbed one.
    """
    undisturbed, hit = Path(folder, "undisturbed"), Path(folder, "hit")
    with ImageServer() as server:
        make_inputs(undisturbed, server.root)
        if name != "downloads":
            shutil.copytree(undisturbed, hit)
        status, words = make_store(undisturbed, name)
        if status:
            raise Undone(f"the undisturbed run failed:\n{words[-3000:]}")
        if name == "downloads":
            shutil.copytree(undisturbed, hit)
        path = hit / FILES[name]
        seen = f"{FILES[name]}, {DAMAGES[kind](path, random)}"
        status, words = make_store(hit, name, *(("--forcerun", "build_images") if name == "downloads" else ()))
        if name == "photos":
            check_left_out(hit, status, words)
        # of a pack, its folder is named, which is to be removed
        elif status == 0 or not re.search(
            rf"(Error|config): .*{re.escape(FILES[name].removesuffix('/images.pack'))}", words
        ):
            raise Undone(f"{seen}: status {status}, and no error names it:\n{words[-3000:]}")
        if name == "downloads":
            shutil.rmtree(hit / PACK)
        else:
            shutil.copy(undisturbed / FILES[name], path)
        again = {"photos": "plan_images", "downloads": "download_images"}
        status, words = make_store(hit, name, *(("--forcerun", again[name]) if name in again else ()))
    found = [words[-3000:]] if status else differences(*(each / "results/images" for each in (undisturbed, hit)))
    if found or left_behind(hit / "results"):
        raise Undone(f"{seen}, and mended: {'; '.join([*found, *left_behind(hit / 'results')])}")
    return seen


def check_left_out(folder, status, words):
    """One photo less is no failure: it is named among what was left out, with the reason."""
    tables = [pd.read_parquet(folder / f"results/images/photos.{part}.parquet") for part in ("left_out", "rejects")]
    reasons = pd.concat(tables).set_index("id")["reason"].to_dict()
    if status or reasons not in ({FILES["photos"]: "truncated"}, {FILES["photos"]: "not an image"}):
        raise Undone(f"{FILES['photos']}: {reasons}\n{words[-3000:]}")
