"""From a plan to an image store: obtain, verify, leave out duplicates, write, and account for every listed image."""

import itertools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from geoprobe.images import captions as caption_makers
from geoprobe.images import units
from geoprobe.images.countries import continent_of, country_name
from geoprobe.images.database import open_database, quote, write_query
from geoprobe.images.duplicates import join_near_duplicates
from geoprobe.images.pack import iter_images
from geoprobe.images.plan import FULL
from geoprobe.images.sources import load_source
from geoprobe.images.store import decode_image, writing_store
from geoprobe.images.verify import verify_image
from geoprobe.runtime import scratch_beside, timestamp, write_table

OK = "ok"
DUPLICATE = "duplicate"
NEAR_BITS = 4  # of 64: at this distance perceptual hashes of unlike photos hardly ever meet
REJECTS = ["id", "latitude", "longitude", "country_code", "reason", "detail"]


def verify_rows(rows, source, options, threads, max_pixels):
    """Load each row of an offline source once and see whether it is an image.

    Returns:
        Frame of n rows: status ("ok" or the reason), detail, sha256, phash.
    """

    def look(loaded):
        data, reason = loaded
        if data is None:
            return {"status": reason, "detail": "", "sha256": "", "phash": ""}
        return verify_image(data, max_pixels)

    statuses = []
    progress = tqdm(total=len(rows), unit="image", desc="verify", mininterval=5)
    loaded = source.load_images(rows, options)
    with ThreadPoolExecutor(threads) as pool:
        # a few at a time, so that files do not pile up in memory
        while batch := list(itertools.islice(loaded, 16 * threads)):
            statuses += pool.map(look, batch)
            progress.update(len(batch))
    progress.close()
    return pd.DataFrame(statuses)[["status", "detail", "sha256", "phash"]]


def choose_rows(rows, statuses, maximum):
    """Which planned images become part of the store.

    Args:
        rows: the plan: id, geocell, rank.
        statuses: status, detail, sha256 of each; sha256 "" where it is not to be compared.
        maximum: images kept of a geocell, the first that arrived in the geocell's random order.

    Returns:
        reason ("" for what is kept) and detail, text, shape (n,).
    """
    reason = statuses["status"].where(statuses["status"] != OK, "").to_numpy(object)
    detail = statuses["detail"].where(reason != "", "").to_numpy(object)
    arrived = rows[["id", "geocell", "rank"]].assign(sha256=statuses["sha256"].to_numpy())[reason == ""]
    first = arrived["id"].groupby(arrived["sha256"]).transform("first")
    again = arrived.index[(first != arrived["id"]) & (arrived["sha256"] != "")]
    reason[again] = DUPLICATE
    detail[again] = [f"of {name}" for name in first[again]]
    turn = arrived.drop(again).sort_values("rank", kind="stable").groupby("geocell").cumcount()
    reason[turn.index[turn >= maximum]] = FULL
    return reason, detail


def make_captions(rows, sets, scenery, seed):
    """Caption sets of the rows: the source's own ("caption:<set>" columns) and the made ones that are asked for.

    Args:
        rows: frame with country and region.
        sets: names among places, scenery, shuffled.
        scenery: descriptions made from the images, where scenery is asked for.
        seed: of the shuffling.
    """
    own = {name.removeprefix("caption:"): rows[name].tolist() for name in rows if name.startswith("caption:")}
    made = {"scenery": scenery}
    if {"places", "shuffled"} & set(sets):
        made["places"] = caption_makers.places(rows)
    if "shuffled" in sets:
        made["shuffled"] = caption_makers.shuffled(made["places"], np.random.default_rng(seed))
    return own | {name: made[name] for name in sets}


def write_images(writer, images, described):
    """Append images to a store; returns their sceneries if they are to be described.

    Args:
        writer: a StoreWriter.
        images: iterable of encoded files.
        described: whether to describe each.
    """
    scenery = []
    for data in images:
        writer.append(data)
        if described:
            scenery += caption_makers.scenery(np.asarray(decode_image(data))[None])
    return scenery


def _loaded(rows, source, options):
    """Encoded files of rows that have been seen to load."""
    for name, (data, reason) in zip(rows["id"], source.load_images(rows, options), strict=True):
        if data is None:
            raise OSError(f"image {name} could be read a moment ago and now cannot ({reason}); run this again")
        yield data


def balance_table(plan_path, rejects_path):
    """What was kept and lost, by country.

    Returns:
        Frame, a row a country: country_code, country, continent, geocells, listed, kept, geocell_full, left_out
        (for any other reason), share_kept. Rows that the source itself leaves out and those without usable
        coordinates were not placed, and are counted under that name.
    """
    with tempfile.TemporaryDirectory() as scratch, open_database(scratch) as base:
        planned = base.execute(
            "SELECT country_code, count(DISTINCT geocell) AS geocells, count(*) AS planned "
            f"FROM read_parquet({quote(plan_path)}) GROUP BY country_code"
        ).df()
        lost = base.execute(
            f"SELECT country_code, count(*) FILTER (reason = '{FULL}') AS geocell_full, "
            f"count(*) FILTER (reason <> '{FULL}') AS left_out, count(*) FILTER (planned) AS failed "
            f"FROM read_parquet({quote(rejects_path)}) GROUP BY country_code"
        ).df()
    frame = planned.merge(lost, on="country_code", how="outer")
    frame = frame.fillna(dict.fromkeys(frame.columns.drop("country_code"), 0))
    frame["kept"] = frame["planned"] - frame["failed"]
    frame["listed"] = frame["kept"] + frame["geocell_full"] + frame["left_out"]
    frame["country"] = [country_name(code) if code else "not placed" for code in frame["country_code"]]
    frame["continent"] = [continent_of(code) for code in frame["country_code"]]
    counts = ["geocells", "listed", "kept", "geocell_full", "left_out"]
    frame[counts] = frame[counts].astype(int)
    frame["share_kept"] = frame["kept"] / frame["listed"]
    frame = frame.sort_values(["listed", "country_code"], ascending=[False, True])
    return frame[["country_code", "country", "continent", *counts, "share_kept"]].reset_index(drop=True)


def read_statuses(rows, status_paths):
    """Statuses of the plan's rows from the tables of all shards, in the plan's order.

    Raises:
        ValueError: a planned image has no status: the tables belong to another plan.
    """
    table = pd.concat([pd.read_parquet(path) for path in status_paths], ignore_index=True).set_index("id")
    missing = rows.loc[~rows["id"].isin(table.index), "id"]
    if len(missing):
        raise ValueError(
            f"{len(missing)} planned images have no status (such as {missing.iloc[0]}): the downloads belong to "
            "another plan. Run download_images again."
        )
    return table.loc[rows["id"]].reset_index()


def build_store(
    path, rejects_path, balance_path, name, options, plan_path, left_out_path, metadata=None, downloads=(),
    boundaries=None, threads=1, max_pixels=100_000_000,
):  # fmt: skip
    """Build the image store of a data set, the table of what was left out, and the balance by country.

    Args:
        path: image store to write.
        rejects_path: Parquet table to write: id, latitude, longitude, country_code, reason, detail.
        balance_path: CSV to write, see :func:`balance_table`.
        name: the data set's name.
        options: its configuration: source, balance, caption_sets, near_duplicate_bits, and the source's.
        plan_path, left_out_path: tables of :func:`geoprobe.images.plan.plan_images`.
        metadata: for a source from the network, the folder of its list.
        downloads: for a source from the network, the status table and the pack's folder of each shard.
        boundaries: where administrative units came from, for the store's attributes.
        threads: images verified at a time.
        max_pixels: images with more are left out.

    Raises:
        ValueError: the downloads do not belong to the plan, or no image is left.
    """
    source = load_source(options["source"])
    rendered = getattr(source, "RENDERED", False)
    rows = pd.read_parquet(plan_path)
    if source.NETWORK:
        statuses = read_statuses(rows, [table for table, _ in downloads])
    elif rendered:
        statuses = pd.DataFrame({"status": OK, "detail": "", "sha256": "", "phash": ""}, index=rows.index)
    else:
        statuses = verify_rows(rows, source, options, threads, max_pixels)
    reason, detail = choose_rows(rows, statuses, options["balance"]["maximum"])
    rejects = rows.assign(reason=reason, detail=detail)[reason != ""][REJECTS]
    kept = rows[reason == ""].reset_index(drop=True)
    counts = rejects["reason"].value_counts().to_dict()
    print(f"{name}: {len(kept)} of {len(rows)} planned images kept; left out: {counts or 'none'}")
    if kept.empty:
        raise ValueError(f"dataset {name}: no image is left ({counts}). Check its source.")
    bits = options.get("near_duplicate_bits", NEAR_BITS)
    if not rendered and bits is not None:
        hashes = statuses["phash"][reason == ""].to_numpy()
        before = kept["group"].nunique()
        kept["group"] = join_near_duplicates(kept["group"], hashes, bits)
        print(f"{name}: near duplicates join {before} groups into {kept['group'].nunique()}")
    images = iter_shards(kept, downloads) if source.NETWORK else _loaded(kept, source, options)
    progress = tqdm(images, total=len(kept), unit="image", desc="write", mininterval=5)
    with writing_store(path) as writer:
        scenery = write_images(writer, progress, "scenery" in options["caption_sets"])
        columns = {
            "ids": kept["id"].tolist(),
            "latitudes": kept["latitude"],
            "longitudes": kept["longitude"],
            "geocells": kept["geocell"].tolist(),
            "countries": kept["country"].tolist(),
            "groups": kept["group"].tolist(),
        }
        columns |= {f"{key}s": kept[key].fillna("").tolist() for key in ("licence", "author") if key in kept}
        if "source_cluster" in kept:
            columns["clusters"] = kept["source_cluster"]
        writer.finish(
            columns,
            make_captions(kept, options["caption_sets"], scenery, options["balance"]["seed"]),
            {
                "dataset": name,
                "source": options["source"],
                **source.describe(options, metadata),
                "retrieved": timestamp(),
                "administrative_units": units.describe(boundaries),
                "border_uncertain_share": float(kept["border_uncertain"].mean()),
            },
        )
    _write_rejects(rejects, left_out_path, rejects_path)
    write_table(balance_table(plan_path, rejects_path), balance_path)
    print(
        f"{name}: {len(kept)} images in {kept['geocell'].nunique()} geocells of {kept['country'].nunique()} countries"
    )


def iter_shards(rows, downloads):
    """Yield the encoded files of rows, in order, from the packs of their shards.

    Args:
        rows: id and shard, n rows.
        downloads: status table and pack's folder of each shard, by its number.
    """
    packs = {shard: iter_images(downloads[shard][1], part["id"]) for shard, part in rows.groupby("shard")}
    for shard in rows["shard"]:
        yield next(packs[shard])


def _write_rejects(rejects, left_out_path, path):
    """Join what the plan left out and what did not arrive into one table, however long."""
    with scratch_beside(path) as scratch, open_database(scratch) as base:
        late = Path(scratch, "late.parquet")
        rejects.astype({"detail": str, "reason": str}).to_parquet(late, index=False)
        write_query(
            base,
            f"SELECT *, false AS planned FROM read_parquet({quote(left_out_path)}) "
            f"UNION ALL SELECT *, true AS planned FROM read_parquet({quote(late)})",
            path,
        )
