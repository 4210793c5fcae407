"""R2 against the number of parameters, by supervision, with lines between matched pairs of models."""

import numpy as np

from geoprobe.figures.counts import write_counts
from geoprobe.figures.labels import place_labels
from geoprobe.figures.objectives import LAYERS
from geoprobe.figures.style import PAGE, SUPERVISION_COLOURS, figure, only_text

APART, WIDE = 4.5, 450.0  # points on the page: between models of one size, and the axis
SHAPES = {"vision-only": "o", "vision-language": "s", "multimodal": "D", "baseline": "X"}


def _ends(frame, pairs):
    """Rows of both models of each matched pair, of which both are there."""
    # of a model that was read in several towers the vision tower is compared, as in the effect of text
    vision = {row.origin: row for row in frame.itertuples() if row.tower == "vision"}
    rows = vision | {row.family: row for row in frame.itertuples()}
    named = dict.fromkeys((pair["baseline"], pair["text"]) for pair in pairs)
    return [(rows[one], rows[other]) for one, other in named if one in rows and other in rows]


def set_apart(counts, step):
    """Where points are drawn along the logarithm of their size, those of nearly one size beside each other.

    Args:
        counts: parameters, positive, shape (n,).
        step: least distance of two points, in powers of ten.

    Returns:
        Shape (n,): the counts themselves, but for runs of sizes less than a step from one to the next, which are laid
        a step apart around their mean (of the logarithms), in their order.
    """
    logs = np.log10(np.asarray(counts, dtype=float))
    order = np.argsort(logs, kind="stable")
    runs = np.split(order, np.flatnonzero(np.diff(logs[order]) >= step) + 1)
    for run in runs:
        if len(run) > 1:
            logs[run] = logs[run].mean() + step * (np.arange(len(run)) - (len(run) - 1) / 2)
    return 10**logs


def write_parameters(count):
    """22 M, 1.1 B, ..."""
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if count >= size:
            return f"{count / size:.3g} {unit}"
    return f"{count:.0f}"


def draw(frame, pairs=()):
    """A point a model with its interval and its name.

    Args:
        frame: rows of cluster all, control none, one cross-validation and one choice of layers: family, origin,
            label, supervision, tower, choice, r2, low, high, parameters. Points of nearly one size are set apart. What
            has no parameters is a line across, and models without an R2 are left out.
        pairs: dicts of baseline and text, both families: those of the frame are joined by a line.

    Returns:
        A figure; where no model with parameters has an R2, one that says so.
    """
    frame = frame[frame["r2"].notna()]
    sized = frame[frame["parameters"] > 0]
    if sized.empty:
        return only_text("Nothing to compare by size: no model that has parameters could be scored.")
    counts = sorted(set(sized["parameters"]))
    # labels stand beside points, also of the largest and the smallest
    limits = counts[0] / 2, counts[-1] * 2.5
    step = APART / WIDE * np.log10(limits[1] / limits[0])
    sized = sized.assign(x=set_apart(sized["parameters"], step))
    drawn, axes = figure(PAGE, 3.6 + 0.09 * len(sized))
    axes.set_xscale("log")
    for supervision, rows in sized.groupby("supervision", sort=False):
        colour = SUPERVISION_COLOURS[supervision]
        errors = np.stack([rows["r2"] - rows["low"], rows["high"] - rows["r2"]]).clip(min=0)
        axes.errorbar(
            rows["x"], rows["r2"], yerr=errors, fmt=SHAPES[supervision], color=colour, ms=4.5, lw=0.7,
            label=supervision, zorder=3,
        )  # fmt: skip
    ends = _ends(sized, pairs)
    for number, (one, other) in enumerate(ends):
        axes.plot(
            [one.x, other.x], [one.r2, other.r2], color="0.6", lw=0.8, ls="--", zorder=1,
            label=None if number else "matched pair",
        )  # fmt: skip
    for row in frame[frame["parameters"] == 0].itertuples():
        axes.axhline(row.r2, color="0.5", lw=0.8, ls=":", zorder=1, label=f"{row.label} (no parameters)")
    axes.set_xlim(limits)
    _mark_sizes(axes, counts)
    axes.set_xlabel(f"Parameters of the model (those of nearly one size are set apart)\n{write_counts(sized)}")
    axes.set_ylabel(f"R² with 95 % interval, {LAYERS[frame['choice'].iloc[0]]}")
    low, high = axes.get_ylim()
    axes.set_ylim(low - 0.03 * (high - low), high + 0.03 * (high - low))
    drawn.legend(ncols=4, frameon=False, loc="outside upper center")
    place_labels(
        axes, sized[["x", "r2"]].to_numpy(dtype=float), sized["label"].tolist(),
        bars=sized[["x", "low", "high"]].to_numpy(dtype=float),
    )  # fmt: skip
    return drawn


def _mark_sizes(axes, counts):
    """Ticks at 1, 2 and 5 of each power of ten; at the sizes themselves where there are few."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    if len(counts) < 3:
        axes.set_xticks(counts)
    else:
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda count, _: write_parameters(count)))
