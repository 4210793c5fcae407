"""Transfer between clusters: R2 of probes that were trained on one cluster and tested on another."""

from geoprobe.figures.matrix import draw_matrices
from geoprobe.figures.style import only_text


def draw(frame, names, label):
    """One panel a tower, clusters from most to least localizable; the diagonal is the usual score of a cluster.

    Args:
        frame: of :func:`geoprobe.analysis.transfer.transfer`, of one model, target and cross-validation.
        names: cluster number (as text) to name, in the order of rows and columns; all images are put first.
        label: of the model.

    Returns:
        A figure; one that says why where nothing could be tested.
    """
    if not frame["r2"].notna().any():
        reasons = "; ".join(frame["reason"].dropna().unique()) or "no cluster has held-out predictions"
        return only_text(f"{label}: nothing was transferred: {reasons}")
    order = ["all", *names]
    panels = {
        f"{label}: {tower}, {pooling}, block {layer}": (
            rows.set_index(["trained_on", "tested_on"])["r2"].unstack().reindex(index=order, columns=order).to_numpy()
        )
        for (tower, pooling, layer), rows in frame.groupby(["tower", "pooling", "layer"], sort=False)
    }
    drawn = draw_matrices(panels, ["all images", *names.values()], "R² (latitude, longitude)", "min", diagonal=True)
    for panel in drawn.axes[: len(panels)]:
        panel.set_ylabel("Trained on")
        # all images are no cluster
        panel.axhline(0.5, color="white", lw=3)
        panel.axvline(0.5, color="white", lw=3)
    drawn.axes[len(panels) - 1].set_xlabel("Tested on")
    return drawn
