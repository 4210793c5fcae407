"""Accuracy of fine-tuned models in telling countries, and how it was chosen at which learning rate."""

import numpy as np

from geoprobe.figures.counts import span
from geoprobe.figures.style import MARKERS, PAGE, SUPERVISION_COLOURS, figure, repeat_scale

METRICS = {"top1": ("o", "top-1"), "top5": ("s", "top-5")}
SIZES = {"images": "images", "countries": "countries", "groups": "groups", "trainings": "trainings"}
MOST_CURVES = len(MARKERS)  # families that can be told apart in the small panel


def _draw_accuracies(axes, finetuned, order):
    offsets = dict(zip(METRICS, (0.16, -0.16), strict=True))
    for y, family in enumerate(order):
        row = finetuned[finetuned["family"] == family].iloc[0]
        colour = SUPERVISION_COLOURS[row["supervision"]]
        for metric, (marker, _) in METRICS.items():
            value, low, high = (100 * row[f"{metric}{end}"] for end in ("", "_low", "_high"))
            error = np.array([[value - low], [high - value]]).clip(min=0)
            at = y + offsets[metric]
            axes.errorbar(value, at, xerr=error, fmt=marker, ms=4.5, color=colour, capsize=2, lw=1)
            axes.annotate(f"{value:.0f}", (high, at), (4, 0), textcoords="offset points", va="center", size=6.5)
    # every model of a data set has the same countries, and so the same chance
    for metric, style in (("top1", "-"), ("top5", ":")):
        axes.axvline(100 * finetuned[f"chance_{metric}"].iloc[0], color="0.6", lw=0.8, ls=style, zorder=0)
    labels = finetuned.set_index("family")["label"]
    axes.set_yticks(range(len(order)), [labels[name] for name in order])
    axes.set_ylim(-0.6, len(order) - 0.4)
    # room for the last number
    axes.set_xlim(0, axes.get_xlim()[1] * 1.06)
    sizes = (f"{span(finetuned[name])} {words}" for name, words in SIZES.items())
    axes.set_xlabel(f"test accuracy in %, with 95 % interval\nn = {', '.join(sizes)}")


def _draw_rates(axes, rates, order, labels):
    for family, marker in zip(order[::-1], MARKERS, strict=False):
        own = rates[rates["family"] == family]
        colour = SUPERVISION_COLOURS[own["supervision"].iloc[0]]
        # the first seed of each model, with which all rates were tried
        own = own[own["seed"] == own.groupby("model")["seed"].transform("first")]
        curve = 100 * own.groupby("learning_rate")["validation_accuracy"].mean()
        axes.plot(curve.index, curve, marker=marker, color=colour, ms=4, lw=1, label=labels[family])
        chosen = curve[curve.index.isin(own[own["chosen"]]["learning_rate"])]
        axes.plot(chosen.index, chosen, "o", ms=8, mfc="none", mec="0.3", mew=0.8)
    tried = sorted(set(rates["learning_rate"]))
    axes.set_xscale("log")
    axes.minorticks_off()
    axes.set_xticks(tried, [f"{rate:g}" for rate in tried], rotation=45)
    axes.set_xlabel("learning rate (ringed: chosen)")
    axes.set_ylabel("validation accuracy in %")
    axes.set_ylim(0, 108 * max(rates["validation_accuracy"].max(), 0.01))


def draw(finetuned, rates):
    """Points with intervals, a row a family; beside them validation accuracy against the learning rate.

    Args:
        finetuned: rows of one data set of :data:`geoprobe.finetune.comparison.MODEL_COLUMNS`.
        rates: rows of the same data set of :data:`geoprobe.finetune.comparison.RATE_COLUMNS`.

    Returns:
        A figure. Without the second panel where there are more than MOST_CURVES families, which could not be told
        apart, or only one learning rate.
    """
    order = list(dict.fromkeys(finetuned["family"]))[::-1]
    labels = finetuned.set_index("family")["label"]
    both = rates["learning_rate"].nunique() > 1 and len(order) <= MOST_CURVES
    height = max(3.0 if both else 1.6, 1.2 + 0.34 * len(order))
    drawn, axes = figure(PAGE, height, ncols=2 if both else 1, squeeze=False, width_ratios=[1.5, 1] if both else [1])
    _draw_accuracies(axes[0, 0], finetuned, order)
    repeat_scale(axes[0, 0])
    if both:
        _draw_rates(axes[0, 1], rates, order, labels)
        axes[0, 1].legend(frameon=False, fontsize=6, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    used = {name: colour for name, colour in SUPERVISION_COLOURS.items() if name in set(finetuned["supervision"])}
    first = axes[0, 0]
    handles = [first.plot([], [], "_", ms=9, mew=4, color=colour, label=name)[0] for name, colour in used.items()]
    handles += [first.plot([], [], marker, ms=4.5, color="0.3", label=name)[0] for marker, name in METRICS.values()]
    handles += [
        first.plot([], [], style, color="0.6", lw=0.8, label=f"chance, {METRICS[metric][1]}")[0]
        for metric, style in (("top1", "-"), ("top5", ":"))
    ]
    drawn.legend(handles=handles, ncols=4, frameon=False, loc="outside upper center", columnspacing=1.2)
    return drawn
