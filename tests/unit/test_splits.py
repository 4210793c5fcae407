"""The split into train, validation and test: whole groups, every country in every part, the same for everyone."""

import numpy as np
import pandas as pd
import pytest

from geoprobe.finetune import splits
from geoprobe.finetune.splits import PARTS, SHARES, assign_parts, digest_split, label_countries

OPTIONS = {"minimum": 5, "maximum": 40, "seed": 1}


def images(seed=0, count=1500, countries=12, groups=300, mixed=False):
    """Images in countries of unlike size and groups of unlike size; each group in one country, unless mixed."""
    generator = np.random.default_rng(seed)
    sizes = generator.dirichlet(np.full(groups, 0.5))
    group = generator.choice(groups, size=count, p=sizes)
    if mixed:
        country = np.minimum(generator.geometric(0.2, size=count), countries) - 1
    else:
        country = (group**2 // groups) % countries
    return pd.DataFrame(
        {
            "id": [f"image {number}" for number in range(count)],
            "country": [f"land {number}" for number in country],
            "group": [f"group {number}" for number in group],
        }
    )


def assign(frame, **options):
    return assign_parts(frame["id"], frame["country"], frame["group"], **{**OPTIONS, **options})


@pytest.mark.parametrize("mixed", [False, True], ids=["own groups", "shared groups"])
@pytest.mark.parametrize("seed", range(4))
def test_no_group_is_in_two_parts_and_every_country_is_in_all(seed, mixed):
    frame = images(seed, mixed=mixed)
    split = assign(frame, seed=seed)
    both = split.merge(frame[["id", "group"]], on="id", validate="one_to_one")
    assert both.groupby("group")["part"].nunique().max() == 1
    assert (split.groupby("country")["part"].nunique() == len(PARTS)).all()
    assert split["country"].nunique() >= 3
    sizes = split["country"].value_counts()
    assert sizes.max() <= OPTIONS["maximum"]
    # every image is in the split or counted with a reason
    assert len(split) + sum(row["images"] for row in split.attrs["left_out"]) == len(frame)
    assert (
        split["country"].nunique() + sum(row["countries"] for row in split.attrs["left_out"])
        == frame["country"].nunique()
    )


@pytest.mark.parametrize("size", [5, 7, 10, 40])
def test_images_without_groups_are_parted_within_one_image_of_the_shares(size):
    frame = pd.DataFrame({"id": range(4 * size), "country": np.repeat(list("abcd"), size), "group": range(4 * size)})
    split = assign(frame.astype(str))
    counts = pd.crosstab(split["country"], split["part"])[list(PARTS)].to_numpy()
    assert (np.abs(counts - size * np.array(SHARES)) <= 1).all()


def test_three_groups_are_one_a_part_with_the_largest_in_training():
    frame = pd.DataFrame({"country": np.repeat(list("abc"), 20)})
    frame["group"] = frame["country"] + np.tile(np.repeat(["1", "2", "3"], [12, 5, 3]), 3)
    frame["id"] = [f"{number:03}" for number in range(len(frame))]
    split = assign(frame).merge(frame[["id", "group"]], on="id")
    parts = split.drop_duplicates("group")
    assert (parts.groupby("country")["part"].nunique() == 3).all()
    assert set(parts[parts["group"].str.endswith("1")]["part"]) == {"train"}


def test_who_is_left_out_is_counted_by_reason():
    rows = [("a", f"a{n}") for n in range(60)] + [("b", f"b{n}") for n in range(8)]
    rows += [("few", f"few{n}") for n in range(4)] + [("one", "one")] * 9 + [("two", f"two{n % 2}") for n in range(9)]
    rows += [("", f"none{n}") for n in range(7)]
    frame = pd.DataFrame(rows, columns=["country", "group"])
    frame["id"] = [f"{number:03}" for number in range(len(frame))]
    split = assign(frame)
    assert set(split["country"]) == {"a", "b"}
    assert {row["reason"]: (row["countries"], row["images"]) for row in split.attrs["left_out"]} == {
        splits.NO_LABEL: (0, 7),
        splits.FEW_IMAGES: (1, 4),
        splits.FEW_GROUPS: (2, 18),
        splits.BEYOND: (0, 20),
    }


def test_three_groups_that_three_countries_have_in_common_are_one_a_part():
    rows = [("a", f"a{n}") for n in range(9)] + [("b", f"b{n}") for n in range(9)]
    rows += [(name, group) for group in ("x", "y", "z") for name in ("c", "d", "e")] * 3
    frame = pd.DataFrame(rows, columns=["country", "group"])
    frame["id"] = [f"{number:03}" for number in range(len(frame))]
    split = assign(frame)
    assert set(split["country"]) == set("abcde")


def test_the_split_does_not_depend_on_the_order_of_the_images_but_on_the_seed():
    frame = images()
    mixed = frame.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(assign(frame), assign(mixed))
    other = assign(frame, seed=2)
    assert digest_split(other) != digest_split(assign(frame))


def test_a_country_beyond_the_maximum_is_drawn_from_as_many_groups_as_it_has():
    rows = [("a", "large")] * 200 + [("a", f"a{n}") for n in range(9)] + [("b", f"b{n}") for n in range(9)]
    frame = pd.DataFrame(rows, columns=["country", "group"])
    frame["id"] = [f"{number:03}" for number in range(len(frame))]
    split = assign(frame, maximum=12).merge(frame[["id", "group"]], on="id")
    assert split[split["country"] == "a"]["group"].value_counts().to_dict() == {
        "large": 3,
        **{f"a{n}": 1 for n in range(9)},
    }


def test_countries_are_told_by_their_code_however_they_are_spelt():
    countries = ["Russian Federation", "Kenya", "KEN", "unknown", "", "Atlantis", "unknown"]
    geocells = ["RU/Sakha/1", "", "", "", "", "", "FR/x"]
    assert label_countries(countries, geocells).tolist() == ["RU", "KE", "KE", "", "", "Atlantis", ""]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"minimum": 2}, r"minimum is 2 and maximum 40"),
        ({"minimum": 50}, r"minimum is 50 and maximum 40"),
        ({"shares": (0.5, 0.5, 0.5)}, r"shares is \[0\.5, 0\.5, 0\.5\]"),
        ({"shares": (0.8, 0.2, 0.0)}, r"shares is \[0\.8, 0\.2, 0\.0\]"),
    ],
    ids=str,
)
def test_options_that_cannot_be_met_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        assign(images(), **options)


def test_a_data_set_of_one_country_is_refused_with_the_reasons():
    frame = images().assign(country="here")
    with pytest.raises(ValueError, match=r"1 countries are left to tell apart: beyond the maximum"):
        assign(frame)
