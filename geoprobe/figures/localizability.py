"""The localizability axis: clusters by mean R2 over models, with sample images and tiers."""

import numpy as np
from matplotlib.offsetbox import AnnotationBbox, OffsetImage

from geoprobe.figures.counts import span
from geoprobe.figures.style import PAGE, figure

SAMPLES = 4
GAP = 1


def draw(ranking, samples):
    """A row a cluster: sample images, name and tier, mean R2 and the range over models.

    Args:
        ranking: frame of one data set and probe, most localizable first: cluster, name, tier, r2, lowest, highest (not
            a number where no probe could be fitted), models (that could be scored), images.
        samples: cluster to a list of square uint8 images, the nearest to the centroid first.

    Returns:
        A figure.
    """
    drawn, axes = figure(PAGE, 0.9 + 0.5 * len(ranking))
    ranking = ranking[::-1].reset_index(drop=True)
    tiers = list(dict.fromkeys(ranking["tier"]))
    shades = {tier: 0.97 - 0.07 * (index % 2) for index, tier in enumerate(tiers)}
    for y, row in ranking.iterrows():
        axes.axhspan(y - 0.5, y + 0.5, color=str(shades[row["tier"]]), zorder=0, lw=0)
        axes.plot([row["lowest"], row["highest"]], [y, y], color="0.55", lw=2, zorder=2, solid_capstyle="round")
        axes.plot(row["r2"], y, "o", color="#0072B2", ms=6, zorder=3)
        strip = [image for tile in samples[row["cluster"]][:SAMPLES] for image in (tile, _gap(tile))][:-1]
        picture = OffsetImage(np.concatenate(strip, axis=1), zoom=28 / len(strip[0]), resample=False)
        at = (-0.02, y)
        axes.add_artist(
            AnnotationBbox(
                picture, at, xycoords=("axes fraction", "data"), box_alignment=(1, 0.5), frameon=False, pad=0
            )
        )
        # outside of the axis, which then ends where the numbers end
        axes.annotate(
            f"{row['tier']} · {row['images']:,} images", (1.0, y), (5, 0), xycoords=("axes fraction", "data"),
            textcoords="offset points", ha="left", va="center", size=7, color="0.25",
        )  # fmt: skip
    axes.set_yticks(range(len(ranking)), ranking["name"])
    axes.tick_params(axis="y", pad=SAMPLES * 30 + 12, length=0)
    # a cluster that nothing was fitted in has no numbers, and its row no bar
    low, high = min(ranking["lowest"].fillna(0.0).min(), 0.0), max(ranking["highest"].fillna(0.0).max(), 0.1)
    # no R2 lies above 1
    axes.set_xlim(low - 0.05 * (high - low), min(1.0, high + 0.05 * (high - low)))
    axes.set_ylim(-0.5, len(ranking) - 0.5)
    axes.axvline(0, color="0.4", lw=0.8, ls=":", zorder=1)
    counted = ranking["models"][ranking["models"] > 0]
    over = f"{span(counted)} models" if len(counted) else "models"
    axes.set_xlabel(f"R² within the cluster: mean over {over}, lowest to highest")
    return drawn


def _gap(tile):
    return np.full((len(tile), max(GAP, len(tile) // 20), 3), 255, dtype=np.uint8)
