"""Source `landmarks`: Google Landmarks v2, whose images are placed where Wikimedia Commons places their landmark.

The data set has no coordinates. A landmark is a category of Commons, and the coordinates are those of the category
(see :mod:`geoprobe.images.commons`): of the thing shown, not of the camera, and the same for all of its images.

The images come as tar files of about 1 GB (train, 500 of them) or 850 MB (index, 100), and no published file says in
which of them an image is. So each tar file in `tars` is fetched once to note the names of its members, and again when
its images are obtained, unless `keep_tars`. Only images of these tar files are listed: ten of train hold about 83,000
images. All of train are 500 GB, twice over. A tar file's notes are `{split}_images_{number}.parquet` among the
metadata; put them there on another machine, and nothing is fetched for them. With `from: urls`, train images are
listed by their original addresses on Commons instead, some of which have gone since 2019.
"""

import contextlib
import hashlib
import itertools
import re
import tempfile
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

import duckdb
import pandas as pd

from geoprobe import csv_files
from geoprobe.images.database import open_database, quote
from geoprobe.images.files import tar_members, whole_archive
from geoprobe.images.sources import CHUNK
from geoprobe.runtime import write_table

NETWORK = True
VERSION = "2.1"
TARS = {"train": 500, "index": 100}
MEMORY = "512MB"
NUMBERS = ("landmark_id",)  # the other columns are text
COLUMNS = {
    "train.csv": "id,url,landmark_id",
    "train_clean.csv": "landmark_id,images",
    "train_attribution.csv": "id,url,author,license,title",
    "index.csv": "id",
    "index_image_to_landmark.csv": "id,landmark_id",
    "label_to_category.csv": "landmark_id,category",
    "label_to_hierarchical.csv": "landmark_id,category,supercategory,hierarchical_label,natural_or_human_made",
}
LABELS = ("label_to_category.csv", "label_to_hierarchical.csv")  # each split has its own


def check(options):
    """Refuse what the split does not have: tar files, a clean subset, original addresses."""
    split = options["split"]
    if split != "train" and options["from"] == "urls":
        raise ValueError(f'from is "urls", but only the split train lists addresses, and split is "{split}".')
    if split != "train" and options["clean"]:
        raise ValueError(f'clean is true, but only the split train has a clean subset, and split is "{split}".')
    for number in _tars(options):
        if not 0 <= number < TARS[split]:
            raise ValueError(f"tars names {number}, but the tar files of {split} are 0 to {TARS[split] - 1}.")
    for name in ("metadata_base", "images_base", "commons_api", "wikidata_api"):
        if not options[name].startswith(("http://", "https://")):
            raise ValueError(f'{name} is "{options[name]}"; give an address that begins with http:// or https://.')


def fetch_metadata(options, folder, network):
    """Bring the tables, the member names of the tar files, and the coordinates of the landmarks listed in them.

    Raises:
        FetchError: a file could not be fetched, or an API gave no answer; what has come is kept.
        ValueError: a table has other columns or a broken line, or a tar file holds nothing.
    """
    from geoprobe.images.commons import resolve_coordinates
    from geoprobe.images.fetch import fetch_file

    folder = Path(folder)
    address = options["metadata_base"].rstrip("/")
    manifest = [fetch_file(f"{address}/{name}", folder / name, network) for name in _tables(options)]
    if options["from"] == "archives":
        for number in _tars(options):
            manifest += _note_members(number, options, folder, network)
    with _database(folder) as (base, _):
        listed, labels = _listed(options, folder), _csv(options, folder, "label_to_category.csv")
        categories = base.execute(
            f"SELECT landmark_id, category FROM {labels} WHERE landmark_id IN (SELECT landmark_id FROM ({listed}))"
        ).df()
    categories["category"] = categories["category"].map(category_title)
    path, apis = _coordinates(options, folder), (options["commons_api"], options["wikidata_api"])
    resolve_coordinates(categories, path, network, *apis, options["retry_missing_days"])
    return [*manifest, _entry(path, options["commons_api"])]


def list_images(options, folder):
    """Yield the images of the chosen tar files or, with `from: urls`, all images, in the order of the table.

    Args:
        options: `split` (train or index), `clean` (only the subset of train_clean.csv), `from` (archives or urls),
            `tars` (numbers of tar files; None for all), `keep_tars`, `max_per_landmark` (None for no limit; otherwise
            the images whose ids have the smallest MD5 stay), `images_base`.
        folder: where fetch_metadata put the tables.

    Returns:
        Iterator of frames: id, latitude, longitude, group (split and landmark: each split numbers its own), reason,
        licence, author, caption:title (the landmark), caption:kind (what it is, such as "church"), and urls or
        archive, archive_md5, member.

    Raises:
        ValueError: a table has other columns or a broken line.
    """
    folder = Path(folder)
    with _database(folder) as (base, scratch):
        images = _stage(base, scratch, "images", _ranked(options, folder))
        query = _described(base, scratch, options, folder)
        # the last place of each part of the list
        parts = f"SELECT place, (row_number() OVER (ORDER BY place) - 1) // {CHUNK} AS part FROM {images}"
        ends = [end for (end,) in base.execute(f"SELECT max(place) FROM ({parts}) GROUP BY part ORDER BY 1").fetchall()]
        for start, end in itertools.pairwise([0, *ends]):
            # as a table, whose size is known, so that it is what the join holds in memory
            base.execute(f"CREATE OR REPLACE TEMP TABLE part AS FROM {images} WHERE place > {start} AND place <= {end}")
            frame = base.execute(query).df()
            frame["caption:title"] = [category_title(url).removeprefix("Category:") for url in frame.pop("category")]
            if options["from"] == "urls":
                frame["urls"] = [[url] if url else [] for url in frame.pop("url")]
            yield frame


def describe(options, folder=None):
    """Licences of images and annotations, whose coordinates these are, and which part was asked for."""
    split = options["split"]
    tars = f"tar files {' '.join(map(str, _tars(options)))}"
    part = [split, "clean" if options["clean"] else "", "urls" if options["from"] == "urls" else tars]
    return {
        "licence": f"images {'CC BY' if split == 'train' else 'CC0 or public domain'}; annotations CC BY 4.0 (Google)",
        "attribution": "Google Landmarks v2 (Weyand et al. 2020, arXiv 2004.01804); authors in the plan",
        "source_version": f"Google Landmarks v{VERSION}, {', '.join(filter(None, part))}",
        "coordinates": "of the landmark's category on Wikimedia Commons or its Wikidata item, not of the camera",
    }


def category_title(url):
    """Title of the category that an address of Commons leads to: "Category:Foo bar"; "" for an empty address."""
    return unquote(url.partition("/wiki/")[2]).replace("_", " ")


def _tars(options):
    return range(TARS[options["split"]]) if options["tars"] is None else options["tars"]


def _tables(options):
    """Names of the tables that the options need."""
    if options["split"] == "index":
        names = ["index.csv", "index_image_to_landmark.csv"]
    else:
        names = ["train.csv", "train_attribution.csv", *(["train_clean.csv"] if options["clean"] else [])]
    return [*names, *(f"{options['split']}_{name}" for name in LABELS)]


def _coordinates(options, folder):
    return folder / f"{options['split']}_coordinates.parquet"


def _entry(path, url):
    """A file that was made here, as the manifest lists those that were fetched."""
    with open(path, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"file": path.name, "url": url, "bytes": path.stat().st_size, "sha256": digest}


def _note_members(number, options, folder, network):
    """Fetch a tar file, unless that was done before, and write the names of its members; returns manifest entries."""
    from geoprobe.images.fetch import fetch_file

    name, split, address = f"images_{number:03d}", options["split"], options["images_base"].rstrip("/")
    notes, sums, tar = (folder / f"{split}_{name}.{suffix}" for suffix in ("parquet", "md5.txt", "tar"))
    url = f"{address}/{split}/{name}.tar"
    if not notes.exists() or (options["keep_tars"] and not tar.exists()):
        fetch_file(f"{address}/md5sum/{split}/md5.{name}.txt", sums, network)
        # the digest, and a file name that need not be that of the tar file
        md5 = next(iter(sums.read_text(encoding="utf-8").split()), "")
        if len(md5) != 32 or not set(md5.lower()) <= set("0123456789abcdef"):
            raise ValueError(f'{sums} begins with "{md5[:40]}", which is no MD5; remove it and run again.')
        fetch_file(url, tar, network, md5=md5)
        with whole_archive(tar), open(tar, "rb") as file:
            members = [member.name for _, member in tar_members(file) if member.isfile()]
        if not members:
            raise ValueError(f"{url} holds no file; leave {number} out of tars.")
        ids = [PurePosixPath(member).stem for member in members]
        write_table(pd.DataFrame({"id": ids, "member": members, "tar": number, "md5": md5.lower()}), notes)
        if not options["keep_tars"]:
            tar.unlink()
    return [_entry(notes, url)]


@contextlib.contextmanager
def _database(folder):
    """A database that spills beside the tables; what it finds wrong with them is an error of theirs."""
    with tempfile.TemporaryDirectory(dir=folder, prefix=".spill-") as scratch, open_database(scratch) as base:
        # enough for all of train; each thread has buffers of its own within it
        base.execute(f"SET memory_limit = '{MEMORY}'")
        base.execute("SET threads = 2")
        try:
            yield base, scratch
        except duckdb.Error as error:
            # of a damaged Parquet file it is the base class itself, or one of reading; others are of memory or disk
            damaged = type(error) is duckdb.Error or "Could not read enough bytes" in str(error)
            if not damaged and not isinstance(error, (duckdb.InvalidInputException, duckdb.ConversionException)):
                raise
            fault = " ".join(re.split(r"\n\n|\nPossible", str(error))[0].split())
            path = re.search(r"^ *file = (.+)$", str(error), re.MULTILINE)
            raise ValueError(f"{path[1] if path else folder}: {fault}; remove the file and fetch it again.") from error


def _csv(options, folder, name):
    """A table as a source of rows in SQL, after a look at its columns."""
    path = folder / (f"{options['split']}_{name}" if name in LABELS else name)
    with csv_files.reading(path) as rows:
        header = ",".join(next(rows, []))
    if header != COLUMNS[name]:
        raise ValueError(f'{path} has the columns "{header}" instead of "{COLUMNS[name]}"; fetch it again.')
    types = ", ".join(
        f"{quote(column)}: '{'BIGINT' if column in NUMBERS else 'VARCHAR'}'" for column in header.split(",")
    )
    form = """auto_detect = false, header = true, delim = ',', quote = '"', escape = '"'"""
    return f"read_csv({quote(path)}, {form}, columns = {{{types}}})"


def _listed(options, folder):
    """The images that are listed, as a query: place (in the table), id, landmark_id and where the bytes are."""
    if options["split"] == "index":
        listed = f"""
            SELECT * FROM (SELECT row_number() OVER () AS place, id FROM {_csv(options, folder, "index.csv")})
            LEFT JOIN {_csv(options, folder, "index_image_to_landmark.csv")} USING (id)
            """
    else:
        listed = f"SELECT row_number() OVER () AS place, * FROM {_csv(options, folder, 'train.csv')}"
    if options["clean"]:
        clean = _csv(options, folder, "train_clean.csv")
        listed = f"SELECT * FROM ({listed}) WHERE id IN (SELECT unnest(string_split(images, ' ')) FROM {clean})"
    if options["from"] == "archives":
        split, address = options["split"], options["images_base"].rstrip("/")
        start = (
            f"{(folder / split).resolve().as_uri()}_images_" if options["keep_tars"] else f"{address}/{split}/images_"
        )
        notes = ", ".join(quote(folder / f"{split}_images_{number:03d}.parquet") for number in _tars(options))
        listed = f"""
            SELECT place, id, landmark_id, member, md5,
                {quote(start)} || lpad(tar::VARCHAR, 3, '0') || '.tar' AS archive
            FROM ({listed}) JOIN read_parquet([{notes}]) USING (id)
            """
    return listed


def _stage(base, scratch, name, query):
    """The rows of a query as a Parquet file in the scratch folder; returns the file as a source of rows in SQL."""
    path = quote(Path(scratch) / f"{name}.parquet")
    base.execute(f"COPY ({query}) TO {path} (FORMAT parquet)")
    return f"read_parquet({path})"


def _ranked(options, folder):
    """The listed images, as a query, with turn: their rank among the images of their landmark where that matters."""
    turn = "0"
    if options["max_per_landmark"] is not None:
        turn = "row_number() OVER (PARTITION BY landmark_id ORDER BY md5(id), place)"
    return f"SELECT *, {turn} AS turn FROM ({_listed(options, folder)}) ORDER BY place"


def _described(base, scratch, options, folder):
    """The query for the images from one place to another, with what is known of their landmarks and licences.

    A join of all images with all attributions at once would need memory for millions of rows.
    """
    split, most = options["split"], options["max_per_landmark"]
    labels, kinds = (_csv(options, folder, name) for name in LABELS)
    author, licence, credit = "''", "'CC0 or public domain'", ""
    if split == "train":
        author, licence = "coalesce(author, '')", "coalesce(license, '')"
        table = _csv(options, folder, "train_attribution.csv")
        table = _stage(base, scratch, "attribution", f"SELECT id, author, license FROM {table}")
        credit = f"LEFT JOIN {table} USING (id)"
    where, nowhere = "archive, md5 AS archive_md5, member", "archive IS NULL"
    if options["from"] == "urls":
        where, nowhere = "coalesce(url, '') AS url", "url IS NULL"
    return f"""
        SELECT id, latitude, longitude, coalesce('{split}/' || landmark_id, '') AS "group",
            CASE
                WHEN landmark_id IS NULL THEN 'no landmark'
                WHEN latitude IS NULL THEN 'landmark without coordinates'
                WHEN {nowhere} THEN 'no address'
                WHEN turn > {most or 0} THEN 'more than {most} images of the landmark'
                ELSE ''
            END AS reason,
            {licence} AS licence, {author} AS author, {where},
            coalesce(category, '') AS category, coalesce(supercategory, '') AS "caption:kind"
        FROM part
        LEFT JOIN (
            SELECT landmark_id, latitude, longitude FROM read_parquet({quote(_coordinates(options, folder))})
        ) USING (landmark_id)
        LEFT JOIN {labels} USING (landmark_id)
        LEFT JOIN (SELECT landmark_id, supercategory FROM {kinds}) USING (landmark_id)
        {credit}
        ORDER BY place
        """
