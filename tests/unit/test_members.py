"""Which member of which archive is the image of a row: against string formatting and a dictionary."""

import duckdb
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from geoprobe.images.members import MemberIndex, member_key

PROPERTY = settings(max_examples=25, deadline=None, derandomize=True, database=None)
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0{}"), min_size=1, max_size=12)


@given(
    NAMES, st.text(st.characters(codec="ascii", exclude_characters="\0{}"), max_size=8), st.sampled_from(["id", "path"])
)
def test_what_a_pattern_makes_of_a_row_is_told_back(name, text, placeholder):
    pattern = f"{{archive_stem}}/{text}{{{placeholder}}}{text}.jpg"
    member = pattern.format(archive_stem="00", **{placeholder: name})
    assert member_key(pattern, "images/train/00.tar.gz")(member) == name
    assert member_key(pattern, "images/train/01.zip")(member) is None


@PROPERTY
@given(
    st.lists(st.lists(st.sampled_from("abcdef"), max_size=6), max_size=4),
    st.lists(st.lists(st.sampled_from("abcdefgh"), max_size=8), max_size=3),
)
def test_members_are_found_as_by_a_dictionary(tmp_path_factory, archives, queries):
    folder = tmp_path_factory.mktemp("members")
    expected, pairs = {}, []
    for number, names in enumerate(archives):
        members = [f"{place}/{name}.png" for place, name in enumerate(names)]
        for name, member in zip(names, members, strict=True):
            expected.setdefault(name, (number, member))
        pd.DataFrame({"member": members}, dtype="str").to_parquet(folder / f"{number}.parquet")
        pairs.append((f"{number}.zip", folder / f"{number}.parquet"))
    with duckdb.connect() as base:
        index = MemberIndex(base, pairs, "")
        for keys in queries:
            found = index.find(keys)
            assert [*zip(*found, strict=True)] == [expected.get(key, (-1, "")) for key in keys]
        asked = {key for keys in queries for key in keys}
        assert index.unnamed() == sum(name not in asked for names in archives for name in names)
