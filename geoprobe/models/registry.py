"""The model registry: one row of a table a model. Importing this module imports no model library.

The memory that the shipped table states is the weights, parameters times bytes of the row's dtype, rounded up to whole
GB, and working space: 2 GB for a vision tower, 4 GB for a model that also reads the image with a language model. Of
models like CLIP the vision tower alone counts, as it alone is loaded.
"""

import csv
import difflib
import json
import re
from pathlib import Path, PurePath

from geoprobe import csv_files
from geoprobe.models.weights import CONFIGS, DTYPES, LAYOUTS, is_random, side_files, weights_in

COLUMNS = (
    "model", "label", "loader", "id", "revision", "supervision", "geolocation", "dtype", "memory_gb", "weights",
)  # fmt: skip
# The module that reads each layout of files; `encoder` is that of the controlled encoders.
LOADERS = {
    "encoder": "geoprobe.models.loaders.encoder",
    "transformers": "geoprobe.models.loaders.transformers",
    "timm": "geoprobe.models.loaders.timm",
    "open_clip": "geoprobe.models.loaders.open_clip",
    "histogram": "geoprobe.models.loaders.histogram",
}
ALLOWED = {
    # local: a folder on this machine, whose files say which of them it is for
    # histogram: a baseline without files
    "loader": ("local", "transformers", "timm", "open_clip", "histogram"),
    "supervision": ("vision-only", "vision-language", "multimodal", "baseline"),
    "geolocation": ("yes", "no"),
    "dtype": tuple(DTYPES),
    # random: built from the configuration alone, as the library initialises it
    "weights": ("safetensors", "any", "random", "none"),
}
NAME = r"[a-z0-9][a-z0-9-]*"
OWNED = r"[\w.-]+/[\w.-]+"  # a repository of the hub
ENCODERS = PurePath("results", "encoders")  # where a rule makes the controlled encoders


def did_you_mean(value, allowed):
    """' Did you mean "x"?' for the nearest of the allowed names, or nothing."""
    near = difflib.get_close_matches(str(value), [str(name) for name in allowed], n=1)
    return f' Did you mean "{near[0]}"?' if near else ""


def check_name(key, name, allowed, where):
    """Raise ValueError where a key of the configuration names what is not there, with what is and the nearest."""
    if name not in allowed:
        raise ValueError(
            f'config: {key} names "{name}", which is not in {where}; there are: {", ".join(allowed)}.'
            f"{did_you_mean(name, allowed)}"
        )


def _is_positive(text):
    try:
        return 0 < float(text) < float("inf")
    except ValueError:
        return False


def _mistake(row):
    """What is wrong with a row, with the fix, or ""."""
    for key, value in row.items():
        if not value or value != value.strip():
            return f'{key} is "{value}"; give a value, without spaces around it.'
    if not re.fullmatch(NAME, row["model"]):
        return f'model is "{row["model"]}"; a name is of a-z, 0-9 and hyphens, as it becomes a part of paths.'
    for key, allowed in ALLOWED.items():
        if row[key] not in allowed:
            return f'{key} is "{row[key]}"; allowed: {", ".join(allowed)}.{did_you_mean(row[key], allowed)}'
    if not _is_positive(row["memory_gb"]):
        return f'memory_gb is "{row["memory_gb"]}"; give the GB that the model takes, weights and working space.'
    if row["loader"] == "histogram":
        for key, value in {"id": "none", "revision": "none", "dtype": "float32", "weights": "none"}.items():
            if row[key] != value:
                return f'{key} is "{row[key]}"; the loader histogram has no files and counts in float32: write {value}.'
        return ""
    if is_random(row) and row["supervision"] != "baseline":
        return (
            f'supervision is "{row["supervision"]}", and random weights have learned nothing: write baseline, or have '
            "the trained model read with random weights as well by run.untrained."
        )
    if row["weights"] == "none":
        return f"weights is none; the loader {row['loader']} reads some: write safetensors, any or random."
    if row["loader"] == "local":
        if row["revision"] != "none":
            return f'revision is "{row["revision"]}"; a folder has none, so write none.'
        return ""
    if row["revision"] == "none":
        return "revision is none; give a commit of the repository, or a branch such as main."
    if row["loader"] == "timm" and re.fullmatch(r"[\w.-]+", row["id"]):
        return ""
    if not re.fullmatch(OWNED, row["id"]):
        bare = ", or the bare name of one of timm's" if row["loader"] == "timm" else ""
        return (
            f'id is "{row["id"]}"; give the repository of the hub as owner/name{bare}; a folder has the loader local.'
        )
    return ""


def read_registry(*paths):
    """Rows of registry tables (tab-separated, a header line), by model name.

    Args:
        paths: of the tables, such as the one that ships and one of the user's own.

    Returns:
        A dict from name to row, itself a dict of text by :data:`COLUMNS`, in the order of the tables.

    Raises:
        ValueError: a table or a column is missing, a name repeats, or a value is not allowed; names file, line, fix.
    """
    rows, places = {}, {}
    for path in paths:
        if not Path(path).is_file():
            raise ValueError(f"{path}: there is no such table of models; correct the path.")
        with csv_files.reading(path, csv.DictReader, delimiter="\t") as reader:
            header = tuple(reader.fieldnames or ())
            if header != COLUMNS:
                raise ValueError(f"{path}: the columns are {', '.join(header)}; they must be {', '.join(COLUMNS)}")
            for row in reader:
                where = f"{path}, line {reader.line_num}"
                if None in row or None in row.values():
                    raise ValueError(f"{where}: {COLUMNS[-1]} must be the last of {len(COLUMNS)} fields parted by tabs")
                if mistake := _mistake(row):
                    raise ValueError(f"{where}: {mistake}")
                name = row["model"]
                if name in rows:
                    raise ValueError(f'{where}: model "{name}" is listed twice, first in {places[name]}; rename one')
                rows[name], places[name] = row, where
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
                filled = row["id"].replace("{seed}", str(seed))
                models[f"{name}-seed{seed}"] = {**row, "id": filled, "family": name, "seed": seed}
        else:
            models[name] = {**row, "family": name, "seed": None}
    return models


def expand_untrained(models, seeds):
    """Models and, after each of them, the same architecture with random weights, one a seed.

    Controlled encoders get none, for they have the objective `random`; nor does what has no trained weights.

    Args:
        models: rows by name, of :func:`expand_seeds`.
        seeds: of the random weights.

    Returns:
        A dict from "vit-b16" and "vit-b16-untrained-seed1" to the row; those added differ from their model's in
        label, weights, family ("vit-b16-untrained") and seed alone.

    Raises:
        ValueError: a model of the run has the name or the family of one that is added.
    """
    families = {row["family"] for row in models.values()}
    expanded = {}
    for name, row in models.items():
        expanded[name] = row
        if row["seed"] is not None or is_encoder(row) or row["weights"] in ("random", "none"):
            continue
        family = f"{name}-untrained"
        more = {"label": f"{row['label']}, random weights", "weights": "random", "family": family}
        for seed in seeds:
            added = f"{family}-seed{seed}"
            if added in models or family in families:
                raise ValueError(
                    f'model "{added if added in models else family}" is in run.models and also what run.untrained '
                    f'adds for "{name}"; rename its row'
                )
            expanded[added] = {**row, **more, "seed": seed}
    return expanded


def is_encoder(row):
    """Whether a row, its seed filled in, is a controlled encoder, which a rule of this workflow trains."""
    return row["loader"] == "local" and PurePath(row["id"]).parts[:-1] == ENCODERS.parts


def trained_as(encoder):
    """Name of the objective that a controlled encoder is trained with, from where its row says that it lies."""
    return re.sub(r"-seed\d+$", "", PurePath(encoder["id"]).name)


def seed_of(row):
    """The seed that random weights are drawn from: of `run.untrained`, or 0 for a row of a table."""
    return row.get("seed") or 0


def needs_weights(row):
    """Whether files of a row are fetched, by a rule of their own, before it can be loaded."""
    return row["loader"] not in ("local", "histogram")


def library_of(folder):
    """Name in LOADERS of what reads the files in a folder.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no configuration that a loader knows.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder}: no such folder. Has the encoder been trained, or is the row's id mistyped?")
    config = folder / "config.json"
    if config.is_file():
        try:
            keys = json.loads(config.read_text(encoding="utf-8"))
        except ValueError as error:
            raise ValueError(f"{config}: not JSON ({error}); save the model again") from error
        architecture = keys.get("architecture") if isinstance(keys, dict) else None
        if isinstance(architecture, dict):
            return "encoder"
        if isinstance(keys, dict) and "model_type" in keys:
            return "transformers"
        if isinstance(architecture, str):
            return "timm"
    if (folder / "open_clip_config.json").is_file():
        return "open_clip"
    raise ValueError(
        f'{folder}: no config.json with "model_type" (a transformers model) or "architecture" (a timm model or an '
        "encoder of this project), and no open_clip_config.json; the folder must be laid out as its model's hub "
        "repository"
    )


def loader_of(row, folder=None):
    """Dotted name of the module that loads a row's model.

    Args:
        row: of the registry.
        folder: where its files lie; of the loader `local` the row's id if it is None.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds no configuration that a loader knows.
    """
    if row["loader"] != "local":
        return LOADERS[row["loader"]]
    folder = Path(row["id"] if folder is None else folder)
    # a controlled encoder may be trained yet
    return LOADERS["encoder" if is_encoder({**row, "id": folder}) else library_of(folder)]


def files_of(row):
    """Files that must exist before a model is loaded, where it is not fetched.

    Those of a controlled encoder are made by a rule. Those of a folder of the user's own are what lies there: its
    configuration, processor and tokenizer, and its weights unless they are random.

    Returns:
        Paths as text; none for a model that is fetched or has no files.

    Raises:
        ValueError: a folder of the user's own does not exist or holds no model that the row allows; says which row.
    """
    if row["loader"] != "local":
        return []
    folder = Path(row["id"])
    if is_encoder(row):
        return [str(folder / name) for name in ("model.safetensors", "config.json")[is_random(row) :]]
    where = f'model {row["model"]}: id is "{row["id"]}"'
    if not folder.is_dir():
        raise ValueError(f"{where}, and there is no such folder; give the folder that holds the model's files.")
    inside = [*folder.glob("*"), *folder.glob("*/*.jinja")]
    names = {path.relative_to(folder).as_posix() for path in inside if path.is_file()}
    if not names & set(CONFIGS):
        raise ValueError(
            f"{where}, and no {' or '.join(CONFIGS)} lies there; give a folder as save_pretrained makes it."
        )
    if is_random(row):
        return [str(folder / name) for name in side_files(names)]
    weights = weights_in(folder, pickles=row["weights"] == "any")
    if not weights and weights_in(folder):
        raise ValueError(f"{where}, and its weights are a pickle; set the row's weights to any to allow one.")
    if not weights:
        wholes = [whole for _, pair in LAYOUTS.values() for whole in pair]
        raise ValueError(f"{where}, and no weights lie there; they are {' or '.join(dict.fromkeys(wholes))}.")
    return [*(str(folder / name) for name in side_files(names)), *map(str, weights)]
