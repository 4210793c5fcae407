"""Every table and the methods of the tiny run, set by a real LaTeX: nothing runs off the page."""

import pytest

from tests.latex import needs_latex, typeset

pytestmark = [pytest.mark.workflow, needs_latex]


def test_latex_sets_the_tables_and_the_methods_of_a_run_within_their_pages(tiny_run, tmp_path):
    results = tiny_run.folder / "results"
    tables = sorted((results / "tables").glob("*.tex"))
    assert len(tables) >= 11
    complaints, text = typeset([*tables, results / "methods.tex"], tmp_path)
    assert complaints == []
    assert "Image-text, places" in text
    # each row that is printed is a row of the table
    scores = (results / "tables/scores.tex").read_text().count("Image-text, places & vision-language")
    assert text.count("Image-text, places") > scores > 5
