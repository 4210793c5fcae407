"""What Snakemake would make of a configuration: each job with the params and inputs that it compares, in this process.

A dry run of its own takes seconds, most of them for reading the rules; here the files are parsed once, and a plan takes
a fraction of a second. Snakemake's classes are used as its command line uses them; its version is pinned.
"""

import contextlib
import copy
import functools
import os
import sys
from pathlib import Path
from unittest import mock

import dpath
import snakemake.cli  # before the others, which can only be imported after it
import snakemake.workflow
from conftest import ROOT
from snakemake.api import SnakemakeApi
from snakemake.common import configfile
from snakemake.settings.types import (
    ConfigSettings,
    DAGSettings,
    OutputSettings,
    Quietness,
    ResourceSettings,
    WorkflowSettings,
)
from snakemake_interface_executor_plugins.settings import ExecMode

import geoprobe.config
from geoprobe import freshness

parse, compile_text = snakemake.workflow.parse, functools.cache(compile)
parsed = {}


def parse_once(path, workflow, linemap, rulecount=0):
    """Snakemake's parse of a rules file, whose result does not depend on the configuration."""
    key = path.get_path_or_uri(secret_free=True), rulecount
    if key not in parsed:
        lines = {}
        parsed[key] = (*parse(path, workflow, linemap=lines, rulecount=rulecount), lines)
    text, count, lines = parsed[key]
    linemap.update(lines)
    return text, count


digest_once = functools.cache(freshness.digest_script)
read_once = functools.cache(configfile.load_configfile)
schema_once = functools.cache(geoprobe.config.yaml.load)


def copy_of_configfile(path):
    """A configuration file as it was read the first time."""
    return copy.deepcopy(read_once(path))


def look_up(config, path):
    """What dpath gives for a path without a pattern, of which the rules have no other; it walks the whole configuration."""
    for name in path.split("/"):
        config = config[name]
    return config


def plan(config, targets, folder, mode=ExecMode.DEFAULT):
    """Jobs of a configuration laid over the default, planned in a folder.

    Args:
        config: the configuration.
        targets: rules or files.
        folder: where the run would be.
        mode: whether this is where Snakemake was started, or a job of its own on another machine.

    Returns:
        A dict from the paths that a job makes to (rule, wildcards, params, inputs): wildcards a dict, params as Snakemake
        records and compares them, inputs a set of paths. Target rules, which make nothing, are left out.
    """
    with (
        contextlib.chdir(folder),
        mock.patch.object(snakemake.workflow, "parse", parse_once),
        mock.patch.object(snakemake.workflow, "compile", compile_text, create=True),
        mock.patch.object(freshness, "digest_script", digest_once),
        mock.patch.object(configfile, "load_configfile", copy_of_configfile),
        mock.patch.object(geoprobe.config.yaml, "load", schema_once),
        mock.patch.object(dpath, "get", look_up),
        mock.patch.object(sys, "path", list(sys.path)),
        mock.patch.dict(os.environ),
        SnakemakeApi(OutputSettings(quiet={Quietness.ALL}, dryrun=True)) as api,
    ):
        made = api.workflow(
            resource_settings=ResourceSettings(cores=1),
            config_settings=ConfigSettings(config=config),
            workflow_settings=WorkflowSettings(exec_mode=mode),
            snakefile=ROOT / "Snakefile",
            workdir=Path(folder),
        )
        made.dag(DAGSettings(targets=set(targets)))
        workflow = made._workflow
        workflow._prepare_dag(forceall=False, ignore_incomplete=True, lock_warn_only=True)
        workflow.async_run(workflow.dag.init())
        return {
            tuple(map(str, job.output)): (
                job.rule.name,
                dict(job.wildcards_dict),
                workflow.persistence._params(job),
                {str(path) for path in job.input},
            )
            for job in workflow.dag.jobs
            if job.output
        }


def changed(before, after):
    """Jobs of the second plan, as in it, that are new or whose own params or inputs are others than in the first."""
    return [job for outputs, job in after.items() if outputs not in before or before[outputs][2:] != job[2:]]
