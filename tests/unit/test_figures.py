"""Figures: every text on the canvas, the numbers that were given, files that open and say what made them."""

import re
import xml.etree.ElementTree as ET

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from geopy.distance import great_circle
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image

import geoprobe
from geoprobe.figures import balance, captions, contact_sheet, elbow, heatmap, layers, localizability, map, objectives
from geoprobe.figures.style import COLUMN, MARKERS, PAGE, PALETTE, family_styles, r2_limits, save_figure
from geoprobe.geodesy import EARTH_RADIUS_KM, draw_on_sphere

LABELS = {
    "random": ("Random weights", "vision-only"),
    "masked": ("Masked autoencoder", "vision-only"),
    "contrastive": ("Self-supervised contrastive", "vision-only"),
    "text-places": ("Image-text, places", "vision-language"),
    "text-scenery": ("Image-text, scenery", "vision-language"),
    "text-shuffled": ("Image-text, shuffled places", "vision-language"),
}
CVS = ("random", "blocked", "buffered")
NAMES = {"3": "blue, dark, even", "0": "brown, light, rough", "1": "green, dark, patterned", "2": "cluster 2"}
COUNTS = "n = 2,345 images in 310 blocks"
TIERS = ["very localizable", "localizable", "partly localizable", "unlocalizable"]


def summary(cvs=CVS, controls=("none", "permuted"), layers=(3,), clusters=("all",), low=0.1):
    """A family summary with numbers that differ from row to row, some of them below zero."""
    rows = [
        {"family": family, "label": label, "supervision": supervision, "cv": cv, "control": control, "layer": layer,
         "cluster": cluster}
        for family, (label, supervision) in LABELS.items()
        for cv in cvs
        for control in controls
        for layer in layers
        for cluster in clusters
    ]  # fmt: skip
    frame = pd.DataFrame(rows).assign(choice="inner", images=2345, blocks=310)
    frame["r2"] = np.linspace(-0.13, 0.62, len(frame))
    frame["low"], frame["high"] = frame["r2"] - low, frame["r2"] + 0.07
    return frame


def differences():
    names = list(LABELS)
    frame = pd.DataFrame(
        [
            {"family": later, "baseline": earlier, "cv": cv, "choice": "inner"}
            for number, earlier in enumerate(names)
            for later in names[number + 1 :]
            for cv in CVS
        ]
    )
    frame["difference"] = np.linspace(-0.2, 0.3, len(frame))
    frame["low"], frame["high"] = frame["difference"] - 0.05, frame["difference"] + 0.04
    frame["p_holm"] = np.where(np.arange(len(frame)) % 2, 0.001, 0.3)
    return frame


def squares(count, size=16):
    return list(np.random.default_rng(0).integers(0, 256, (count, size, size, 3), dtype=np.uint8))


def ranking():
    return pd.DataFrame(
        {
            "cluster": [int(name) for name in NAMES],
            "name": list(NAMES.values()),
            "tier": TIERS,
            "r2": [0.42, 0.25, 0.08, -0.06],
            "lowest": [0.3, 0.1, -0.02, -0.2],
            "highest": [0.55, 0.31, 0.2, 0.01],
            "models": 6,
            "images": [2345, 1200, 900, 77],
        }
    )


def unfitted_ranking(rows):
    """The ranking with the last so many clusters without a number."""
    frame = ranking()
    frame.loc[len(frame) - rows :, ["r2", "lowest", "highest"]] = np.nan
    frame.loc[len(frame) - rows :, "tier"] = "not fitted"
    return frame


def draw_map(n=300):
    random = np.random.default_rng(0)
    truth = draw_on_sphere(n, random)
    predicted = np.clip(truth + random.normal(0, 20, truth.shape), [-90, -180], [90, 180])
    return map.draw(truth, predicted, "Image-text, places, block 3, cls pooling, buffered folds")


def draw_balance():
    random = np.random.default_rng(0)
    latitudes, longitudes = balance.bin_edges()
    listed = random.poisson(0.3, (len(latitudes) - 1, len(longitudes) - 1)) * 40
    kept = np.minimum(listed, 20)
    continents = ["Africa", "North America", "South America", "Europe", "Asia", "Oceania", "Antarctica", "unknown"]
    table = pd.DataFrame({"continent": continents, "kept": [1, 2345, 300, 40000, 5, 60, 7, 0]})
    table["geocell_full"], table["left_out"] = table["kept"] * 30, 17
    table["listed"] = table[["kept", "geocell_full", "left_out"]].sum(axis=1)
    return balance.draw(kept, listed, table, "yfcc100m")


def test_listed_images_without_a_position_are_told_apart():
    placed = np.zeros([len(edges) - 1 for edges in balance.bin_edges()])
    placed[30, 60] = 600
    counts = {"continent": ["Europe", "unknown"], "listed": [600, 400], "kept": [500, 0], "geocell_full": [100, 0]}
    drawn = balance.draw(placed * 500 / 600, placed, pd.DataFrame(counts | {"left_out": [0, 400]}), "mine")
    titles = [axes.get_title() for axes in drawn.axes[:2]]
    assert titles == ["mine: 1,000 listed, 600 with a position", "500 kept"]


def draw_elbow():
    curve = pd.DataFrame({"k": range(4, 32, 4), "inertia": [900.5, 500, 350, 300, 280, 270, 265]})
    return elbow.draw(curve.assign(chosen=curve["k"] == 12))


FIGURES = {
    "balance": draw_balance,
    "elbow": draw_elbow,
    "captions": lambda: captions.draw(differences(), {name: label for name, (label, _) in LABELS.items()}, COUNTS),
    "contact sheet": lambda: contact_sheet.draw(
        [(f"{number}: {name} (1234 images)", squares(40)) for number, name in NAMES.items()]
    ),
    "contact sheet of an odd number": lambda: contact_sheet.draw([("0: blue (3 images)", squares(3))] * 3),
    "heatmap": lambda: heatmap.draw(summary(("blocked",), ("none",), clusters=("all", *NAMES)), NAMES),
    "heatmap of one supervision": lambda: heatmap.draw(
        summary(("blocked",), ("none",), clusters=("all", *NAMES)).query("supervision == 'vision-only'"), NAMES
    ),
    "heatmap with a gap": lambda: heatmap.draw(
        summary(("blocked",), ("none",), clusters=("all", *NAMES)).assign(
            r2=lambda frame: frame["r2"].where(frame["cluster"] != "2")
        ),
        NAMES,
    ),
    "heatmap without a model": lambda: heatmap.draw(
        summary(("blocked",), ("none",), clusters=("all", *NAMES)).assign(
            r2=lambda frame: frame["r2"].where(frame["family"] != "masked")
        ),
        NAMES,
    ),
    "heatmap without numbers": lambda: heatmap.draw(
        summary(("blocked",), ("none",), clusters=("all", *NAMES)).assign(r2=np.nan), NAMES
    ),
    "layers": lambda: layers.draw(summary(controls=("none",), layers=range(4))),
    "layers of one cross-validation": lambda: layers.draw(summary(("blocked",), ("none",), layers=range(12))),
    "localizability": lambda: localizability.draw(ranking(), {int(name): squares(4) for name in NAMES}),
    "localizability of few images": lambda: localizability.draw(
        ranking(), {int(name): squares(1 + int(name)) for name in NAMES}
    ),
    "localizability with a gap": lambda: localizability.draw(
        unfitted_ranking(1), {int(name): squares(4) for name in NAMES}
    ),
    "localizability without numbers": lambda: localizability.draw(
        unfitted_ranking(len(NAMES)), {int(name): squares(4) for name in NAMES}
    ),
    "map": draw_map,
    "map of nothing": lambda: draw_map(0),
    "objectives": lambda: objectives.draw(summary()),
    "objectives without control": lambda: objectives.draw(summary(("random", "blocked"), ("none",))),
    "objectives of one cross-validation": lambda: objectives.draw(summary(("buffered",))),
}


@pytest.fixture
def texts_of(monkeypatch):
    """Draw a figure; every text that was in fact drawn."""
    drawn = []
    original = Text.draw

    def recorded(self, renderer, *args, **kwargs):
        if self.get_visible() and self.get_text().strip():
            drawn.append(self)
        return original(self, renderer, *args, **kwargs)

    def draw(figure):
        figure.canvas.draw()  # lays it out
        monkeypatch.setattr(Text, "draw", recorded)
        figure.canvas.draw()
        monkeypatch.setattr(Text, "draw", original)
        return list(dict.fromkeys(drawn))

    return draw


def extent(text):
    return text.get_window_extent(text.figure.canvas.get_renderer())


@pytest.mark.parametrize("name", FIGURES)
def test_every_text_lies_on_the_canvas_of_a_page_at_most(name, texts_of):
    figure = FIGURES[name]()
    assert isinstance(figure, Figure)
    texts = texts_of(figure)
    assert texts
    width, height = figure.bbox.size
    for text in texts:
        box = extent(text)
        inside = box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1
        assert inside, f"{text.get_text()!r} at {box} is not within {width} x {height}"
    # a figure as wide as a column or a page, and no higher than one
    width, height = figure.get_size_inches()
    assert width in (COLUMN, PAGE)
    assert 1 < height < 10


@pytest.mark.parametrize("name", ["captions", "layers", "localizability", "objectives", "contact sheet", "heatmap"])
def test_texts_that_stand_upright_do_not_overlap(name, texts_of):
    boxes = [
        (text.get_text(), extent(text).padded(-1)) for text in texts_of(FIGURES[name]()) if not text.get_rotation()
    ]
    for number, (first, a) in enumerate(boxes):
        for second, b in boxes[number + 1 :]:
            assert not a.overlaps(b), f"{first!r} and {second!r}"


@pytest.mark.parametrize("kind", ["objectives", "layers", "captions", "heatmap", "localizability"])
def test_every_model_or_cluster_is_named(kind, texts_of):
    shown = " ".join(text.get_text() for text in texts_of(FIGURES[kind]()))
    wanted = NAMES.values() if kind == "localizability" else [label for label, _ in LABELS.values()]
    assert all(name in shown for name in wanted)


def heatmap_cells(figure, supervisions=2):
    """Texts of each (label, column number) of a heatmap: the number, then its interval where it has one."""
    cells = {}
    for panel in figure.axes[:supervisions]:
        rows = [label.get_text() for label in panel.get_yticklabels()]
        for text in sorted(panel.texts, key=lambda text: text.get_position()[1]):
            x, y = text.get_position()
            cells.setdefault((rows[round(y)], round(x)), []).append(text.get_text())
    return cells


def read(text):
    return float(text.replace("−", "-"))


def test_the_heatmap_shows_each_r2_with_its_interval_in_its_row_and_column():
    frame = summary(("blocked",), ("none",), clusters=("all", *NAMES))
    cells, columns = heatmap_cells(heatmap.draw(frame, NAMES)), ["all", *NAMES]
    for (label, column), (number, ends) in cells.items():
        [row] = frame[(frame["label"] == label) & (frame["cluster"] == columns[column])].to_dict("records")
        assert read(number) == pytest.approx(row["r2"], abs=0.0051)
        assert [read(end) for end in ends.split(", ")] == pytest.approx([row["low"], row["high"]], abs=0.0051)
    assert len(cells) == len(frame)


def test_the_heatmap_marks_intervals_that_include_zero():
    frame = summary(("blocked",), ("none",), clusters=("all", *NAMES))
    figure, columns = heatmap.draw(frame, NAMES), ["all", *NAMES]
    marked = set()
    for panel in figure.axes[:2]:
        rows = [label.get_text() for label in panel.get_yticklabels()]
        for dots in panel.collections:
            marked |= {(rows[round(y)], columns[int(x)]) for x, y in dots.get_offsets()}
    includes = frame[(frame["low"] <= 0) & (frame["high"] >= 0)]
    assert 0 < len(includes) < len(frame)
    assert marked == set(zip(includes["label"], includes["cluster"], strict=True))


def test_the_heatmap_marks_a_missing_number():
    cells = heatmap_cells(FIGURES["heatmap with a gap"]())
    gaps = {cell for cell, texts in cells.items() if texts[0] == "–"}
    assert gaps == {(label, 4) for label, _ in LABELS.values()}


@pytest.mark.parametrize(
    ("name", "unfitted"), [("without a model", {"Masked autoencoder"}), ("without numbers", {*dict(LABELS.values())})]
)
def test_the_heatmap_keeps_a_model_without_a_number(name, unfitted):
    rows = {}
    for (label, _), (number, *_) in heatmap_cells(FIGURES[f"heatmap {name}"]()).items():
        rows.setdefault(label, []).append(number)
    assert set(rows) == {label for label, _ in LABELS.values()}
    assert {label for label, texts in rows.items() if texts == ["–"] * 5} == unfitted


def test_objectives_are_drawn_at_their_r2_with_the_first_family_on_top(texts_of):
    frame = summary(("blocked",), ("none",))
    figure = objectives.draw(frame)
    texts_of(figure)
    [axes] = figure.axes
    written = [float(text.get_text().replace("−", "-")) for text in axes.texts]
    assert sorted(written) == pytest.approx(sorted(frame["r2"]), abs=0.0051)
    points = [line for line in axes.lines if line.get_marker() == "s" and len(line.get_xdata())]
    heights = {x: y for line in points for x, y in zip(*line.get_data(), strict=True)}
    assert len(heights) == len(frame)
    labels = [label.get_text() for label in axes.get_yticklabels()]
    for row in frame.itertuples():
        [height] = [at for value, at in heights.items() if value == pytest.approx(row.r2)]
        assert labels[round(height)] == row.label
    assert labels[-1] == "Random weights"


@pytest.mark.parametrize(
    ("choice", "words"),
    [("inner", "layer chosen in training folds"), ("depth", "at a fixed depth"), ("maximum", "best layer of the test")],
)
def test_the_axis_says_how_the_layer_was_chosen(choice, words):
    labels = {name: label for name, (label, _) in LABELS.items()}
    for figure in (
        objectives.draw(summary(("blocked",), ("none",)).assign(choice=choice)),
        captions.draw(differences().assign(choice=choice), labels, COUNTS),
    ):
        assert words in figure.axes[0].get_xlabel()


def test_layers_are_drawn_as_they_are_given():
    frame = summary(("random", "blocked"), ("none",), layers=(2, 0, 1))
    figure = layers.draw(frame)
    for panel, cv in zip(figure.axes, ("random", "blocked"), strict=True):
        assert len(panel.lines) == len(LABELS)
        for line in panel.lines:
            rows = frame[(frame["cv"] == cv) & (frame["label"] == line.get_label())].sort_values("layer")
            assert line.get_xdata().tolist() == [0, 1, 2]
            assert line.get_ydata().tolist() == rows["r2"].tolist()


def test_pairs_are_drawn_from_the_top_in_their_order():
    frame = differences()
    figure = captions.draw(frame, {name: label for name, (label, _) in LABELS.items()}, COUNTS)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[-1] == "Masked autoencoder − Random weights"
    assert labels[0] == "Image-text, shuffled places − Image-text, scenery"
    assert len(labels) == 15


def test_of_more_pairs_than_a_page_holds_those_with_the_first_model_are_drawn():
    names = [f"model {number}" for number in range(12)]
    pairs = [(late, early) for row, late in enumerate(names) for early in names[:row]]
    frame = pd.DataFrame(pairs, columns=["family", "baseline"])
    frame = frame.assign(cv="blocked", choice="depth", difference=0.1, low=0.0, high=0.2, p_holm=0.01)
    assert len(frame) > captions.MOST
    figure = captions.draw(frame, dict(zip(names, names, strict=True)), COUNTS)
    labels = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    assert labels[::-1] == [f"{name} − model 0" for name in names[1:]]


def test_only_differences_that_survive_the_correction_are_filled():
    frame = differences()
    figure = captions.draw(frame, {name: label for name, (label, _) in LABELS.items()}, COUNTS)
    points = [line for line in figure.axes[0].lines if len(line.get_xdata()) and line.get_marker() in "osD"]
    filled = {x: line.get_markerfacecolor() != "white" for line in points for x in line.get_xdata()}
    assert len(filled) == len(frame)
    for row in frame.itertuples():
        assert filled[row.difference] == (row.p_holm < 0.05)


def test_localizability_puts_the_most_localizable_on_top(texts_of):
    figure = FIGURES["localizability"]()
    texts_of(figure)
    [axes] = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(NAMES.values())[::-1]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    heights = [line.get_ydata()[0] for line in sorted(dots, key=lambda line: -line.get_xdata()[0])]
    assert heights == [3, 2, 1, 0]


@pytest.mark.parametrize(("name", "unfitted"), [("with a gap", 1), ("without numbers", len(NAMES))])
def test_a_cluster_without_a_number_has_its_row_and_says_that_nothing_was_fitted(name, unfitted, texts_of):
    figure = FIGURES[f"localizability {name}"]()
    shown = [text.get_text() for text in texts_of(figure)]
    assert sum(text.startswith("not fitted · ") for text in shown) == unfitted
    [axes] = figure.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(NAMES.values())[::-1]
    dots = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]
    assert np.isnan(dots).sum() == unfitted
    left, right = axes.get_xlim()
    # the highest of 0.55 stays in the left part; without any number there is room for 0 to 0.1
    assert left < 0 < (0.55 if unfitted == 1 else 0.1) < right


def test_names_stand_clear_of_the_sample_images(texts_of):
    figure = FIGURES["localizability"]()
    texts_of(figure)
    [axes] = figure.axes
    renderer = figure.canvas.get_renderer()
    pictures = [artist.get_window_extent(renderer) for artist in axes.artists]
    assert len(pictures) == len(NAMES)
    for label in axes.get_yticklabels():
        assert not any(extent(label).overlaps(picture) for picture in pictures)
    assert all(picture.x1 <= axes.get_window_extent(renderer).x0 for picture in pictures)


def test_the_map_puts_every_image_where_it_is_the_largest_errors_first():
    truth = np.array([[10.0, 20.0], [-45.0, -120.0], [80.0, 179.0]])
    predicted = np.array([[12.0, 25.0], [-40.0, 100.0], [80.0, -179.0]])
    figure = map.draw(truth, predicted, "title")
    for panel, positions in zip(figure.axes[:2], (truth, predicted), strict=True):
        [scatter] = [artist for artist in panel.collections if len(artist.get_offsets()) == 3]
        points = np.degrees(scatter.get_offsets())[:, ::-1]
        # from 14 000 km to 580 km to 40 km
        np.testing.assert_allclose(points, positions[[1, 0, 2]], atol=1e-9)
        colours = np.asarray(scatter.get_array())
        expected = [great_circle(truth[row], predicted[row], radius=EARTH_RADIUS_KM).km for row in (1, 0, 2)]
        np.testing.assert_allclose(colours, expected, rtol=1e-6)


def test_a_map_of_nothing_says_so_and_has_no_points():
    figure = FIGURES["map of nothing"]()
    assert figure.get_suptitle().endswith("buffered folds; nothing could be fitted")
    assert "nothing could be fitted" not in FIGURES["map"]().get_suptitle()
    for panel in figure.axes[:2]:
        assert not any(len(artist.get_offsets()) > 1 for artist in panel.collections)


def test_a_mosaic_lays_images_in_rows_and_leaves_the_rest_white():
    images = squares(14, size=16)
    sheet = contact_sheet.mosaic(images)
    cell = 17
    assert sheet.shape == (contact_sheet.DOWN * cell, contact_sheet.ACROSS * cell, 3)
    np.testing.assert_array_equal(sheet[:16, :16], images[0])
    np.testing.assert_array_equal(sheet[:16, 11 * cell : 11 * cell + 16], images[11])
    np.testing.assert_array_equal(sheet[cell : cell + 16, cell : cell + 16], images[13])
    assert (sheet[2 * cell :] == 255).all()
    assert (sheet[:, 16::cell] == 255).all()
    assert contact_sheet.mosaic(squares(60)).shape == sheet.shape


@pytest.mark.parametrize(
    ("values", "high"), [([0.31, -5.0], 0.4), ([0.05], 0.1), ([-3.0], 0.1), ([np.nan], 0.1), ([0.95, np.nan], 1.0)]
)
def test_colours_run_from_zero_to_the_tenth_above_the_highest(values, high):
    assert r2_limits(np.array(values)) == pytest.approx((0.0, high))


def test_families_keep_their_look_and_differ_from_each_other():
    names = [f"family {number}" for number in range(10)]
    styles = family_styles(["family 0", *names, "family 3"])
    assert list(styles) == names
    assert styles["family 0"] == {"color": PALETTE[0], "marker": MARKERS[0]}
    assert len({tuple(style.values()) for style in styles.values()}) == len(names)


@pytest.fixture
def saved(tmp_path):
    paths = [tmp_path / f"figure.{kind}" for kind in ("pdf", "png", "svg")]
    save_figure(objectives.draw(summary()), paths, dpi=80)
    return paths


def test_saving_closes_the_figure_and_leaves_only_the_files(saved):
    assert plt.get_fignums() == []
    assert sorted(saved[0].parent.iterdir()) == saved


@pytest.mark.parametrize("name", ["captions", "contact sheet", "heatmap", "layers", "localizability", "map"])
def test_every_figure_is_written_in_all_formats(name, tmp_path):
    paths = [tmp_path / f"figure.{kind}" for kind in ("pdf", "png", "svg")]
    save_figure(FIGURES[name](), paths, dpi=50)
    assert all(path.stat().st_size > 1000 for path in paths)


def test_a_png_opens_at_its_size_and_says_what_made_it(saved):
    with Image.open(saved[1]) as image:
        image.load()
        assert image.width == round(PAGE * 80)
        assert image.info["Software"] == f"geoprobe {geoprobe.__version__}"
        assert "matplotlib" in image.info["Description"]


def test_an_svg_parses_and_its_text_is_text(saved):
    root = ET.parse(saved[2]).getroot()
    assert root.tag.endswith("}svg")
    texts = {"".join(node.itertext()).strip() for node in root.iter() if node.tag.endswith("}text")}
    assert {label for label, _ in LABELS.values()} <= texts
    assert f"geoprobe {geoprobe.__version__}" in saved[2].read_text()


def test_a_pdf_is_whole_and_its_table_points_at_its_objects(saved):
    data = saved[0].read_bytes()
    assert data.startswith(b"%PDF-")
    assert data.rstrip().endswith(b"%%EOF")
    start = int(re.search(rb"startxref\s+(\d+)\s+%%EOF", data)[1])
    assert data[start : start + 4] == b"xref"
    entries = re.findall(rb"(\d{10}) \d{5} ([nf])", data[start:])
    assert sum(kind == b"n" for _, kind in entries) > 5
    for number, (offset, kind) in enumerate(entries):
        if kind == b"n":
            assert data[int(offset) :].startswith(b"%d 0 obj" % number)
    assert f"(geoprobe {geoprobe.__version__})".encode() in data


def test_the_same_data_gives_the_same_picture(tmp_path):
    pictures = []
    for number in range(2):
        save_figure(objectives.draw(summary()), [tmp_path / f"{number}.png", tmp_path / f"{number}.svg"], dpi=50)
        svg = re.sub(r"<dc:date>.*?</dc:date>", "", (tmp_path / f"{number}.svg").read_text())
        with Image.open(tmp_path / f"{number}.png") as image:
            pictures.append((np.asarray(image).tobytes(), svg))
    assert pictures[0] == pictures[1]
