"""A methods paragraph from a run's configuration: what was done, in sentences that can go into a paper.

Every clause says a value of the configuration or of what was made by it, so a changed value changes the text. The
text is plain; names in it are escaped as each format needs it: Markdown, LaTeX and HTML.
"""

import html
import json
import re
from pathlib import Path

import h5py

from geoprobe.runtime import replacing
from geoprobe.tables import ESCAPES

# options of a data set that say where its files lie and how they travel, or that have a clause of their own
UNSAID = {
    "source", "balance", "caption_sets", "captions", "path", "metadata", "images", "endpoint", "shards", "keep_tars",
    "images_base", "metadata_base", "flickr_base", "commons_api", "wikidata_api", "licence", "attribution",
}  # fmt: skip
OWN = ("folder", "hdf5", "table", "urls")
CROSS_VALIDATIONS = {
    "random": "images held out at random",
    "blocked": "whole {blocks} held out",
    "buffered": "the same {blocks} held out and no image within {buffer_km} km of a test image trained on",
    "grouped": "whole groups of images (author, sequence or place) held out",
    "countries": "whole countries held out",
}
TARGETS = {
    "degrees": "latitude and longitude in degrees",
    "sphere": "the unit vector of the position",
    "circular": "latitude with sine and cosine of longitude",
}
CONTROLS = {
    "permuted": "labels shuffled among images",
    "permuted_cells": "geocells that keep their images and get another cell's place",
}
POOLINGS = {
    "cls": "the class token",
    "last": "the last token",
    "mean": "the mean over image tokens",
    "maxmin": "maximum plus minimum over image tokens",
    "mean-all": "the mean over all tokens",
    "maxmin-all": "maximum plus minimum over all tokens",
}
PENALTIES = {
    "inner-folds": "on other folds of the training images, under the same kind of hold-out",
    "leave-one-out": "by exact leave-one-out on the training images",
}
CHOICES = {
    "inner": "the layer with the best score within the training images of each fold",
    "depth": "the layer at {depth:g} of the depth of its tower",
    "maximum": "the layer with the best score on the test images, which is too high by construction",
}
OBJECTIVES = {
    "random": "no training",
    "masked": "masked autoencoding",
    "contrastive": "self-supervised contrast",
    "text": "contrast with captions",
}
LATEX = ESCAPES | {"<": "$<$", ">": "$>$"}
MARKDOWN = re.compile(r"([\\`*_{}\[\]<>#|~&$])")


def _list(parts):
    """Words joined as in a sentence."""
    parts = [str(part) for part in parts]
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def _value(value):
    """An option's value in words."""
    if isinstance(value, dict):
        return _list([f"{name} {_value(part)}" for name, part in value.items()]) if value else "none"
    if isinstance(value, list):
        return _list(map(_value, value)) if value else "none"
    if value is None or isinstance(value, bool):
        return {None: "none", True: "yes", False: "no"}[value]
    return f"{value:g}" if isinstance(value, float) else str(value)


def _options(options, unsaid=()):
    """Options as "name value" in the order of their names."""
    return "; ".join(f"{name} {_value(value)}" for name, value in sorted(options.items()) if name not in unsaid)


def data_sentences(datasets, stores):
    """What each data set is, how many images were kept, and under which licence.

    Args:
        datasets: name to its options.
        stores: name to `images` (number), `licence`, `attribution`, `source_version` and, optionally,
            `administrative_units`, of its image store.
    """
    sentences = []
    for name, options in datasets.items():
        store, balance = stores[name], options["balance"]
        # of own files the version is a path on somebody's machine
        which = "" if options["source"] in OWN else f"{store['source_version']}; "
        sentences.append(
            f"Data set {name} has {store['images']:,} images of the source {options['source']} "
            f"({which}licence: {store['licence']}; credit: {store['attribution']})."
        )
        if said := _options(options, UNSAID):
            sentences.append(f"Its options are: {said}.")
        units = balance.get("units", "gazetteer")
        if "administrative_units" in store:
            units += f": {store['administrative_units']}"
        reserve = f", with a reserve of {balance['reserve']:g} times as many" if balance.get("reserve") else ""
        sentences.append(
            f"Administrative units ({units}) with fewer than {balance['minimum']} images were merged into "
            f"geocells, and at "
            f"most {balance['maximum']} images of a geocell were drawn{reserve} (seed {balance['seed']})."
        )
        if captions := [*options["caption_sets"], *options.get("captions", [])]:
            sentences.append(f"Captions: {_list(captions)}.")
    return sentences


def encoder_sentences(encoders, families):
    """How the encoders that the run trains itself were trained; none where it trains none."""
    objectives = {name: encoders["objectives"][name] for name in families}
    if not objectives:
        return []
    how = "; ".join(
        f"{name}: {OBJECTIVES[options['objective']]}{said and f' ({said})'}"
        for name, options in objectives.items()
        for said in [_options(options, {"objective"})]
    )
    return [
        f"Encoders of one architecture (vision transformer; {_options(encoders['architecture'])}) were trained on "
        f"{encoders['dataset']}, seeds {_list(encoders['seeds'])}, each with the same options "
        f"({_options(encoders['training'])}), and differ in their objective: {how}."
    ]


def model_sentences(models, commits):
    """Each model with its files and their version.

    Args:
        models: registry rows by name.
        commits: name to the commit of its files, of those that were fetched.
    """
    sentences = []
    for name, row in models.items():
        if row["loader"] == "histogram":
            where = "no weights, the colours of an image counted"
        elif row["loader"] == "local":
            where = f"weights made or kept locally, {row['dtype']}"
        else:
            at = commits.get(name, row["revision"])
            where = f"{row['id']} at revision {at}, read by {row['loader']} in {row['dtype']}"
        random = ", weights at random" if row["weights"] == "random" else ""
        located = ", trained to locate photos" if row["geolocation"] == "yes" else ""
        sentences.append(f"{row['label']} ({name}) is {row['supervision']}: {where}{random}{located}.")
    return sentences


def prompt_sentences(prompts):
    """What multimodal models were asked."""
    sentences = []
    for name, options in prompts.items():
        if options is None:
            said = "the image alone"
        elif "random_tokens" in options:
            said = f"{options['random_tokens']} random tokens of the model's vocabulary (seed {options['seed']})"
        else:
            said = f'"{options["text"]}"'
            if "as_long_as" in options:
                said += f", repeated or cut to the length of {options['as_long_as']}"
        sentences.append(f"Prompt {name}: {said}.")
    return sentences


def feature_sentences(features, protocol):
    """What was read of each model."""
    layers = features["layers"]
    if layers == "all":
        blocks = "every block"
    elif isinstance(layers, int):
        blocks = f"one block in {layers}, counted back from the last,"
    else:
        blocks = f"blocks {_list(layers)}"
    sentences = [
        f"The models were frozen. The residual stream after {blocks} was reduced to one vector an image by "
        f"{_list([POOLINGS[name] for name in features['poolings']])}, where the model has it, and stored as "
        f"{features['dtype']}."
    ]
    if protocol == "paper":
        sentences.append(
            "Masking, summary tokens without a class token, templates and image sizes followed the published scripts."
        )
    return sentences


def cluster_sentences(clusters, ways):
    """How images were sorted into clusters.

    Args:
        clusters: the configuration's `clusters`, with the defaults of its embedding filled in.
        ways: data set to its way: kmeans, from, source or stored.
    """
    sentences = []
    for name, way in ways.items():
        if way == "kmeans":
            count, embedding = clusters["count"], clusters["embedding"]
            what = "colour and texture statistics" if embedding == "statistics" else _options(embedding)
            if isinstance(count, dict):
                count = f"from {count['low']} to {count['high']} in steps of {count['step']}, chosen by the elbow,"
            done = (
                f"by k-means with {count} clusters on {clusters['components']} principal components of {what} (seed "
                f"{clusters['seed']})"
            )
        elif way == "from":
            done = f"by the nearest centroid of the clusters of {clusters['from']}"
        else:
            done = {"source": "into one cluster, the data set itself", "stored": "as its file does"}[way]
        sentences.append(f"Images of {name} were sorted {done}.")
    names = clusters["names"]
    if names["by"] == "captions":
        said = f"the {names['words']} caption words ({names['set']}) over-represented in each"
    elif names["by"] == "text":
        weights = f", {names['pretrained']}" if names["pretrained"] else ""
        said = f'the label most like their images ({names["model"]}{weights}; "{names["template"]}")'
    else:
        said = {"table": "a table", "number": "their numbers"}[names["by"]]
    sentences.append(f"Clusters were named by {said}.")
    if clusters["matched"]:
        count = clusters["matched"]["images"]
        count = "as many images as the smallest has" if count == "smallest" else f"{count} images"
        sentences.append(f"Every cluster was cut to {count} (seed {clusters['matched']['seed']}).")
    return sentences


def _blocks(folds):
    if folds["blocks"] == "degrees":
        return f"blocks of {folds['block_degrees']:g} degrees"
    return "geocells" if folds["blocks"] == "geocell" else f"H3 cells of resolution {folds['h3_resolution']}"


def probe_sentences(probes, folds):
    """Which probes were fitted, how their penalties were chosen, and under which cross-validations and controls."""
    where = {"blocks": _blocks(folds), "buffer_km": f"{folds['buffer_km']:g}"}
    sentences = []
    for name, options in probes.items():
        targets = _list([TARGETS[target] for target in options["targets"]])
        if options["kind"] == "ridge":
            alphas = options["alphas"]
            penalties = "1 penalty" if alphas["count"] == 1 else f"{alphas['count']} penalties"
            sentences.append(
                f"Probe {name} is a ridge regression with intercept on {targets}; of {penalties}, evenly spaced in the "
                f"exponent from 1e{alphas['low']:g} to 1e{alphas['high']:g}, one "
                f"{'a column' if options['per_column'] else 'for all columns'} was chosen "
                f"{PENALTIES[options['penalty']]}; "
                f"features were {'' if options['standardise'] else 'not '}scaled by the deviations of the "
                f"training images."
            )
        else:
            sentences.append(
                f"Probe {name} is a network with one hidden layer of {options['hidden']} units on {targets}, "
                f"trained with "
                f"Adam (learning rate {options['learning_rate']:g}, weight penalty {options['alpha']:g}, batches of "
                f"{options['batch_size']}, at most {options['max_iter']} epochs) until R2 on a share of "
                f"{options['validation_fraction']:g} of the training images had not risen by "
                f"{options['tolerance']:g} for "
                f"{options['patience']} epochs (seed {options['seed']})."
            )
        held = "; ".join(CROSS_VALIDATIONS[cv].format(**where) for cv in options["cv"])
        poolings = options["poolings"]
        poolings = "all poolings" if poolings == "all" else _list([POOLINGS[pooling] for pooling in poolings])
        sentences.append(
            f"It was fitted on {poolings} (layers: {_value(options['layers'])}) under {folds['count']}-fold "
            f"cross-validation "
            f"(seed {folds['seed']}): {held}."
        )
        controls = [CONTROLS[control] for control in options["controls"] if control != "none"]
        if controls:
            sentences.append(f"The same fits on {_list(controls)} are controls (seed {options['seed']}).")
    return sentences


def score_sentences(shown, analysis, folds, models, blocks):
    """What is reported, with which intervals and corrections.

    Args:
        shown: target, cv, choice, depth and ranking that figures show.
        analysis: the configuration's `analysis`.
        folds: the configuration's `folds`.
        models: registry rows by name.
        blocks: data set to the number of blocks that were resampled.
    """
    families = {row["family"] for row in models.values()}
    pairs = [pair for pair in analysis["pairs"] if {pair["baseline"], pair["text"]} <= families]
    text = _list(
        [f"{pair['text']} minus {pair['baseline']} (alike in: {pair['matched']})" for pair in pairs] or ["none"]
    )
    counted = _list([f"{count:,} of {name}" for name, count in blocks.items()])
    dimensions = analysis["dimensions"]
    percent = [f"{100 * share:g}" for share in dimensions["shares"]]
    return [
        "R2 was computed over all held-out predictions together and averaged over the target's columns; a constant "
        "prediction has 0.",
        f"Shown is, of each model, {CHOICES[shown['choice']].format(**shown)}, by "
        f"{_list([POOLINGS[name] for name in analysis['poolings']])}, whichever the model has first, on "
        f"{TARGETS[shown['target']]}; where one cross-validation is shown, it is: "
        f"{CROSS_VALIDATIONS[shown['cv']].format(blocks=_blocks(folds), buffer_km=format(folds['buffer_km'], 'g'))}.",
        f"Intervals are 95 % percentile intervals over {analysis['bootstrap']:,} resamples (seed "
        f"{analysis['seed']}) of "
        f"{_blocks(folds)} ({counted}), of countries where those are held out, and of training seeds where there "
        f"are several.",
        "Differences between models are paired: both are scored on the same resamples. P values are two-sided and "
        "corrected for the number of pairs (Holm 1979).",
        f"The effect of text is the mean over pairs of models alike but for text: {text}.",
        f"Subsets of {_list(percent)} % of the dimensions were ranked by {shown['ranking']} coefficients within "
        f"the training "
        f"images (clusters: {dimensions['clusters']}) and compared with {dimensions['random']} random ones; "
        f"coefficients "
        f"were correlated over {_list([f'{100 * share:g}' for share in analysis['correlation']['shares']])} % of the "
        "dimensions.",
    ]


def read_store(path):
    """Number of images of an image store and what it says of them."""
    with h5py.File(path, "r") as file:
        names = ("licence", "attribution", "source_version", "administrative_units")
        attributes = {name: str(file.attrs[name]) for name in names if name in file.attrs}
        return {"images": len(file["ids"]), **attributes}


def read_commits(manifests):
    """Model to commit, of the manifests of fetched weights, name to path."""
    return {name: json.loads(Path(path).read_text(encoding="utf-8"))["commit"] for name, path in manifests.items()}


def paragraphs(options, stores, commits, blocks, software):
    """Headings and their sentences, plain text.

    Args:
        options: datasets of the run (name to options), others that it uses (likewise), encoders, families (of trained
            encoders), models, prompts (name to options, None for the image alone), protocol, clusters, ways (data set
            to where its clusters come from), folds, features, probes, shown, analysis.
        stores: data set to :func:`read_store`, of all that are used.
        commits: model to commit.
        blocks: data set to the number of blocks.
        software: a sentence, of :func:`geoprobe.software.software_sentence`.
    """
    everything = {**options["datasets"], **options["others"]}
    parts = {
        "Images": data_sentences(everything, stores),
        "Models": [
            *encoder_sentences(options["encoders"], options["families"]),
            *model_sentences(options["models"], commits),
        ],
        "Prompts": prompt_sentences(options["prompts"]),
        "Features": feature_sentences(options["features"], options["protocol"]),
        "Clusters": cluster_sentences(options["clusters"], options["ways"]),
        "Probes": probe_sentences(options["probes"], options["folds"]),
        "Scores": score_sentences(options["shown"], options["analysis"], options["folds"], options["models"], blocks),
        "Software": [software],
    }
    return {heading: " ".join(" ".join(sentences).split()) for heading, sentences in parts.items() if sentences}


def as_markdown(parts):
    """The paragraphs as Markdown, names escaped."""
    body = "\n\n".join(f"**{heading}.** " + MARKDOWN.sub(r"\\\1", text) for heading, text in parts.items())
    return f"# Methods\n\n{body}\n"


def as_latex(parts):
    """The paragraphs as LaTeX, names escaped; to be read with \\input under a heading of the paper's own."""
    escaped = {heading: "".join(LATEX.get(letter, letter) for letter in text) for heading, text in parts.items()}
    return "".join(f"\\paragraph{{{heading}.}} {text}\n\n" for heading, text in escaped.items())


def as_html(parts):
    """The paragraphs as one page that asks for nothing, names escaped."""
    body = "\n".join(f"<p><b>{heading}.</b> {html.escape(text)}</p>" for heading, text in parts.items())
    style = "body{font:16px/1.5 sans-serif;max-width:46em;margin:1em auto;padding:0 1em;overflow-wrap:anywhere}"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width"><title>Methods</title><style>{style}</style></head>\n'
        f"<body><h1>Methods</h1>\n{body}\n</body></html>\n"
    )


def write_methods(parts, md, tex, page):
    """Write the paragraphs three times: Markdown, LaTeX, HTML."""
    for path, text in ((md, as_markdown(parts)), (tex, as_latex(parts)), (page, as_html(parts))):
        with replacing(path) as temporary:
            temporary.write_text(text, encoding="utf-8")
