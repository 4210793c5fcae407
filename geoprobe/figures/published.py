"""The paper's numbers and a run's: below each other by model, and against each other where a model has many."""

import numpy as np

from geoprobe.figures.style import PAGE, figure, only_text, plt

# Panels with a row a model, and what is on their axis.
BY_MODEL = {
    "mean_r2": "mean R² over clusters",
    "prompted_r2": "R² on landmarks, asked for the place",
    "relative_r2": "R² on 10 % of the dimensions, as share of R² on all",
    "country_accuracy": "accuracy of fine-tuned models on countries",
}
# Panels of published against ours: titles, quantities, and what colours mean.
CORRELATION, STEERING = "coefficient_correlation", "steering_"
LOOKS = {
    "paper": {"label": "this run, by the paper's protocol", "color": "#0072B2", "marker": "o", "mfc": "#0072B2"},
    "run": {"label": "this run, by its own", "color": "#D55E00", "marker": "s", "mfc": "w"},
}
PUBLISHED = {"color": "0.35", "marker": "D", "mfc": "0.35"}
GROUPS = ("#009E73", "#CC79A7", "#E69F00", "#56B4E9")
ROW, SQUARE, LEGEND = 0.2, 2.9, 0.55  # inches
STAR = "* the paper ran this model on only a few clusters"


def draw(compared):
    """Panels by model above, panels of published against ours below.

    Args:
        compared: of :func:`geoprobe.analysis.published.compare`.

    Returns:
        A figure of the numbers that have a counterpart; one that says why where there is none.
    """
    there = compared[compared["ours"].notna()]
    if there.empty:
        return _say_why(compared)
    rows = {name: part for name in BY_MODEL if len(part := there[there["quantity"] == name])}
    squares = {
        "correlation between clusters' coefficients": there[there["quantity"] == CORRELATION],
        "share of texts after swaps": there[there["quantity"].str.startswith(STEERING)],
    }
    squares = {title: part for title, part in squares.items() if len(part)}
    heights = [0.55 + ROW * part["checkpoint"].nunique() for part in rows.values()]
    # margins of their own: labels of models are long
    parts = [sum(heights)] * bool(rows) + [SQUARE + LEGEND] * bool(squares)
    parts[-1] += 0.6
    drawn, axes = figure(PAGE, sum(parts))
    axes.remove()
    halves = drawn.subfigures(len(parts), 1, height_ratios=parts, squeeze=False)[:, 0]
    if rows:
        panels = halves[0].subplots(len(rows), 1, height_ratios=heights, squeeze=False)[:, 0]
        for panel, (name, part) in zip(panels, rows.items(), strict=True):
            _draw_models(panel, part, BY_MODEL[name])
    if squares:
        grid = halves[-1].subplots(2, 2, height_ratios=[SQUARE, LEGEND])
        for below in grid[1]:
            below.set_axis_off()
        for panel in grid[0, len(squares) :]:
            panel.set_axis_off()
        for panel, below, (title, part) in zip(*grid, squares.items(), strict=False):
            handles = _draw_square(panel, part, title)
            below.legend(handles=handles, frameon=False, loc="upper center", ncols=2, columnspacing=0.8)
    handles = [plt.Line2D([], [], ls="", ms=4, label="published", **PUBLISHED)] if rows else []
    handles += [
        plt.Line2D([], [], ls="", ms=4, **look) for name, look in LOOKS.items() if name in set(there["protocol"])
    ]
    few = STAR if (rows and (there["few_clusters"] == "yes").any()) else None
    halves[-1].legend(handles=handles, ncols=3, frameon=False, loc="outside lower center", title=few)
    return drawn


def _say_why(compared):
    models = compared["checkpoint"].nunique()
    there = compared[~compared["reason"].str.startswith("no model of the run")]
    why = (
        "; ".join(there["reason"].unique())
        or f"this run has none of the {models} models of which the paper prints numbers"
    )
    return only_text(f"Nothing to compare: {why}")


def _bars(values, lows, highs):
    """Lengths of error bars; none where an end is not a number."""
    return np.nan_to_num(np.array([values - lows, highs - values], dtype=float)).clip(min=0)


def _starred(row):
    return f"{row.label}{' *' if row.few_clusters == 'yes' else ''}"


def _draw_models(axes, part, label):
    """A row a model: the published number above, ours below it."""
    models = part.drop_duplicates("checkpoint").sort_values("published", kind="stable")
    at = dict(zip(models["checkpoint"], range(len(models)), strict=True))
    bars = _bars(models["published"], models["published_low"], models["published_high"])
    axes.errorbar(models["published"], np.arange(len(models)) + 0.22, xerr=bars, ls="", ms=3.5, lw=0.9, **PUBLISHED)
    for offset, (protocol, look) in zip((0, -0.22), LOOKS.items(), strict=True):
        ours = part[part["protocol"] == protocol]
        y = ours["checkpoint"].map(at).to_numpy(dtype=float) + offset
        style = {name: value for name, value in look.items() if name != "label"}
        axes.errorbar(
            ours["ours"], y, xerr=_bars(ours["ours"], ours["low"], ours["high"]), ls="", ms=3.5, lw=0.9, **style
        )
    axes.set_yticks(range(len(models)), [_starred(row) for row in models.itertuples()])
    axes.set_ylim(-0.6, len(models) - 0.4)
    for y in range(1, len(models)):
        axes.axhline(y - 0.5, color="0.9", lw=0.6, zorder=0)
    axes.set_xlabel(label)
    _mark_minus(axes.xaxis)


def _draw_square(axes, part, title):
    """Published against ours, a colour what of it, a marker a protocol; handles of the colours."""
    names = part["quantity"].str.removeprefix(STEERING) if part["quantity"].iloc[0] != CORRELATION else part["of"]
    shares = part["share"].nunique() > 1 and part["quantity"].iloc[0] == CORRELATION
    groups = names + (part["share"].map(_share) if shares else "")
    if part["quantity"].iloc[0] != CORRELATION:
        groups += ", " + part["of"].str.removesuffix(" dimensions")
    colours = dict(zip(sorted(groups.unique()), (*GROUPS, "#0072B2", "#D55E00"), strict=False))
    handles = []
    for name, colour in colours.items():
        for protocol, look in LOOKS.items():
            rows = part[(groups == name) & (part["protocol"] == protocol)]
            x, y = (_bars(rows[key], rows[low], rows[high]) for key, low, high in (
                ("published", "published_low", "published_high"), ("ours", "low", "high"),
            ))  # fmt: skip
            style = {"marker": look["marker"], "mfc": "w" if look["mfc"] == "w" else colour, "color": colour}
            axes.errorbar(rows["published"], rows["ours"], xerr=x, yerr=y, ls="", ms=3.2, lw=0.6, **style)
        handles.append(plt.Line2D([], [], ls="", marker="o", ms=4, color=colour, label=name))
    ends = np.nanmin(part[["published", "ours"]].to_numpy()), np.nanmax(part[["published", "ours"]].to_numpy())
    axes.plot(ends, ends, color="0.6", lw=0.8, zorder=0)
    axes.set_title(title)
    axes.set_xlabel("published")
    axes.set_ylabel("this run")
    _mark_minus(axes.xaxis)
    _mark_minus(axes.yaxis)
    return handles


def _share(share):
    return ", all dimensions" if share == 1 else f", {100 * share:.0f} % of dimensions"


def _mark_minus(axis):
    axis.set_major_formatter(lambda value, _: f"{value:z.3g}".replace("-", "−"))
