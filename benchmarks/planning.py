"""Planning of a long list: seconds and peak memory of filtering, placing and balancing YFCC100M metadata.

    python benchmarks/planning.py [--rows 1000000] [--threads 2]

Writes a SQLite file in the layout of YFCC100M with positions near towns, a fifth of the rows videos, placed too
coarsely or without coordinates, and plans it as `plan_images` does; before it a quarter as many. The limit is reading
the same rows from SQLite and doing nothing else. Memory is constant if the two peaks are alike.
"""

import argparse
import json
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd

from geoprobe.images import yfcc100m
from geoprobe.images.gazetteer import load_towns
from geoprobe.images.plan import plan_images
from geoprobe.runtime import peak_mb

BALANCE = {"minimum": 5, "maximum": 5, "reserve": 1, "seed": 1}
STEP = 100_000


def make_metadata(path, count):
    """A SQLite file with `count` rows of YFCC100M's table."""
    generator = np.random.default_rng(0)
    towns = load_towns()[["latitude", "longitude"]].to_numpy()
    # a few towns have most of the photos, as in any public collection
    weights = 1 / np.arange(1, len(towns) + 1) ** 0.8
    weights = generator.permutation(weights / weights.sum())
    with sqlite3.connect(path) as connection:
        connection.execute(f"CREATE TABLE {yfcc100m.TABLE} ({', '.join(yfcc100m.FIELDS)})")
        marks = ", ".join("?" * len(yfcc100m.FIELDS))
        for start in range(0, count, STEP):
            size = min(STEP, count - start)
            at = towns[generator.choice(len(towns), size, p=weights)] + generator.normal(0, 0.05, (size, 2))
            frame = pd.DataFrame("", index=range(size), columns=yfcc100m.FIELDS)
            frame["photoid"] = np.arange(start, start + size).astype(str)
            frame["uid"] = [f"{number}@N00" for number in generator.integers(0, count // 50 + 1, size)]
            frame["title"], frame["usertags"] = "a+street", "street,town"
            frame["latitude"] = at[:, 0].clip(-90, 90).round(6).astype(str)
            frame["longitude"] = at[:, 1].clip(-180, 180).round(6).astype(str)
            frame.loc[generator.random(size) < 0.07, ["latitude", "longitude"]] = ""
            frame["accuracy"] = np.where(generator.random(size) < 0.07, "8", "16")
            frame["marker"] = np.where(generator.random(size) < 0.06, "1", "0")
            frame["downloadurl"] = "http://farm1.staticflickr.com/1/" + frame["photoid"] + "_o.jpg"
            frame["ext"], frame["serverid"], frame["secret"] = "jpg", "1", "abcdef"
            connection.executemany(f"INSERT INTO {yfcc100m.TABLE} VALUES ({marks})", frame.to_numpy().tolist())


def plan(metadata, folder):
    """Plan the file; prints seconds, rows planned and the peak of this process in MB as JSON."""
    options = {"metadata": str(metadata), "min_accuracy": 14, "flickr_size": "z"}
    options |= {"images_base": "https://images.example", "flickr_base": "https://flickr.example"}
    start = time.perf_counter()
    frames = yfcc100m.list_images(options, None)
    planned = plan_images(frames, folder / "plan.parquet", folder / "left.parquet", "yfcc100m", BALANCE)
    seconds = time.perf_counter() - start
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu, peak = usage.ru_utime + usage.ru_stime, peak_mb()
    print(json.dumps({"planned": planned, "seconds": seconds, "cpu_s": cpu, "peak_mb": peak}))


def read(metadata):
    """Seconds of reading all rows that have coordinates and doing nothing with them."""
    start = time.perf_counter()
    for _ in yfcc100m._read_sqlite(metadata):
        pass
    return time.perf_counter() - start


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=1_000_000, help="rows of metadata (default: 1,000,000)")
    parser.add_argument("--threads", type=int, default=2, help="threads of DuckDB (default: 2)")
    parser.add_argument("--plan", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    duckdb.execute(f"SET threads = {arguments.threads}")
    with tempfile.TemporaryDirectory() as scratch:
        if arguments.plan:
            plan(arguments.plan, Path(scratch))
            sys.exit()
        rows = []
        for count in (arguments.rows // 4, arguments.rows):
            metadata = Path(scratch, f"{count}.sql")
            make_metadata(metadata, count)
            command = [sys.executable, __file__, "--threads", str(arguments.threads), "--plan", str(metadata)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            limit = read(metadata)
            result = json.loads(done.stdout.splitlines()[-1])
            rows.append({"rows": count, **result, "reading_s": limit, "ratio": result["seconds"] / limit})
            print(pd.DataFrame(rows[-1:]).to_string(index=False), flush=True)
        flat = rows[1]["peak_mb"] / rows[0]["peak_mb"]
        print(f"peak memory of four times the rows: {flat:.2f} of that of a quarter")
