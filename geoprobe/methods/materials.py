"""Sentences on what a run is made of: images, models, prompts, features, clusters."""

from geoprobe.methods.words import POOLINGS, listed, said_options, said_value, seeds_of

# options of a data set that say where its files lie and how they travel, or that have a clause of their own
UNSAID = {
    "source", "balance", "caption_sets", "captions", "path", "metadata", "images", "endpoint", "shards", "keep_tars",
    "images_base", "metadata_base", "flickr_base", "commons_api", "wikidata_api", "licence", "attribution",
}  # fmt: skip
OWN = ("folder", "hdf5", "table", "urls")
PARTS = {"pretrain": "for pretraining", "probe": "for probing", "tune": "for choosing training options"}
OBJECTIVES = {
    "random": "no training",
    "masked": "masked autoencoding",
    "contrastive": "self-supervised contrast",
    "text": "contrast with captions",
}


def _tiles(options):
    """How tiles of the Blue Marble were drawn."""
    size, shares = options["tile_pixels"], options["shares"]
    return (
        f"{options['tiles']:,} tiles of {size} x {size} pixels, {options['ground_km']:g} km a pixel, at most "
        f"{100 * options['max_sea_share']:g} % sea, were rendered at positions drawn uniformly on the sphere, within "
        "the "
        f"blocks of {options['block_degrees']:g} degrees that are kept {PARTS[options['part']]} (of all blocks "
        f"{100 * shares['probe']:g} % for probing, {100 * shares['tune']:g} % for choosing training options, the rest "
        f"for pretraining; seed {options['seed']})."
    )


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
        which = "" if options["source"] in OWN else f"version {store['source_version']}; "
        sentences.append(
            f"Data set {name} has {store['images']:,} images of the source {options['source']} "
            f"({which}licence: {store['licence']}; credit: {store['attribution']})."
        )
        if options["source"] == "bluemarble":
            sentences.append(_tiles(options))
        elif said := said_options(options, UNSAID):
            sentences.append(f"Its options are: {said}.")
        units = balance.get("units", "gazetteer")
        if "administrative_units" in store:
            units += f": {store['administrative_units']}"
        reserve = f", and {100 * balance['reserve']:g} % more held in reserve" if balance.get("reserve") else ""
        sentences.append(
            f"Administrative units ({units}) with fewer than {balance['minimum']} images were merged within their "
            "region "
            f"or country into geocells, of each of which at most {balance['maximum']} images were kept{reserve} (seed "
            f"{balance['seed']})."
        )
        if captions := [*options["caption_sets"], *options.get("captions", [])]:
            sentences.append(f"Captions: {listed(captions)}.")
    return sentences


def encoder_sentences(encoders, families):
    """How the encoders that the run trains itself were trained; none where it trains none."""
    objectives = {name: encoders["objectives"][name] for name in families}
    if not objectives:
        return []
    how = "; ".join(
        f"{name}: {OBJECTIVES[options['objective']]}{said and f' ({said})'}"
        for name, options in objectives.items()
        for said in [said_options(options, {"objective"})]
    )
    training = encoders["training"]
    colours = f"varied by up to {100 * training['colour']:g} %" if training["colour"] else "as they are"
    return [
        f"Encoders of one architecture (vision transformer: {said_options(encoders['architecture'])}) were trained on "
        f"{encoders['dataset']} with {seeds_of(encoders['seeds'])}, each on {training['presentations']:,} "
        "presentations "
        f"of an image in batches of {training['batch_size']}, by AdamW (learning rate {training['learning_rate']:g}, "
        f"weight decay {training['weight_decay']:g}, linear warm-up over {100 * training['warmup']:g} % of the steps, "
        f"then half a cosine), on random crops of at least {100 * training['crop']:g} % of the area with random flips "
        "and "
        f"colours {colours}.",
        f"They differ in their objective: {how}.",
    ]


def model_sentences(models, commits, families=()):
    """Each model with its files and their version.

    Args:
        models: registry rows by name.
        commits: name to the commit of its files, of those that were fetched.
        families: of encoders that the run trains itself.
    """
    sentences = []
    for name, row in models.items():
        if row["loader"] == "histogram":
            where = "no weights, the shares of colours in an image"
        elif row["loader"] == "local":
            own = f"the objective {row['family']}" if row["family"] in families else "weights kept locally"
            where = f"{own}, in {row['dtype']}"
        else:
            at = commits.get(name, row["revision"])
            where = f"{row['id']} at revision {at}, read by {row['loader']} in {row['dtype']}"
        random = ", weights at random" if row["weights"] == "random" else ""
        located = ", trained to locate photos" if row["geolocation"] == "yes" else ""
        sentences.append(f"{row['label']} ({name}; {row['supervision']}): {where}{random}{located}.")
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
            said = f"“{options['text']}”"
            if "as_long_as" in options:
                said += f", repeated or cut to as many tokens as {options['as_long_as']}"
        sentences.append(f"Prompt {name}: {said}.")
    return sentences


def feature_sentences(features, device, protocol):
    """What was read of each model, and where it ran."""
    layers = features["layers"]
    if layers == "all":
        blocks = "every block"
    elif isinstance(layers, int):
        blocks = f"one block in {layers}, counted back from the last,"
    else:
        blocks = f"blocks {listed(layers)}"
    sentences = [
        f"The models were frozen, ran on {'a GPU' if device == 'cuda' else 'the CPU'}, and had each image prepared by "
        "their "
        f"own preprocessing. The residual stream after {blocks} (before any last norm) was reduced to one vector an "
        "image "
        f"by {listed(POOLINGS[name] for name in features['poolings'])}, each where the model has it, and stored as "
        f"{features['dtype']}."
    ]
    if protocol == "paper":
        sentences.append(
            "As in the published scripts, masked autoencoders saw a random quarter of the patches, a vision tower "
            "without "
            "a class token had its last token for one, prompts of Gemma went without a chat template, and each side of "
            "the images for Qwen was capped at 800 pixels by itself."
        )
    return sentences


def _labeller(model):
    at = "" if model["revision"] == "none" else f" at revision {model['revision']}"
    return f"{model['label']}, {model['id']}{at}"


def _named(names):
    """How clusters were named; a path of labels is one on somebody's machine."""
    if names["by"] == "captions":
        return f"the {names['words']} caption words ({names['set']}) over-represented in each"
    if names["by"] == "text":
        labels = names["labels"] or "the published ones of 40 clusters"
        given = listed(labels) if isinstance(labels, list) else "a table" if names["labels"] else labels
        return f"the label, of {given}, most like their images ({_labeller(names['model'])}; “{names['template']}”)"
    return {"table": "a table", "number": "their numbers"}[names["by"]]


def cluster_sentences(clusters, ways, localizability):
    """How images were sorted into clusters, and those into tiers.

    Args:
        clusters: the configuration's `clusters`, with the defaults of its embedding filled in.
        ways: data set to its way: kmeans, from, source or stored.
        localizability: the configuration's.
    """
    sentences = []
    for name, way in ways.items():
        if way == "kmeans":
            count, embedding = clusters["count"], clusters["embedding"]
            what = "colour and texture statistics"
            if embedding != "statistics":
                what = (
                    f"features of {embedding['model']} ({embedding['tower']} tower, layer {embedding['layer']}, "
                    f"{POOLINGS[embedding['pooling']]})"
                )
            if isinstance(count, dict):
                count = f"from {count['low']} to {count['high']} (steps of {count['step']}), as the elbow says,"
            done = (
                f"by k-means into {count} clusters on {clusters['components']} principal components of {what} (seed "
                f"{clusters['seed']})"
            )
        elif way == "from":
            done = f"by the nearest centroid of the clusters of {clusters['from']}"
        else:
            done = {"source": "into one cluster, the data set itself", "stored": "as its file does"}[way]
        sentences.append(f"Images of {name} were sorted {done}.")
    if {"kmeans", "stored"} & {*ways.values()}:
        sentences.append(f"Clusters were named by {_named(clusters['names'])}.")
    if clusters["matched"]:
        count, seed = clusters["matched"]["images"], clusters["matched"]["seed"]
        if count == "smallest":
            sentences.append(f"Of each cluster as many images were drawn as the smallest has (seed {seed}).")
        else:
            sentences.append(f"Of each cluster {count:,} images were drawn (seed {seed}); smaller ones were left out.")
    tiers, bounds = localizability["tiers"], localizability["thresholds"]
    sentences.append(
        f"By their mean R2 over models, clusters are called {listed(tiers)}; the next one begins at "
        f"{listed(said_value(bound) for bound in bounds)}."
    )
    return sentences
