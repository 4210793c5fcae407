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


def headline_rows(frame, prompts, poolings, **conditions):
    """What figures and tables show of each model: its rows with the first prompt and the first pooling that it has.

    Models differ in what they have: only multimodal models take a prompt, and a decoder has a last token where a
    vision tower has a class token.

    Args:
        frame: summary by family.
        prompts, poolings: names, the preferred first.
        conditions: of :func:`select`.

    Returns:
        Rows of the frame. Of a model that was read in several towers, each tower is a family of its own here: its
        `family` and `label` end in the tower's name, and the family's own name stands in `origin`.

    Raises:
        ValueError: a model has none of the prompts or none of the poolings; names it.
    """
    frame = select(frame, **conditions)
    asked = set(frame["family"])
    for column, preferred, within in (("prompt", prompts, []), ("pooling", poolings, ["tower"])):
        place = frame[column].map({name: index for index, name in enumerate(preferred)})
        first = place.groupby([frame[name] for name in ("dataset", "probe", "family", *within)]).transform("min")
        frame = frame[place == first]
    if left_out := asked - set(frame["family"]):
        raise ValueError(
            f"{', '.join(sorted(left_out))}: has none of the prompts {', '.join(prompts)} or none of the poolings "
            f"{', '.join(poolings)}; add one that it has to analysis.poolings"
        )
    frame = frame.assign(origin=frame["family"])
    several = frame.groupby("family")["tower"].transform("nunique") > 1
    for column, between in (("family", "/"), ("label", ", ")):
        frame[column] = frame[column].where(~several, frame[column] + between + frame["tower"])
    return frame
