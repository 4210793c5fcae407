"""How far read-outs of later blocks move when a step along a probe's direction is added, against what was asked."""

import numpy as np

from geoprobe.figures.counts import span
from geoprobe.figures.style import PAGE, figure, only_text

MOST = 4  # steered blocks of a tower, and read-outs of each
ROW = 1.75  # inches
LOOKS = {
    ("probe", "north"): ("probe's direction, north", {"color": "#0072B2", "marker": "o", "ls": "-"}),
    ("probe", "east"): ("probe's direction, east", {"color": "#D55E00", "marker": "s", "ls": "-"}),
    ("random", "north"): ("random directions, north", {"color": "#0072B2", "marker": "o", "mfc": "w", "ls": ":"}),
    ("random", "east"): ("random directions, east", {"color": "#D55E00", "marker": "s", "mfc": "w", "ls": ":"}),
}


def spread(numbers, most=MOST):
    """At most so many of the sorted numbers, first and last among them, evenly spaced."""
    numbers = sorted(set(numbers))
    if len(numbers) <= most:
        return numbers
    return [numbers[round(at)] for at in np.linspace(0, len(numbers) - 1, most)]


def chosen_rows(frame):
    """(tower, pooling, steered block) of the rows of panels, and the read-outs of each.

    Steered blocks are those with a later read-out; where there are none, what there is.
    """
    chosen = {}
    for (tower, pooling), rows in frame.groupby(["tower", "pooling"], sort=False):
        later = rows[rows["readout"] > rows["block"]]
        for block in spread((later if len(later) else rows)["block"]):
            chosen[tower, pooling, block] = spread(rows.loc[rows["block"] == block, "readout"])
    return chosen


def draw(frame):
    """A row of panels a steered block, a panel a read-out block, the steered block itself first.

    Args:
        frame: of :func:`geoprobe.interventions.pushing.push_positions` of one model and cross-validation. Of the
            random directions the means over seeds are drawn, with their intervals; rows without images are left out.

    Returns:
        A figure; one that says why where there are no images at all.
    """
    there = frame[frame["images"] > 0]
    if there.empty:
        return only_text(f"Nothing was steered: {'; '.join(frame['reason'].unique())}")
    there = there[there["seed"].isna()]
    chosen = chosen_rows(there)
    columns = max(map(len, chosen.values()))
    drawn, axes = figure(
        PAGE, 0.6 + ROW * len(chosen), nrows=len(chosen), ncols=columns, squeeze=False, sharex=True, sharey="row"
    )
    handles = {}
    for panels, ((tower, pooling, block), readouts) in zip(axes, chosen.items(), strict=True):
        for panel in panels[len(readouts) :]:
            panel.set_axis_off()
        for panel, readout in zip(panels, readouts, strict=False):
            rows = there[
                (there["tower"] == tower)
                & (there["pooling"] == pooling)
                & (there["block"] == block)
                & (there["readout"] == readout)
            ]
            handles |= _draw_panel(panel, rows)
            panel.set_title(f"read after block {readout}" if readout > block else f"block {block} itself")
            panel.set_xticks(sorted({rows["km"].min(), 0, rows["km"].max()}))
            panel.tick_params(labelbottom=True)
            # inwards, or those of two panels would run into each other
            for label, align in zip(
                panel.get_xticklabels()[:: len(panel.get_xticks()) - 1], ("left", "right"), strict=False
            ):
                label.set_ha(align)
            panel.set_xlabel("asked (km)")
        panels[0].set_ylabel(f"{tower}, {pooling}: step after\nblock {block}; moved (km)")
    drawn.legend(
        handles.values(), handles.keys(), title=f"n = {span(there['images'])} images", title_fontsize=7, ncols=3,
        frameon=False, loc="outside lower center",
    )  # fmt: skip
    return drawn


def _draw_panel(panel, rows):
    """Lines and bands of one read-out; label to line."""
    asked = np.array([rows["km"].min(), rows["km"].max()])
    handles, (same,) = {}, panel.plot(asked, asked, color="0.6", lw=0.8, zorder=1)
    panel.axhline(0, color="0.85", lw=0.8, zorder=0)
    for (kind, direction), (label, style) in LOOKS.items():
        line = rows[(rows["kind"] == kind) & (rows["direction"] == direction)].sort_values("km")
        if line.empty:
            continue
        band = {"color": style["color"], "lw": 0, "alpha": 0.25 if kind == "probe" else 0.1}
        panel.fill_between(line["km"], line["low"], line["high"], **band)
        (handles[label],) = panel.plot(line["km"], line[f"moved_{direction}_km"], lw=1.1, ms=3, **style)
    return handles | {"as asked": same}
