"""The explorer in headless Chromium: it draws, follows mouse and keyboard, asks for nothing, runs no stray script."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from browser import browser, needs_chromium
from explorer_files import HOSTILE, NAMED, Files

from geoprobe.explorer.data import prepare
from geoprobe.explorer.page import assemble

pytestmark = needs_chromium
DRAWN = "document.body.dataset.drawn"
CURVE = "JSON.stringify(element('curve').data.map((trace) => trace.y))"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explorer")
    (folder / "page.html").write_text(assemble(prepare(*Files(folder).arguments())))
    return folder


@pytest.fixture(scope="module")
def page(folder):
    with browser(folder / "profile") as page:
        yield page


def opened(page, path, **options):
    """The page as it is at first; what is open is set back, as reading Plotly anew takes seconds."""
    page.problems.clear()
    page.requests.clear()
    if (page.file, options) == (path.resolve().as_uri(), {}):
        page.evaluate(
            "delete document.body.dataset.drawn; element('choose-metric').value = 'r2';"
            "Object.assign(state, { metric: 'r2', row: 0, cluster: 'all' }); setView(data.views[0], 'dataset')"
        )
    else:
        page.open(path, **options)
    page.wait_for(f"{DRAWN} === '0/all'", timeout=30)
    return page


def assert_quiet(page):
    assert page.problems == []
    assert page.requests == []


def test_a_click_and_enter_change_curve_and_map(page, folder):
    opened(page, folder / "page.html")
    points = "element('map').data[1].x.length"
    assert page.evaluate(DRAWN) == "0/all"
    assert page.evaluate(points) == 59
    assert json.loads(page.evaluate(CURVE))[1] == [0.1, 1.1]
    page.click('[data-row="1"][data-cluster="1"]')
    page.wait_for(f"{DRAWN} === '1/1'")
    assert page.evaluate(points) == 19
    assert page.evaluate("element('chosen').textContent") == "other & co: sea, sand"
    page.press("ArrowLeft")
    page.press("ArrowUp")
    assert page.evaluate("document.activeElement.dataset.cluster + document.activeElement.dataset.row") == "00"
    page.press("Enter")
    page.wait_for(f"{DRAWN} === '0/0'")
    assert page.evaluate("document.querySelector('[aria-pressed=true]').dataset.cluster") == "0"
    assert_quiet(page)


def test_another_metric_changes_cells_and_curve(page, folder):
    opened(page, folder / "page.html")
    page.evaluate(
        "(() => { const s = element('choose-metric'); s.value = 'median_km'; s.dispatchEvent(new Event('change')) })()"
    )
    assert page.evaluate("document.querySelector('#scores button').textContent") == "901"
    assert json.loads(page.evaluate(CURVE)) == [[1000, 999]]
    assert_quiet(page)


def test_hovering_names_the_image_and_leads_to_its_prediction(page, folder):
    opened(page, folder / "page.html")
    page.evaluate("element('map').scrollIntoView()")
    x, y = page.evaluate(
        "(() => { const plot = element('map'), box = plot.getBoundingClientRect(), size = plot._fullLayout;"
        "return [box.x + size.xaxis._offset + size.xaxis.d2p(plot.data[1].x[0]),"
        "box.y + size.yaxis._offset + size.yaxis.d2p(plot.data[1].y[0])] })()"
    )
    page.hover(x - 30, y)
    page.hover(x, y)
    words = page.wait_for("element('point').textContent")
    assert words.startswith("photo <")
    assert page.evaluate("element('map').layout.shapes.map((shape) => shape.type)").count("line") >= 3
    # by the keyboard: the slider goes through all of them
    page.evaluate("element('step').focus()")
    page.press("ArrowLeft")  # the largest error is at the right end
    assert page.wait_for(f"element('point').textContent !== {json.dumps(words)}")
    # the line to each prediction takes long to draw
    seen = page.evaluate(
        "(() => { const { relayout } = Plotly; Plotly.relayout = () => {};"
        "const seen = state.shown.map((p, i) => (showPoint(i), document.querySelectorAll('#point img').length));"
        "Plotly.relayout = relayout; return seen.join('') })()"
    )
    assert 18 <= seen.count("1") <= 20
    assert_quiet(page)


def test_errors_in_the_page_are_great_circles(page, folder):
    from geoprobe.geodesy import great_circle_km

    opened(page, folder / "page.html")
    shown = np.array(page.evaluate("state.shown.map((p) => [p.aLat, p.aLon, p.lat, p.lon, p.km])"))
    np.testing.assert_allclose(shown[:, 4], great_circle_km(shown[:, :2], shown[:, 2:4]), rtol=1e-6)
    assert (np.diff(shown[:, 4]) <= 0).all()


def test_a_name_that_is_markup_stays_text(page, folder):
    opened(page, folder / "page.html")
    page.click('[data-row="0"][data-cluster="0"]')
    page.wait_for(f"{DRAWN} === '0/0'")
    assert page.evaluate("element('chosen').textContent") == f"plain & co: {HOSTILE}"
    assert page.evaluate("document.querySelectorAll('img[src=x], footer b').length") == 0
    assert "A & <b>B</b>" in page.evaluate("element('footer').textContent")
    # names of files and of authors, as text and as the picture's alternative text
    page.evaluate("state.shown.forEach((p, i) => showPoint(i))")
    assert NAMED.format("") in page.evaluate("element('point').textContent")
    assert page.evaluate("document.querySelectorAll('#point img').length") <= 1
    assert page.evaluate("document.querySelectorAll('img[src=x], footer b').length") == 0
    assert_quiet(page)


def test_a_phone_scrolls_no_page_sideways(page, folder):
    opened(page, folder / "page.html", size=(375, 812), phone=True)
    assert page.evaluate("document.documentElement.scrollWidth") <= 375
    assert_quiet(page)


def test_more_images_than_are_drawn_are_shown_by_cell_and_then_at_random(page, tmp_path):
    files = Files(tmp_path, n=2000, pictures=False)
    (tmp_path / "page.html").write_text(assemble(prepare(*files.arguments(most=0, points=600))))
    opened(page, tmp_path / "page.html")
    cells = json.loads(page.evaluate("JSON.stringify(readCells(state.map.cells))"))
    assert page.evaluate("element('map').data[1].x.length") == len(cells)
    assert sum(cell["images"] for cell in cells) == 1999  # one was not tested
    assert "2,000 images" in page.evaluate("element('map-words').textContent")
    page.evaluate("(async () => { element('drawn').value = 'points'; await drawMap() })()")
    assert 599 <= page.evaluate("element('map').data[1].x.length") <= 600
    assert "drawn at random of 2,000" in page.evaluate("element('map-words').textContent")
    assert_quiet(page)


def test_a_page_without_room_for_maps_says_so_and_has_the_rest(page, tmp_path):
    files = Files(tmp_path, n=2000, pictures=False)
    content = prepare(*files.arguments(most=0, page_megabytes=5), 5e6)
    (tmp_path / "page.html").write_text(assemble(content))
    opened(page, tmp_path / "page.html")
    assert "left out to keep the page within 5 MB" in page.evaluate("element('map-words').textContent")
    assert "To keep to its size (5 MB) this page has no maps." in page.evaluate("element('footer').textContent")
    assert json.loads(page.evaluate(CURVE))[1] == [0.1, 1.1]
    assert_quiet(page)


def test_the_values_of_the_curve_are_reached_by_the_keyboard(page, folder):
    opened(page, folder / "page.html")
    page.evaluate("document.querySelector('#curve-details summary').focus()")
    page.press("Enter")
    assert page.wait_for("element('curve-details').open")
    rows = page.evaluate("[...document.querySelectorAll('#curve-values tbody tr')].map((row) => row.innerText)")
    assert rows == ["vision\t0\t0.10 (0.00 to 0.20)", "vision\t1\t1.10 (1.00 to 1.20)"]
    # every control is in the order of the keyboard, and the table is one stop; charts have buttons of their own
    stops = page.evaluate(
        "[...document.querySelectorAll('select, input, summary, button')]"
        ".filter((e) => e.tabIndex >= 0 && e.offsetParent && !e.closest('.modebar')).map((e) => e.id || e.tagName)"
    )
    choices = [f"choose-{name}" for name in ("dataset", "probe", "prompt", "cv", "metric")]
    assert stops == [*choices, "BUTTON", "SUMMARY", "step"]
    assert_quiet(page)
