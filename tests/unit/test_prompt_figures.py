"""Figures of prompts and of steering: every text on the canvas, every line where its numbers are, looks that differ."""

import importlib.util
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import rgb_to_hsv, to_hex, to_rgb
from matplotlib.text import Text
from PIL import Image

from geoprobe.figures import prompts, steering
from geoprobe.figures.style import PAGE
from geoprobe.interventions.outcomes import summarise

LABELS = [
    "LLaVA-1.5-7B",
    "Qwen2.5-VL-3B",
    "Qwen2.5-VL-7B",
    "Gemma 3 4B pretrained",
    "Gemma 3 12B pretrained",
    "Gemma 3 4B instruct",
    "Gemma 3 12B instruct",
]
KINDS = {
    "none": ("none", 1),
    "coordinates": ("text", 1),
    "city": ("text", 1),
    "where": ("text", 1),
    "random": ("random", 3),
    "neutral": ("neutral", 1),
}


def curves(models=7, layers=9, without=()):
    """R2 that rises and then falls, less where a place is asked for."""
    rows = []
    for model in range(models):
        for number, (prompt, (kind, seeds)) in enumerate(KINDS.items()):
            depth = np.arange(layers) / max(1, layers - 1)
            keeps = 0.2 if kind == "text" else 0.6
            r2 = (
                0.75 * np.sin(np.pi / 2 * np.minimum(1, depth * 2)) - keeps * np.maximum(0, depth - 0.5) - 0.01 * number
            )
            frame = pd.DataFrame({"layer": range(layers), "depth": depth, "r2": r2 - 0.02 * model})
            frame["low"], frame["high"] = frame["r2"] - 0.06, frame["r2"] + 0.05
            rows.append(
                frame.assign(
                    model=f"model-{model}",
                    label=LABELS[model % 7] + " again" * (model // 7),
                    prompt=prompt,
                    kind=kind,
                    seeds=seeds,
                    cv="blocked",
                    images=2345,
                    blocks=310,
                )
            )
    frame = pd.concat(rows, ignore_index=True)
    return frame[~frame[["model", "prompt"]].apply(tuple, axis=1).isin(without)]


MODEL = "Gemma 3 12B instruct, landmarks, coordinates"


def outcomes(where=("prefill", "every_step"), rankings=("coefficients", "standardised", "random"), blocks=(0,)):
    """Stability that falls and efficacy that rises, faster for the probe's rankings than for random dimensions."""
    rows = []
    for block, place, (number, ranking) in itertools.product(blocks, where, enumerate(rankings)):
        for share in np.linspace(0, 1, 11):
            moved = share ** (1 + number)
            shares = {"stability": 1 - moved, "efficacy": 0.9 * moved, "success": moved * (1 - moved), "city": 0.5}
            condition = {"where": place, "block": block, "ranking": ranking, "share": share, "pairs": 255}
            compared = ranking != "random" and 0 < share < 1
            p = {"p_holm": (0.01 if share > 0.35 else 0.2) if compared else np.nan}
            for name, value in shares.items():
                rows.append(
                    condition | p | {"outcome": name, "value": value, "low": value - 0.03, "high": value + 0.04}
                )
    return pd.DataFrame(rows)


FIGURES = {
    "prompts of seven models": lambda: prompts.draw(curves()),
    "prompts of fifteen models": lambda: prompts.draw(curves(15)),
    "prompts of one layer": lambda: prompts.draw(curves(1, layers=1)),
    "steering": lambda: steering.draw(outcomes(), MODEL),
    "steering in the prompt": lambda: steering.draw(outcomes(("prefill",)), MODEL),
    "steering of two blocks": lambda: steering.draw(outcomes(blocks=(0, 20)), MODEL),
}


@pytest.fixture
def texts_of(monkeypatch):
    """Draw a figure; every text that was in fact drawn."""

    def draw(figure):
        drawn, original = [], Text.draw

        def recorded(self, renderer, *args, **kwargs):
            if self.get_visible() and self.get_text().strip():
                drawn.append(self)
            return original(self, renderer, *args, **kwargs)

        with monkeypatch.context() as patched:
            patched.setattr(Text, "draw", recorded)
            figure.canvas.draw()  # lays it out first
        return list(dict.fromkeys(drawn))

    return draw


def extent(text):
    return text.get_window_extent(text.figure.canvas.get_renderer())


@pytest.mark.parametrize("name", FIGURES)
def test_every_text_lies_on_a_page_and_over_no_other(name, texts_of):
    figure = FIGURES[name]()
    texts = texts_of(figure)
    width, height = figure.bbox.size
    for text in texts:
        box = extent(text)
        inside = box.x0 > -1 and box.y0 > -1 and box.x1 < width + 1 and box.y1 < height + 1
        assert inside, f"{text.get_text()!r} at {box} is not within {width} x {height}"
    width, height = figure.get_size_inches()
    assert width == PAGE
    assert 2 < height < 10
    boxes = [(text.get_text(), extent(text).padded(-1)) for text in texts]
    for number, (first, a) in enumerate(boxes):
        for second, b in boxes[number + 1 :]:
            assert not a.overlaps(b), f"{first!r} and {second!r}"


def lines_of(panel):
    """Lines of a panel by what the legend calls them; those that are only in the legend have no points."""
    return {line.get_label(): line for line in panel.lines if len(line.get_xdata())}


def test_prompts_are_drawn_as_they_are_given_a_panel_a_model():
    frame = curves(7, layers=5, without=[("model-2", "neutral")]).sample(frac=1, random_state=0)
    figure = prompts.draw(frame)
    panels = {panel.get_title(): panel for panel in figure.axes if panel.get_visible()}
    assert sorted(panels) == sorted(LABELS)
    names = {prompt: prompt for prompt in KINDS} | {"none": "no prompt", "random": "random, mean of 3 draws"}
    for (label, prompt), rows in frame.groupby(["label", "prompt"]):
        rows = rows.sort_values("layer")
        line = lines_of(panels[label])[names[prompt]]
        assert line.get_xdata().tolist() == rows["depth"].tolist()
        assert line.get_ydata().tolist() == rows["r2"].tolist()
        # the dot is at the peak
        assert line.get_markevery() == [int(np.argmax(rows["r2"]))]
    assert len(lines_of(panels[LABELS[2]])) == len(KINDS) - 1
    assert len(panels[LABELS[0]].collections) == len(KINDS)


def test_a_band_is_the_interval():
    frame = curves(1, layers=3)
    [panel] = prompts.draw(frame).axes
    rows = frame[frame["prompt"] == "coordinates"]
    corners = {tuple(corner) for corner in panel.collections[0].get_paths()[0].vertices.round(9)}
    assert {
        (x, round(y, 9)) for end in ("low", "high") for x, y in zip(rows["depth"], rows[end], strict=True)
    } <= corners


def test_the_legend_names_each_prompt_once_and_the_axes_say_what_they_are(texts_of):
    figure = prompts.draw(curves(2))
    shown = [text.get_text() for text in texts_of(figure)]
    [legend] = figure.legends
    named = [text.get_text() for text in legend.get_texts()]
    assert named == ["coordinates", "city", "where", "no prompt", "neutral", "random, mean of 3 draws"]
    assert all(shown.count(name) == 1 for name in named)
    assert any(text.startswith("Relative depth of the block\nn = 2,345 images") for text in shown)
    assert "R² (latitude, longitude), held-out blocks" in shown


def test_prompts_that_ask_are_warm_and_the_others_black_grey_and_blue():
    frame = pd.DataFrame([(f"ask-{n}", "text") for n in range(8)], columns=["prompt", "kind"])
    controls = pd.DataFrame([(name, name) for name in ("random", "neutral", "none")], columns=["prompt", "kind"])
    styles = prompts.prompt_styles(pd.concat([controls, frame]))
    assert len({(to_hex(style["color"]), str(style["ls"])) for style in styles.values()}) == 11
    for number in range(8):
        red, _, blue = to_rgb(styles[f"ask-{number}"]["color"])
        assert red > blue
    assert to_hex(styles["none"]["color"]) == "#000000"
    assert styles["none"]["ls"] == "-"
    assert rgb_to_hsv(to_rgb(styles["neutral"]["color"]))[1] == 0
    red, _, blue = to_rgb(styles["random"]["color"])
    assert blue > red
    assert "-" not in (styles["neutral"]["ls"], styles["random"]["ls"])


def test_a_model_without_r2_has_an_empty_panel(texts_of):
    frame = curves(2)
    frame.loc[frame["model"] == "model-1", ["r2", "low", "high"]] = np.nan
    figure = prompts.draw(frame)
    assert LABELS[1] in [text.get_text() for text in texts_of(figure)]


def test_steering_has_a_column_an_outcome_and_a_row_a_way_of_replacing(texts_of):
    frame = outcomes(("every_step", "prefill")).sample(frac=1, random_state=0)
    figure = steering.draw(frame, MODEL)
    shown = [text.get_text() for text in texts_of(figure)]
    for words in (MODEL, "Stability: the landmark stays", "Efficacy: the target's place", "Success: both"):
        assert shown.count(words) == 1
    panels = np.array(figure.axes).reshape(2, 3)
    names = {"coefficients": "by probe coefficient", "standardised": "by standardised coefficient",
             "random": "random dimensions"}  # fmt: skip
    named = [text.get_text() for text in figure.legends[0].get_texts()]
    assert named == [*names.values(), "filled: other than random (p < 0.05, Holm)"]
    for line, where in zip(panels, ("prefill", "every_step"), strict=True):
        assert line[0].get_ylabel() == f"{steering.WHERE[where]}\nShare of 255 pairs"
        for panel, outcome in zip(line, ("stability", "efficacy", "success"), strict=True):
            part = frame[(frame["where"] == where) & (frame["outcome"] == outcome)].sort_values("share")
            for ranking, name in names.items():
                rows = part[part["ranking"] == ranking]
                drawn = lines_of(panel)[name]
                assert drawn.get_xdata().tolist() == rows["share"].tolist()
                assert drawn.get_ydata().tolist() == rows["value"].tolist()
            assert len(panel.collections) == 3


def test_only_what_survives_the_correction_is_filled():
    figure = steering.draw(outcomes(("prefill",)), MODEL)
    for panel in figure.axes:
        lines = [line for line in panel.lines if len(line.get_xdata())]
        filled = [line.get_xdata().tolist() for line in lines if line.get_markerfacecolor() != "white"]
        assert filled == [pytest.approx([0.4, 0.5, 0.6, 0.7, 0.8, 0.9])] * 2
    figure = steering.draw(outcomes(("prefill",)).assign(p_holm=np.nan), MODEL)
    assert len(figure.legends[0].get_texts()) == 3


def test_rows_of_steering_name_the_block_where_there_are_several():
    names = steering.name_rows(outcomes(("every_step", "prefill"), blocks=(20, 3)))
    assert list(names.values()) == [
        f"block {block}\n{place}" for block in (3, 20) for place in ("once, in the prompt", "at every step")
    ]
    assert list(steering.name_rows(outcomes(("prefill",))).values()) == ["once, in the prompt"]


def test_a_ranking_that_was_not_tried_is_not_in_the_legend():
    figure = steering.draw(outcomes(rankings=("coefficients", "random")), MODEL)
    assert [text.get_text() for text in figure.legends[0].get_texts()][:2] == [
        "by probe coefficient",
        "random dimensions",
    ]


def test_outcomes_of_generations_are_drawn_as_they_are_summarised(texts_of):
    landmark = dict.fromkeys(("stability", "city", "region", "country", "efficacy", "success"), False)
    rows = [
        {"source": "a", "target": "b", "source_landmark": "A", "target_landmark": "B", "text": "",
         "where": "prefill", "block": 0, "ranking": ranking, "share": share, "seed": seed, **landmark}
        for ranking, seed in (("coefficients", None), ("random", 1))
        for share in (0.0, 0.5, 1.0)
    ]  # fmt: skip
    for scored in (True, False):  # without a pair that could be scored there are no numbers
        table = summarise(pd.DataFrame(rows).assign(scored=scored), 20, 1)
        figure = steering.draw(table, MODEL)
        assert f"Share of {int(scored)} pairs" in figure.axes[0].get_ylabel()
    assert MODEL in [text.get_text() for text in texts_of(figure)]


def load_script(name):
    """A script as a module; its main block does not run."""
    path = Path(__file__).parents[2] / f"workflow/scripts/{name}.py"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_script_shows_the_headline_of_one_tower_and_trained_models_alone(tmp_path, monkeypatch):
    headline = {"dataset": "earth", "probe": "ridge", "target": "degrees", "cv": "blocked"}
    shown = curves(2, layers=3).assign(
        **headline, tower="text", cluster="all", supervision="multimodal", family=lambda frame: frame["model"]
    )
    others = [shown.assign(**{name: "other"}) for name in ("dataset", "probe", "target", "cv", "tower", "cluster")]
    others.append(shown.assign(family="model-0-untrained", model="model-0-untrained-seed1"))
    pd.concat([*others, shown]).to_csv(tmp_path / "curves.csv", index=False)
    script, drawn = load_script("plot_prompts"), []
    monkeypatch.setattr(script, "draw", lambda frame: drawn.append(frame) or prompts.draw(frame))
    # a headline says more than this figure needs
    paths = [tmp_path / "figure.png", tmp_path / "figure.pdf"]
    script.plot(tmp_path / "curves.csv", headline | {"prompts": ["none"], "choice": "inner"}, "text", paths, 40)
    pd.testing.assert_frame_equal(drawn[0].reset_index(drop=True)[list(shown)], shown.reset_index(drop=True))
    with Image.open(paths[0]) as picture:
        assert picture.width == PAGE * 40
    assert paths[1].read_bytes().startswith(b"%PDF")
    with pytest.raises(ValueError, match=r"no row has dataset earth, .*tower decoder"):
        script.plot(tmp_path / "curves.csv", headline, "decoder", paths, 40)


def test_the_script_draws_the_outcomes_of_a_file(tmp_path):
    outcomes(("prefill",), ("coefficients", "random")).to_csv(tmp_path / "steering.csv", index=False)
    load_script("plot_steering").plot(tmp_path / "steering.csv", MODEL, [tmp_path / "figure.png"], 40)
    with Image.open(tmp_path / "figure.png") as picture:
        assert picture.width == PAGE * 40
