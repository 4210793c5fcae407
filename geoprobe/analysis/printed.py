"""The tables that are printed of a run: which rows of the analyses, and what is summed up of them."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pandas as pd

from geoprobe.analysis.families import chosen_rows
from geoprobe.analysis.selection import CHOICES, UNCHOSEN
from geoprobe.analysis.views import VIEWS
from geoprobe.tables import write_formats

OF_JOB = ["dataset", "model", "prompt", "probe", "family", "label", "supervision"]
OF_LAYER = [*OF_JOB, "tower", "pooling", "layer", "cv"]
ENDS = ("", "_low", "_high")
OUTCOMES = ("stability", "efficacy", "success")


def scores(choices, headline):
    """Headline scores of every choice and control, whole data sets: rows of `choices.csv`."""
    return pd.concat([chosen_rows(choices, choice=choice, **headline, cluster="all") for choice in CHOICES])


def of_whole(frame, target=None):
    """Rows on the whole data set, and of one target."""
    for name, value in (("cluster", "all"), ("target", target)):
        if name in frame and value is not None:
            frame = frame[frame[name] == value].drop(columns=name)
    return frame


def layers(choices, headline):
    """Layers that were chosen on the whole data set, and the most frequent one over the folds of all clusters.

    Returns:
        Rows of :func:`scores` of true labels and of choices that have something to choose, with clusters,
        modal_layer (with its tower where a model has several) and modal_share.
    """
    keys = ["dataset", "probe", "family", "cv", "choice"]
    rows = []
    for choice in CHOICES:
        if choice == "depth":
            continue
        chosen = chosen_rows(choices, choice=choice, control="none", **headline)
        whole = chosen[chosen["cluster"] == "all"]
        of_clusters = dict(list(chosen[chosen["cluster"] != "all"].groupby(keys)))
        for row in whole.to_dict("records"):
            part = of_clusters.get(tuple(row[name] for name in keys), chosen[:0])
            rows.append(row | {"clusters": len(part)} | _modal(part))
    columns = [*chosen.columns, "clusters", "modal_layer", "modal_share"]
    return pd.DataFrame(rows, columns=columns)


def _modal(part):
    """The most frequent layer over folds and clusters, and its share; an entry of a fold may begin with its tower."""
    picks = Counter()
    for row in part.itertuples():
        for pick in str(row.layers).replace(";", ",").split(","):
            pick = pick.strip()
            if pick not in ("", UNCHOSEN, "nan"):
                picks[pick if " " in pick else f"{row.tower} {pick}"] += 1
    if not picks:
        return {"modal_layer": "", "modal_share": float("nan")}
    (layer, count), *_ = picks.most_common(1)
    return {"modal_layer": layer, "modal_share": count / picks.total()}


def correlation(frame):
    """Correlation of coefficients, latitude and longitude side by side: rows of `correlation.csv`.

    Returns:
        A row a layer, scaling and share: clusters, pairs, r2, latitude, longitude, each with low and high.
    """
    if frame.empty:
        return frame
    keys = [*OF_LAYER, "share", "dimensions", "scaled", "clusters", "pairs"]
    common = [*keys, "r2", "r2_low", "r2_high", "reason"]
    sides = []
    for axis in ("latitude", "longitude"):
        side = frame[frame["axis"] == axis].drop(columns="axis")
        names = dict(zip(("correlation", "low", "high"), (f"{axis}{end}" for end in ENDS), strict=True))
        sides.append(side.rename(columns=names)[[*(common if axis == "latitude" else keys), *names.values()]])
    # what could not be fitted has neither axis, and stays as a row with its reason
    left = frame[~frame["axis"].isin(("latitude", "longitude"))]
    return pd.concat([sides[0].merge(sides[1], on=keys, how="left"), left[common]], ignore_index=True)


def dimensions(frame):
    """Probes on ranked dimensions beside random ones, whole data set: rows of `dimensions.csv`.

    Returns:
        The rows of rankings but random, with random_r2 (mean over draws), draws, and of_all: R2 over that on all
        dimensions, where that is above 0.
    """
    if frame.empty:
        return frame
    frame = of_whole(frame)
    keys = [*OF_LAYER, "axis", "share"]
    random = frame[frame["ranking"] == "random"].groupby(keys, dropna=False, sort=False)
    random = random.agg(random_r2=("r2", "mean"), draws=("seed", "nunique")).reset_index()
    ranked = frame[frame["ranking"] != "random"].merge(random, on=keys, how="left")
    ranked["draws"] = ranked["draws"].fillna(0).astype(int)
    within = [*OF_LAYER, "axis", "ranking"]
    whole = ranked[ranked["share"] == 1].drop_duplicates(within).set_index(within)["r2"]
    all_of = whole.reindex(pd.MultiIndex.from_frame(ranked[within])).to_numpy()
    with np.errstate(invalid="ignore", divide="ignore"):
        ranked["of_all"] = np.where(all_of > 0, ranked["r2"] / all_of, np.nan)
    return ranked


def transfer(frame):
    """Transfer between clusters, summed up for each layer: rows of `transfer.csv`.

    Returns:
        A row a layer and target: clusters, pairs (with a number), within, between, positive, from_all; see VIEWS.
    """
    if frame.empty:
        return frame
    rows = []
    columns = [*OF_LAYER, "target"]
    for key, part in frame.groupby(columns, sort=False, dropna=False):
        of_one, on_one = part["trained_on"] != "all", part["tested_on"] != "all"
        same = part["trained_on"] == part["tested_on"]
        within, between = part[of_one & same]["r2"], part[of_one & on_one & ~same]["r2"].dropna()
        row = dict(zip(columns, key, strict=True)) | {"clusters": int(within.notna().sum()), "pairs": len(between)}
        row |= {"within": within.mean(), "between": between.median()}
        row["positive"] = (between > 0).mean() if len(between) else np.nan
        row["from_all"] = part[~of_one & on_one]["r2"].mean()
        row["reason"] = "" if row["clusters"] else next(iter(part["reason"].dropna()), "")
        rows.append(row)
    names = ["clusters", "pairs", "within", "between", "positive", "from_all", "reason"]
    return pd.DataFrame(rows, columns=[*columns, *names])


def steering(frames):
    """What swaps do, outcomes side by side.

    Args:
        frames: dict of (dataset, prompt, family, label) to a model's scores (see
        :mod:`geoprobe.interventions.outcomes`).

    Returns:
        A row a model and condition: pairs, seeds, stability, efficacy and success with low and high, and the
        difference of success from random dimensions with its interval and corrected p.
    """
    keys = ["where", "block", "ranking", "share"]
    parts = []
    for names, frame in frames.items():
        of = {name: part.set_index(keys) for name, part in frame.groupby("outcome")}
        table = of["success"][["pairs", "seeds", "difference", "difference_low", "difference_high", "p_holm"]]
        for name in OUTCOMES:
            columns = {"value": name, "low": f"{name}_low", "high": f"{name}_high"}
            table = table.join(of[name][list(columns)].rename(columns=columns))
        named = dict(zip(("dataset", "prompt", "family", "label"), names, strict=True))
        parts.append(table.reset_index().assign(**named))
    return pd.concat(parts, ignore_index=True)


def write_tables(tables, paths, protocol):
    """Write tables in three formats.

    Args:
        tables: name (of VIEWS) to frame.
        paths: name to its csv, tex and md paths.
        protocol: sound or paper, of the run, for the captions.
    """
    for name, files in paths.items():
        frame, view = tables[name], VIEWS[name]
        view = replace(view, caption=f"{view.caption} Protocol: {protocol}.")
        if frame.empty:  # nothing of the kind was fitted, and the joined table has no columns of its own
            frame = frame.reindex(columns=list(dict.fromkeys([*frame.columns, *view.columns])))
        write_formats(frame, view, *files)
    print(", ".join(f"{name}: {len(tables[name])} rows" for name in paths))
