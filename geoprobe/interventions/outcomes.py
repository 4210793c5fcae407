"""What swapping dimensions does to the text: stability, efficacy and success, beside random dimensions.

A pair is a source image and a target image. Only pairs are scored whose source's landmark is named in the plain
generation: else there is nothing that could stay or go.

Pairs share landmarks, so they are not independent. Intervals resample the landmarks that are sources and those that are
targets, each with a draw of its own, and the seeds of the random ranking with a third; a pair counts by the product
(Owen 2007, "The pigeonhole bootstrap"). It errs on the wide side. A p value comes from flipping the signs of the
differences of all pairs of a source landmark together, which share its photos and plain texts.
"""

import functools
import itertools
import json

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from tqdm import tqdm

from geoprobe.analysis.bootstrap import draw_weights, interval
from geoprobe.analysis.comparison import holm
from geoprobe.interventions.matching import LEVELS, fold, lexicon_of, names_landmark, names_place, place_names

HEADER, KINDS = "header", ("plain", "swap")
KEYS = ("kind", "source", "target", "ranking", "seed", "share", "where", "block", "text")
CONDITION = ["where", "block", "ranking", "share"]
PAIR = ["source", "target"]
OUTCOMES = ("stability", "efficacy", "success", *LEVELS)
RANDOM = "random"
COLUMNS = [
    *CONDITION, "outcome", "pairs", "left_out", "sources", "seeds", "value", "low", "high", "difference",
    "difference_low", "difference_high", "p", "p_holm", "p_mcnemar",
]  # fmt: skip
EXACT = 12  # source landmarks with a difference, up to which all signs are tried
FLIPS = 9999


def read_generations(path):
    """Read generations from JSON lines.

    Args:
        path: a file with one JSON object of KEYS a line, after a header or without one.

    Returns:
        A frame with these columns, in the order of the file.

    Raises:
        ValueError: there is no line, or one is not such an object; names file and line.
    """
    rows = []
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path}, line {number}"
            try:
                row = json.loads(line)
            except ValueError as error:
                raise ValueError(f"{where}: not JSON ({error}); remove the line and generate again.") from error
            if number == 1 and isinstance(row, dict) and row.get("kind") == HEADER:
                continue
            missing = [key for key in KEYS if not isinstance(row, dict) or key not in row]
            if missing:
                raise ValueError(f"{where}: no {', '.join(missing)}; generate again.")
            if row["kind"] not in KINDS:
                raise ValueError(f'{where}: kind is "{row["kind"]}" instead of {" or ".join(KINDS)}; generate again.')
            rows.append({key: row[key] for key in KEYS})
    if not rows:
        raise ValueError(f"{path} holds no generation; generate again.")
    return pd.DataFrame(rows, columns=list(KEYS))


def landmarks_of_images(ids, groups, landmarks, used):
    """The landmark of each image that is used.

    Args:
        ids, groups: columns of an image store.
        landmarks: of :func:`geoprobe.interventions.landmarks.read_landmarks`.
        used: ids that need a landmark.

    Returns:
        A dict of id to Landmark.

    Raises:
        ValueError: a used id is not in the store, or its group is no landmark's name.
    """
    by_name = {landmark.name: landmark for landmark in landmarks}
    group_of = dict(zip(ids, groups, strict=True))
    found = {}
    for name in used:
        if name not in group_of:
            raise ValueError(f'image "{name}" was generated for and is not in the store; generate again.')
        if group_of[name] not in by_name:
            raise ValueError(f'image "{name}" is of "{group_of[name]}", which the table of landmarks lacks; add it.')
        found[name] = by_name[group_of[name]]
    return found


def score_generations(generations, landmark_of, landmarks):
    """Score each generation of a swap.

    A level of the target's place counts where the text names it, the source has no place of that name, and the source's
    plain generation does not name it anyway.

    Args:
        generations: frame of :func:`read_generations`.
        landmark_of: dict of image id to Landmark.
        landmarks: all landmarks of the table.

    Returns:
        The rows of swaps with source_landmark, target_landmark, scored (whether the plain generation names the source's
        landmark), stability, city, region, country, efficacy (any of the three) and success, all bool.

    Raises:
        ValueError: there is no swap, or a source has no plain generation or two that differ.
    """
    lexicon = lexicon_of(landmarks)
    plain = {}
    for row in generations[generations["kind"] == "plain"].itertuples():
        if plain.setdefault(row.source, row.text) != row.text:
            raise ValueError(f'image "{row.source}" has two plain generations that differ; generate again.')
    swaps = generations[generations["kind"] == "swap"].drop(columns="kind").reset_index(drop=True)
    if swaps.empty:
        raise ValueError("the generations hold no swap; generate some before they are scored.")
    scores = []
    for row in tqdm(swaps.itertuples(), total=len(swaps), desc="score generations", mininterval=5):
        if row.source not in plain:
            raise ValueError(f'image "{row.source}" has no plain generation to compare with; generate again.')
        source, target = landmark_of[row.source], landmark_of[row.target]
        before, after = (names_place(text, target, lexicon) for text in (plain[row.source], row.text))
        shared = _shared_levels(source, target)
        named = {level: after[level] and not before[level] and level not in shared for level in LEVELS}
        stability = names_landmark(row.text, source, lexicon)
        efficacy = any(named.values())
        scores.append(
            {
                "source_landmark": source.name,
                "target_landmark": target.name,
                "scored": names_landmark(plain[row.source], source, lexicon),
                "stability": stability,
                "efficacy": efficacy,
                "success": stability and efficacy,
                **named,
            }
        )
    return pd.concat([swaps, pd.DataFrame(scores)], axis=1)


@functools.cache
def _shared_levels(source, target):
    """Levels at which a name of the target's place is one of the source's too."""
    own = {fold(name) for names in place_names(source).values() for name in names}
    return {level for level, names in place_names(target).items() if any(fold(name) in own for name in names)}


def summarise(scored, resamples, seed):
    """Means over pairs, and their differences from random dimensions, of each condition and outcome.

    Args:
        scored: frame of :func:`score_generations`.
        resamples: of the bootstrap.
        seed: of the bootstrap and of the signs.

    Returns:
        A frame of COLUMNS. Seeds are averaged within a pair first. `difference` is from the random ranking on the same
        pairs. There is none at the shares 0 and 1, which leave nothing to choose. `p` is that of the signs, `p_holm` is
        corrected for the shares of one ranking and outcome (Holm 1979), `p_mcnemar` is the exact test over pairs
        (McNemar 1947) where both have one seed. Not a number: nothing to compare, or no pair could be scored.

    Raises:
        ValueError: a condition lacks a generation of a pair or has one twice.
    """
    usable = scored[scored["scored"]]
    pairs = pd.MultiIndex.from_frame(scored[PAIR].drop_duplicates())
    left_out = len(pairs) - len(usable[PAIR].drop_duplicates())
    conditions = {
        condition: (_usable(part, pairs, condition), part["seed"].nunique(dropna=False))
        for condition, part in scored.groupby(CONDITION, sort=True)
    }
    units = [sorted(usable[f"{role}_landmark"].unique()) for role in PAIR]
    weights = [
        draw_weights(len(names), resamples, [seed, place]) if names else np.empty((resamples, 0))
        for place, names in enumerate(units)
    ]
    draws = _Draws(units, weights, resamples, seed)
    rows = []
    for condition, (frame, seeds) in conditions.items():
        where, block, ranking, share = condition
        other, _ = conditions.get((where, block, RANDOM, share), (None, 0))
        compared = ranking != RANDOM and 0 < share < 1 and other is not None
        for outcome in OUTCOMES:
            values = _matrix(frame, outcome)
            row = dict(zip(CONDITION, condition, strict=True)) | {"outcome": outcome, "left_out": left_out}
            row |= {"pairs": len(values), "sources": frame["source_landmark"].nunique(), "seeds": seeds}
            row["value"] = values.to_numpy().mean() if len(values) else np.nan
            row["low"], row["high"] = draws.interval(values)
            if compared:
                row |= _compare(values, _matrix(other, outcome), draws)
            rows.append(row)
    table = pd.DataFrame(rows).reindex(columns=COLUMNS)
    keys = ["where", "block", "ranking", "outcome"]
    table["p_holm"] = table.groupby(keys, sort=False)["p"].transform(lambda p: holm(p.to_numpy()))
    return table


def _usable(part, pairs, condition):
    """Usable rows of one condition with seed as a number, after a look whether each pair has one of each seed."""
    part = part.assign(seed=part["seed"].astype(float).fillna(-1))
    counts = part.pivot_table(index=PAIR, columns="seed", values="text", aggfunc="count", fill_value=0)
    counts = counts.reindex(pairs, fill_value=0)
    if counts.ne(1).to_numpy().any():
        pair = counts.index[counts.ne(1).any(axis=1)][0]
        words = ", ".join(f"{name} {value}" for name, value in zip(CONDITION, condition, strict=True))
        raise ValueError(
            f"pair {pair[0]} to {pair[1]} ({words}) has not one generation of each seed; run the generation to its end."
        )
    return part[part["scored"]]


def _matrix(frame, outcome):
    """An outcome as numbers, a row a pair (its ids and landmarks), a column a seed."""
    keys = [*PAIR, "source_landmark", "target_landmark"]
    return frame.astype({outcome: float}).pivot_table(index=keys, columns="seed", values=outcome)


class _Draws:
    """What is drawn of landmarks and seeds, the same for all conditions."""

    def __init__(self, units, weights, resamples, seed):
        self.units = [{name: place for place, name in enumerate(names)} for names in units]
        self.weights, self.resamples, self.seed = weights, resamples, seed

    def of_pairs(self, index):
        """Weights of pairs, shape (resamples, pairs)."""
        parts = [
            weights[:, [places[name] for name in index.get_level_values(f"{role}_landmark")]]
            for role, places, weights in zip(PAIR, self.units, self.weights, strict=True)
        ]
        return parts[0] * parts[1]

    def means(self, values):
        """Mean over pairs of the mean over seeds in each resample, shape (resamples,); nan where no pair is drawn."""
        pairs, seeds = self.of_pairs(values.index), values.shape[1]
        drawn = draw_weights(seeds, self.resamples, [self.seed, 2, seeds])
        sums = ((pairs @ values.to_numpy()) * drawn).sum(axis=1) / seeds
        with np.errstate(invalid="ignore"):
            return sums / pairs.sum(axis=1)

    def interval(self, values):
        """95 % interval of the mean."""
        return interval(self.means(values)) if len(values) else (np.nan, np.nan)


def _compare(values, others, draws):
    """Differences of one condition from random dimensions, on the pairs that both have."""
    index = values.index.intersection(others.index)
    if not len(index):
        return {}
    values, others = values.loc[index], others.loc[index]
    low, high = interval(draws.means(values) - draws.means(others))
    differences = values.mean(axis=1) - others.mean(axis=1)
    sums = differences.groupby(level="source_landmark").sum().to_numpy()
    single = values.shape[1] == others.shape[1] == 1
    return {
        "difference": differences.mean(),
        "difference_low": low,
        "difference_high": high,
        "p": sign_flip_test(sums, draws.seed),
        "p_mcnemar": mcnemar(values.to_numpy()[:, 0], others.to_numpy()[:, 0]) if single else np.nan,
    }


def sign_flip_test(sums, seed):
    """Two-sided p value of a sum of differences under random signs (Fisher's randomisation test for pairs).

    Args:
        sums: summed difference of each unit, shape (m,).
        seed: of the signs, where there are too many to try all.

    Returns:
        The share of signs with a sum at least as far from zero: of all where at most EXACT units differ, else of FLIPS
        random ones and the observed one (Phipson and Smyth 2010).
    """
    sums = np.asarray(sums, dtype=float)
    sums = sums[np.abs(sums) > 1e-12]
    # rounding must not tell apart what is equal
    least = abs(sums.sum()) - 1e-9
    if len(sums) <= EXACT:
        signs = np.array(list(itertools.product((-1, 1), repeat=len(sums)))).reshape(2 ** len(sums), -1)
        return float((np.abs(signs @ sums) >= least).mean())
    signs = np.random.default_rng([seed, 3]).integers(2, size=(FLIPS, len(sums))) * 2 - 1
    return float(((np.abs(signs @ sums) >= least).sum() + 1) / (FLIPS + 1))


def mcnemar(first, second):
    """Exact two-sided p value that two paired outcomes (0 or 1, shape (n,)) are equally frequent (McNemar 1947)."""
    gained, lost = int((first > second).sum()), int((first < second).sum())
    return float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
