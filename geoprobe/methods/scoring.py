"""Sentences on what is fitted and reported: probes, scores, closer analyses, interventions."""

from geoprobe.methods.words import (
    TARGETS,
    counted,
    listed,
    percent,
    said_blocks,
    said_cv,
    said_poolings,
    said_value,
    seeds_of,
)
from geoprobe.probes.options import has_coefficients

CONTROLS = {
    "permuted": "labels shuffled among images",
    "permuted_cells": "geocells that keep their images and get another cell's place",
}
PENALTIES = {
    "inner-folds": "on other folds of the training images, under the same kind of hold-out",
    "leave-one-out": "by exact leave-one-out on the training images",
}
CHOICES = {
    "inner": "the layer with the best score within the training images of each fold",
    "maximum": "the layer with the best score on the test images, which is too high by construction",
}
WHERE = {"prefill": "once, while the prompt is read", "every_step": "at every token that is written"}
TRAINED = {"all": "the whole model", "head": "a linear head on the frozen model"}


def _ridge(name, options):
    """What a ridge regression is, and how its penalty is chosen."""
    alphas = options["alphas"]
    return (
        f"Probe {name} is a ridge regression with intercept on "
        f"{listed(TARGETS[target] for target in options['targets'])}; "
        f"of {'1 penalty' if alphas['count'] == 1 else f'''{alphas['count']} penalties'''}, evenly spaced in the "
        "exponent "
        f"from 1e{alphas['low']:g} to 1e{alphas['high']:g}, one "
        f"{'a column' if options['per_column'] else 'for all columns'} "
        f"was chosen {PENALTIES[options['penalty']]}; features were {'' if options['standardise'] else 'not '}scaled "
        "by the "
        "deviations of the training images."
    )


def _network(name, options):
    """What a network is, and how it is trained."""
    return (
        f"Probe {name} is a network with one hidden layer of {options['hidden']} units on "
        f"{listed(TARGETS[target] for target in options['targets'])}, with features and targets scaled by mean and "
        f"deviation of the training images, trained with Adam (learning rate {options['learning_rate']:g}, weight "
        "penalty "
        f"{options['alpha']:g}, batches of {options['batch_size']}, at most {options['max_iter']} epochs) until R2 on "
        f"{100 * options['validation_fraction']:g} % of the training images had not risen by {options['tolerance']:g} "
        "for "
        f"{counted(options['patience'], 'epoch')} (seed {options['seed']})."
    )


def probe_sentences(probes, folds):
    """Which probes were fitted, how their penalties were chosen, and under which cross-validations and controls."""
    sentences = []
    for name, options in probes.items():
        sentences.append((_ridge if options["kind"] == "ridge" else _network)(name, options))
        held = "; ".join(said_cv(cv, folds, options["cv"][:at]) for at, cv in enumerate(options["cv"]))
        poolings = "every pooling" if options["poolings"] == "all" else said_poolings(options["poolings"])
        layers = {"all": "all layers", "last": "the last layer of each tower"}[options["layers"]]
        sentences.append(
            f"It was fitted on {poolings}, {layers}, of all images and of each cluster by itself, under "
            f"{folds['count']}-fold "
            f"cross-validation (seed {folds['seed']}): {held}."
        )
        if controls := [CONTROLS[control] for control in options["controls"] if control != "none"]:
            selective = "; selectivity is R2 less that on the latter" if "permuted_cells" in options["controls"] else ""
            sentences.append(f"The same fits on {listed(controls)} are controls (seed {options['seed']}){selective}.")
    if folds["blocks"] == "degrees":
        sentences.append("Blocks are bands of latitude cut into cells of about equal area.")
    sentences.append(
        "Without features, the mean position of the training images and the geocell with most of them are scored "
        "beside."
    )
    return sentences


def _layer_at(depth):
    """The layer at a share of the depth, in words."""
    return f"{'the last layer' if depth == 1 else f'the layer at {100 * depth:g} % of the depth'} of each tower"


def score_sentences(shown, analysis, folds, probes, models, blocks):
    """What is reported, with which intervals and corrections.

    Args:
        shown: target, cv, choice, depth and ranking that figures show.
        analysis: the configuration's `analysis`.
        folds: the configuration's `folds`.
        probes: options of the probes by name.
        models: registry rows by name.
        blocks: data set to the number of blocks that were resampled.
    """
    families = [row["family"] for row in models.values()]
    layer = _layer_at(shown["depth"]) if shown["choice"] == "depth" else CHOICES[shown["choice"]]
    cvs = {cv for options in probes.values() for cv in options["cv"]}
    units = f"{said_blocks(folds)} ({listed(f'{count:,} of {name}' for name, count in blocks.items())})"
    if cvs == {"countries"}:
        units = "countries"
    elif "countries" in cvs:
        units += ", of countries where those are held out"
    if len(set(families)) < len(families):
        units += ", and of the training seeds of a model"
    sentences = [
        "R2 was computed over all held-out predictions together and averaged over the target's columns; a constant "
        "prediction has 0 at most. Distances are great circles on a sphere of 6,371 km.",
        f"Shown is, of each model, {layer}, by {said_poolings(analysis['poolings'])}, on {TARGETS[shown['target']]}; "
        "where "
        f"one cross-validation is shown, it is: {said_cv(shown['cv'], folds)}.",
        f"Intervals are 95 % percentile intervals over {analysis['bootstrap']:,} resamples (seed {analysis['seed']}) "
        "of "
        f"{units}.",
    ]
    if len(set(families)) > 1:
        sentences.append(
            "Differences between models are paired: both are scored on the same resamples. P values are two-sided, of "
            "the "
            "difference over the deviation of its resamples (normal), and corrected for the number of pairs (Holm "
            "1979)."
        )
    pairs = [pair for pair in analysis["pairs"] if {pair["baseline"], pair["text"]} <= {*families}]
    if pairs:
        text = listed(f"{pair['text']} minus {pair['baseline']} (alike in: {pair['matched']})" for pair in pairs)
        sentences.append(f"The effect of text is the mean over pairs of models alike but for text: {text}.")
    return sentences


def closer_sentences(shown, analysis, probes):
    """The closer analyses: of which a run that was not asked for them has none."""
    sentences = [
        "Errors by continent and by how densely the data cover a place are of the held-out predictions of "
        f"{_layer_at(shown['depth'])}."
    ]
    if not any(has_coefficients(options) for options in probes.values()):
        return sentences
    dimensions = analysis["dimensions"]
    clusters = {"all": "on the whole data set", "each": "on the whole data set and in each cluster"}[
        dimensions["clusters"]
    ]
    return [
        *sentences,
        "Made by the target analyses, of the same layers and for subsets also of each tower's first: subsets of "
        f"{percent(dimensions['shares'])} of the dimensions, ranked by "
        f"{shown['ranking']} coefficients within the training images {clusters}, beside {dimensions['random']} random "
        "ones; "
        f"correlations between the coefficients of two clusters over {percent(analysis['correlation']['shares'])} of "
        "the "
        "dimensions; probes of one cluster tested on another.",
    ]


def _directions(options):
    blocks = "every block" if options["blocks"] == "all" else f"blocks {listed(options['blocks'])}"
    return (
        f"In {listed(options['models'])} the summary token was moved after {blocks} along the coefficients of the "
        "probe "
        f"{options['probe']}, by {listed(options['km'])} km north, south, east and west, and by "
        f"{counted(options['random_seeds'], 'random direction')} of the same length, on at most {options['images']} "
        "images; "
        "the probes of the later blocks say how far the place that is read moved."
    )


def _steering(options):
    probed, pairs = options["probed"], options["pairs"]
    return (
        f"In {listed(options['models'])}, asked the prompt {options['prompt']} of photos of {options['dataset']} "
        f"({options['photos']} of each landmark; {'all' if pairs is None else f'at most {pairs}'} pairs of photos of "
        "different "
        f"countries, seed {options['seed']}), {percent(options['shares'])} of the dimensions of the summary token "
        "after "
        f"decoder block {options['block']} were replaced by the other photo's, "
        f"{listed(WHERE[where] for where in options['where'])}, "
        f"dimensions ranked by {listed(options['rankings'])} ({counted(options['random_seeds'], 'random draw')}; "
        "coefficients of "
        f"the probe {probed['probe']} on {probed['dataset']}, prompt {probed['prompt']}); the greedy answers of at "
        "most "
        f"{options['max_new_tokens']} tokens were searched for the names of landmark and place."
    )


def _finetuning(options):
    split, training = options["split"], options["training"]
    return (
        f"To tell the country of the images of {options['dataset']}, {TRAINED[training['train']]} was trained in "
        f"{listed(options['models'])}: countries with at least {split['minimum']} images, at most {split['maximum']} "
        "of each, "
        f"whole groups parted 60 : 20 : 20 into training, validation and test (seed {split['seed']}); AdamW with a "
        "cosine "
        f"schedule (batches of {training['batch_size']}, warm-up {training['warmup']:g}, weight decay "
        f"{training['weight_decay']:g}, mixed precision: {training['mixed_precision']}), at most "
        f"{counted(training['epochs'], 'epoch')}, ended after {counted(training['patience'], 'epoch')} without a gain "
        "on "
        f"validation images; the learning rate, of {listed(said_value(rate) for rate in training['learning_rates'])}, "
        "chosen on "
        f"these by the first seed; {seeds_of(training['seeds'])}; test images used once."
    )


SENTENCES = {"directions": _directions, "steering": _steering, "finetuning": _finetuning}


def intervention_sentences(interventions):
    """What is changed in models of the run; none where no intervention is made on any.

    Args:
        interventions: name to its options, with the `models` of the run that it is made on.
    """
    made = [SENTENCES[name](options) for name, options in interventions.items() if options["models"]]
    return [f"Made by the target interventions. {made[0]}", *made[1:]] if made else []
