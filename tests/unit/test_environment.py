"""The pinned environment for conda is the one of the requirements."""

import re

import yaml
from conftest import ROOT


def pins(path):
    """Requirement lines of a file, without their comments."""
    lines = (
        re.split(r"\s+#", line)[0].strip() for line in path.read_text().splitlines() if not line.startswith(("#", "-"))
    )
    return [line for line in lines if line]


def test_the_conda_environment_has_the_pins_of_the_requirements():
    environment = yaml.safe_load((ROOT / "envs/geoprobe.yaml").read_text())
    (pip,) = (part["pip"] for part in environment["dependencies"] if isinstance(part, dict))
    assert pip == pins(ROOT / "requirements.txt")


def test_every_bound_has_a_reason_beside_it():
    for name in ("requirements.txt", "requirements-dev.txt"):
        for line in (ROOT / name).read_text().splitlines():
            if line and not line.startswith(("#", "-r")):
                assert re.search(r"\S\s+# \S+", line), line
