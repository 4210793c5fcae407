"""What others wrote and ours is compared with."""

import numpy as np
from geopy.distance import great_circle

from geoprobe.geodesy import EARTH_RADIUS_KM


def kilometres(a, b):
    """Great-circle distance by geopy, of two positions in degrees, or of each pair of two lists of them."""
    if np.ndim(a) == 1:
        return great_circle(tuple(a), tuple(b), radius=EARTH_RADIUS_KM).km
    return np.array([kilometres(*pair) for pair in zip(a, b, strict=True)])
