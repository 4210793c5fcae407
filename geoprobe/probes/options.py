"""What the configuration's protocol makes of the probes and of what is shown of them, and whether they fit together."""

PAPER = {
    "ridge": {"penalty": "leave-one-out", "alphas": {"low": -1, "high": 4, "count": 12}},
    "shown": {"cv": "random", "choice": "maximum"},
    "ranking": "raw",
}


def probe_options(config, name):
    """Options of a probe, poolings by name; under protocol paper a ridge has the paper's penalties and their choice."""
    options = dict(config["probes"][name])
    if options["poolings"] == "shown":
        options["poolings"] = config["analysis"]["poolings"]
    return options | PAPER.get(options["kind"], {}) if config["protocol"] == "paper" else options


def fold_options(config):
    """Options of the folds; of the sizes of blocks, that of the kind that is held out alone."""
    blocks = config["folds"]["blocks"]
    sizes = {"block_degrees": "degrees", "h3_resolution": "h3"}
    return {name: value for name, value in config["folds"].items() if sizes.get(name, blocks) == blocks}


def has_coefficients(options):
    """Whether a probe gives each dimension a weight for latitude and one for longitude."""
    return options["kind"] == "ridge" and "degrees" in options["targets"]


def shown_options(config):
    """Target, cross-validation, choice of layers and depth shown; the paper's are random folds and the maximum."""
    shown = {name: config["analysis"][name] for name in ("target", "cv", "choice", "depth")}
    return shown | PAPER["shown"] if config["protocol"] == "paper" else shown


def ranking_of(config):
    """How the dimensions of a layer are ranked: by raw coefficients under protocol paper, else by standardised ones."""
    return PAPER["ranking"] if config["protocol"] == "paper" else "standardised"


def check_probes(config):
    """Check what the run's probes fit against what is shown.

    Raises:
        ValueError: a probe cannot be fitted as asked, or what is shown is not fitted; one sentence with key and fix.
    """
    shown = shown_options(config)
    for name in config["run"]["probes"]:
        options = probe_options(config, name)
        if options["kind"] == "ridge" and options["alphas"]["low"] > options["alphas"]["high"]:
            raise ValueError(f"config: probes.{name}.alphas.low is above alphas.high; swap them.")
        if options.get("penalty") == "inner-folds" and config["folds"]["count"] < 3:
            raise ValueError(
                f"config: folds.count is {config['folds']['count']}, and probes.{name}.penalty is inner-folds, which "
                "holds a second fold out of the training images; give 3 folds or more, or penalty: leave-one-out."
            )
        for key, fitted in (("target", options["targets"]), ("cv", options["cv"])):
            if shown[key] not in fitted:
                paper = " (by protocol: paper)" if shown[key] != config["analysis"][key] else ""
                raise ValueError(
                    f'config: analysis.{key} is "{shown[key]}"{paper}, which probes.{name} does not fit '
                    f"({', '.join(fitted)}); add it there or choose another."
                )
        if "none" not in options["controls"]:
            raise ValueError(f'config: probes.{name}.controls is {options["controls"]}; it must hold "none".')
        if options["device"] == "cuda" and config["device"] != "cuda":
            raise ValueError(
                f'config: probes.{name}.device is "cuda", but device is "{config["device"]}"; set both, or neither.'
            )
    if not {*config["analysis"]["poolings"]} & {*config["features"]["poolings"]}:
        raise ValueError(
            f"config: analysis.poolings is {config['analysis']['poolings']}, of which features.poolings "
            f"({', '.join(config['features']['poolings'])}) holds none; add one there or choose another."
        )
