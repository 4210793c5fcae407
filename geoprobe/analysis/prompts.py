"""What a prompt does to a multimodal model: R2 by layer and prompt, and changes against the prompts that ask nothing.

A language model's last block is about to write the answer, so what it holds depends on what was asked. Prompts with
other random tokens are seeds of one kind and are joined. All prompts of a model are tested on the same images and
resampled by the same draws, so differences are paired.
"""

import h5py
import numpy as np
import pandas as pd
from tqdm import tqdm

from geoprobe.analysis.bootstrap import interval, resample_members, two_sided_p
from geoprobe.analysis.comparison import KEYS, holm
from geoprobe.analysis.selection import list_candidates
from geoprobe.runtime import write_table

NO_PROMPT, RANDOM = "none", "random"
# Kinds of prompts; those before "text" ask nothing, and the others are compared with them, in this order.
KINDS = (NO_PROMPT, "neutral", RANDOM, "text")
CONDITION = ["cluster", "target", "cv"]
# Resamples are kept as float32; what differs by less is the same.
ROUNDING = 1e-6
OF_MODEL = ["dataset", "probe", *CONDITION, "model", *KEYS, "tower", "pooling"]
OF_PROMPT = ["prompt", "kind", "seeds"]
CURVES = [*OF_MODEL, *OF_PROMPT, "layer", "depth", "images", "blocks", "r2", "low", "high"]
EFFECTS = [*OF_MODEL, *OF_PROMPT, "measure", "baseline", "value", "low", "high", "p", "p_holm"]


def sort_prompts(prompts, names):
    """What kind each prompt is, and the family that it belongs to.

    Args:
        prompts: name to options, of the configuration.
        names: of prompts, none among them.

    Returns:
        A dict of family to (kind, names), in the order of the names. Prompts of equally many random tokens are one
        family: "random", or "random (20 tokens)" where there are several numbers or a prompt has that name.

    Raises:
        ValueError: a name is not in `prompts`.
    """
    counts = {name: prompts[name].get("random_tokens") for name in names if name in prompts}
    several = len({count for count in counts.values() if count}) > 1 or (RANDOM in counts and not counts[RANDOM])
    families = {}
    for name in names:
        if name == NO_PROMPT:
            family, kind = name, NO_PROMPT
        elif name not in prompts:
            raise ValueError(f'prompt "{name}" was read and is not in prompts; there are: {", ".join(prompts)}')
        elif counts[name]:
            family, kind = f"{RANDOM} ({counts[name]} tokens)" if several else RANDOM, RANDOM
        else:
            family, kind = name, "neutral" if "as_long_as" in prompts[name] else "text"
        families.setdefault(family, (kind, []))[1].append(name)
    return families


def peak_of(curves):
    """Place of the highest value along the first axis, shape (resamples,); -1 where there is no number."""
    known = np.isfinite(curves)
    return np.where(known.any(axis=0), np.argmax(np.where(known, curves, -np.inf), axis=0), -1)


class Curve:
    """R2 by layer of one prompt (or of prompts with other random tokens), with its resamples.

    Attributes:
        r2: mean over the prompts, shape (layers,).
        drawn: resampled R2, shape (layers, resamples); seeds are drawn anew in each resample, for all layers alike.
        peak: number of the layer with the highest R2, or -1.
    """

    def __init__(self, members, drawn, seed):
        self.r2 = np.mean(np.asarray(members, dtype=float), axis=0)
        self.drawn = np.stack([resample_members(layer, seed) for layer in np.swapaxes(drawn, 0, 1)])
        self.peak = int(peak_of(self.r2[:, None])[0])

    def at(self, place):
        """R2 at a layer and its resamples; not a number where the prompt has no peak."""
        if place == "peak" and self.peak < 0:
            return np.nan, np.full(self.drawn.shape[1], np.nan)
        index = self.peak if place == "peak" else -1
        return self.r2[index], self.drawn[index]


def describe_curve(curve, layers, depths):
    """What is said of one prompt alone, with intervals.

    Layers are chosen once, on the whole data set; `drop` and `peak_r2` are resampled at those. The intervals of
    `peak_layer` and `peak_depth` alone are of a choice made anew in each resample.

    Returns:
        Dicts of measure, value, low, high: peak_layer, peak_depth, peak_r2, last_r2, drop (from the peak to the last
        layer).
    """
    chosen = peak_of(curve.drawn)
    rows = []
    for measure, values in (("peak_layer", layers), ("peak_depth", depths)):
        low, high = interval(np.where(chosen < 0, np.nan, np.asarray(values, dtype=float)[chosen]))
        rows.append((measure, values[curve.peak] if curve.peak >= 0 else np.nan, low, high))
    (peak, of_peak), (last, of_last) = curve.at("peak"), curve.at("last")
    rows.append(("peak_r2", peak, *interval(of_peak)))
    rows.append(("last_r2", last, *interval(of_last)))
    rows.append(("drop", peak - last, *interval(of_peak - of_last)))
    return [dict(zip(("measure", "value", "low", "high"), row, strict=True)) for row in rows]


def compare_curves(curves, families):
    """Changes in R2 at the last layer and at the peak against the prompts that ask nothing.

    Args:
        curves: family of prompts to its :class:`Curve`; all have the same resamples.
        families: of :func:`sort_prompts`.

    Returns:
        Dicts of prompt, measure ("change_last", "change_peak": between the peaks of the two, each at its own layer),
        baseline, value, low, high, p (:func:`geoprobe.analysis.bootstrap.two_sided_p`) and p_holm (corrected within a
        measure for all comparisons of one tower under one condition, Holm 1979). Of two prompts that ask nothing the
        later kind of KINDS is compared with the earlier.
    """
    order = {family: KINDS.index(kind) for family, (kind, _) in families.items()}
    asking_nothing = sorted((name for name in curves if order[name] < KINDS.index("text")), key=order.get)
    rows = []
    for place in ("last", "peak"):
        compared = []
        for baseline in asking_nothing:
            before, drawn_before = curves[baseline].at(place)
            for prompt in curves:
                if order[prompt] <= order[baseline]:
                    continue
                after, drawn_after = curves[prompt].at(place)
                value, difference = after - before, drawn_after - drawn_before
                if abs(value) < ROUNDING and (np.abs(difference) < ROUNDING).all():
                    value, difference = 0.0, np.zeros_like(difference)
                p = two_sided_p(value, difference)
                compared.append((prompt, f"change_{place}", baseline, value, *interval(difference), p))
        corrected = holm([row[-1] for row in compared])
        rows += [(*row, value) for row, value in zip(compared, corrected, strict=True)]
    names = ("prompt", "measure", "baseline", "value", "low", "high", "p", "p_holm")
    return [dict(zip(names, row, strict=True)) for row in rows]


def read_samples(frame, path):
    """Resampled R2 of rows of a score table, with their number in it in `row`; shape (rows, resamples)."""
    with h5py.File(path, "r") as file:
        drawn = file["scores"]
        return np.stack([drawn[row] for row in frame["row"]]).astype(np.float64)


def compare_condition(parts, families, common, seed):
    """Curves and effects of one tower of one model under one condition.

    Args:
        parts: prompt to (rows of the score table, path of samples).
        families: of :func:`sort_prompts`, of these prompts.
        common: columns that all rows share.
        seed: of the draw of seeds.

    Returns:
        Two lists of dicts, rows of CURVES and of EFFECTS.

    Raises:
        ValueError: prompts were not probed on the same layers and images, or not resampled alike.
    """
    rows = {name: frame.sort_values("layer") for name, (frame, _) in parts.items()}
    samples = {name: read_samples(rows[name], path) for name, (_, path) in parts.items()}
    first = next(iter(parts))
    # without it differences would not be paired
    made = {
        name: (frame[["layer", "images", "blocks"]].to_numpy().tolist(), samples[name].shape)
        for name, frame in rows.items()
    }
    if other := [name for name in made if made[name] != made[first]]:
        raise ValueError(
            f"{common['model']} on {common['dataset']}, {common['tower']}: the prompts {first} and {other[0]} differ "
            "in their layers, their images or the number of resamples; run fit_probes and score_probe of both anew"
        )
    layers = rows[first]["layer"].tolist()
    depths = [layer / layers[-1] if layers[-1] else 1.0 for layer in layers]
    sizes = rows[first][["images", "blocks"]].to_numpy().tolist()
    curves, points, effects = {}, [], []
    for family, (kind, names) in families.items():
        curve = curves[family] = Curve([rows[name]["r2"] for name in names], [samples[name] for name in names], seed)
        words = common | {"prompt": family, "kind": kind, "seeds": len(names)}
        for index, (layer, depth) in enumerate(zip(layers, depths, strict=True)):
            low, high = interval(curve.drawn[index])
            images, blocks = sizes[index]
            place = {"layer": layer, "depth": depth, "images": images, "blocks": blocks}
            points.append(words | place | {"r2": curve.r2[index], "low": low, "high": high})
        effects += [words | row for row in describe_curve(curve, layers, depths)]
    for row in compare_curves(curves, families):
        kind, names = families[row["prompt"]]
        effects.append(common | {"kind": kind, "seeds": len(names)} | row)
    return points, effects


def compare_model(jobs, row, prompts, poolings, target, each_cluster, seed):
    """Curves and effects of one model on one data set under one probe.

    Args:
        jobs: prompt to (score table, samples).
        row: of the registry.
        prompts, poolings, target, each_cluster, seed: see :func:`compare_prompts`.

    Returns:
        Two lists of dicts, rows of CURVES and of EFFECTS; none where there is a single family of prompts.
    """
    families = sort_prompts(prompts, jobs)
    if len(families) < 2:
        return [], []
    frames = {}
    for name, (scores, _) in jobs.items():
        frame = pd.read_parquet(scores)
        frame = frame.assign(row=range(len(frame)))
        frame = frame[(frame["control"] == "none") & (frame["target"] == target)]
        frames[name] = frame if each_cluster else frame[frame["cluster"] == "all"]
    places = pd.concat(frames.values())[["tower", "pooling", "layer"]].drop_duplicates()
    candidates = list_candidates(list(places.itertuples(index=False, name=None)), poolings, row["model"])
    points, effects = [], []
    for tower, pooling in dict.fromkeys(candidate[:2] for candidate in candidates):
        parts = {}
        for name, frame in frames.items():
            own = frame[(frame["tower"] == tower) & (frame["pooling"] == pooling)]
            for condition, part in own.groupby(CONDITION, sort=False):
                parts.setdefault(condition, {})[name] = (part, jobs[name][1])
        for condition, of_prompts in parts.items():
            job = next(iter(of_prompts.values()))[0].iloc[0]
            common = {name: job[name] for name in ("dataset", "probe")} | dict(zip(CONDITION, condition, strict=True))
            common |= {"model": row["model"]} | {name: row[name] for name in KEYS}
            common |= {"tower": tower, "pooling": pooling}
            new = compare_condition(of_prompts, sort_prompts(prompts, of_prompts), common, seed)
            points += new[0]
            effects += new[1]
    return points, effects


def compare_prompts(probes, models, prompts, poolings, target, each_cluster, seed, paths):
    """Write R2 by layer and prompt of each multimodal model, and what prompts change.

    Args:
        probes: pairs of the score table (Parquet) and the samples (HDF5) of each probe of each model, of
            :func:`geoprobe.analysis.summary.summarise_probe`; other models' are passed over.
        models: registry rows by model: family, label, supervision.
        prompts: name to options, of the configuration.
        poolings: names, the preferred first; of each tower the first is shown that it has.
        target: degrees, sphere or circular.
        each_cluster: whether clusters of images are compared as well as all images.
        seed: of the draws of seeds.
        paths: curves and effects to CSV files to write. Without a multimodal model that was read with two prompts
            they have columns alone.

    Raises:
        ValueError: a prompt is not in the configuration, or prompts were not tested alike.
    """
    groups = {}
    for scores, samples in probes:
        job = pd.read_parquet(scores, columns=["dataset", "model", "prompt", "probe"]).iloc[0]
        if models[job["model"]]["supervision"] == "multimodal":
            groups.setdefault((job["dataset"], job["probe"], job["model"]), {})[job["prompt"]] = (scores, samples)
    points, effects = [], []
    for (_, _, model), jobs in tqdm(groups.items(), desc="models", mininterval=5):
        row = {**models[model], "model": model}
        new = compare_model(jobs, row, prompts, poolings, target, each_cluster, seed)
        points += new[0]
        effects += new[1]
    print(f"{len(groups)} multimodal models and data sets, {len(points)} points of curves, {len(effects)} effects")
    write_table(pd.DataFrame(points, columns=CURVES), paths["curves"])
    write_table(pd.DataFrame(effects, columns=EFFECTS), paths["effects"])
