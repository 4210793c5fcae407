"""The guard of the fuzz tests sees what it is there for."""

import pytest

from tests import fuzzing
from tests.fuzzing import guarded

MEGABYTE = 2**20


def test_memory_that_one_example_takes_is_seen_in_a_process_that_once_held_more(monkeypatch):
    monkeypatch.setattr(fuzzing, "MEMORY", 100 * MEGABYTE)
    len(b"x" * (500 * MEGABYTE))  # held once and given back
    with pytest.raises(AssertionError, match=r"grew by \d+ MB"), guarded():
        len(b"x" * (200 * MEGABYTE))
    with guarded():
        len(b"x" * (20 * MEGABYTE))
