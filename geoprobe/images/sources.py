"""The sources of images: a name and the module behind it.

A source module has these names. `options` is the plain dict of the data set's configuration.
  NETWORK                       whether anything must be fetched
  RENDERED                      optional; True where images are made here and need neither check nor comparison
  check(options)                raise ValueError in one sentence if the options cannot work; cheap, offline
  fetch_metadata(options, folder, network)
                                with NETWORK: bring what list_images reads into a folder, resumably; returns a list of
                                dicts with file, url, bytes, sha256
  list_images(options, folder)  yield frames of at most CHUNK rows, in the source's order, without holding them all:
                                id, latitude, longitude (degrees; NaN where missing), group ("" for one of its own),
                                reason ("" if usable). Optional: country (as declared), licence, author,
                                caption:<set>. Where the bytes are: urls (a list, tried in order), or archive and
                                member, or columns of the source's own that load_images reads
  load_images(rows, options)    without NETWORK: for each row in order, (encoded bytes, "") or (None, reason)
  describe(options, folder)     licence, attribution, source_version, and what else should be kept

Coordinates, repeated ids and declared countries are checked for all sources alike, in geoprobe.images.checks.
"""

import importlib

CHUNK = 100_000

SOURCES = {
    "bluemarble": "geoprobe.images.bluemarble",
    "commons_photos": "geoprobe.images.commons_photos",
    "folder": "geoprobe.images.folder",
    "hdf5": "geoprobe.images.hdf5",
    "hub": "geoprobe.images.hub",
    "im2gps": "geoprobe.images.im2gps",
    "landmarks": "geoprobe.images.landmarks",
    "osv5m": "geoprobe.images.osv5m",
    "table": "geoprobe.images.table",
    "urls": "geoprobe.images.urls",
    "yfcc100m": "geoprobe.images.yfcc100m",
}


def load_source(name):
    """The module of a source.

    Raises:
        KeyError: there is no such source; the configuration's schema allows only these names.
    """
    return importlib.import_module(SOURCES[name])
