"""The plan: checks, balance and shards of a list of any length, against pandas on the whole list."""

import numpy as np
import pandas as pd
import pyarrow.parquet
import pytest

from geoprobe.geodesy import draw_on_sphere
from geoprobe.images.checks import coordinate_reasons
from geoprobe.images.geocells import cap_geocells, merge_units
from geoprobe.images.plan import FULL, check_chunk, plan_images
from geoprobe.images.units import administrative_units

BALANCE = {"minimum": 5, "maximum": 4, "seed": 7}


def listed(count=3000, seed=0):
    """Rows all over the globe, some of them beyond use."""
    positions = draw_on_sphere(count, np.random.default_rng(seed))
    frame = pd.DataFrame(positions, columns=["latitude", "longitude"])
    frame.insert(0, "id", [f"photo {number}" for number in range(count)])
    frame["group"] = [f"author {number % 50}" if number % 3 else "" for number in range(count)]
    frame["reason"] = np.where(np.arange(count) % 17 == 5, "a video", "")
    frame.loc[::41, "latitude"] = np.nan
    frame.loc[7::90, ["latitude", "longitude"]] = 0
    frame.loc[3::97, "longitude"] = 200
    return frame


def chunks(frame, size):
    return (frame.iloc[start : start + size] for start in range(0, len(frame), size))


@pytest.fixture
def planned(tmp_path):
    """Plan a frame; returns the plan and what is left out."""

    def make(frame, size=1000, balance=BALANCE, **options):
        paths = tmp_path / "out" / "plan.parquet", tmp_path / "out" / "left_out.parquet"
        plan_images(chunks(frame, size), *paths, "mine", balance, **options)
        assert [path.name for path in paths[0].parent.iterdir()] != []
        return tuple(pd.read_parquet(path) for path in paths)

    return make


def test_the_plan_is_that_of_the_whole_list_in_memory(planned):
    frame = listed()
    plan, left_out = planned(frame)
    reason = np.where(frame["reason"] == "", coordinate_reasons(frame["latitude"], frame["longitude"]), frame["reason"])
    usable = frame[reason == ""].reset_index(drop=True)
    units = administrative_units(usable[["latitude", "longitude"]].to_numpy())
    cells = merge_units(units, BALANCE["minimum"])
    kept = cap_geocells(usable["id"], cells, BALANCE["maximum"], BALANCE["seed"])
    assert plan["id"].tolist() == usable["id"][kept].tolist()
    assert plan["geocell"].tolist() == cells[kept].tolist()
    assert plan["country"].tolist() == units["country"][kept].tolist()
    assert plan["border_uncertain"].tolist() == units["border_uncertain"][kept].tolist()
    # each row is in the one or the other, in the list's order
    assert len(plan) + len(left_out) == len(frame)
    lost = left_out.set_index("id")["reason"]
    assert lost[lost != FULL].to_dict() == dict(zip(frame["id"][reason != ""], reason[reason != ""], strict=True))
    assert lost.index.tolist() == [name for name in frame["id"] if name in lost.index]
    assert (lost == FULL).sum() == (~kept).sum() > 100


@pytest.mark.parametrize("size", [1, 7, 5000])
def test_the_size_of_the_chunks_does_not_matter(planned, size):
    frame = listed(60)
    for one, other in zip(planned(frame, size), planned(frame, 23), strict=True):
        pd.testing.assert_frame_equal(one, other)


def test_a_longer_list_draws_the_same_images_again(planned):
    frame = listed()
    short, _ = planned(frame.iloc[:1500], balance=BALANCE | {"minimum": 1, "maximum": 1000})
    long, _ = planned(frame, balance=BALANCE | {"minimum": 1, "maximum": 1000})
    ranks = long.set_index("id")["rank"]
    for _, part in short.groupby("geocell"):
        assert ranks[part.sort_values("rank")["id"]].is_monotonic_increasing


def test_a_group_that_is_not_given_is_the_image_itself(planned):
    plan, _ = planned(listed(200))
    alone = ~plan["group"].str.startswith("author")
    assert (plan["group"] == plan["id"])[alone].all()
    assert 0 < alone.mean() < 1


def test_of_an_id_given_twice_the_first_that_can_be_used_stays(planned):
    frame = listed(40).assign(reason="").astype({"latitude": float})
    frame[["latitude", "longitude"]] = (46.8, 2.4)
    frame.loc[[5, 9, 30], "id"] = "the same"
    frame.loc[5, "latitude"] = np.nan
    plan, left_out = planned(frame.assign(row=range(40)), size=8, balance=BALANCE | {"maximum": 100})
    assert plan.set_index("id").loc["the same", "row"] == 9
    assert left_out["reason"].tolist() == ["no coordinates", "id given twice"]


def test_a_declared_country_that_disagrees_is_left_out_with_both_names(planned):
    frame = pd.DataFrame(
        {"id": ["a", "b", "c"], "latitude": [46.8] * 3, "longitude": [2.4] * 3, "group": "", "reason": "",
         "country": ["FRA", "Kenya", ""]}
    )  # fmt: skip
    plan, left_out = planned(frame)
    assert plan["id"].tolist() == ["a", "c"]
    assert left_out[["id", "reason", "detail"]].to_numpy().tolist() == [
        ["b", "declared country disagrees", "declared KE, coordinates in FR"]
    ]
    assert left_out["country_code"].tolist() == ["FR"]


@pytest.mark.parametrize("reserve", [0, 0.5, 1])
def test_spare_images_follow_those_that_are_wanted(planned, reserve):
    frame = listed()
    plain, _ = planned(frame)
    plan, _ = planned(frame, balance=BALANCE | {"reserve": reserve})
    assert plan.groupby("geocell").size().max() == 4 * (1 + reserve)
    assert plan[plan["rank"] < 4]["id"].tolist() == plain["id"].tolist()


def test_shards_part_the_plan_and_never_an_archive(planned):
    frame = listed(2000)
    plan, _ = planned(frame, shards=4)
    assert set(plan["shard"]) == {0, 1, 2, 3}
    assert plan["shard"].value_counts().min() > len(plan) / 8
    archives = frame.assign(archive=[f"https://host/{number % 6}.tar" for number in range(len(frame))], member="x")
    plan, _ = planned(archives, shards=4)
    assert len(plan[["archive", "shard"]].drop_duplicates()) == 6
    assert set(plan["shard"]) == {0, 1, 2, 3}


def test_columns_of_the_source_come_through(planned):
    frame = listed(50).assign(urls=[["http://a", "http://b"]] * 50)
    frame["caption:title"] = 'it\'s "a" title'
    plan, _ = planned(frame)
    assert [list(urls) for urls in plan["urls"]] == [["http://a", "http://b"]] * len(plan)
    assert set(plan["caption:title"]) == {'it\'s "a" title'}


def test_a_list_of_which_nothing_can_be_used_says_why(planned):
    frame = listed(30).assign(reason="")
    frame[["latitude", "longitude"]] = (142.7, 35.7)
    with pytest.raises(ValueError, match=r"dataset mine: no listed .* \(30 x latitude outside .*\)\. .*swapped"):
        planned(frame)
    with pytest.raises(ValueError, match="dataset mine: the source lists no image"):
        planned(frame.iloc[:0])


def test_both_tables_have_provenance_and_nothing_else_is_left(planned, tmp_path):
    planned(listed(50))
    folder = tmp_path / "out"
    assert {path.name for path in folder.iterdir()} == {"plan.parquet", "left_out.parquet"}
    for path in folder.iterdir():
        metadata = pyarrow.parquet.read_schema(path).metadata
        assert {b"created", b"geoprobe", b"versions"} <= set(metadata)


def test_a_chunk_keeps_its_rows_in_order():
    frame = listed(100)
    checked = check_chunk(frame, 500)
    assert checked["position"].tolist() == list(range(500, 600))
    assert checked["id"].tolist() == frame["id"].tolist()
    assert (checked["country_code"] != "").tolist() == (checked["reason"] == "").tolist()
