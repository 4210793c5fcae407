"""Summaries of probes: R2 pooled over the held-out folds, with intervals over blocks and over seeds.

A family is an encoder's objective with all its seeds, or a public model by itself.
"""

import itertools

import h5py
import numpy as np
import pandas as pd

from geoprobe.analysis.bootstrap import block_sums, draw_weights, interval, r2_of_sums
from geoprobe.analysis.families import WHERE, last_layer
from geoprobe.geodesy import great_circle_km
from geoprobe.images.store import read_positions
from geoprobe.probes.labels import control_positions, join_on_ids
from geoprobe.probes.metrics import make_target, r2, to_positions

NUMBERS = ("r2", "low", "high", "r2_latitude", "r2_longitude", "r2_folds", "median_km")


def summarise_model(store, folds, scores, fits, seed, resamples, bootstrap_seed):
    """Summarise one probe of one model.

    Args:
        store: image store.
        folds: Parquet table with id and block.
        scores: probe table (Parquet).
        fits: the HDF5 file beside it.
        seed: the probe's seed, of the permuted labels.
        resamples: bootstrap resamples of the blocks.
        bootstrap_seed: of the resamples.

    Returns:
        A frame with a row for each combination of WHERE: images, blocks, r2, r2_latitude, r2_longitude (of all
        held-out predictions together), r2_folds (mean over folds, as the paper), median_km, low, high; and the
        resampled R2, a dict from the row's WHERE to an array of length resamples.
    """
    positions, ids = read_positions(store)
    block = join_on_ids(ids, pd.read_parquet(folds), folds)["block"].to_numpy()
    table = pd.read_parquet(scores)
    rows, samples, weights = [], {}, {}
    with h5py.File(fits, "r") as file:
        members = {name: data[:] for name, data in file["rows"].items()}
        for key, part in table.groupby(WHERE, sort=False):
            where = dict(zip(WHERE, key, strict=True))
            images = members[where["cluster"]]
            group = file[
                "/".join(str(where[n]) for n in ("tower", "pooling", "layer", "cluster", "target", "cv", "control"))
            ]
            predicted = group["predictions"][:].astype(np.float64)
            truth = control_positions(positions, images, where["control"], seed)
            tested = np.isfinite(predicted).all(axis=1)
            truth, predicted = truth[tested], predicted[tested]
            numbers, index = np.unique(block[images[tested]], return_inverse=True)
            if not len(numbers):  # nothing could be fitted; the probe table states the reason
                samples[key] = np.full(resamples, np.nan)
                rows.append({**where, "images": 0, "blocks": 0, **dict.fromkeys(NUMBERS, np.nan)})
                continue
            # one draw a number of blocks: every model is resampled alike
            if len(numbers) not in weights:
                weights[len(numbers)] = draw_weights(len(numbers), resamples, bootstrap_seed)
            target = make_target(truth, where["target"])
            sums = block_sums(target, predicted, index, len(numbers))
            samples[key] = r2_of_sums(sums, weights[len(numbers)]).mean(axis=1)
            at = to_positions(predicted, where["target"])
            axes = r2(truth, predicted if where["target"] == "degrees" else at)
            low, high = interval(samples[key])
            values = (
                float(r2(target, predicted).mean()),
                low,
                high,
                *map(float, axes),
                float(part["r2"].mean()),
                float(np.median(great_circle_km(truth, at))),
            )
            sizes = {"images": int(tested.sum()), "blocks": len(numbers)}
            rows.append({**where, **sizes, **dict(zip(NUMBERS, values, strict=True))})
    return pd.DataFrame(rows), samples


def join_seeds(members, seed):
    """Resampled R2 of a family: in each resample the seeds are drawn anew as well, then averaged.

    Args:
        members: shape (seeds, resamples): each seed's R2 on the same resamples of blocks.
        seed: of the draw.

    Returns:
        shape (resamples,). With one seed, that seed's own.
    """
    members = np.asarray(members)
    count, resamples = members.shape
    drawn = np.random.default_rng([seed, count]).integers(count, size=(count, resamples))
    return np.take_along_axis(members, drawn, axis=0).mean(axis=0)


def summarise_families(scores, samples, seed):
    """Mean over the seeds of each family, with intervals over blocks and seeds together.

    Args:
        scores: frame of all models: WHERE, model, family, label, supervision, r2, ...
        samples: (model, *WHERE) to resampled R2.
        seed: of the draw of seeds.

    Returns:
        A frame with a row for each family and WHERE; and (family, *WHERE) to resampled R2.
    """
    rows, joined = [], {}
    for key, part in scores.groupby(["family", *WHERE], sort=False):
        joined[key] = join_seeds([samples[(model, *key[1:])] for model in part["model"]], seed)
        low, high = interval(joined[key])
        rows.append(
            {
                "family": key[0],
                "label": part["label"].iloc[0],
                "supervision": part["supervision"].iloc[0],
                **dict(zip(WHERE, key[1:], strict=True)),
                "seeds": len(part),
                "images": int(part["images"].iloc[0]),
                "blocks": int(part["blocks"].iloc[0]),
                "r2": part["r2"].mean(),
                "low": low,
                "high": high,
                "r2_folds": part["r2_folds"].mean(),
                "median_km": part["median_km"].mean(),
            }
        )
    return pd.DataFrame(rows), joined


def compare_families(families, joined):
    """Paired differences in R2 between families at their last layer, on the whole data set and the true labels.

    Args:
        families: rows of :func:`geoprobe.analysis.families.headline_rows`.
        joined: resampled R2 of :func:`summarise_families`; pairs share their resamples.

    Returns:
        A frame: dataset, probe, target, cv, family, baseline, difference (family minus baseline), low, high, p
        (two-sided, the share of resamples on the other side of zero, doubled; at least 2 / (resamples + 1)), p_holm
        (corrected for the pairs of one row of conditions, Holm 1979).
    """
    conditions = ["dataset", "probe", "target", "cv"]
    chosen = last_layer(families)
    chosen = chosen[(chosen["cluster"] == "all") & (chosen["control"] == "none")]
    rows = []
    for condition, part in chosen.groupby(conditions, sort=False):
        pairs = []
        for (_, a), (_, b) in itertools.combinations(part.iterrows(), 2):
            first, second = b, a  # the later row of the registry minus the earlier one
            difference = joined[(first["origin"], *first[WHERE])] - joined[(second["origin"], *second[WHERE])]
            low, high = interval(difference)
            side = min((difference <= 0).sum(), (difference >= 0).sum())
            pairs.append(
                {
                    **dict(zip(conditions, condition, strict=True)),
                    "family": first["family"],
                    "baseline": second["family"],
                    "difference": first["r2"] - second["r2"],
                    "low": low,
                    "high": high,
                    "p": min(1.0, 2 * (side + 1) / (len(difference) + 1)),
                }
            )
        pairs.sort(key=lambda pair: pair["p"])
        running = 0.0
        for rank, pair in enumerate(pairs):
            running = max(running, min(1.0, pair["p"] * (len(pairs) - rank)))
            pair["p_holm"] = running
        # back from the order of p to that of the registry
        place = {family: index for index, family in enumerate(part["family"])}
        rows += sorted(pairs, key=lambda pair: (place[pair["family"]], place[pair["baseline"]]))
    return pd.DataFrame(rows, columns=[*conditions, "family", "baseline", "difference", "low", "high", "p", "p_holm"])
