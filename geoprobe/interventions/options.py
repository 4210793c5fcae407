"""Whether the configured interventions fit together; importing this module imports no model library."""

from geoprobe.models.registry import check_name
from geoprobe.probes.options import probe_options, shown_options


def _check_probe(config, key, name):
    """A probe whose coefficients are used: one of the run's, a ridge on degrees under the shown cross-validation."""
    check_name(key, name, config["run"]["probes"], "run.probes")
    options, cv = probe_options(config, name), shown_options(config)["cv"]
    if options["kind"] != "ridge":
        raise ValueError(f"config: {key} is {name}, which is no ridge and has no coefficients; name one that is.")
    if "degrees" not in options["targets"] or cv not in options["cv"]:
        raise ValueError(
            f"config: {key} is {name}, which must be fitted on degrees under {cv} folds; add both to probes.{name}."
        )


def check_interventions(config, registry, models):
    """Check the names that interventions give, of what is made on models of the run.

    Args:
        config: the checked configuration.
        registry: rows of the registry by name.
        models: rows of the run by name.

    Raises:
        ValueError: one sentence with the key and the fix.
    """
    asked = config["interventions"]
    for name, options in asked.items():
        for index, model in enumerate(options["models"]):
            check_name(f"interventions.{name}.models[{index}]", model, registry, "the tables of models")
    for name in ("directions", "finetuning"):
        for model in asked[name]["models"]:
            if registry[model]["loader"] == "histogram":
                raise ValueError(
                    f"config: interventions.{name}.models names {model}, which has no blocks; leave it out."
                )
    check_name("interventions.directions.probe", asked["directions"]["probe"], config["probes"], "probes")
    finetuning, steering = asked["finetuning"], asked["steering"]
    check_name("interventions.finetuning.dataset", finetuning["dataset"], config["datasets"], "datasets")
    if finetuning["split"]["minimum"] > finetuning["split"]["maximum"]:
        raise ValueError("config: interventions.finetuning.split.minimum is above maximum; swap them.")
    check_name("interventions.steering.dataset", steering["dataset"], config["datasets"], "datasets")
    check_name("interventions.steering.probed.dataset", steering["probed"]["dataset"], config["datasets"], "datasets")
    prompts = ["none", *config["prompts"]]
    for key, prompt in (("prompt", steering["prompt"]), ("probed.prompt", steering["probed"]["prompt"])):
        check_name(f"interventions.steering.{key}", prompt, prompts, "prompts")
    steered = [row for row in models.values() if row["family"] in steering["models"]]
    for row in steered:
        if row["supervision"] != "multimodal":
            raise ValueError(
                f"config: interventions.steering.models names {row['family']}, which writes no text; name multimodal "
                "models."
            )
    if steered:
        _check_probe(config, "interventions.steering.probed.probe", steering["probed"]["probe"])
