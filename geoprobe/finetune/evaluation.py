"""How well countries are told: accuracies of predictions, with intervals over groups and over trainings."""

import numpy as np
import pandas as pd

from geoprobe.analysis.bootstrap import draw_weights, interval, resample_members, unit_sums
from geoprobe.images.countries import continent_of

TOWER = "vision"  # the part of a model that is trained
METRICS = ("top1", "top5", "per_country")
MEAN = "mean"  # over the members
COLUMNS = ["member", "by", "group", "metric", "value", "low", "high", "images", "countries", "groups"]


def rank_truth(logits, truth):
    """Rank of the true class among all by their logit, from 1; the first of equal ones is ahead, as for argmax.

    Args:
        logits: shape (n, classes).
        truth: class of each row, shape (n,).

    Returns:
        int64, shape (n,).
    """
    logits, truth = np.asarray(logits), np.asarray(truth)
    own = np.take_along_axis(logits, truth[:, None], axis=1)
    before = (logits == own) & (np.arange(logits.shape[1]) < truth[:, None])
    return 1 + ((logits > own) | before).sum(axis=1)


def mean_per_country(hits, countries, weights=None):
    """Accuracy in each country, averaged over countries: balanced accuracy.

    Args:
        hits: True where the country was told, shape (n,).
        countries: number of each image's country, shape (n,).
        weights: how often each image counts, shape (n,); once by default.
    """
    weights = np.ones(len(hits)) if weights is None else weights
    right, all_ = np.bincount(countries, weights * hits), np.bincount(countries, weights)
    return float((right[all_ > 0] / all_[all_ > 0]).mean())


def _resampled(hits, units, weights):
    """Accuracy of each member in each resample, (members, resamples); nan where a resample has no image."""
    count = weights.shape[1]
    right = weights @ unit_sums(hits.T.astype(np.float64), units, count)
    images = (weights @ np.bincount(units, minlength=count))[:, None]
    return np.divide(right, images, out=np.full_like(right, np.nan), where=images > 0).T


def _resampled_per_country(hits, countries, units, weights):
    """As _resampled, of mean_per_country: a country of which no image is drawn does not count in that resample."""
    shape = (weights.shape[1], countries.max() + 1)
    cells = units * shape[1] + countries
    images = weights @ np.bincount(cells, minlength=shape[0] * shape[1]).reshape(shape)
    there, found = images > 0, []
    for own in hits:
        right = weights @ np.bincount(cells, weights=own, minlength=shape[0] * shape[1]).reshape(shape)
        shares = np.divide(right, images, out=np.zeros_like(images), where=there)
        found.append(shares.sum(axis=1) / there.sum(axis=1))
    return np.array(found)


def score_predictions(predictions, resamples, seed, member="seed"):
    """Accuracies of one or several trainings on the same images, and their mean.

    Args:
        predictions: frame of id, country, group, rank (of the true country, from 1) and the column `member`, an equal
            set of images for each member.
        resamples, seed: of the bootstrap over groups; two models that share images and seed share the draws.
        member: column that tells trainings apart.

    Returns:
        Frame of COLUMNS. member: as text, or MEAN. by: all, or continent with its name in group. metric: top1, top5
        (the true country is among the first five) or per_country (mean accuracy over countries; over all only). low
        and high: 95 %, over groups; of MEAN over groups and members together.

    Raises:
        ValueError: members were not tested on the same images.
    """
    parts = [part.sort_values("id") for _, part in predictions.groupby(member, sort=False)]
    first = parts[0]
    for part in parts[1:]:
        if not np.array_equal(part["id"], first["id"]):
            raise ValueError("trainings were not tested on the same images; make all predictions anew")
    names = [str(part[member].iloc[0]) for part in parts]
    ranks = np.stack([part["rank"].to_numpy() for part in parts])
    country, known = pd.factorize(first["country"], sort=True)
    units = pd.factorize(first["group"], sort=True)[0]
    weights = draw_weights(units.max() + 1, resamples, seed)
    continent = np.array([continent_of(code) for code in known], dtype=object)[country]
    rows = []

    def add(by, group, metric, chosen, values, samples):
        counts = {
            "images": int(chosen.sum()),
            "countries": len(np.unique(country[chosen])),
            "groups": len(np.unique(units[chosen])),
        }
        of_mean = (MEAN, np.mean(values), resample_members(samples, seed))
        for name, value, drawn in [*zip(names, values, samples, strict=True), of_mean]:
            low, high = interval(drawn)
            where = {"member": name, "by": by, "group": group, "metric": metric}
            rows.append({**where, "value": float(value), "low": low, "high": high, **counts})

    all_ = np.ones(len(first), dtype=bool)
    for by, group, chosen in [("all", "all", all_), *(("continent", c, continent == c) for c in np.unique(continent))]:
        for metric, most in (("top1", 1), ("top5", 5)):
            hits = ranks[:, chosen] <= most
            add(by, group, metric, chosen, hits.mean(axis=1), _resampled(hits, units[chosen], weights))
    hits = ranks == 1
    values = [mean_per_country(own, country) for own in hits]
    add("all", "all", "per_country", all_, values, _resampled_per_country(hits, country, units, weights))
    return pd.DataFrame(rows, columns=COLUMNS)


def chance_levels(train, test):
    """What is reached without looking at an image.

    Args:
        train, test: countries of the images of these parts.

    Returns:
        A dict: top1, top5 and per_country of a guess by chance among all countries, and majority: top1 of always
        naming the country with most training images.
    """
    names, counts = np.unique(np.asarray(train, dtype=str), return_counts=True)
    majority = float((np.asarray(test, dtype=str) == names[counts.argmax()]).mean())
    count = len(names)
    return {"top1": 1 / count, "top5": min(5, count) / count, "per_country": 1 / count, "majority": majority}
