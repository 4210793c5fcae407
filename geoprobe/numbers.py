"""Numbers as they are printed in tables and figures."""

import math
import re

import pandas as pd

NONE = "–"
P_VALUE, GENERAL = "p", "g"
LEAST = -999  # what is less is only said to be


def format_number(value, digits):
    """A number as it is printed: U+2212 as its minus, none before a zero, no zero before the point, a dash for none.

    Args:
        value: a number.
        digits: decimals; :data:`P_VALUE`: three, and "< .001" below; :data:`GENERAL`: as many as it takes, 1e-06.
    """
    if pd.isna(value):
        return NONE
    if digits == P_VALUE:
        return "< .001" if value < 0.001 else format_number(value, 3)
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:g}" if digits == GENERAL else f"{value:z,.{digits}f}"
    return re.sub(r"^(−?)0\.", r"\1.", text.replace("-", "−"))


def format_cell(value):
    """A score in a cell of a figure, short enough for one: .35, −.05, −12, <−999, a dash for none."""
    if value < LEAST:
        return f"<{format_number(LEAST, 0)}"
    return format_number(value, 0 if value <= -9.995 else 2)


def format_ends(low, high):
    """The ends of an interval under such a score: −.05, .12; nothing where there is none."""
    if pd.isna(low) or pd.isna(high):
        return ""

    def write(end):
        return format_cell(end) if end < LEAST else format_number(end, 1 if abs(end) >= 10 else 2)

    return f"{write(low)}, {write(high)}"
