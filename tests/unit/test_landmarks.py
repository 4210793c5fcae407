"""Source `landmarks`: tables, tar files and an API as they are published, from a server on this machine."""

import collections
import csv
import hashlib
import io
import itertools
import json
import random
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pandas as pd
import pytest
from image_server import ImageServer

from geoprobe.images import landmarks
from geoprobe.images.fetch import FetchError

NETWORK = {"allow_private": True, "requests_per_second": 0, "attempts": 2, "timeout_s": 30}
CC = "https://creativecommons.org/licenses/by/2.0/"


def image_id(number):
    """16 hexadecimal digits, as the ids of the data set are."""
    return hashlib.sha256(f"image {number}".encode()).hexdigest()[:16]


def photo(name):
    """What stands for the file of an image."""
    return f"the photograph {name}".encode() * 50


def member_name(name):
    """Where the data set's README says that an image lies in its tar file."""
    return f"{name[0]}/{name[1]}/{name[2]}/{name}.jpg"


def table(*rows):
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue().encode()


def tar(names, start=""):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name in names:
            for depth in (1, 3):
                folder = tarfile.TarInfo(start + member_name(name)[:depth])
                folder.type = tarfile.DIRTYPE
                archive.addfile(folder)
            entry = tarfile.TarInfo(start + member_name(name))
            entry.size = len(photo(name))
            archive.addfile(entry, io.BytesIO(photo(name)))
    return buffer.getvalue()


# landmark to (address of its category, the title that the wiki knows, where that is)
PLACES = {
    0: ("http://commons.wikimedia.org/wiki/Category:Kyiv_Pechersk_Lavra", "Category:Kyiv Pechersk Lavra", (50.4, 30.6)),
    1: (
        "http://commons.wikimedia.org/wiki/Category:Z%C3%BCrich_%22A%2C_B%22",
        'Category:Zürich "A, B"',
        (-33.5, 151.2),
    ),
    2: ("http://commons.wikimedia.org/wiki/Category:Deleted_%28since%29", "Category:Deleted (since)", None),
    3: ("http://commons.wikimedia.org/wiki/Category:AC/DC_Lane?", "Category:AC/DC Lane?", (-37.8, 145.0)),
}
KINDS = {0: "monastery", 1: "", 2: "bridge"}  # 3 is in no hierarchy
# image number to landmark and tar file, in the order of train.csv
TRAIN = [(7, 0, 0), (2, 1, 2), (5, 2, 0), (1, 0, 2), (9, 3, 1), (4, 0, 0), (8, 0, 1), (3, 1, 1), (6, 9, 2)]
TARS = {
    number: tar([image_id(image) for image, _, place in TRAIN if place == number], "./" if number == 1 else "")
    for number in range(3)
}
AUTHORS = {7: "Ann", 2: 'Bob "B", of\nParis', 5: "", 1: "Zoë"}


def labels(places=PLACES):
    categories = table(["landmark_id", "category"], *([number, place[0]] for number, place in places.items()))
    rows = ([number, places[number][0], kind, "type", "human-made"] for number, kind in KINDS.items())
    header = ["landmark_id", "category", "supercategory", "hierarchical_label", "natural_or_human_made"]
    return categories, table(header, *rows)


def published():
    """Path to content of what the server has."""
    categories, hierarchy = labels()
    urls = {image: f"https://upload.wikimedia.org/wikipedia/commons/0/{image}.jpg" for image, _, _ in TRAIN}
    files = {
        "metadata/train.csv": table(
            ["id", "url", "landmark_id"], *([image_id(image), urls[image], place] for image, place, _ in TRAIN)
        ),
        "metadata/train_clean.csv": table(
            ["landmark_id", "images"], [0, f"{image_id(4)} {image_id(7)}"], [1, image_id(2)], [3, image_id(9)]
        ),
        # in another order than the images
        "metadata/train_attribution.csv": table(
            ["id", "url", "author", "license", "title"],
            *sorted(
                [image_id(image), "https://commons.wikimedia.org/wiki/File:X", AUTHORS.get(image, "Eve"), CC, "File:X"]
                for image, _, _ in TRAIN
            ),
        ),
        "metadata/index.csv": table(["id"], *([image_id(number)] for number in (12, 10, 11))),
        "metadata/index_image_to_landmark.csv": table(["id", "landmark_id"], [image_id(10), 0], [image_id(12), 3]),
        "index/images_000.tar": tar([image_id(number) for number in (10, 11, 12)]),
    }
    for split in ("train", "index"):
        files[f"metadata/{split}_label_to_category.csv"] = categories
        files[f"metadata/{split}_label_to_hierarchical.csv"] = hierarchy
    for number, content in TARS.items():
        files[f"train/images_{number:03d}.tar"] = content
    for name, content in list(files.items()):
        if name.endswith(".tar"):
            split, tar_name = name[:-4].split("/")
            line = f"{hashlib.md5(content).hexdigest()}  {tar_name}.tar\n"
            files[f"md5sum/{split}/md5.{tar_name}.txt"] = line.encode()
    return files


@pytest.fixture
def server(direct):
    """A bucket with files, and an API of Commons that knows PLACES; `titles` are those that it was asked for."""
    known = {title: position for _, title, position in PLACES.values() if position}

    def answer(asked):
        titles = asked.query["titles"].split("|")
        server.titles += titles
        pages = []
        for number, title in enumerate(titles):
            page = {"ns": 14, "title": title}
            if title in known:
                latitude, longitude = known[title]
                place = {"lat": latitude, "lon": longitude, "primary": True, "globe": "earth"}
                page |= {"pageid": number + 1, "coordinates": [place]}
            else:
                page["missing"] = True
            pages.append(page)
        return {"batchcomplete": True, "query": {"pages": pages}}

    with ImageServer() as server:
        server.files, server.titles = {f"/{name}": content for name, content in published().items()}, []
        server.answers["/api"] = answer
        yield server


@pytest.fixture
def options(server):
    return {
        "split": "train",
        "clean": False,
        "from": "archives",
        "tars": [0, 1, 2],
        "keep_tars": False,
        "max_per_landmark": None,
        "metadata_base": f"{server.root}/metadata",
        "images_base": f"{server.root}/",
        "commons_api": f"{server.root}/api",
        "wikidata_api": f"{server.root}/wikidata",
        "retry_missing_days": None,
    }


@pytest.fixture
def listed(options, tmp_path):
    """Fetch and list with the options and others; returns one frame."""

    def make(**others):
        chosen = options | others
        landmarks.check(chosen)
        landmarks.fetch_metadata(chosen, tmp_path, NETWORK)
        return pd.concat(list(landmarks.list_images(chosen, tmp_path)), ignore_index=True)

    return make


def in_tars(*numbers):
    """Ids of the images of some tar files, in the order of train.csv."""
    return [image_id(image) for image, _, place in TRAIN if place in numbers]


# what is listed


def test_the_images_of_the_tar_files_are_listed_in_the_order_of_the_table(listed, options):
    rows = listed()
    assert rows["id"].tolist() == in_tars(0, 1, 2)
    assert rows["group"].tolist() == [f"train/{landmark}" for _, landmark, _ in TRAIN]
    for (image, landmark, number), row in zip(TRAIN, rows.to_dict("records"), strict=True):
        _, title, position = PLACES.get(landmark, ("", "", None))
        assert row["archive"] == f"{options['images_base']}train/images_{number:03d}.tar"
        assert row["archive_md5"] == hashlib.md5(TARS[number]).hexdigest()
        assert row["caption:title"] == title.removeprefix("Category:")
        assert row["caption:kind"] == KINDS.get(landmark, "")
        assert row["author"] == AUTHORS.get(image, "Eve")
        assert row["licence"] == CC
        if position:
            assert (row["latitude"], row["longitude"]) == position
            assert row["reason"] == ""
        else:
            assert pd.isna(row["latitude"])
            assert pd.isna(row["longitude"])
            assert row["reason"] == "landmark without coordinates"


def test_each_image_is_where_its_row_says(listed, server):
    for row in listed().to_dict("records"):
        content = server.files[row["archive"].removeprefix(server.root)]
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            assert archive.extractfile(row["member"]).read() == photo(row["id"])


def test_images_of_other_tar_files_are_not_listed_and_their_landmarks_not_asked_for(listed, server):
    assert listed(tars=[0])["id"].tolist() == in_tars(0)
    assert sorted(server.titles) == ["Category:Deleted (since)", "Category:Kyiv Pechersk Lavra"]
    assert server.requests["/train/images_001.tar"] == server.requests["/md5sum/train/md5.images_001.txt"] == 0
    # and later the rest
    assert listed(tars=[2, 0])["id"].tolist() == in_tars(0, 2)
    assert server.titles[2:] == ['Category:Zürich "A, B"']


def test_the_clean_subset_is_that_of_its_table(listed):
    clean = {image_id(number) for number in (4, 7, 2, 9)}
    rows = listed(clean=True)
    assert rows["id"].tolist() == [name for name in in_tars(0, 1, 2) if name in clean]
    assert listed(clean=True, tars=[1])["id"].tolist() == [image_id(9)]


def test_original_addresses_need_no_tar_file(listed, server):
    rows = listed(**{"from": "urls", "tars": [0]})
    assert rows["id"].tolist() == in_tars(0, 1, 2)
    assert rows["urls"].tolist() == [[f"https://upload.wikimedia.org/wikipedia/commons/0/{n}.jpg"] for n, _, _ in TRAIN]
    assert not {"archive", "member", "url"} & set(rows)
    assert not [name for name in server.requests if "images" in name]


def test_a_row_without_an_address_says_so(listed, server):
    server.files["/metadata/train.csv"] = table(["id", "url", "landmark_id"], [image_id(7), "", 0])
    rows = listed(**{"from": "urls"})
    assert rows["reason"].tolist() == ["no address"]
    assert rows["urls"].tolist() == [[]]


def test_the_index_has_landmarks_of_its_own_and_images_of_none(listed):
    rows = listed(split="index", tars=[0])
    assert rows["id"].tolist() == [image_id(12), image_id(10), image_id(11)]
    assert rows["group"].tolist() == ["index/3", "index/0", ""]
    assert rows["reason"].tolist() == ["", "", "no landmark"]
    assert rows["latitude"].tolist()[:2] == [-37.8, 50.4]
    assert rows["caption:title"].tolist() == ["AC/DC Lane?", "Kyiv Pechersk Lavra", ""]
    assert set(rows["licence"]) == {"CC0 or public domain"}


def test_so_many_images_of_a_landmark_stay_whatever_the_order_of_the_table(listed, server, tmp_path):
    by_landmark = collections.defaultdict(list)
    for image, landmark, _ in TRAIN:
        by_landmark[landmark].append(image_id(image))
    rows = server.files["/metadata/train.csv"].decode().splitlines(keepends=True)
    for seed, most in itertools.product((None, 1, 2), (1, 2, 10)):
        if seed:
            mixed = random.Random(seed).sample(rows[1:], len(rows) - 1)
            (tmp_path / "train.csv").write_text("".join([rows[0], *mixed]), encoding="utf-8")
            server.files["/metadata/train.csv"] = (tmp_path / "train.csv").read_bytes()
        stay = {
            name
            for names in by_landmark.values()
            for name in sorted(names, key=lambda name: hashlib.md5(name.encode()).hexdigest())[:most]
        }
        found = listed(max_per_landmark=most)
        known = found[found["reason"] != "landmark without coordinates"]
        assert set(known[known["reason"] == ""]["id"]) == stay & set(known["id"])
        assert set(known["reason"]) <= {"", f"more than {most} images of the landmark"}
        assert len(found) == len(TRAIN)


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("Category:Films_by_Luigi_Filippo_D%27Amico", "Category:Films by Luigi Filippo D'Amico"),
        ("Category:100%25_(A/B)_wiki/?#", "Category:100% (A/B) wiki/?#"),
    ],
)
@pytest.mark.parametrize("start", ["http://commons.wikimedia.org/wiki/", "https://commons.m.wikimedia.org/wiki/"])
def test_the_title_of_a_category_is_in_its_address(start, name, title):
    assert landmarks.category_title(start + name) == title


# what is fetched


def test_a_tar_file_is_fetched_once_and_not_kept(listed, options, server, tmp_path):
    first = listed()
    assert [server.requests[f"/train/images_{number:03d}.tar"] for number in range(3)] == [1, 1, 1]
    assert not list(tmp_path.glob("*.tar"))
    pd.testing.assert_frame_equal(listed(), first)
    assert [server.requests[f"/train/images_{number:03d}.tar"] for number in range(3)] == [1, 1, 1]


def test_tar_files_that_are_kept_are_where_the_rows_say(listed, tmp_path):
    listed(tars=[0])
    rows = listed(tars=[0, 1], keep_tars=True)
    assert rows["id"].tolist() == in_tars(0, 1)
    for row in rows.to_dict("records"):
        assert row["archive"].startswith("file:///")
        path = Path(url2pathname(urlsplit(row["archive"]).path))
        assert path.parent == tmp_path
        assert hashlib.md5(path.read_bytes()).hexdigest() == row["archive_md5"]
        with tarfile.open(path) as archive:
            assert archive.extractfile(row["member"]).read() == photo(row["id"])


def test_kept_tar_files_are_not_fetched_again(listed, server, tmp_path):
    listed(tars=[0], keep_tars=True)
    listed(tars=[0], keep_tars=True)
    assert server.requests["/train/images_000.tar"] == 1
    assert (tmp_path / "train_images_000.tar").read_bytes() == TARS[0]


def test_notes_brought_from_elsewhere_save_the_fetching(options, server, tmp_path):
    landmarks.fetch_metadata(options, tmp_path / "a", NETWORK)
    (tmp_path / "b").mkdir()
    for number in range(3):
        name = f"train_images_{number:03d}.parquet"
        (tmp_path / "a" / name).rename(tmp_path / "b" / name)
    server.requests.clear()
    landmarks.fetch_metadata(options, tmp_path / "b", NETWORK)
    assert not [name for name in server.requests if name.endswith(".tar")]
    (rows,) = landmarks.list_images(options, tmp_path / "b")
    assert rows["id"].tolist() == in_tars(0, 1, 2)


def test_after_an_error_only_the_rest_is_fetched(listed, server):
    content = server.files.pop("/train/images_001.tar")
    with pytest.raises(FetchError, match=r"images_001\.tar: http 404"):
        listed()
    server.files["/train/images_001.tar"] = content
    assert listed()["id"].tolist() == in_tars(0, 1, 2)
    assert [server.requests[f"/train/images_{number:03d}.tar"] for number in range(3)] == [1, 2, 1]


def test_a_tar_file_with_another_checksum_is_refused(listed, server, tmp_path):
    server.files["/train/images_001.tar"] = TARS[1][:-1] + b"x"
    with pytest.raises(FetchError, match=r"images_001.tar: checksum wrong"):
        listed()
    assert not list(tmp_path.glob("train_images_001.*a*"))


def test_a_checksum_that_is_none_is_refused_by_name(listed, server):
    server.files["/md5sum/train/md5.images_000.txt"] = b"<Error>NoSuchKey</Error>"
    with pytest.raises(
        ValueError, match=r'train_images_000.md5.txt begins with "<Error>NoSuchKey</Error>", which is no'
    ):
        listed()


def test_a_tar_file_without_files_is_refused_by_its_number(listed, server):
    empty = tar([])
    server.files["/train/images_002.tar"] = empty
    server.files["/md5sum/train/md5.images_002.txt"] = hashlib.md5(empty).hexdigest().upper().encode()
    with pytest.raises(ValueError, match=r"images_002.tar holds no file; leave 2 out of tars"):
        listed()


def test_the_manifest_names_each_file_with_its_digest(options, server, tmp_path):
    manifest = landmarks.fetch_metadata(options | {"clean": True}, tmp_path, NETWORK)
    names = [
        "train.csv", "train_attribution.csv", "train_clean.csv", "train_label_to_category.csv",
        "train_label_to_hierarchical.csv", "train_images_000.parquet", "train_images_001.parquet",
        "train_images_002.parquet", "train_coordinates.parquet",
    ]  # fmt: skip
    assert [entry["file"] for entry in manifest] == names
    for entry in manifest:
        content = (tmp_path / entry["file"]).read_bytes()
        assert entry["sha256"] == hashlib.sha256(content).hexdigest()
        assert entry["bytes"] == len(content)
    assert manifest[0]["url"] == f"{server.root}/metadata/train.csv"
    assert manifest[5]["url"] == f"{server.root}/train/images_000.tar"
    assert manifest[-1]["url"] == options["commons_api"]


def test_the_index_needs_other_tables(options, tmp_path):
    manifest = landmarks.fetch_metadata(options | {"split": "index", "tars": [0]}, tmp_path, NETWORK)
    assert [entry["file"] for entry in manifest] == [
        "index.csv", "index_image_to_landmark.csv", "index_label_to_category.csv", "index_label_to_hierarchical.csv",
        "index_images_000.parquet", "index_coordinates.parquet",
    ]  # fmt: skip


# memory and chunks


def write_train(folder, count, landmarks_count):
    """Tables of so many train images with long attributions, and the coordinates of their landmarks."""
    names = [image_id(number) for number in range(count)]
    author = "Someone with a long name, " * 8
    with open(folder / "train.csv", "w", encoding="utf-8") as file:
        file.write("id,url,landmark_id\n")
        file.writelines(
            f"{name},https://upload.wikimedia.org/wikipedia/commons/{name}.jpg,{number % landmarks_count}\n"
            for number, name in enumerate(names)
        )
    with open(folder / "train_attribution.csv", "w", encoding="utf-8") as file:
        file.write("id,url,author,license,title\n")
        file.writelines(f'{name},https://commons.wikimedia.org,"{author}{name}",{CC},File\n' for name in sorted(names))
    places = {number: (f"http://c/wiki/Category:Place_{number}", "", None) for number in range(landmarks_count)}
    for name, content in zip(landmarks.LABELS, labels(places), strict=True):
        (folder / f"train_{name}").write_bytes(content)
    frame = pd.DataFrame({"landmark_id": range(landmarks_count), "latitude": 1.0, "longitude": 2.0})
    frame.to_parquet(folder / "train_coordinates.parquet")
    return names


@pytest.mark.parametrize("most", [None, 2])
def test_a_long_list_comes_in_chunks_in_the_order_of_the_table(options, tmp_path, monkeypatch, most):
    monkeypatch.setattr(landmarks, "CHUNK", 1000)
    names = write_train(tmp_path, 4500, 50)
    frames = list(landmarks.list_images(options | {"from": "urls", "max_per_landmark": most}, tmp_path))
    assert [len(frame) for frame in frames] == [1000, 1000, 1000, 1000, 500]
    rows = pd.concat(frames)
    assert rows["id"].tolist() == names
    assert rows["author"].str[-16:].tolist() == names
    assert (rows["reason"] == "").sum() == (4500 if most is None else 50 * most)


MEASURE = textwrap.dedent(
    """
    import gc, json, sys, weakref

    from geoprobe.images import landmarks
    from geoprobe.runtime import peak_mb

    landmarks.CHUNK = 20_000
    frames, count, most = [], 0, 0
    for frame in landmarks.list_images(json.loads(sys.argv[1]), sys.argv[2]):
        count += len(frame)
        frames.append(weakref.ref(frame))
        gc.collect()
        most = max(most, sum(reference() is not None for reference in frames))
    print(json.dumps([count, len(frames), most, peak_mb()]))
    """
)


def test_a_long_list_is_not_held_in_memory(options, tmp_path):
    write_train(tmp_path, 200_000, 5_000)
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, json.dumps(options | {"from": "urls"}), str(tmp_path)],
        cwd=Path(__file__).resolve().parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    count, frames, most, used_mb = json.loads(done.stdout.splitlines()[-1])
    assert (count, frames) == (200_000, 10)
    assert most <= 2  # the one that was yielded and the one before
    assert used_mb < 700  # libraries 200, and what DuckDB takes of its limit while it sorts and joins


def test_nothing_is_left_beside_the_tables(listed, tmp_path):
    listed()
    assert not [path.name for path in tmp_path.iterdir() if path.name.startswith(".")]


# errors


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"tars": [3, 500]}, r"tars names 500, but the tar files of train are 0 to 499\."),
        ({"split": "index", "tars": [100]}, r"tars names 100, but the tar files of index are 0 to 99\."),
        ({"tars": [-1]}, r"tars names -1"),
        ({"split": "index", "clean": True}, r'clean is true, but only the split train .* split is "index"'),
        ({"split": "index", "from": "urls"}, r'from is "urls", but only the split train .* split is "index"'),
        ({"images_base": "s3://google-landmark"}, r'images_base is "s3://google-landmark"; give an address'),
        ({"commons_api": ""}, r'commons_api is ""; give an address'),
    ],
)
def test_options_that_cannot_work_are_refused_in_one_sentence(options, others, message):
    with pytest.raises(ValueError, match=message) as caught:
        landmarks.check(options | others)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("split", ["train", "index"])
def test_all_tar_files_may_be_asked_for(options, split):
    chosen = options | {"split": split, "tars": None}
    landmarks.check(chosen)
    last = {"train": " 499", "index": " 99"}[split]
    assert landmarks.describe(chosen)["source_version"].endswith(last)


def test_a_table_with_other_columns_is_refused_by_name(listed, server):
    server.files["/metadata/train.csv"] = table(["id", "landmark_id"], [image_id(7), 0])
    with pytest.raises(
        ValueError, match=r'train\.csv has the columns "id,landmark_id" instead of "id,url,landmark_id"'
    ):
        listed()


@pytest.mark.parametrize(
    ("line", "message"),
    [("a,b\n", "Expected Number of Columns: 3 Found: 2"), ("a,b,None\n", 'Could not convert string "None"')],
)
def test_a_broken_line_is_refused_with_its_number_and_file(listed, server, line, message):
    server.files["/metadata/train.csv"] += line.encode()
    with pytest.raises(ValueError, match=rf"train\.csv: .*CSV Error on Line: 11 .*{message}.*fetch it again") as caught:
        listed()
    assert "\n" not in str(caught.value)


# description


def test_the_description_says_which_part_and_whose_coordinates(options):
    described = landmarks.describe(options | {"clean": True})
    assert described["source_version"] == "Google Landmarks v2.1, train, clean, tar files 0 1 2"
    assert "not of the camera" in described["coordinates"]
    assert "CC BY" in described["licence"]
    described = landmarks.describe(options | {"from": "urls"})
    assert described["source_version"] == "Google Landmarks v2.1, train, urls"
    assert "public domain" in landmarks.describe(options | {"split": "index"})["licence"]
