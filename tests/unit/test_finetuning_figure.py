"""The figure of fine-tuned models: the numbers that were given, everything on the canvas."""

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from geoprobe.figures.finetuning import MOST_CURVES, draw
from geoprobe.figures.style import SUPERVISION_COLOURS, save_figure

KINDS = itertools.cycle(["vision-only", "vision-language", "multimodal", "baseline"])
RATES = (1e-5, 1e-4, 1e-3)


def tables(count, rates=RATES):
    families, tried = [], []
    for number, kind in zip(range(count), KINDS, strict=False):
        named = {"dataset": "tiles", "family": f"f{number}", "label": f"A model's name {number}", "supervision": kind}
        top1 = 0.1 + 0.5 * number / count
        row = {**named, "chance_top1": 0.02, "chance_top5": 0.1}
        row |= {"images": 345, "countries": 34, "groups": 120, "trainings": 5}
        for metric, value in (("top1", top1), ("top5", top1 + 0.2)):
            row |= {metric: value, f"{metric}_low": value - 0.04, f"{metric}_high": value + 0.05}
        families.append(row)
        for place, rate in enumerate(rates):
            run = {"model": f"f{number}", "learning_rate": rate, "validation_accuracy": top1 - 0.03 * abs(place - 1)}
            tried.append({**named, **run, "seed": 1, "chosen": place == 1})
        # another seed at the chosen rate is no point of the curve
        tried.append({**named, "model": f"f{number}", "learning_rate": rates[len(rates) > 1], "seed": 2,
                      "validation_accuracy": 0.99, "chosen": True})  # fmt: skip
    return pd.DataFrame(families), pd.DataFrame(tried)


@pytest.mark.parametrize("count", [1, 5, MOST_CURVES, 32])
def test_everything_is_on_the_canvas(count):
    drawn = draw(*tables(count))
    drawn.canvas.draw()
    width, height = drawn.get_size_inches()
    box = drawn.get_tightbbox()
    assert box.x0 >= -0.02
    assert box.y0 >= -0.02
    assert box.x1 <= width + 0.02
    assert box.y1 <= height + 0.02
    assert len(drawn.axes) == (2 if count <= MOST_CURVES else 1)


def test_points_intervals_and_colours_are_those_of_the_table():
    finetuned, rates = tables(4)
    axes = draw(finetuned, rates).axes[0]
    bars = axes.containers
    values = [(row[m], row[f"{m}_low"], row[f"{m}_high"], row["supervision"])
              for _, row in finetuned[::-1].iterrows() for m in ("top1", "top5")]  # fmt: skip
    for bar, (value, low, high, kind) in zip(bars, values, strict=True):
        line, _, (reach,) = bar
        assert line.get_xdata()[0] == pytest.approx(100 * value)
        assert to_rgb(line.get_color()) == to_rgb(SUPERVISION_COLOURS[kind])
        np.testing.assert_allclose(reach.get_segments()[0][:, 0], [100 * low, 100 * high])


def test_curves_are_the_first_seeds_and_the_chosen_rate_is_ringed():
    finetuned, rates = tables(3)
    lines = draw(finetuned, rates).axes[1].get_lines()
    for number, (curve, ring) in enumerate(zip(lines[::2], lines[1::2], strict=True)):
        own = rates[(rates["family"] == f"f{number}") & (rates["seed"] == 1)]
        np.testing.assert_allclose(curve.get_ydata(), 100 * own["validation_accuracy"])
        assert ring.get_xdata().tolist() == [1e-4]


def test_one_learning_rate_is_no_curve():
    assert len(draw(*tables(3, rates=(1e-4,))).axes) == 1


def test_the_figure_is_written_as_pdf_and_png(tmp_path):
    paths = [tmp_path / "figure.pdf", tmp_path / "figure.png"]
    save_figure(draw(*tables(3)), paths, 80)
    assert all(path.stat().st_size > 1000 for path in paths)
