"""Models as the rows of a figure, by kind of supervision, with a heading above each."""

from geoprobe.figures.heatmap import TITLES


def stack_rows(frame):
    """Place of each model.

    Args:
        frame: label and supervision, any number of rows a model.

    Returns:
        Label to its row, and heading to its row, counted from 0 at the top.
    """
    models = frame.drop_duplicates("label")
    rows, headings, row = {}, {}, 0
    for group, title in TITLES.items():
        labels = models.loc[models["supervision"] == group, "label"]
        if labels.empty:
            continue
        headings[title] = row
        rows |= {label: row + number for number, label in enumerate(labels, start=1)}
        row += 1 + len(labels)
    return rows, headings


def label_rows(axes, rows, headings):
    """Name the rows on the vertical axis, with a line to follow along each."""
    places = {**headings, **rows}
    axes.set_ylim(max(places.values()) + 0.6, -0.6)
    axes.set_yticks(list(places.values()), list(places))
    for tick in axes.yaxis.get_major_ticks():
        tick.label1.set_fontweight("bold" if tick.get_loc() in headings.values() else "normal")
    axes.tick_params(axis="y", length=0)
    axes.hlines(list(rows.values()), 0, 1, transform=axes.get_yaxis_transform(), color="0.92", lw=0.6, zorder=0)
