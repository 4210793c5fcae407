"""From a source's list to a plan: which images to obtain, balanced over the globe, and why the rest is left out.

The list may have any length: it is read in chunks, kept in Parquet files, and sorted, counted and cut by DuckDB within
a fixed memory.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from geoprobe.images.checks import coordinate_reasons, country_details
from geoprobe.images.database import open_database, quote, write_query
from geoprobe.images.geocells import merge_units
from geoprobe.images.units import administrative_units
from geoprobe.runtime import scratch_beside

UNIT_COLUMNS = ["country_code", "country", "region", "district", "border_uncertain"]
FULL = "geocell full"
TWICE = "id given twice"
DISAGREES = "declared country disagrees"
NOWHERE = "in no administrative unit"


def check_chunk(frame, first, boundaries=None):
    """Place one chunk of a source's list and give each row that cannot be used its reason.

    Args:
        frame: rows of a source (see :mod:`geoprobe.images.sources`).
        first: number of the chunk's first row in the whole list.
        boundaries: see :func:`administrative_units`.

    Returns:
        The rows with position (number in the list), reason, detail and UNIT_COLUMNS.
    """
    frame = frame.reset_index(drop=True)
    declared = frame.pop("country") if "country" in frame else np.full(len(frame), "")
    frame.insert(0, "position", np.arange(first, first + len(frame)))
    frame["group"] = frame["group"].where(frame["group"] != "", frame["id"])
    reason = frame["reason"].to_numpy(object).copy()
    unset = reason == ""
    reason[unset] = coordinate_reasons(frame["latitude"], frame["longitude"])[unset]
    usable = np.flatnonzero(reason == "")
    positions = frame[["latitude", "longitude"]].to_numpy(np.float64)[usable]
    placed = administrative_units(positions, boundaries)[UNIT_COLUMNS]
    detail = np.full(len(frame), "", dtype=object)
    detail[usable] = country_details(np.asarray(declared)[usable], placed)
    reason[detail != ""] = DISAGREES
    units = placed.set_index(usable).reindex(frame.index)
    texts = [column for column in UNIT_COLUMNS if column != "border_uncertain"]
    units[texts] = units[texts].fillna("")
    units["border_uncertain"] = units["border_uncertain"].eq(True)
    reason[(reason == "") & (units["country_code"] == "").to_numpy()] = NOWHERE
    return pd.concat([frame.drop(columns="reason"), units], axis=1).assign(reason=reason, detail=detail)


def plan_images(frames, plan_path, left_out_path, name, balance, shards=1, boundaries=None):
    """Choose at most so many images of each geocell, and write the plan and what is left out of it.

    Args:
        frames: iterator of a source's frames.
        plan_path: Parquet table to write: the source's columns, UNIT_COLUMNS, geocell, rank (of the image in the
            random order of its geocell, from 0) and shard, in the source's order.
        left_out_path: Parquet table to write: id, latitude, longitude, country_code, reason, detail.
        name: the data set's name.
        balance: minimum, maximum, seed and, where images may fail to arrive, reserve: how many spare images of a
            geocell are planned, as a share of the maximum.
        shards: number of parts in which the images are obtained; the images of one archive lie in one shard.
        boundaries: see :func:`administrative_units`.

    Returns:
        Number of images planned.

    Raises:
        ValueError: no row can be used; counts the reasons.
    """
    wanted = int(np.ceil(balance["maximum"] * (1 + balance.get("reserve", 0))))
    with scratch_beside(plan_path) as scratch, open_database(scratch) as base:
        _write_chunks(frames, Path(scratch, "listed"), name, boundaries)
        _mark_repeated(base, scratch)
        counts = base.execute(
            "SELECT country_code, region, district, count(*) AS images FROM checked WHERE reason = '' GROUP BY ALL"
        ).df()
        if counts.empty:
            raise ValueError(f"dataset {name}: no listed image can be used ({_reasons(base)}). {_hint(base)}")
        # as many units as there are on the Earth, however long the list
        base.register("units", counts.assign(geocell=merge_units(counts, balance["minimum"])))
        _rank(base, scratch, balance["seed"])
        write_query(
            base,
            f"""
            SELECT * EXCLUDE (position), (({_shard_key(base)}) % {int(shards)})::INTEGER AS shard
            FROM ranked WHERE rank < {wanted} ORDER BY position
            """,
            plan_path,
        )
        write_query(
            base,
            f"""
            SELECT * EXCLUDE (position) FROM (
                SELECT id, latitude, longitude, country_code, reason, detail, position
                FROM checked WHERE reason <> ''
                UNION ALL
                SELECT id, latitude, longitude, country_code, '{FULL}', '', position FROM ranked WHERE rank >= {wanted}
            ) ORDER BY position
            """,
            left_out_path,
        )
        planned, full = base.execute(
            f"SELECT count(*) FILTER (rank < {wanted}), count(*) FILTER (rank >= {wanted}) FROM ranked"
        ).fetchone()
        cells = base.execute("SELECT count(DISTINCT geocell) FROM units").fetchone()[0]
        print(f"{name}: left out: {', '.join(filter(None, [_reasons(base), f'{full} x {FULL}']))}")
    print(f"{name}: {planned} images planned in {cells} geocells")
    return planned


def _write_chunks(frames, folder, name, boundaries):
    folder.mkdir()
    first = 0
    progress = tqdm(unit="row", desc=f"{name}: list", mininterval=5)
    for number, frame in enumerate(frames):
        if len(frame):
            checked = check_chunk(frame, first, boundaries)
            checked.to_parquet(folder / f"{number:06d}.parquet", index=False)
            first += len(frame)
            progress.update(len(frame))
    progress.close()
    if not first:
        raise ValueError(f"dataset {name}: the source lists no image. Is it the right file or folder?")


def _materialise(base, name, query, scratch):
    """A view on a file that holds the rows of a query, so that they take no memory."""
    path = quote(Path(scratch, f"{name}.parquet"))
    base.execute(f"COPY ({query}) TO {path} (FORMAT parquet)")
    base.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({path})")


def _mark_repeated(base, scratch):
    # of the rows of an id that could be used, the first stays
    query = f"""
        SELECT * EXCLUDE (turn)
            REPLACE (CASE WHEN reason = '' AND turn > 1 THEN '{TWICE}' ELSE reason END AS reason)
        FROM (
            SELECT *, row_number() OVER (PARTITION BY id, reason = '' ORDER BY position) AS turn
            FROM read_parquet({quote(Path(scratch, "listed", "*.parquet"))})
        )
    """
    _materialise(base, "checked", query, scratch)


def _rank(base, scratch, seed):
    query = f"""
        SELECT usable.* EXCLUDE (reason, detail), units.geocell,
            row_number() OVER (
                PARTITION BY units.geocell ORDER BY md5('{int(seed)}/' || usable.id), usable.position
            ) - 1 AS rank
        FROM (SELECT * FROM checked WHERE reason = '') AS usable JOIN units USING (country_code, region, district)
    """
    _materialise(base, "ranked", query, scratch)


def _shard_key(base):
    """What the shard is drawn from: the archive where there is one, else the id."""
    columns = {row[0] for row in base.execute("DESCRIBE ranked").fetchall()}
    by_id = "('0x' || md5(id)[1:8])::UBIGINT"
    if "archive" not in columns:
        return by_id
    return f"CASE WHEN archive <> '' THEN dense_rank() OVER (ORDER BY archive) - 1 ELSE {by_id} END"


def _reasons(base):
    counts = base.execute(
        "SELECT reason, count(*) FROM checked WHERE reason <> '' GROUP BY reason ORDER BY 2 DESC, 1"
    ).fetchall()
    return ", ".join(f"{count} x {reason}" for reason, count in counts)


def _hint(base):
    outside = base.execute("SELECT count(*) FROM checked WHERE reason LIKE '%outside%'").fetchone()[0]
    return "Are latitude and longitude swapped, or in another unit than degrees?" if outside else "Check its source."
