"""Which images a model is fine-tuned on, which decide about its options, and which it is tested on.

One split a data set, which all models and all seeds share.
"""

import hashlib
import json

import numpy as np
import pandas as pd

from geoprobe.analysis.fairness import image_countries
from geoprobe.probes.folds import NO_COUNTRY

PARTS = ("train", "validation", "test")
SHARES = (0.6, 0.2, 0.2)
# Why images are not in the split.
NO_LABEL = "the image has no country"
FEW_IMAGES = "the country has fewer images than the minimum"
FEW_GROUPS = f"the country has fewer than {len(PARTS)} groups"
NOT_PARTED = "the country's groups reach into other countries and cannot be had in every part"
BEYOND = "beyond the maximum of the country"


def label_countries(countries, geocells):
    """What a model is to tell of each image: its country's alpha-2 code, "" where it has none.

    Args:
        countries: names as stored, shape (n,).
        geocells: names as stored, shape (n,); they begin with the country's code where the source has one.

    Returns:
        Text, shape (n,). A country that is in no list keeps its name.
    """
    names = np.asarray(countries, dtype=object)
    codes = image_countries(names, geocells)
    none = pd.Series(names).astype(str).str.casefold().isin(NO_COUNTRY).to_numpy()
    return np.where(none, "", np.where(codes == "", names, codes))


def share_groups(group, country, shares, generator):
    """Share out whole groups so that each country's images are parted as nearly in the given shares as that allows.

    Groups of several countries go first and large ones before small ones, each into the part that its countries have
    the most room in. A country with only as many groups left as it has empty parts gets one in each of those, so
    that a country with as many groups as parts, none of which it has in common with another, is in all of them.

    Args:
        group: number of each image's group, shape (n,).
        country: number of its country, shape (n,).
        shares: of the parts, summing to 1.
        generator: numpy's; it orders groups that are equal in these respects.

    Returns:
        Part of each group, shape (groups,).
    """
    counts = np.zeros((group.max() + 1, country.max() + 1))
    np.add.at(counts, (group, country), 1)
    targets = counts.sum(axis=0)[:, None] * np.asarray(shares)
    held, left = np.zeros_like(targets), (counts > 0).sum(axis=0)
    order = generator.permutation(len(counts))
    order = order[np.lexsort((-counts[order].sum(axis=1), -(counts[order] > 0).sum(axis=1)))]
    parts = np.empty(len(counts), dtype=np.int64)
    for number in order:
        own = np.flatnonzero(counts[number])
        size, room = counts[number, own][:, None], targets[own] - held[own]
        empty = held[own] == 0
        pressing = empty & (left[own] <= empty.sum(axis=1))[:, None]
        over = np.maximum(0, size - np.maximum(0, room)).sum(axis=0).round(6)
        need = (size * room / targets[own]).sum(axis=0).round(6)
        part = np.lexsort((-need, over, -pressing.sum(axis=0)))[0]
        parts[number] = part
        held[own, part] += counts[number, own]
        left[own] -= 1
    return parts


def draw_images(frame, maximum, generator):
    """At most so many rows a country, from as many groups as there are: one of each group, then a second, ...

    Args:
        frame: with the columns country and group.
        maximum: rows a country.
        generator: numpy's.

    Returns:
        Rows of the frame, in its order.
    """
    mixed = frame.iloc[generator.permutation(len(frame))]
    turn = mixed.groupby(["country", "group"]).cumcount()
    mixed = mixed.iloc[np.argsort(turn, kind="stable")]
    return mixed.groupby("country").head(maximum).sort_index()


def assign_parts(ids, countries, groups, *, minimum, maximum, seed, shares=SHARES):
    """Draw the images of each country and part them into train, validation and test.

    No group (landmark, author, sequence) is in two parts, and every country is in all of them.

    Args:
        ids: image ids, shape (n,).
        countries: shape (n,), of :func:`label_countries`; "" for none.
        groups: what must not be split, shape (n,).
        minimum: images that a country must have.
        maximum: images that are drawn of it.
        seed: of the draw and of the parts.
        shares: of train, validation and test.

    Returns:
        Frame of id, country, part, sorted by id; the same whatever the order of the images. attrs["left_out"] is a
        list of dicts reason, countries, images: who is not in it, and why.

    Raises:
        ValueError: minimum, maximum or shares cannot be met, or fewer than two countries are left.
    """
    if not len(PARTS) <= minimum <= maximum:
        raise ValueError(
            f"finetune.minimum is {minimum} and maximum {maximum}; each of the {len(PARTS)} parts needs an image of a "
            f"country, so give {len(PARTS)} <= minimum <= maximum"
        )
    if len(shares) != len(PARTS) or min(shares) <= 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"finetune.shares is {list(shares)}; give {len(PARTS)} numbers above 0 that sum to 1")
    frame = pd.DataFrame({"id": ids, "country": countries, "group": groups}).astype(object)
    frame = frame.sort_values("id", ignore_index=True)
    generator, left_out = np.random.default_rng(seed), []

    def leave(frame, kept, reason):
        lost = frame[~kept]
        names = set(lost["country"]) - set(frame["country"][kept]) - {""}
        if len(lost):
            left_out.append({"reason": reason, "countries": len(names), "images": len(lost)})
        return frame[kept]

    frame = leave(frame, frame["country"] != "", NO_LABEL)
    frame = leave(frame, frame.groupby("country")["id"].transform("size") >= minimum, FEW_IMAGES)
    frame = leave(frame, frame.groupby("country")["group"].transform("nunique") >= len(PARTS), FEW_GROUPS)
    drawn = draw_images(frame, maximum, generator)
    frame = leave(frame, frame.index.isin(drawn.index), BEYOND)
    if len(frame):
        group, country = (pd.factorize(frame[name], sort=True)[0] for name in ("group", "country"))
        frame = frame.assign(part=np.array(PARTS, dtype=object)[share_groups(group, country, shares, generator)[group]])
        frame = leave(frame, frame.groupby("country")["part"].transform("nunique") == len(PARTS), NOT_PARTED)
    if frame["country"].nunique() < 2:
        said = "; ".join(f"{row['reason']} ({row['images']} images)" for row in left_out)
        raise ValueError(
            f"{frame['country'].nunique()} countries are left to tell apart: {said}; lower finetune.minimum or take a "
            "data set of more countries"
        )
    frame = frame[["id", "country", "part"]].reset_index(drop=True)
    frame.attrs["left_out"] = left_out
    return frame


def digest_split(split):
    """Changes with the images, countries and parts of a split."""
    return hashlib.sha256(json.dumps(split[["id", "country", "part"]].to_numpy().tolist()).encode()).hexdigest()
