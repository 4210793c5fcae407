"""Figures of the closer analyses: values in their cells, points where their numbers are, every text on the canvas."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import LineCollection
from matplotlib.patches import Rectangle
from matplotlib.text import Text

from geoprobe.analysis import fairness as analysis
from geoprobe.analysis.families import read_summary, split_models
from geoprobe.figures import correlation, dimensions, fairness, transfer
from geoprobe.figures.rows import stack_rows
from geoprobe.figures.style import PAGE
from geoprobe.numbers import format_cell

WHERE = {"tower": "vision", "pooling": "cls", "layer": 3}
KINDS = ("vision-only", "vision-language", "multimodal", "baseline")
CONTINENTS = {"South America": 90, "Asia": 400, "Antarctica": 20, "North America": 300, "unknown": 7}
SIZES = {"demo": (7, 8), "paper": (39, 40)}


def cluster_names(count):
    """Cluster to name, the clusters not in the order of their numbers."""
    return {
        str((7 * number + 3) % count if count % 7 else number): f"Cliffs and water {number}" for number in range(count)
    }


def models(count):
    """Label and supervision of models, in no order."""
    return pd.DataFrame(
        {
            "label": [f"Model {n} 12B pretrained" for n in range(count)],
            "supervision": [KINDS[n % 4] for n in range(count)],
        }
    )


def transfers(clusters, towers=("vision",)):
    rng = np.random.default_rng(0)
    names = ["all", *map(str, range(clusters))]
    rows = [
        {**WHERE, "tower": tower, "trained_on": a, "tested_on": b, "r2": rng.normal(-0.5, 0.5), "images": 99,
         "reason": ""}
        for tower, a, b in itertools.product(towers, names, names)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def pairs(clusters):
    rng = np.random.default_rng(1)
    rows = [
        {**WHERE, "axis": axis, "cluster_a": str(a), "cluster_b": str(b), "correlation": rng.uniform(-1, 1)}
        for axis in correlation.AXES
        for a, b in itertools.combinations(range(clusters), 2)
    ]
    return pd.DataFrame(rows)


def summary(count):
    rng = np.random.default_rng(2)
    more = pd.MultiIndex.from_product([(1.0, 0.4, 0.1), correlation.AXES], names=["share", "axis"]).to_frame(
        index=False
    )
    frame = models(count).merge(more, how="cross")
    frame["correlation"] = rng.uniform(-0.2, 0.6, len(frame))
    frame = frame.assign(low=frame["correlation"] - 0.1, high=frame["correlation"] + 0.2)
    return frame.assign(pairs=780, clusters=40, reason="")


def subsets(count):
    rng = np.random.default_rng(3)
    drawn = pd.DataFrame({"ranking": ["standardised", "random", "random", "random"], "seed": [np.nan, 1, 2, 3]})
    more = pd.MultiIndex.from_product([(0.1, 0.5, 1.0), dimensions.AXES], names=["share", "axis"]).to_frame(index=False)
    frame = models(count).merge(drawn, how="cross").merge(more, how="cross")
    frame["r2"] = rng.uniform(0.1, 0.6, len(frame))
    return frame.assign(low=frame["r2"] - 0.1, high=frame["r2"] + 0.05, images=817, reason="")


def errors(count):
    rng = np.random.default_rng(4)
    groups = [("all", "all", 817), *(("continent", *pair) for pair in CONTINENTS.items())]
    groups += [("density", name, 270) for name in ("sparse", "middle", "dense")]
    frame = models(count).merge(pd.DataFrame(groups, columns=["by", "group", "images"]), how="cross")
    frame["median_km"] = rng.uniform(500, 12_000, len(frame))
    more = {"low": frame["median_km"] - 300, "high": frame["median_km"] + 900, "units": 9, "neighbours": 1234.0}
    return frame.assign(**more, cv="blocked", reason="")


FIGURES = {
    "transfer": lambda models, clusters: transfer.draw(
        transfers(clusters, ("text", "vision") if clusters < 10 else ("vision",)), cluster_names(clusters), "Model"
    ),
    "correlation": lambda models, clusters: correlation.draw(pairs(clusters), cluster_names(clusters), "Model", ""),
    "correlation_summary": lambda models, clusters: correlation.draw_summary(summary(models)),
    "dimensions": lambda models, clusters: dimensions.draw(subsets(min(models, 9))),  # further rows are alike
    "fairness": lambda models, clusters: fairness.draw(errors(models)),
}


def shown_texts(figure, monkeypatch):
    """Texts that are drawn, with the boxes around them in pixels."""
    drawn, original = {}, Text.draw

    def recorded(self, renderer, *args, **kwargs):
        if self.get_visible() and self.get_text().strip():
            drawn[self] = self.get_window_extent(renderer)
        return original(self, renderer, *args, **kwargs)

    with monkeypatch.context() as patched:
        patched.setattr(Text, "draw", recorded)
        figure.canvas.draw()
    return drawn


@pytest.mark.parametrize(("size", "name"), list(itertools.product(SIZES, FIGURES)))
def test_texts_are_on_the_canvas_large_enough_and_apart(size, name, monkeypatch):
    figure = FIGURES[name](*SIZES[size])
    texts = shown_texts(figure, monkeypatch)
    width, height = figure.bbox.size
    for text, box in texts.items():
        assert box.x0 > -1, text
        assert box.y0 > -1, text
        assert box.x1 < width + 1, text
        assert box.y1 < height + 1, text
        assert text.get_fontsize() >= 6
    assert PAGE <= figure.get_size_inches()[0] < 1.1 * PAGE
    # boxes around slanted texts overlap where the texts do not
    upright = [(text.get_text(), box.padded(-1)) for text, box in texts.items() if text.get_rotation() in (0, 90)]
    for (first, a), (second, b) in itertools.combinations(upright, 2):
        assert not a.overlaps(b), f"{first!r} and {second!r}"


def cells(panel):
    """(row, column) to what is written there."""
    return {(round(text.get_position()[1]), round(text.get_position()[0])): text.get_text() for text in panel.texts}


def test_each_cell_of_the_transfer_has_the_value_of_its_pair_and_the_diagonal_a_frame():
    names = {"1": "Sea", "0": "Land", "2": "Ice"}
    frame = transfers(3).sample(frac=1, random_state=0)
    frame.loc[(frame["trained_on"] == "2") & (frame["tested_on"] == "all"), "r2"] = np.nan
    panel = transfer.draw(frame, names, "Model").axes[0]
    assert [text.get_text() for text in panel.get_yticklabels()] == ["all images", "Sea", "Land", "Ice"]
    assert panel.get_ylabel() == "Trained on"
    assert panel.get_xlabel() == "Tested on (n = 99 images of a cluster)"
    values = panel.images[0].get_array()
    written = cells(panel)
    assert len(written) == 16
    for row in frame.itertuples():
        at = tuple(["all", *names].index(name) for name in (row.trained_on, row.tested_on))
        if np.isnan(row.r2):
            assert values.mask[at]
            assert written[at] == "–"
        else:
            assert values[at] == row.r2
            assert float(written[at].replace("−", "-")) == pytest.approx(row.r2, abs=0.005)
    frames = [patch.get_xy() for patch in panel.patches if isinstance(patch, Rectangle)]
    assert frames == [(at - 0.5, at - 0.5) for at in range(4)]


def test_values_are_left_out_where_they_do_not_fit():
    assert cells(transfer.draw(transfers(8), cluster_names(8), "Model").axes[0])
    assert not cells(transfer.draw(transfers(40), cluster_names(40), "Model").axes[0])


def test_correlations_of_latitude_lie_above_the_diagonal_and_of_longitude_below():
    # 0 has no fit, and the clusters are ranked against their numbers
    names = {"3": "Ice", "2": "Sea", "1": "Land", "0": "Sky"}
    frame = pairs(4)
    frame = frame[frame["cluster_a"] != "0"]
    panel = correlation.draw(frame, names, "Model", "").axes[0]
    assert [text.get_text() for text in panel.get_yticklabels()] == ["Ice", "Sea", "Land"]
    values, order = panel.images[0].get_array(), ["3", "2", "1"]
    for row in frame.itertuples():
        low, high = sorted((order.index(row.cluster_a), order.index(row.cluster_b)))
        assert values[(low, high) if row.axis == "latitude" else (high, low)] == row.correlation
    assert np.diag(values.mask).all()
    assert len(cells(panel)) == 6
    mean = frame.loc[frame["axis"] == "latitude", "correlation"].mean()
    assert f"latitude (mean {format_cell(mean)})" in panel.get_title(loc="left")


def test_models_are_stacked_by_supervision_below_a_heading():
    rows, headings = stack_rows(models(6))
    assert headings == {"Vision-only": 0, "Vision-language": 3, "Multimodal": 6, "Baseline": 8}
    assert list(rows.values()) == [1, 2, 4, 5, 7, 9]
    assert list(rows)[:3] == ["Model 0 12B pretrained", "Model 4 12B pretrained", "Model 1 12B pretrained"]


def test_mean_correlations_stand_in_the_row_of_their_model_with_their_intervals():
    frame = summary(5).sample(frac=1, random_state=0)
    figure = correlation.draw_summary(frame)
    rows, _ = stack_rows(frame)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["100 %", "40 %", "10 %"]
    for panel, axis in zip(figure.axes, correlation.AXES, strict=True):
        marks = {line.get_label(): line for line in panel.lines if line.get_label().endswith("%")}
        ends = [tuple(segment[:, 0]) for lines in panel.collections for segment in lines.get_segments()]
        for row in frame[frame["axis"] == axis].itertuples():
            line = marks[f"{100 * row.share:g} %"]
            at = line.get_xdata().tolist().index(row.correlation)
            assert abs(line.get_ydata()[at] - rows[row.label]) < 0.5
            assert (row.low, row.high) in ends


def test_subsets_have_a_line_an_axis_their_mean_and_the_range_of_the_random_draws():
    frame = subsets(2).sample(frac=1, random_state=0)
    panels = {panel.get_title(): panel for panel in dimensions.draw(frame).axes}
    for label, rows in frame.groupby("label"):
        panel = panels[label]
        lines = [line for line in panel.lines if len(line.get_xdata()) == 3]
        ranked = rows[rows["ranking"] == "standardised"].pivot_table(index="share", columns="axis", values="r2")
        drawn = rows[rows["ranking"] == "random"].pivot_table(index=["seed", "share"], columns="axis", values="r2")
        bands = [band for band in panel.collections if not isinstance(band, LineCollection)]
        columns = ("latitude", "longitude", "both")
        for line, band, name in zip(lines, bands, columns, strict=True):
            expected, random = (
                part[name] if name != "both" else (part["latitude"] + part["longitude"]) / 2 for part in (ranked, drawn)
            )
            assert line.get_xdata().tolist() == [0.1, 0.5, 1.0]
            assert line.get_ydata() == pytest.approx(expected.to_numpy())
            corners = {tuple(corner) for corner in band.get_paths()[0].vertices.round(9)}
            for share, values in random.groupby("share"):
                assert {(share, round(values.min(), 9)), (share, round(values.max(), 9))} <= corners
            assert panel.get_ylim()[0] < line.get_ydata().min()
            assert panel.get_ylim()[1] > line.get_ydata().max()
        bars = {tuple(segment[:, 1]) for lines in panel.collections if isinstance(lines, LineCollection)
                for segment in lines.get_segments()}  # fmt: skip
        shown = rows[rows["ranking"] == "standardised"]
        assert bars == set(zip(shown["low"], shown["high"], strict=True))


def test_a_score_far_below_zero_does_not_flatten_the_others():
    frame = subsets(3)
    frame.loc[0, ["r2", "low", "high"]] = (-40, -60, -20)
    assert -0.6 < dimensions.draw(frame).axes[0].get_ylim()[0] < -0.5


def test_the_panels_of_subsets_grow_in_number_not_shrink():
    few, many = (dimensions.draw(subsets(count)).get_size_inches()[1] for count in (2, 5))
    assert many - few == pytest.approx(1.55)


def test_errors_are_in_thousand_kilometres_in_the_panel_of_their_group_with_numbers():
    frame = errors(5).sample(frac=1, random_state=0)
    figure = fairness.draw(frame)
    rows, _ = stack_rows(frame)
    panels = [panel for panel in figure.axes if panel.axison]
    heads = [panel.get_title().split("\n") for panel in panels]
    assert [" ".join(head[:-2]) for head in heads] == [
        *("All images", "Asia", "North America", "South America", "Antarctica", "Unknown"),
        *(f"{name} 1,234 others ≤ 250 km" for name in ("Sparse", "Middle", "Dense")),
    ]
    groups = ["all", "Asia", "North America", "South America", "Antarctica", "unknown", "sparse", "middle", "dense"]
    for panel, head, group in zip(panels, heads, groups, strict=True):
        part = frame[frame["group"] == group]
        assert head[-2:] == [f"n = {part['images'].iloc[0]}", "9 blocks"]
        [points] = [found for found in panel.collections if not isinstance(found, LineCollection)]
        expected = {(row.median_km / 1000, rows[row.label]) for row in part.itertuples()}
        assert set(map(tuple, points.get_offsets().tolist())) == expected
        segments = [segment for found in panel.collections if isinstance(found, LineCollection)
                    for segment in found.get_segments()]  # fmt: skip
        intervals = {(*segment[:, 0], segment[0, 1]) for segment in segments}
        assert {(row.low / 1000, row.high / 1000, rows[row.label]) for row in part.itertuples()} <= intervals
        assert panel.get_xlim()[0] == 0
        assert panel.get_xlim()[1] > frame["high"].max() / 1000


def test_the_figure_of_errors_names_the_groups_as_the_analysis_does():
    assert (fairness.NEAR_KM, fairness.THIRDS) == (analysis.NEAR_KM, analysis.THIRDS)


def test_units_are_countries_where_these_are_held_out():
    panels = fairness.draw(errors(2).assign(cv="countries")).axes
    assert panels[0].get_title() == "All images\nn = 817\n9 countries"


def test_models_that_differ_in_their_numbers_of_images_are_told():
    frame = errors(2)
    frame.loc[frame.index[1], "images"] -= 5
    assert any("n ≤ " in panel.get_title() for panel in fairness.draw(frame).axes)


@pytest.mark.parametrize(
    "draw",
    [
        lambda: transfer.draw(transfers(3).assign(r2=np.nan, reason="too few images"), cluster_names(3), "Model"),
        lambda: correlation.draw(pairs(3)[:0], cluster_names(3), "Model", "too few images"),
        lambda: correlation.draw_summary(summary(2).assign(correlation=np.nan, reason="too few images")),
        lambda: dimensions.draw(subsets(2).assign(r2=np.nan, reason="too few images")),
        lambda: fairness.draw(errors(2).assign(images=0, reason="too few images")),
    ],
)
def test_a_figure_without_numbers_says_why(draw, monkeypatch):
    figure = draw()
    [(text, box)] = shown_texts(figure, monkeypatch).items()
    assert "too few images" in text.get_text()
    assert 0 < box.x0 < box.x1 < figure.bbox.width


def test_seeds_of_an_encoder_have_rows_of_their_own():
    frame = pd.DataFrame({"label": ["Random", "Random", "Places"], "model": ["random-seed1", "random-seed2", "places"]})
    assert split_models(frame)["label"].tolist() == ["Random (random-seed1)", "Random (random-seed2)", "Places"]


def test_clusters_of_pairs_are_read_as_text(tmp_path):
    pairs(3).to_csv(tmp_path / "pairs.csv", index=False)
    read = read_summary(tmp_path / "pairs.csv")
    assert {*read["cluster_a"], *read["cluster_b"]} == {"0", "1", "2"}
