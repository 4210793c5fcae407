"""The sources: each name leads to a module that keeps the contract."""

import importlib
from pathlib import Path

import pytest
import yaml

from geoprobe.images.sources import SOURCES, load_source

SCHEMA = Path(__file__).resolve().parents[2] / "config" / "schemas" / "config.schema.yaml"


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_has_its_functions_and_says_what_each_does(name):
    module = load_source(name)
    assert module is importlib.import_module(SOURCES[name])
    own = "fetch_metadata" if module.NETWORK else "load_images"
    for function in ("check", "list_images", own, "describe"):
        assert callable(getattr(module, function))
        assert getattr(module, function).__doc__


def test_the_schema_allows_the_sources_that_there_are():
    schema = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))
    allowed = schema["properties"]["datasets"]["additionalProperties"]["properties"]["source"]["enum"]
    assert sorted(allowed) == sorted(SOURCES)
    assert set(SOURCES) <= set(schema["$defs"])


def test_an_unknown_source_is_refused_by_name():
    with pytest.raises(KeyError, match="flickr"):
        load_source("flickr")
