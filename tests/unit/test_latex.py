"""LaTeX as it is set: names of any letters, and tables that stay on the page whatever their width."""

import unicodedata

import numpy as np
import pandas as pd
import pytest

from geoprobe import latex
from geoprobe.tables import View, write_formats
from tests.latex import needs_latex, typeset

HOSTILE = [
    r"a_b 5% c & d #1 $x$ {y} ~z ^w \v",
    "[2] of *x* |y| <b> `q` -- --- it's ''",
    r"\input{/etc/passwd} \end{tabular} % $",
]
ACCENTED = "São Paulo, Łódź, Größe, ação, Iași, Århus, ½ – “q” … €"


def print_table(folder, name, words, columns=0, rows=4):
    """A table of names, a number with its interval, and further columns of words; its path."""
    frame = pd.DataFrame({"name": (words * rows)[:rows], "r2": np.linspace(-0.25, 1, rows)})
    frame = frame.assign(low=-0.5, high=1.0, km=np.linspace(1, 20000, rows))
    heads = {"a_name & 5 %": "name", "R² [95 %]": ("r2", "low", "high"), "median error (km)": "km"}
    for number in range(columns):
        frame[f"more{number}"] = [f"some words of column {number}", *["short"] * (rows - 1)]
        heads[f"a long head [of *column {number}]"] = f"more{number}"
    paths = [folder / f"{name}.{kind}" for kind in ("csv", "tex", "md")]
    write_formats(frame, View(f"R² of {' '.join(words)}.", heads, {"median error (km)": 0}), *paths)
    return paths[1]


@needs_latex
def test_latex_sets_hostile_names_as_they_are_and_no_table_runs_off_its_page(tmp_path):
    shapes = {"few": (0, 4), "long": (0, 90), "wide": (4, 30), "wider": (9, 20), "widest": (12, 6)}
    tables = [print_table(tmp_path, name, HOSTILE, *shape) for name, shape in shapes.items()]
    tables.append(print_table(tmp_path, "accented", [*HOSTILE, ACCENTED]))
    complaints, text = typeset(tables, tmp_path)
    assert complaints == []
    pages = text.split("\f")
    lines = {" ".join(line.split()) for line in pages[0].splitlines()}
    # pdftotext writes the typographic quotation mark that stands for an apostrophe
    said = {line.split(" −")[0].split(" .")[0].split(" 1.00 [")[0].replace("’", "'") for line in lines}
    assert set(HOSTILE) <= said
    assert r"\begin{landscape}" in tables[3].read_text()
    assert r"\begin{landscape}" not in tables[1].read_text()


@pytest.mark.parametrize(
    "word",
    [
        "facebook/webssl-mae300m-full2b-224",
        "a_b" * 9,
        "3f49326eb077187dfe1c2a2bb15fbd74e6ab91e3",
        "x--y-/long-name-of_a",
    ],
)
def test_long_names_in_text_may_be_parted_and_stay_what_they_are(word):
    escaped = latex.escape_names(f"at {word}, in float32")
    assert escaped.startswith("at ")
    assert escaped.endswith(", in float32")
    assert escaped.replace(r"\allowbreak{}", "").replace("{}", "").replace(r"\_", "_") == f"at {word}, in float32"
    parts = escaped.split()[1].split(r"\allowbreak{}")
    assert max(map(len, parts)) <= 12
    assert latex.escape_names("over-represented") == "over-represented"


@pytest.mark.parametrize("text", ["--", "---", "a -- b", "''", ",,"])
def test_equal_signs_beside_each_other_make_no_other_sign(text):
    escaped = latex.escape(text)
    assert not any(two in escaped for two in ("--", "''", ",,"))
    assert escaped.replace("{}", "") == text


def test_a_text_is_one_line_with_composed_accents():
    assert latex.escape("one\n\ntwo\t three") == "one two three"
    assert latex.escape(unicodedata.normalize("NFD", "Łódź é")) == "Łódź é"


def test_a_table_says_which_letters_pdflatex_lacks(tmp_path):
    first = print_table(tmp_path, "table", ["東京", "Москва", "Łódź"]).read_text().splitlines()[:2]
    assert first[0] == "% needs booktabs, fontenc with T1"
    assert first[1].startswith("% pdfLaTeX lacks М а в к о с 京 東: use LuaLaTeX")
    assert print_table(tmp_path, "table", ["− ² ρ × plain"]).read_text().startswith("% needs booktabs\n\\begin{table}")


def test_columns_of_numbers_are_never_broken_and_words_only_between_words():
    shown = pd.DataFrame({"name": ["one two three " * 9], "r2": ["−.25 [−.50, 1.00]"]})
    layout = latex.Layout(shown, {"r2"})
    name, r2 = layout.formats()
    assert "raggedright" in name
    assert r2 == "r"
    assert layout.lines() > 1
    long = latex.Layout(pd.DataFrame({"name": ["x" * 60], "r2": ["1"]}), {"r2"})
    assert long.formats() == ["l", "r"]


def test_a_table_that_fits_is_neither_small_nor_turned():
    layout = latex.Layout(pd.DataFrame({"name": ["a model"], "R²": [".25"]}), {"R²"})
    assert (layout.size[0], layout.turned) == ("normalsize", False)
