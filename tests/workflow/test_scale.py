"""The arithmetic of docs/scale.md: bytes by the layout that extraction writes, and the page's table as the script prints it."""

import importlib.util

import h5py
import pytest
from conftest import ROOT

pytestmark = pytest.mark.workflow


@pytest.fixture(scope="module")
def scale():
    spec = importlib.util.spec_from_file_location("scale", ROOT / "benchmarks/scale.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_bytes_of_an_image_are_those_that_extraction_wrote(scale, tiny_run):
    sizes = []
    with h5py.File(tiny_run.folder / "results/features/bluemarble/random-seed1/none/0.h5") as file:
        images = len(file["ids"])
        file.visititems(
            lambda name, item: (
                sizes.append(item.nbytes) if name.startswith("vision/") and hasattr(item, "nbytes") else None
            )
        )
    shape = {"vision": (2, 16, scale.VISION)}  # of tests/workflow/tiny.yaml
    assert sum(sizes) == images * scale.feature_bytes(shape, ("cls", "last", "mean"), "all", 4)


def test_all_poolings_of_all_layers_in_closed_form(scale):
    towers = {"vision": (32, 1280, scale.NO_CLASS), "text": (36, 2048, scale.TEXT)}
    assert scale.feature_bytes(towers, scale.ALL, "all", 2) == 2 * (32 * 1280 * (1 + 2) + 36 * 2048 * (1 + 1 + 2))
    assert scale.feature_bytes(towers, ("mean",), [-1], 2) == 2 * (1280 + 2048)


def test_the_page_has_the_table_that_the_script_prints(scale):
    page = (ROOT / "docs/scale.md").read_text(encoding="utf-8")
    rows = scale.feature_table(100_000_000).to_markdown(index=False).splitlines()
    squeezed = {" ".join(line.split()) for line in page.splitlines()}
    for row in (rows[0], *rows[2:]):
        assert " ".join(row.split()) in squeezed
