"""Tables in three formats: full precision in CSV, escaped LaTeX, Markdown whose rows stay rows."""

import csv
import re

import numpy as np
import pandas as pd
import pytest

from geoprobe.tables import View, write_formats

CAPTION = "R² of 95 % of models_and_clusters."


@pytest.fixture
def frame():
    random = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "label": ["Image-text, places", "a_b & 5% #1 $x", "dark | light"],
            "median_km": random.lognormal(5, 3, 3),
            "r2": [0.5, np.nan, -1 / 3],
            "images": [7000, 12, 3],
            "marked": [True, False, True],
        }
    )


@pytest.fixture
def write(tmp_path):
    """Write a frame; the three files as text."""

    def writer(frame, digits=3):
        paths = [tmp_path / f"table.{kind}" for kind in ("csv", "tex", "md")]
        view = View(CAPTION, {name: name for name in frame}, dict.fromkeys(frame.select_dtypes("float"), digits))
        write_formats(frame, view, *paths)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["table.csv", "table.md", "table.tex"]
        return paths

    return writer


def tex_rows(text):
    """Cells of the rows between the rules, parted where LaTeX parts them."""
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    return [re.split(r"(?<!\\)&", row) for row in body.split(r"\\") if row.strip()]


def md_rows(text):
    """Cells of a Markdown table with header, parted at pipes that are not escaped."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]


def test_csv_holds_every_digit(frame, write):
    with open(write(frame)[0], newline="", encoding="utf-8") as file:
        header, *rows = csv.reader(file)
    assert header == list(frame)
    for row, expected in zip(rows, frame.itertuples(index=False), strict=True):
        assert row[0] == expected.label
        assert float(row[1]) == expected.median_km
        np.testing.assert_array_equal(float(row[2] or "nan"), expected.r2)  # equal also where both are no number
        assert row[3:] == [str(expected.images), str(expected.marked)]


def test_latex_is_one_balanced_table_with_as_many_cells_as_columns(frame, write):
    text = write(frame)[1].read_text()
    for name in ("table", "tabular"):
        assert text.count(rf"\begin{{{name}}}") == text.count(rf"\end{{{name}}}") == 1
    assert [text.count(rule) for rule in (r"\toprule", r"\midrule", r"\bottomrule")] == [1, 1, 1]
    assert text.count("{") == text.count("}")
    assert len(re.findall(r"(?<!\\)\$", text)) % 2 == 0
    rows = tex_rows(text)
    assert len(rows) == len(frame)
    assert {len(row) for row in rows} == {len(frame.columns)}
    assert "²" not in text


def test_latex_aligns_numbers_right_and_words_left(frame, write):
    assert r"\begin{tabular}{@{}lrrrl@{}}" in write(frame)[1].read_text()


@pytest.mark.parametrize("letter", list(r"_%&#$") + list("{}~^\\"))
def test_a_letter_that_latex_would_read_as_a_command_is_escaped(write, letter):
    frame = pd.DataFrame({f"co{letter}lumn": [f"one{letter}two"], "other": ["x"]})
    text = write(frame)[1].read_text()
    header = text.split(r"\toprule")[1].split(r"\midrule")[0]
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    for part, end in ((header, " & other"), (body, " & x")):
        cell = part.strip().removesuffix(r"\\").strip().removesuffix(end)
        # what may stand for a special letter
        plain = re.sub(r"\\[&%$#_{}]|\\[~^]\{\}|\\text[a-z]+(\{\}|\s)?", "", cell)
        assert not set(plain) & set(r"_%&#${}~^\\"), cell


def test_signs_that_latex_fonts_lack_are_written_as_mathematics(write):
    text = write(pd.DataFrame({"R²": ["a − b"]}))[1].read_text()
    assert "R$^2$" in text
    assert "a $-$ b" in text
    assert r"\caption{R$^2$ of 95 \% of models\_and\_clusters.}" in text


@pytest.mark.parametrize("digits", [1, 3])
def test_numbers_are_rounded_to_the_digits_that_are_asked_for(frame, write, digits):
    _, tex, md = write(frame, digits=digits)
    for rows in (tex_rows(tex.read_text()), md_rows(md.read_text())[2:]):
        cells = [[cell.strip() for cell in row] for row in rows]
        assert [row[1] for row in cells] == [f"{value:,.{digits}f}" for value in frame["median_km"]]
        minus = "$-$" if rows == tex_rows(tex.read_text()) else "−"
        assert [row[2] for row in cells] == [f".{5 * 10 ** (digits - 1)}", "–", f"{minus}.{'3' * digits}"]
        assert [row[3] for row in cells] == ["7,000", "12", "3"]


def test_markdown_has_the_caption_a_header_and_one_line_a_row(frame, write):
    text = write(frame)[2].read_text()
    assert text.startswith(f"{CAPTION}\n\n|")
    rows = md_rows(text)
    assert rows[0] == list(frame)
    assert all(re.fullmatch(r":?-+:?", cell) for cell in rows[1])
    assert len(rows) == 2 + len(frame)


def test_a_pipe_in_a_cell_does_not_part_it(frame, write):
    rows = md_rows(write(frame)[2].read_text())
    assert {len(row) for row in rows} == {len(frame.columns)}
    assert rows[-1][0].replace("\\|", "|") == "dark | light"


def test_words_that_look_like_numbers_stay_as_they_are(write):
    rows = md_rows(write(pd.DataFrame({"id": ["007", "1e3", "0x1f"], "n": [1, 2, 3]}))[2].read_text())
    assert [row[0] for row in rows[2:]] == ["007", "1e3", "0x1f"]


def test_the_frame_is_not_changed(frame, write):
    before = frame.copy()
    write(frame)
    pd.testing.assert_frame_equal(frame, before)
