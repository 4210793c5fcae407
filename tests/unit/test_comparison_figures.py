"""Figures that compare models by pooling, cross-validation and size: what is drawn against the frame, at both sizes."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PolyCollection
from matplotlib.text import Text
from torch import nn

from geoprobe.analysis.families import prompted_rows
from geoprobe.features.store import read_parameters
from geoprobe.figures import cross_validations, heatmap, layers, map, poolings, scale
from geoprobe.figures.labels import place_labels
from geoprobe.figures.style import PAGE, figure
from geoprobe.geodesy import draw_on_sphere
from geoprobe.models.loading import count_parameters

KINDS = ["vision-only"] * 15 + ["vision-language"] * 10 + ["multimodal"] * 7
SIZES = np.concatenate(
    [
        *([22e6], [86e6] * 3, [304e6] * 6, [1.1e9] * 3, [6.7e9] * 2),
        *([87e6] * 5, [304e6] * 4, [632e6]),
        *([3.75e9, 4.3e9, 4.3e9], [7.1e9, 8.3e9], [12.2e9] * 2),
    ]
)
CVS = ["random", "blocked", "buffered"]


def models(kinds=KINDS, cvs=("blocked",), clusters=("all",)):
    """A row a model, cluster and cross-validation, numbers that differ from row to row."""
    rows = [
        {
            "family": f"model-{number}",
            "origin": f"model-{number}",
            "label": f"Gemma 3 model {number} pretrained",
            "supervision": kind,
            "tower": "vision",
            "cluster": cluster,
            "cv": cv,
            "choice": "inner",
            "images": 2345,
            "blocks": 310,
            "parameters": SIZES[number],
        }
        for number, kind in enumerate(kinds)
        for cluster in clusters
        for cv in cvs
    ]
    frame = pd.DataFrame(rows)
    frame["r2"] = np.random.default_rng(0).permutation(np.linspace(-0.1, 0.6, len(frame)))
    return frame.assign(low=frame["r2"] - 0.06, high=frame["r2"] + 0.04)


def pooled(kinds=KINDS, clusters=("all", "0", "1"), names=("cls", "mean", "maxmin"), layers=(11,)):
    frame = models(kinds, clusters=clusters).drop(columns="r2")
    frame = frame.merge(pd.DataFrame({"pooling": names}), "cross").merge(pd.DataFrame({"layer": layers}), "cross")
    frame["r2"] = np.random.default_rng(1).permutation(np.linspace(-0.1, 0.6, len(frame)))
    return frame.assign(low=frame["r2"] - 0.06, high=frame["r2"] + 0.04)


def extents(drawn):
    """Text and extent of every text that is drawn; of an annotation without its line."""
    drawn.canvas.draw()
    renderer = drawn.canvas.get_renderer()
    texts = [text for text in drawn.findobj(Text) if text.get_visible() and text.get_text().strip()]
    return [(text, Text.get_window_extent(text, renderer)) for text in texts]


def assert_nothing_is_cut(drawn):
    assert all(text.get_fontsize() >= 6 for text, _ in extents(drawn))
    width, height = drawn.bbox.size
    for panel in drawn.axes:
        # not the extents of single texts, since ticks outside of their axis are never drawn
        box = panel.get_tightbbox(drawn.canvas.get_renderer())
        assert min(box.x0, box.y0) > -1
        assert box.x1 < width + 1
        assert box.y1 < height + 1


def assert_apart(boxes):
    for number, (first, a) in enumerate(boxes):
        for second, b in boxes[number + 1 :]:
            assert not a.overlaps(b), f"{first.get_text()!r} and {second.get_text()!r}"


DRAWN = {
    "poolings": lambda: poolings.draw(pooled(), ["cls", "last", "mean", "maxmin"]),
    "poolings of two": lambda: poolings.draw(pooled(KINDS[14:16], ("all",)), ["cls", "mean", "maxmin"]),
    "cross-validations": lambda: cross_validations.draw(models(cvs=CVS)),
    "cross-validations of two": lambda: cross_validations.draw(models(KINDS[14:16], CVS[:2])),
    "scale": lambda: scale.draw(models()),
    "scale of two": lambda: scale.draw(models(KINDS[14:16])),
    "heatmap": lambda: heatmap.draw(
        models(KINDS[13:17], clusters=["all", *map_names()]),
        {name: f"mountain lakes and forests {name}" for name in map_names()},
    ),
    "layers": lambda: layers.draw(curves()),
}


def map_names():
    return [str(number) for number in range(40)]


def curves():
    """Curves of 12 blocks, of multimodal models in two towers."""
    frame = models(cvs=CVS[:2])
    text = frame[frame["supervision"] == "multimodal"].assign(tower="text")
    text["family"], text["label"] = text["family"] + "/text", text["label"] + ", text"
    frame = pd.concat([frame, text]).merge(pd.DataFrame({"layer": range(12)}), "cross")
    frame["r2"] += frame["layer"] / 50
    return frame.assign(low=frame["r2"] - 0.06, high=frame["r2"] + 0.04)


@pytest.mark.parametrize("name", [name for name in DRAWN if name.split()[0] not in ("heatmap", "scale")])
def test_nothing_is_cut_or_smaller_than_print_at_either_size(name):
    assert_nothing_is_cut(DRAWN[name]())


def test_a_heatmap_of_the_papers_clusters_has_room_for_every_number():
    drawn = DRAWN["heatmap"]()
    drawn.canvas.draw()
    renderer = drawn.canvas.get_renderer()
    for panel in drawn.axes[:2]:
        right, down = panel.transData.transform((1, 1)) - panel.transData.transform((0, 0))
        for text in panel.texts[::3]:
            box = text.get_window_extent(renderer)
            assert box.width < right
            assert box.height < abs(down) / 2
    assert min(label.get_window_extent(renderer).x0 for label in drawn.axes[0].get_yticklabels()) > -1


# ---- poolings


def test_poolings_are_drawn_in_their_columns_and_clusters_averaged():
    frame = pooled(KINDS[14:17])
    drawn = poolings.draw(frame, ["cls", "last", "mean", "maxmin"])
    columns = [label.get_text() for label in drawn.axes[1].get_xticklabels()]
    assert columns == ["cls", "mean", "maxmin"] * 2
    seen = 0
    for panel in drawn.axes[:2]:
        names = [label.get_text() for label in panel.get_yticklabels()]
        for (y, x), value in np.ndenumerate(panel.images[0].get_array()):
            rows = frame[(frame["label"] == names[y]) & (frame["pooling"] == columns[x])]
            rows = rows[(rows["cluster"] == "all") == (x < 3)]
            assert value == pytest.approx(rows["r2"].mean())
            seen += 1
    assert seen == 3 * 6


def test_a_pooling_is_that_of_the_layer_at_the_depth_that_is_asked_for():
    frame = pooled(KINDS[:2], layers=(0, 3, 6, 9, 11))
    for depth, layer in ((0.0, 0), (0.5, 6), (1.0, 11)):
        rows = poolings.layer_by_pooling(frame, depth)
        assert set(rows["layer"]) == {layer}
        assert len(rows) == len(frame) / 5


def test_a_model_with_one_pooling_is_left_out_and_if_all_have_one_the_figure_says_why():
    frame = pooled(KINDS[:3], ("all",))
    lonely = (frame["family"] == "model-1") & (frame["pooling"] != "mean")
    drawn = poolings.draw(frame[~lonely], ["cls", "mean", "maxmin"])
    assert [label.get_text() for label in drawn.axes[0].get_yticklabels()] == [
        "Gemma 3 model 0 pretrained",
        "Gemma 3 model 2 pretrained",
    ]
    [words] = poolings.draw(frame[frame["pooling"] == "mean"], ["cls", "mean", "maxmin"]).axes[0].texts
    assert "No poolings to compare" in words.get_text()
    assert "(mean)" in words.get_text()


def test_the_rows_of_poolings_are_of_the_first_prompt_that_a_model_has():
    frame = pooled(KINDS[:2], ("all",)).drop(columns="origin").assign(dataset="d", probe="ridge", prompt="none")
    frame.loc[frame["family"] == "model-1", "prompt"] = "city"
    frame = pd.concat([frame, frame[frame["family"] == "model-1"].assign(prompt="where")])
    rows = prompted_rows(frame, ["where", "city", "none"], dataset="d")
    assert dict(rows[["family", "prompt"]].drop_duplicates().to_numpy()) == {"model-0": "none", "model-1": "where"}
    assert rows.groupby("family")["pooling"].nunique().tolist() == [3, 3]


# ---- cross-validations


def test_models_run_from_the_highest_under_the_first_cross_validation_and_bars_are_what_is_lost():
    frame = models(KINDS[:5], CVS)
    drawn = cross_validations.draw(frame)
    left, right = drawn.axes
    r2 = frame.pivot_table(index="label", columns="cv", values="r2").sort_values("random", ascending=False)
    assert [label.get_text() for label in left.get_yticklabels()] == r2.index.tolist()
    for cv in CVS:
        marker = cross_validations.MARKERS[cv]
        points = [line for line in left.lines if line.get_marker() == marker and len(line.get_xdata())]
        rows = {round(y): x for line in points for x, y in zip(*line.get_data(), strict=True)}
        assert [rows[y] for y in range(len(r2))] == pytest.approx(r2[cv].tolist())
    ends = {round(patch.get_y() + patch.get_height() / 2): patch.get_x() + patch.get_width() for patch in right.patches}
    assert [ends[y] for y in range(len(r2))] == pytest.approx((r2["random"] - r2["buffered"]).tolist())


def test_intervals_are_drawn_from_low_to_high():
    frame = models(KINDS[:2], CVS[:2])
    left = cross_validations.draw(frame).axes[0]
    bars = [segment for lines in left.collections for segment in lines.get_segments()]
    wanted = sorted(zip(frame["low"], frame["high"], strict=True))
    np.testing.assert_allclose(sorted(tuple(bar[:, 0]) for bar in bars), wanted)


def test_a_single_cross_validation_has_nothing_to_be_compared_with():
    [words] = cross_validations.draw(models(KINDS[:2])).axes[0].texts
    assert "held-out blocks alone" in words.get_text()


# ---- scale


def test_points_stand_at_their_r2_and_near_their_size():
    frame = models(KINDS[:12])
    axes = scale.draw(frame).axes[0]
    found = {}
    for container in axes.containers:
        for x, y in zip(*container.lines[0].get_data(), strict=True):
            found[round(y, 9)] = x
    assert len(found) == len(frame)
    for row in frame.itertuples():
        assert abs(np.log10(found[round(row.r2, 9)] / row.parameters)) < 0.25


def test_models_of_nearly_one_size_are_set_apart_and_keep_their_order_and_mean():
    counts = [3e8, 1e6, 3.01e8, 3e8, 1e9]
    apart = scale.set_apart(counts, 0.02)
    assert apart[[1, 4]] == pytest.approx([1e6, 1e9])
    logs = np.log10(apart[[0, 3, 2]])
    assert np.diff(logs) == pytest.approx([0.02, 0.02])
    assert logs.mean() == pytest.approx(np.log10([3e8, 3e8, 3.01e8]).mean())


@pytest.mark.parametrize("name", ["scale", "scale of two"])
def test_every_model_is_named_and_no_two_names_overlap(name):
    drawn = DRAWN[name]()
    assert_nothing_is_cut(drawn)
    labels = [(text, box) for text, box in extents(drawn) if text.get_text().startswith("Gemma")]
    assert len(labels) == (32 if name == "scale" else 2)
    assert_apart(labels)
    frame = drawn.axes[0].get_window_extent()
    assert all(frame.x0 <= box.x0 and box.x1 <= frame.x1 for _, box in labels)


def test_pairs_that_are_there_are_joined_and_what_has_no_parameters_is_a_line():
    frame = models(KINDS[14:17])
    frame.loc[2, "parameters"] = 0
    pairs = [{"baseline": "model-0", "text": "model-1"}, {"baseline": "model-0", "text": "nobody"}]
    axes = scale.draw(frame, pairs).axes[0]
    joined = [line.get_ydata() for line in axes.lines if line.get_linestyle() == "--"]
    assert [list(line) for line in joined] == [frame["r2"].tolist()[:2]]
    across = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert [line.get_ydata()[0] for line in across] == [frame["r2"].iloc[2]]


def test_a_run_without_sizes_or_numbers_says_so():
    for frame in (models(KINDS[:1]).assign(parameters=0), models(KINDS[:2]).assign(r2=np.nan)):
        [words] = scale.draw(frame).axes[0].texts
        assert "Nothing to compare by size" in words.get_text()


@pytest.mark.parametrize(("count", "words"), [(823424, "823 k"), (86.4e6, "86.4 M"), (7e9, "7 B"), (12.2e9, "12.2 B")])
def test_sizes_are_written_in_thousands_millions_and_billions(count, words):
    assert scale.write_parameters(count) == words


def test_labels_of_points_in_one_place_are_spread():
    drawn, axes = figure(PAGE, 2)
    axes.set(xlim=(0, 1), ylim=(0, 1))
    placed = place_labels(axes, np.full((8, 2), 0.5), [f"label {number}" for number in range(8)])
    assert_apart([(text, box) for text, box in extents(drawn) if text in placed])
    # where there is no room for all, none is left out
    drawn, axes = figure(PAGE, 1)
    assert len(place_labels(axes, np.full((60, 2), 0.5), ["a long label of a model"] * 60)) == 60
    drawn.canvas.draw()


def write_long(count):
    return " ".join(["Our own vision transformer, trained on street views of Europe"] * 3)[:count]


@pytest.mark.parametrize("count", [75, 120, 180])
def test_a_long_label_is_written_in_lines_or_shortened_and_stays_within_the_page(count):
    frame = models(KINDS[:6]).assign(label=[write_long(count)[number:] for number in range(6)])
    drawn = scale.draw(frame)
    drawn.canvas.draw()
    texts = [text for text in drawn.axes[0].texts if text.get_text()]
    assert len(texts) == 6
    assert_apart([(text, box) for text, box in extents(drawn) if text in texts])
    for text in texts:
        box = text.get_window_extent()
        assert 0 <= box.x0 < box.x1 <= drawn.bbox.width
        whole = text.get_text().replace("\n", " ").removesuffix("…")
        assert any(label.startswith(whole) for label in frame["label"])


def test_a_long_label_without_spaces_is_placed_as_well():
    frame = models(KINDS[:2]).assign(label=["x" * 300, "y" * 90])
    scale.draw(frame).canvas.draw()


def test_parameters_are_counted_once_and_read_from_a_store(tmp_path):
    block = nn.Linear(3, 5)
    assert count_parameters(nn.Sequential(block, nn.ReLU(), block, nn.Linear(5, 2, bias=False))) == 3 * 5 + 5 + 10
    with h5py.File(tmp_path / "store.h5", "w") as file:
        file.attrs["making"] = json.dumps({})
    with pytest.raises(ValueError, match="delete it to extract it again"):
        read_parameters(tmp_path / "store.h5")
    with h5py.File(tmp_path / "store.h5", "a") as file:
        file.attrs["parameters"] = 12
    assert read_parameters(tmp_path / "store.h5") == 12


# ---- layers


def test_many_models_are_parted_by_supervision_and_tower_and_each_has_its_line():
    frame = curves()
    drawn = layers.draw(frame)
    parts = layers.part_families(frame)
    assert sorted(name for _, names in parts for name in names) == sorted(set(frame["family"]))
    assert all(len(names) <= layers.TOGETHER for _, names in parts)
    kinds = frame.drop_duplicates("family").set_index("family")
    assert all(kinds.loc[names, ["supervision", "tower"]].drop_duplicates().shape[0] == 1 for _, names in parts)
    panels = np.array(drawn.axes).reshape(len(parts), 2)
    for row, (_, names) in zip(panels, parts, strict=True):
        for panel, cv in zip(row, CVS[:2], strict=True):
            lines = [line.get_ydata().tolist() for line in panel.lines]
            of_cv = frame[frame["cv"] == cv].groupby("family")["r2"]
            wanted = [of_cv.get_group(name).tolist() for name in names]
            assert lines == wanted


# ---- map of errors


@pytest.mark.parametrize("degrees", [2.5, 5.0])
def test_cells_tile_the_sphere_with_nearly_equal_areas(degrees):
    positions = draw_on_sphere(40_000, np.random.default_rng(0))
    south, north, west, east = map.equal_area_cells(positions, degrees).T
    assert ((south <= positions[:, 0]) & (positions[:, 0] <= north)).all()
    assert ((west <= positions[:, 1]) & (positions[:, 1] <= east)).all()
    area = np.radians(east - west) * (np.sin(np.radians(north)) - np.sin(np.radians(south)))
    equator = np.radians(degrees) * np.sin(np.radians(degrees))
    inner = np.abs(positions[:, 0]) < 80
    assert area[inner] / equator == pytest.approx(np.ones(inner.sum()), rel=0.05)
    # the cells of a band fill it
    across = 360 / (east - west)
    assert across == pytest.approx(np.round(across))


def test_the_poles_and_the_antimeridian_have_cells():
    edges = map.equal_area_cells(np.array([[90.0, 0.0], [-90.0, -180.0], [0.0, 180.0]]), 5.0)
    assert edges[:2, :2].tolist() == [[85, 90], [-90, -85]]
    assert edges[[2, 1], [3, 2]].tolist() == [180, -180]


def test_the_median_error_of_a_cell_is_that_of_the_images_taken_there():
    truth = np.array([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0], [51.0, 10.0]])
    cells = map.median_errors(truth, np.array([10.0, 500.0, 70.0, 3.0]), 5.0)
    assert sorted(cells["km"]) == [3.0, 70.0]
    assert cells.set_index("km")["images"].to_dict() == {70.0: 3, 3.0: 1}


def test_of_many_images_some_are_points_and_all_are_in_the_medians(monkeypatch):
    monkeypatch.setattr(map, "MOST_POINTS", 300)
    monkeypatch.setattr(map, "MANY", 900)
    random = np.random.default_rng(0)
    truth, predicted = draw_on_sphere(1000, random), draw_on_sphere(1000, random)
    drawn = map.draw(truth, predicted, "title")
    sizes = [max(len(artist.get_offsets()) for artist in panel.collections) for panel in drawn.axes[:2]]
    assert sizes == [300, 300]
    assert "of 300 images" in drawn.axes[0].get_title()
    [cells] = [artist for artist in drawn.axes[2].collections if isinstance(artist, PolyCollection)]
    wanted = map.median_errors(truth, map.great_circle_km(truth, predicted), map.FINE)
    assert cells.get_array().tolist() == wanted["km"].tolist()
    assert wanted["images"].sum() == 1000
    assert drawn.get_suptitle().endswith("1,000 images")


def test_maps_side_by_side_show_each_models_cells_and_say_where_nothing_was_tested():
    random = np.random.default_rng(0)
    truth, predicted = draw_on_sphere(200, random), draw_on_sphere(200, random)
    nothing = np.empty((0, 2))
    drawn = map.draw_side_by_side(
        {"A model": map.summarise_errors(truth, predicted), "Another": map.summarise_errors(nothing, nothing)}
    )
    assert_nothing_is_cut(drawn)
    error = map.great_circle_km(truth, predicted)
    assert [panel.get_title() for panel in drawn.axes[:2]] == [
        f"A model\n{np.median(error):,.0f} km",
        "Another\nnothing could be tested",
    ]
    values = [
        artist.get_array().tolist()
        for panel in drawn.axes[:2]
        for artist in panel.collections
        if isinstance(artist, PolyCollection)
    ]
    assert values == [map.median_errors(truth, error, map.COARSE)["km"].tolist(), []]
    assert "n = 0 to 200 images" in drawn.axes[2].get_xlabel()
