"""Lists of images from anywhere: of any bytes come rows that can be used, or one sentence with the name of the file."""

import bz2
import gzip
import io

import numpy as np
import pandas as pd
import pytest
from fuzzing import TEXTS, damaged, guarded
from hypothesis import example, given
from hypothesis import strategies as st
from test_yfcc100m import OPTIONS, PHOTOS, text, write_sqlite

from geoprobe.clusters.naming import read_names
from geoprobe.images import commons_photos, im2gps, landmarks, table, yfcc100m
from geoprobe.images.checks import coordinate_reasons
from geoprobe.images.members import check_pattern, member_key
from geoprobe.interventions.landmarks import read_landmarks
from geoprobe.models.registry import read_registry

CSV = (
    "id,path,latitude,longitude,group,country,licence,author,note,category,name\n"
    'a,1.jpg,48.85,2.29,x,FR,CC0,Zoë,"a, ""b""",C,N\n'
    "b,2.jpg,-33.9,151.2,y,AU,,,,D,M\n,3.jpg,,,,,,,,E,O\n\n"
).encode()
WORDS = [
    b",",
    b'"',
    b"\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xef\xbb\xbf",
    b"nan",
    b"-inf",
    b"1e308",
    b"latitude",
    b"\t",
    b"x" * 140_000,
]


def parquet(frame):
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lists")


def check_rows(frames):
    """Positions that pass the check of all sources are on the Earth, and ids and reasons are text."""
    for rows in frames:
        positions = rows[["latitude", "longitude"]].to_numpy(np.float64)
        usable = coordinate_reasons(*positions.T) == ""
        assert (np.abs(positions[usable]) <= [90, 180]).all()
        for name in ("id", "group", "reason"):
            assert all(isinstance(value, str) for value in rows[name]), name
            rows[name].str.encode("utf-8")


def write(folder, name, data):
    path = folder / name
    path.write_bytes(data)
    return path


@given(data=damaged([CSV], WORDS), captions=st.sampled_from([[], ["note"]]))
def test_a_csv_table(folder, data, captions):
    path = write(folder, "own.csv", data)
    with guarded(ValueError, naming=path, folder=folder):
        table.check({"path": str(path), "captions": captions})
        check_rows(table.list_rows(path, "path", captions))


FRAME = pd.read_csv(io.BytesIO(CSV), dtype="str").fillna("")
PARQUETS = [
    parquet(FRAME),
    parquet(FRAME.assign(latitude=[48.85, np.nan, np.inf], longitude=[1, 2, 3], id=[1, 2, 3])),
    parquet(FRAME.assign(path=pd.Categorical(FRAME["path"]), note=[[1], [2], []], id=[b"\xff", b"a", None])),
    parquet(FRAME.assign(latitude=pd.to_datetime("2020-01-01"), longitude=[True, None, False])),
]


# the header of a page is no Thrift
@example(data=PARQUETS[0][:4] + bytes(60) + PARQUETS[0][64:], captions=[])
@given(data=damaged(PARQUETS, [b"PAR1", b""]), captions=st.sampled_from([[], ["note"]]))
def test_a_parquet_table(folder, data, captions):
    path = write(folder, "own.parquet", data)
    with guarded(ValueError, naming=path, folder=folder):
        table.check({"path": str(path), "captions": captions})
        check_rows(table.list_rows(path, "path", captions))


@given(texts=st.lists(TEXTS, max_size=5))
def test_degrees_of_any_text(texts):
    with guarded():
        degrees = table.to_degrees(pd.Series(texts, dtype="str"))
        assert (np.isfinite(degrees) | degrees.isna()).all()


@given(data=damaged([CSV], WORDS))
def test_a_table_of_landmarks(folder, data):
    path = write(folder, "landmarks.csv", data)
    with guarded(ValueError, naming=path, folder=folder):
        commons_photos.check({"path": str(path), "commons_api": "https://a.test"})


LANDMARKS = (
    "name,aliases,city,city_aliases,region,region_aliases,country,latitude,longitude,category\n"
    "Eiffel Tower,Tour Eiffel | エッフェル塔,Paris,,Île-de-France,,FR,48.858,2.294,Eiffel Tower\n"
    '"Opera, Sydney",,Sydney,,,,AU,-33.857,151.215,Sydney Opera House\n'
).encode()


@example(data=b"\x80")
@given(data=damaged([LANDMARKS], [*WORDS, b"|", b" | "]))
def test_a_table_of_landmarks_for_interventions(folder, data):
    path = write(folder, "named.csv", data)
    with guarded(ValueError, naming=path, folder=folder):
        for landmark in read_landmarks(path):
            assert abs(landmark.latitude) <= 90
            assert abs(landmark.longitude) <= 180
            assert landmark.name


@given(data=damaged([b'cluster,name\n0,sea\n1,"sand, sun"\n2,snow\n'], [*WORDS, b"1" * 5000]))
@example(data=b"\x80")
@example(data=b"cluster,name\n" + b"1" * 5000 + b",a\n")
def test_names_of_clusters(folder, data):
    path = write(folder, "clusters.csv", data)
    with guarded(ValueError, naming=path, folder=folder):
        assert all(number >= 0 and name for number, name in read_names(path))


REGISTRY = (
    b"model\tlabel\tloader\tid\trevision\tsupervision\tgeolocation\tdtype\tmemory_gb\tweights\n"
    b"vit\tViT\ttransformers\ta/b\tmain\tvision-only\tno\tfloat32\t2.5\tsafetensors\n"
    b"mine\tMine\tlocal\tfolder\tnone\tmultimodal\tyes\tbfloat16\t4\tany\n"
)


@example(data=b"\x80")
@given(data=damaged([REGISTRY], WORDS))
def test_the_registry_of_models(folder, data):
    path = write(folder, "models.tsv", data)
    with guarded(ValueError, naming=path, folder=folder):
        for name, row in read_registry(path).items():
            assert name == row["model"]
            assert 0 < float(row["memory_gb"]) < float("inf")


# im2gps and YFCC100M

IM2GPS = b"IMG_ID,AUTHOR,LAT,LON\n1.jpg,ann,48.85,2.29\n2.jpg,bob,-33.9,151.2\n3.jpg,,95,10\n"
YFCC = text(PHOTOS).replace(b"6985418001", b"1").replace(b"6985418003", b"2")


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    photos = tmp_path_factory.mktemp("photos")
    for number in (1, 2):
        (photos / f"{number}.jpg").write_bytes(b"x")
    return photos


@pytest.mark.parametrize(("form", "seed"), [("im2gps3k", IM2GPS), ("yfcc4k", YFCC)], ids=["csv", "text"])
@pytest.mark.parametrize("swapped", ["auto", False])
def test_a_list_of_im2gps(folder, photos, form, seed, swapped):
    captions = ["title", "tags"] if form == "yfcc4k" else []

    @example(data=b"\x80" + seed)
    @given(data=damaged([seed], WORDS))
    def run(data):
        path = write(folder, f"{form}.txt", data)
        options = {
            "format": form,
            "metadata": str(path),
            "images": str(photos),
            "swapped": swapped,
            "captions": captions,
        }
        with guarded(ValueError, naming=path, folder=folder):
            im2gps.check(options)
            check_rows(im2gps.list_images(options))

    run()


YFCC_PARQUET = parquet(pd.DataFrame(PHOTOS))
YFCC_GZIP, YFCC_BZIP2 = gzip.compress(text(PHOTOS), mtime=0), bz2.compress(text(PHOTOS))
YFCC_FILES = [text(PHOTOS), text(PHOTOS, numbered=False), YFCC_GZIP, YFCC_BZIP2, YFCC_PARQUET]


@example(data=YFCC_GZIP[:-9])
@example(data=YFCC_BZIP2[:-9])
@example(data=YFCC_PARQUET[:4] + bytes(60) + YFCC_PARQUET[64:])  # Parquet whose pages cannot be read
@given(data=damaged(YFCC_FILES, WORDS))
def test_metadata_of_yfcc100m(folder, data):
    path = write(folder, "yfcc", data)
    with guarded(ValueError, naming=path, folder=folder):
        yfcc100m.check(OPTIONS | {"metadata": str(path)})
        check_rows(yfcc100m.list_images(OPTIONS | {"metadata": str(path)}, None))


@given(data=damaged([text(PHOTOS)], WORDS))
def test_packed_metadata_of_yfcc100m(folder, data):
    """Text that is damaged before it is packed, so that it is unpacked and read."""
    for name, pack in (("gz", gzip.compress), ("bz2", bz2.compress)):
        path = write(folder, f"yfcc.{name}", pack(data))
        with guarded(ValueError, naming=path, folder=folder):
            check_rows(yfcc100m.list_images(OPTIONS | {"metadata": str(path)}, None))


@pytest.fixture(scope="module")
def sqlite(tmp_path_factory):
    path = tmp_path_factory.mktemp("sqlite") / "photos.db"
    write_sqlite(path, PHOTOS)
    return path.read_bytes()


@given(data=st.data())
def test_a_database_of_yfcc100m(folder, sqlite, data):
    path = write(folder, "yfcc.db", data.draw(damaged([sqlite])))
    with guarded(ValueError, naming=path, folder=folder):
        yfcc100m.check(OPTIONS | {"metadata": str(path)})
        check_rows(yfcc100m.list_images(OPTIONS | {"metadata": str(path)}, None))


# Google Landmarks

LABELLED = (
    b"landmark_id,category,supercategory,hierarchical_label,natural_or_human_made\n7,Category:A,tower,a,human-made\n"
)
TABLES = {
    "train.csv": b"id,url,landmark_id\n0a,https://a.test/1.jpg,7\n0b,https://a.test/2.jpg,8\n0c,,7\n",
    "train_clean.csv": b"landmark_id,images\n7,0a 0c\n",
    "train_attribution.csv": b'id,url,author,license,title\n0a,https://a.test,"Zoe, B",CC0,T\n0b,,,,\n',
    "train_label_to_category.csv": b"landmark_id,category\n7,http://commons.wikimedia.org/wiki/Category:A\n8,\n",
    "train_label_to_hierarchical.csv": LABELLED,
    "train_coordinates.parquet": parquet(
        pd.DataFrame({"landmark_id": [7, 8], "latitude": [48.85, np.nan], "longitude": [2.29, np.nan]})
    ),
    "train_images_000.parquet": parquet(
        pd.DataFrame({"id": ["0a", "0b"], "member": ["0/a/0a.jpg", "0/b/0b.jpg"], "tar": 0, "md5": "0" * 32})
    ),
}


@given(
    name=st.sampled_from(sorted(TABLES)),
    data=st.data(),
    origin=st.sampled_from(["urls", "archives"]),
    clean=st.booleans(),
    most=st.sampled_from([None, 1]),
)
def test_tables_of_landmarks_of_a_data_set(tmp_path_factory, name, data, origin, clean, most):
    folder = tmp_path_factory.mktemp("landmarks")
    for other, content in TABLES.items():
        write(folder, other, content)
    write(folder, name, data.draw(damaged([TABLES[name]], WORDS)))
    options = {
        "split": "train", "clean": clean, "from": origin, "tars": [0], "keep_tars": False, "max_per_landmark": most,
        "images_base": "https://a.test",
    }  # fmt: skip
    with guarded(ValueError, naming=folder, folder=folder):
        check_rows(landmarks.list_images(options, folder))


# patterns and what they find


@given(
    pattern=st.lists(
        st.sampled_from(
            ["{id}", "{path}", "{archive_stem}", "/", "a", "{", "}", "{0}", "{id!r}", "(", "\\", "*", "\n", "é"]
        ),
        max_size=6,
    ).map("".join),
    member=TEXTS,
)
def test_a_pattern_of_members(pattern, member):
    with guarded(ValueError, naming="member is"):
        check_pattern("member", pattern, ["id", "path"], ["archive_stem"])
        key = member_key(pattern, "x/a.tar.gz")(member)
        assert key is None or key in member
