"""Whether a table has latitude and longitude in each other's columns.

Published tables have: a version of the im2gps3k list has the right numbers under exchanged headings. Rows with an
impossible latitude betray it; where all values would do for both, photographs do: they are taken near towns, and the
mirrored positions mostly lie in the sea.
"""

import numpy as np

from geoprobe.images.gazetteer import administrative_units

SAMPLE = 5000  # rows looked at
BEYOND = 0.01  # share of impossible latitudes that no few typing errors explain
FEW = 30  # rows below which an open question is answered by the headings
CLEAR_KM = 3.0  # ratio of the two median distances that decides
CLEAR_SHARE = 0.25  # difference of the two shares of agreeing countries that decides


def _agreement(codes, countries):
    """Share of positions whose country is the declared one, of those for which one is declared."""
    stated = countries != ""
    return (codes[stated] == countries[stated]).mean()


def detect_swap(latitude, longitude, countries=None, origin="the table"):
    """Whether latitude and longitude stand in each other's columns.

    Decided by the first of these that is clear: values beyond 90 degrees in one column and none in the other; where
    countries are given, in which order they agree with the positions; in which order the median photo is nearer to a
    town of the gazetteer.

    Args:
        latitude, longitude: degrees as the columns' names have them, shape (n,); rows without two numbers, at (0, 0)
            or beyond 180 degrees are not looked at.
        countries: declared countries, ISO 3166 alpha-2, "" where unknown, shape (n,), or None.
        origin: where the columns came from, for the message.

    Returns:
        True if they are to be exchanged. A few rows for which nothing is clear are taken as they are.

    Raises:
        ValueError: neither order is clearly right; names both medians.
    """
    given = np.column_stack([latitude, longitude]).astype(np.float64)
    countries = np.full(len(given), "") if countries is None else np.asarray(countries, dtype=str)
    with np.errstate(invalid="ignore"):
        usable = np.isfinite(given).all(axis=1) & (given != 0).any(axis=1) & (np.abs(given) <= 180).all(axis=1)
    rows = np.flatnonzero(usable)
    rows = rows[:: max(1, len(rows) // SAMPLE)]
    given, countries = given[rows], np.char.upper(countries[rows])
    if not len(given):
        return False
    beyond = (np.abs(given) > 90).mean(axis=0)
    if beyond.max() > BEYOND and beyond.min() == 0:
        return bool(beyond[0] > 0)
    both = (np.abs(given) <= 90).all(axis=1)
    given, countries = given[both], countries[both]
    if not len(given):
        return False
    orders = [administrative_units(given), administrative_units(given[:, ::-1])]
    if (countries != "").any():
        shares = [_agreement(units["country_code"].to_numpy(str), countries) for units in orders]
        if abs(shares[0] - shares[1]) > CLEAR_SHARE:
            return bool(shares[1] > shares[0])
    medians = [float(units["town_km"].median()) for units in orders]
    if medians[1] * CLEAR_KM < medians[0]:
        return True
    if medians[0] * CLEAR_KM < medians[1] or len(given) < FEW:
        return False
    raise ValueError(
        f"{origin}: it cannot be told whether latitude and longitude are in each other's columns: the median distance "
        f"to a town is {medians[0]:.1f} km as they are named and {medians[1]:.1f} km exchanged. Look at some rows, and "
        "say so with `swapped: true` or `swapped: false`."
    )
