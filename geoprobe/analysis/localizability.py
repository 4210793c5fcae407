"""Localizability: clusters ranked by how well position can be read from their images, over all models."""

import numpy as np
import pandas as pd

from geoprobe.analysis.families import has_learned

NOT_FITTED = "not fitted"


def tier_of(r2, thresholds, tiers):
    """Name of the tier that an R2 falls into: tier k from threshold k - 1 (inclusive) to threshold k.

    Args:
        r2: a number.
        thresholds: rising, one fewer than tiers.
        tiers: names from least to most localizable.

    Returns:
        A name; "not fitted" for what is not a number.
    """
    if np.isnan(r2):
        return NOT_FITTED
    return tiers[int(np.searchsorted(thresholds, r2, side="right"))]


def rank_clusters(chosen, clusters, thresholds, tiers):
    """Rank the clusters of each data set by their mean R2 over models; baselines and untrained copies do not count.

    Each probe gives a ranking of its own. A model that was read in several towers, each a row here (see
    :func:`geoprobe.analysis.families.chosen_rows`), counts once, with the mean R2 of its towers.

    Args:
        chosen: rows of :func:`geoprobe.analysis.families.chosen_rows`, of one target and cross-validation.
        clusters: data set to the summary of its clusters (cluster, name, images, distance, variances).
        thresholds, tiers: see :func:`tier_of`.

    Returns:
        A frame, most localizable first within data set and probe: dataset, probe, rank, cluster, name, tier, r2,
        lowest and highest R2 among the models, models (those with an R2), images, distance, latitude_variance,
        longitude_variance.
    """
    chosen = chosen[(chosen["control"] == "none") & (chosen["cluster"] != "all")]
    trained = has_learned(chosen)
    if trained.any():
        chosen = chosen[trained]
    frames = []
    for (dataset, probe), part in chosen.groupby(["dataset", "probe"], sort=False):
        of_models = part.groupby(["cluster", "origin"])["r2"].mean()
        ranked = (
            of_models.groupby("cluster")
            .agg(r2="mean", lowest="min", highest="max", models="count")
            .sort_values("r2", ascending=False, kind="stable")
            .reset_index()
        )
        ranked["cluster"] = ranked["cluster"].astype(int)
        ranked = ranked.merge(clusters[dataset], on="cluster", how="left")
        ranked.insert(0, "rank", np.arange(1, len(ranked) + 1))
        ranked.insert(0, "probe", probe)
        ranked.insert(0, "dataset", dataset)
        ranked["tier"] = [tier_of(value, thresholds, tiers) for value in ranked["r2"]]
        frames.append(ranked)
    columns = ["dataset", "probe", "rank", "cluster", "name", "tier", "r2", "lowest", "highest", "models"]
    columns += ["images", "distance", "latitude_variance", "longitude_variance"]
    return pd.concat(frames, ignore_index=True)[columns]
