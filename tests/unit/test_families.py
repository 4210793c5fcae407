"""Reading and selecting rows of summaries."""

import numpy as np
import pandas as pd
import pytest

from geoprobe.analysis.families import chosen_rows, headline_rows, read_chosen, read_headline, read_summary, select
from geoprobe.runtime import write_table


def test_clusters_stay_text_and_none_stays_a_word(tmp_path):
    frame = pd.DataFrame(
        {
            "cluster": ["all", "0", "11"],
            "prompt": ["none", "none", "NA"],
            "control": ["none", "permuted", "null"],
            "layer": [0, 1, 2],
            "r2": [0.1 + 0.2, None, -1.0],
        }
    )
    frame.to_csv(tmp_path / "summary.csv", index=False)
    read = read_summary(tmp_path / "summary.csv")
    assert read["cluster"].tolist() == ["all", "0", "11"]
    assert read["prompt"].tolist() == ["none", "none", "NA"]
    assert read["control"].tolist() == ["none", "permuted", "null"]
    assert read["layer"].tolist() == [0, 1, 2]
    assert read["r2"].isna().tolist() == [False, True, False]


def test_clusters_stay_text_where_all_are_numbers(tmp_path):
    pd.DataFrame({"cluster": ["0", "1"]}).to_csv(tmp_path / "summary.csv", index=False)
    assert read_summary(tmp_path / "summary.csv")["cluster"].tolist() == ["0", "1"]


def test_layers_of_a_single_fold_stay_text(tmp_path):
    pd.DataFrame({"cluster": ["0"], "layers": ["11"]}).to_csv(tmp_path / "summary.csv", index=False)
    assert read_summary(tmp_path / "summary.csv")["layers"].tolist() == ["11"]


def test_rows_are_selected_where_all_conditions_hold():
    frame = pd.DataFrame({"cv": ["random", "blocked", "blocked"], "target": ["degrees", "degrees", "sphere"]})
    assert select(frame, cv="blocked", target="degrees").index.tolist() == [1]
    assert select(frame).equals(frame)


def test_no_row_left_is_an_error_that_names_the_conditions():
    frame = pd.DataFrame({"cv": ["random"], "target": ["degrees"]})
    with pytest.raises(ValueError, match="no row has cv blocked, target degrees"):
        select(frame, cv="blocked", target="degrees")


def rows_of(family, *places):
    columns = ("tower", "pooling", "prompt")
    return [
        {
            "dataset": "d",
            "probe": "ridge",
            "family": family,
            "label": family.upper(),
            **dict(zip(columns, p, strict=True)),
        }
        for p in places
    ]


FRAME = pd.DataFrame(
    [
        *rows_of("vit", ("vision", "cls", "none"), ("vision", "mean", "none")),
        *rows_of("siglip", ("vision", "mean", "none")),
        *rows_of(
            "llava",
            *[
                (tower, pooling, prompt)
                for prompt in ("none", "where")
                for tower, pooling in (("vision", "cls"), ("vision", "mean"), ("text", "last"), ("text", "mean"))
            ],
        ),
    ]
)


def shown(frame):
    return [tuple(row) for row in frame[["family", "label", "tower", "pooling", "prompt", "origin"]].to_numpy()]


def test_a_model_is_shown_with_the_first_prompt_and_pooling_that_it_has():
    chosen = headline_rows(FRAME, ["where", "none"], ["cls", "last", "mean"], dataset="d")
    assert shown(chosen) == [
        ("vit", "VIT", "vision", "cls", "none", "vit"),
        ("siglip", "SIGLIP", "vision", "mean", "none", "siglip"),
        ("llava/vision", "LLAVA, vision", "vision", "cls", "where", "llava"),
        ("llava/text", "LLAVA, text", "text", "last", "where", "llava"),
    ]


def test_the_order_of_preference_decides():
    chosen = headline_rows(FRAME, ["none"], ["mean", "cls"])
    assert {row[3:5] for row in shown(chosen)} == {("mean", "none")}
    assert len(chosen) == 4


def test_a_tower_without_any_of_the_poolings_is_left_out_and_a_model_without_any_is_an_error():
    chosen = headline_rows(FRAME[FRAME["family"] != "siglip"], ["none"], ["cls"])
    assert [row[:3] for row in shown(chosen)] == [("vit", "VIT", "vision"), ("llava", "LLAVA", "vision")]
    with pytest.raises(ValueError, match="siglip: has none of the prompts none or none of the poolings cls"):
        headline_rows(FRAME, ["none"], ["cls"])


def test_conditions_apply_before_the_choice():
    with pytest.raises(ValueError, match="no row has dataset other"):
        headline_rows(FRAME, ["none"], ["cls"], dataset="other")


def choices_of(family, *rows):
    columns = ("choice", "tower", "cluster", "prompt")
    front = {"dataset": "d", "probe": "ridge", "family": family, "label": family.upper()}
    return [front | dict(zip(columns, row, strict=True)) for row in rows]


CHOSEN = pd.DataFrame(
    [
        *choices_of("vit", ("inner", "vision", "all", "none"), ("depth", "vision", "all", "none")),
        *choices_of(
            "llava",
            *[
                (choice, tower, cluster, prompt)
                for prompt in ("none", "where")
                for choice, tower, cluster in (
                    ("inner", "vision", "all"),
                    ("inner", "text, vision", "1"),
                    ("depth", "vision", "all"),
                    ("depth", "text", "all"),
                )
            ],
        ),
    ]
)


def test_a_choice_among_all_towers_has_one_row_a_model_whichever_tower_was_chosen():
    chosen = chosen_rows(CHOSEN, ["where", "none"], "inner")
    found = chosen[["family", "label", "tower", "cluster", "prompt", "origin"]].to_numpy().tolist()
    assert found == [
        ["vit", "VIT", "vision", "all", "none", "vit"],
        ["llava", "LLAVA", "vision", "all", "where", "llava"],
        ["llava", "LLAVA", "text, vision", "1", "where", "llava"],
    ]


def test_a_choice_by_depth_has_a_family_a_tower_where_there_are_several():
    chosen = chosen_rows(CHOSEN, ["none"], "depth", cluster="all")
    found = chosen[["family", "label", "origin"]].to_numpy().tolist()
    assert found == [
        ["vit", "VIT", "vit"],
        ["llava/vision", "LLAVA, vision", "llava"],
        ["llava/text", "LLAVA, text", "llava"],
    ]


def test_a_choice_that_is_not_there_and_a_model_without_the_prompts_are_errors():
    with pytest.raises(ValueError, match="no row has cluster all, choice maximum"):
        chosen_rows(CHOSEN, ["none"], "maximum", cluster="all")
    with pytest.raises(ValueError, match=r"vit: has none of the prompts where; add one that it has to run\.prompts"):
        chosen_rows(CHOSEN, ["where"], "inner")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_rows_are_picked_while_a_summary_is_read(tmp_path, kind):
    frame = pd.DataFrame({"cluster": ["all", "1", "2"] * 10, "control": ["none"] * 15 + ["permuted"] * 15})
    frame["r2"] = np.arange(30) / 30
    path = tmp_path / f"summary.{kind}"
    write_table(frame, path)
    picked = read_summary(path, cluster="1", control="none")
    expected = frame[(frame["cluster"] == "1") & (frame["control"] == "none")]
    pd.testing.assert_frame_equal(picked.reset_index(drop=True), expected.reset_index(drop=True), check_dtype=False)
    assert list(read_summary(path, ["cluster", "r2"], cluster="1")) == ["cluster", "r2"]
    assert read_summary(path, cluster="9").empty


def test_what_is_shown_of_a_file_is_what_is_shown_of_its_rows(tmp_path):
    for name, frame, select_shown, read, options in (
        ("layers", FRAME, headline_rows, read_headline, {"prompts": ["none"], "poolings": ["cls", "last", "mean"]}),
        ("choices", CHOSEN, chosen_rows, read_chosen, {"prompts": ["none"], "choice": "inner"}),
    ):
        write_table(frame, tmp_path / f"{name}.parquet")
        pd.testing.assert_frame_equal(
            read(tmp_path / f"{name}.parquet", **options, dataset="d").reset_index(drop=True),
            select_shown(frame, **options, dataset="d").reset_index(drop=True),
        )
