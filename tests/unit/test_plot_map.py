"""The script that maps predictions: what it draws, also where a data set cannot have the folds that are shown."""

import importlib.util
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image

from geoprobe.images.store import write_store

TRUTH = np.array([[10.0, 20.0], [-45.0, -120.0], [80.0, 179.0]])
PREDICTED = np.array([[12.0, 25.0], [np.nan, np.nan], [78.0, -179.0]])
UNTESTED = np.full_like(PREDICTED, np.nan)


@pytest.fixture
def script():
    """The script as a module; its main block does not run."""
    path = Path(__file__).resolve().parents[2] / "workflow/scripts/plot_map.py"
    spec = importlib.util.spec_from_file_location("plot_map", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def plot(script, folder, monkeypatch, fits, places=("vision/cls/9", "vision/cls/10"), of=slice(None)):
    """Write a store and fits (predictions by target and cross-validation), plot; what was drawn, and its title.

    Args:
        places: tower, pooling and layer of each fit; the last has the predictions.
        of: which images the fits are of.
    """
    ids = [f"image {row}" for row in range(len(TRUTH))]
    columns = {"ids": ids, "latitudes": TRUTH[:, 0], "longitudes": TRUTH[:, 1]}
    columns |= dict.fromkeys(("geocells", "groups", "countries"), ids)
    write_store(folder / "images.h5", [b"image"] * len(TRUTH), columns, {}, {})
    with h5py.File(folder / "fits.h5", "w") as file:
        file["ids"] = ids[of]
        for place in places:
            file.create_group(place)
        for where, predictions in fits.items():
            file[f"{place}/all/{where}/none/predictions"] = predictions.astype(np.float32)
    drawn, draw = [], script.draw

    def recorded(*arguments):
        drawn.append((*arguments[:2], draw(*arguments)))
        return drawn[-1][-1]

    monkeypatch.setattr(script, "draw", recorded)
    paths = [folder / "figure.png", folder / "figure.pdf"]
    script.plot(
        folder / "images.h5", folder / "fits.h5", "Model", ["last", "cls"], "degrees", "countries", paths, dpi=40
    )
    with Image.open(paths[0]) as picture:
        assert min(picture.size) > 50
    assert paths[1].read_bytes().startswith(b"%PDF")
    [(truth, at, figure)] = drawn
    return truth, at, figure.get_suptitle()


def test_the_images_that_were_tested_are_drawn_by_the_last_layer(script, tmp_path, monkeypatch):
    truth, at, title = plot(script, tmp_path, monkeypatch, {"degrees/countries": PREDICTED})
    np.testing.assert_array_equal(truth, TRUTH[[0, 2]])
    np.testing.assert_allclose(at, PREDICTED[[0, 2]], rtol=1e-6)
    assert title.startswith("Model, vision block 10, cls pooling, countries folds; median error ")
    assert title.endswith(" km, 2 images")


@pytest.mark.parametrize(
    "fits",
    [{}, {"degrees/random": PREDICTED}, {"degrees/countries": UNTESTED}],
    ids=["nothing fitted", "other folds fitted", "nothing tested"],
)
def test_without_predictions_the_maps_are_empty_and_the_title_says_so(script, tmp_path, monkeypatch, fits):
    truth, at, title = plot(script, tmp_path, monkeypatch, fits)
    assert truth.shape == at.shape == (0, 2)
    assert title == "Model, vision block 10, cls pooling, countries folds; nothing could be fitted"


@pytest.mark.parametrize(
    ("places", "told"),
    [
        (["text/last/3"], "text block 3, last pooling"),
        (["vision/mean/5", "text/last/3"], "text block 3, last pooling"),
        (["text/last/3", "vision/cls/5"], "vision block 5, cls pooling"),
    ],
    ids=["text alone", "vision without the poolings", "both"],
)
def test_a_model_without_a_fitted_vision_tower_is_shown_by_another(script, tmp_path, monkeypatch, places, told):
    truth, _, title = plot(script, tmp_path, monkeypatch, {"degrees/countries": PREDICTED}, places)
    np.testing.assert_array_equal(truth, TRUTH[[0, 2]])
    assert title.startswith(f"Model, {told}, countries folds; median error ")


def test_a_model_with_none_of_the_poolings_is_refused_with_what_it_has(script, tmp_path, monkeypatch):
    told = r"the vision tower has maxmin, mean and the text tower has mean, none of analysis\.poolings"
    with pytest.raises(ValueError, match=told):
        plot(script, tmp_path, monkeypatch, {}, ["vision/mean/3", "vision/maxmin/3", "text/mean/3"])


def test_fits_of_images_in_another_order_are_refused(script, tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="the probes are of other images than the image store"):
        plot(script, tmp_path, monkeypatch, {}, of=slice(None, None, -1))
