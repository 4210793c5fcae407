"""What is printed: numbers and intervals, LaTeX that means what the cell says, captions, and what is summed up."""

import re

import numpy as np
import pandas as pd
import pytest

from geoprobe.analysis import printed
from geoprobe.analysis.views import VIEWS
from geoprobe.latex import LONG
from geoprobe.tables import View, format_interval, write_formats

# What each command means, from the LaTeX companion and not from the code; the longest come first.
MEANING = {
    r"\textbackslash{}": "\\", r"\textasciitilde{}": "~", r"\textasciicircum{}": "^", r"$^\circ$": "°",
    r"\textbar{}": "|", r"\textasciigrave{}": "`", r"\textquotedblright{}": '"', "{}": "",
    r"$\times$": "×", r"$\rho$": "ρ", r"$\ge$": "≥", "$^2$": "²", "$-$": "−", "$<$": "<", "$>$": ">",
    **{rf"\{letter}": letter for letter in "&%$#_{}"},
}  # fmt: skip


def read_cell(cell):
    """The text that LaTeX would set for a cell, lines of a head joined; fails on what it would take for a command."""
    if stacked := re.fullmatch(r"\\shortstack\[[lr]\]\{(.*)\}", cell):
        return " ".join(map(read_cell, stacked[1].split(r" \\ ")))
    pattern = "|".join(map(re.escape, MEANING))
    assert not set(re.sub(pattern, "", cell)) & set("&%$#_{}~^\\"), cell
    return re.sub(pattern, lambda match: MEANING[match.group()], cell)


def read_latex(text):
    """Environments, heads and rows of cells of a table; fails where environments are not nested."""
    opened, seen = [], []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", text):
        if kind == "begin":
            opened.append(name)
            seen.append(name)
        else:
            assert opened.pop() == name
    assert not opened
    lines = [line.removesuffix(r" \\") for line in text.splitlines() if line.endswith(r" \\") and "caption" not in line]
    cells = [[read_cell(cell) for cell in re.split(r" (?<!\\)& ", line.removeprefix("{}"))] for line in lines]
    return seen, cells


@pytest.fixture
def write(tmp_path):
    def writer(frame, view):
        paths = [tmp_path / f"table.{kind}" for kind in ("csv", "tex", "md")]
        write_formats(frame, view, *paths)
        return [path.read_text(encoding="utf-8") for path in paths]

    return writer


def test_an_interval_stands_in_brackets_behind_its_number():
    assert format_interval(0.35, 0.314, 0.391, 2) == ".35 [.31, .39]"
    assert format_interval(-0.1, -0.2, np.nan, 2) == "−.10"
    assert format_interval(np.nan, 0.1, 0.2, 2) == "–"


def test_latex_says_what_the_cells_say_whatever_is_in_them(write):
    letters = np.array(list("ab C&%$#_{}~^\\−²°×≥ρ<>[]*|`\"-',"))
    generator = np.random.default_rng(3)
    words = [" ".join(("".join(generator.choice(letters, 9)) + "x").split()) for _ in range(LONG)]
    _, tex, _ = write(pd.DataFrame({"first": words, "second": words[::-1]}), View("", {"a_1": "first", "b": "second"}))
    _, (heads, *rows) = read_latex(tex)
    assert heads == ["a_1", "b"]
    # LaTeX drops blanks at the start of a cell
    assert [row[0].strip() for row in rows] == words
    assert [row[1].strip() for row in rows] == words[::-1]


@pytest.mark.parametrize("start", ["[", "*"])
def test_a_row_cannot_begin_with_what_the_end_of_the_last_one_would_take_for_an_option(write, start):
    frame = pd.DataFrame({"name": [f"{start}2] of", "b"], "r2": [0.1, 0.2]})
    _, tex, _ = write(frame, View("", {"name": "name", "R²": "r2"}, {"R²": 2}))
    assert not re.search(r"^[\[*]", tex, re.MULTILINE)
    assert read_latex(tex)[1][1] == [f"{start}2] of", ".10"]


def test_long_tables_break_over_pages_and_repeat_their_heads(write):
    view = View("Words.", {"name": "name", "R² [95 %]": ("r2", "low", "high")})
    for count, kind in ((LONG, "tabular"), (LONG + 1, "longtable")):
        r2 = np.linspace(-1, 1, count)
        frame = pd.DataFrame({"name": [f"m{row}" for row in range(count)], "r2": r2, "low": r2 - 0.1, "high": r2 + 0.1})
        csv, tex, md = write(frame, view)
        environments, rows = read_latex(tex)
        assert environments[-1] == kind
        assert tex.startswith(f"% needs booktabs{', longtable' * (kind == 'longtable')}\n")
        heads = [row for row in rows if row == ["name", "R² [95 %]"]]
        assert len(heads) == (2 if kind == "longtable" else 1)
        assert len(rows) - len(heads) == count == md.count("\n| m") == len(csv.splitlines()) - 1
        assert tex.count(r"\label{tab:table}") == 1


def test_the_caption_tells_once_what_all_rows_share_and_how_many_images(write):
    frame = pd.DataFrame(
        {"dataset": ["tiles", "tiles"], "cv": ["random", "blocked"], "r2": [0.5, 0.5], "images": [6400.0, 6400.0]}
    )
    view = View("R².", {"data set": "dataset", "folds": "cv", "R²": "r2", "images": "images"}, {"R²": 2})
    csv, _, md = write(frame, view)
    assert md.startswith("R². Data set: tiles; images: 6,400.\n\n| folds")
    assert md.count(".50") == 2  # a measured number stays in its row
    assert csv.splitlines()[0] == "dataset,cv,r2,images"


def test_reasons_are_a_last_column_where_there_are_any(write):
    frame = pd.DataFrame({"name": ["a", "b"], "r2": [0.5, np.nan], "reason": [np.nan, "too few images"]})
    view = View("R².", {"name": "name", "R²": "r2"}, {"R²": 2})
    assert read_latex(write(frame, view)[1])[1] == [
        ["name", "R²", "note"],
        ["a", ".50", ""],
        ["b", "–", "too few images"],
    ]
    assert read_latex(write(frame[:1], view)[1])[1][0] == ["name", "R²"]


@pytest.mark.parametrize("name", VIEWS)
def test_a_table_of_nothing_has_its_heads_and_no_row(name, tmp_path, capsys):
    paths = [tmp_path / f"{name}.{kind}" for kind in ("csv", "tex", "md")]
    printed.write_tables({name: pd.DataFrame(columns=["dataset", "model"])}, {name: paths}, "paper")
    assert capsys.readouterr().out == f"{name}: 0 rows\n"
    # a wide one is broken over pages, and has them twice
    assert {tuple(row) for row in read_latex(paths[1].read_text())[1]} == {tuple(VIEWS[name].heads)}
    assert paths[2].read_text().split("\n")[0].endswith(" Protocol: paper.")


OF_LAYER = {"dataset": "d", "model": "m", "prompt": "none", "probe": "ridge", "family": "m", "label": "M"}
OF_LAYER |= {"supervision": "vision-only", "tower": "vision", "pooling": "cls", "layer": 3, "cv": "blocked"}


def test_correlations_of_both_axes_stand_side_by_side_in_their_order():
    common = OF_LAYER | {"dimensions": 8, "clusters": 4, "pairs": 6, "scaled": "raw", "reason": ""}
    common |= {"r2": 0.3, "r2_low": 0.2, "r2_high": 0.4}
    values = {(1.0, "latitude"): 0.1, (1.0, "longitude"): 0.2, (0.4, "latitude"): 0.3, (0.4, "longitude"): 0.4}
    frame = pd.DataFrame(
        common | {"share": share, "axis": axis, "correlation": value, "low": value - 1, "high": value + 1}
        for (share, axis), value in values.items()
    )
    found = printed.correlation(frame)
    assert found["share"].tolist() == [1.0, 0.4]
    assert found[["latitude", "longitude"]].to_numpy().tolist() == [[0.1, 0.2], [0.3, 0.4]]
    np.testing.assert_allclose(found["longitude_high"], [1.2, 1.4])
    none = pd.DataFrame([{**common, "axis": np.nan, "clusters": 0, "reason": "nothing was fitted"}])
    both = printed.correlation(pd.concat([frame, none]))
    assert both["reason"].tolist() == ["", "", "nothing was fitted"]


def test_ranked_dimensions_stand_beside_the_mean_of_the_random_ones():
    rows = [("standardised", np.nan, 0.5, 0.3), ("standardised", np.nan, 1.0, 0.4)]
    rows += [("random", 1, 0.5, 0.1), ("random", 2, 0.5, 0.2), ("random", 1, 1.0, 0.4), ("random", 2, 1.0, 0.4)]
    frame = pd.DataFrame(
        OF_LAYER | {"cluster": "all", "axis": "latitude", "ranking": ranking, "seed": seed, "share": share, "r2": r2}
        for ranking, seed, share, r2 in rows
    )
    found = printed.dimensions(frame)
    np.testing.assert_allclose(found[["r2", "random_r2", "of_all", "draws"]], [[0.3, 0.15, 0.75, 2], [0.4, 0.4, 1, 2]])
    # there is no share of what is not above 0
    frame.loc[1, "r2"] = -0.1
    assert printed.dimensions(frame)["of_all"].isna().all()


def test_transfer_is_summed_up_over_the_pairs_of_different_clusters():
    values = {("0", "0"): 0.5, ("1", "1"): 0.3, ("0", "1"): -2.0, ("1", "0"): 0.2, ("all", "0"): 0.4, ("all", "1"): 0.2}
    values |= {("all", "all"): 0.9, ("0", "all"): -9.0}
    frame = pd.DataFrame(
        OF_LAYER | {"target": "degrees", "trained_on": one, "tested_on": other, "r2": r2, "reason": np.nan}
        for (one, other), r2 in values.items()
    )
    (row,) = printed.transfer(frame).to_dict("records")
    assert (row["clusters"], row["pairs"], row["positive"]) == (2, 2, 0.5)
    assert [row["within"], row["between"], row["from_all"]] == pytest.approx([0.4, -0.9, 0.3])


def test_outcomes_of_steering_stand_side_by_side():
    rows = [
        {"where": "prefill", "block": 0, "ranking": "coefficients", "share": share, "outcome": outcome, "value": value}
        | {"low": value - 0.1, "high": value + 0.1, "pairs": 9, "seeds": 1, "difference": value / 2}
        | {"difference_low": 0.0, "difference_high": 1.0, "p_holm": 0.5}
        for share in (0.1, 0.9)
        for outcome, value in (("stability", 1 - share), ("efficacy", share), ("success", share / 10), ("city", 9))
    ]
    found = printed.steering({("d", "landmark", "m", "M"): pd.DataFrame(rows)})
    np.testing.assert_allclose(found[["stability", "efficacy", "success"]], [[0.9, 0.1, 0.01], [0.1, 0.9, 0.09]])
    np.testing.assert_allclose(found["difference"], [0.005, 0.045])  # of success
    assert found["label"].tolist() == ["M", "M"]


def choice(cluster, layers, tower="vision", **more):
    row = OF_LAYER | {"cluster": cluster, "target": "degrees", "control": "none", "choice": "inner", "r2": 0.5}
    return row | {"layers": layers, "tower": tower} | more


def test_the_most_frequent_layer_is_counted_over_folds_clusters_and_towers():
    rows = [
        choice("all", "3, 3"),
        choice("0", "2, 3"),
        choice("1", "text 2, vision 3", "text, vision"),
        choice("2", "–, 2"),
    ]
    frame = pd.DataFrame([*rows, choice("all", "1, 1", choice="maximum"), choice("0", "1, 1", control="permuted")])
    inner, maximum = printed.layers(frame, {"prompts": ["none"], "target": "degrees"}).to_dict("records")
    # vision 2: twice, vision 3: twice, text 2: once; of equals the first one seen
    assert (inner["clusters"], inner["modal_layer"], inner["modal_share"]) == (3, "vision 2", 0.4)
    assert (maximum["clusters"], maximum["modal_layer"]) == (0, "")
