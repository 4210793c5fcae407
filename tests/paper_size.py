"""Made-up tables of the size of the paper's: 32 models, 40 clusters and all images, up to 40 layers.

Columns and types are those that the code writes; the numbers are drawn and mean nothing but for their order: kinds of
supervision, sizes, clusters, depth and cross-validations differ as one would expect.
"""

import csv
import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from geoprobe.analysis import correlation, dimensions, fairness, pairs, prompts, supervision, transfer
from geoprobe.analysis.comparison import DIFFERENCES, KEYS, NUMBERS, WORDS
from geoprobe.analysis.families import CHOICE_WHERE, WHERE
from geoprobe.analysis.selection import CHOICES
from geoprobe.analysis.summary import NUMBERS as OF_SCORES
from geoprobe.finetune.comparison import CONTINENT_COLUMNS, CORRELATION_COLUMNS, MODEL_COLUMNS, RATE_COLUMNS
from geoprobe.finetune.evaluation import METRICS as FINETUNING_METRICS
from geoprobe.geodesy import draw_on_sphere
from geoprobe.interventions import directions, outcomes
from geoprobe.probes.baselines import BASELINES
from geoprobe.probes.metrics import METRICS

ROOT = Path(__file__).resolve().parent.parent
DATASETS = ("yfcc100m", "landmarks")
CVS = ("random", "blocked", "buffered")
CONTROLS = ("none", "permuted", "permuted_cells")
TIERS = ("unlocalizable", "hardly localizable", "partly localizable", "localizable", "very localizable")
THRESHOLDS = (0.0, 0.1, 0.2, 0.3)
CONTINENTS = ("Africa", "Asia", "Europe", "North America", "Oceania", "South America")
SHARES = (1.0, 0.4, 0.1)
IMAGES, BLOCKS = 200_000, 1_400
# Blocks of the vision tower, and of the language model.
DEPTHS = {
    "vit-b16": 12, "vit-l16": 24, "mae-b16": 12, "mae-l16": 24, "dinov2-s14": 12, "dinov2-b14": 12, "dinov2-l14": 24,
    "dinov2-g14": 40, "webssl-mae-300m": 24, "webssl-mae-1b": 40, "webssl-dino-300m": 24, "webssl-dino-1b": 40,
    "webssl-dino-7b": 32, "dinov3-b16": 12, "dinov3-l16": 24, "clip-b32": 12, "clip-l14": 24, "streetclip": 24,
    "metaclip-b16-400m": 12, "metaclip-b32-400m": 12, "metaclip-l14-400m": 24, "metaclip-b16-fullcc": 12,
    "metaclip-b32-fullcc": 12, "metaclip-l14-fullcc": 24, "metaclip-h14-fullcc": 32, "llava-1-5-7b": 24,
    "qwen2-5-vl-3b": 32, "qwen2-5-vl-7b": 32, "gemma-3-4b-pt": 27, "gemma-3-12b-pt": 27, "gemma-3-4b-it": 27,
    "gemma-3-12b-it": 27,
}  # fmt: skip
TEXT_DEPTHS = {
    "llava-1-5-7b": 32, "qwen2-5-vl-3b": 36, "qwen2-5-vl-7b": 28, "gemma-3-4b-pt": 34, "gemma-3-12b-pt": 48,
    "gemma-3-4b-it": 34, "gemma-3-12b-it": 48,
}  # fmt: skip
HEIGHTS = {"vision-only": 0.28, "vision-language": 0.52, "multimodal": 0.46, "baseline": 0.08}


def models():
    """Registry rows of the paper's models by name, in the order of config/paper.yaml; `family` is the name."""
    with open(ROOT / "config" / "models.tsv", encoding="utf-8") as file:
        known = {row["model"]: row for row in csv.DictReader(file, delimiter="\t")}
    wanted = yaml.safe_load((ROOT / "config" / "paper.yaml").read_text())["run"]["models"]
    return {name: known[name] | {"family": name} for name in wanted}


def prompt_names():
    """Prompts of config/paper.yaml, `none` first."""
    return yaml.safe_load((ROOT / "config" / "paper.yaml").read_text())["run"]["prompts"]


def cluster_names():
    """Cluster number (as text) to its name, 40 of them."""
    with open(ROOT / "config" / "cluster_names.csv", encoding="utf-8") as file:
        return {row["cluster"]: row["name"] for row in csv.DictReader(file)}


def clusters():
    """All images, and the 40 clusters."""
    return ["all", *cluster_names()]


def towers(model):
    """(tower, pooling, layers) of a model, with the poolings that are shown."""
    found = [("text", "last", TEXT_DEPTHS[model])] if model in TEXT_DEPTHS else []
    pooling = "mean" if model.startswith(("qwen", "gemma")) else "cls"
    return [*found, ("vision", pooling, DEPTHS[model])]


def _crossed(**values):
    """A frame with a row for each combination, the last column fastest."""
    index = pd.MultiIndex.from_product(values.values(), names=values.keys())
    return index.to_frame(index=False)


def _rng(*key):
    return np.random.default_rng([ord(letter) for letter in "/".join(map(str, key))])


def _spread(kind, name):
    """A number between -1 and 1 that a model or cluster always has."""
    return _rng(kind, name).uniform(-1, 1)


def _add_r2(frame, seed):
    """The frame with r2, low and high by its supervision, model, cluster, cv, control and, if there, layer."""
    rng = _rng("r2", seed, len(frame))
    names = frame["family"].unique()
    height = frame["supervision"].map(HEIGHTS) + 0.08 * frame["family"].map({n: _spread("model", n) for n in names})
    of_cluster = {name: 0.22 * _spread("cluster", name) - 0.1 for name in cluster_names()} | {"all": 0.0}
    height = height + frame["cluster"].map(of_cluster)
    height = height * frame["cv"].map({"random": 1.05}).fillna(0.85) + 0.01
    if "layer" in frame:
        depth = frame["layer"] / frame.groupby(["family", "tower"])["layer"].transform("max").clip(lower=1)
        height = height * (0.25 + 0.9 * depth - 0.15 * depth**3)
    control = frame["control"] if "control" in frame else pd.Series("none", index=frame.index)
    value = np.where(control == "none", height + rng.normal(0, 0.015, len(frame)), rng.normal(0, 0.01, len(frame)))
    value = np.clip(value, -0.1, 0.9)
    width = np.where(frame["cluster"] == "all", 0.02, 0.06) * rng.uniform(0.7, 1.3, len(frame))
    return frame.assign(r2=value, low=value - width, high=value + width)


def _add_numbers(frame, seed):
    """The frame with NUMBERS of a summary."""
    frame = _add_r2(frame, seed)
    whole = frame["cluster"] == "all"
    return frame.assign(
        seeds=1,
        images=np.where(whole, IMAGES, 5_000),
        blocks=np.where(whole, BLOCKS, 600),
        r2_folds=frame["r2"] - 0.002,
        median_km=9000 * (1 - frame["r2"]),
        r2_inner=frame["r2"] + 0.003,
        alpha_at_border=0.0,
        reason="",
    )


def _named(frame, known):
    """The frame with label and supervision of its families."""
    return frame.assign(
        **{name: frame["family"].map({key: row[name] for key, row in known.items()}) for name in KEYS[1:]}
    )


def _unasked(model):
    """Prompts of a model that is asked nothing."""
    return ["none"]


def families(
    dataset="yfcc100m", probe="ridge", cvs=CVS, controls=("none",), prompt_of=_unasked, targets=("degrees",),
    every_pooling=False, of=None,
):  # fmt: skip
    """Summary of layers by family, `analysis/families.csv`.

    Args:
        prompt_of: a function of a model's name: the prompts that it is asked with.
        every_pooling: of each tower also mean and maxmin, as the paper's ridge regressions are fitted.
        of: models; all of the paper's by default.
    """
    known = models()
    frames = []
    for model in of or known:
        for tower, pooling, depth in towers(model):
            poolings = dict.fromkeys([pooling, "mean", "maxmin"]) if every_pooling else [pooling]
            frames.append(
                _crossed(
                    family=[model], dataset=[dataset], prompt=prompt_of(model), probe=[probe], cluster=clusters(),
                    tower=[tower], layer=range(depth), pooling=poolings, target=targets, cv=cvs, control=controls,
                )
            )  # fmt: skip
    frame = _named(pd.concat(frames, ignore_index=True), known)
    return _add_numbers(frame, f"families {dataset} {probe}")[[*KEYS, *WHERE, *NUMBERS]]


def scores(**options):
    """Summary of layers by model, `analysis/scores.csv`; options of :func:`families`."""
    frame = families(**options)
    frame = frame.assign(model=frame["family"], r2_latitude=frame["r2"] + 0.05, r2_longitude=frame["r2"] - 0.05)
    return frame[["model", *KEYS, *WHERE, "images", "blocks", *OF_SCORES, "reason"]]


def choices(dataset="yfcc100m", probe="ridge", cvs=CVS, controls=CONTROLS, prompt_of=_unasked, targets=("degrees",)):
    """Chosen layers by family with intervals, `analysis/choices.csv`."""
    known = models()
    frames = []
    for model in known:
        shared = {"family": [model], "dataset": [dataset], "prompt": prompt_of(model), "probe": [probe]}
        shared |= {"cluster": clusters(), "target": targets, "cv": cvs, "control": controls}
        for choice in CHOICES:
            # at a fixed depth there is a row a tower
            for tower, pooling, depth in towers(model)[: None if choice == "depth" else 1]:
                frame = _crossed(**shared, choice=[choice], tower=[tower], pooling=[pooling])
                last = str(depth - 1) if choice == "depth" else ", ".join(str(depth - 2 - n % 2) for n in range(5))
                frames.append(frame.assign(layers=last))
    frame = _named(pd.concat(frames, ignore_index=True), known)
    frame = _add_numbers(frame, f"choices {dataset} {probe}")
    frame["selectivity"] = (frame["r2"] - 0.01).where(frame["control"] == "none")
    return frame[[*KEYS, *CHOICE_WHERE, *WORDS, *NUMBERS, "selectivity"]]


def _conditions(dataset, probe, cvs, choice="inner", **more):
    return _crossed(dataset=[dataset], probe=[probe], target=["degrees"], cv=cvs, choice=[choice], **more)


def _around(frame, name, value, width):
    """The frame with a number and an interval around it."""
    return frame.assign(**{name: value}, low=value - width, high=value + width)


def differences(dataset="yfcc100m", probe="ridge", cvs=CVS):
    """Paired differences of all 496 pairs of models, `analysis/differences.csv`."""
    pairs_of = [(later, earlier) for earlier, later in itertools.combinations(models(), 2)]
    both = pd.DataFrame(pairs_of, columns=["family", "baseline"])
    frame = _conditions(dataset, probe, cvs).merge(both, how="cross")
    rng = _rng("differences", dataset, probe)
    frame = _around(frame, "difference", rng.normal(0.05, 0.15, len(frame)), rng.uniform(0.01, 0.04, len(frame)))
    frame["p"] = np.where(frame["low"] * frame["high"] > 0, 1e-8, 0.2)
    frame["p_holm"] = (frame["p"] * 496).clip(upper=1)
    return frame[DIFFERENCES]


def supervisions(dataset="yfcc100m", probe="ridge", cvs=CVS):
    """Differences between kinds of supervision, `analysis/supervisions.csv`."""
    kinds = [("vision-language", "vision-only"), ("multimodal", "vision-only"), ("multimodal", "vision-language")]
    counts = pd.Series([row["supervision"] for row in models().values()]).value_counts()
    frame = pd.concat(
        [
            _conditions(dataset, probe, cvs, cluster=clusters(), supervision=[kind], baseline=[other])
            for kind, other in kinds
        ],
        ignore_index=True,
    )
    rng = _rng("supervisions", dataset, probe)
    middle = frame["supervision"].map(HEIGHTS) - frame["baseline"].map(HEIGHTS)
    frame = _around(frame, "difference", middle + rng.normal(0, 0.05, len(frame)), rng.uniform(0.05, 0.1, len(frame)))
    frame = frame.assign(models=frame["supervision"].map(counts), baseline_models=frame["baseline"].map(counts))
    frame = frame.assign(low_fixed=frame["difference"] - 0.02, high_fixed=frame["difference"] + 0.02)
    return frame[supervision.COLUMNS]


def text_effect(dataset="yfcc100m", probe="ridge", cvs=CVS):
    """Effect of text over matched pairs, `analysis/text_effect.csv`: every pair, each way of matching, and all."""
    every = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())["analysis"]["pairs"]
    used = [pair for pair in every if {pair["baseline"], pair["text"]} <= set(models())]
    ways = list(dict.fromkeys(pair["matched"] for pair in used))
    rows = [(way, np.nan, np.nan, sum(pair["matched"] == way for pair in used)) for way in ways]
    rows += [("all", np.nan, np.nan, len(used))]
    rows += [(pair["matched"], pair["text"], pair["baseline"], 1) for pair in used]
    frames = [
        _conditions(dataset, probe, cvs, cluster=clusters()).assign(matched=way, text=text, baseline=base, pairs=count)
        for way, text, base, count in rows
    ]
    frame = pd.concat(frames, ignore_index=True).astype({"text": object, "baseline": object})
    rng = _rng("text effect", dataset, probe)
    frame = _around(frame, "effect", rng.normal(0.15, 0.08, len(frame)), rng.uniform(0.03, 0.08, len(frame)))
    frame = frame.assign(low_fixed=frame["effect"] - 0.02, high_fixed=frame["effect"] + 0.02)
    frame["between"] = np.where(frame["pairs"] > 1, 0.07, np.nan)
    frame["positive"] = np.maximum(frame["pairs"] - (frame["effect"] < 0), 0)
    return frame[pairs.COLUMNS]


def baselines(dataset="yfcc100m", cvs=CVS):
    """Baselines that look at no image, `analysis/baselines.csv`."""
    frame = _crossed(dataset=[dataset], baseline=BASELINES, cluster=clusters(), cv=cvs)
    rng = _rng("baselines", dataset)
    prior = frame["baseline"] == "cell-prior"
    numbers = {name: rng.uniform(0, 0.1, len(frame)) for name in METRICS}
    numbers["r2"] = np.where(prior, -0.8, 0.0) - rng.uniform(0, 0.05, len(frame))
    numbers |= {name: numbers["r2"] for name in ("r2_latitude", "r2_longitude", "r2_haversine") if name in numbers}
    numbers["median_km"] = rng.uniform(7000, 9000, len(frame))
    by_fold = ("r2", "r2_latitude", "r2_longitude", "r2_haversine")
    named = {f"{name}_folds" if name in by_fold else name: numbers[name] for name in METRICS}
    return frame.assign(folds=5, n_test=np.where(frame["cluster"] == "all", IMAGES, 5_000), **named)


def localizability(dataset="yfcc100m", probe="ridge"):
    """Ranking of the 40 clusters, `analysis/localizability.csv`; clusters are whole numbers, as it writes them."""
    from geoprobe.analysis.localizability import rank_clusters

    chosen = choices(dataset, probe, cvs=("blocked",), controls=("none",))
    chosen = chosen[chosen["choice"] == "inner"].assign(origin=lambda frame: frame["family"])
    return rank_clusters(chosen, {dataset: cluster_summary()}, list(THRESHOLDS), list(TIERS))


def cluster_summary():
    """`clusters/{dataset}.csv`."""
    names = cluster_names()
    rng = _rng("clusters")
    return pd.DataFrame(
        {
            "cluster": [int(name) for name in names],
            "name": names.values(),
            "images": rng.integers(1_500, 9_000, len(names)),
            "distance": rng.uniform(0.3, 0.7, len(names)),
            "latitude_variance": rng.uniform(300, 900, len(names)),
            "longitude_variance": rng.uniform(3000, 8000, len(names)),
            "spread_km": rng.uniform(3000, 8000, len(names)),
        }
    )


def _last_layers(dataset, probe, **more):
    """Rows of the closer analyses: the last layer of each tower of each model, crossed with more."""
    known = models()
    frames = [
        _crossed(dataset=[dataset], model=[model], prompt=["none"], probe=[probe], tower=[tower], pooling=[pooling],
                 layer=[depth - 1], **more)
        for model in known
        for tower, pooling, depth in towers(model)
    ]  # fmt: skip
    frame = pd.concat(frames, ignore_index=True)
    return _named(frame.assign(family=frame["model"]), known)


JOB = ["dataset", "model", "prompt", "probe"]


def transfers(dataset="yfcc100m", probe="ridge", cvs=("blocked",)):
    """Probes of one cluster tested on another, all 41 x 41, `analysis/transfer.csv`."""
    frame = _last_layers(dataset, probe, target=["degrees"], cv=cvs, trained_on=clusters(), tested_on=clusters())
    own = _add_r2(frame.rename(columns={"tested_on": "cluster"}), f"transfer {dataset}")
    apart = (frame["trained_on"] != frame["tested_on"]) & (frame["trained_on"] != "all")
    lost = np.where(apart, _rng("transfer").gamma(2.0, 0.15, len(frame)), 0.0)
    # a cluster on another part of the Earth: far below zero
    lost += np.where(apart & (_rng("far").random(len(frame)) < 0.02), 40.0, 0.0)
    value = own["r2"] - lost
    frame = _around(frame.assign(images=5_000), "r2", value, 0.05)
    frame = frame.assign(r2_latitude=value, r2_longitude=value, median_km=3000 * (1 - value).clip(0.1, 3), reason="")
    return frame[[*JOB, *transfer.COLUMNS, *KEYS]]


def _correlation_keys(width):
    """Columns of the correlations beside those of a layer."""
    return {"share": list(SHARES), "scaled": list(correlation.SCALINGS), "axis": list(correlation.AXES)}, {
        share: int(share * width) for share in SHARES
    }


def correlations(dataset="yfcc100m", probe="ridge", cvs=("blocked",)):
    """Correlation of coefficients of all 780 pairs of clusters, `analysis/correlations.csv`."""
    more, count = _correlation_keys(1024)
    names = [int(name) for name in cluster_names()]
    both = pd.DataFrame(itertools.combinations(names, 2), columns=["cluster_a", "cluster_b"])
    frame = _last_layers(dataset, probe, cv=cvs, **more).merge(both, how="cross")
    frame["dimensions"] = frame["share"].map(count)
    frame["correlation"] = np.clip(_rng("correlations").normal(0.25, 0.2, len(frame)), -1, 1)
    return frame[[*JOB, *correlation.PAIR_COLUMNS, *KEYS]]


def correlation_summary(dataset="yfcc100m", probe="ridge", cvs=("blocked",)):
    """Mean correlation by model, `analysis/correlation.csv`."""
    more, count = _correlation_keys(1024)
    frame = _last_layers(dataset, probe, cv=cvs, **more)
    frame["dimensions"] = frame["share"].map(count)
    rng = _rng("correlation")
    frame = _around(frame.assign(clusters=40, pairs=780), "correlation", rng.uniform(0.05, 0.5, len(frame)), 0.05)
    height = frame["supervision"].map(HEIGHTS) - 0.1
    frame = frame.assign(r2=height, r2_low=height - 0.03, r2_high=height + 0.03, reason="")
    return frame[[*JOB, *correlation.SUMMARY_COLUMNS, *KEYS]]


def dimension_scores(dataset="yfcc100m", probe="ridge", cvs=("blocked",), seeds=3):
    """Probes on a share of the dimensions, `analysis/dimensions.csv`."""
    shares = list(dimensions.SHARES)
    frame = _last_layers(
        dataset, probe, cluster=["all"], cv=cvs,
        drawn=[("standardised", np.nan), *((dimensions.RANDOM, float(seed)) for seed in range(seeds))],
        share=shares, axis=list(dimensions.AXES),
    )  # fmt: skip
    frame["ranking"], frame["seed"] = zip(*frame.pop("drawn"), strict=True)
    own = _add_r2(frame, f"dimensions {dataset}")
    chosen = np.where(frame["ranking"] == dimensions.RANDOM, 0.5, 0.25)
    value = own["r2"] * frame["share"] ** chosen
    frame = _around(frame.assign(dimensions=(1024 * frame["share"]).astype(int), images=5_000), "r2", value, 0.04)
    return frame.assign(reason="")[[*JOB, *dimensions.COLUMNS, *KEYS]]


def fairness_scores(dataset="yfcc100m", probe="ridge", cvs=CVS):
    """Errors by continent and density, `analysis/fairness.csv`."""
    groups = [("all", "all"), *(("continent", name) for name in CONTINENTS)]
    groups += [("density", name) for name in fairness.THIRDS]
    frame = _last_layers(dataset, probe, target=["degrees"], cv=cvs, both=groups)
    frame["by"], frame["group"] = zip(*frame.pop("both"), strict=True)
    rng = _rng("fairness")
    middle = 6500 * (1.2 - frame["supervision"].map(HEIGHTS)) * rng.uniform(0.5, 1.4, len(frame))
    frame = _around(frame, "median_km", middle, rng.uniform(100, 500, len(frame)))
    north, east = rng.normal(0, 400, len(frame)), rng.normal(0, 1500, len(frame))
    frame = frame.assign(
        images=np.where(frame["by"] == "all", IMAGES, 30_000), countries=40, units=200, neighbours=80.0,
        within_750km=rng.uniform(0, 0.3, len(frame)), geoscore=rng.uniform(300, 2500, len(frame)), north_km=north,
        east_km=east, bias_km=np.hypot(north, east), reason="",
    )  # fmt: skip
    return frame[[*JOB, *fairness.COLUMNS, *KEYS]]


def multimodal():
    """Names of the models that take a prompt."""
    return [name for name, row in models().items() if row["supervision"] == "multimodal"]


def _prompt_families():
    """(name, kind, seeds) of the prompts of config/paper.yaml; draws of random tokens are one."""
    found = []
    for name in prompt_names():
        kind = "none" if name == "none" else "neutral" if name == "neutral" else "text"
        if not name.startswith("random"):
            found.append((name, kind, 1))
    return [*found, ("random", "random", sum(name.startswith("random") for name in prompt_names()))]


def prompt_curves(dataset="yfcc100m", probe="ridge", cvs=CVS, cluster_list=("all",)):
    """R2 by layer and prompt, `analysis/prompt_curves.csv`."""
    known = models()
    frame = pd.concat(
        [
            _crossed(dataset=[dataset], probe=[probe], cluster=list(cluster_list), target=["degrees"], cv=cvs,
                     model=[model], tower=[tower], pooling=[pooling], both=_prompt_families(), layer=range(depth))
            for model in multimodal()
            for tower, pooling, depth in towers(model)
        ],
        ignore_index=True,
    )  # fmt: skip
    frame["prompt"], frame["kind"], frame["seeds"] = zip(*frame.pop("both"), strict=True)
    frame = _named(frame.assign(family=frame["model"]), known)
    frame["depth"] = frame["layer"] / frame.groupby(["model", "tower"])["layer"].transform("max")
    frame = _add_r2(frame, f"prompts {dataset}")
    gained = frame["kind"].map({"text": 0.1, "neutral": 0.02}).fillna(0.0) * frame["depth"]
    gained = gained + frame["prompt"].map({name: 0.03 * _spread("prompt", name) for name, _, _ in _prompt_families()})
    frame = frame.assign(**{name: frame[name] + gained for name in ("r2", "low", "high")}, images=IMAGES, blocks=BLOCKS)
    return frame[prompts.CURVES]


def prompt_effects(dataset="yfcc100m", probe="ridge", cvs=CVS):
    """What prompts change against those that ask nothing, `analysis/prompt_effects.csv`."""
    curves = prompt_curves(dataset, probe, cvs)
    frame = curves[curves["kind"] == "text"].drop_duplicates([*prompts.OF_MODEL, "prompt"])
    frame = frame[[*prompts.OF_MODEL, *prompts.OF_PROMPT]].reset_index(drop=True)
    more = _crossed(measure=["last", "peak", "peak_depth"], baseline=["none", "neutral", "random"])
    frame = frame.merge(more, how="cross")
    rng = _rng("effects")
    frame = _around(frame, "value", rng.normal(0.08, 0.05, len(frame)), 0.04)
    frame["p"] = np.where(frame["low"] > 0, 1e-5, 0.3)
    frame["p_holm"] = (3 * frame["p"]).clip(upper=1)
    return frame[prompts.EFFECTS]


def finetuning(dataset="landmarks", of=None):
    """Accuracy of fine-tuned models, `analysis/finetuning.csv`; the paper's five, or all of its models."""
    known = models()
    names = of or yaml.safe_load((ROOT / "config" / "paper.yaml").read_text())["interventions"]["finetuning"]["models"]
    rng = _rng("finetuning")
    frame = _named(pd.DataFrame({"dataset": dataset, "family": list(names)}), known)
    frame = frame.assign(models=1, trainings=5, learning_rate=3e-5, rate_at_border=0.0)
    height = frame["supervision"].map(HEIGHTS) + rng.uniform(-0.1, 0.2, len(frame))
    for metric, more in zip(FINETUNING_METRICS, (0.0, 0.25, -0.04), strict=True):
        value = np.clip(height + more, 0.02, 0.98)
        frame = frame.assign(**{metric: value, f"{metric}_low": value - 0.03, f"{metric}_high": value + 0.03})
    frame = frame.assign(images=3_000, countries=60, groups=1_800)
    return frame.assign(chance_top1=1 / 60, chance_top5=5 / 60, chance_per_country=1 / 60, majority=0.04)[MODEL_COLUMNS]


def finetuning_rates(dataset="landmarks", of=None):
    """Validation accuracy by learning rate, `analysis/finetuning_rates.csv`."""
    frame = finetuning(dataset, of)[["dataset", "family", "label", "supervision", "top1"]]
    rates = [1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4]
    frame = frame.merge(_crossed(learning_rate=rates, seed=[1]), how="cross")
    away = np.abs(np.log10(frame["learning_rate"]) - np.log10(3e-5))
    frame = frame.assign(
        model=frame["family"], validation_accuracy=(frame.pop("top1") * (1 - 0.35 * away)).clip(0.01), best_epoch=7,
        end="patience", chosen=frame["learning_rate"] == 3e-5,
    )  # fmt: skip
    return frame[RATE_COLUMNS]


def finetuning_continents(dataset="landmarks", of=None):
    """Accuracy by continent, `analysis/finetuning_continents.csv`."""
    frame = finetuning(dataset, of)[["dataset", "family", "label", "supervision"]]
    frame = frame.merge(_crossed(continent=list(CONTINENTS), metric=list(FINETUNING_METRICS)), how="cross")
    value = _rng("continents").uniform(0.2, 0.9, len(frame))
    return _around(frame, "value", value, 0.05).assign(images=400, countries=9, groups=300)[CONTINENT_COLUMNS]


def finetuning_correlation(dataset="landmarks"):
    """Rank correlation of fine-tuning with probing, `analysis/finetuning_correlation.csv`."""
    frame = pd.concat(
        [
            _conditions(probed, "ridge", CVS, finetuned_on=[dataset], metric=list(FINETUNING_METRICS))
            for probed in DATASETS
        ],
        ignore_index=True,
    )
    frame = _around(frame.assign(models=5), "rho", _rng("rho").uniform(0.3, 0.9, len(frame)), 0.1)
    return frame.assign(p=0.08, method="exact", reason="")[CORRELATION_COLUMNS]


def steering(where=("prefill", "every_step"), blocks=(0,)):
    """Outcomes of swaps in one model, `steering/.../scores.csv`."""
    shares = [round(0.1 * step, 1) for step in range(11)]
    rankings = ["coefficients", outcomes.RANDOM, "standardised"]
    frame = _crossed(
        where=list(where), block=list(blocks), ranking=rankings, share=shares, outcome=list(outcomes.OUTCOMES)
    )
    rng = _rng("steering")
    fall = np.where(frame["ranking"] == outcomes.RANDOM, 1.0, 2.0)
    value = np.where(frame["outcome"] == "stability", (1 - frame["share"]) ** fall, 0.8 * frame["share"] ** (3 / fall))
    value = np.clip(value + rng.normal(0, 0.02, len(frame)), 0, 1)
    frame = _around(frame, "value", value, 0.05).assign(pairs=380, left_out=20, sources=150)
    frame["seeds"] = np.where(frame["ranking"] == outcomes.RANDOM, 5, 1)
    compared = (frame["ranking"] != outcomes.RANDOM) & frame["share"].between(0.01, 0.99)
    difference = rng.normal(0.1, 0.05, len(frame))
    numbers = {"difference": difference, "difference_low": difference - 0.06, "difference_high": difference + 0.06}
    numbers |= {"p": np.where(difference > 0.08, 1e-4, 0.2), "p_holm": np.where(difference > 0.08, 1e-3, 0.5)}
    frame = frame.assign(**{name: np.where(compared, number, np.nan) for name, number in numbers.items()})
    return frame.assign(p_mcnemar=np.nan)[outcomes.COLUMNS]


def pushes(model="clip-l14", dataset="yfcc100m", seeds=5):
    """Steps along directions of probes of one model, `directions/{dataset}/{model}/{prompt}/{probe}.csv`."""
    [(tower, pooling, depth)] = towers(model)[-1:]
    distances = [-1000.0, -500.0, 0.0, 500.0, 1000.0]
    kinds = [("probe", None), *(("random", seed) for seed in range(seeds)), ("random", None)]
    blocks = pd.DataFrame(itertools.combinations_with_replacement(range(depth), 2), columns=["block", "readout"])
    frame = blocks.merge(_crossed(both=range(len(kinds)), direction=["north", "east"], km=distances), how="cross")
    both = frame.pop("both").map(dict(enumerate(kinds)))
    frame["kind"] = [kind for kind, _ in both]
    frame["seed"] = pd.array([seed for _, seed in both], dtype="Int64")
    frame = frame[(frame["kind"] == "probe") | (frame["km"] != 0)].reset_index(drop=True)
    rng = _rng("pushes")
    share = np.where(frame["kind"] == "probe", 1 / (1 + 0.3 * (frame["readout"] - frame["block"])), 0.02)
    along = frame["km"] * share + rng.normal(0, 10, len(frame))
    north = frame["direction"] == "north"
    frame = frame.assign(
        tower=tower, pooling=pooling, cv="blocked", images=1000, moved_north_km=np.where(north, along, 5.0),
        moved_east_km=np.where(north, 5.0, along), low=along - 40, high=along + 40, rms_km=np.abs(along) + 60,
        relative_norm=0.02, r2_before=0.4, r2_after=0.38, r2_realigned=0.4, reason="",
    )  # fmt: skip
    frame["share_moved"] = along / frame["km"].where(frame["km"] != 0)
    job = {"dataset": dataset, "model": model, "prompt": "none", "probe": "ridge"}
    return frame.assign(**job)[[*job, *directions.COLUMNS]]


def predictions(count=5_000):
    """True and predicted positions in degrees of so many images, each shape (count, 2)."""
    rng = _rng("positions", count)
    towns = draw_on_sphere(300, rng)
    truth = np.clip(towns[rng.integers(len(towns), size=count)] + rng.normal(0, 3, (count, 2)), [-90, -180], [90, 180])
    # a regression draws towards the mean
    predicted = 0.6 * truth + 0.4 * truth.mean(axis=0) + rng.normal(0, 12, (count, 2))
    return truth, np.clip(predicted, [-90, -180], [90, 180])


def tables():
    """Name of each CSV file in results/analysis to its table, for both data sets and probes as the run has them.

    Without the layers of all models and the choices among them, which are large.
    """
    jobs = list(itertools.product(DATASETS, ("ridge", "mlp")))
    cvs = {"ridge": CVS, "mlp": CVS[:2]}

    def every(make, ridge_only=False, **more):
        return pd.concat(
            [
                make(*job, **{k: v[job[1]] for k, v in more.items()})
                for job in jobs
                if job[1] == "ridge" or not ridge_only
            ],
            ignore_index=True,
        )

    return {
        "differences": every(differences, cvs=cvs),
        "supervisions": every(supervisions, cvs=cvs),
        "text_effect": every(text_effect, cvs=cvs),
        "baselines": pd.concat([baselines(dataset) for dataset in DATASETS], ignore_index=True),
        "localizability": every(localizability),
        "transfer": every(transfers, ridge_only=True),
        "correlations": every(correlations, ridge_only=True),
        "correlation": every(correlation_summary, ridge_only=True),
        "dimensions": every(dimension_scores, ridge_only=True),
        "fairness": every(fairness_scores, cvs=cvs),
        "prompt_curves": every(prompt_curves, cvs=cvs),
        "prompt_effects": every(prompt_effects, cvs=cvs),
        "finetuning": finetuning(),
        "finetuning_rates": finetuning_rates(),
        "finetuning_continents": finetuning_continents(),
        "finetuning_correlation": finetuning_correlation(),
    }


def write_tables(folder):
    """Write all tables as a run would under `folder`/results, so that figures can be drawn from them."""
    results = Path(folder) / "results"
    for name, frame in tables().items():
        _write(frame, results / "analysis" / f"{name}.csv")
    for dataset in DATASETS:
        _write(cluster_summary(), results / "clusters" / f"{dataset}.csv")
        for model in ("clip-l14", "dinov2-l14"):
            _write(pushes(model, dataset), results / "directions" / dataset / model / "none" / "ridge.csv")


def _write(frame, path):
    path.parent.mkdir(parents=True, exist_ok=True)
    frame.to_csv(path, index=False)
