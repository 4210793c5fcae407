"""One look for all figures: fonts for print, colours that the colour-blind can tell apart, files with provenance."""

import textwrap
from pathlib import Path

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_pdf import FigureCanvasPdf
from matplotlib.backends.backend_svg import FigureCanvasSVG

from geoprobe.runtime import provenance, replacing

# Okabe and Ito (2008); vision-only cool, vision-language warm, controls grey.
PALETTE = ("#0072B2", "#56B4E9", "#009E73", "#D55E00", "#E69F00", "#CC79A7", "#F0E442", "#000000")
SUPERVISION_COLOURS = {
    "vision-only": "#0072B2",
    "vision-language": "#D55E00",
    "multimodal": "#009E73",
    "baseline": "#7F7F7F",
}
MARKERS = "osD^vP*X"
SEQUENTIAL = "viridis"
COLUMN, PAGE = 3.4, 7.0  # inches: one column and the full width of a two-column paper
TALL = 9.5  # inches: more than a page holds
CANVASES = {"png": FigureCanvasAgg, "pdf": FigureCanvasPdf, "svg": FigureCanvasSVG}

RC = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": matplotlib.cycler(color=PALETTE),
    "figure.constrained_layout.use": True,
    # a name is text, dollar signs included
    "text.parse_math": False,
    # text stays text in vector files
    "pdf.fonttype": 42,
    "svg.fonttype": "none",
    # an SVG's ids are drawn from this, so that the same data gives the same file
    "svg.hashsalt": "geoprobe",
}


def figure(width, height, mosaic=None, **subplots):
    """A figure and its axes, in inches, in the common style; of a mosaic the axes by name."""
    plt.rcParams.update(RC)
    if mosaic is not None:
        return plt.subplot_mosaic(mosaic, figsize=(width, height), **subplots)
    return plt.subplots(figsize=(width, height), **subplots)


def repeat_scale(axes):
    """Numbers of the horizontal axis at the top as well, where the figure is taller than a page."""
    if axes.figure.get_size_inches()[1] > TALL:
        axes.tick_params(axis="x", top=True, labeltop=True)


def only_text(text):
    """A figure that has nothing to draw and says why."""
    drawn, axes = figure(PAGE, 1)
    axes.set_axis_off()
    axes.text(0.5, 0.5, textwrap.fill(text, 110), ha="center", va="center")
    return drawn


def save_figure(drawn, paths, dpi):
    """Write a figure to each of the paths, PDF, PNG or SVG by suffix, and close it."""
    # laid out once, and not once a format: that takes as long as the drawing
    drawn.set_dpi(dpi)
    if (layout := drawn.get_layout_engine()) is not None:
        layout.execute(drawn)
        drawn.set_layout_engine("none")
    made = {name: str(value) for name, value in provenance().items()}
    for path in map(Path, paths):
        kind = path.suffix.lstrip(".")
        metadata = {
            "pdf": {"Creator": f"geoprobe {made['geoprobe']}", "Keywords": made["versions"]},
            "svg": {"Creator": f"geoprobe {made['geoprobe']}", "Date": made["created"]},
            "png": {"Software": f"geoprobe {made['geoprobe']}", "Description": made["versions"]},
        }[kind]
        with replacing(path) as temporary:
            drawn.set_dpi(dpi)  # PDF and SVG leave theirs behind
            # savefig would draw everything once more, for a layout that is already made
            getattr(CANVASES[kind](drawn), f"print_{kind}")(temporary, metadata=metadata)
    plt.close(drawn)


def r2_limits(values):
    """Colour limits for R2: from 0 (no better than the mean) to the next tenth above the highest."""
    import numpy as np

    highest = np.nanmax(values) if np.isfinite(values).any() else 0.1
    return 0.0, max(0.1, float(np.ceil(highest * 10) / 10))


def family_styles(families):
    """Colour and marker of each family, by name, in the order given; 64 differ from each other."""
    return {
        name: {
            "color": PALETTE[index % len(PALETTE)],
            "marker": MARKERS[(index + index // len(PALETTE)) % len(MARKERS)],
        }
        for index, name in enumerate(dict.fromkeys(families))
    }
