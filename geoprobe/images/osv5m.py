"""Source `osv5m`: OpenStreetView-5M (Astruc et al. 2024, arXiv 2404.18873), street-level photos of 225 countries.

It is a data set of the Hugging Face hub and read as one (see :mod:`geoprobe.images.hub`): a CSV list a split, and the
images in numbered zip files of about 50,000 images and 2.5 GB. Which file holds which image is only known from the zip
files' directories, which are fetched by themselves.
"""

from geoprobe.images import hub

NETWORK = True
REPOSITORY = "osv5m/osv5m"
SPLITS = {"train": 98, "test": 5}  # archives of each
COLUMNS = {
    "id": "id",
    "latitude": "latitude",
    "longitude": "longitude",
    "group": ["sequence", "creator_id"],
    "country": "country",
    "author": "creator_username",
}
CAPTIONS = ("region", "sub-region", "city")


def hub_options(options):
    """Options of the source `hub` that read a split of OSV-5M."""
    split, archives = options["split"], options.get("archives", [0])
    everything = archives == "all"
    named = ["*"] if everything else [f"{number:02d}" for number in archives]
    return {
        "repo": options.get("repo", REPOSITORY),
        "revision": options.get("revision", "main"),
        "endpoint": options.get("endpoint", ""),
        "metadata": [f"{split}.csv"],
        "columns": COLUMNS,
        "captions": options.get("captions", []),
        "archives": [f"images/{split}/{name}.zip" for name in named],
        # of a few archives the other rows are no part of the data set; of all, a row without an image is one too few
        "unarchived": "reject" if everything else "ignore",
        "licence": "CC-BY-SA-4.0",
        "attribution": "OpenStreetView-5M (Astruc et al. 2024); photographs by the contributors of Mapillary",
    }


def check(options):
    """Refuse a split, archive or caption that there is not."""
    split, archives = options["split"], options.get("archives", [0])
    if split not in SPLITS:
        raise ValueError(f'split is "{split}"; allowed: {", ".join(SPLITS)}.')
    if archives != "all":
        if not archives:
            raise ValueError("archives names none; give numbers such as [0], or all.")
        for number in archives:
            if not 0 <= number < SPLITS[split]:
                raise ValueError(f"archives names {number}; the split {split} has those from 0 to {SPLITS[split] - 1}.")
    for name in options.get("captions", []):
        if name not in CAPTIONS:
            raise ValueError(f'captions names "{name}"; allowed: {", ".join(CAPTIONS)}.')
    hub.check(hub_options(options))


def fetch_metadata(options, folder, network):
    """Fetch the list of the split and the directories of the chosen archives; see :func:`hub.fetch_metadata`."""
    return hub.fetch_metadata(hub_options(options), folder, network)


def list_images(options, folder=None):
    """Yield the rows whose images lie in the chosen archives.

    Args:
        options: `split`, train or test; `archives`, numbers or "all"; `captions`, of CAPTIONS; `repo`, `revision` and
            `endpoint` as of the source hub.
        folder: where fetch_metadata put the list.
    """
    yield from hub.list_images(hub_options(options), folder)


def describe(options, folder=None):
    """Licence, attribution, and the commit of the hub, where it is known."""
    return hub.describe(hub_options(options), folder) | {"split": options["split"]}
