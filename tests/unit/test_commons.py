"""Coordinates of categories, from servers on this machine that answer as MediaWiki and Wikibase do."""

import asyncio
import collections
import functools
import gzip
import json
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from image_server import ImageServer

from geoprobe.images import commons
from geoprobe.images.commons import resolve_coordinates
from geoprobe.images.fetch import FetchError

EARTH, MOON = "http://www.wikidata.org/entity/Q2", "http://www.wikidata.org/entity/Q405"


class Wiki:
    """Commons at /commons and Wikidata at /wikidata, as far as the two modules that are asked are concerned.

    query+coordinates+pageprops: https://www.mediawiki.org/wiki/API:Query, API:Continue, Extension:GeoData
    wbgetentities: https://www.wikidata.org/w/api.php?action=help&modules=wbgetentities

    Attributes:
        pages: title to {"coordinates": [...], "item": "Q1"}; what is not here is missing.
        redirects: title to title.
        entities: number to claims, or to another number that it was merged into.
        limit: coordinates in one answer; more are continued.
        faults: (status, headers, body) of the next answers, before there are any others.
        gate: cleared to let requests wait.
        asked: (path, parameters, headers) of the requests so far.
        most: most requests that were open at once.
    """

    def __init__(self):
        self.pages, self.redirects, self.entities, self.limit = {}, {}, {}, 500
        self.faults, self.asked, self.open, self.most = collections.deque(), [], 0, 0
        self.compress = False
        self.gate = threading.Event()
        self.gate.set()

    def answer(self, path, parameters):
        assert parameters["format"] == "json"
        assert parameters["formatversion"] == "2"
        assert int(parameters["maxlag"]) > 0
        return self.query(parameters) if path == "/commons" else self.wbgetentities(parameters)

    def query(self, parameters):
        assert parameters["action"] == "query"
        assert parameters["prop"].split("|") == ["coordinates", "pageprops"]
        titles = parameters["titles"].split("|")
        if len(titles) > 50:
            return {"error": {"code": "toomanyvalues", "info": 'Too many values supplied for parameter "titles".'}}
        query = collections.defaultdict(list)
        shown = []
        for title in titles:
            start, _, rest = title.replace("_", " ").partition(":")
            normal = f"{start}:{rest[:1].upper()}{rest[1:]}"
            if normal != title:
                query["normalized"].append({"fromencoded": False, "from": title, "to": normal})
            while "redirects" in parameters and normal in self.redirects:
                query["redirects"].append({"from": normal, "to": self.redirects[normal]})
                normal = self.redirects[normal]
            if normal not in shown:
                shown.append(normal)
        # pages are those of the batch, whole; what is continued is the lists within them
        entries = [
            (number, place)
            for number, title in enumerate(shown)
            for place in self.pages.get(title, {}).get("coordinates", [])
            if parameters.get("coprimary") == "all" or "primary" in place
        ]
        first = int(parameters.get("cocontinue", "0|0").split("|")[1])
        pages = [{"pageid": number + 1, "ns": 14, "title": title} for number, title in enumerate(shown)]
        for page in pages:
            if page["title"] not in self.pages:
                del page["pageid"]
                page["missing"] = True
            elif not first and "item" in self.pages[page["title"]]:
                page["pageprops"] = {"wikibase_item": self.pages[page["title"]]["item"]}
        for number, place in entries[first : first + self.limit]:
            pages[number].setdefault("coordinates", []).append(place)
        result = {"batchcomplete": True, "query": {**query, "pages": pages}}
        if len(entries) > first + self.limit:
            del result["batchcomplete"]
            result["continue"] = {"cocontinue": f"1|{first + self.limit}", "continue": "||pageprops"}
        return result

    def wbgetentities(self, parameters):
        assert parameters["action"] == "wbgetentities"
        items = parameters["ids"].split("|")
        assert len(items) <= 50
        assert len(set(items)) == len(items)
        entities = {}
        for item in items:
            known = self.entities.get(item)
            if known is None:
                entities[item] = {"id": item, "missing": ""}
            elif isinstance(known, str):
                redirect = {"from": item, "to": known}
                entities[item] = {"type": "item", "id": known, "redirects": redirect, "claims": self.entities[known]}
            else:
                entities[item] = {"type": "item", "id": item, "claims": known}
        return {"entities": entities, "success": 1}

    def titles(self):
        """The titles of each request to Commons."""
        return [parameters["titles"].split("|") for path, parameters, _ in self.asked if path == "/commons"]


def primary(latitude, longitude, globe="earth"):
    return {"lat": latitude, "lon": longitude, "primary": True, "globe": globe}


def secondary(latitude, longitude, globe="earth"):
    return {"lat": latitude, "lon": longitude, "primary": False, "globe": globe}


def location(latitude, longitude, rank="normal", globe=EARTH):
    value = {"latitude": latitude, "longitude": longitude, "altitude": None, "precision": 0.0001, "globe": globe}
    snak = {"snaktype": "value", "property": "P625", "datavalue": {"value": value, "type": "globecoordinate"}}
    return {"mainsnak": snak, "type": "statement", "rank": rank}


def unknown_location(rank="normal"):
    return {"mainsnak": {"snaktype": "somevalue", "property": "P625"}, "type": "statement", "rank": rank}


def topic(item):
    value = {"entity-type": "item", "numeric-id": int(item[1:]), "id": item}
    snak = {"snaktype": "value", "property": "P301", "datavalue": {"value": value, "type": "wikibase-entityid"}}
    return {"mainsnak": snak, "type": "statement", "rank": "normal"}


@pytest.fixture
def wiki(direct):
    """A Wiki that runs."""
    wiki, lock = Wiki(), threading.Lock()

    def answer(path, asked):
        with lock:
            wiki.open += 1
            wiki.most = max(wiki.most, wiki.open)
        wiki.asked.append((path, asked.query, asked.headers))
        wiki.gate.wait(60)
        if len(asked.path_qs) > 8000:
            status, headers, body = 414, {}, b"URI too long"
        elif wiki.faults:
            status, headers, body = wiki.faults.popleft()
        else:
            status, headers = 200, {}
            body = json.dumps(wiki.answer(path, asked.query)).encode()
        if wiki.compress and "gzip" in asked.headers.get("Accept-Encoding", ""):
            body, headers = gzip.compress(body), headers | {"Content-Encoding": "gzip"}
        with lock:
            wiki.open -= 1
        return status, headers, body

    with ImageServer() as server:
        server.answers |= {path: functools.partial(answer, path) for path in ("/commons", "/wikidata")}
        wiki.address = server.root
        yield wiki
        wiki.gate.set()


@pytest.fixture
def waits(monkeypatch):
    """Seconds that were waited, each in a thousandth of its time."""
    sleep, waited = asyncio.sleep, []

    async def recorded(seconds, *result):
        waited.append(seconds)
        return await sleep(seconds / 1000, *result)

    monkeypatch.setattr(asyncio, "sleep", recorded)
    return waited


NETWORK = {"allow_private": True, "requests_per_second": 0, "attempts": 3, "timeout_s": 30, "contact": "ann@a.test"}


@pytest.fixture
def resolve(wiki, tmp_path):
    """Resolve titles (numbered from 0) or (landmark, title) pairs; returns the table by landmark."""

    def run(titles, retry_missing_days=None, **network):
        pairs = [pair if isinstance(pair, tuple) else (number, pair) for number, pair in enumerate(titles)]
        frame = resolve_coordinates(
            pd.DataFrame(pairs, columns=["landmark_id", "category"]),
            tmp_path / "coordinates.parquet",
            NETWORK | network,
            f"{wiki.address}/commons",
            f"{wiki.address}/wikidata",
            retry_missing_days,
        )
        pd.testing.assert_frame_equal(frame, pd.read_parquet(tmp_path / "coordinates.parquet"))
        return frame.set_index("landmark_id")

    return run


def found(row):
    return row["title"], row["latitude"], row["longitude"], row["source"]


# what a page says


def test_the_primary_coordinates_of_a_page_are_taken(wiki, resolve):
    wiki.pages["Category:Foo bar"] = {"coordinates": [secondary(1, 2), primary(48.8583, -2.2945), secondary(3, 4)]}
    table = resolve(["Category:Foo bar"])
    assert found(table.loc[0]) == ("Category:Foo bar", 48.8583, -2.2945, "commons")
    assert table.loc[0, "category"] == "Category:Foo bar"
    assert abs(pd.Timestamp(table.loc[0, "fetched_at"]) - pd.Timestamp.now("UTC")) < pd.Timedelta(minutes=5)


def test_without_primary_coordinates_the_first_others_are_taken(wiki, resolve):
    wiki.pages["Category:Foo"] = {"coordinates": [secondary(-1.5, 2.5), secondary(3, 4)]}
    assert found(resolve(["Category:Foo"]).loc[0]) == ("Category:Foo", -1.5, 2.5, "commons")


def test_places_on_other_worlds_are_no_places(wiki, resolve):
    wiki.pages["Category:Crater"] = {"coordinates": [primary(1, 2, "moon")], "item": "Q9"}
    wiki.pages["Category:Both"] = {"coordinates": [primary(1, 2, "mars"), secondary(7, 8)]}
    wiki.entities["Q9"] = {"P625": [location(1, 2, globe=MOON)]}
    table = resolve(["Category:Crater", "Category:Both"])
    assert table["source"].tolist() == ["missing", "commons"]
    assert found(table.loc[1])[1:3] == (7, 8)


def test_a_page_that_is_not_there_is_missing(wiki, resolve):
    wiki.pages["Category:Empty"] = {}
    table = resolve(["Category:Gone", "Category:Empty"])
    assert table["source"].tolist() == ["missing", "missing"]
    assert table["title"].tolist() == ["Category:Gone", "Category:Empty"]
    assert table[["latitude", "longitude"]].isna().all(axis=None)


def test_redirects_are_followed_and_where_they_led_is_recorded(wiki, resolve):
    wiki.redirects |= {"Category:Old": "Category:Newer", "Category:Newer": "Category:New"}
    wiki.pages["Category:New"] = {"coordinates": [primary(10, 20)]}
    table = resolve(["Category:Old", "Category:New"])
    assert found(table.loc[0]) == found(table.loc[1]) == ("Category:New", 10, 20, "commons")
    assert table["category"].tolist() == ["Category:Old", "Category:New"]


def test_a_title_that_the_wiki_writes_otherwise_is_found(wiki, resolve):
    wiki.redirects["Category:Old name"] = "Category:New"
    wiki.pages["Category:New"] = {"coordinates": [primary(10, 20)]}
    assert found(resolve(["Category:old_name"]).loc[0]) == ("Category:New", 10, 20, "commons")


def test_a_title_that_comes_back_percent_encoded_is_found(wiki, resolve):
    decomposed, composed = "Category:Mu\u0308nster", "Category:M\u00fcnster"
    query = {
        "normalized": [{"fromencoded": True, "from": "Category%3AMu%CC%88nster", "to": composed}],
        "pages": [{"pageid": 1, "ns": 14, "title": composed, "coordinates": [primary(1, 2)]}],
    }
    wiki.faults.append((200, {}, json.dumps({"batchcomplete": True, "query": query}).encode()))
    assert found(resolve([decomposed]).loc[0]) == (composed, 1, 2, "commons")


def test_redirects_in_a_circle_end(wiki, resolve):
    circle = [{"from": "Category:A", "to": "Category:B"}, {"from": "Category:B", "to": "Category:A"}]
    wiki.faults.append((200, {}, json.dumps({"query": {"redirects": circle}}).encode()))
    assert resolve(["Category:A"]).loc[0, "source"] == "missing"


def test_answers_in_parts_are_put_together(wiki, resolve):
    wiki.limit = 3
    for number in range(10):
        places = [secondary(0, place) for place in range(number)] + [primary(number, -number)]
        wiki.pages[f"Category:{number}"] = {"coordinates": places, "item": f"Q{number}"}
    wiki.pages["Category:Item"] = {"item": "Q100"}
    wiki.entities["Q100"] = {"P625": [location(5, 6)]}
    table = resolve([*(f"Category:{number}" for number in range(10)), "Category:Item"])
    np.testing.assert_array_equal(table["latitude"], [*range(10), 5])
    np.testing.assert_array_equal(table["longitude"], [-number for number in range(10)] + [6])
    assert len(wiki.titles()) == 19  # 55 coordinates, three at a time


# what Wikidata says


@pytest.mark.parametrize(
    ("claims", "expected"),
    [
        ({"P625": [location(1, 2)]}, (1, 2)),
        ({"P625": [location(1, 2), location(3, 4, "preferred")]}, (3, 4)),
        ({"P625": [location(1, 2, "deprecated"), location(3, 4)]}, (3, 4)),
        ({"P625": [location(1, 2, "deprecated")]}, None),
        ({"P625": [unknown_location("preferred"), location(3, 4)]}, (3, 4)),
        ({"P625": [location(1, 2, globe=MOON), location(3, 4)]}, (3, 4)),
        ({"P625": [unknown_location()]}, None),
        ({}, None),
        ([], None),  # as PHP writes an empty mapping
        ("Q7", (70, 7)),  # merged into another
        (None, None),  # deleted
        ({"P301": [topic("Q7")]}, (70, 7)),  # the item of a category, whose topic is the place
        ({"P301": [topic("Q8")]}, None),
        ({"P625": [location(1, 2)], "P301": [topic("Q7")]}, (1, 2)),
    ],
)
def test_a_page_without_coordinates_is_where_its_item_is(wiki, resolve, claims, expected):
    wiki.pages["Category:Foo"] = {"item": "Q1"}
    wiki.entities |= {"Q1": claims, "Q7": {"P625": [location(70, 7)]}, "Q8": {"P301": [topic("Q7")]}}
    row = resolve(["Category:Foo"]).loc[0]
    if expected is None:
        assert row["source"] == "missing"
        assert np.isnan(row["latitude"])
    else:
        assert found(row) == ("Category:Foo", *expected, "wikidata")


def test_wikidata_is_not_asked_where_commons_knows(wiki, resolve):
    wiki.pages["Category:Foo"] = {"coordinates": [primary(1, 2)], "item": "Q1"}
    resolve(["Category:Foo", "Category:Gone"])
    assert [path for path, _, _ in wiki.asked] == ["/commons"]


def test_an_item_of_two_pages_is_asked_for_once(wiki, resolve):
    wiki.pages |= {"Category:A": {"item": "Q1"}, "Category:B": {"item": "Q1"}}
    wiki.entities["Q1"] = {"P301": [topic("Q7")]}
    wiki.entities["Q7"] = {"P625": [location(70, 7)]}
    assert resolve(["Category:A", "Category:B"])["latitude"].tolist() == [70, 70]
    assert [parameters["ids"] for path, parameters, _ in wiki.asked if path == "/wikidata"] == ["Q1", "Q7"]


# how the server is asked


def many(wiki, count):
    titles = [f"Category:Place {number}" for number in range(count)]
    wiki.pages |= {title: {"coordinates": [primary(number % 90, number)]} for number, title in enumerate(titles)}
    return titles


def test_fifty_titles_are_asked_for_at_a_time_one_request_after_another(wiki, resolve):
    titles = many(wiki, 120)
    table = resolve(titles)
    assert [len(batch) for batch in wiki.titles()] == [50, 50, 20]
    assert wiki.most == 1
    np.testing.assert_array_equal(table["longitude"], range(120))


def test_the_server_learns_whom_to_write_to(wiki, resolve):
    resolve(["Category:Foo"])
    ((_, _, headers),) = wiki.asked
    assert headers["User-Agent"].startswith("geoprobe/")
    assert "ann@a.test" in headers["User-Agent"]


def test_long_titles_are_parted_so_that_no_address_is_too_long(wiki, resolve):
    titles = [f"Category:{'日本' * 40}{number}" for number in range(30)]
    wiki.pages |= {title: {"coordinates": [primary(number, 0)]} for number, title in enumerate(titles)}
    assert resolve(titles)["latitude"].tolist() == list(range(30))
    assert sorted(title for batch in wiki.titles() for title in batch) == sorted(titles)


def test_titles_with_characters_that_addresses_reserve_arrive_whole(wiki, resolve):
    titles = ["Category:A&B=C+D?#%2F", "Category:\"'<ü>", "Category:AC/DC"]
    wiki.pages |= {title: {"coordinates": [primary(number, 0)]} for number, title in enumerate(titles)}
    assert resolve(titles)["latitude"].tolist() == [0, 1, 2]


def test_the_pace_is_kept(wiki, resolve):
    start = time.monotonic()
    resolve(many(wiki, 101), requests_per_second=5)
    assert time.monotonic() - start >= 3 / 5


def test_compressed_answers_are_read(wiki, resolve):
    wiki.compress = True
    np.testing.assert_array_equal(resolve(many(wiki, 60))["longitude"], range(60))


LAG = json.dumps({"error": {"code": "maxlag", "info": "Waiting for 10.64.16.7: 6.2 seconds lagged.", "lag": 6.2}})


@pytest.mark.parametrize("status", [200, 503])
def test_a_server_that_lags_is_waited_for_as_long_as_it_asks_and_longer_than_other_faults(wiki, resolve, waits, status):
    wiki.faults += [(status, {"Retry-After": "1"}, LAG.encode())] * 4
    assert resolve(many(wiki, 1)).loc[0, "source"] == "commons"
    assert [seconds for seconds in waits if seconds >= 1] == [1] * 4
    assert len(wiki.asked) == 5


def test_a_lag_that_does_not_end_ends_the_run_some_time(wiki, resolve, monkeypatch):
    monkeypatch.setattr(commons, "LAG_PATIENCE_S", 0)
    wiki.faults += [(200, {}, LAG.encode())] * 9
    with pytest.raises(FetchError, match=r"api error maxlag \(Waiting for 10.64.16.7.*what was answered is kept"):
        resolve(["Category:Foo"])


PASSING = [
    (429, {"Retry-After": "1"}, b"slow down"),
    (503, {"Retry-After": "1"}, b"<html>Our servers are currently under maintenance</html>"),
    (503, {}, b"{}"),
    (502, {}, b""),
    (200, {}, json.dumps({"error": {"code": "ratelimited", "info": "You've exceeded your rate limit."}}).encode()),
    (200, {}, json.dumps({"error": {"code": "internal_api_error_DBQueryError", "info": "[x]"}}).encode()),
    (200, {}, b"<html>"),
    (200, {"Content-Encoding": "gzip"}, gzip.compress(b"{}", mtime=0)[:-5]),
]


@pytest.mark.parametrize("fault", PASSING)
def test_after_a_passing_fault_the_server_is_asked_again(wiki, resolve, waits, fault):
    wiki.faults += [fault] * 2
    assert resolve(many(wiki, 1)).loc[0, "source"] == "commons"
    assert len(wiki.asked) == 3
    assert [seconds for seconds in waits if seconds >= 1] == ([1] * 2 if "Retry-After" in fault[1] else [])


@pytest.mark.parametrize(
    ("fault", "status", "tries"),
    [
        ((500, {}, b""), "http 500", 3),
        ((503, {}, b"no"), "http 503", 3),
        ((200, {}, b"<html>"), "not JSON", 3),
        ((403, {}, b""), "http 403", 1),
        ((200, {}, b'{"error": {"code": "badvalue", "info": "Unrecognized value"}}'), "api error badvalue", 1),
    ],
)
def test_a_fault_that_stays_ends_the_run_in_one_sentence(wiki, resolve, fault, status, tries):
    wiki.faults += [fault] * 9
    with pytest.raises(
        FetchError, match=rf"^http://127.0.0.1:\d+/commons: {status}.*what was answered is kept"
    ) as caught:
        resolve(["Category:Foo"])
    assert caught.value.status == status
    assert len(wiki.asked) == tries


def test_a_private_address_is_not_asked_unless_it_is_allowed(wiki, resolve):
    with pytest.raises(FetchError, match="private address"):
        resolve(["Category:Foo"], allow_private=False)
    assert not wiki.asked


# what is kept


def test_nothing_is_asked_twice_and_the_table_stays_as_it_is(wiki, resolve, tmp_path):
    titles = [*many(wiki, 60), "Category:Gone"]
    first = resolve(titles)
    count, before = len(wiki.asked), (tmp_path / "coordinates.parquet").read_bytes()
    pd.testing.assert_frame_equal(resolve(titles), first)
    assert len(wiki.asked) == count
    assert (tmp_path / "coordinates.parquet").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["coordinates.parquet"]


def test_only_new_landmarks_are_asked_for_and_the_others_stay(wiki, resolve):
    titles = many(wiki, 5)
    resolve([(number, titles[number]) for number in (3, 1)])
    table = resolve([(number, titles[number]) for number in (0, 1, 2)])
    assert wiki.titles() == [[titles[3], titles[1]], [titles[0], titles[2]]]
    assert table.index.tolist() == [0, 1, 2, 3]
    np.testing.assert_array_equal(table["longitude"], [0, 1, 2, 3])


def test_landmarks_of_one_category_are_asked_for_once(wiki, resolve):
    (title,) = many(wiki, 1)
    table = resolve([(7, title), (3, title)])
    assert wiki.titles() == [[title]]
    assert table.index.tolist() == [3, 7]
    assert table["source"].tolist() == ["commons", "commons"]


def test_a_landmark_with_another_category_than_before_is_asked_for_again(wiki, resolve):
    titles = many(wiki, 2)
    resolve([(7, titles[0])])
    table = resolve([(7, titles[1])])
    assert table["category"].tolist() == [titles[1]]
    assert table["longitude"].tolist() == [1]


def test_what_was_missing_is_asked_for_again_after_so_many_days(wiki, resolve, tmp_path):
    resolve(["Category:Foo", "Category:Bar", "Category:There", *many(wiki, 1)])
    path = tmp_path / "coordinates.parquet"
    table = pd.read_parquet(path)
    ago = [pd.Timestamp.now("UTC") - pd.Timedelta(days=days) for days in (40, 20, 0, 400)]
    table["fetched_at"] = [time.strftime("%Y-%m-%dT%H:%M:%SZ") for time in ago]
    table.to_parquet(path, index=False)
    wiki.pages |= {"Category:Foo": {"coordinates": [primary(1, 2)]}, "Category:Bar": {"coordinates": [primary(3, 4)]}}
    titles = table["category"].tolist()
    assert resolve(titles)["source"].tolist() == ["missing", "missing", "missing", "commons"]
    assert resolve(titles, 30)["source"].tolist() == ["commons", "missing", "missing", "commons"]
    assert wiki.titles()[1:] == [["Category:Foo"]]
    assert resolve(titles, 0)["source"].tolist() == ["commons", "commons", "missing", "commons"]
    assert wiki.titles()[2:] == [["Category:Bar", "Category:There"]]


def test_after_an_error_what_was_answered_is_not_asked_for_again(wiki, resolve):
    titles = many(wiki, 130)
    answer = wiki.answer
    wiki.answer = lambda path, parameters: (
        {"error": {"code": "badvalue", "info": ""}} if len(wiki.asked) > 2 else answer(path, parameters)
    )
    with pytest.raises(FetchError):
        resolve(titles)
    wiki.answer = answer
    table = resolve(titles)
    assert [len(batch) for batch in wiki.titles()] == [50, 50, 30, 30]
    np.testing.assert_array_equal(table["longitude"], range(130))


RUN = textwrap.dedent(
    """
    import json, sys

    import pandas as pd

    from geoprobe.images.commons import resolve_coordinates

    pairs, path, network, address = json.loads(sys.argv[1])
    frame = pd.DataFrame(pairs, columns=["landmark_id", "category"])
    resolve_coordinates(frame, path, network, f"{address}/commons", f"{address}/wikidata")
    """
)


def test_a_job_that_is_killed_loses_only_the_batch_under_way(wiki, resolve, tmp_path):
    titles = many(wiki, 130)
    answer = wiki.answer

    def slow(path, parameters):
        if len(wiki.asked) == 3:
            wiki.gate.clear()
            wiki.gate.wait(60)
        return answer(path, parameters)

    wiki.answer = slow
    arguments = [list(enumerate(titles)), str(tmp_path / "coordinates.parquet"), NETWORK, wiki.address]
    job = subprocess.Popen(
        [sys.executable, "-c", RUN, json.dumps(arguments)],
        cwd=Path(__file__).resolve().parents[2],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(wiki.asked) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    job.send_signal(signal.SIGKILL)
    job.wait()
    wiki.gate.set()
    wiki.answer = answer
    assert not (tmp_path / "coordinates.parquet").exists()
    # and a line that the disk got only half of
    with open(tmp_path / "coordinates.jsonl", "a", encoding="utf-8") as file:
        file.write('{"landmark_id": 100, "cate')
    table = resolve(titles)
    assert wiki.titles()[3:] == [titles[100:]]
    np.testing.assert_array_equal(table["longitude"], range(130))
    assert not (tmp_path / "coordinates.jsonl").exists()


def test_no_category_makes_an_empty_table(wiki, resolve):
    assert resolve([]).empty
    assert not wiki.asked
    assert resolve(many(wiki, 1)).index.tolist() == [0]
