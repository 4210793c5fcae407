"""Source `osv5m`: a small OpenStreetView-5M, laid out as the real one, on a hub of our own."""

import io
import time
import zipfile

import numpy as np
import pandas as pd
import pytest
from hub_server import Hub
from pictures import noise

from geoprobe.images import osv5m
from geoprobe.images.fetch import fetch_file

NETWORK = {"attempts": 2, "timeout_s": 20, "allow_private": True}
# the header of the published lists
HEADER = [
    "id", "latitude", "longitude", "thumb_original_url", "country", "sequence", "captured_at", "lon_bin", "lat_bin",
    "cell", "region", "sub-region", "city", "land_cover", "road_index", "drive_side", "climate", "soil", "dist_sea",
    "quadtree_10_5000", "quadtree_10_25000", "quadtree_10_1000", "quadtree_10_50000", "quadtree_10_12500",
    "quadtree_10_500", "quadtree_10_2500", "unique_region", "unique_sub-region", "unique_city", "unique_country",
    "creator_username", "creator_id",
]  # fmt: skip
PHOTOS = 30


def picture(seed):
    return noise(seed, form="JPEG")


def listed(split):
    rows = np.arange(PHOTOS)
    frame = pd.DataFrame("", index=rows, columns=HEADER)
    frame["id"] = [f"{100 * (split == 'test') + row:015d}" for row in rows]
    frame["latitude"], frame["longitude"] = 40 + rows / 100, -80 - rows / 100
    frame["country"], frame["region"], frame["sub-region"] = "US", "Ohio", "Lake County"
    frame["sequence"] = [f"seq{row // 3}" if row % 2 else "" for row in rows]
    frame["creator_id"], frame["creator_username"] = [str(row // 10) for row in rows], "ann"
    return frame


@pytest.fixture(scope="module")
def content():
    """Files of the data set: two lists, and images spread over two archives of each split by their row."""
    files = {"README.md": b"OSV-5M"}
    for split in ("train", "test"):
        frame = listed(split)
        files[f"{split}.csv"] = frame.to_csv(index=False).encode()
        for number in range(2):
            buffer = io.BytesIO()
            with zipfile.ZipFile(buffer, "w") as archive:
                for row in range(number, PHOTOS, 2):
                    if (split, row) != ("test", 29):  # one image is missing
                        archive.writestr(f"{number:02d}/{frame['id'][row]}.jpg", picture(row))
            files[f"images/{split}/{number:02d}.zip"] = buffer.getvalue()
    return files


@pytest.fixture
def source(content, monkeypatch, tmp_path):
    """Options for the small data set, and where its metadata go."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    server = Hub()
    server.add("osv5m/osv5m", content, licence="cc-by-sa-4.0")
    yield {"split": "train", "endpoint": server.endpoint}, tmp_path / "metadata", server
    server.close()


def listing(options, folder):
    osv5m.check(options)
    osv5m.fetch_metadata(options, folder, NETWORK)
    return pd.concat(osv5m.list_images(options, folder), ignore_index=True)


def test_by_default_the_images_of_the_first_archive_are_the_data_set(source, content):
    options, folder, server = source
    rows = listing(options, folder)
    frame = listed("train")[::2]
    assert rows["id"].tolist() == frame["id"].tolist()
    np.testing.assert_allclose(rows[["latitude", "longitude"]], frame[["latitude", "longitude"]])
    assert rows["member"].tolist() == [f"00/{name}.jpg" for name in rows["id"]]
    assert rows["reason"].eq("").all()
    assert rows["country"].eq("US").all()
    assert rows["author"].eq("ann").all()
    assert server.sent("images/train/01.zip") == server.sent("images/test") == server.sent("test.csv") == 0
    assert server.sent("images/train/00.zip") < len(content["images/train/00.zip"])


def test_photos_of_a_sequence_are_a_group_and_else_those_of_a_person(source):
    options, folder, _ = source
    rows = listing(options | {"archives": [0, 1]}, folder)
    frame = listed("train")
    expected = frame["sequence"].where(frame["sequence"] != "", frame["creator_id"])
    assert rows.set_index("id")["group"].to_dict() == dict(zip(frame["id"], expected, strict=True))
    assert {"seq0", "0"} <= set(rows["group"])


def test_captions_can_be_the_region_and_what_lies_in_it(source):
    options, folder, _ = source
    rows = listing(options | {"captions": ["region", "sub-region"]}, folder)
    assert rows["caption:region"].eq("Ohio").all()
    assert rows["caption:sub-region"].eq("Lake County").all()
    assert "caption:city" not in rows


def test_of_all_archives_a_row_without_an_image_is_left_out_for_that(source):
    options, folder, _ = source
    rows = listing(options | {"split": "test", "archives": "all"}, folder)
    assert len(rows) == PHOTOS
    assert rows.loc[rows["reason"] != "", "id"].tolist() == ["000000000000129"]
    assert rows["archive"].str.contains("/images/test/0[01].zip$").sum() == PHOTOS - 1


def test_the_image_is_where_its_row_says(source, tmp_path):
    options, folder, _ = source
    rows = listing(options | {"archives": [1]}, folder)
    fetch_file(rows["archive"][3], tmp_path / "01.zip", NETWORK, sha256=rows["archive_sha256"][3])
    with zipfile.ZipFile(tmp_path / "01.zip") as archive:
        assert archive.read(rows["member"][3]) == picture(7)


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"split": "val"}, r'split is "val"; allowed: train, test'),
        ({"archives": [98]}, r"archives names 98; the split train has those from 0 to 97"),
        ({"archives": [-1]}, r"archives names -1"),
        ({"split": "test", "archives": [5]}, r"the split test has those from 0 to 4"),
        ({"archives": []}, r"archives names none"),
        ({"captions": ["climate"]}, r'captions names "climate"; allowed: region, sub-region, city'),
        ({"repo": "osv5m"}, r'repo is "osv5m"'),
    ],
)
def test_options_that_cannot_work_are_refused(changed, says):
    osv5m.check({"split": "train"})
    with pytest.raises(ValueError, match=says):
        osv5m.check({"split": "train"} | changed)


def test_licence_and_commit_are_described(source):
    options, folder, server = source
    listing(options, folder)
    described = osv5m.describe(options, folder)
    assert described["licence"] == "CC-BY-SA-4.0"
    assert described["source_version"] == f"osv5m/osv5m@{server.commit('osv5m/osv5m', -1)}"
    assert described["split"] == "train"
