"""What jobs ask of a scheduler, from the model registry: bigger models ask for more memory and time, all for a GPU."""

import re

import pytest
import yaml
from conftest import ROOT, Project

pytestmark = pytest.mark.workflow


def test_memory_time_and_gpus_follow_the_registry(tmp_path):
    models = {"clip-b32": 3, "dinov2-g14": 7, "gemma-3-12b-pt": 29}  # GB, as the registry states them
    file = tmp_path / "delta.yaml"
    file.write_text(yaml.safe_dump({"run": {"models": list(models)}, "device": "cuda"}))
    options = {"config": file, "folder": tmp_path}
    output = Project(ROOT).snakemake("--snakefile", ROOT / "Snakefile", "--dry-run", **options).stdout
    asked = {}
    for block in re.split(r"\n(?=rule |localrule )", output):
        if match := re.match(
            r"rule (extract_features|fit_probes):.*model=([\w-]+),.*resources: (.*?)\n", block, re.DOTALL
        ):
            resources = dict(part.split("=", 1) for part in match[3].split(", "))
            asked[match[1], match[2]] = tuple(int(resources[name]) for name in ("mem_mb", "runtime", "gpu"))
    for model, size in models.items():
        # two hours a GB, and no more than two days
        assert asked["extract_features", model] == (1000 * size, min(120 * size, 2880), 1)
        assert asked["fit_probes", model] == (1000 * size, min(120 * size, 2880), 0)
