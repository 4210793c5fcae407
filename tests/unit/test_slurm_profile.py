"""The profile for SLURM: what it reads from the site, and one sentence where there is none."""

import re

import pytest
import yte
from conftest import ROOT

PROFILE = ROOT / "slurm" / "config.yaml"
COMMAND = "#!/bin/sh\n{}\n"


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A function that gives the profile as Snakemake reads it, where some commands answer in some way."""

    def read(accounting, account="", **environment):
        storage = "slurmdbd" if accounting else "none"
        answers = {
            "sbatch": "exit 1",
            "scontrol": f"echo 'AccountingStorageType   = accounting_storage/{storage}'",
            "sacctmgr": f"echo '   {account}'" if accounting else "exit 1",
        }
        for name, answer in answers.items():
            (tmp_path / name).write_text(COMMAND.format(answer))
            (tmp_path / name).chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
        for name in ("SBATCH_PARTITION", "SBATCH_ACCOUNT", "SNAKEMAKE_SLURM_PARTITIONS"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        return yte.process_yaml(PROFILE.read_text(), require_use_yte=True)

    return read


def test_finished_jobs_are_looked_up_where_they_are_kept(site):
    assert site(accounting=True)["slurm-status-command"] == "sacct"
    assert site(accounting=False)["slurm-status-command"] == "squeue"


def test_partition_and_account_are_those_of_the_environment(site):
    assert set(site(accounting=False)["default-resources"]) == {"tmpdir"}
    resources = site(accounting=False, SBATCH_PARTITION="long", SBATCH_ACCOUNT="lab")["default-resources"]
    assert resources == {"tmpdir": "system_tmpdir", "slurm_partition": "'long'"}
    resources = site(accounting=True, account="mine", SBATCH_ACCOUNT="lab")["default-resources"]
    assert resources["slurm_account"] == "'lab'"
    assert site(accounting=True, account="mine")["default-resources"]["slurm_account"] == "'mine'"
    listed = site(accounting=False, SBATCH_PARTITION="long", SNAKEMAKE_SLURM_PARTITIONS="file.yaml")
    assert "slurm_partition" not in listed["default-resources"]


def test_without_slurm_one_sentence_says_so(site, tmp_path, monkeypatch):
    site(accounting=False)
    (tmp_path / "scontrol").write_text(
        COMMAND.format("echo 'scontrol: error: one' >&2; echo 'no controller' >&2; exit 1")
    )
    with pytest.raises(SystemExit, match=r"^SLURM does not answer \(no controller\): see whether sinfo does"):
        yte.process_yaml(PROFILE.read_text(), require_use_yte=True)
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    with pytest.raises(SystemExit, match=r"^There is no SLURM on this machine \(sbatch is not found\): .*[^.]\.$"):
        yte.process_yaml(PROFILE.read_text(), require_use_yte=True)


def test_the_profile_names_no_site_and_caps_gpus(site):
    profile = site(accounting=False)
    assert profile["executor"] == "slurm"
    assert profile["resources"] == {"gpu": 8}
    assert profile["jobs"] >= 1
    assert profile["retries"] >= 1
    assert "array" not in PROFILE.read_text()


def test_every_rule_asks_for_more_memory_and_time_at_each_attempt():
    for file in sorted((ROOT / "rules").glob("*.smk")):
        text = file.read_text()
        # a number alone would be the same at each attempt
        assert not re.findall(r"^ +(?:mem_mb|runtime)=\d+", text, re.MULTILINE), file.name
        rules = len(re.findall(r"^ +script:", text, re.MULTILINE))
        for name in ("mem_mb", "runtime"):
            assert len(re.findall(rf"^ +{name}=", text, re.MULTILINE)) == rules, (file.name, name)
