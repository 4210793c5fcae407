"""R2 by layer, a line a model, with a band for the interval."""

from matplotlib.ticker import MaxNLocator

from geoprobe.figures.objectives import CVS
from geoprobe.figures.style import PAGE, family_styles, figure


def draw(families):
    """One panel a cross-validation, on a common scale.

    Args:
        families: rows of cluster all, one pooling and target, control none: family, label, layer, cv, r2, low,
            high.

    Returns:
        A figure.
    """
    panels = [cv for cv in CVS if cv in set(families["cv"])]
    drawn, axes = figure(PAGE, 3.1, ncols=len(panels), sharey=True, squeeze=False)
    styles = family_styles(families["family"])
    for panel, cv in zip(axes[0], panels, strict=True):
        for family, style in styles.items():
            rows = families[(families["family"] == family) & (families["cv"] == cv)].sort_values("layer")
            panel.plot(rows["layer"], rows["r2"], ms=4, lw=1.2, label=rows["label"].iloc[0], **style)
            panel.fill_between(rows["layer"], rows["low"], rows["high"], color=style["color"], alpha=0.12, lw=0)
        panel.set_title(CVS[cv])
        panel.set_xlabel("Block")
        panel.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes[0, 0].set_ylabel("R² (latitude, longitude)")
    handles, labels = axes[0, 0].get_legend_handles_labels()
    drawn.legend(handles, labels, ncols=3, frameon=False, loc="outside lower center")
    return drawn
