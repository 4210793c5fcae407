"""Every source from its own format to an image store through Snakemake, against servers on this machine."""

import hashlib
import io
import json
import os
import re
import sqlite3

import h5py
import numpy as np
import pandas as pd
import pytest
import yaml
from conftest import ROOT, Project
from exif_data import LATITUDE, LATITUDE_REF, LONGITUDE, LONGITUDE_REF, exif_bytes
from hub_photos import tarred, zipped
from hub_server import Hub
from image_server import ImageServer, photo
from PIL import Image
from real_towns import towns

from geoprobe.images.countries import country_name
from geoprobe.images.store import read_columns
from geoprobe.images.yfcc100m import FIELDS, short_hex

pytestmark = pytest.mark.workflow
PROJECT = Project(ROOT)

COUNT = 12
POSITIONS, TOWNS = towns(COUNT, seed=3, jitter_km=1.0)
CODES = TOWNS["country_code"].tolist()
COMMON = {"balance": {"minimum": 1, "maximum": 50, "seed": 1}, "caption_sets": ["places"]}


def positions_frame(**columns):
    return pd.DataFrame({"latitude": POSITIONS[:, 0], "longitude": POSITIONS[:, 1], **columns})


def boxes():
    """Polygons about the towns, with their countries, as GeoJSON."""
    features = []
    for number, ((latitude, longitude), code) in enumerate(zip(POSITIONS, CODES, strict=True)):
        corners = [(longitude + x, latitude + y) for x, y in ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))]
        properties = {"iso": code, "place": f"box {number}"}
        geometry = {"type": "Polygon", "coordinates": [[list(map(float, corner)) for corner in corners]]}
        features.append({"type": "Feature", "properties": properties, "geometry": geometry})
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def yfcc100m(server, folder):
    """A SQLite file behind an address; one image is only at Flickr, one nowhere, one is a video."""
    frame = pd.DataFrame("", index=range(COUNT), columns=FIELDS)
    frame["photoid"], frame["uid"] = (
        [str(100 + row) for row in range(COUNT)],
        [f"{row // 2}@N00" for row in range(COUNT)],
    )
    frame["latitude"], frame["longitude"] = POSITIONS.T
    frame["accuracy"], frame["marker"], frame["title"] = "16", "0", "a+street"
    frame["downloadurl"] = [f"http://farm.test/{row}.jpg" for row in range(COUNT)]
    frame["ext"], frame["serverid"], frame["secret"] = "jpg", "7", "abc"
    frame.loc[3, "marker"] = "1"
    with sqlite3.connect(folder / "yfcc.sql") as base:
        frame.to_sql("yfcc100m_dataset", base, index=False)
    base.close()
    server.files["/meta/yfcc.sql"] = (folder / "yfcc.sql").read_bytes()
    for row, url in enumerate(frame["downloadurl"]):
        key = short_hex(hashlib.md5(url.encode(), usedforsecurity=False).digest())
        path = f"/bucket/data/images/{key[:3]}/{key[3:6]}/{key}.jpg"
        if row in (5, 6):
            server.refusals[path] = (404, {})
        else:
            server.files[path] = photo(row)
    server.files["/flickr/7/105_abc_z.jpg"] = photo(5)
    server.refusals["/flickr/7/106_abc_z.jpg"] = (404, {})
    options = {"metadata": f"{server.root}/meta/yfcc.sql", "min_accuracy": 14, "flickr_size": "z"}
    options |= {"images_base": f"{server.root}/bucket", "flickr_base": f"{server.root}/flickr", "shards": 2}
    expected = {str(100 + row): photo(row) for row in range(COUNT) if row not in (3, 6)}
    return {"source": "yfcc100m", **options}, expected, {"103": "a video", "106": "http 404"}


def osv5m(hub, folder):
    """Two archives on a hub; one row's image is in neither."""
    frame = positions_frame(id=[f"{row:015d}" for row in range(COUNT)], country=CODES, sequence="", region="North")
    frame["sequence"] = [f"s{row // 3}" for row in range(COUNT)]
    for name in ("creator_id", "creator_username", "sub-region", "city"):
        frame[name] = "ann"
    files = {"train.csv": frame.to_csv(index=False).encode()}
    for number in range(2):
        names = [name for row, name in enumerate(frame["id"]) if row % 2 == number and row != 7]
        members = {f"{number:02d}/{name}.jpg": photo(int(name) + 100) for name in names}
        files[f"images/train/{number:02d}.zip"] = zipped(members)
    hub.add("osv5m/osv5m", files, licence="cc-by-sa-4.0")
    options = {"source": "osv5m", "split": "train", "archives": "all", "captions": ["region"]}
    expected = {name: photo(int(name) + 100) for row, name in enumerate(frame["id"]) if row != 7}
    return options, expected, {frame["id"][7]: "in none of the archives"}


def landmarks(server, folder):
    """Tables and two tar files of a bucket, positions of an API of Commons; one landmark has none."""
    ids = [hashlib.sha256(f"landmark {row}".encode()).hexdigest()[:16] for row in range(COUNT)]
    places = [row // 2 for row in range(COUNT)]
    category = "http://commons.wikimedia.org/wiki/Category:Tower_{}"
    titles = pd.DataFrame({"landmark_id": range(6), "category": [category.format(place) for place in range(6)]})
    kinds = titles.assign(supercategory="tower", hierarchical_label="tower", natural_or_human_made="human-made")
    frames = {
        "train.csv": pd.DataFrame({"id": ids, "url": "https://gone.test/x.jpg", "landmark_id": places}),
        "train_attribution.csv": pd.DataFrame(
            {"id": ids, "url": "x", "author": "Eve", "license": "https://cc.test/by/2.0/", "title": "File:X"}
        ),
        "train_label_to_category.csv": titles,
        "train_label_to_hierarchical.csv": kinds,
    }
    for name, frame in frames.items():
        server.files[f"/landmarks/metadata/{name}"] = frame.to_csv(index=False).encode()
    for number in range(2):
        members = {f"{n[0]}/{n[1]}/{n[2]}/{n}.jpg": photo(700 + row) for row, n in enumerate(ids) if row % 2 == number}
        tar = tarred(members)
        server.files[f"/landmarks/train/images_00{number}.tar"] = tar
        line = f"{hashlib.md5(tar).hexdigest()}  images_00{number}.tar\n"
        server.files[f"/landmarks/md5sum/train/md5.images_00{number}.txt"] = line.encode()

    def commons(asked):
        pages = []
        for title in asked.query["titles"].split("|"):
            place = int(title.rsplit(" ", 1)[1])
            latitude, longitude = POSITIONS[place]
            found = {"coordinates": [{"lat": latitude, "lon": longitude, "primary": True, "globe": "earth"}]}
            pages.append(
                {"ns": 14, "title": title} | (found | {"pageid": place + 1} if place != 5 else {"missing": True})
            )
        return {"batchcomplete": True, "query": {"pages": pages}}

    server.answers["/api"] = commons
    options = {"source": "landmarks", "split": "train", "clean": False, "from": "archives", "tars": [0, 1], "shards": 2}
    options |= {"keep_tars": False, "max_per_landmark": None, "retry_missing_days": None}
    options |= {"metadata_base": f"{server.root}/landmarks/metadata", "images_base": f"{server.root}/landmarks"}
    options |= {"commons_api": f"{server.root}/api", "wikidata_api": f"{server.root}/api"}
    expected = {name: photo(700 + row) for row, name in enumerate(ids) if places[row] != 5}
    return options, expected, {ids[row]: "landmark without coordinates" for row in (10, 11)}


def hub_embedded(hub, folder):
    """Images in a column of a Parquet file, as the hub writes them."""
    names = [f"e{row}" for row in range(COUNT)]
    frame = positions_frame(id=names, image=[{"bytes": photo(200 + row), "path": None} for row in range(COUNT)])
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    hub.add("ann/embedded", {"data/train-0.parquet": buffer.getvalue()})
    options = {"source": "hub", "repo": "ann/embedded", "metadata": ["data/*.parquet"], "image_column": "image"}
    options["columns"] = {"id": "id", "latitude": "latitude", "longitude": "longitude"}
    return options, {name: photo(200 + row) for row, name in enumerate(names)}, {}


def im2gps3k(server, folder):
    """A list under swapped headings and a zip file, both on this machine."""
    names = [f"{row}_abc.jpg" for row in range(COUNT)]
    frame = positions_frame(IMG_ID=names, AUTHOR=[f"{row // 2}@N00" for row in range(COUNT)])
    frame = frame.rename(columns={"latitude": "LON", "longitude": "LAT"})
    frame.to_csv(folder / "im2gps3k.csv", index=False)
    (folder / "im2gps3k.zip").write_bytes(zipped({f"im2gps3ktest/{n}": photo(300 + r) for r, n in enumerate(names)}))
    options = {"source": "im2gps", "format": "im2gps3k", "swapped": "auto"}
    options |= {"metadata": str(folder / "im2gps3k.csv"), "images": str(folder / "im2gps3k.zip")}
    return options, {name: photo(300 + row) for row, name in enumerate(names)}, {}


def urls(server, folder):
    """Addresses in a table: one busy at first, one opted out, one in another country than it says."""
    manners = ["ok"] * COUNT
    manners[2], manners[4] = "busy-once", "noai"
    addresses = [f"{server.root}/{manner}/{400 + row}.jpg" for row, manner in enumerate(manners)]
    names = [f"u{row}" for row in range(COUNT)]
    declared = CODES.copy()
    declared[10] = "AQ"
    positions_frame(id=names, url=addresses, country=declared).to_csv(folder / "urls.csv", index=False)
    expected = {name: photo(400 + row) for row, name in enumerate(names) if row not in (4, 10)}
    rejects = {"u4": "opted out", "u10": "declared country disagrees"}
    return {"source": "urls", "path": str(folder / "urls.csv")}, expected, rejects


def photos(server, folder):
    """A folder of JPEG files with GPS in their EXIF; one has none, one is a copy, one no image."""
    (folder / "photos" / "trip").mkdir(parents=True)
    expected = {}
    for row, (latitude, longitude) in enumerate(POSITIONS):
        gps = {
            LATITUDE_REF: (2, "N" if latitude >= 0 else "S"),
            LATITUDE: (5, [(round(abs(latitude) * 1e6), 10**6), (0, 1), (0, 1)]),
            LONGITUDE_REF: (2, "E" if longitude >= 0 else "W"),
            LONGITUDE: (5, [(round(abs(longitude) * 1e6), 10**6), (0, 1), (0, 1)]),
        }
        name = f"trip/{row:02d}.jpg"
        with Image.open(io.BytesIO(photo(500 + row))) as image:
            image.save(folder / "photos" / name, exif=exif_bytes(gps) if row != 1 else b"", quality=95)
        expected[name] = (folder / "photos" / name).read_bytes()
    (folder / "photos" / "trip" / "99.jpg").write_bytes(expected["trip/00.jpg"])
    (folder / "photos" / "broken.jpg").write_bytes(b"no photo")
    del expected["trip/01.jpg"]
    rejects = {"trip/01.jpg": "no GPS in its EXIF", "trip/99.jpg": "duplicate", "broken.jpg": "not an image"}
    return {"source": "folder", "path": str(folder / "photos")}, expected, rejects


def hdf5(server, folder):
    """A file with the paper's four names."""
    names = [str(row) for row in range(COUNT)]
    with h5py.File(folder / "paper.h5", "w") as file:
        images = file.create_dataset("images", (COUNT,), dtype=h5py.vlen_dtype(np.uint8))
        for row in range(COUNT):
            images[row] = np.frombuffer(photo(600 + row), np.uint8)
        file["latitudes"], file["longitudes"] = POSITIONS.T
        file["clusters"] = np.arange(COUNT) % 3
    return {"source": "hdf5", "path": str(folder / "paper.h5")}, {n: photo(600 + r) for r, n in enumerate(names)}, {}


SOURCES = {
    "yfcc": yfcc100m,
    "landmarks-small": landmarks,
    "osv5m-small": osv5m,
    "embedded": hub_embedded,
    "im2gps-small": im2gps3k,
    "web": urls,
    "photos": photos,
    "paper": hdf5,
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """All sources built in one run: its folder, and of each what must be stored and left out."""
    folder = tmp_path_factory.mktemp("sources")
    hub = Hub()
    with ImageServer() as server:
        made = {name: make(hub if make in (osv5m, hub_embedded) else server, folder) for name, make in SOURCES.items()}
        server.files["/boxes.geojson"] = boxes()
        layer = {"file": f"{server.root}/boxes.geojson", "country": "iso", "region": "place"}
        delta = {
            "datasets": {name: options | COMMON for name, (options, _, _) in made.items()},
            "boundaries": {"boxes": {"coast_km": 0, "layers": [layer]}},
            "download": {"limits": {"allow_private": True}, "pace": {"requests_per_second": 0, "attempts": 3}},
        }
        delta["datasets"]["photos"] |= {"balance": COMMON["balance"] | {"units": "boxes"}}
        config = folder / "mine.yaml"
        config.write_text(yaml.safe_dump(delta))
        before = {name: os.environ.get(name) for name in ("HF_ENDPOINT", "HF_HOME")}
        os.environ |= {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(folder / "hub")}
        arguments = ["--snakefile", ROOT / "Snakefile", "--keep-going", "--configfile", config, "--"]
        targets = [f"results/images/{name}.h5" for name in SOURCES]
        try:
            output = PROJECT.snakemake(*arguments, *targets, config=None, folder=folder).stdout
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)
    hub.close()
    return folder, made, output


@pytest.mark.parametrize("name", SOURCES)
def test_every_listed_image_is_stored_as_obtained_or_left_out_for_its_reason(built, name):
    folder, made, _ = built
    _, expected, left_out = made[name]
    store = folder / f"results/images/{name}.h5"
    columns = read_columns(store)
    with h5py.File(store) as file:
        images = [data.tobytes() for data in file["images"]]
    assert dict(zip(columns["ids"], images, strict=True)) == expected
    rejects = pd.read_parquet(folder / f"results/images/{name}.rejects.parquet")
    assert dict(zip(rejects["id"], rejects["reason"], strict=True)) == left_out
    where = dict(zip(columns["ids"], np.column_stack([columns["latitudes"], columns["longitudes"]]), strict=True))
    stored = np.array([where[key] for key in expected])
    assert np.abs(stored[:, None] - POSITIONS[None]).max(axis=2).min(axis=1).max() < 1e-5
    balance = pd.read_csv(folder / f"results/images/{name}.balance.csv", keep_default_na=False)
    assert balance["kept"].sum() == len(expected)
    assert balance["listed"].sum() == len(expected) + len(left_out)


def test_units_come_from_fetched_polygons_where_a_data_set_asks_for_them(built):
    folder, _, _ = built
    columns = read_columns(folder / "results/images/photos.h5")
    assert all(caption.split(", ")[1].startswith("box ") for caption in columns["captions"]["places"])
    rows = [int(name[5:7]) for name in columns["ids"]]
    assert columns["countries"].tolist() == [country_name(CODES[row]) for row in rows]
    assert "boxes.geojson" in columns["attributes"]["administrative_units"]
    assert "GeoNames" in read_columns(folder / "results/images/web.h5")["attributes"]["administrative_units"]


def test_groups_captions_and_licences_of_the_sources_come_through(built):
    folder, _, _ = built
    yfcc, osv = (read_columns(folder / f"results/images/{name}.h5") for name in ("yfcc", "osv5m-small"))
    assert set(yfcc["captions"]["title"]) == {"a street"}
    assert len(set(yfcc["groups"])) == 6
    assert set(osv["captions"]["region"]) == {"North"}
    assert set(osv["groups"]) == {"s0", "s1", "s2", "s3"}
    assert osv["attributes"]["licence"] == "CC-BY-SA-4.0"
    swapped = read_columns(folder / "results/images/im2gps-small.h5")["attributes"]
    assert swapped["latitude_longitude_exchanged"]


def test_the_rules_that_touch_the_network_run_where_snakemake_was_started():
    rules = (ROOT / "rules/images.smk").read_text()
    (local,) = re.findall(r"^localrules:\n((?:    \w+,\n)+)", rules, re.MULTILINE)
    assert set(re.findall(r"\w+", local)) == {"fetch_metadata", "fetch_boundaries", "download_images"}


def test_a_second_run_does_nothing(built):
    folder, _, _ = built
    arguments = ["--snakefile", ROOT / "Snakefile", "--configfile", folder / "mine.yaml", "--"]
    targets = [f"results/images/{name}.h5" for name in SOURCES]
    assert "Nothing to be done" in PROJECT.snakemake(*arguments, *targets, config=None, folder=folder).stdout


def test_another_pace_fetches_nothing_anew_and_another_limit_does(built):
    folder, _, _ = built
    arguments = ["--snakefile", ROOT / "Snakefile"]
    for change, rules in (
        ({"pace": {"connections": 2}}, set()),
        ({"limits": {"max_bytes": 1000}}, {"download_images", "build_images"}),
    ):
        (folder / "change.yaml").write_text(yaml.safe_dump({"download": change}))
        files = ["--configfile", folder / "mine.yaml", folder / "change.yaml"]
        targets = ["results/images/yfcc.h5"]
        assert PROJECT.planned(*arguments, *files, targets=targets, config=None, folder=folder) == rules
