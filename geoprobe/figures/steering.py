"""What replacing dimensions of the summary token does to the answer, by the share of dimensions."""

import numpy as np

from geoprobe.figures.style import PAGE, TALL, figure

OUTCOMES = {
    "stability": "Stability: the landmark stays",
    "efficacy": "Efficacy: the target's place",
    "success": "Success: both",
}
WHERE = {"prefill": "once, in the prompt", "every_step": "at every step"}
RANKINGS = {
    "coefficients": {"color": "#D55E00", "ls": "-", "marker": "o", "label": "by probe coefficient"},
    "standardised": {"color": "#E69F00", "ls": "-.", "marker": "s", "label": "by standardised coefficient"},
    "random": {"color": "#0072B2", "ls": "--", "marker": "^", "label": "random dimensions"},
}
MARKER = {"ms": 3.6, "lw": 1.2}
LEVEL = 0.05


def name_rows(scores):
    """What each row of panels is called, by block and where; blocks only where there are several.

    Of one block, replacing once comes before replacing at every step.
    """
    there = set(scores[["block", "where"]].itertuples(index=False, name=None))
    several = scores["block"].nunique() > 1
    return {
        (block, where): f"block {block}\n{name}" if several else name
        for block in sorted(scores["block"].unique())
        for where, name in WHERE.items()
        if (block, where) in there
    }


def draw(scores, title):
    """A column of panels an outcome and a row for each way of replacing, with bands for the intervals.

    Args:
        scores: frame of :func:`geoprobe.interventions.outcomes.summarise` of one model: where, block, ranking, share,
            outcome, pairs, value, low, high, p_holm.
        title: the model, in words.

    Returns:
        A figure. A filled marker differs from random dimensions after Holm's correction.
    """
    names = name_rows(scores)
    # of many blocks lower panels, until they would be too low to read
    height = max(min(1.9 * len(names) + 1, TALL), 1.4 * len(names) + 1)
    drawn, axes = figure(
        PAGE, height, nrows=len(names), ncols=len(OUTCOMES), sharex=True, sharey=True, squeeze=False
    )  # fmt: skip
    shown = {name: style for name, style in RANKINGS.items() if name in set(scores["ranking"])}
    for line, ((block, where), name) in zip(axes, names.items(), strict=True):
        part = scores[(scores["block"] == block) & (scores["where"] == where)]
        for panel, outcome in zip(line, OUTCOMES, strict=True):
            for ranking, style in shown.items():
                rows = part[(part["ranking"] == ranking) & (part["outcome"] == outcome)].sort_values("share")
                panel.plot(rows["share"], rows["value"], mfc="white", **MARKER, **style)
                panel.fill_between(rows["share"], rows["low"], rows["high"], color=style["color"], alpha=0.12, lw=0)
                apart = rows[rows["p_holm"] < LEVEL]
                panel.plot(apart["share"], apart["value"], **MARKER, **style | {"ls": "none", "label": "_apart"})
            panel.set_xlim(-0.03, 1.03)
            panel.set_ylim(-0.04, 1.04)
            panel.set_xticks(np.linspace(0, 1, 6))
        line[0].set_ylabel(f"{name}\nShare of {int(part['pairs'].max())} pairs")
    for panel, words in zip(axes[0], OUTCOMES.values(), strict=True):
        panel.set_title(words)
    drawn.supxlabel("Share of dimensions replaced", size=8)
    handles = [axes[0, 0].plot([], [], mfc="white", **MARKER, **style)[0] for style in shown.values()]
    if (scores["p_holm"] < LEVEL).any():
        label = f"filled: other than random (p < {LEVEL}, Holm)"
        handles += axes[0, 0].plot([], [], "o", color="0.3", ms=MARKER["ms"], label=label)
    drawn.legend(
        handles=handles,
        title=title,
        title_fontsize=9,
        ncols=min(3, len(handles)),
        frameon=False,
        loc="outside upper center",
        handlelength=2.8,
    )
    return drawn
