"""Weights of a model from the Hugging Face hub: the files that its loader needs, at one commit, in the user's cache.

Apart from the other modules of models, so that how files are fetched is no part of the code of what is computed.
"""

import hashlib
import shutil
from pathlib import Path

from geoprobe.models.weights import LAYOUTS, hashing, hub_id, is_random, sha256_of, side_files, weight_files
from geoprobe.runtime import write_json

GB = 1e9


def choose_files(row, repository, found):
    """The files of a repository that a row's loader needs; what it must read to know is fetched.

    Args:
        row: of the registry.
        repository: a :class:`geoprobe.hub_files.Repository` of the kind model, with a cache as its folder.
        found: its files by path.

    Returns:
        Paths: first what describes the model, then its weights; of random weights none are read.

    Raises:
        ValueError: it is no repository for that loader, or has no weights of the kind that the row allows.
    """
    where = f"{repository.name} at {repository.commit}"
    config, (safe, pickle) = LAYOUTS[row["loader"]]
    if config not in found:
        raise ValueError(f"{where} has no {config}, which the loader {row['loader']} needs; set another loader or id.")
    if is_random(row):
        return side_files(found)
    try:
        weights = weight_files(found, repository.cached, safe)
        if not weights and row["weights"] == "any":
            weights = weight_files(found, repository.cached, pickle)
    except ValueError as error:
        raise ValueError(f"{where}: {error}.") from error
    if not weights and {pickle, f"{pickle}.index.json"} & set(found):
        raise ValueError(
            f"{where} has its weights only as a pickle ({pickle}); set the row's weights to any to allow one, which is "
            "read without running code from it."
        )
    if not weights:
        raise ValueError(f"{where} has no {safe}, whole or in shards; set another id, revision or loader.")
    return [*side_files(found), *weights]


def check_space(repository, files):
    """Refuse to fetch files for which the cache's disk has no room.

    Raises:
        ValueError: names what is needed, what is free, and where.
    """
    coming = sum(file.size for file in files if not repository.blob(file).exists())
    free = shutil.disk_usage(repository.folder).free
    if coming > free:
        raise ValueError(
            f"{repository.name} has {coming / GB:.2f} GB to fetch, and {repository.folder} has room for "
            f"{free / GB:.2f} GB; free some, or set HF_HOME to a folder on a larger disk."
        )
    print(f"{repository.name}: {coming / GB:.2f} GB to fetch into {repository.folder}", flush=True)


def _check_content(repository, file, path, progress):
    """The sha256 of a fetched file, once it is what the hub says.

    Raises:
        FetchError: it is not. What was fetched is removed, for the cache would give it again.
    """
    from geoprobe.images.fetch import FetchError

    size, digest = path.stat().st_size, sha256_of(path, progress)
    wrong = ""
    if size != file.size:
        wrong = f"it has {size} bytes instead of {file.size}"
    elif file.sha256 and digest != file.sha256:
        wrong = f"sha256 is {digest} instead of {file.sha256}"
    elif not file.sha256 and _git_name(path) != file.blob:
        wrong = f"git calls it {_git_name(path)} instead of {file.blob}"
    if wrong:
        for link in (path.resolve(), repository.blob(file), path):
            link.unlink(missing_ok=True)
        advice = "What came is removed; run again, and if it stays so, the hub or what lies between damages the file."
        raise FetchError(repository.url(file.path), "checksum wrong", wrong, retryable=True, advice=advice)
    return digest


def _git_name(path):
    """Git's name of a file's content; such files are small."""
    data = Path(path).read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


def fetch_weights(row, manifest, network, cache=None):
    """Fetch what a row's loader needs into the cache of the hub's library, check it, and list it in a manifest.

    What is in the cache already is not fetched again. No Python file is ever fetched.

    Args:
        row: of the registry, not of the loader `local`; loader, id, revision and weights are used.
        manifest: JSON file to write: repo, endpoint, revision (as the row has it), commit, folder (absolute), files
            (path, bytes and sha256 of each), bytes (of all) and licence (as the repository's card states it).
        network: options of the network, see :data:`geoprobe.images.http.NETWORK`; `attempts` and `timeout_s` are used.
        cache: folder of the cache; by default that of HF_HUB_CACHE or HF_HOME.

    Raises:
        FetchError: the repository cannot be read, asks for a token, or gave something else than it says it has.
        ValueError: there is no such revision, no weights that the row allows, or no room on the disk.
    """
    from huggingface_hub import constants

    from geoprobe.hub_files import Repository

    options = {"repo": hub_id(row), "revision": row["revision"]}
    repository = Repository(options, network, Path(cache or constants.HF_HUB_CACHE).absolute(), kind="model")
    if repository.revision != repository.commit:
        print(
            f"{repository.name}: {repository.revision} is commit {repository.commit} today; to have the same weights "
            "tomorrow, make that the revision of its row in config/models.tsv, or in the table of your own.",
            flush=True,
        )
    found = repository.files()
    files = [found[name] for name in choose_files(row, repository, found)]
    check_space(repository, files)
    paths = {}
    for number, file in enumerate(files, 1):
        print(f"{number} of {len(files)}: {file.path}, {file.size / GB:.3f} GB", flush=True)
        paths[file.path] = repository.cached(file.path)
    with hashing(paths.values(), repository.name) as progress:
        listed = [
            {
                "path": file.path,
                "bytes": file.size,
                "sha256": _check_content(repository, file, paths[file.path], progress),
            }
            for file in files
        ]
    content = {
        "repo": repository.name,
        "endpoint": repository.endpoint,
        "revision": repository.revision,
        "commit": repository.commit,
        "folder": str(paths[LAYOUTS[row["loader"]][0]].parent),
        "licence": repository.licence,
        "files": listed,
        "bytes": sum(file.size for file in files),
    }
    write_json(content, manifest)
