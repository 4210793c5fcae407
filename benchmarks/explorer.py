"""The explorer's page of 200,000 made-up images in headless Chromium: its size, and how long a person waits.

    PYTHONPATH=. python benchmarks/explorer.py [--images 200000] [--points 20000 200000]

For each limit of images on a map (`explorer.points`): seconds to make the page, its megabytes, seconds until it has
loaded and drawn, and milliseconds for another cell of the table, for all points in place of cells, and from a move of
the mouse to the words about the image under it. Chromium draws without a graphics card here.
"""

import argparse
import tempfile
import time
from pathlib import Path

import pandas as pd

from geoprobe.explorer.data import prepare
from geoprobe.explorer.page import assemble, assets_size
from tests.browser import browser
from tests.explorer_files import Files

WHERE = """(() => { const plot = element('map'), box = plot.getBoundingClientRect(), size = plot._fullLayout;
  plot.scrollIntoView(); const at = (axis, value) => size[axis]._offset + size[axis].d2p(value);
  return state.shown.slice(-40).map((p) => [box.x + at('xaxis', p.aLon), box.y + at('yaxis', p.aLat)]) })()"""


def milliseconds(page, script):
    """How long an expression, or what it promises, takes in the page."""
    timed = f"const start = performance.now(); await {script}; return performance.now() - start"
    return page.evaluate(f"(async () => {{ {timed} }})()")


def hover(page):
    """Median milliseconds from a move of the mouse onto a point to the words about it, over some points."""
    page.evaluate("element('map').scrollIntoView()")
    took = []
    for x, y in page.evaluate(WHERE)[::4]:
        page.evaluate("element('point').replaceChildren()")
        page.hover(x - 60, y)
        start = time.monotonic()
        page.hover(x, y)
        page.wait_for("element('point').textContent")
        took.append(1000 * (time.monotonic() - start))
    return sorted(took)[len(took) // 2]


def measure(page, folder, images, points):
    """One row of the table."""
    files = Files(folder, n=images, pictures=False)
    start = time.monotonic()
    text = assemble(prepare(*files.arguments(most=0, points=points), assets_size()))
    (folder / "page.html").write_text(text, encoding="utf-8")
    row = {"points": points, "page_s": time.monotonic() - start, "mb": len(text.encode()) / 1e6}
    start = time.monotonic()
    page.open(folder / "page.html")
    page.wait_for("document.body.dataset.drawn", timeout=120)
    row["load_s"] = time.monotonic() - start
    page.evaluate("delete document.body.dataset.drawn; choose(1, 'all')")
    row["choose_ms"] = page.wait_for("document.body.dataset.drawn && +document.body.dataset.ms", timeout=60)
    row["points_ms"] = milliseconds(page, "(element('drawn').value = 'points', drawMap())")
    row["drawn"] = page.evaluate("element('map').data[1].x.length")
    return row | {"hover_ms": hover(page)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=200_000)
    parser.add_argument("--points", type=int, nargs="+", default=[20_000, 200_000])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, browser(Path(folder) / "profile") as page:
        rows = []
        for points in options.points:
            own = Path(folder) / str(points)
            own.mkdir()
            rows.append(measure(page, own, options.images, points))
    print(pd.DataFrame(rows).round(1).to_markdown(index=False))


if __name__ == "__main__":
    main()
