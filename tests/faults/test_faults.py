"""A short form of `make faults`: one fault each, after which the run ends with the results of an undisturbed one."""

import pytest

from tests.faults.campaign import inject

pytestmark = pytest.mark.workflow


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("all killed at once", "score_probe"),
        ("driver killed, its job goes on", "join_analyses"),
        ("output cut off", "fit_probes"),
    ],
)
def test_a_run_goes_on_after_a_fault(tiny_run, kind, rule):
    assert inject(tiny_run.folder, kind, rule, seed=1)
