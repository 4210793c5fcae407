"""How figures say how many images and blocks they are of."""

import pandas as pd
import pytest

from geoprobe.figures.counts import span, write_counts


def counts(images, blocks, cvs):
    return pd.DataFrame({"images": images, "blocks": blocks, "cv": cvs})


@pytest.mark.parametrize(
    ("frame", "words"),
    [
        (counts([2345, 2345], [310, 310], ["random", "blocked"]), "n = 2,345 images in 310 blocks"),
        (counts([2345, 2300, 0], [310, 309, 0], ["blocked"] * 3), "n = 2,300 to 2,345 images in 309 to 310 blocks"),
        (counts([2345.0], [61.0], ["countries"]), "n = 2,345 images in 61 countries"),
        (counts([9, 9], [3, 2], ["countries", "blocked"]), "n = 9 images in 2 to 3 blocks or countries"),
        (counts([0], [0], ["blocked"]), ""),
    ],
)
def test_counts_are_those_of_the_rows_that_were_tested(frame, words):
    assert write_counts(frame) == words


def test_a_span_of_equal_numbers_is_one():
    assert span([1200, 1200]) == "1,200"
    assert span([1300, 1200.0]) == "1,200 to 1,300"
