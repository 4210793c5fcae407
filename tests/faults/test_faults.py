"""A short form of `make faults`: one fault each, after which the run ends with the results of an undisturbed one."""

import random

import pytest

from tests.conftest import TARGETS
from tests.faults.campaign import inject
from tests.faults.inputs import damage_input

pytestmark = pytest.mark.workflow


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("all killed at once", "score_probe"),
        ("driver killed, its job goes on", "join_analyses"),
        ("job killed", "compare_models"),
        ("output cut off", "fit_probes"),
    ],
)
def test_a_run_goes_on_after_a_fault(tiny_run, tmp_path, kind, rule):
    # a fault may come too late to matter; the next seed has another moment
    assert any(inject(tiny_run.folder, kind, rule, seed, tmp_path / str(seed), TARGETS) for seed in (1, 2, 3))


@pytest.mark.parametrize(
    ("kind", "name"), [("input cut off", "csv"), ("input cut off", "hdf5"), ("input overwritten", "photos")]
)
def test_a_damaged_input_is_named_and_what_it_was_put_back_for_is_made(tmp_path, kind, name):
    assert damage_input(name, kind, tmp_path, random.Random(1))
