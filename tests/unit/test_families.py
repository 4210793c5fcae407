"""Reading and selecting rows of summaries."""

import pandas as pd
import pytest

from geoprobe.analysis.families import last_layer, read_summary, select


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


def test_the_last_layer_is_each_familys_and_each_towers_own():
    frame = pd.DataFrame(
        {
            "family": ["a", "a", "a", "a", "b", "b"],
            "tower": ["vision", "vision", "text", "text", "vision", "vision"],
            "layer": [0, 3, 0, 11, 0, 1],
        }
    )
    assert last_layer(frame).index.tolist() == [1, 3, 5]


def test_rows_are_selected_where_all_conditions_hold():
    frame = pd.DataFrame({"cv": ["random", "blocked", "blocked"], "target": ["degrees", "degrees", "sphere"]})
    assert select(frame, cv="blocked", target="degrees").index.tolist() == [1]
    assert select(frame).equals(frame)


def test_no_row_left_is_an_error_that_names_the_conditions():
    frame = pd.DataFrame({"cv": ["random"], "target": ["degrees"]})
    with pytest.raises(ValueError, match="no row has cv blocked, target degrees"):
        select(frame, cv="blocked", target="degrees")
