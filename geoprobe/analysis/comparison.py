"""Compare models: the summaries of all probes joined, seeds into families, families into paired differences."""

import itertools
from contextlib import ExitStack, contextmanager
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from geoprobe.analysis.bootstrap import interval, resample_members, two_sided_p
from geoprobe.analysis.families import CHOICE_WHERE, WHERE, chosen_rows
from geoprobe.analysis.pairs import compare_pairs
from geoprobe.analysis.supervision import compare_supervisions
from geoprobe.probes.labels import ALL
from geoprobe.probes.metrics import METRICS
from geoprobe.runtime import provenance, replacing, write_table

KEYS = ("family", "label", "supervision")
MEANS = ["r2", "r2_folds", "median_km", "r2_inner", "alpha_at_border"]
NUMBERS = ["seeds", "images", "blocks", "r2", "low", "high", *MEANS[1:], "reason"]
# What only choices have.
FURTHER_MEANS = [name for name in METRICS if name not in MEANS]
WORDS = ["tower", "pooling", "layers"]
CONDITIONS = ["dataset", "probe", "target", "cv"]
# Of baselines these are means over folds, while R2 is pooled over all images elsewhere.
BY_FOLD = ("r2", "r2_latitude", "r2_longitude", "r2_haversine")
DIFFERENCES = [*CONDITIONS, "choice", "family", "baseline", "difference", "low", "high", "p", "p_holm"]
# Joined once a tower under "depth"; the other choices are made among all towers, so their tower is a result.
OWN_TOWER = "own_tower"


def own_tower(frame):
    """What tells rows of one choice apart beside CHOICE_WHERE: the tower under "depth", else nothing."""
    return frame["tower"].where(frame["choice"] == "depth", "")


class Samples:
    """Resampled R2 of the chosen layers of all models; only the rows that are asked for are read.

    Args:
        choice: the choice that is compared; rows of others are not kept track of.
        seed: of the draw of seeds.
    """

    def __init__(self, choice, seed):
        self.choice, self.seed, self.places = choice, seed, {}

    def add(self, family, frame, path):
        """Note where the rows of one member of a family lie: frame of its choices, and the file of its samples."""
        kept = frame[(frame["choice"] == self.choice) & (frame["control"] == "none")]
        keys = kept[CHOICE_WHERE].assign(tower=own_tower(kept)).itertuples(name=None)
        for row, *key in keys:
            self.places.setdefault((family, *key), []).append((path, row))

    def of(self, row):
        """Resampled R2 of a row of :func:`geoprobe.analysis.families.chosen_rows`, seeds joined; (resamples,)."""
        tower = row["tower"] if row["choice"] == "depth" else ""
        members = []
        for path, index in self.places[(row["origin"], *(row[name] for name in CHOICE_WHERE), tower)]:
            with h5py.File(path, "r") as file:
                members.append(file["choices"][index].astype(np.float64))
        return resample_members(members, self.seed)


def join_members(frames, paths, name, keys, seed):
    """Mean over the seeds of one family, with intervals over units and seeds together.

    Args:
        frames: of each seed, rows of :func:`geoprobe.analysis.summary.summarise_probe`.
        paths: file of samples of each seed.
        name: data set in it, scores or choices.
        keys: columns that name a row.
        seed: of the draw of seeds.

    Returns:
        A frame of keys, the words of a choice (those of the seeds in turn where they differ), and NUMBERS, of choices
        with FURTHER_MEANS before the reason. With one seed low and high are its own.
    """
    words = [word for word in WORDS if word in frames[0] and word not in keys]
    means = [*MEANS, *(name for name in FURTHER_MEANS if words and name in frames[0])]
    columns = [*keys, *words, *NUMBERS[:-1], *means[len(MEANS) :], "reason"]
    if len(frames) == 1:
        return frames[0].assign(seeds=1)[columns]
    both = pd.concat(
        [frame.assign(member=member, row=range(len(frame))) for member, frame in enumerate(frames)], ignore_index=True
    )
    grouped = both.groupby(keys, sort=False)
    joined = grouped.agg(
        seeds=("row", "size"),
        images=("images", "first"),
        blocks=("blocks", "first"),
        **{name: (name, "mean") for name in means},
        **{word: (word, _join_words if word == "layers" else _join_names) for word in words},
        reason=("reason", lambda texts: next(filter(None, texts), "")),
    ).reset_index()
    joined["reason"] = joined["reason"].where(joined["r2"].isna(), "")
    limits = []
    with ExitStack() as opened:
        drawn = [opened.enter_context(h5py.File(path, "r"))[name] for path in paths]
        for _, part in grouped[["member", "row"]]:
            members = [drawn[member][row].astype(np.float64) for member, row in part.itertuples(index=False)]
            limits.append(interval(resample_members(members, seed)))
    joined["low"], joined["high"] = np.array(limits).T
    return joined[columns]


def _join_names(texts):
    return ", ".join(sorted({name for text in texts for name in text.split(", ") if name}))


def _join_words(texts):
    return texts.iloc[0] if len(set(texts)) == 1 else "; ".join(texts)


def add_selectivity(choices):
    """R2 minus R2 on labels that cells have swapped (Hewitt and Liang 2019), where that control was fitted.

    Args:
        choices: rows of one family with OWN_TOWER.

    Returns:
        The frame with the column `selectivity`, not a number in rows of a control.
    """
    keys = [*(name for name in CHOICE_WHERE if name != "control"), OWN_TOWER]
    control = choices[choices["control"] == "permuted_cells"].set_index(keys)["r2"]
    against = control.reindex(pd.MultiIndex.from_frame(choices[keys])).to_numpy()
    return choices.assign(selectivity=(choices["r2"] - against).where(choices["control"] == "none"))


def holm(p):
    """P values corrected for their number (Holm 1979), shape (m,); nan is no comparison and stays nan."""
    p = np.asarray(p, dtype=float)
    order = np.argsort(p, kind="stable")[: np.isfinite(p).sum()]
    corrected = np.full(len(p), np.nan)
    steps = p[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return corrected


def comparable(chosen):
    """Rows with R2 set to not-a-number where a model was tested on other images than most models were.

    A difference of two models' resamples is one on the same draw of places only if both draws are of the same units:
    resamples are shared by what was tested on the same units, and by nothing else. A model that could not read some
    of the images has others, so it is left out of comparisons, and named in a line on the output.

    Args:
        chosen: rows of :func:`geoprobe.analysis.families.chosen_rows` of the control none, of any prompts.

    Returns:
        The frame. In each row of CONDITIONS, choice and cluster those rows keep their R2 that have the numbers of
        images and blocks that most rows with an R2 have; of numbers that are equally frequent, the greatest.
    """
    others = []
    for _, part in chosen[chosen["r2"].notna()].groupby([*CONDITIONS, "choice", "cluster"], sort=False):
        counts = part.value_counts(["images", "blocks"])
        images, blocks = max(counts.index[counts == counts.max()])
        others += part.index[(part["images"] != images) | (part["blocks"] != blocks)].tolist()
    if others:
        named = chosen.loc[others, ["family", "dataset"]].value_counts(sort=False)
        names = ", ".join(f"{family} ({dataset}, {rows} rows)" for (family, dataset), rows in named.items())
        print(f"not compared, as tested on other images than most models: {names}")
    return chosen.assign(r2=chosen["r2"].mask(chosen.index.isin(others)))


def compare_families(chosen, samples_of):
    """Paired differences in R2 between families, on the whole data set and the true labels.

    Args:
        chosen: rows of :func:`geoprobe.analysis.families.chosen_rows`.
        samples_of: a function of a row that gives its resampled R2, shape (resamples,); pairs share their resamples.

    Returns:
        A frame of DIFFERENCES: family minus baseline, the later row of the registry minus the earlier one; p
        (:func:`geoprobe.analysis.bootstrap.two_sided_p`) and p_holm
        (corrected for the pairs of one row of conditions, Holm 1979). Where one of the two has no R2 there are no
        numbers, and the pair does not count.
    """
    chosen = chosen[(chosen["cluster"] == "all") & (chosen["control"] == "none")]
    rows = []
    for condition, part in chosen.groupby(CONDITIONS, sort=False):
        members = [(row, samples_of(row)) for row in part.to_dict("records")]
        pairs = []
        for (second, before), (first, after) in itertools.combinations(members, 2):
            difference = after - before
            value = first["r2"] - second["r2"]
            # a model that is not comparable has resamples all the same
            difference = difference[np.isfinite(difference) & np.isfinite(value)]
            low, high = interval(difference)
            p = two_sided_p(value, difference)
            names = (first["choice"], first["family"], second["family"])
            pairs.append((*condition, *names, value, low, high, p))
        corrected = holm([pair[-1] for pair in pairs])
        pairs = [(*pair, value) for pair, value in zip(pairs, corrected, strict=True)]
        place = {row["family"]: index for index, (row, _) in enumerate(members)}
        rows += sorted(pairs, key=lambda pair: (place[pair[5]], place[pair[6]]))
    return pd.DataFrame(rows, columns=DIFFERENCES)


def join_baselines(tables):
    """Mean over folds of the baselines' metrics.

    Args:
        tables: data set to its Parquet table of :func:`geoprobe.probes.baselines.score_baselines`.

    Returns:
        A frame of dataset, baseline, cluster, cv, folds (with scores), n_test (images), METRICS; those of BY_FOLD end
        in _folds (r2_folds), as no pooled R2 is to be compared with them.
    """
    keys = ["dataset", "baseline", "cluster", "cv"]
    both = pd.concat([pd.read_parquet(path).assign(dataset=dataset) for dataset, path in tables.items()])
    grouped = both.groupby(keys, sort=False)
    means = {f"{name}_folds" if name in BY_FOLD else name: (name, "mean") for name in METRICS}
    return grouped.agg(folds=("r2", "count"), n_test=("n_test", "sum"), **means).reset_index()


def compare_models(probes, baselines, models, shown, choice, pairs, seed, paths):
    """Join the summaries of all probes and write what is compared.

    Args:
        probes: triples of the score table, the choice table (Parquet) and the samples (HDF5) of each probe of each
            model, of :func:`geoprobe.analysis.summary.summarise_probe`, in the order of the registry.
        baselines: data set to its table of baselines.
        models: registry rows by model: family, label, supervision, geolocation.
        shown: prompts, the preferred first.
        choice: inner, depth or maximum: what is compared.
        pairs: see :func:`geoprobe.analysis.pairs.compare_pairs`.
        seed: of the draws of seeds and of pairs.
        paths: scores, families_csv, choices_csv, differences, supervisions, text_effect and baselines to CSV files to
            write, and families and choices to Parquet files of the same rows, which figures read a part of. The layers
            of all models are written family by family, as they do not fit into memory together.
    """
    groups, samples, joined = {}, Samples(choice, seed), []
    for scores, chosen, drawn in probes:
        frame = pd.read_parquet(chosen)
        job = frame.iloc[0]
        row = models[job["model"]]
        samples.add(row["family"], frame, drawn)
        key = (row["family"], job["dataset"], job["prompt"], job["probe"])
        groups.setdefault(key, []).append((row, scores, frame, drawn))
    with (
        replacing(paths["scores"]) as all_scores,
        replacing(paths["families_csv"]) as all_families,
        parquet_parts(paths["families"]) as add_part,
    ):
        for number, members in enumerate(groups.values()):
            rows, tables, choices, files = zip(*members, strict=True)
            frames = [pd.read_parquet(table) for table in tables]
            families = join_members(frames, files, "scores", WHERE, seed)
            named = [_name(frame, row, frame["model"].iloc[0]) for frame, row in zip(frames, rows, strict=True)]
            _append(pd.concat(named), all_scores, number)
            families = _name(families, rows[0])
            _append(families, all_families, number)
            add_part(families)
            choices = [frame.assign(**{OWN_TOWER: own_tower(frame)}) for frame in choices]
            of_choices = join_members(choices, files, "choices", [*CHOICE_WHERE, OWN_TOWER], seed)
            joined.append(_name(add_selectivity(of_choices).drop(columns=OWN_TOWER), rows[0]))
            print(f"{rows[0]['family']}: {len(families)} layers and {len(of_choices)} choices of {len(rows)} seeds")
    joined = pd.concat(joined, ignore_index=True)
    write_table(joined, paths["choices_csv"])
    write_table(_without_empty(joined), paths["choices"])
    compared = comparable(chosen_rows(joined, shown["prompts"], choice, control="none"))
    write_table(compare_families(compared, samples.of), paths["differences"])
    geolocated = {row["family"] for row in models.values() if row["geolocation"] == "yes"}
    write_table(compare_supervisions(compared, samples.of, geolocated, seed), paths["supervisions"])
    write_table(compare_pairs(compared, samples.of, pairs, seed), paths["text_effect"])
    write_table(join_baselines(baselines), paths["baselines"])


def _name(frame, row, *model):
    """The frame with the registry's words in front."""
    front = {"model": model[0]} if model else {}
    front |= {name: row[name] for name in KEYS}
    rest = frame.drop(columns="model", errors="ignore")
    return pd.concat([pd.DataFrame(front, index=rest.index), rest], axis=1)


def _without_empty(frame):
    """The frame as it is read from CSV, where an empty text is a gap."""
    return frame.replace("", np.nan)


@contextmanager
def parquet_parts(path):
    """Write a summary to Parquet part by part; yields a function that adds one.

    In each part the rows on the true labels are in groups of one target and cross-validation, the whole data set apart:
    what a figure shows is a small share of the rows, and a reader passes over the other groups.
    """
    with ExitStack() as opened:
        temporary, writer, attributes = opened.enter_context(replacing(path)), None, provenance()

        def add(frame):
            nonlocal writer
            frame = _without_empty(frame)
            true = frame["control"] == "none"
            apart = [true, frame["cluster"] == ALL, *(frame[name].where(true, "") for name in ("target", "cv"))]
            apart[1] &= true
            frame.attrs = attributes
            table = pa.Table.from_pandas(frame, schema=writer and writer.schema, preserve_index=False)
            if writer is None:
                writer = opened.enter_context(pq.ParquetWriter(temporary, table.schema))
            for rows in frame.groupby(apart, sort=False).indices.values():
                writer.write_table(table.take(rows))

        yield add


def _append(frame, path, number):
    """Add rows to a CSV file, with the columns' names before the first."""
    frame.to_csv(Path(path), mode="a", header=number == 0, index=False)
