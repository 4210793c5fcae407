"""Fine-tuned models beside each other, and whether they rank as their probes do."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from geoprobe.analysis.bootstrap import interval
from geoprobe.analysis.families import chosen_rows, has_learned
from geoprobe.finetune.evaluation import MEAN, METRICS, TOWER, score_predictions

KEYS = ["dataset", "family", "label", "supervision"]
LIMITS = [f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high")]
CHANCES = ["chance_top1", "chance_top5", "chance_per_country", "majority"]
MODEL_COLUMNS = [
    *KEYS, "models", "trainings", "learning_rate", "rate_at_border", *LIMITS, "images", "countries", "groups", *CHANCES,
]  # fmt: skip
RATE_COLUMNS = [*KEYS, "model", "learning_rate", "seed", "validation_accuracy", "best_epoch", "end", "chosen"]
CONTINENT_COLUMNS = [*KEYS, "continent", "metric", "value", "low", "high", "images", "countries", "groups"]
CONDITIONS = ["dataset", "probe", "target", "cv", "choice"]
CORRELATION_COLUMNS = ["finetuned_on", *CONDITIONS, "metric", "models", "rho", "low", "high", "p", "method", "reason"]
MIN_MODELS = 3  # two models rank alike or not, whatever they are
MIN_INTERVAL = 5  # draws of fewer models are mostly of one or two, which correlate perfectly
PERMUTATIONS = 9999  # all are made where there are no more


def correlate_ranks(x, y, resamples, seed):
    """Spearman's rank correlation of two scores of the same models.

    Args:
        x, y: shape (m,).
        resamples, seed: of the bootstrap over models, and seed of the permutations.

    Returns:
        A dict: models, rho, low, high (95 %, of models drawn anew; draws in which either score is constant do not
        count; not a number with fewer than MIN_INTERVAL models), p (two-sided, of permutations: all m! of them where
        that is at most 10 000, else 9 999 at random), method (exact or permutations), reason. Empty but for models and
        reason, where there are fewer than MIN_MODELS or a score is constant.
    """
    x, y = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    count = len(x)
    if count < MIN_MODELS:
        return {"models": count, "reason": f"{count} models, and a rank correlation needs {MIN_MODELS}"}
    if np.ptp(x) == 0 or np.ptp(y) == 0:
        return {"models": count, "reason": "all models have the same score"}
    ranks = stats.rankdata(y)

    def rho(first, axis):
        return stats.pearsonr(first, np.broadcast_to(ranks, first.shape), axis=axis).statistic

    generator = np.random.default_rng(seed)
    test = stats.permutation_test(
        (stats.rankdata(x),), rho, permutation_type="pairings", vectorized=True, n_resamples=PERMUTATIONS, rng=generator
    )
    drawn = generator.integers(count, size=(resamples, count))
    first, second = x[drawn], y[drawn]
    usable = (np.ptp(first, axis=1) > 0) & (np.ptp(second, axis=1) > 0)
    samples = stats.pearsonr(
        stats.rankdata(first[usable], axis=1), stats.rankdata(second[usable], axis=1), axis=1
    ).statistic
    low, high = interval(samples) if count >= MIN_INTERVAL else (np.nan, np.nan)
    exact = len(test.null_distribution) < PERMUTATIONS
    return {
        "models": count,
        "rho": float(test.statistic),
        "low": low,
        "high": high,
        "p": float(test.pvalue),
        "method": "exact" if exact else "permutations",
        "reason": "" if count >= MIN_INTERVAL else f"no interval from fewer than {MIN_INTERVAL} models",
    }


def correlate_probes(finetuned, choices, prompts, choice, resamples, seed):
    """Rank correlation between accuracy after fine-tuning and R2 of the probes, over families of models.

    Only models that have learned something count: random weights, untrained copies and other baselines are at the
    bottom of both rankings whatever the others do, and would make any correlation look high.

    Args:
        finetuned: frame of MODEL_COLUMNS.
        choices: summary of :func:`geoprobe.analysis.comparison.compare_models`, the chosen layers by family.
        prompts: names, the preferred first.
        choice: inner, depth or maximum. Under depth the vision tower's R2 is taken, as that is what is fine-tuned.
        resamples, seed: see :func:`correlate_ranks`.

    Returns:
        Frame of CORRELATION_COLUMNS: a row for each data set that models were fine-tuned on, each row of conditions
        under which they were probed, and each metric.
    """
    chosen = choices[(choices["cluster"] == "all") & (choices["control"] == "none") & (choices["choice"] == choice)]
    chosen = chosen_rows(chosen, prompts, choice) if len(chosen) else chosen.assign(origin="")
    if choice == "depth":
        chosen = chosen[chosen["tower"] == TOWER]
    rows = []
    learned = has_learned(finetuned.assign(origin=finetuned["family"]))
    for dataset in finetuned["dataset"].unique():
        models = finetuned[(finetuned["dataset"] == dataset) & learned]
        for condition, probes in chosen.groupby(CONDITIONS, sort=False):
            both = models.merge(probes[["origin", "r2"]], left_on="family", right_on="origin").dropna(subset=["r2"])
            for metric in METRICS:
                found = correlate_ranks(both[metric], both["r2"], resamples, seed)
                named = dict(zip(CONDITIONS, condition, strict=True))
                rows.append({"finetuned_on": dataset, **named, "metric": metric, **found})
        if not len(chosen):
            named = {"finetuned_on": dataset, "choice": choice}
            rows += [{**named, "metric": metric, **correlate_ranks([], [], resamples, seed)} for metric in METRICS]
    return pd.DataFrame(rows, columns=CORRELATION_COLUMNS)


def _list_rates(results, model, chosen):
    """Rows of RATE_COLUMNS of one model."""
    return [
        {**{name: run[name] for name in ("learning_rate", "seed", "validation_accuracy", "best_epoch", "end")},
         "model": model, "chosen": run["learning_rate"] == chosen}
        for run in results["runs"]
    ]  # fmt: skip


def _at_border(results):
    """Whether the chosen rate is the lowest or the highest of several, so that the best may lie outside of the grid."""
    tried = {run["learning_rate"] for run in results["runs"]}
    return len(tried) > 1 and results["learning_rate"] in (min(tried), max(tried))


def compare_finetuning(results, predictions, models, resamples, seed):
    """Accuracies of all fine-tuned models by family, the learning rates that were tried, and accuracies by continent.

    Args:
        results, predictions: files of :func:`geoprobe.finetune.grid.finetune_model`, in the same order.
        models: registry rows by model: family, label, supervision.
        resamples, seed: of the bootstrap.

    Returns:
        Frames of MODEL_COLUMNS, RATE_COLUMNS and CONTINENT_COLUMNS. The models of a family (an encoder's seeds) and
        their trainings count alike: the mean is over all of them, and so are the draws of its interval.
        rate_at_border is the share of models whose chosen rate is the lowest or highest that was tried.

    Raises:
        ValueError: two models were not tested on the same images of a data set.
    """
    groups, rates, families, continents = {}, [], [], []
    for path, frame in zip(results, predictions, strict=True):
        found = json.loads(Path(path).read_text(encoding="utf-8"))
        model, dataset = found["names"]["model"], found["names"]["dataset"]
        row = models[model]
        key = (dataset, row["family"], row["label"], row["supervision"])
        tested = pd.read_parquet(frame)
        groups.setdefault(key, []).append((found, tested.assign(training=[f"{model}/{n}" for n in tested["seed"]])))
        named = dict(zip(KEYS, key, strict=True))
        rates += [{**named, **rate} for rate in _list_rates(found, model, found["learning_rate"])]
    for key, members in groups.items():
        first = members[0][0]
        frame = pd.concat([tested for _, tested in members], ignore_index=True)
        scores = score_predictions(frame, resamples, seed, member="training")
        scores = scores[scores["member"] == MEAN]
        whole = scores[scores["by"] == "all"].set_index("metric")
        named = dict(zip(KEYS, key, strict=True))
        counts = {name: int(whole[name].iloc[0]) for name in ("images", "countries", "groups")}
        chosen = sorted({found["learning_rate"] for found, _ in members})
        families.append(
            {
                **named,
                **{"models": len(members), "trainings": frame["training"].nunique()},
                "learning_rate": "; ".join(f"{rate:g}" for rate in chosen),
                "rate_at_border": float(np.mean([_at_border(found) for found, _ in members])),
                **{
                    f"{metric}{end}": whole.loc[metric, column]
                    for metric in METRICS
                    for end, column in (("", "value"), ("_low", "low"), ("_high", "high"))
                },
                **counts,
                **{f"chance_{metric}": first["chance"][metric] for metric in METRICS},
                "majority": first["chance"]["majority"],
            }
        )
        parts = scores[scores["by"] == "continent"].rename(columns={"group": "continent"})
        continents.append(parts.assign(**named)[CONTINENT_COLUMNS])
    continents = pd.concat(continents) if continents else pd.DataFrame(columns=CONTINENT_COLUMNS)
    return pd.DataFrame(families, columns=MODEL_COLUMNS), pd.DataFrame(rates, columns=RATE_COLUMNS), continents
