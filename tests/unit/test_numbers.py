"""Numbers as tables and figures print them: no minus before a zero, and short enough for a cell."""

import numpy as np
import pytest

from geoprobe.numbers import format_cell, format_ends, format_number


@pytest.mark.parametrize(
    ("value", "digits", "text"),
    [
        *((0.354, 2, ".35"), (-0.354, 2, "−.35"), (1.204, 2, "1.20"), (-12.5, 1, "−12.5"), (0.0, 2, ".00")),
        *((-0.001, 2, ".00"), (6058.07, 0, "6,058"), (0.4, 0, "0"), (np.nan, 2, "–"), (-np.inf, 2, "−∞")),
        *(
            (0.0004, "p", "< .001"),
            (0.0312, "p", ".031"),
            (1.0, "p", "1.000"),
            (1e-6, "g", "1e−06"),
            (0.001, "g", ".001"),
        ),
    ],
)
def test_numbers_have_no_zero_before_the_point_and_a_real_minus(value, digits, text):
    assert format_number(value, digits) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        *((0.126, ".13"), (-0.5, "−.50"), (-0.001, ".00"), (-9.994, "−9.99"), (-12.4, "−12"), (1.0, "1.00")),
        *((-999.0, "−999"), (-4321.0, "<−999"), (-np.inf, "<−999"), (np.nan, "–")),
    ],
)
def test_a_cells_number_is_short(value, text):
    assert format_cell(value) == text


@pytest.mark.parametrize(
    ("ends", "text"),
    [
        *(((-0.051, 0.12), "−.05, .12"), ((-0.001, 0.004), ".00, .00"), ((-12.34, 0.5), "−12.3, .50")),
        *(((-4321.0, 1.0), "<−999, 1.00"), ((np.nan, 0.1), ""), ((0.1, np.nan), "")),
    ],
)
def test_the_ends_of_an_interval_are_as_short(ends, text):
    assert format_ends(*ends) == text
