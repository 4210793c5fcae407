"""Source `commons_photos`: photos of categories, from a server on this machine that answers as MediaWiki does."""

import collections
import csv
import json

import pandas as pd
import pytest
import yaml
from conftest import ROOT
from image_server import ImageServer

from geoprobe.images import commons_photos
from geoprobe.images.fetch import FetchError
from geoprobe.images.plan import check_chunk

NETWORK = {
    "allow_private": True, "requests_per_second": 0, "attempts": 2, "timeout_s": 30, "contact": "me@example.org",
}  # fmt: skip
LANDMARKS = [
    ("Eiffel Tower", "48.8584", "2.2945", "Eiffel Tower", "FR"),
    ("Big Ben", "51.5007", "-0.1246", "Big Ben", "GB"),
    ("Sky Tower", "-36.8485", "174.7622", "Sky Tower (Auckland) & more", "NZ"),
]


def photo(number, mime="image/jpeg", **extra):
    """A page as the API gives it."""
    url = f"https://upload.wikimedia.org/wikipedia/commons/{number}.jpg"
    said = {"LicenseShortName": "CC BY-SA 4.0", "LicenseUrl": "https://creativecommons.org/licenses/by-sa/4.0"}
    said |= {"Artist": f'<a href="//commons.wikimedia.org/wiki/User:A" title="A">Ann &amp; Zo\u00eb {number}</a>\n'}
    said |= extra
    described = {name: {"value": value, "source": "commons-desc-page"} for name, value in said.items()}
    info = {"url": url, "thumburl": f"{url}/1280px", "mime": mime, "size": 10, "width": 4000, "extmetadata": described}
    return {"pageid": number, "ns": 6, "title": f"File:{number}", "imageinfo": [info]}


class Wiki:
    """Commons, as far as a list of a category's files with their information is concerned.

    https://www.mediawiki.org/wiki/API:Categorymembers, API:Imageinfo, API:Continue

    Attributes:
        pages: category to its files.
        at_once: files of one part of the list; the rest is continued.
        described: files of a part that have their information in one answer; the rest is continued within the part.
        faults: category to (status, body) of the next answers about it.
        asked: (category, parameters, headers) of the requests so far.
    """

    def __init__(self):
        self.pages = {
            "Category:Eiffel Tower": [photo(11), photo(9, "image/svg+xml"), photo(7, "image/png"), photo(30)],
            "Category:Big Ben": [],
            "Category:Sky Tower (Auckland) & more": [photo(5, "video/webm"), photo(4)],
        }
        self.at_once = self.described = 50
        self.faults, self.asked = collections.defaultdict(collections.deque), []

    def answer(self, parameters):
        assert parameters["action"] == "query"
        assert parameters["generator"] == "categorymembers"
        assert parameters["gcmtype"] == "file"
        assert int(parameters["maxlag"]) > 0
        assert {"url", "mime", "size", "extmetadata"} <= set(parameters["iiprop"].split("|"))
        first, done = int(parameters.get("gcmcontinue", 0)), int(parameters.get("iicontinue", 0))
        part = self.pages[parameters["gcmtitle"]][first : first + self.at_once]
        if not part:
            return {"batchcomplete": True}
        pages = []
        for number, page in enumerate(part):
            page = json.loads(json.dumps(page))
            if not done <= number < done + self.described:
                del page["imageinfo"]
            elif "iiurlwidth" not in parameters:
                del page["imageinfo"][0]["thumburl"]
            pages.append(page)
        result = {"query": {"pages": pages}}
        if done + self.described < len(part):
            result["continue"] = {"iicontinue": str(done + self.described), "continue": "||"}
            if first:
                result["continue"]["gcmcontinue"] = str(first)
        else:
            result["batchcomplete"] = True
            if first + self.at_once < len(self.pages[parameters["gcmtitle"]]):
                result["continue"] = {"gcmcontinue": str(first + self.at_once), "continue": "gcmcontinue||"}
        return result

    def categories(self):
        """The categories asked for, in order."""
        return [category for category, _, _ in self.asked]


@pytest.fixture
def wiki(direct):
    """A Wiki that runs."""
    wiki = Wiki()

    def answer(asked):
        category = asked.query["gcmtitle"]
        wiki.asked.append((category, asked.query, asked.headers))
        faults = wiki.faults[category]
        status, body = faults.popleft() if faults else (200, json.dumps(wiki.answer(asked.query)))
        return status, {}, body.encode()

    with ImageServer() as server:
        server.answers["/api"] = answer
        wiki.address = f"{server.root}/api"
        yield wiki


def write_table(path, rows=LANDMARKS, columns=commons_photos.COLUMNS):
    order = [("name", "latitude", "longitude", "category", "country").index(name) for name in columns]
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([columns, *([row[place] for place in order] for row in rows)])


@pytest.fixture
def options(wiki, tmp_path):
    write_table(tmp_path / "landmarks.csv")
    return {"path": str(tmp_path / "landmarks.csv"), "per_category": 2, "width": 1280, "commons_api": wiki.address}


@pytest.fixture
def listed(options, tmp_path):
    """Fetch and list with the options and others; returns one frame."""

    def make(**others):
        chosen = options | others
        commons_photos.check(chosen)
        commons_photos.fetch_metadata(chosen, tmp_path / "metadata", NETWORK)
        return pd.concat(list(commons_photos.list_images(chosen, tmp_path / "metadata")), ignore_index=True)

    return make


def test_the_first_photos_of_each_category_are_listed_in_their_order(listed):
    rows = listed()
    assert rows["id"].tolist() == ["M11", "M7", "Big Ben", "M4"]
    assert rows["group"].tolist() == ["Eiffel Tower", "Eiffel Tower", "Big Ben", "Sky Tower"]
    assert rows["reason"].tolist() == ["", "", "no photo in the category", ""]
    assert rows["latitude"].tolist() == [48.8584, 48.8584, 51.5007, -36.8485]
    assert rows["longitude"].tolist() == [2.2945, 2.2945, -0.1246, 174.7622]
    assert rows["country"].tolist() == ["FR", "FR", "GB", "NZ"]
    url = "https://upload.wikimedia.org/wikipedia/commons/11.jpg"
    assert rows["urls"][0] == [f"{url}/1280px", url]
    assert rows["urls"][2] == []
    assert rows["licence"][0] == "CC BY-SA 4.0 https://creativecommons.org/licenses/by-sa/4.0"
    assert rows["author"][0] == "Ann & Zoë 11"


def test_the_rows_pass_the_checks_of_a_plan(listed):
    checked = check_chunk(listed(), 0)
    assert checked["reason"].tolist() == ["", "", "no photo in the category", ""]
    assert checked["country_code"].tolist() == ["FR", "FR", "", "NZ"]


def test_without_a_width_the_originals_are_fetched(listed):
    assert listed(width=None)["urls"][0] == ["https://upload.wikimedia.org/wikipedia/commons/11.jpg"]


def test_what_a_page_does_not_say_is_empty(listed, wiki):
    page = photo(3)
    del page["imageinfo"][0]["extmetadata"]
    wiki.pages["Category:Big Ben"] = [page, photo(2, LicenseUrl="", LicenseShortName="Public domain", Artist="")]
    rows = listed().set_index("id")
    assert rows.loc["M3", ["licence", "author"]].tolist() == ["", ""]
    assert rows.loc["M2", ["licence", "author"]].tolist() == ["Public domain", ""]


@pytest.mark.parametrize("at_once", [1, 3, 50])
@pytest.mark.parametrize("described", [1, 2, 50])
def test_answers_in_parts_are_put_together(listed, wiki, at_once, described):
    wiki.at_once, wiki.described = at_once, described
    assert listed(per_category=3)["id"].tolist() == ["M11", "M7", "M30", "Big Ben", "M4"]


def test_no_more_is_asked_for_than_needed(listed, wiki):
    wiki.at_once = 1
    wiki.pages["Category:Eiffel Tower"] = [photo(number) for number in range(1, 9)]
    listed()
    assert wiki.categories().count("Category:Eiffel Tower") == 2
    # and not for ever
    wiki.pages["Category:Big Ben"] = [photo(number, "image/svg+xml") for number in range(1, 40)]
    listed(per_category=3)
    assert wiki.categories().count("Category:Big Ben") == 1 + commons_photos.ANSWERS


def test_a_category_is_asked_for_once(listed, wiki, options, tmp_path):
    first = listed()
    assert wiki.categories() == [f"Category:{row[3]}" for row in LANDMARKS]
    pd.testing.assert_frame_equal(listed(), first)
    assert len(wiki.asked) == 3
    write_table(options["path"], [*LANDMARKS[1:], ("Tower", "1", "2", "Eiffel Tower 2", "FR")])
    wiki.pages["Category:Eiffel Tower 2"] = [photo(80)]
    assert listed()["id"].tolist() == ["Big Ben", "M4", "M80"]
    assert wiki.categories()[3:] == ["Category:Eiffel Tower 2"]
    # in another way it is another question
    assert listed(per_category=1, width=None)["id"].tolist() == ["Big Ben", "M4", "M80"]
    assert len(wiki.asked) == 7


def test_the_requests_say_who_asks(listed, wiki):
    listed()
    for _, parameters, headers in wiki.asked:
        assert "me@example.org" in headers["User-Agent"]
        assert parameters["iiurlwidth"] == "1280"


def test_what_was_answered_before_a_failure_is_kept(listed, wiki, tmp_path):
    wiki.faults["Category:Big Ben"].extend([(500, "down")] * 2)
    with pytest.raises(FetchError, match="http 500"):
        listed()
    assert wiki.categories() == ["Category:Eiffel Tower", *["Category:Big Ben"] * 2]
    # and a kill in the middle of a line
    with open(tmp_path / "metadata" / commons_photos.JOURNAL, "a", encoding="utf-8") as file:
        file.write('{"category": "Big B')
    assert listed()["id"].tolist() == ["M11", "M7", "Big Ben", "M4"]
    assert wiki.categories()[3:] == ["Category:Big Ben", "Category:Sky Tower (Auckland) & more"]


def test_a_passing_failure_is_tried_again(listed, wiki):
    wiki.faults["Category:Big Ben"].append((429, "slowly"))
    assert len(listed()) == 4


def test_an_error_of_the_api_ends_the_job(listed, wiki):
    error = json.dumps({"error": {"code": "invalidcategory", "info": "The category name you entered is not valid."}})
    wiki.faults["Category:Eiffel Tower"].append((200, error))
    with pytest.raises(FetchError, match="invalidcategory"):
        listed()


def test_a_table_that_changed_since_is_refused(listed, options, tmp_path):
    listed()
    write_table(options["path"], [*LANDMARKS, ("Tower", "1", "2", "Another", "FR")])
    with pytest.raises(ValueError, match='the photos of "Another" were not asked for'):
        list(commons_photos.list_images(options, tmp_path / "metadata"))


def test_the_manifest_and_the_description_tell_what_was_found(listed, options, tmp_path):
    listed()
    (entry,) = commons_photos.fetch_metadata(options, tmp_path / "metadata", NETWORK)
    assert entry["bytes"] == (tmp_path / "metadata" / entry["file"]).stat().st_size
    assert len(entry["sha256"]) == 64
    described = commons_photos.describe(options, tmp_path / "metadata")
    assert described["licence"] == "as stated for each image: CC BY-SA 4.0 (3)"
    assert "2 photos a category" in described["source_version"]


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "which lists no landmark"),
        ([("", "1", "2", "A", "FR")], "whose row 1 has no name"),
        ([("A", "1", "2", " ", "FR")], "whose row 1 has no category"),
        ([("A", "1", "2", "A", "FR"), ("A", "3", "4", "B", "FR")], 'the name "A" is given twice'),
        ([("A", "1", "2", "C", "FR"), ("B", "3", "4", "C", "FR")], 'the category "C" is given twice'),
    ],
    ids=["empty", "name", "category", "names", "categories"],
)
def test_a_table_that_cannot_work_is_refused(options, rows, words):
    write_table(options["path"], rows)
    with pytest.raises(ValueError, match="path is") as caught:
        commons_photos.check(options)
    assert words in str(caught.value)


def test_a_missing_table_column_or_address_is_refused(options, tmp_path):
    with pytest.raises(ValueError, match="there is no such file"):
        commons_photos.check(options | {"path": str(tmp_path / "none.csv")})
    with pytest.raises(ValueError, match='commons_api is "ftp://x"'):
        commons_photos.check(options | {"commons_api": "ftp://x"})
    write_table(options["path"], columns=("name", "latitude", "longitude"))
    with pytest.raises(ValueError, match="no column category and no column country"):
        commons_photos.check(options)


def test_the_projects_own_table_is_one(monkeypatch):
    monkeypatch.chdir(ROOT)
    datasets = yaml.safe_load((ROOT / "config/datasets.yaml").read_text(encoding="utf-8"))["datasets"]
    commons_photos.check(datasets["steering-landmarks"])
