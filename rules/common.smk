"""
What the other rules files share: the checked configuration, the run's models, and the code digests.
"""

import functools
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

sys.path.insert(0, str(workflow.basedir))

from geoprobe.clusters.options import has_elbow, told_clusters, way_of
from geoprobe.config import check_config, labellers
from geoprobe.freshness import digest_script, unfinished_outputs
from geoprobe.images.reads import folder_look, polygon_files, table_look
from geoprobe.models.prompts import resolve_prompt
from geoprobe.models.registry import (
    LOADERS,
    files_of,
    is_encoder,
    loader_of,
    needs_weights,
    trained_as,
)
from geoprobe.probes.options import (
    fold_options,
    has_coefficients,
    probe_options,
    ranking_of,
    shown_options,
)
from geoprobe.runtime import note_killed, use_checkout
from geoprobe.secrets import redact

# Jobs use the package of this checkout, wherever they are started from.
use_checkout(workflow.basedir)


def checked_models():
    """Registry rows of the run by model name; a mistake in the configuration ends the run in a sentence."""
    try:
        return check_config(config, workflow.basedir)
    except (ValueError, OSError) as error:
        raise WorkflowError(redact(str(error))) from None


@functools.cache
def code_digest(rule_name, table=(), used=None):
    """Digest of the code of a rule, taken once: hundreds of jobs share it, and each is asked several times."""
    script = f"{workflow.basedir}/workflow/scripts/{rule_name}.py"
    return digest_script(script, table=table, used=used)


def source_digest(rule_name):
    """Digest of the script of a rule and of the package modules that it reaches, or a function that takes it.

    Where Snakemake was started it is taken at once: what is recorded is the code that the run began with. On a cluster
    a job reads all rules again and takes its own alone: what an unfinished job has left is of use to the same code only.
    """
    if workflow.is_main_process:
        return code_digest(rule_name)
    return lambda wildcards: code_digest(rule_name)


def digest_each(rule_name, table, wildcard, rows, used):
    """A function that digests the code of a job: of a table of modules, that which its row uses counts alone.

    As in `source_digest`, where Snakemake was started the code is that with which the run began.
    """
    modules = tuple(table.values())
    if workflow.is_main_process:
        for module in {used(row) for row in rows.values()}:
            code_digest(rule_name, modules, module)
    return lambda wildcards: code_digest(
        rule_name, modules, used(rows[getattr(wildcards, wildcard)])
    )


def model_digest(rule_name):
    """A function that digests the code of a job: of all loaders of models, its model's own counts alone."""
    return digest_each(rule_name, LOADERS, "model", MODELS, loader_of)


def model_files(wildcards):
    """Files of a model that lies on this machine, some of which another stage makes."""
    return files_of(MODELS[wildcards.model])


def weights_of(wildcards):
    """Manifest of the fetched files of a public model; none for what lies on this machine or has no files."""
    if needs_weights(MODELS[wildcards.model]):
        return f"results/weights/{wildcards.model}.json"
    return []


def model_row(*columns):
    """A function that gives what a job needs to know of its model, and no more."""
    return lambda wildcards: {
        name: (MODELS | LABELLERS)[wildcards.model][name] for name in columns
    }


def model_rows(models, *columns):
    """What a job needs to know of some models, and no more."""
    return {model: {name: MODELS[model][name] for name in columns} for model in models}


def prompts_of(model):
    """Names of the prompts that a model is asked with, the run's first one first; none where it takes no text."""
    return RUN["prompts"] if MODELS[model]["supervision"] == "multimodal" else ["none"]


def of_probes(pattern, probes=None, models=None):
    """Paths by a pattern with {dataset}, {model}, {prompt} and {probe}, of all that is probed, or by some probes."""
    return [
        path
        for model in (MODELS if models is None else models)
        for path in expand(
            pattern,
            dataset=RUN["datasets"],
            model=model,
            prompt=prompts_of(model),
            probe=RUN["probes"] if probes is None else probes,
        )
    ]


def intervened(name):
    """Models of the run that an intervention is made on."""
    options = config["interventions"][name]
    if name == "directions" and options["probe"] not in WEIGHED:
        return []  # there is nothing to step along
    wanted = options["models"]
    return [model for model, row in MODELS.items() if row["family"] in wanted]


def of_interventions(pattern, name):
    """Paths by a pattern with {model} and what else an intervention is made on: its data sets, prompt and probe."""
    options = config["interventions"][name]
    datasets = [options["dataset"]] if "dataset" in options else RUN["datasets"]
    more = {key: options[key] for key in ("prompt", "probe") if key in options}
    return expand(pattern, dataset=datasets, model=intervened(name), **more)


def without(options, *names):
    """Options less those of some names."""
    return {key: value for key, value in options.items() if key not in names}


def analysed(path):
    """A function that gives a table of a model, asked with its first prompt."""
    return lambda wildcards: expand(
        path, prompt=prompts_of(wildcards.model)[0], **wildcards
    )[0]


def shipped(path):
    """A file of the user's own, or else the one of that name in this checkout."""
    return path if Path(path).exists() else f"{workflow.basedir}/{path}"


MODELS = checked_models()
# The model that names clusters by text, which need not be one of the run.
LABELLERS = labellers(config, workflow.basedir)
RUN = config["run"]
GPUS = int(config["device"] != "cpu")
# Draws of random tokens are one kind of prompt.
PROMPT_KINDS = {
    "random" if "random_tokens" in config["prompts"].get(name, {}) else name
    for name in RUN["prompts"]
}
MULTIMODAL = [
    name for name, row in MODELS.items() if row["supervision"] == "multimodal"
]
PROBES = {name: probe_options(config, name) for name in RUN["probes"]}
# Models alike but for text, of which both are in the run.
PAIRS = [
    pair
    for pair in config["analysis"]["pairs"]
    if {pair["baseline"], pair["text"]} <= {row["family"] for row in MODELS.values()}
]
WEIGHED = [name for name, options in PROBES.items() if has_coefficients(options)]
# Which of the fitted scores figures and tables show of each model: the first prompt and pooling that it has, and one
# choice of its layers. The cross-validations are shown side by side.
SHOWN = shown_options(config)
PROMPTS = list(dict.fromkeys([*RUN["prompts"], "none"]))
HEADLINE = {
    "prompts": PROMPTS,
    "choice": SHOWN["choice"],
    "target": SHOWN["target"],
}
# The data sets whose number of clusters is chosen, and what the jobs write besides where there are any.
ELBOWS = [
    name
    for name in dict.fromkeys([*RUN["datasets"], config["clusters"]["from"]])
    if name is not None and has_elbow(config["clusters"], name)
]
ELBOW = {"elbow": "results/clusters/{dataset}.elbow.csv"} if ELBOWS else {}
# Whether there are multimodal models that were asked in several ways.
ASKED = bool(MULTIMODAL) and len(PROMPT_KINDS) > 1
# Tables of the probes' comparison, and those that are made with `analyses` and with `interventions`.
TABLES = [
    *("scores", "differences", "clusters", "supervisions", "text_effect", "layers"),
    "baselines",
]
FORMS = ["csv", "tex", "md"]
ANALYSIS_TABLES = ["correlation", "dimensions", "transfer", "fairness"]
ANALYSIS_TABLES += ["prompts"] if ASKED else []
INTERVENTION_TABLES = [name for name in ("finetuning", "steering") if intervened(name)]


wildcard_constraints:
    dataset="|".join(config["datasets"]),
    model="|".join(MODELS),
    family="|".join(config["encoders"]["objectives"]),
    seed=r"\d+",
    shard=r"\d+",
    boundaries="|".join(config["boundaries"]),
    prompt="|".join(["none", *config["prompts"]]),
    probe="|".join(config["probes"]),
