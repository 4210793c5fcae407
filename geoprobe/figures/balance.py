"""What the balance kept and lost: density maps of the listed and of the kept images, and shares by continent."""

import numpy as np
from matplotlib.colors import LogNorm

from geoprobe.figures.coastlines import draw_coastlines
from geoprobe.figures.style import PAGE, PALETTE, SEQUENTIAL, figure

BIN_DEGREES = 3.0
FATES = {"kept": "kept", "geocell_full": "geocell full", "left_out": "left out for another reason"}
COLOURS = PALETTE[0], PALETTE[1], "0.75"


def bin_edges():
    """Edges of the maps' bins in degrees of latitude and of longitude."""
    return np.arange(-90, 90 + BIN_DEGREES, BIN_DEGREES), np.arange(-180, 180 + BIN_DEGREES, BIN_DEGREES)


def draw(kept, listed, balance, name):
    """Two maps and a bar a continent.

    Args:
        kept, listed: images in each bin, shape (latitudes, longitudes) of :func:`bin_edges`.
        balance: frame of continent, listed, kept, geocell_full, left_out, a row a country.
        name: the data set's name.

    Returns:
        A figure.
    """
    drawn, axes = figure(PAGE, 4.2, nrows=2, ncols=2, height_ratios=[1, 0.95], subplot_kw={"projection": "mollweide"})
    latitudes, longitudes = (np.radians(edges) for edges in bin_edges())
    norm = LogNorm(1, max(10, listed.max()))
    everything, placed = balance["listed"].sum(), int(listed.sum())
    without = f", {placed:,} with a position" if placed < everything else ""
    titles = f"{name}: {everything:,} listed{without}", f"{int(kept.sum()):,} kept"
    for panel, counts, title in zip(axes[0], (listed, kept), titles, strict=True):
        draw_coastlines(panel)
        shown = panel.pcolormesh(
            longitudes, latitudes, np.ma.masked_equal(counts, 0), norm=norm, cmap=SEQUENTIAL, rasterized=True, zorder=2
        )
        panel.set_title(title)
        panel.set_xticks(np.radians(np.arange(-120, 121, 60)), [])
        panel.set_yticks(np.radians(np.arange(-60, 61, 30)), [])
        panel.grid(lw=0.3, color="0.85", zorder=0)
    bar = drawn.colorbar(
        shown,
        ax=axes[0],
        label=f"Images in {BIN_DEGREES:g}° × {BIN_DEGREES:g}°",
        # matplotlib's own labels of a logarithmic axis are formulas
        format=lambda value, _: f"{value:,.0f}",
        shrink=0.8,
        pad=0.01,
    )
    bar.ax.minorticks_off()
    grid = axes[1, 0].get_gridspec()
    for panel in axes[1]:
        panel.remove()
    bars = drawn.add_subplot(grid[1, :])
    totals = balance.groupby("continent")[["listed", *FATES]].sum().sort_values("listed")
    left = np.zeros(len(totals))
    for (fate, label), colour in zip(FATES.items(), COLOURS, strict=True):
        share = (totals[fate] / totals["listed"]).to_numpy()
        bars.barh(range(len(totals)), share, left=left, color=colour, label=label, height=0.7)
        left += share
    for y, (kept_images, all_images) in enumerate(totals[["kept", "listed"]].to_numpy()):
        bars.annotate(
            f"{kept_images:,} of {all_images:,}", (1, y), (4, 0), textcoords="offset points", va="center", size=7
        )
    labels = ["not placed" if name == "unknown" else name for name in totals.index]
    bars.set_yticks(range(len(totals)), labels)
    bars.set_xlim(0, 1)
    bars.set_xlabel("Share of the listed images")
    bars.legend(ncols=3, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), borderaxespad=0.2)
    return drawn
