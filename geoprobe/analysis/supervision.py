"""Paired differences in R2 between kinds of supervision: the mean of all models of one kind less that of another.

Public models of two kinds differ in data, size and architecture as well; :mod:`geoprobe.analysis.pairs` compares those
that are alike in one of these.
"""

import itertools

import pandas as pd

from geoprobe.analysis.bootstrap import interval, resample_members
from geoprobe.analysis.families import has_learned
from geoprobe.analysis.pairs import CONDITIONS

COLUMNS = [
    *CONDITIONS, "supervision", "baseline", "models", "baseline_models", "difference", "low", "high", "low_fixed",
    "high_fixed",
]  # fmt: skip


def compare_supervisions(chosen, samples_of, left_out, seed):
    """Difference of the mean R2 between any two kinds of supervision, in every cluster.

    Args:
        chosen: rows of :func:`geoprobe.analysis.families.chosen_rows` of the control none.
        samples_of: a function of a row that gives its resampled R2, shape (resamples,); all share their resamples.
        left_out: families that do not count, such as models that were trained to locate images.
        seed: of the draws of models.

    Returns:
        A frame of COLUMNS. `low_fixed` and `high_fixed` are of these very models, had other places been photographed;
        for `low` and `high` the models of each kind are drawn anew as well, and with few of them the interval is too
        short (see :mod:`geoprobe.analysis.pairs`). A model without an R2 in a cluster is left out there; a model that
        was read in several towers counts once a tower under the choice "depth".
    """
    counts = has_learned(chosen) & ~chosen["origin"].isin(left_out) & chosen["r2"].notna()
    rows = []
    for condition, part in chosen[counts].groupby(CONDITIONS, sort=False):
        kinds = {
            kind: (members["r2"].mean(), [samples_of(row) for row in members.to_dict("records")])
            for kind, members in part.groupby("supervision", sort=False)
        }
        for (baseline, (before, drawn_before)), (kind, (after, drawn_after)) in itertools.combinations(
            kinds.items(), 2
        ):
            # other draws for the two kinds: their models have nothing to do with each other
            redrawn = resample_members(drawn_after, [seed, 1]) - resample_members(drawn_before, [seed, 2])
            fixed = sum(drawn_after) / len(drawn_after) - sum(drawn_before) / len(drawn_before)
            numbers = (len(drawn_after), len(drawn_before), after - before, *interval(redrawn), *interval(fixed))
            rows.append((*condition, kind, baseline, *numbers))
    return pd.DataFrame(rows, columns=COLUMNS)
