"""Does text supervision help? The difference in R2 over matched pairs of models, with and without text.

One difference between two models says little about text: models differ in more than one thing. Over several pairs,
each matched in size, data or architecture, there are two questions, and an interval for each:

- `low_fixed`, `high_fixed`: of these very pairs, had other places been photographed. Images' units (blocks or
  countries) are drawn anew; the pairs stay.
- `low`, `high`: of pairs like these, had other models been compared too. Units and pairs are drawn anew (Owen 2007,
  "The pigeonhole bootstrap", Annals of Applied Statistics 1, 386-411). It holds as far as the pairs stand for others
  of their kind; with few pairs, P, it is too short, since it misses the share 1 / P of the variance between pairs.

Pairs that share a model are drawn as if they did not, so that with few models on one side `low` and `high` are too
near each other.

A family of several seeds has its seeds drawn anew in both. With a single pair there is nothing to be drawn among
pairs, and both intervals are that over units.

`between` is how much the true differences of pairs vary: their standard deviation, estimated by moments.
"""

import numpy as np
import pandas as pd

from geoprobe.analysis.bootstrap import interval, resample_members

ALL = "all"
CONDITIONS = ["dataset", "probe", "target", "cv", "choice", "cluster"]
COLUMNS = [
    *CONDITIONS, "matched", "text", "baseline", "pairs", "effect", "low", "high", "low_fixed", "high_fixed", "between",
    "positive",
]  # fmt: skip


def spread_between(effects, samples):
    """Standard deviation of the true differences, beyond what the sampling of images makes them vary.

    Args:
        effects: shape (pairs,).
        samples: resampled differences, shape (pairs, resamples); pairs share their resamples.

    Returns:
        A number, not below 0; nan for a single pair. The method of moments of DerSimonian and Laird (1986), weights
        1 / variance: Cochran's Q, less what it is expected to be without any true variation, over what a unit of true
        variance adds to it. The expectation uses the covariance of the pairs' differences, since pairs that are
        measured on the same images err together; of independent pairs it is the number of pairs less one, and the
        estimate is DerSimonian and Laird's own.
    """
    count = len(effects)
    samples = samples[:, np.isfinite(samples).all(axis=0)]
    if count < 2 or samples.shape[1] < 2:
        return float("nan")
    covariance = np.cov(samples)
    variances = np.diag(covariance)
    weights = 1 / variances if (variances > 0).all() else np.ones(count)
    # Q as a quadratic form, in which a common shift makes no difference
    form = np.diag(weights) - np.outer(weights, weights) / weights.sum()
    apart = effects - effects.mean()
    q, expected = apart @ form @ apart, np.trace(form @ covariance)
    return float(np.sqrt(max(0.0, (q - expected) / np.trace(form))))


def pool_pairs(effects, samples, seed):
    """Mean difference over pairs, with both intervals.

    Args:
        effects: difference of each pair, shape (pairs,).
        samples: resampled differences, shape (pairs, resamples); pairs share their resamples.
        seed: of the draw of pairs.

    Returns:
        A dict of pairs, effect, low, high, low_fixed, high_fixed, between, positive (see the module).
    """
    low, high = interval(resample_members(samples, seed))
    low_fixed, high_fixed = interval(samples.mean(axis=0))
    return {
        "pairs": len(effects),
        "effect": float(effects.mean()),
        "low": low,
        "high": high,
        "low_fixed": low_fixed,
        "high_fixed": high_fixed,
        "between": spread_between(effects, samples),
        "positive": int((effects > 0).sum()),
    }


def compare_pairs(chosen, samples_of, pairs, seed):
    """Effect of text over matched pairs, in every cluster.

    Args:
        chosen: rows of :func:`geoprobe.analysis.families.chosen_rows` of the control none.
        samples_of: a function of a row that gives its resampled R2, shape (resamples,).
        pairs: dicts of baseline and text, both families, and matched (what the two have in common). Those of which
            both are among the rows are used. A model that was read in several towers, each with a row of its own, is
            its vision tower, unless the tower is named ("llava/text").
        seed: of the draw of pairs.

    Returns:
        A frame of COLUMNS. For each condition and cluster: a row for each value of matched, and for "all" of them (a
        pair that is listed twice counts once), with text and baseline empty; and a row for each pair with its own
        difference, where low and high are over units alone and between is empty. A pair without an R2 in a cluster is
        left out there.
    """
    pairs = list({(pair["baseline"], pair["text"], pair["matched"]): None for pair in pairs})
    rows = []
    for condition, part in chosen.groupby(CONDITIONS, sort=False):
        part = part[part["r2"].notna()]
        records = {row["origin"]: row for row in part.to_dict("records") if row["tower"] == "vision"}
        records |= {row["family"]: row for row in part.to_dict("records")}
        there = [pair for pair in pairs if pair[0] in records and pair[1] in records]
        drawn = {name: samples_of(records[name]) for name in dict.fromkeys(n for pair in there for n in pair[:2])}
        effects = {pair[:2]: records[pair[1]]["r2"] - records[pair[0]]["r2"] for pair in there}
        samples = {pair: drawn[pair[1]] - drawn[pair[0]] for pair in effects}
        groups = {name: [pair[:2] for pair in there if pair[2] == name] for _, _, name in there}
        if there:
            groups[ALL] = list(effects)
        common = dict(zip(CONDITIONS, condition, strict=True))
        for matched, members in groups.items():
            pooled = pool_pairs(
                np.array([effects[pair] for pair in members]), np.stack([samples[pair] for pair in members]), seed
            )
            rows.append({**common, "matched": matched, "text": "", "baseline": "", **pooled})
        for baseline, text, matched in there:
            own = pool_pairs(np.array([effects[baseline, text]]), samples[baseline, text][None], seed)
            rows.append({**common, "matched": matched, "text": text, "baseline": baseline, **own})
    return pd.DataFrame(rows, columns=COLUMNS)
