"""Reading and selecting rows of the summaries."""

import pandas as pd

WHERE = ["dataset", "prompt", "probe", "cluster", "tower", "layer", "pooling", "target", "cv", "control"]


def read_summary(path):
    """A summary (CSV); clusters stay text, as "all" is one of them, and "none" is a word, not a gap."""
    return pd.read_csv(path, dtype={"cluster": str}, keep_default_na=False, na_values=[""])


def last_layer(frame):
    """Rows of each tower's last layer: the same depth for all, chosen without a look at the scores."""
    last = frame.groupby(["family", "tower"])["layer"].transform("max")
    return frame[frame["layer"] == last]


def select(frame, **conditions):
    """Rows in which each named column has the given value.

    Raises:
        ValueError: no row is left; names the conditions.
    """
    for name, value in conditions.items():
        frame = frame[frame[name] == value]
    if frame.empty:
        raise ValueError(f"no row has {', '.join(f'{name} {value}' for name, value in conditions.items())}")
    return frame
