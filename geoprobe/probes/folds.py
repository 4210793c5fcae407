"""Cross-validation folds, assigned once a data set and shared by every model.

`random` is the paper's: images of one place may stand on both sides. `blocked` holds out whole geographic
blocks, so that a place seen in training is not asked for again; nor is anything trained on whose author, sequence or
landmark is tested. `buffered` has the same folds and keeps images
just across a block's edge, which may show the same ground, out of training as well. `grouped` holds out whole
groups (an author's photos, a sequence, a landmark) wherever they are, and `countries` whole countries.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.spatial import cKDTree
from sklearn.model_selection import GroupKFold, KFold

from geoprobe.geodesy import EARTH_RADIUS_KM, block_of, to_sphere

CROSS_VALIDATIONS = ("random", "blocked", "buffered", "grouped", "countries")
NO_COUNTRY = ("", "unknown")


@dataclass(frozen=True)
class Split:
    """Who is tested and who is trained on, under one cross-validation.

    Attributes:
        folds: fold of each image, shape (n,), from 0; -1 where an image is neither tested nor trained on.
        near: int64 bit set, shape (n,): bit f is set where an image is not trained on when fold f is tested, though
            it is not of fold f; None for none.
    """

    folds: np.ndarray
    near: np.ndarray | None = None

    @property
    def numbers(self):
        """Fold numbers that occur, sorted."""
        return np.unique(self.folds[self.folds >= 0])

    def tested(self, fold):
        """True where an image is tested in a fold, shape (n,)."""
        return self.folds == fold

    def excluded(self, fold):
        """True where an image is not trained on when a fold is tested, shape (n,)."""
        excluded = self.tested(fold) | (self.folds < 0)
        if self.near is not None:
            excluded |= (self.near >> fold & 1).astype(bool)
        return excluded


def unit_of(cv):
    """Column of the folds table with the units that are held out as a whole, and that a bootstrap resamples."""
    return "country" if cv == "countries" else "block"


def shared_folds(groups, folds):
    """For each image, the folds in which an image of its group is tested, its own left out.

    Blocks are not joined where they share a group: by a few who travel, all blocks of the Earth would be one.

    Args:
        groups: number of each image's group, shape (n,).
        folds: fold of each image, shape (n,), below 63.

    Returns:
        int64, shape (n,): bit f is set where fold f tests an image of the same author, sequence or landmark, so that
        this one is not trained on then.
    """
    own = np.int64(1) << folds.astype(np.int64)
    tested = np.zeros(groups.max() + 1, dtype=np.int64)
    np.bitwise_or.at(tested, groups, own)
    return tested[groups] & ~own


def near_folds(positions, folds, buffer_km):
    """For each image, the folds from whose test images it is no farther than a distance, its own left out.

    Args:
        positions: latitude and longitude in degrees, shape (n, 2).
        folds: fold of each image, shape (n,), below 63.
        buffer_km: great-circle distance in kilometres; 0 for none.

    Returns:
        int64, shape (n,): bit f is set where fold f is near, so that the image is not trained on when f is tested.
    """
    near = np.zeros(len(folds), dtype=np.int64)
    if buffer_km > 0:
        vectors = to_sphere(positions)
        # a chord of the unit sphere
        reach = 2 * np.sin(min(buffer_km / (2 * EARTH_RADIUS_KM), np.pi / 2))
        for fold in np.unique(folds):
            others = np.flatnonzero(folds != fold)
            distance, _ = cKDTree(vectors[folds == fold]).query(vectors[others])
            near[others[distance <= reach]] |= 1 << int(fold)
    return near


def name_blocks(positions, geocells, options):
    """Geographic block of each image.

    Args:
        positions: latitude and longitude in degrees, shape (n, 2).
        geocells: those of the image store, shape (n,).
        options: see :func:`assign_folds`.

    Returns:
        Labels, shape (n,): numbers of :func:`geoprobe.geodesy.block_of`, geocells, or H3 cells (a hexagonal grid of
        the sphere; Brodsky 2018, https://h3geo.org).

    Raises:
        ValueError: there are no such blocks.
    """
    kind = options["blocks"]
    if kind == "degrees":
        return block_of(positions, options["block_degrees"])
    if kind == "geocell":
        return np.asarray(geocells)
    if kind == "h3":
        import h3  # of use to this choice alone

        resolution = options["h3_resolution"]
        return np.array([h3.latlng_to_cell(latitude, longitude, resolution) for latitude, longitude in positions])
    raise ValueError(f'folds.blocks is "{kind}"; allowed: degrees, geocell, h3.')


def _too_few(one, many, available, count):
    """Why units cannot be shared out among folds; "" where they can."""
    if available >= count:
        return ""
    if available == 0:
        return f"there are no {many} for {count} folds"
    return f"there {'is only 1 ' + one if available == 1 else f'are only {available} {many}'} for {count} folds"


def assign_folds(ids, positions, geocells, groups, countries, options):
    """Fold of each image under each cross-validation.

    A cross-validation that the images cannot have, such as `countries` of a data set in one country, does not keep
    the others from being had.

    Args:
        ids: image ids, shape (n,).
        positions: latitude and longitude in degrees, shape (n, 2).
        geocells: geocell of each image, shape (n,).
        groups: what must not be split (author, sequence, landmark), shape (n,); an image that shares none has a name
            of its own. Where no image shares one, `grouped` is as good as `random`.
        countries: shape (n,); "" or "unknown" where an image has none.
        options: `count` of folds, `seed` of all of them, `blocks` (degrees, geocell or h3), `block_degrees` (side of a
            block), `h3_resolution`, and `buffer_km`: under `buffered`, images no farther than this from a test image
            are not trained on.

    Returns:
        Frame of id; fold numbers from 0 for each of CROSS_VALIDATIONS, -1 in every row where it cannot be had, and
        under `countries` in the rows without a country (such an image may be of the country that is held out, so that
        it is neither tested nor trained on); blocked_near (see :func:`shared_folds`) and buffered_near (the same and
        :func:`near_folds`); and the units that are held out as a whole, numbered: block, group, and country (-1 for
        none).
        attrs["impossible"] holds, by cross-validation, why it cannot be had.

    Raises:
        ValueError: fewer images than folds, so that none can be had.
    """
    count, seed = options["count"], options["seed"]
    if len(ids) < count:
        raise ValueError(
            f"folds.count is {count}, but there are only {len(ids)} images. Ask for fewer folds or more images."
        )
    countries = pd.Series(np.asarray(countries, dtype=object)).astype(str)
    # groups and countries are numbered by name, so that their folds do not hang on which image comes first; blocks are
    # numbered as they come, in the order of the image store
    group = pd.factorize(pd.Series(np.asarray(groups, dtype=object)).astype(str), sort=True)[0]
    country = pd.factorize(countries.mask(countries.str.casefold().isin(NO_COUNTRY)), sort=True)[0]
    block = pd.factorize(pd.Series(name_blocks(positions, geocells, options)))[0]
    folds = pd.DataFrame({"id": ids} | dict.fromkeys(CROSS_VALIDATIONS, -1))
    for fold, (_, test) in enumerate(KFold(count, shuffle=True, random_state=seed).split(positions)):
        folds.loc[test, "random"] = fold
    units = {
        "blocked": (block, "geographic block", "geographic blocks"),
        "grouped": (group, "group", "groups"),
        "countries": (country, "country", "countries"),
    }
    impossible = {}
    for cv, (unit, one, many) in units.items():
        rows = np.flatnonzero(unit >= 0)
        if reason := _too_few(one, many, len(np.unique(unit[rows])), count):
            impossible[cv] = reason
            continue
        split = GroupKFold(count, shuffle=True, random_state=seed).split(rows, groups=unit[rows])
        for fold, (_, test) in enumerate(split):
            folds.loc[rows[test], cv] = fold
    folds["buffered"] = folds["blocked"]
    folds["blocked_near"] = folds["buffered_near"] = np.int64(0)
    if "blocked" in impossible:
        impossible["buffered"] = impossible["blocked"]
    else:
        fold = folds["blocked"].to_numpy()
        folds["blocked_near"] = shared_folds(group, fold)
        folds["buffered_near"] = folds["blocked_near"] | near_folds(positions, fold, options["buffer_km"])
    folds["block"], folds["group"], folds["country"] = block.astype(np.int64), group, country
    folds.attrs["impossible"] = impossible
    return folds
