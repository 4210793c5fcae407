"""Source `table`: your own photos, listed in a CSV or Parquet table of paths and coordinates."""

import csv
import io
from pathlib import Path

import pandas as pd
from PIL import Image

from geoprobe.geodesy import check_positions

NEEDED = ("path", "latitude", "longitude")


def _columns(path):
    if path.suffix == ".parquet":
        import pyarrow.parquet

        return pyarrow.parquet.read_schema(path).names
    with open(path, newline="", encoding="utf-8-sig") as file:
        return next(csv.reader(file), [])


def _read(path):
    """All columns as text, a gap as "": what a table calls 01 or NA is a name, not a number or a gap."""
    if path.suffix == ".parquet":
        table = pd.read_parquet(path)
        return table.astype(object).where(table.notna(), "").astype(str)
    return pd.read_csv(path, encoding="utf-8-sig", dtype=str, keep_default_na=False)


def check(options):
    """Refuse a table that is absent or has no path, latitude or longitude column."""
    path = Path(options["path"])
    if not path.is_file():
        raise ValueError(f'path is "{path}", and there is no such file. Give a CSV or Parquet table.')
    columns = _columns(path)
    missing = [name for name in NEEDED if name not in columns]
    if missing:
        raise ValueError(
            f'path is "{path}", whose columns are {", ".join(columns)}: no column {" and no column ".join(missing)}. '
            "Rename or add it: each image needs path, latitude and longitude (degrees)."
        )
    for name in options.get("captions", []):
        if name not in columns:
            raise ValueError(f'captions names the column "{name}", which "{path}" does not have.')


def list_images(options):
    """Rows of the table; a row without usable coordinates is a reject, and a table of only such rows an error."""
    path = Path(options["path"])
    table = _read(path)
    rows = pd.DataFrame(
        {
            "id": table["id"].where(table["id"] != "", table["path"]) if "id" in table else table["path"],
            "latitude": pd.to_numeric(table["latitude"], errors="coerce"),
            "longitude": pd.to_numeric(table["longitude"], errors="coerce"),
            "path": table["path"],
        }
    )
    # an image without a group is one of its own
    rows["group"] = table["group"].where(table["group"] != "", rows["id"]) if "group" in table else rows["id"]
    for name in options.get("captions", []):
        rows[f"caption:{name}"] = table[name]
    reason = pd.Series("", index=rows.index)
    reason[(rows["latitude"] == 0) & (rows["longitude"] == 0)] = "coordinates are (0, 0)"
    reason[rows["longitude"].abs() > 180] = "longitude outside [-180, 180]"
    reason[rows["latitude"].abs() > 90] = "latitude outside [-90, 90]"
    reason[rows["latitude"].isna() | rows["longitude"].isna()] = "no coordinates"
    reason[rows["id"].duplicated()] = "id given twice"
    reason[rows["path"] == ""] = "no path"
    rejects = rows.loc[reason != "", ["id", "latitude", "longitude"]].assign(reason=reason[reason != ""])
    rows = rows[reason == ""].reset_index(drop=True)
    if rows.empty:
        counts = ", ".join(f"{count} x {name}" for name, count in rejects["reason"].value_counts().items())
        raise ValueError(
            f"{path}: no row has usable coordinates ({counts}). Are the columns swapped or in another unit?"
        )
    check_positions(rows[["latitude", "longitude"]].to_numpy(), origin=str(path))
    return rows, rejects.reset_index(drop=True)


def load_images(rows, options):
    """Yield each file as it is on disk, or the reason why it is no image. Paths are relative to the table."""
    folder = Path(options["path"]).parent
    for name in rows["path"]:
        try:
            data = (folder / name).read_bytes()
        except OSError as error:
            yield None, f"cannot be read: {error.strerror}"
            continue
        try:
            with Image.open(io.BytesIO(data)) as image:
                image.load()
        except Exception as error:  # a decoder may raise anything on a damaged file, and the reject says what
            yield None, f"not an image: {type(error).__name__}"
            continue
        yield data, ""


def describe(options):
    """Licence and attribution as the user states them."""
    return {
        "licence": options.get("licence", "not stated"),
        "attribution": options.get("attribution", "not stated"),
        "source_version": str(options["path"]),
    }
