"""Source `hub`: any data set of the Hugging Face hub whose images have coordinates.

The list is CSV or Parquet files of the data set. The images are in one of four places: in `archives` of the data set
(zip or tar), in an `image_column` of the list's own Parquet files, in single `files` of the data set, or on the web at
the addresses of a column (`columns: {url: ...}`). What is fetched here is the list without the images: of Parquet files
with images only the other columns, of zip files only their directories.
"""

import contextlib
import fnmatch
import hashlib
import json
import re
import tempfile
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd
from tqdm import tqdm

from geoprobe import hub_files
from geoprobe.images import files, table
from geoprobe.images.members import MemberIndex, check_pattern, row_name
from geoprobe.runtime import replacing

NETWORK = True
STATE = "hub.json"
COLUMNS = ("id", "latitude", "longitude", "group", "country", "licence", "author", "url", "path")
NO_ADDRESS = "no url"
NO_ARCHIVE = "in none of the archives"
UNARCHIVED = ("reject", "ignore")


def _place(options):
    """Which of the options says where the images are.

    Raises:
        ValueError: none or several do.
    """
    said = [name for name in ("archives", "image_column", "files") if options.get(name)]
    said += ["columns.url"] if options.get("columns", {}).get("url") else []
    if len(said) != 1:
        raise ValueError(
            f"{options['repo']}: {' and '.join(said) or 'nothing'} says where the images are; "
            "give one of archives, image_column, files and columns.url."
        )
    return said[0]


def check(options):
    """Refuse options that name no data set, no place of the images, or a pattern or column that cannot be used."""
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", options["repo"]):
        raise ValueError(f'repo is "{options["repo"]}"; a data set of the hub is named "owner/name".')
    endpoint = options.get("endpoint") or ""
    if endpoint and not endpoint.startswith(("http://", "https://")):
        raise ValueError(f'endpoint is "{endpoint}"; give an address that begins with http:// or https://.')
    columns, place = options.get("columns", {}), _place(options)
    if unknown := sorted(set(columns) - set(COLUMNS)):
        raise ValueError(f'columns names "{unknown[0]}"; allowed: {", ".join(COLUMNS)}.')
    if not options["metadata"]:
        raise ValueError("metadata names no file; give the CSV or Parquet files that list the images.")
    for name in options["metadata"]:
        if not name.lower().endswith(".parquet") and (place == "image_column" or not name.lower().endswith(".csv")):
            raise ValueError(f'metadata names "{name}"; the list is read from {_kinds(place)} files.')
    if place == "archives" and options.get("member"):
        check_pattern("member", options["member"], _columns(options), ["archive_stem"])
    if place == "files":
        check_pattern("files", options["files"], _columns(options))
    if options.get("unarchived", UNARCHIVED[0]) not in UNARCHIVED:
        raise ValueError(f'unarchived is "{options["unarchived"]}"; allowed: {", ".join(UNARCHIVED)}.')


def _kinds(place):
    return "Parquet" if place == "image_column" else "CSV and Parquet"


def _columns(options):
    """Our names of columns to lists of theirs, of which the first that is not empty counts."""
    given = {name: name for name in table.COORDINATES} | options.get("columns", {})
    if "id" not in given and _place(options) != "image_column":
        given["id"] = "id"
    return {name: [theirs] if isinstance(theirs, str) else list(theirs) for name, theirs in given.items()}


def _their_names(options):
    names = [name for theirs in _columns(options).values() for name in theirs]
    return list(dict.fromkeys([*names, *options.get("captions", [])]))


def _chosen(patterns, found, option, repository):
    """Files of the data set that some patterns name, in the order of the patterns and of the names."""
    chosen = []
    for pattern in patterns:
        named = sorted(path for path in found if fnmatch.fnmatchcase(path, pattern))
        if not named:
            some = ", ".join(sorted(found)[:10])
            raise ValueError(
                f'{option} names "{pattern}", and {repository.name} at {repository.commit} has no such file '
                f"(it has {len(found)}: {some}{', ...' if len(found) > 10 else ''})."
            )
        chosen += named
    return [found[path] for path in dict.fromkeys(chosen)]


def _recorded(folder, path, url):
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    name = Path(path).resolve().relative_to(Path(folder).resolve()).as_posix()
    return {"file": name, "url": url, "bytes": Path(path).stat().st_size, "sha256": digest}


def _fetch_list(repository, listed, options, folder):
    """Local path of one file of the list: the whole, or what it holds beside its images."""
    if _place(options) != "image_column":
        return repository.download(listed.path)
    from geoprobe.images.embedded import copy_columns

    names, column = _their_names(options), options["image_column"]
    key = hashlib.sha256(json.dumps([names, column]).encode()).hexdigest()[:16]
    path = folder / "columns" / f"{listed.blob}-{key}.parquet"
    if not path.is_file():
        try:
            repository.read(listed.path, lambda file: copy_columns(file, names, column, path))
        except ValueError as error:
            raise ValueError(f"{repository.url(listed.path)}: {error}.") from error
    return path


def _fetch_members(repository, archive, folder):
    """Local path of a Parquet table of the images in an archive: its column member."""
    path = folder / "members" / f"{archive.blob}.parquet"
    if not path.is_file():
        through = not archive.path.lower().endswith(files.ZIP_SUFFIX)
        url = repository.url(archive.path)
        members = repository.read(archive.path, lambda file: files.archive_members(file, url), through)
        with replacing(path) as temporary:
            pd.DataFrame({"member": members}, dtype="str").to_parquet(temporary, index=False)
    return path


def fetch_metadata(options, folder, network):
    """Fetch the list and the names of the images in the archives, and record at which commit. What is there is kept.

    Raises:
        FetchError: the data set cannot be read; says why and what to do.
        ValueError: it has no such revision, file or column.
    """
    from geoprobe.images.fetch import FetchError

    folder = Path(folder)
    repository = hub_files.Repository(options, network, folder / "files")
    print(f"{repository.name}: {repository.revision} is commit {repository.commit}")
    if repository.restricted and _place(options) == "files":
        raise ValueError(
            f"{repository.name} gives its files to accounts only, and single files are asked for without one. "
            "Use its archives or Parquet files."
        )
    found = repository.files()
    state = {name: getattr(repository, name) for name in ("name", "commit", "endpoint", "licence")}
    state |= {"metadata": [], "archives": []}
    manifest = []
    for listed in _chosen(options["metadata"], found, "metadata", repository):
        path = _fetch_list(repository, listed, options, folder)
        manifest.append(_recorded(folder, path, repository.url(listed.path)))
        if _place(options) != "image_column" and listed.sha256 not in ("", manifest[-1]["sha256"]):
            path.unlink()
            raise FetchError(repository.url(listed.path), "checksum wrong", "it is not what the hub says", True)
        state["metadata"].append({"path": listed.path, "sha256": listed.sha256, "local": manifest[-1]["file"]})
    archives = _chosen(options.get("archives") or [], found, "archives", repository)
    for archive in tqdm(archives, unit="archive", desc=f"{repository.name}: members", mininterval=5):
        path = _fetch_members(repository, archive, folder)
        manifest.append(_recorded(folder, path, repository.url(archive.path)))
        state["archives"].append({"path": archive.path, "sha256": archive.sha256, "local": manifest[-1]["file"]})
    with replacing(folder / STATE) as temporary:
        temporary.write_text(json.dumps(state, indent=1), encoding="utf-8")
    return manifest


def _read_state(folder):
    return json.loads((Path(folder) / STATE).read_text(encoding="utf-8"))


def _address(options, state, path):
    """Where the downloader finds a file of the data set: a hub of one's own is named by its whole address."""
    if options.get("endpoint"):
        return hub_files.file_url(state["endpoint"], state["name"], state["commit"], path)
    return f"hub://datasets/{state['name']}@{state['commit']}/{path}"


def _first_text(texts, names):
    """For each row the first text of some columns that is not empty."""
    found = texts[names[0]]
    for name in names[1:]:
        found = found.where(found != "", texts[name])
    return found


def _described_rows(texts, options, listed, first):
    """All columns of the contract but those that say where an image is; `path` too, where it is named."""
    columns = _columns(options)
    ours = {name: _first_text(texts, theirs) for name, theirs in columns.items()}
    numbers = range(first, first + len(texts))
    unnamed = pd.Series(
        [f"{PurePosixPath(listed['path']).with_suffix('')}/{number}" for number in numbers], dtype="str"
    )
    ids = ours["id"].where(ours["id"] != "", unnamed) if "id" in ours else unnamed
    rows = pd.DataFrame({"id": ids, **{name: table.to_degrees(ours[name]) for name in table.COORDINATES}})
    rows["group"] = ours.get("group", "")
    for name in ("country", "licence", "author", "url", "path"):
        if name in ours:
            rows[name] = ours[name]
    for name in options.get("captions", []):
        rows[f"caption:{name}"] = texts[name]
    rows["reason"] = ""
    return rows


def _archived(rows, options, state, members):
    """Rows with archive and member; those of no archive with their reason, or dropped."""
    archives, names = members.find(rows[row_name(options.get("member"))].to_numpy(object))
    # the last one, number -1, is none
    addresses = np.array([*(_address(options, state, archive["path"]) for archive in state["archives"]), ""], object)
    digests = np.array([*(archive["sha256"] for archive in state["archives"]), ""], object)
    rows = rows.assign(archive=addresses[archives], member=names, archive_sha256=digests[archives])
    if options.get("unarchived", UNARCHIVED[0]) == "ignore":
        return rows[archives >= 0].reset_index(drop=True)
    rows["reason"] = np.where(archives < 0, NO_ARCHIVE, "")
    return rows


def _located(rows, options, state, listed, first, members):
    """Rows with where their images are."""
    place = _place(options)
    if place == "archives":
        return _archived(rows, options, state, members)
    if place == "image_column":
        from geoprobe.images.embedded import image_names

        names = image_names(options["image_column"], range(first, first + len(rows)))
        return rows.assign(
            archive=_address(options, state, listed["path"]), member=names, archive_sha256=listed["sha256"]
        )
    if place == "files":
        where = (state["endpoint"], state["name"], state["commit"])
        paths = rows["path"] if "path" in rows else rows["id"]
        named = [options["files"].format(id=name, path=path) for name, path in zip(rows["id"], paths, strict=True)]
        return rows.assign(urls=[[hub_files.file_url(*where, name)] for name in named])
    rows["urls"] = [[url] if url else [] for url in rows["url"]]
    rows["reason"] = np.where(rows["url"] == "", NO_ADDRESS, "")
    return rows


@contextlib.contextmanager
def _open_members(options, state, folder):
    if _place(options) != "archives":
        yield None
        return
    from geoprobe.images.database import open_database

    with tempfile.TemporaryDirectory(dir=folder) as scratch, open_database(scratch) as base:
        archives = [(archive["path"], Path(folder) / archive["local"]) for archive in state["archives"]]
        yield MemberIndex(base, archives, options.get("member"))


def list_images(options, folder=None):
    """Yield the rows of the list, each with where its image is.

    Args:
        options: `repo`; `revision`; `endpoint`; `metadata`, names or patterns of the list's files; `columns`, our names
            (COLUMNS) to theirs, or to several of theirs of which the first that is not empty counts; `captions`,
            columns of theirs; and one of `archives` (names or patterns), `image_column`, `files` (a file's path with
            {id} or {path} once) and `columns.url`. With `archives`, `member` is the path in an archive, with {id} or
            {path} once and {archive_stem}; without it an image is the member whose name without its ending is the id.
            `unarchived` says whether rows for which no archive has an image are rejects ("reject") or no part of the
            data set ("ignore").
        folder: where fetch_metadata put the list.

    Raises:
        ValueError: the list lacks a column.
    """
    state = _read_state(folder)
    with _open_members(options, state, folder) as members:
        read, yielded = 0, 0
        for listed in state["metadata"]:
            path, first = Path(folder) / listed["local"], 0
            names = table.column_names(path)
            if missing := [name for name in _their_names(options) if name not in names]:
                raise ValueError(
                    f"{state['name']}, {listed['path']}: no column {' and no column '.join(missing)} among "
                    f"{', '.join(names)}. Say in columns what theirs are called."
                )
            for texts in table.read_text(path, _their_names(options)):
                rows = _described_rows(texts, options, listed, first)
                rows = _located(rows, options, state, listed, first, members)
                first += len(texts)
                yielded += len(rows)
                yield rows.drop(columns=["url", "path"], errors="ignore")
            read += first
        if read > yielded:
            print(f"{state['name']}: {read - yielded} of {read} rows are not listed: their images lie elsewhere")
        if members:
            print(f"{state['name']}: {members.unnamed()} images of the archives are in no row")


def describe(options, folder=None):
    """Licence and attribution as stated, else the licence of the data set's card; the commit, where it is known."""
    state = _read_state(folder) if folder is not None else {}
    version = state.get("commit") or options.get("revision", "main")
    return {
        "licence": options.get("licence") or state.get("licence") or "not stated",
        "attribution": options.get("attribution", f"{hub_files.endpoint_of(options)}/datasets/{options['repo']}"),
        "source_version": f"{options['repo']}@{version}",
    }
