"""The sources of images: a name and the module behind it.

A source module has four functions. All take the data set's `options`, a plain dict of its configuration.
  check(options)              raise ValueError in one sentence if the options cannot work; cheap
  list_images(options)        -> rows, rejects: frames with id, latitude, longitude and, in rows, group and,
                              where there are captions, columns named "caption:<set>"; in rejects, reason
  load_images(rows, options)  -> for each row in order, (encoded bytes, "") or (None, reason)
  describe(options)           -> licence, attribution, source_version, and what else should be kept
"""

import importlib

SOURCES = {
    "bluemarble": "geoprobe.images.bluemarble",
    "hdf5": "geoprobe.images.hdf5",
    "table": "geoprobe.images.table",
}


def load_source(name):
    """The module of a source.

    Raises:
        KeyError: there is no such source; the configuration's schema allows only these names.
    """
    return importlib.import_module(SOURCES[name])
