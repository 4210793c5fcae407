"""Names that are markup stay text: in the captions of the report, in figures, tables and the pages that are opened."""

import html.parser
import re
import types
import xml.etree.ElementTree as ET

import jinja2
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from docutils.core import publish_parts
from markdown_it import MarkdownIt
from test_figures import LABELS, NAMES, ranking, squares, summary

from geoprobe.figures import contact_sheet, heatmap, layers, localizability
from geoprobe.figures.style import figure, save_figure
from geoprobe.methods.page import as_html
from geoprobe.tables import View, write_formats

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"quoted\" & 'single' &lt;b&gt; &amp;",
    "]]> --> <!-- <![CDATA[",
    r"a $x$ b $\input{d}$ c",
    "*b* `a <javascript:alert(1)>`_ |x| [1]_ :raw:`y` \\x A_ 1.",
    ".. raw:: html",
]


class Tags(html.parser.HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


# captions of the report

CAPTIONS = sorted((ROOT / "workflow/report").glob("*.rst"))
NAMING = [path for path in CAPTIONS if re.search(r"params\.(label|title)", path.read_text(encoding="utf-8"))]


class Other(jinja2.ChainableUndefined):
    """What a caption says besides: a plain word, or a number."""

    def __str__(self):
        return "other"

    def __rmul__(self, number):
        return number


def test_captions_that_name_models_are_known():
    assert {path.stem for path in NAMING} == {"correlation", "directions", "map", "steering", "transfer"}


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("path", NAMING, ids=lambda path: path.stem)
def test_a_name_in_a_caption_stays_text(path, text):
    """As Snakemake makes a caption: through Jinja, then as reStructuredText."""
    params = {"label": text, "title": text, "shown": {"scaled": "scaled", "share": 0.5}}
    job = types.SimpleNamespace(params=params, wildcards={"dataset": "photos", "probe": "ridge"}, config=Other())
    rendered = jinja2.Environment(undefined=Other).from_string(path.read_text(encoding="utf-8")).render(snakemake=job)
    page = Tags(publish_parts(rendered, writer="html")["body"])
    assert " ".join(page.text.split()).startswith(f"{text}:")
    assert set(page.tags) <= {"p"}


# figures


def texts_of(path):
    """Texts of an SVG file, and the names of its elements."""
    root = ET.parse(path).getroot()
    names = {element.tag.rpartition("}")[2] for element in root.iter()}
    return {"".join(element.itertext()).strip() for element in root.iter("{http://www.w3.org/2000/svg}text")}, names


@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_in_a_figure_stays_text(tmp_path, text):
    drawn, axes = figure(4, 3)
    axes.plot([0, 1], [1, 0], label=text)
    axes.set_xticks([0, 1], [text, "b"])
    axes.set_title(text)
    axes.legend()
    save_figure(drawn, [tmp_path / "figure.svg"], 60)
    found, elements = texts_of(tmp_path / "figure.svg")
    assert text in found
    assert not elements & {"script", "img", "image", "foreignObject", "a", "b"}


@pytest.mark.parametrize("text", HOSTILE[:5:4])
@pytest.mark.parametrize("name", ["heatmap", "layers", "localizability", "contact sheet"])
def test_figures_draw_names_of_clusters_and_models_as_they_are(tmp_path, name, text):
    label = next(iter(LABELS.values()))[0]
    names = NAMES | {"3": text}
    if name == "heatmap":
        families = summary(cvs=("blocked",), controls=("none",), clusters=("all", *NAMES))
        drawn = heatmap.draw(families.replace({"label": {label: text}}), names)
    elif name == "layers":
        drawn = layers.draw(summary(layers=(0, 1, 2, 3)).replace({"label": {label: text}}))
    elif name == "localizability":
        samples = {int(number): squares(4) for number in NAMES}
        drawn = localizability.draw(ranking().replace({"name": {NAMES["3"]: text}}), samples)
    else:
        drawn = contact_sheet.draw([(text, squares(9))])
    save_figure(drawn, [tmp_path / "figure.svg"], 60)
    found, elements = texts_of(tmp_path / "figure.svg")
    assert "".join(text.split()) in "".join("".join(found).split())
    assert not elements & {"script", "img", "foreignObject", "a", "b"}


# tables and methods


@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_in_a_table_is_passed_on_as_no_tag(tmp_path, text):
    frame = pd.DataFrame({"name": [text, "other"], "p": [0.0001, np.nan], "reason": ["", text]})
    paths = [tmp_path / f"table.{kind}" for kind in ("csv", "tex", "md")]
    write_formats(frame, View(f"Of {text}.", {"name": "name", "p": "p"}, {"p": "p"}), *paths)
    page = Tags(MarkdownIt("commonmark").enable("table").render(paths[2].read_text(encoding="utf-8")))
    assert set(page.tags) <= {"p", "table", "thead", "tbody", "tr", "th", "td", "em", "strong", "code"}
    assert "< .001" in page.text
    assert pd.read_csv(paths[0])["name"].tolist() == [text, "other"]
    for word in re.findall(r"<[^>]+>|&\w+;", text):
        assert page.text.count(word) >= 3, word


@pytest.mark.parametrize("text", HOSTILE)
def test_a_name_in_the_methods_stays_text(text):
    page = Tags(as_html({"Images": f"Of {text}."}))
    assert f"Of {text}." in page.text
    assert set(page.tags) <= {"html", "head", "meta", "title", "style", "body", "h1", "p", "b"}
