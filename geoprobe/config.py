"""Check a run's configuration before anything is computed: one sentence a mistake, with the key and the fix."""

from pathlib import Path

import yaml
from jsonschema import Draft202012Validator

from geoprobe.clusters.options import caption_set, check_clusters, needs_labeller, way_of
from geoprobe.images.sources import load_source
from geoprobe.images.units import GAZETTEER
from geoprobe.interventions.options import check_interventions
from geoprobe.models.prompts import resolve_prompt
from geoprobe.models.registry import (
    check_name,
    did_you_mean,
    expand_seeds,
    expand_untrained,
    files_of,
    is_encoder,
    read_registry,
    trained_as,
)
from geoprobe.probes.options import check_probes

SCHEMA = "config/schemas/config.schema.yaml"
DEFAULTS = ("config/datasets.yaml", "config/config.yaml")
REGISTRY = "config/models.tsv"


def _key(error_path):
    """A dotted key, such as probes.ridge.cv[1], of a path into the configuration."""
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error_path).lstrip(".")


def _leaves(error):
    """The errors to be told of a compound error: those of the alternative that was meant, or itself if none was."""
    if not error.context:
        return [error]
    leaves = [leaf for part in error.context for leaf in _leaves(part)]
    meant = [
        leaf
        for leaf in leaves
        if leaf.validator not in ("type", "const") or len(leaf.absolute_path) > len(error.absolute_path)
    ]
    return meant or ([error] if error.validator == "oneOf" else leaves)


def _sentence(error):
    """One schema error as a sentence with the key, the value, and what is allowed."""
    key, value = _key(error.absolute_path), error.instance
    if error.validator == "additionalProperties":
        allowed = sorted(error.schema.get("properties", {}))
        unknown = next(name for name in value if name not in allowed)
        where = f"{key}.{unknown}" if key else unknown
        return f'"{where}" is not a key; allowed: {", ".join(allowed)}.{did_you_mean(unknown, allowed)}'
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in value)
        return f'"{f"{key}.{missing}" if key else missing}" is missing; add it (config/README.md says what it means).'
    if error.validator == "oneOf":
        kinds = [
            f'"{part["const"]}"' if "const" in part else f"of type {part['type']}" for part in error.schema["oneOf"]
        ]
        shown = f'"{value}"' if isinstance(value, str) else value
        return f"{key} is {shown}; it must be {' or '.join(kinds)}."
    if error.validator == "enum":
        allowed = error.validator_value
        return f'{key} is "{value}"; allowed: {", ".join(map(str, allowed))}.{did_you_mean(value, allowed)}'
    limits = {
        "minimum": "at least",
        "exclusiveMinimum": "more than",
        "maximum": "at most",
        "exclusiveMaximum": "less than",
        "type": "of type",
    }
    if error.validator in limits:
        limit = error.validator_value
        limit = " or ".join(limit) if isinstance(limit, list) else limit
        shown = f'"{value}"' if isinstance(value, str) else value
        return f"{key} is {shown}; it must be {limits[error.validator]} {limit}."
    if error.validator in ("minItems", "minProperties"):
        return f"{key} is empty or too short; give at least {error.validator_value}."
    if error.validator == "uniqueItems":
        return f"{key} is {value}; it names something twice; leave one out."
    if error.validator == "pattern":
        return (
            f'"{value}" cannot be a name in {key or "the configuration"}; use lower-case letters, digits and hyphens.'
        )
    return f"{key or 'the configuration'}: {error.message}."


def check_schema(config, schema):
    """Raise ValueError with a sentence a mistake, in the order of the configuration's keys."""
    errors = [leaf for error in Draft202012Validator(schema).iter_errors(config) for leaf in _leaves(error)]
    if errors:
        sentences = dict.fromkeys(f"config: {_sentence(error)}" for error in errors)
        raise ValueError("\n".join(sentences))


def check_texts(values, key="config"):
    """Raise ValueError where a text of the configuration or the registry would end a script element of the report.

    Snakemake writes parameters and labels of jobs into a script of the page without a word about "</".
    """
    if isinstance(values, dict):
        for name, value in values.items():
            check_texts(str(name), key)
            check_texts(value, f"{key}.{name}".replace(": .", ": "))
    elif isinstance(values, list):
        for index, value in enumerate(values):
            check_texts(value, f"{key}[{index}]")
    elif isinstance(values, str):
        for mark in ("</", "<!--"):
            if mark in values:
                raise ValueError(f"{key} is {values!r}, and the report cannot hold {mark}; write it without.")


def check_labels(models):
    """Raise ValueError where two models of a run have one label, under which figures would show one mean of both.

    The seeds of an encoder, and those of random weights, are one family and are averaged on purpose.
    """
    families = {}
    for row in models.values():
        other = families.setdefault(row["label"], row["family"])
        if other != row["family"]:
            raise ValueError(
                f'config: run.models has {other} and {row["family"]}, both with the label "{row["label"]}" in the '
                "registry; give each a label of its own."
            )


def check_references(config, registry):
    """Raise ValueError where one key names what another does not have, or two keys do not fit together."""
    run, encoders = config["run"], config["encoders"]
    for index, name in enumerate(run["datasets"]):
        check_name(f"run.datasets[{index}]", name, config["datasets"], "datasets")
    tables = " and ".join(filter(None, [REGISTRY, config["registry"]]))
    for index, name in enumerate(run["models"]):
        check_name(f"run.models[{index}]", name, registry, tables)
    for index, name in enumerate(run["prompts"]):
        check_name(f"run.prompts[{index}]", name, ["none", *config["prompts"]], "prompts")
        try:
            resolve_prompt(config["prompts"], name)
        except ValueError as error:
            raise ValueError(f"config: {error}") from error
    for index, name in enumerate(run["probes"]):
        check_name(f"run.probes[{index}]", name, config["probes"], "probes")
    check_name("encoders.dataset", encoders["dataset"], config["datasets"], "datasets")
    architecture = encoders["architecture"]
    for key, divisor in (("image_size", "patch_size"), ("width", "heads")):
        if architecture[key] % architecture[divisor]:
            raise ValueError(
                f"config: encoders.architecture.{key} is {architecture[key]}, which {divisor} "
                f"({architecture[divisor]}) does not divide; change one of them."
            )
    sets = caption_sets(config["datasets"][encoders["dataset"]])
    for name, options in encoders["objectives"].items():
        if options["objective"] == "text":
            key = f"encoders.objectives.{name}.captions"
            check_name(key, options["captions"], sets, f"the caption sets of {encoders['dataset']}")
    for name, options in config["datasets"].items():
        units = options["balance"].get("units", GAZETTEER)
        check_name(f"datasets.{name}.balance.units", units, [GAZETTEER, *config["boundaries"]], "boundaries")
    for name in run["datasets"]:
        named = caption_set(config["clusters"], name)
        # what an HDF5 file holds is known once it has been read
        if named is not None and config["datasets"][name]["source"] != "hdf5":
            sets = caption_sets(config["datasets"][name])
            if named not in sets:
                raise ValueError(
                    f'config: clusters.names.set is "{named}", but dataset {name} has '
                    f"{', '.join(sets) or 'no captions'}; choose one of these, or clusters.names.by: number."
                )
    for part, name in config["published"].items():
        check_name(f"published.{part}", name, config["datasets"], "datasets")
    tiers = config["localizability"]
    if len(tiers["tiers"]) != len(tiers["thresholds"]) + 1 or sorted(tiers["thresholds"]) != tiers["thresholds"]:
        raise ValueError(
            f"config: localizability.thresholds is {tiers['thresholds']}; give rising numbers, "
            f"one fewer than the {len(tiers['tiers'])} tiers."
        )
    for index, pair in enumerate(config["analysis"]["pairs"]):
        for side in ("baseline", "text"):
            check_name(f"analysis.pairs[{index}].{side}", pair[side], registry, tables)
    check_probes(config)


def caption_sets(options):
    """Names of the caption sets that a data set will have."""
    return sorted({*options["caption_sets"], *options.get("captions", [])})


def used_datasets(config, models):
    """Data sets that a run needs: those it probes, what its controlled encoders learn from, whose clusters it uses."""
    trained = [config["encoders"]["dataset"]] if any(map(is_encoder, models.values())) else []
    run = config["run"]["datasets"]
    origin = [config["clusters"]["from"]] if any(way_of(config["clusters"], name) == "from" for name in run) else []
    families, asked = {row["family"] for row in models.values()}, config["interventions"]
    intervened = [asked["finetuning"]["dataset"]] if families & {*asked["finetuning"]["models"]} else []
    if families & {*asked["steering"]["models"]}:
        intervened += [asked["steering"]["dataset"], asked["steering"]["probed"]["dataset"]]
    return list(dict.fromkeys([*run, *trained, *origin, *intervened]))


def read_yaml(path):
    """A YAML file; libyaml's loader, where it is there, takes a tenth of the time, and every job of a run reads."""
    return yaml.load(path.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def order_keys(config, pattern):
    """Bring a configuration's keys into the order of another, the rest by name after them, in place, at every depth.

    Snakemake puts the keys of a user's file before the default's, and compares a job's options by their text: a
    default stated anew would make things anew.
    """
    for key in [*(key for key in pattern if key in config), *sorted(set(config) - set(pattern), key=str)]:
        config[key] = config.pop(key)
        if isinstance(config[key], dict):
            order_keys(config[key], pattern[key] if isinstance(pattern.get(key), dict) else {})


def labellers(config, root):
    """Registry row of the model that names clusters by text, by its name; none where no data set's are."""
    names = config["clusters"]["names"]
    if not any(needs_labeller(config["clusters"], name) for name in config["datasets"]):
        return {}
    return {names["model"]: read_registry(Path(root, REGISTRY), *filter(None, [config["registry"]]))[names["model"]]}


def check_config(config, root):
    """Check a configuration, bring its keys into the default's order, and find the models of the run.

    Args:
        config: the default with the user's file laid over it.
        root: folder of the Snakefile.

    Returns:
        Registry rows of the run by model name, seeds expanded, with the untrained models that it asks for.

    Raises:
        ValueError: one sentence a mistake.
    """
    check_schema(config, read_yaml(Path(root, SCHEMA)))
    order_keys(config, {key: value for path in DEFAULTS for key, value in read_yaml(Path(root, path)).items()})
    for options in config["datasets"].values():
        # a table that ships with the checkout is found from any working folder
        shipped = Path(root, options.get("path") or "")
        if options.get("path") and not Path(options["path"]).exists() and shipped.is_file():
            options["path"] = str(shipped)
    own = config["registry"]
    if own is not None and not Path(own).is_file():
        raise ValueError(
            f'config: registry is "{own}", and there is no such file; its columns are those of {REGISTRY}.'
        )
    registry = read_registry(Path(root, REGISTRY), *filter(None, [own]))
    check_texts(config, "config: ")
    check_texts(registry, f"{REGISTRY} or registry: ")
    check_references(config, registry)
    models = expand_seeds({name: registry[name] for name in config["run"]["models"]}, config["encoders"]["seeds"])
    try:
        models = expand_untrained(models, config["run"]["untrained"])
    except ValueError as error:
        raise ValueError(f"config: {error}") from error
    check_labels(models)
    check_clusters(config, models, registry, root)
    check_interventions(config, registry, models)
    for name, row in models.items():
        if is_encoder(row):
            objectives = config["encoders"]["objectives"]
            check_name(f"run.models ({name})", trained_as(row), objectives, "encoders.objectives")
    for row in models.values():
        try:
            files_of(row)
        except ValueError as error:
            raise ValueError(f"config: {error}") from error
    for name in used_datasets(config, models):
        options = config["datasets"][name]
        try:
            load_source(options["source"]).check(options)
        except ValueError as error:
            raise ValueError(f"config: datasets.{name}.{error}") from error
    return models
