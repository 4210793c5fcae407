"""Source `commons_photos`: the first photos of categories of Wikimedia Commons, for a table of landmarks.

The answers of the API are kept in a journal, one category a line: a job that is killed loses the category under way,
and a category is asked for once. One that holds only other categories, or was renamed, has no photo here.
"""

import asyncio
import collections
import hashlib
import html
import json
import os
import re
from pathlib import Path

import pandas as pd
from tqdm import tqdm

from geoprobe.images import sources, table
from geoprobe.images.commons import _ask, understood
from geoprobe.images.http import Client, as_text
from geoprobe.runtime import timestamp

NETWORK = True
COLUMNS = ("name", "latitude", "longitude", "category", "country")
JOURNAL = "photos.jsonl"
PER_CATEGORY = 5
WIDTH = 1280  # one of the widths that Wikimedia keeps ready
TYPES = ("image/jpeg", "image/png")
FILES = 50  # of one answer: the API's limit where it has to read the description of each
ANSWERS = 10  # asked for at most of one category
TAG = re.compile(r"<[^>]*>")


def check(options):
    """Refuse a table that is absent, lacks a column or a value, or lists a landmark twice; and an odd address.

    Raises:
        ValueError: names what is wrong.
    """
    path = Path(options["path"])
    if not path.is_file():
        raise ValueError(f'path is "{path}", and there is no such file. Give a CSV or Parquet table of landmarks.')
    columns = table.column_names(path)
    missing = [name for name in COLUMNS if name not in columns]
    if missing:
        raise ValueError(
            f'path is "{path}", whose columns are {", ".join(columns)}: no column {" and no column ".join(missing)}. '
            "Rename or add it."
        )
    rows = _rows(path)
    if rows.empty:
        raise ValueError(f'path is "{path}", which lists no landmark; add a row for each.')
    for name in ("name", "category"):
        if (rows[name] == "").any():
            number = int((rows[name] == "").to_numpy().argmax()) + 1
            raise ValueError(f'path is "{path}", whose row {number} has no {name}; every landmark needs one.')
        if rows[name].duplicated().any():
            twice = rows.loc[rows[name].duplicated(), name].iloc[0]
            raise ValueError(f'path is "{path}", in which the {name} "{twice}" is given twice; remove one.')
    if not options["commons_api"].startswith(("http://", "https://")):
        raise ValueError(
            f'commons_api is "{options["commons_api"]}"; give an address that begins with http:// or https://.'
        )


def _rows(path):
    """The table as a frame of text."""
    frames = list(table.read_text(path, COLUMNS))
    rows = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=COLUMNS, dtype="str")
    return rows.apply(lambda column: column.str.strip())


def _asked(options):
    """What the answers depend on beside the category."""
    return {"photos": options.get("per_category", PER_CATEGORY), "width": options.get("width", WIDTH)}


def fetch_metadata(options, folder, network):
    """Ask for the photos of each category that was not asked for in this way before.

    Raises:
        FetchError: the API gave no usable answer; what was answered before is kept.
    """
    journal = Path(folder) / JOURNAL
    journal.parent.mkdir(parents=True, exist_ok=True)
    known = _read_journal(journal, options)
    categories = [name for name in _rows(options["path"])["category"] if name not in known]
    with open(journal, "a", encoding="utf-8") as file:
        if categories:
            asyncio.run(_fetch(categories, file, options, network))
    digest = hashlib.sha256(journal.read_bytes()).hexdigest()
    size = journal.stat().st_size
    return [{"file": journal.name, "url": options["commons_api"], "bytes": size, "sha256": digest}]


def _read_journal(path, options):
    """Photos by category, as they were asked for with these options; a line that a kill cut short is cut off."""
    if not path.exists():
        return {}
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    lines = [json.loads(line) for line in whole.split(b"\n") if line]
    return {line["category"]: line["files"] for line in lines if line["asked"] == _asked(options)}


async def _fetch(categories, journal, options, network):
    """Ask for one category after another, and write each to the journal."""
    asked = _asked(options)
    async with Client(network) as client:
        for category in tqdm(categories, unit="category", desc="photos", mininterval=5):
            files = await _photos(client, category, options["commons_api"], **asked)
            line = {"category": category, "asked": asked, "files": files, "fetched_at": timestamp()}
            journal.write(f"{json.dumps(line)}\n")
            journal.flush()
            os.fsync(journal.fileno())


async def _photos(client, category, api, photos, width):
    """The first JPEG or PNG files of a category, in the order of the answers: at most so many dicts."""
    question = {
        "action": "query",
        "generator": "categorymembers",
        "gcmtitle": f"Category:{category}",
        "gcmtype": "file",
        "gcmlimit": FILES,
        "prop": "imageinfo",
        "iiprop": "url|mime|size|extmetadata",
        "iiextmetadatafilter": "LicenseShortName|LicenseUrl|Artist",
        "iiextmetadatalanguage": "en",
    }
    if width is not None:
        question["iiurlwidth"] = width
    pages, more = {}, {}
    with understood(api):
        for _ in range(ANSWERS):
            answer = await _ask(client, api, question | more)
            for page in answer.get("query", {}).get("pages", []):
                # a page is listed in each part of a batch, and has its information in one of them
                pages[page["pageid"]] = pages.get(page["pageid"], {}) | page
            found = [page for page in pages.values() if _is_photo(page)]
            more = answer.get("continue")
            if not more or (answer.get("batchcomplete") and len(found) >= photos):
                break
        return [_entry(page) for page in found[:photos]]


def _is_photo(page):
    return any(info.get("mime") in TYPES for info in page.get("imageinfo", []))


def _entry(page):
    """What is kept of a file: id (of its page), title, urls (the scaled copy first), licence and author."""
    info = page["imageinfo"][0]
    said = {name: str(entry.get("value", "")) for name, entry in (info.get("extmetadata") or {}).items()}
    urls = [info[name].encode("utf-8", "replace").decode() for name in ("thumburl", "url") if info.get(name)]
    licence = " ".join(filter(None, [said.get("LicenseShortName", ""), said.get("LicenseUrl", "")]))
    author = " ".join(html.unescape(TAG.sub(" ", said.get("Artist", ""))).split())
    return {
        "id": as_text(f"M{page['pageid']}"),
        "title": as_text(page["title"]),
        "urls": list(dict.fromkeys(urls)),
        "licence": as_text(licence),
        "author": as_text(author),
    }


def list_images(options, folder):
    """Yield the photos, in the order of the table and of the answers.

    A photo's id is its page's entity on Commons (https://commons.wikimedia.org/entity/M123), its group the landmark's
    name, its position the landmark's. A landmark without any photo is a row with that for its reason.

    Raises:
        ValueError: a category of the table was not asked for.
    """
    found = _read_journal(Path(folder) / JOURNAL, options)
    rows = []
    for landmark in _rows(options["path"]).to_dict("records"):
        if landmark["category"] not in found:
            raise ValueError(
                f'{options["path"]}: the photos of "{landmark["category"]}" were not asked for, as the table was '
                f"another then; remove {Path(folder) / 'metadata.json'} and run again."
            )
        files = found[landmark["category"]]
        empty = {"id": landmark["name"], "urls": [], "licence": "", "author": "", "reason": "no photo in the category"}
        for file in files or [empty]:
            kept = {name: file.get(name, "") for name in ("id", "urls", "licence", "author", "reason")}
            place = {name: landmark[name] for name in ("latitude", "longitude", "country")}
            rows.append(kept | place | {"group": landmark["name"], "caption:title": landmark["name"]})
    frame = pd.DataFrame(rows)
    for name in ("latitude", "longitude"):
        frame[name] = table.to_degrees(frame[name])
    for start in range(0, len(frame), sources.CHUNK):
        yield frame.iloc[start : start + sources.CHUNK].reset_index(drop=True)


def describe(options, folder):
    """Licences, whose coordinates these are, and what was asked for."""
    found = _read_journal(Path(folder) / JOURNAL, options)
    licences = collections.Counter(file["licence"].partition(" http")[0] for files in found.values() for file in files)
    listed = ", ".join(f"{name or 'not stated'} ({count})" for name, count in licences.most_common())
    asked = _asked(options)
    return {
        "licence": f"as stated for each image: {listed}",
        "attribution": "Wikimedia Commons; authors in the plan, each page at https://commons.wikimedia.org/entity/<id>",
        "source_version": f"{options['path']}, {asked['photos']} photos a category, width {asked['width']}",
        "coordinates": "of the landmark, not of the camera",
    }
