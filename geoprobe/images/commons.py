"""Coordinates of categories of Wikimedia Commons, asked of its API, else of the item that Wikidata has for them.

The answers are kept in a table, so that no title is asked for twice and the table can be shared. Between two batches
they lie in a journal beside it (one JSON object a line): a job that is killed loses the batch under way.

A category that was renamed is found by its redirect page. One whose page only holds the template "Category redirect"
is a page without coordinates to the API, and is missing here too.
"""

import asyncio
import contextlib
import gzip
import json
import os
import time
import zlib
from itertools import chain
from pathlib import Path
from urllib.parse import quote, unquote, urlencode

import pandas as pd
from tqdm import tqdm

from geoprobe.images.fetch import FetchError
from geoprobe.images.http import Client, RequestFailed, as_text, retry_after_s, try_again
from geoprobe.runtime import timestamp, write_table

COLUMNS = ["landmark_id", "category", "title", "latitude", "longitude", "source", "fetched_at"]
TITLES = 50  # the API's limit for clients without rights of their own
TITLE_BYTES = 6000  # of one request, percent-encoded: servers refuse addresses of more than about 8,000
PARTS = 50  # in which an answer may come
MAXLAG_S = 5  # as the etiquette of the API asks of clients that nobody waits for
LAG_PATIENCE_S = 3600
LAGGED = "api error maxlag"
PASSING = ("maxlag", "ratelimited", "readonly", "internal_api_error")
LOCATION, MAIN_TOPIC = "P625", "P301"  # properties of Wikidata
EARTH = "Q2"


def resolve_coordinates(categories, path, network, api, wikidata_api, retry_missing_days=None):
    """Coordinates of landmarks, by the titles of their categories.

    A page's coordinates on the Earth are taken, the primary ones first; else those of its item in Wikidata (P625),
    and where the item stands for the category and not for the place, those of its main topic (P301).

    Args:
        categories: frame of landmark_id and category (a title, such as "Category:Foo bar").
        path: Parquet table of the answers, made or completed: landmark_id, category, title (where redirects led),
            latitude, longitude (degrees, NaN where missing), source ("commons", "wikidata" or "missing"),
            fetched_at (UTC). Rows of other landmarks stay in it.
        network: options of the network, see :data:`geoprobe.images.http.NETWORK`.
        api, wikidata_api: addresses of the two APIs.
        retry_missing_days: ask again for what was missing so many days ago or longer; None for never.

    Returns:
        The table as a frame.

    Raises:
        FetchError: an API gave no usable answer; what was answered before is kept.
    """
    path = Path(path)
    journal = path.with_suffix(".jsonl")
    kept = _read_table(path)
    found = _merge(kept, _read_journal(journal))
    batches = _batches(_open_titles(categories, found, retry_missing_days))
    if batches:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(journal, "a", encoding="utf-8") as file:
            asyncio.run(_resolve(batches, file, network, api, wikidata_api))
        found = _merge(kept, _read_journal(journal))
    if journal.exists() or not path.exists():
        write_table(found, path)
        journal.unlink(missing_ok=True)
    return found


def _read_table(path):
    return pd.read_parquet(path) if path.exists() else pd.DataFrame(columns=COLUMNS)


def _read_journal(path):
    """Rows of the journal; a line that a kill cut short is cut off."""
    if not path.exists():
        return pd.DataFrame(columns=COLUMNS)
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if len(whole) < len(data):
        os.truncate(path, len(whole))
    return pd.DataFrame([json.loads(line) for line in whole.splitlines()], columns=COLUMNS)


def _merge(kept, new):
    """One row a landmark, the newest, sorted."""
    frame = pd.concat([part for part in (kept, new) if len(part)] or [kept])
    frame = frame.drop_duplicates("landmark_id", keep="last").sort_values("landmark_id", ignore_index=True)
    numbers = {"landmark_id": "int64", "latitude": "float64", "longitude": "float64"}
    return frame.astype(numbers | dict.fromkeys(["category", "title", "source", "fetched_at"], "str"))


def _open_titles(categories, found, retry_missing_days):
    """Landmarks by title that have no answer yet, or one that is too old."""
    settled = found
    if retry_missing_days is not None:
        age = pd.Timestamp.now("UTC") - pd.to_datetime(found["fetched_at"], utc=True)
        settled = found[(found["source"] != "missing") | (age < pd.Timedelta(days=retry_missing_days))]
    keys = ["landmark_id", "category"]
    known = set(settled[keys].itertuples(index=False, name=None))
    landmarks = {}
    for landmark, title in categories[keys].itertuples(index=False, name=None):
        if (landmark, title) not in known:
            landmarks.setdefault(title, []).append(int(landmark))
    return landmarks


def _batches(landmarks):
    """The landmarks by title in lots that fit into one request."""
    batches, used = [], 0
    for title, ids in landmarks.items():
        length = len(quote(title, safe="")) + 3
        if not batches or len(batches[-1]) == TITLES or used + length > TITLE_BYTES:
            batches.append({})
            used = 0
        batches[-1][title] = ids
        used += length
    return batches


async def _resolve(batches, journal, network, api, wikidata_api):
    """Ask for one batch after another, and write each to the journal."""
    bar = {"unit": "category", "desc": "coordinates", "mininterval": 5}
    async with Client(network) as client:
        with tqdm(total=sum(map(len, batches)), **bar) as progress:
            for batch in batches:
                places = await _places(client, list(batch), api, wikidata_api)
                for title, landmarks in batch.items():
                    for landmark in landmarks:
                        row = {"landmark_id": landmark, "category": title, **places[title], "fetched_at": timestamp()}
                        journal.write(json.dumps(row) + "\n")
                journal.flush()
                os.fsync(journal.fileno())
                progress.update(len(batch))


@contextlib.contextmanager
def understood(api):
    """An answer that is laid out otherwise than an API's documentation says is a FetchError."""
    try:
        yield
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        advice = "See whether it is the address of the API; if it is, run again later."
        raise FetchError(api, "not understood", f"{type(error).__name__}: {error}", advice=advice) from error


async def _places(client, titles, api, wikidata_api):
    """For each title a dict: title, latitude, longitude, source."""
    places, items = {}, {}
    with understood(api):
        names, pages = await _pages(client, api, titles)
        for title in titles:
            name = _follow(title, names)
            page = pages.get(name, {"coordinates": [], "item": ""})
            position = _page_position(page["coordinates"])
            places[title] = _place(name, position, "commons")
            if position is None and page["item"]:
                items[title] = page["item"]
    for _ in ("the item", "its main topic"):
        with understood(wikidata_api):
            entities, topics = await _entities(client, wikidata_api, items.values()), {}
            for title, item in items.items():
                entity = entities.get(item, {})
                position = _item_position(entity)
                if position is not None:
                    places[title] = _place(places[title]["title"], position, "wikidata")
                elif topic := next(_values(entity, MAIN_TOPIC), None):
                    topics[title] = topic["id"]
            items = topics
    return places


def _position(latitude, longitude):
    """Latitude and longitude as floats, or None where they are not those of a place."""
    numbers = [value for value in (latitude, longitude) if type(value) in (int, float)]
    if len(numbers) < 2 or not (abs(latitude) <= 90 and abs(longitude) <= 180):
        return None
    return float(latitude), float(longitude)


def _place(title, position, source):
    latitude, longitude = (None, None) if position is None else position
    return {
        "title": as_text(str(title)),
        "latitude": latitude,
        "longitude": longitude,
        "source": "missing" if position is None else source,
    }


async def _pages(client, api, titles):
    """What titles were changed to, and the pages by title: a dict of coordinates (a list) and item ("" for none)."""
    asked = {
        "action": "query",
        "prop": "coordinates|pageprops",
        "coprimary": "all",
        "coprop": "globe",
        "colimit": "max",
        "ppprop": "wikibase_item",
        "redirects": 1,
        "titles": "|".join(titles),
    }
    names, pages, more = {}, {}, {}
    for _ in range(PARTS):
        answer = await _ask(client, api, asked | more)
        query = answer.get("query", {})
        for change in chain(query.get("normalized", []), query.get("redirects", [])):
            name = unquote(change["from"]) if change.get("fromencoded") else change["from"]
            names[name] = change["to"]
        for page in query.get("pages", []):
            known = pages.setdefault(page["title"], {"coordinates": [], "item": ""})
            known["coordinates"] += page.get("coordinates", [])
            known["item"] = page.get("pageprops", {}).get("wikibase_item", known["item"])
        more = answer.get("continue")
        if more is None:
            return names, pages
    raise ValueError(f"more than {PARTS} parts")


def _follow(title, names):
    passed = {title}
    while (name := names.get(title, title)) not in passed:
        passed.add(name)
        title = name
    return title


def _page_position(coordinates):
    """Latitude and longitude of a page's first primary coordinates on the Earth, else of its first; None without."""
    earthly = [entry for entry in coordinates if entry.get("globe", "earth") == "earth"]
    best = next((entry for entry in earthly if entry.get("primary")), earthly[0] if earthly else None)
    return best and _position(best["lat"], best["lon"])


async def _entities(client, api, items):
    """Entities of Wikidata by the number that was asked for, at most TITLES of them."""
    items = list(dict.fromkeys(items))
    if not items:
        return {}
    answer = await _ask(client, api, {"action": "wbgetentities", "props": "claims", "ids": "|".join(items)})
    entities = {}
    for name, entity in answer.get("entities", {}).items():
        # an item that was merged into another comes as the other
        entities[name] = entities[entity.get("redirects", {}).get("from", name)] = entity
    return entities


def _values(entity, name):
    """Values that an entity has for a property: preferred ones first, deprecated ones not at all."""
    claims = (entity.get("claims") or {}).get(name, [])  # an item without claims has an empty list of them
    for rank in ("preferred", "normal"):
        for claim in claims:
            if claim["rank"] == rank and claim["mainsnak"]["snaktype"] == "value":
                yield claim["mainsnak"]["datavalue"]["value"]


def _item_position(entity):
    """Latitude and longitude of an entity on the Earth, or None."""
    for value in _values(entity, LOCATION):
        if value["globe"].rpartition("/")[2] == EARTH:
            return _position(value["latitude"], value["longitude"])
    return None


async def _ask(client, api, parameters):
    """One answer of an API, asked for until it comes.

    Lag of the database is waited for, up to LAG_PATIENCE_S; other passing failures `attempts` times.
    """
    url = f"{api}?{urlencode({'format': 'json', 'formatversion': 2, 'maxlag': MAXLAG_S, **parameters})}"
    rate, end = client.network["requests_per_second"], time.monotonic() + LAG_PATIENCE_S

    async def ask():
        while True:
            await asyncio.sleep(1 / rate if rate else 0)
            try:
                return await _answer(client, url)
            except RequestFailed as failure:
                if failure.status != LAGGED or time.monotonic() > end:
                    raise
                await asyncio.sleep(failure.wait_s or MAXLAG_S)

    try:
        return await try_again(ask, client.network["attempts"])
    except RequestFailed as failure:
        advice = "Run again later; what was answered is kept and not asked for again."
        raise FetchError(api, failure.status, failure.detail, failure.retryable, advice) from failure


async def _answer(client, url):
    # 503 is what servers answer to maxlag, with the error as the body
    async with client.open(url, headers={"Accept-Encoding": "gzip"}, accepted=(200, 503)) as response:
        body, headers, code = await response.read(), response.headers, response.status
    wait_s = retry_after_s(headers.get("Retry-After", ""), time.time())
    try:
        answer = json.loads(gzip.decompress(body) if headers.get("Content-Encoding") == "gzip" else body)
    except (ValueError, OSError, EOFError, zlib.error) as error:
        status = "not JSON" if code == 200 else f"http {code}"
        raise RequestFailed(status, str(error), True, code, wait_s) from error
    if not isinstance(answer, dict):
        raise RequestFailed("not understood", "no object of JSON", False, code, wait_s)
    if "error" in answer:
        fault = answer["error"] if isinstance(answer["error"], dict) else {}
        name, text = str(fault.get("code", "")), str(fault.get("info", ""))
        raise RequestFailed(f"api error {name}", text, code == 503 or name.startswith(PASSING), code, wait_s)
    if code != 200:
        raise RequestFailed(f"http {code}", "", True, code, wait_s)
    return answer
