"""The report as a person has it: opened offline in Chromium, clicked through, at a desktop's and a phone's width."""

import json

import pytest

from tests.browser import DESKTOP, PHONE, browser, needs_chromium

pytestmark = [pytest.mark.workflow, needs_chromium]

MARKUP = "<img src=x onerror=alert(1)> *b* `a <javascript:alert(1)>`_ |x| [1]_ :raw:`y` \\x A_ 1."
LOADED = "typeof results == 'object' && document.querySelector('#app').innerText.length > 50"
FOLLOW = "[...document.querySelectorAll('#app a')].find(found => found.innerText.trim() == {}).click()"


@pytest.fixture(scope="module")
def report(tiny_run):
    """A report of the tiny run in which a model's label is full of markup."""
    registry = tiny_run.folder / "config/models.tsv"
    original = registry.read_text()
    registry.write_text(original.replace("\tRandom weights\t", f"\t{MARKUP}\t"))
    path = tiny_run.folder / "results/report_of_markup.html"
    style = tiny_run.folder / "workflow/report/style.css"
    try:
        tiny_run.snakemake("--report", path, "--report-stylesheet", style)
    finally:
        registry.write_text(original)
    yield path
    path.unlink()


@pytest.fixture(scope="module")
def page(report, tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as opened:
        yield opened


@pytest.mark.parametrize(("size", "phone"), [(DESKTOP, False), (PHONE, True)], ids=["desktop", "phone"])
def test_every_category_shows_its_figures_and_captions(page, report, tmp_path, size, phone):
    page.open(report, size, phone)
    page.wait_for(LOADED)
    categories = json.loads(page.evaluate("JSON.stringify(categories)"))
    assert {"0 Images", "1 Models", "2 Clusters", "3 Maps", "4 Tables", "Methods"} <= set(categories)
    for category in categories:
        page.open(report, size, phone)
        page.wait_for(LOADED)
        page.evaluate(FOLLOW.format(json.dumps(category)))
        page.wait_for("document.querySelectorAll('nav table tr').length > 1")
        if category != "4 Tables":  # these are downloads
            page.evaluate("document.querySelector('nav [iconname=eye]').click()")
            shown = "document.querySelector('#app div.grow img, #app iframe')"
            page.wait_for(f"{shown} && ({shown}.tagName == 'IFRAME' || {shown}.naturalWidth > 50)")
            # wide enough to be read, and not beyond the window
            width, right = page.evaluate(f"(b => [b.width, b.right])({shown}.getBoundingClientRect())")
            assert width > 0.5 * min(size[0], 500), category
            assert right <= size[0] + 1, category
        page.evaluate("document.querySelector('nav [iconname=information-circle]').click()")
        page.wait_for(
            "document.querySelector('nav .prose') && document.querySelector('nav .prose').innerText.length > 40"
        )
        page.screenshot(tmp_path / f"{category}.png")
    assert page.problems == []
    assert page.requests == []


def test_the_start_page_has_its_text_above_its_graph_on_a_phone(page, report):
    page.open(report, PHONE, phone=True)
    page.wait_for(LOADED)
    text, graph = (
        page.evaluate(
            f"(b => [b.left, b.right, b.top, b.bottom])(document.querySelector('{where}').getBoundingClientRect())"
        )
        for where in ("#app .prose", "#rulegraph")
    )
    assert text[1] - text[0] > 0.85 * PHONE[0]
    assert text[3] <= graph[2]
    assert max(text[1], graph[1]) <= PHONE[0]


def test_every_figure_has_a_caption_and_labels(page, report):
    page.open(report)
    page.wait_for(LOADED)
    results = json.loads(page.evaluate("JSON.stringify(results)"))
    assert len(results) > 10
    for path, result in results.items():
        assert len(result["caption"]) > 60, path
        assert "system-message" not in result["caption"], path
        assert "{{" not in result["caption"], path
        if path.endswith(".png"):
            assert {"figure", "data set"} <= set(result["labels"]), path


def test_markup_in_a_label_stays_text(page, report):
    page.open(report)
    page.wait_for(LOADED)
    caption = page.evaluate("results['results/figures/bluemarble/ridge/map/random-seed1.png'].caption")
    page.evaluate(
        f"document.body.insertAdjacentHTML('beforeend', '<div id=tried></div>'); tried.innerHTML = {json.dumps(caption)}"
    )
    assert page.evaluate("tried.innerText").strip().startswith(f"{MARKUP}: where")
    assert page.evaluate("tried.querySelectorAll('img, a, em, script').length") == 0
    assert page.problems == []
