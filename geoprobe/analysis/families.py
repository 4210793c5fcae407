"""Reading and selecting rows of the summaries.

A family is an encoder's objective with all its seeds, or a public model by itself.
"""

from pathlib import Path

import pandas as pd

WHERE = ["dataset", "prompt", "probe", "cluster", "tower", "layer", "pooling", "target", "cv", "control"]
# Of a row of choices; under the choice "depth" there is one a tower.
CHOICE_WHERE = ["dataset", "prompt", "probe", "cluster", "target", "cv", "control", "choice"]


def has_learned(frame):
    """True for each row whose model has been trained: no baseline, and no copy of a model with random weights."""
    return (frame["supervision"] != "baseline") & ~frame["origin"].str.endswith("-untrained")


def read_summary(path, columns=None, **conditions):
    """A summary (CSV or Parquet), or its rows in which each named column has the given value; the rest is not held.

    Clusters stay text, as "all" is one of them, and "none" is a word, not a gap. `columns` names those to be read, in
    which those of the conditions are; None for all. From Parquet whole groups of rows are passed over, so that a part
    of millions of rows is there in an instant; from CSV each is read.
    """
    if Path(path).suffix == ".parquet":
        filters = [(name, "==", value) for name, value in conditions.items()]
        return pd.read_parquet(path, columns=columns, filters=filters or None)
    # the layers of a single fold look like a number, and reasons are rare
    clusters = ("cluster", "trained_on", "tested_on", "cluster_a", "cluster_b")
    text = dict.fromkeys((*clusters, "layers", "reason"), str)
    frame = pd.read_csv(path, usecols=columns, dtype=text, keep_default_na=False, na_values=[""])
    return frame[(frame[list(conditions)] == list(conditions.values())).all(axis=1)] if conditions else frame


def read_clusters(path, **conditions):
    """Rows of a table whose clusters are numbers, such as their ranking; one may be called "NA" or "None"."""
    return read_summary(path, **conditions).astype({"cluster": int})


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


def _first_of(frame, column, preferred, within):
    """Rows with the first of the preferred values of a column that there is within data set, probe and family."""
    place = frame[column].map({name: index for index, name in enumerate(preferred)})
    first = place.groupby([frame[name] for name in ("dataset", "probe", "family", *within)]).transform("min")
    return frame[place == first]


def _split_towers(frame):
    """Each tower of a model that was read in several is a family of its own."""
    frame = frame.assign(origin=frame["family"])
    several = frame.groupby("family")["tower"].transform("nunique") > 1
    for column, between in (("family", "/"), ("label", ", ")):
        frame[column] = frame[column].where(~several, frame[column] + between + frame["tower"])
    return frame


def split_models(frame):
    """Each model a family of its own: of those that share a label, as the seeds of an encoder do, it ends in the name.

    Args:
        frame: rows of :func:`headline_rows` from a table of models, not of families: label, tower and model.

    Returns:
        The frame with other labels.
    """
    shared = frame.groupby("label")["model"].transform("nunique") > 1
    return frame.assign(label=frame["label"].where(~shared, frame["label"] + " (" + frame["model"] + ")"))


def prompted_rows(frame, prompts, **conditions):
    """Rows with the first of the prompts that each model has, under all its poolings.

    Args:
        frame: summary of layers by family.
        prompts: names, the preferred first.
        conditions: of :func:`select`.

    Returns:
        Rows of the frame; each tower of a model that was read in several is a family, as in :func:`headline_rows`.
    """
    return _split_towers(_first_of(select(frame, **conditions), "prompt", prompts, ()))


def headline_rows(frame, prompts, poolings, **conditions):
    """Layers that are shown of each model: its rows with the first prompt and the first pooling that it has.

    Models differ in what they have: only multimodal models take a prompt, and a decoder has a last token where a
    vision tower has a class token.

    Args:
        frame: summary of layers by family.
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
    frame = _first_of(frame, "prompt", prompts, ())
    frame = _first_of(frame, "pooling", poolings, ("tower",))
    if left_out := asked - set(frame["family"]):
        raise ValueError(
            f"{', '.join(sorted(left_out))}: has none of the prompts {', '.join(prompts)} or none of the poolings "
            f"{', '.join(poolings)}; add one that it has to analysis.poolings"
        )
    return _split_towers(frame)


def chosen_rows(frame, prompts, choice, **conditions):
    """What figures, tables and comparisons show of each model: one choice of its layers, with the first prompt.

    Args:
        frame: summary of choices by family.
        prompts: names, the preferred first.
        choice: inner, depth or maximum.
        conditions: of :func:`select`.

    Returns:
        Rows of the frame, with the family's own name in `origin`. Under "depth", of a model that was read in several
        towers, each tower is a family of its own here: its `family` and `label` end in the tower's name. The other
        choices are made among all towers, and have one row a model.

    Raises:
        ValueError: a model has none of the prompts; names it.
    """
    frame = select(frame, **conditions, choice=choice)
    asked = set(frame["family"])
    frame = _first_of(frame, "prompt", prompts, ())
    if left_out := asked - set(frame["family"]):
        raise ValueError(
            f"{', '.join(sorted(left_out))}: has none of the prompts {', '.join(prompts)}; add one that it has to "
            "run.prompts"
        )
    return _split_towers(frame) if choice == "depth" else frame.assign(origin=frame["family"])


def read_headline(path, prompts, poolings, **conditions):
    """The same as :func:`headline_rows` of the summary at a path, of which only these rows are read."""
    return headline_rows(read_summary(path, **conditions), prompts, poolings, **conditions)


def read_chosen(path, prompts, choice, **conditions):
    """The same as :func:`chosen_rows` of the summary at a path, of which only these rows are read."""
    return chosen_rows(read_summary(path, choice=choice, **conditions), prompts, choice, **conditions)
