"""The elbow: inertia of k-means by the number of clusters, its chord, and the number that was chosen."""

from matplotlib.ticker import MaxNLocator

from geoprobe.figures.style import COLUMN, PALETTE, figure


def draw(curve):
    """One panel: the curve, the chord from its first point to its last, the chosen number marked.

    Args:
        curve: frame with k, inertia and chosen, a row a number of clusters, rising.

    Returns:
        A figure.
    """
    drawn, axes = figure(COLUMN, 2.5)
    ends = curve.iloc[[0, -1]]
    axes.plot(ends["k"], ends["inertia"], color="0.6", lw=0.8, ls="--", label="chord")
    axes.plot(curve["k"], curve["inertia"], "o-", color=PALETTE[0], ms=3, lw=1.2, label="k-means")
    chosen = curve[curve["chosen"]].iloc[0]
    axes.axvline(chosen["k"], color=PALETTE[3], lw=0.8, ls=":")
    axes.plot(
        chosen["k"], chosen["inertia"], "o", color=PALETTE[3], ms=6, label=f"chosen: {chosen['k']} clusters", zorder=3
    )
    axes.set_xlabel("Number of clusters")
    axes.set_ylabel("Inertia (sum of squared distances)")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylim(bottom=0)
    axes.legend(frameon=False)
    return drawn
