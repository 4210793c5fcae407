"""
What the rules of one data set read: its code, its files on this machine or from the network, and what it is clustered by.
"""

from geoprobe.clusters.options import embedding_of, needs_labeller, options_of, way_of
from geoprobe.images.reads import own_files, stage_options
from geoprobe.images.sources import SOURCES, load_source
from geoprobe.images.units import GAZETTEER


def dataset_digest(rule_name):
    """A function that digests the code of a job: of all sources of images, its data set's own counts alone."""
    return digest_each(
        rule_name,
        SOURCES,
        "dataset",
        config["datasets"],
        lambda options: SOURCES[options["source"]],
    )


def told_of(dataset):
    """Options of a data set without the paths of its files, which the report would show as the job's parameters."""
    return without(config["datasets"][dataset], "path", "metadata", "images")


def from_network(dataset):
    """Whether the images of a data set must be fetched."""
    return load_source(config["datasets"][dataset]["source"]).NETWORK


def options_of_dataset(stage):
    """A function that gives what a stage needs to know of its data set, and no more."""
    return lambda wildcards: stage_options(stage, config["datasets"][wildcards.dataset])


def listed_of(network):
    """A function that gives the user's own files that a data set is listed from, by the rule that reads them first."""
    return lambda wildcards: (
        own_files(config["datasets"][wildcards.dataset])
        if from_network(wildcards.dataset) == network
        else []
    )


def looks_of(look):
    """A function that gives how a data set's photographs on this machine look, without reading them."""
    return lambda wildcards: look(config["datasets"][wildcards.dataset])


def metadata_of(wildcards):
    """Manifest of the fetched list of a data set; none for what is on this machine."""
    if from_network(wildcards.dataset):
        return f"results/downloads/{wildcards.dataset}/metadata.json"
    return []


def boundaries_of(wildcards):
    """Manifest of the polygons that place the images of a data set; none for the gazetteer."""
    name = config["datasets"][wildcards.dataset]["balance"].get("units", GAZETTEER)
    return [] if name == GAZETTEER else f"results/downloads/boundaries/{name}.json"


def downloads_of(wildcards):
    """Status tables of all shards of a data set; none for what is on this machine."""
    if not from_network(wildcards.dataset):
        return []
    shards = range(config["datasets"][wildcards.dataset].get("shards", 1))
    return [
        f"results/downloads/{wildcards.dataset}/{shard}.parquet" for shard in shards
    ]


def cluster_features(wildcards):
    """Features that a data set is clustered by, where the configuration names a model."""
    embedding = embedding_of(config["clusters"])
    if embedding == "statistics":
        return []
    return f"results/features/{wildcards.dataset}/{embedding['model']}/none.h5"


def cluster_origin(wildcards):
    """Clusters of another data set, where a data set's images are assigned to those."""
    if way_of(config["clusters"], wildcards.dataset) != "from":
        return []
    return f"results/clusters/{config['clusters']['from']}.h5"


def labellers_of(wildcards):
    """The model that names a data set's clusters by text, as MODELS."""
    return LABELLERS if needs_labeller(config["clusters"], wildcards.dataset) else {}


def labeller_files(wildcards):
    """Files of the model that names clusters by text, where it lies on this machine."""
    return [path for row in labellers_of(wildcards).values() for path in files_of(row)]


def labeller_weights(wildcards):
    """Manifest of the fetched files of the model that names clusters by text; none for one on this machine."""
    for name, row in labellers_of(wildcards).items():
        if needs_weights(row):
            return f"results/weights/{name}.json"
    return []


def cluster_options(wildcards):
    """What one data set's job needs to know of the configuration."""
    return options_of(
        config["clusters"], wildcards.dataset, workflow.basedir, config["device"]
    )
