"""The table of landmarks for the interventions: names, places, coordinates and where their photos are."""

import csv
import math
from dataclasses import dataclass
from pathlib import Path

from geoprobe import csv_files
from geoprobe.images.countries import country_name
from geoprobe.interventions.matching import fold

COLUMNS = (
    "name", "aliases", "city", "city_aliases", "region", "region_aliases", "country", "latitude", "longitude",
    "category",
)  # fmt: skip
SEPARATOR = " | "
LISTS = ("aliases", "city_aliases", "region_aliases")


@dataclass(frozen=True)
class Landmark:
    """A landmark.

    Attributes:
        name: English name, which is also the group of its images in an image store.
        aliases: other names, in any language and script.
        city, region: English names, "" where there is none.
        city_aliases, region_aliases: their other names.
        country: ISO 3166 alpha-2 code.
        latitude, longitude: degrees, WGS 84.
        category: of Wikimedia Commons, without "Category:".
    """

    name: str
    aliases: tuple
    city: str
    city_aliases: tuple
    region: str
    region_aliases: tuple
    country: str
    latitude: float
    longitude: float
    category: str


def read_landmarks(path):
    """Read a table of landmarks.

    Args:
        path: CSV file in UTF-8 with COLUMNS; aliases are separated by " | ".

    Returns:
        A list of Landmark, in the order of the table.

    Raises:
        ValueError: a column is missing, a value cannot be used, or two landmarks share a name or alias; names file and
            line.
    """
    with csv_files.reading(path, csv.DictReader) as reader:
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise ValueError(
                f"{path}, line 1: no column {', '.join(missing)}; the columns of this table are {', '.join(COLUMNS)}."
            )
        landmarks, known = [], {}
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            landmark = _landmark(row, where)
            for name in (landmark.name, *landmark.aliases):
                first = known.setdefault(fold(name), landmark.name)
                if first != landmark.name or landmark.name in [other.name for other in landmarks]:
                    raise ValueError(f'{where}: "{name}" is a name of "{first}" as well; remove it from one of them.')
            landmarks.append(landmark)
    if not landmarks:
        raise ValueError(f"{Path(path)}, line 1: the table lists no landmark; add a line for each.")
    return landmarks


def _landmark(row, where):
    """A Landmark of one row; `where` begins what is said about a wrong value."""
    if None in row or None in row.values():
        raise ValueError(f"{where}: not {len(row)} fields; put a field that holds a comma between quotation marks.")
    values = {name: row[name].strip() for name in COLUMNS}
    for name in ("name", "category"):
        if not values[name]:
            raise ValueError(f"{where}: {name} is empty; every landmark needs one.")
    if values["category"].lower().startswith("category:"):
        raise ValueError(f'{where}: category is "{values["category"]}"; leave out "Category:".')
    if country_name(values["country"]) == values["country"]:
        raise ValueError(f'{where}: country is "{values["country"]}"; give an ISO 3166 alpha-2 code such as FR.')
    for name in LISTS:
        values[name] = tuple(part.strip() for part in values[name].split("|")) if values[name] else ()
    for name in ("name", *LISTS):
        for text in [values[name]] if name == "name" else values[name]:
            if not fold(text):
                raise ValueError(f'{where}: {name} holds "{text}", which is no name; remove it or its "|".')
    for name, limit in (("latitude", 90), ("longitude", 180)):
        values[name] = _degrees(values[name], name, limit, where)
    return Landmark(**values)


def _degrees(text, name, limit, where):
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not abs(number) <= limit:
        raise ValueError(f'{where}: {name} is "{text}"; give degrees between -{limit} and {limit}.')
    return number
