"""The checks that every listed image passes: coordinates, and the declared country."""

import numpy as np
import pandas as pd
import pytest

from geoprobe.images.checks import coordinate_reasons, country_details
from geoprobe.images.units import administrative_units

NAN = float("nan")


@pytest.mark.parametrize(
    ("latitude", "longitude", "reason"),
    [
        (48.86, 2.35, ""),
        (0.0, 9.5, ""),
        (51.5, 0.0, ""),
        (-90.0, 180.0, ""),
        (90.0, -180.0, ""),
        (0.0, 0.0, "coordinates are (0, 0)"),
        (NAN, 5.0, "no coordinates"),
        (5.0, NAN, "no coordinates"),
        (NAN, NAN, "no coordinates"),
        (float("inf"), 3.0, "no coordinates"),
        (142.7, 35.7, "latitude outside [-90, 90]"),
        (-90.5, 0.0, "latitude outside [-90, 90]"),
        (10.0, 200.0, "longitude outside [-180, 180]"),
    ],
)
def test_coordinates_that_cannot_be_used_have_a_reason(latitude, longitude, reason):
    assert coordinate_reasons([latitude], [longitude]).tolist() == [reason]


@pytest.mark.parametrize(
    ("declared", "detail"),
    [
        ("FR", ""),
        ("FRA", ""),
        ("France", ""),
        ("", ""),
        ("no country", ""),
        (None, ""),
        ("DE", "declared DE, coordinates in FR"),
        ("Germany", "declared DE, coordinates in FR"),
    ],
)
def test_a_declared_country_is_compared_with_that_of_the_coordinates(declared, detail):
    units = administrative_units(np.array([(46.8, 2.4)]))  # the middle of France
    assert country_details([declared], units).tolist() == [detail]


def test_near_a_border_no_country_disagrees():
    units = pd.DataFrame({"country_code": ["FR", "FR"], "border_uncertain": [True, False]})
    assert country_details(["DE", "DE"], units).tolist() == ["", "declared DE, coordinates in FR"]
