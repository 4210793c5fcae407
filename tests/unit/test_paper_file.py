"""An image store, read by the same calls as the paper's scripts read their files with, and nothing of ours.

The calls are those of utils.py, run_probing.py and ICML_plots.ipynb of the paper's code at commit 811605d.
"""

import io

import h5py
import numpy as np
import pandas as pd
import PIL.Image
import pytest

from geoprobe.images import folder
from geoprobe.images.store import export_store, write_store

POSITIONS = np.array([(48.8566, 2.3522), (-1.2864, 36.8172), (-16.85, 179.99), (64.13, -21.9)])
CLUSTERS = [4, 0, 4, 39]
FORMS = ["JPEG", "PNG", "WEBP", "JPEG"]
REFERENCES = {1: ("N", "S"), 3: ("E", "W")}


def pixels(seed):
    # a smooth picture, so that even JPEG keeps it
    ramp = np.linspace(0, 255, 24, dtype=np.uint8)
    return np.stack([np.tile(ramp, (16, 1)), np.full((16, 24), 40 * seed, np.uint8), np.tile(ramp[::-1], (16, 1))], 2)


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of photographs with their positions in EXIF."""
    path = tmp_path_factory.mktemp("photos")
    for seed, (form, position) in enumerate(zip(FORMS, POSITIONS, strict=True)):
        exif = PIL.Image.Exif()
        exif[315] = "Ann"  # Pillow writes no EXIF into a PNG file whose first directory is empty
        gps = exif.get_ifd(0x8825)
        for tag, degrees in zip((1, 3), position, strict=True):
            gps[tag], gps[tag + 1] = REFERENCES[tag][int(degrees < 0)], (abs(degrees), 0.0, 0.0)
        image = PIL.Image.fromarray(pixels(seed))
        image.save(
            path / f"{seed}.{form.lower()}", exif=exif, **({"quality": 95, "subsampling": 0} if form == "JPEG" else {})
        )
    return path


@pytest.fixture(scope="module", params=["store", "export"])
def path(request, photos, tmp_path_factory):
    """An image store of the photographs with their source's clusters, or the export of one with clusters of ours."""
    rows = pd.concat(folder.list_images({"path": str(photos), "group": "none"}), ignore_index=True)
    loaded = [data for data, reason in folder.load_images(rows, {}) if not reason]
    columns = {
        "ids": rows["id"].tolist(), "latitudes": rows["latitude"], "longitudes": rows["longitude"],
        "geocells": ["a", "b", "c", "d"], "countries": ["France", "Kenya", "Fiji", "Iceland"],
        "groups": rows["id"].tolist(), "clusters": CLUSTERS,
    }  # fmt: skip
    made = tmp_path_factory.mktemp("made")
    store, export = made / "images" / "photos.hdf5", made / "exports" / "photos.hdf5"
    if request.param == "store":
        write_store(store, loaded, columns, {}, {"licence": "CC0"})
        return store
    del columns["clusters"]
    write_store(store, loaded, columns, {}, {"licence": "CC0"})
    export_store(store, CLUSTERS, export)
    return export


def test_the_file_opens_with_the_papers_names_shapes_and_types(path):
    with h5py.File(path, "r") as file:
        assert {"images", "latitudes", "longitudes", "clusters"} <= set(file.keys())
        assert len(file["images"]) == 4
        assert h5py.check_vlen_dtype(file["images"].dtype) == np.uint8
        for name in ("latitudes", "longitudes", "clusters"):
            assert file[name].shape == (4,)
        assert file["latitudes"].dtype == file["longitudes"].dtype == np.float64
        assert np.issubdtype(file["clusters"].dtype, np.integer)


@pytest.mark.parametrize("row", range(4))
def test_an_image_is_decoded_by_its_row(path, row):
    file = h5py.File(path, "r")
    image = PIL.Image.open(io.BytesIO(file["images"][row])).convert("RGB")
    file.close()
    assert image.size == (24, 16)
    assert np.abs(np.asarray(image).astype(int) - pixels(row)).max() <= (12 if FORMS[row] != "PNG" else 0)


def test_targets_are_stacked_as_the_probe_wants_them(path):
    with h5py.File(path, "r") as file:
        latitudes, longitudes = np.array(file["latitudes"]), np.array(file["longitudes"])
    targets = np.stack([latitudes, longitudes], 1)
    np.testing.assert_allclose(targets, POSITIONS, rtol=0, atol=1e-6)


@pytest.mark.parametrize(("cluster", "rows"), [(4, [0, 2]), (0, [1]), (39, [3]), (7, [])])
def test_the_rows_of_a_cluster_are_found_by_its_number(path, cluster, rows):
    with h5py.File(path, "r") as file:
        found = np.where(np.array(file["clusters"]) == cluster)[0]
        images = [PIL.Image.open(io.BytesIO(file["images"][row])).convert("RGB") for row in found]
    assert found.tolist() == rows
    for row, image in zip(rows, images, strict=True):
        assert np.abs(np.asarray(image).astype(int) - pixels(row)).max() <= 12


def test_the_encoded_files_are_those_of_the_folder(path, photos):
    with h5py.File(path, "r") as file:
        stored = [bytes(np.asarray(file["images"][row])) for row in range(4)]
    assert stored == [file.read_bytes() for file in sorted(photos.iterdir())]


def test_clusters_of_other_images_are_refused(path, tmp_path):
    with h5py.File(path, "r") as file, h5py.File(tmp_path / "copy.h5", "w") as copy:
        file.copy("images", copy, expand_external=True)
        copy.attrs["digest"] = "x"
    with pytest.raises(ValueError, match="has 4 images, but there are clusters for 3"):
        export_store(tmp_path / "copy.h5", CLUSTERS[:3], tmp_path / "export.h5")
    assert not (tmp_path / "export.h5").exists()
