"""The model registry: one row of a table a model. Importing this module imports no model library."""

import csv
import difflib
from pathlib import Path

COLUMNS = ("model", "loader", "id", "revision", "supervision", "label")
LOADERS = {"local": "geoprobe.models.local"}
SUPERVISIONS = ("vision-only", "vision-language", "multimodal")


def did_you_mean(value, allowed):
    """' Did you mean "x"?' for the nearest of the allowed names, or nothing."""
    near = difflib.get_close_matches(str(value), [str(name) for name in allowed], n=1)
    return f' Did you mean "{near[0]}"?' if near else ""


def read_registry(path):
    """Rows of a registry table (tab-separated, a header line), by model name.

    Raises:
        ValueError: a column is missing or unknown, a name repeats, or a value is not allowed; names file, row, fix.
    """
    with open(path, newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file, delimiter="\t")
        header = tuple(reader.fieldnames or ())
        if header != COLUMNS:
            raise ValueError(f"{path}: the columns are {', '.join(header)}; they must be {', '.join(COLUMNS)}")
        rows = {}
        for row in reader:
            where = f"{path}, line {reader.line_num}"
            if None in row or None in row.values():
                raise ValueError(f"{where}: {COLUMNS[-1]} must be the last of {len(COLUMNS)} fields parted by tabs")
            if row["model"] in rows:
                raise ValueError(f'{where}: model "{row["model"]}" is listed twice; rename one')
            for key, allowed in (("loader", tuple(LOADERS)), ("supervision", SUPERVISIONS)):
                if row[key] not in allowed:
                    near = did_you_mean(row[key], allowed)
                    raise ValueError(f'{where}: {key} is "{row[key]}"; allowed: {", ".join(allowed)}.{near}')
            rows[row["model"]] = row
    return rows


def expand_seeds(rows, seeds):
    """Rows by the name that a run gives them: a row whose id holds {seed} stands for one model a seed.

    Args:
        rows: rows by name, of :func:`read_registry`.
        seeds: of the controlled encoders.

    Returns:
        A dict from "masked-seed1" (or the plain name of a row without {seed}) to the row with its id filled in,
        and `family`, the row's own name, and `seed` added (None without).
    """
    models = {}
    names = [f"{name}-seed{seed}" for name, row in rows.items() if "{seed}" in row["id"] for seed in seeds]
    for name in names:
        if name in rows:
            raise ValueError(f'model "{name}" is a row of the registry and also a seed of another; rename the row')
    for name, row in rows.items():
        if "{seed}" in row["id"]:
            for seed in seeds:
                models[f"{name}-seed{seed}"] = {**row, "id": row["id"].format(seed=seed), "family": name, "seed": seed}
        else:
            models[name] = {**row, "family": name, "seed": None}
    return models


def files_of(row):
    """Files that must exist before a model is loaded, where they are ours to make."""
    return (
        [str(Path(row["id"], name)) for name in ("model.safetensors", "config.json")]
        if row["loader"] == "local"
        else []
    )
