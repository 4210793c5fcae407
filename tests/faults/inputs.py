"""Damage of what a user gives: files that are cut off or overwritten, what is said of them, and how the run goes on.

Each input is damaged in a copy of a folder with four small data sets of one's own, where nothing is made yet. The run
says which file it is. Then a whole copy is put in its place, and the same command ends with the undisturbed results.
"""

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

COUNT = 24
BALANCE = {"balance": {"minimum": 2, "maximum": 50, "seed": 1}, "caption_sets": ["places"]}
SOURCES = {
    "csv": {"source": "table", "path": "mine.csv"},
    "parquet": {"source": "table", "path": "mine.parquet"},
    "hdf5": {"source": "hdf5", "path": "mine.h5"},
    "photos": {"source": "table", "path": "listed.csv"},
}
FILES = {"csv": "mine.csv", "parquet": "mine.parquet", "hdf5": "mine.h5", "photos": "photos/3.jpg"}
PAGE = b"<!DOCTYPE html><html><head><title>503 Service Unavailable</title></head><body></body></html>\n" * 8


def make_inputs(folder):
    """Photos about four towns, in a folder, and listed in tables and stored in a file."""
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
    with h5py.File(folder / "mine.h5", "w") as file:
        file["latitudes"], file["longitudes"] = places.T
        images = file.create_dataset("images", (COUNT,), dtype=h5py.vlen_dtype(np.uint8))
        for number, path in enumerate(paths):
            images[number] = np.fromfile(folder / path, dtype=np.uint8)
    for name, source in SOURCES.items():
        config = {"run": {"datasets": [name], "models": ["colour-histogram"]}, "datasets": {name: source | BALANCE}}
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
    make_inputs(undisturbed)
    shutil.copytree(undisturbed, hit)
    status, words = make_store(undisturbed, name)
    if status:
        raise Undone(f"the undisturbed run failed:\n{words[-3000:]}")
    path = hit / FILES[name]
    seen = DAMAGES[kind](path, random)
    status, words = make_store(hit, name)
    if name == "photos":  # one photo less is no failure: it is named among what was left out, and why
        frames = [pd.read_parquet(hit / f"results/images/photos.{part}.parquet") for part in ("left_out", "rejects")]
        rejects = pd.concat(frames).drop_duplicates("id").set_index("id")["reason"]
        if status or rejects.to_dict() not in ({FILES[name]: "truncated"}, {FILES[name]: "not an image"}):
            raise Undone(f"{FILES[name]}, {seen}: {rejects.to_dict()}\n{words[-3000:]}")
    elif status == 0 or not any(FILES[name] in line and "Error" in line for line in words.splitlines()):
        raise Undone(f"{FILES[name]}, {seen}: status {status}, and no error names it:\n{words[-3000:]}")
    shutil.copy(undisturbed / FILES[name], path)
    status, words = make_store(hit, name, *(("--forcerun", "plan_images") if name == "photos" else ()))
    results = hit / "results"
    found = [words[-3000:]] if status else differences(undisturbed / "results", results) + left_behind(results)
    if found:
        raise Undone(f"{FILES[name]}, {seen}, and put back: {'; '.join(found)}")
    return f"{FILES[name]}, {seen}"
