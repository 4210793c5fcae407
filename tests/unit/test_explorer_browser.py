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
    page.problems.clear()
    page.requests.clear()
    page.open(path, **options)
    page.wait_for(DRAWN, timeout=30)
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
    assert page.evaluate("element('map').data[2].x.length") >= 2
    # by the keyboard: the slider goes through all of them
    page.evaluate("element('step').focus()")
    page.press("ArrowLeft")  # the largest error is at the right end
    assert page.wait_for(f"element('point').textContent !== {json.dumps(words)}")
    seen = page.evaluate(
        "state.shown.map((p, i) => (showPoint(i), document.querySelectorAll('#point img').length)).join('')"
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


def test_200_000_images_are_drawn_by_cell_and_then_at_random(page, tmp_path, capsys):
    (tmp_path / "page.html").write_text(
        assemble(prepare(*Files(tmp_path, n=200_000, pictures=False).arguments(most=0)))
    )
    opened(page, tmp_path / "page.html")
    cells = page.evaluate("document.body.dataset.ms")
    assert page.evaluate("element('map').data[1].x.length") <= 45 * 90
    assert "200,000 images" in page.evaluate("element('map-words').textContent")
    took = page.evaluate(
        "(async () => { const start = performance.now(); element('drawn').value = 'points'; await drawMap();"
        "return performance.now() - start })()"
    )
    assert 19_990 <= page.evaluate("element('map').data[1].x.length") <= 20_000
    assert "drawn at random of 200,000" in page.evaluate("element('map-words').textContent")
    assert_quiet(page)
    with capsys.disabled():
        print(f"\n200,000 images: by cell {cells} ms, 20,000 of them {took:.0f} ms")
