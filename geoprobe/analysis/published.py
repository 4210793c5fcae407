"""The paper's numbers beside a run's: difference, its interval, whether they agree, and by which protocol.

A run's model is the counterpart of a published one where both are the same checkpoint. A number of ours that was
made in several ways stands once for each. What has no counterpart stays, with the reason.
"""

import numpy as np
import pandas as pd

from geoprobe.analysis.families import chosen_rows

COLUMNS = ("quantity", "checkpoint", "images", "of", "share", "value", "half_width", "n", "few_clusters", "source")
KEYS = ["quantity", "checkpoint", "of", "share"]
# Folds, choice of the layer and which R2, of the paper.
PAPER = ("random", "maximum", "r2_folds")
OF_PAPER, OF_RUN = "paper", "run"
NO_INTERVAL = "no interval of ours"
NONE_OF_FOLDS = f"{NO_INTERVAL}: that of R² is of all images together, not of the mean over folds"
AXES = ("latitude", "longitude")
DIMENSIONS = {"coefficients": "geographic dimensions", "random": "random dimensions"}
STEERED = ("stability", "efficacy", "success")
OURS = [*KEYS, "dataset", "where", "protocol", "cv", "choice", "ours", "low", "high", "n", "reason"]
OUTPUT = [
    *("quantity", "checkpoint", "label", "of", "share", "images", "few_clusters"),
    *("published", "published_low", "published_high", "published_n", "source"),
    *("protocol", "cv", "choice", "dataset", "where", "ours", "low", "high", "n"),
    *("difference", "difference_low", "difference_high", "interval_of", "agree", "reason"),
]
# Why a model of the run has no counterpart of a number.
MISSING = {
    "mean_r2": "no ridge regression was fitted on the data sets that `published` names",
    "prompted_r2": "the model was not asked for a place on the data set that `published` names",
    "relative_r2": "no dimensions were left out at this share on the data set that `published` names",
    "coefficient_correlation": "no coefficients were correlated at this share on the data set that `published` names",
    "country_accuracy": "the model was not fine-tuned on the data set that `published` names",
    "country_validation_loss": "no loss is kept of fine-tuning",
    "country_training_loss": "no loss is kept of fine-tuning",
    **{f"steering_{name}": "the model was not steered at this share" for name in STEERED},
}


def read_numbers(path):
    """Published numbers (CSV), with `low` and `high` where an interval was printed.

    Raises:
        ValueError: columns are missing, or a quantity is none that is compared.
    """
    frame = pd.read_csv(path, dtype={"of": str}, keep_default_na=False, na_values=[""])
    if missing := [name for name in COLUMNS if name not in frame]:
        raise ValueError(f"{path} has no column {', '.join(missing)}; add it.")
    if unknown := sorted({*frame["quantity"]} - {*MISSING}):
        raise ValueError(f"{path} has the quantity {unknown[0]}; there are: {', '.join(MISSING)}.")
    frame["of"] = frame["of"].fillna("")
    return frame.assign(low=frame["value"] - frame["half_width"], high=frame["value"] + frame["half_width"])


def difference_interval(ours, low, high, published, published_low, published_high):
    """95 % interval of ours less published, from the intervals of two independent estimates (Zou and Donner 2008).

    Args:
        ours, low, high, published, published_low, published_high: shape (n,); where the published ends are not a
            number, the published value counts as exact.

    Returns:
        low and high, shape (n,); not a number where ours are. An interval that leaves its own estimate out, as one of
        percentiles may, reaches to it.
    """
    low, high = np.minimum(low, ours), np.maximum(high, ours)
    below = np.where(np.isnan(published_high), 0, published_high - published)
    above = np.where(np.isnan(published_low), 0, published - published_low)
    return ours - published - np.hypot(ours - low, below), ours - published + np.hypot(high - ours, above)


def mean_over(values):
    """Mean of values, shape (m,), and its 95 % interval of 1.96 standard errors, as the paper's over clusters."""
    values = np.asarray(values, dtype=float)
    values = values[np.isfinite(values)]
    if not len(values):
        return {"n": 0}
    half = 1.96 * values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    return {"ours": values.mean(), "low": values.mean() - half, "high": values.mean() + half, "n": len(values)}


def _of_ridge(choices, probes, shown):
    """Rows of choices of ridge regressions on true labels by each protocol: (protocol, cv, choice, column), rows."""
    rows = choices[choices["probe"].isin(probes) & (choices["target"] == "degrees") & (choices["control"] == "none")]
    ways = {PAPER: OF_PAPER} | {(shown["cv"], shown["choice"], "r2"): OF_RUN}
    for (cv, choice, column), protocol in ways.items():
        yield (protocol, cv, choice, column), rows[(rows["cv"] == cv) & (rows["choice"] == choice)]


def _first_prompt(rows, prompts):
    """The rows of each family with the first of the prompts that it has; the paper asked nothing unless it says so."""
    place = rows["prompt"].map({name: index for index, name in reversed([*enumerate(prompts)])})
    return rows[place == place.groupby(rows["family"]).transform("min")]


def mean_r2(choices, probes, shown, datasets, prompts):
    """Mean R2 over the clusters of YFCC100M, and the landmarks as one more."""
    found = []
    for (protocol, cv, choice, column), rows in _of_ridge(choices, probes, shown):
        whole = rows["cluster"] == "all"
        rows = rows[
            ((rows["dataset"] == datasets["yfcc100m"]) & ~whole) | ((rows["dataset"] == datasets["landmarks"]) & whole)
        ]
        if rows.empty:
            continue
        rows = chosen_rows(rows, prompts, choice)
        for (origin, family, probe), part in rows.groupby(["origin", "family", "probe"], sort=False):
            used = part.loc[part[column].notna(), "dataset"]
            where = " and ".join(f"{count} of {name}" for name, count in used.value_counts(sort=False).items())
            tower = f", {family.removeprefix(f'{origin}/')}" if family != origin else ""
            found.append(
                {"family": origin, "dataset": ", ".join(used.unique()), "where": f"clusters: {where}{tower} ({probe})"}
                | {"quantity": "mean_r2", "protocol": protocol, "cv": cv, "choice": choice, **mean_over(part[column])}
            )
    return found


def prompted_r2(choices, probes, shown, datasets, asking):
    """R2 on all landmarks with each of the prompts that ask for a place."""
    found = []
    for (protocol, cv, choice, column), rows in _of_ridge(choices, probes, shown):
        rows = rows[
            (rows["dataset"] == datasets["landmarks"]) & (rows["cluster"] == "all") & rows["prompt"].isin(asking)
        ]
        for row in rows.to_dict("records"):
            # the interval is around the R2 of all images together, and the mean over folds may lie outside of it
            pooled = column == "r2"
            found.append(
                {"quantity": "prompted_r2", "family": row["family"], "protocol": protocol, "cv": cv, "choice": choice}
                | {
                    "dataset": row["dataset"],
                    "where": f"{row['tower']}, prompt {row['prompt']} ({row['probe']})",
                    "ours": row[column],
                }
                | {"low": row["low"] if pooled else np.nan, "high": row["high"] if pooled else np.nan}
                | {"n": row["images"]}
                | {"reason": row["reason"] if pooled or pd.isna(row[column]) else NONE_OF_FOLDS}
            )
    return found


def coefficient_correlation(correlation, datasets, prompts):
    """Mean correlation between clusters' raw coefficients of each shown layer."""
    if correlation.empty:
        return []
    rows = correlation[(correlation["dataset"] == datasets["yfcc100m"]) & (correlation["scaled"] == "raw")]
    return [
        {"quantity": "coefficient_correlation", "family": row["family"], "of": row["axis"], "share": row["share"]}
        | {
            "dataset": row["dataset"],
            "where": f"{row['tower']} {row['layer']}, {row['clusters']:.0f} clusters ({row['probe']})",
        }
        | {"protocol": OF_RUN, "cv": row["cv"], "choice": "depth", "ours": row["correlation"]}
        | {"low": row["low"], "high": row["high"], "n": row["pairs"], "reason": row["reason"]}
        for row in _first_prompt(rows, prompts).to_dict("records")
    ]


def relative_r2(dimensions, datasets, prompts):
    """R2 on the ranked dimensions of each layer over R2 on all, mean of both axes before; it has no interval."""
    if dimensions.empty:
        return []
    rows = dimensions[(dimensions["dataset"] == datasets["yfcc100m"]) & (dimensions["cluster"] == "all")]
    rows = _first_prompt(rows[(rows["ranking"] != "random") & rows["axis"].isin(AXES)], prompts)
    layer = ["family", "probe", "tower", "pooling", "layer", "cv"]
    means = rows.groupby([*layer, "share"], sort=False)["r2"].mean().reset_index()
    found = []
    for key, part in means.groupby(layer, sort=False):
        by_share = part.set_index("share")["r2"]
        whole = by_share.get(1.0, np.nan)
        for share, value in by_share.items():
            known = whole > 0
            found.append(
                {"quantity": "relative_r2", "family": key[0], "share": share, "dataset": datasets["yfcc100m"]}
                | {"where": f"{key[2]} {key[4]} ({key[1]})", "protocol": OF_RUN, "cv": key[5], "choice": "depth"}
                | {"ours": value / whole if known else np.nan}
                | {"reason": "" if known else "R² on all dimensions is not above 0"}
            )
    return found


def country_accuracy(finetuning, datasets):
    """Share of the test images whose country is told."""
    rows = finetuning[finetuning["dataset"] == datasets["landmarks"]]
    return [
        {"quantity": "country_accuracy", "family": row["family"], "dataset": row["dataset"], "protocol": OF_RUN}
        | {"where": f"{row['countries']:.0f} countries, {row['trainings']:.0f} trainings", "n": row["images"]}
        | {"ours": row["top1"], "low": row["top1_low"], "high": row["top1_high"]}
        for row in rows.to_dict("records")
    ]


def steering(scores, family, dataset):
    """What swaps do to one model's texts, by the paper's ranking and of random dimensions."""
    rows = scores[scores["outcome"].isin(STEERED) & scores["ranking"].isin(DIMENSIONS)]
    return [
        {"quantity": f"steering_{row['outcome']}", "family": family, "of": DIMENSIONS[row["ranking"]]}
        | {"share": row["share"], "dataset": dataset, "where": f"{row['where']}, block {row['block']}"}
        | {"protocol": OF_PAPER if row["where"] == "every_step" else OF_RUN, "n": row["pairs"]}
        | {"ours": row["value"], "low": row["low"], "high": row["high"]}
        for row in rows.to_dict("records")
    ]


def compare(numbers, found, models):
    """Join published numbers with a run's.

    Args:
        numbers: of :func:`read_numbers`.
        found: dicts of OURS with the family in place of the checkpoint, as the functions above give them.
        models: family to a dict of id and label, of the run's models with the weights of their checkpoints.

    Returns:
        A frame of OUTPUT. `difference` is ours less published, `interval_of` says what its interval is made from
        ("both", or "ours" where the paper printed none), and `agree` is yes where that interval holds 0, else no; it
        is empty where there is no interval.
    """
    ours = pd.DataFrame(found, columns=["family", *(name for name in OURS if name != "checkpoint")])
    ours["checkpoint"] = ours["family"].map({family: row["id"] for family, row in models.items()})
    ours["of"] = ours["of"].astype(object).fillna("").astype(str)
    # shares are joined as they are printed
    sides = [frame.assign(at=_printed(frame["share"])) for frame in (numbers, ours.drop(columns="family"))]
    sides[0] = sides[0].rename(columns={"value": "published", "low": "published_low", "high": "published_high"})
    sides[0] = sides[0].rename(columns={"n": "published_n"}).drop(columns="half_width")
    keys = ["quantity", "checkpoint", "of", "at"]
    joined = sides[0].merge(sides[1].drop(columns="share"), on=keys, how="left").drop(columns="at")
    labels = {row["id"]: row["label"] for row in models.values()}
    joined["label"] = [labels.get(name, name) for name in joined["checkpoint"]]
    names = ("ours", "low", "high", "published", "published_low", "published_high")
    values = [joined[name].to_numpy(dtype=float, na_value=np.nan) for name in names]
    joined["difference"] = values[0] - values[3]
    joined["difference_low"], joined["difference_high"] = difference_interval(*values)
    known = joined["difference_low"].notna() & joined["difference_high"].notna()
    holds = (joined["difference_low"] <= 0) & (joined["difference_high"] >= 0)
    joined["agree"] = np.where(known, np.where(holds, "yes", "no"), "")
    joined["interval_of"] = np.where(known, np.where(np.isnan(values[4]), "ours", "both"), "")
    joined["reason"] = [_reason(row, labels) for row in joined.to_dict("records")]
    return joined[OUTPUT]


def _printed(shares):
    return ["" if pd.isna(share) else f"{share:.4f}" for share in shares]


def _reason(row, labels):
    """Why a row cannot be compared; nothing where it can."""
    stated = row["reason"] if isinstance(row["reason"], str) else ""
    if not pd.isna(row["ours"]):
        return "" if row["agree"] else stated or NO_INTERVAL
    if row["checkpoint"] not in labels:
        return f"no model of the run is {row['checkpoint']}"
    return stated or MISSING[row["quantity"]]


def tell(compared):
    """One sentence: how many numbers have a counterpart, and how many of these agree."""
    rows = compared.groupby(KEYS, dropna=False)
    there = compared[compared["ours"].notna()]
    words = [f"{rows.ngroups} published numbers, {there.groupby(KEYS, dropna=False).ngroups} with a counterpart"]
    for protocol, part in there.groupby("protocol"):
        told = part["agree"] != ""
        words.append(f"by the {protocol}'s protocol {(part['agree'] == 'yes').sum()} of {told.sum()} agree")
    return "; ".join(words)
