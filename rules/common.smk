"""
What the other rules files share: the checked configuration, the run's models, and the code digests.
"""

import os
import sys

from snakemake.exceptions import WorkflowError

# Jobs and this file use the package of this checkout, wherever they are started from.
sys.path.insert(0, str(workflow.basedir))
os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(workflow.basedir), os.environ.get("PYTHONPATH")]))

from geoprobe.config import check_config
from geoprobe.freshness import digest_script
from geoprobe.models.registry import files_of


def checked_models():
    """Registry rows of the run by model name; a mistake in the configuration ends the run in a sentence."""
    try:
        return check_config(config, workflow.basedir)
    except (ValueError, OSError) as error:
        raise WorkflowError(str(error)) from None


def source_digest(rule_name):
    """Digest of the code that a rule runs: its script and the package modules that this reaches."""
    return digest_script(f"{workflow.basedir}/workflow/scripts/{rule_name}.py")


def model_files(wildcards):
    """Files of a model that another rule makes."""
    return files_of(MODELS[wildcards.model])


MODELS = checked_models()
RUN = config["run"]
GPUS = int(config["device"] != "cpu")
# Which of the fitted scores figures and tables show; the cross-validations are shown side by side.
HEADLINE = {"prompt": RUN["prompts"][0], "pooling": config["analysis"]["pooling"], "target": config["analysis"]["target"]}


TABLES = ["scores", "differences", "clusters"]


wildcard_constraints:
    dataset="|".join(config["datasets"]),
    model="|".join(MODELS),
    family="|".join(config["encoders"]["objectives"]),
    seed=r"\d+",
    prompt="|".join(RUN["prompts"]),
    probe="|".join(config["probes"]),
