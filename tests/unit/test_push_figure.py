"""The figure of steered positions: the numbers that were given, units, and nothing off the canvas."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.text import Text

from geoprobe.figures.push import LOOKS, MOST, chosen_rows, draw, spread
from geoprobe.figures.style import PAGE, PALETTE, save_figure
from geoprobe.interventions.directions import COLUMNS

KM = (-1000.0, -250.0, 0.0, 250.0, 1000.0)


def table(towers=(("vision", "cls", 4),), blocks=None, seeds=2):
    """A table whose every row has a number of its own."""
    rows = []
    for tower, pooling, depth in towers:
        for block in blocks or range(depth):
            kinds = [("probe", None), ("random", None), *(("random", seed) for seed in range(seeds))]
            for readout, direction, (kind, seed), km in itertools.product(
                range(block, depth), ("north", "east"), kinds, KM
            ):
                if kind == "probe" or km:
                    keys = {"tower": tower, "pooling": pooling, "block": block, "readout": readout, "cv": "blocked"}
                    rows.append({**keys, "kind": kind, "seed": seed, "direction": direction, "km": km, "images": 7})
    frame = pd.DataFrame(rows).assign(reason="")
    for number, name in enumerate(("moved_north_km", "moved_east_km")):
        frame[name] = frame["km"] * 0.7 + np.arange(len(frame)) * 0.37 + number * 11
    along = np.where(frame["direction"] == "north", frame["moved_north_km"], frame["moved_east_km"])
    # another order than that of the distances
    return frame.assign(low=along - 30, high=along + 50).iloc[::-1].reindex(columns=COLUMNS)


def visible(figure):
    return [panel for panel in figure.axes if panel.axison]


def lines_of(panel):
    """Label to the points of each line that stands for results."""
    labels = {label for label, _ in LOOKS.values()}
    names = {(style["color"], style["ls"]): label for label, style in LOOKS.values()}
    lines = [line for line in panel.lines if len(line.get_xdata()) > 2]
    found = {names[line.get_color(), line.get_linestyle()]: line.get_xydata() for line in lines}
    assert set(found) == labels
    return found


def test_panels_hold_the_means_of_the_asked_direction_by_steered_and_read_block():
    frame = table()
    panels = visible(draw(frame))
    pairs = [(0, 0), (0, 1), (0, 2), (0, 3), (1, 1), (1, 2), (1, 3), (2, 2), (2, 3)]
    assert len(panels) == len(pairs)
    for panel, (block, readout) in zip(panels, pairs, strict=True):
        assert panel.get_title() == (f"read after block {readout}" if readout > block else f"block {block} itself")
        found = lines_of(panel)
        for (kind, direction), (label, _) in LOOKS.items():
            rows = frame[
                (frame["block"] == block)
                & (frame["readout"] == readout)
                & (frame["kind"] == kind)
                & (frame["direction"] == direction)
                & frame["seed"].isna()
            ].sort_values("km")
            np.testing.assert_array_equal(found[label], rows[["km", f"moved_{direction}_km"]])
        band = panel.collections[0].get_paths()[0].vertices
        north = frame[
            (frame["block"] == block) & (frame["readout"] == readout) & (frame["kind"] == "probe")
            & (frame["direction"] == "north")
        ]  # fmt: skip
        assert band[:, 1].min() == north["low"].min()
        assert band[:, 1].max() == north["high"].max()


def test_axes_have_units_and_the_legend_says_what_is_what():
    figure = draw(table())
    for panel in visible(figure):
        assert panel.get_xlabel() == "asked (km)"
    assert figure.axes[0].get_ylabel() == "vision, cls: step after\nblock 0; moved (km)"
    [legend] = figure.legends
    assert {text.get_text() for text in legend.get_texts()} == {label for label, _ in LOOKS.values()} | {"as asked"}
    # two colours of the palette for the colour-blind, and a second mark for each
    assert {style["color"] for _, style in LOOKS.values()} <= set(PALETTE)
    assert len({(style["color"], style["ls"]) for _, style in LOOKS.values()}) == len(LOOKS)
    assert len({style["marker"] for _, style in LOOKS.values()}) == 2


@pytest.mark.parametrize(
    "towers", [(("vision", "cls", 4),), (("vision", "cls", 24), ("text", "last", 33)), (("vision", "cls", 1),)],
    ids=["four", "two-deep-towers", "one-block"],
)  # fmt: skip
def test_every_text_lies_on_the_canvas_of_a_page(towers, monkeypatch):
    figure = draw(table(towers, blocks=None if towers[0][2] < 5 else (0, 8, 16), seeds=1))
    figure.canvas.draw()  # lays it out
    texts, original = [], Text.draw

    def recorded(self, renderer, *args, **kwargs):
        if self.get_visible() and self.get_text().strip():
            texts.append(self)
        return original(self, renderer, *args, **kwargs)

    monkeypatch.setattr(Text, "draw", recorded)
    figure.canvas.draw()
    assert texts
    width, height = figure.bbox.size
    assert figure.get_size_inches()[0] == PAGE
    for text in texts:
        box = text.get_window_extent(figure.canvas.get_renderer())
        inside = box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1
        assert inside, text.get_text()
    for panel in visible(figure):
        boxes = [label.get_window_extent() for label in panel.get_xticklabels() if label.get_text()]
        assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))


def test_deep_towers_are_thinned_to_blocks_from_first_to_last():
    assert spread(range(24)) == [0, 8, 15, 23]
    assert spread([5, 3, 3]) == [3, 5]
    chosen = chosen_rows(table((("text", "last", 12),), seeds=0))
    assert list(chosen) == [("text", "last", block) for block in (0, 3, 7, 10)]
    assert all(len(readouts) <= MOST and readouts[0] == block for (*_, block), readouts in chosen.items())


def test_a_table_without_images_says_why(tmp_path):
    row = {"tower": "vision", "pooling": "cls", "cv": "countries", "images": 0, "reason": "one country alone"}
    pd.DataFrame([row], columns=COLUMNS).to_csv(tmp_path / "pushes.csv", index=False)
    figure = draw(pd.read_csv(tmp_path / "pushes.csv"))
    assert "one country alone" in figure.axes[0].texts[0].get_text()


def test_a_table_read_back_from_its_file_draws_the_same(tmp_path):
    frame = table((("vision", "cls", 2),))
    frame.assign(seed=frame["seed"].astype("Int64")).to_csv(tmp_path / "pushes.csv", index=False)
    save_figure(draw(pd.read_csv(tmp_path / "pushes.csv")), [tmp_path / "a.png"], 30)
    save_figure(draw(frame), [tmp_path / "b.png"], 30)
    np.testing.assert_array_equal(plt.imread(tmp_path / "a.png"), plt.imread(tmp_path / "b.png"))
