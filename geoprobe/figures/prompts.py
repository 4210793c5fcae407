"""R2 by relative depth, a line a prompt and a panel a model."""

import math

import numpy as np

from geoprobe.figures.counts import write_counts
from geoprobe.figures.objectives import CVS
from geoprobe.figures.style import PAGE, figure

# Okabe and Ito: prompts that ask are warm and solid, those that ask nothing dark, grey or blue.
WARM = ("#D55E00", "#E69F00", "#CC79A7", "#A6761D")
CONTROLS = {
    "none": {"color": "#000000", "ls": "-"},
    "neutral": {"color": "#7F7F7F", "ls": "--"},
    "random": {"color": "#0072B2", "ls": (0, (3, 1.5))},
}
ROWS = 5  # of panels on a page


def prompt_styles(curves):
    """Colour and line of each prompt, by name; prompts that ask come first."""
    kinds = dict(curves[["prompt", "kind"]].drop_duplicates().itertuples(index=False, name=None))
    asking = [name for name, kind in kinds.items() if kind == "text"]
    styles = {
        name: {"color": WARM[index % len(WARM)], "ls": ("-", "-.", ":")[index // len(WARM) % 3]}
        for index, name in enumerate(asking)
    }
    order = sorted(
        (name for name in kinds if kinds[name] != "text"), key=lambda name: list(CONTROLS).index(kinds[name])
    )
    return styles | {name: CONTROLS[kinds[name]] for name in order}


def name_prompt(rows):
    """What a prompt is called in the legend."""
    name, seeds = rows["prompt"].iloc[0], rows["seeds"].max()
    if name == "none":
        return "no prompt"
    return f"{name}, mean of {seeds} draws" if seeds > 1 else name


def draw(curves):
    """Curves with bands for their intervals, on a common scale; a dot marks the highest point of each.

    Args:
        curves: rows of :data:`geoprobe.analysis.prompts.CURVES` of one data set, probe, tower, cluster, target and
            cross-validation.

    Returns:
        A figure.
    """
    models = dict(curves[["model", "label"]].drop_duplicates().itertuples(index=False, name=None))
    across = max(min(len(models), 3), math.ceil(len(models) / ROWS))
    down = math.ceil(len(models) / across)
    height = (2.3 if down < 3 else 1.75) * down + 0.75
    drawn, axes = figure(PAGE, height, nrows=down, ncols=across, sharex=True, sharey=True, squeeze=False)
    handles = {}
    for panel, (model, label) in zip(axes.flat, models.items(), strict=False):
        for prompt, style in prompt_styles(curves).items():
            rows = curves[(curves["model"] == model) & (curves["prompt"] == prompt)].sort_values("depth")
            if rows.empty:
                continue
            known = np.isfinite(rows["r2"].to_numpy(dtype=float))
            peak = [int(rows["r2"].reset_index(drop=True).idxmax())] if known.any() else []
            name = name_prompt(curves[curves["prompt"] == prompt])
            [line] = panel.plot(
                rows["depth"], rows["r2"], lw=1.2, marker="o", ms=3.2, markevery=peak, label=name, **style
            )
            panel.fill_between(rows["depth"], rows["low"], rows["high"], color=style["color"], alpha=0.12, lw=0)
            handles.setdefault(prompt, line)
        panel.set_title(label)
        panel.set_xlim(-0.03, 1.03)
    for number, panel in enumerate(axes.flat):
        if number >= len(models):
            panel.set_visible(False)
        elif number + across >= len(models):
            # below it there is no panel whose numbers it shares
            panel.tick_params(labelbottom=True)
    drawn.supxlabel(f"Relative depth of the block\n{write_counts(curves)}", size=8)
    drawn.supylabel(f"R² (latitude, longitude), {CVS[curves['cv'].iloc[0]]}", size=8)
    shown = [handles[prompt] for prompt in prompt_styles(curves) if prompt in handles]
    drawn.legend(handles=shown, ncols=min(4, len(shown)), frameon=False, loc="outside upper center", handlelength=2.8)
    return drawn
