"""Source `im2gps`: lists as they were published, on this machine and on a server."""

import hashlib
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from image_server import ImageServer
from pictures import noise
from real_towns import on_the_diagonal, towns

from geoprobe.images import im2gps, sources
from geoprobe.images.files import folder_members

NETWORK = {"attempts": 2, "timeout_s": 20, "allow_private": True}
COUNT = 60


def picture(seed):
    return noise(seed, form="JPEG")


POSITIONS, _ = towns(COUNT, seed=7)
AUTHORS = [f"{78841376 + row // 3}@N00" for row in range(COUNT)]
NAMES = [f"{1000269685 + row}_e60e9cdfb4_1125_{author}.jpg" for row, author in enumerate(AUTHORS)]
PHOTO_IDS = [str(25935894 + row) for row in range(COUNT)]


def csv_list(headings=("LAT", "LON"), names=NAMES, **others):
    """A list as those of the Im2GPS3k test set: the same numbers, under headings in the order that is given."""
    frame = pd.DataFrame(
        {"IMG_ID": names, "AUTHOR": AUTHORS, **dict(zip(headings, POSITIONS.T, strict=True)), **others}
    )
    return frame.assign(S3_Label=2, Prob_urban=0.5).to_csv(index=False)


def yfcc_list(exchanged=False):
    """A list as the info.txt of yfcc4k: text of YFCC100M with the line number before it."""
    lines = []
    for row, (latitude, longitude) in enumerate(POSITIONS):
        pair = [latitude, longitude] if exchanged else [longitude, latitude]
        fields = [
            row, PHOTO_IDS[row], "4e2f7a26a1dfbf165a7e30bdabf7e72a", AUTHORS[row], "ann", "2012-02-16 09:56:37.0",
            1331840483, "Canon+PowerShot", f"A+hill+%26+{row}", "Seen+%E8%B7%AF", "hill,green+field%2C+wide", "", *pair,
            16, "http://www.flickr.com/photos/", "http://farm8.staticflickr.com/", "Attribution License",
        ]  # fmt: skip
        lines.append("\t".join(map(str, fields)))
    return "\n".join(lines) + "\n"


def zipped(names):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for row, name in enumerate(names):
            archive.writestr(name, picture(row))
    return buffer.getvalue()


def tarred(names):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for row, name in enumerate(names):
            entry = tarfile.TarInfo(name)
            entry.size = len(picture(row))
            archive.addfile(entry, io.BytesIO(picture(row)))
    return buffer.getvalue()


@pytest.fixture
def here(tmp_path):
    """Write a list and images to this machine; returns the source's options."""

    def make(text=None, form="im2gps3k", images="im2gps3ktest.zip", members=None, **options):
        text = text or (csv_list() if form == "im2gps3k" else yfcc_list())
        names = NAMES if form == "im2gps3k" else [f"{name}.jpg" for name in PHOTO_IDS]
        members = [f"im2gps3ktest/{name}" for name in names] if members is None else members
        metadata = tmp_path / ("list.csv" if form == "im2gps3k" else "info.txt")
        metadata.write_text(text, encoding="utf-8")
        path = tmp_path / images
        if images.endswith(".zip"):
            path.write_bytes(zipped(members))
        elif images.endswith(".tar.gz"):
            path.write_bytes(tarred(members))
        else:
            for row, name in enumerate(members):
                (path / name).parent.mkdir(parents=True, exist_ok=True)
                (path / name).write_bytes(picture(row))
        return {"format": form, "metadata": str(metadata), "images": str(path), **options}

    return make


def listing(options, folder=None):
    im2gps.check(options)
    return pd.concat(im2gps.list_images(options, folder), ignore_index=True)


def test_a_list_of_im2gps3k_is_read(here):
    options = here()
    rows = listing(options)
    assert rows["id"].tolist() == NAMES
    assert rows["group"].tolist() == rows["author"].tolist() == AUTHORS
    np.testing.assert_array_equal(rows[["latitude", "longitude"]], POSITIONS)
    assert rows["archive"].eq(options["images"]).all()
    assert rows["member"].tolist() == [f"im2gps3ktest/{name}" for name in NAMES]
    assert rows["reason"].eq("").all()


def test_a_list_of_yfcc4k_is_read(here):
    rows = listing(here(form="yfcc4k", captions=["title", "description", "tags"]))
    assert rows["id"].tolist() == PHOTO_IDS
    assert rows["group"].tolist() == AUTHORS
    np.testing.assert_array_equal(rows[["latitude", "longitude"]], POSITIONS)
    assert rows["licence"].eq("Attribution License").all()
    assert rows["caption:title"][5] == "A hill & 5"
    assert rows["caption:description"][0] == "Seen 路"
    assert rows["caption:tags"][0] == "hill green field, wide"
    assert rows["member"].tolist() == [f"im2gps3ktest/{name}.jpg" for name in PHOTO_IDS]


@pytest.mark.parametrize(
    ("form", "text"),
    [("im2gps3k", csv_list(("LON", "LAT"))), ("yfcc4k", yfcc_list(exchanged=True))],
)
def test_coordinates_under_each_others_headings_are_put_right_and_told(here, capsys, form, text):
    options = here(text, form)
    rows = listing(options)
    np.testing.assert_array_equal(rows[["latitude", "longitude"]], POSITIONS)
    assert "latitude and longitude are in each other's columns; they are exchanged" in capsys.readouterr().out
    assert im2gps.describe(options)["latitude_longitude_exchanged"] is True


def test_a_list_with_the_right_headings_is_left_alone(here, capsys):
    options = here()
    listing(options)
    assert "exchanged" not in capsys.readouterr().out
    assert im2gps.describe(options)["latitude_longitude_exchanged"] is False


def test_the_user_may_say_whether_they_are_exchanged(here):
    rows = listing(here(swapped=True))
    np.testing.assert_array_equal(rows[["latitude", "longitude"]], POSITIONS[:, ::-1])
    rows = listing(here(csv_list(("LON", "LAT")), swapped=False))
    np.testing.assert_array_equal(rows[["latitude", "longitude"]], POSITIONS[:, ::-1])


def test_a_list_for_which_it_cannot_be_told_is_refused_by_name(here):
    positions, _ = on_the_diagonal(COUNT)
    options = here(csv_list(LAT=positions[:, 0], LON=positions[:, 1]))
    with pytest.raises(ValueError, match=r"list\.csv: it cannot be told"):
        listing(options)
    assert len(listing(options | {"swapped": False})) == COUNT


@pytest.mark.parametrize("images", ["images.zip", "images.tar.gz", "images"])
def test_images_may_be_in_an_archive_or_a_folder(here, images):
    members = [f"{row % 3}/{name}" for row, name in enumerate(NAMES)] + ["0/__MACOSX/._x.jpg", "notes.txt"]
    rows = listing(here(images=images, members=members))
    assert rows["member"].tolist() == members[:COUNT]
    assert rows["archive"].str.endswith(images).all()


def test_images_of_a_folder_are_read_where_their_rows_say(here):
    options = here(images="images")
    rows = listing(options)
    wanted = [*rows["member"], "absent.jpg", "im2gps3ktest"]
    found = [(data, status) for _, data, status, _ in folder_members(options["images"], wanted, 10_000)]
    assert found == [(picture(row), "") for row in range(COUNT)] + [(None, "member missing")] * 2
    ((_, data, status, detail),) = folder_members(options["images"], wanted[:1], 100)
    assert (data, status, detail) == (None, "too large", f"{len(picture(0))} bytes")


def test_of_two_images_of_a_name_the_first_is_taken(here):
    members = [f"{place}/{name}" for place in ("b", "a") for name in NAMES]
    assert listing(here(members=members))["member"].tolist() == members[:COUNT]


def test_an_image_without_a_row_is_counted_and_a_row_without_an_image_left_out(here, capsys):
    members = [f"im2gps3ktest/{name}" for name in NAMES[2:]] + ["im2gps3ktest/a.jpg", "im2gps3ktest/b.jpg", "c.jpg"]
    rows = listing(here(members=members))
    assert rows["reason"].tolist() == ["member missing"] * 2 + [""] * (COUNT - 2)
    assert rows["archive"].tolist()[:2] == rows["member"].tolist()[:2] == ["", ""]
    assert f"3 of {COUNT + 1} images are not in the list" in capsys.readouterr().out


def test_names_with_folders_as_those_of_mp16_are_found(here):
    names = [f"{row:02x}/ff/{name}" for row, name in enumerate(NAMES)]
    rows = listing(here(csv_list(names=names)))
    assert rows["id"].tolist() == names
    assert rows["member"].tolist() == [f"im2gps3ktest/{name}" for name in NAMES]


def test_a_list_without_authors_has_no_groups(here):
    text = pd.read_csv(io.StringIO(csv_list())).drop(columns="AUTHOR").to_csv(index=False)
    rows = listing(here(text))
    assert rows["group"].eq("").all()
    assert "author" not in rows


@pytest.mark.parametrize("form", ["im2gps3k", "yfcc4k"])
@pytest.mark.parametrize("chunk", [1, 7, 60, 100])
def test_a_list_is_read_in_chunks_that_make_up_the_whole(here, monkeypatch, form, chunk):
    options = here(form=form)
    whole = listing(options)
    monkeypatch.setattr(sources, "CHUNK", chunk)
    frames = list(im2gps.list_images(options))
    assert max(map(len, frames)) == min(chunk, COUNT)
    pd.testing.assert_frame_equal(pd.concat(frames, ignore_index=True), whole)


# the network


def test_list_and_images_are_fetched_from_their_addresses(direct, tmp_path):
    images = zipped(NAMES)
    with ImageServer() as server:
        server.files |= {"/a/list.csv": csv_list(("LON", "LAT")).encode(), "/images all.zip": images}
        addresses = {"metadata": f"{server.root}/a/list.csv", "images": f"{server.root}/images%20all.zip?download=1"}
        options = {"format": "im2gps3k"} | addresses
        im2gps.check(options)
        manifest = im2gps.fetch_metadata(options, tmp_path / "metadata", NETWORK)
    assert [entry["url"] for entry in manifest] == [options["metadata"], options["images"]]
    assert manifest[1]["sha256"] == hashlib.sha256(images).hexdigest()
    rows = listing(options, tmp_path / "metadata")
    np.testing.assert_array_equal(rows[["latitude", "longitude"]], POSITIONS)
    with zipfile.ZipFile(rows["archive"][0]) as archive:
        assert [archive.read(name) for name in rows["member"]] == [picture(row) for row in range(COUNT)]
    assert im2gps.describe(options, tmp_path / "metadata")["latitude_longitude_exchanged"] is True
    assert "latitude_longitude_exchanged" not in im2gps.describe(options)


def test_files_on_this_machine_are_recorded_and_checked(here, tmp_path):
    options = here()
    manifest = im2gps.fetch_metadata(options, tmp_path / "metadata", NETWORK)
    assert [(entry["file"], entry["url"]) for entry in manifest] == [(options["metadata"], ""), (options["images"], "")]
    digest = hashlib.sha256(Path(options["images"]).read_bytes()).hexdigest()
    assert manifest[1]["sha256"] == digest
    im2gps.fetch_metadata(options | {"images_sha256": digest.upper()}, tmp_path, NETWORK)
    with pytest.raises(ValueError, match=rf"images is .*whose sha256 is {digest} and not {'0' * 64}"):
        im2gps.fetch_metadata(options | {"images_sha256": "0" * 64}, tmp_path, NETWORK)
    assert len(im2gps.fetch_metadata(here(images="folder"), tmp_path, NETWORK)) == 1


# errors


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"format": "im2gps"}, r'format is "im2gps"; allowed: im2gps3k, yfcc4k'),
        ({"captions": ["title"]}, r'captions names "title"; a list of the format im2gps3k has none'),
        ({"format": "yfcc4k", "captions": ["place"]}, r"format yfcc4k has title, description, tags"),
        ({"metadata": "absent.csv"}, r'metadata is "absent\.csv", and there is no such file'),
        ({"images": "absent.zip"}, r'images is "absent\.zip", and there is no such file or folder'),
        ({"images": "https://a.example/file/images"}, r"does not end like an archive"),
    ],
)
def test_options_that_cannot_work_are_refused_in_one_sentence(here, changed, says):
    options = here()
    im2gps.check(options)
    with pytest.raises(ValueError, match=says) as caught:
        im2gps.check(options | changed)
    assert "\n" not in str(caught.value)


def test_images_that_are_no_archive_are_named(here):
    options = here()
    with pytest.raises(ValueError, match="is no folder and does not end like an archive"):
        im2gps.check(options | {"images": options["metadata"]})
    Path(options["images"]).write_bytes(b"no archive")
    with pytest.raises(ValueError, match=r'im2gps3ktest\.zip" is damaged or no archive'):
        listing(options)


def test_a_list_of_the_other_format_is_named(here):
    with pytest.raises(ValueError, match=r"list\.csv: no column IMG_ID and no column LAT and no column LON among 0"):
        listing(here(yfcc_list()))
    with pytest.raises(
        ValueError, match=r"info\.txt, line 1: 1 tab-separated fields; a list of the format yfcc4k has 14"
    ):
        listing(here(csv_list(), "yfcc4k"))


def test_a_short_line_is_named_by_its_number(here):
    lines = yfcc_list().splitlines()
    lines[41] = lines[41][:40]
    with pytest.raises(ValueError, match=r"info\.txt, line 42: \d tab-separated fields"):
        listing(here("\n".join(lines), "yfcc4k"))


def test_licence_and_attribution_are_as_stated_or_those_of_flickr(here):
    options = here()
    assert im2gps.describe(options)["licence"] == "Creative Commons, image by image"
    described = im2gps.describe(options | {"licence": "CC0", "attribution": "Ann"})
    assert (described["licence"], described["attribution"]) == ("CC0", "Ann")
    assert described["source_version"] == f"im2gps3k: {options['metadata']}"
