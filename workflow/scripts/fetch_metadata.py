"""Fetch the list of images of a public collection."""

from pathlib import Path

from geoprobe.images.sources import load_source
from geoprobe.runtime import rule_log, write_json


def fetch(options, network, manifest):
    """Bring a source's metadata into the folder beside the manifest, write the manifest."""
    folder = Path(manifest).with_suffix("")
    folder.mkdir(parents=True, exist_ok=True)
    files = load_source(options["source"]).fetch_metadata(options, folder, network)
    write_json({"options": options, "files": files}, manifest)


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        # how fast is no part of what: a new pace must not fetch anything anew, so it is no param
        network = snakemake.params.limits | snakemake.config["download"]["pace"]
        fetch(snakemake.params.options, network, snakemake.output.manifest)
