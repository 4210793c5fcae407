"""What every listed image must pass, whatever its source: usable coordinates, and a country that agrees with them."""

import numpy as np
import pandas as pd

from geoprobe.images.countries import country_code


def coordinate_reasons(latitude, longitude):
    """Why coordinates cannot be used.

    Args:
        latitude, longitude: degrees, shape (n,); NaN where missing.

    Returns:
        Text, shape (n,); "" where they can.
    """
    latitude, longitude = (np.asarray(values, dtype=np.float64) for values in (latitude, longitude))
    reasons = np.full(len(latitude), "", dtype=object)
    reasons[(latitude == 0) & (longitude == 0)] = "coordinates are (0, 0)"
    reasons[np.abs(longitude) > 180] = "longitude outside [-180, 180]"
    reasons[np.abs(latitude) > 90] = "latitude outside [-90, 90]"
    reasons[~np.isfinite(latitude) | ~np.isfinite(longitude)] = "no coordinates"
    return reasons


def country_details(declared, units):
    """Where the declared country is not the one that the coordinates lie in.

    Near a border either may be right, so a position whose country is uncertain disagrees with nothing.

    Args:
        declared: country as the source states it (code or English name; "" or unknown words are not compared), n.
        units: frame with country_code and border_uncertain, n rows.

    Returns:
        Text, shape (n,): "declared FR, coordinates in DE"; "" where they agree.
    """
    codes = pd.Series(declared, dtype=object).fillna("").astype(str)
    codes = codes.map({text: country_code(text) for text in codes.unique()}).to_numpy(str)
    found = units["country_code"].to_numpy(str)
    differ = (codes != "") & (found != "") & (codes != found) & ~units["border_uncertain"].to_numpy(bool)
    details = np.full(len(codes), "", dtype=object)
    details[differ] = [f"declared {a}, coordinates in {b}" for a, b in zip(codes[differ], found[differ], strict=True)]
    return details
