"""What re-runs after a change of the configuration or of an input: the jobs that read it, for every key of the schema.

Expected are the rules whose own parameters or inputs change, or that get new jobs; they are written out by hand. That
Snakemake re-runs these and what follows from them is asked of it in test_freshness.
"""

import ast
import copy
import shutil

import pytest
import yaml
from conftest import ROOT
from planning import changed, plan
from snakemake_interface_executor_plugins.settings import ExecMode

from geoprobe.config import DEFAULTS
from geoprobe.models.registry import COLUMNS

pytestmark = pytest.mark.workflow


def own():
    """What a data set of one's own needs; no two share it, as a change of the one would change the other."""
    return {"balance": {"minimum": 5, "maximum": 5, "seed": 1}, "caption_sets": ["places"]}


BASE = {
    "run": {
        "datasets": ["yfcc100m"],
        "models": ["masked", "text-places", "clip-b32", "qwen2-5-vl-3b"],
        "prompts": ["none", "where", "random-1", "neutral"],
        "probes": ["ridge", "mlp"],
    },
    "datasets": {
        "yfcc100m": {"shards": 2, "balance": {"units": "gadm", "reserve": 1}},
        "landmarks": {"shards": 2},
        "osv5m": {"revision": "main"},
        "hub": {
            "source": "hub",
            "repo": "ann/photos",
            "metadata": ["*.csv"],
            "archives": ["*.zip"],
            "columns": {"id": "id"},
            **own(),
        },
        "hdf5": {"source": "hdf5", "path": "stored.h5", **own()},
        "folder": {"source": "folder", "path": "photos", **own()},
        "table": {"source": "table", "path": "table.csv", **own()},
        "urls": {"source": "urls", "path": "urls.csv", **own()},
        "yfcc4k": {"metadata": "list.txt", "images": "images.zip"},
    },
    "boundaries": {"gadm": {"layers": [{"file": "polygons.gpkg", "country": "GID_0", "region": "GID_1"}]}},
    "clusters": {"count": {"low": 2, "high": 7, "step": 2}, "names": {"set": "places"}, "matched": {"images": 50, "seed": 1}},
    "analysis": {"pairs": [{"baseline": "masked", "text": "text-places", "matched": "controlled"}]},
    "interventions": {
        "directions": {"models": ["text-places"]},
        "steering": {
            "models": ["qwen2-5-vl-3b"],
            "probed": {"dataset": "yfcc100m", "prompt": "where", "probe": "ridge"},
        },
        "finetuning": {"models": ["masked", "clip-b32"], "dataset": "yfcc100m"},
    },
}  # fmt: skip
# A data set of each source, of which the images alone are asked for; an objective, a probe, a prompt of each kind.
SOURCES = {
    "bluemarble": "bluemarble", "commons_photos": "steering-landmarks", "folder": "folder", "hdf5": "hdf5",
    "hub": "hub", "im2gps": "yfcc4k", "landmarks": "landmarks", "osv5m": "osv5m", "table": "table", "urls": "urls",
    "yfcc100m": "yfcc100m",
}  # fmt: skip
NAMED = {
    "datasets": SOURCES,
    "encoders.objectives": {
        "random": "random",
        "masked": "masked",
        "contrastive": "contrastive",
        "text": "text-places",
    },
    "probes": {"ridge": "ridge", "mlp": "mlp"},
}
TARGETS = ["paper", "all", "results/exports/yfcc100m.h5", *(f"results/images/{name}.h5" for name in SOURCES.values())]

# of the images of one data set, by key, or by data set and key where that matters
PLANNED = {"plan_images", "build_images"}
LISTED = PLANNED | {"fetch_metadata"}
STORED = {"build_images"}
OF_IMAGES = {
    "balance.minimum": (6, PLANNED),
    "balance.maximum": (7, PLANNED),
    "balance.seed": (2, PLANNED),
    "balance.reserve": (2, PLANNED),
    "balance.units": ("geoboundaries", PLANNED),
    "shards": (3, PLANNED | {"download_images"}),
    "caption_sets": (["places", "shuffled"], STORED),
    "captions": (["city"], LISTED),
    "near_duplicate_bits": (7, STORED),
    "licence": ("CC0", STORED),
    "attribution": ("Ann", STORED),
    "bluemarble.part": ("tune", PLANNED),
    "bluemarble.tiles": (5000, PLANNED),
    "bluemarble.tile_pixels": (24, PLANNED),
    "bluemarble.ground_km": (8, PLANNED),
    "bluemarble.max_sea_share": (0.4, PLANNED),
    "bluemarble.block_degrees": (15, PLANNED),
    "bluemarble.shares.probe": (0.3, PLANNED),
    "bluemarble.shares.tune": (0.2, PLANNED),
    "bluemarble.seed": (2, PLANNED),
    "steering-landmarks.path": ("landmarks.csv", LISTED),
    "steering-landmarks.per_category": (4, LISTED),
    "steering-landmarks.width": (640, LISTED),
    "steering-landmarks.commons_api": ("https://commons.example", LISTED),
    "table.path": ("other.csv", PLANNED),
    "table.captions": (["title"], PLANNED),
    "hdf5.path": ("other.h5", PLANNED),
    "folder.path": ("other", PLANNED),
    "folder.group": ("day", PLANNED),
    "hub.repo": ("ann/others", LISTED),
    "hub.revision": ("v1", LISTED),
    "hub.endpoint": ("https://hub.example", LISTED),
    "hub.metadata": (["*.parquet"], LISTED),
    "hub.archives": (["*.tar"], LISTED),
    "hub.member": ("{id}.jpg", PLANNED),
    "hub.unarchived": ("ignore", PLANNED),
    "hub.image_column": ("image", LISTED),
    "hub.files": ("{id}.jpg", LISTED),
    "yfcc4k.format": ("im2gps3k", PLANNED),
    "yfcc4k.metadata": ("other.txt", LISTED),
    "yfcc4k.metadata_sha256": ("0" * 64, LISTED),
    "yfcc4k.images": ("other.zip", LISTED),
    "yfcc4k.images_sha256": ("0" * 64, LISTED),
    "yfcc4k.swapped": (True, PLANNED),
    "yfcc4k.captions": (["tags"], PLANNED),
    "landmarks.split": ("index", LISTED),
    "landmarks.clean": (False, LISTED),
    "landmarks.from": ("urls", LISTED),
    "landmarks.tars": ([1], LISTED),
    "landmarks.keep_tars": (False, LISTED),
    "landmarks.max_per_landmark": (5, PLANNED),
    "landmarks.metadata_base": ("https://tables.example", LISTED),
    "landmarks.images_base": ("https://images.example", LISTED),
    "landmarks.commons_api": ("https://commons.example", LISTED),
    "landmarks.wikidata_api": ("https://wikidata.example", LISTED),
    "landmarks.retry_missing_days": (9, LISTED),
    "osv5m.split": ("test", LISTED),
    "osv5m.archives": ([1], LISTED),
    "osv5m.repo": ("ann/osv5m", LISTED),
    "osv5m.revision": ("v1", LISTED),
    "osv5m.endpoint": ("https://hub.example", LISTED),
    "urls.path": ("other.csv", LISTED),
    "urls.sha256": ("0" * 64, LISTED),
    "yfcc100m.metadata": ("https://list.example/yfcc.sql", LISTED),
    "yfcc100m.metadata_md5": ("0" * 32, LISTED),
    "yfcc100m.min_accuracy": (15, PLANNED),
    "yfcc100m.images_base": ("https://images.example", PLANNED),
    "yfcc100m.flickr_base": ("https://flickr.example", PLANNED),
    "yfcc100m.flickr_size": ("b", PLANNED),
    **{
        f"hub.columns.{name}": ("column", LISTED)
        for name in ("id", "latitude", "longitude", "group", "country", "licence", "author", "url", "path")
    },
}

# of all else, by key
TRAINED = {"train_encoder", "write_methods"}
READERS = {"extract_features", "push_positions", "steer_model", "finetune_model"}
CLUSTERED = {"assign_clusters", "write_methods"}
FOLDED = {"assign_folds", "write_methods"}
FITTED = {"fit_probes", "write_methods"}
CLOSER = {"relate_clusters", "ablate_dimensions"}
MAPS = {"plot_map", "plot_maps"}
TRANSFERS = {"plot_transfer", "plot_transfers"}
JOINED = {"compare_models", "join_analyses", "compare_prompts", "write_methods", "write_explorer"}
SUMMARIES = {"plot_correlation_summary", "plot_dimensions", "plot_fairness"}
# what shows one choice of the layers, one cross-validation, one target, some prompts
HEADLINES = {f"plot_{name}" for name in ("objectives", "heatmap", "captions", "cross_validations", "scale")}
CHOICE = HEADLINES | {"compare_models", "rank_clusters", "plot_localizability", "compare_finetuning"} | {
    "compare_published", "plot_published", "write_methods", "write_explorer"
}  # fmt: skip
CV = CLOSER | SUMMARIES | {"score_probe", "rank_clusters", "push_positions", "steer_model"} | {
    f"plot_{name}"
    for name in ("heatmap", "localizability", "scale", "correlation", "prompts", "push")
} | MAPS | TRANSFERS | {"compare_published", "plot_published", "write_methods", "write_explorer"}  # fmt: skip
TARGET = HEADLINES | {"score_probe", "relate_clusters", "rank_clusters", "compare_prompts", "write_tables"} | {
    f"plot_{name}" for name in ("layers", "fairness", "prompts")
} | MAPS | {"plot_transfers"} | {"write_methods", "write_explorer"}  # fmt: skip
PROMPTED = HEADLINES | SUMMARIES | {"rank_clusters", "compare_finetuning", "plot_layers", "plot_transfers"} | {
    "write_tables", "compare_published"
} | JOINED  # fmt: skip
TABLES = {"write_tables", "write_analysis_tables", "write_intervention_tables"}
OF_MODEL = {"extract_features", "join_features", "fit_probes", "score_probe"} | CLOSER | MAPS | {
    "plot_transfer", "plot_correlation"
}  # fmt: skip
STEERED = {"score_steering", "plot_steering", "write_intervention_tables", "compare_published"}
OF_DATASET = OF_MODEL | HEADLINES | SUMMARIES | {"assign_clusters", "assign_folds", "score_baselines", "rank_clusters"} | {
    f"plot_{name}"
    for name in ("contact_sheet", "elbow", "balance", "localizability", "layers", "prompts", "push")
} | {"push_positions", "plot_transfers"} | JOINED  # fmt: skip
PLOTS = HEADLINES | SUMMARIES | {
    f"plot_{name}"
    for name in ("balance", "contact_sheet", "elbow", "localizability", "layers")
} | MAPS | TRANSFERS | {f"plot_{name}" for name in ("correlation", "prompts", "push", "steering", "finetuning", "published")}  # fmt: skip
ARCHITECTURE, TRAINING = "encoders.architecture", "encoders.training"
DIRECTIONS, STEERING, FINETUNING = (f"interventions.{name}" for name in ("directions", "steering", "finetuning"))
OPTIONS = {
    "run.datasets": (["bluemarble"], OF_DATASET),
    "run.models": (
        ["masked", "text-places", "qwen2-5-vl-3b"],
        JOINED - {"compare_prompts"} | {"plot_scale", "plot_maps", "compare_finetuning", "compare_published"},
    ),
    "run.prompts": (["none", "where", "random-1"], PROMPTED),
    "run.probes": (["ridge"], JOINED),
    "run.untrained": ([1], OF_MODEL | JOINED | {"fetch_weights", "plot_scale"}),
    "device": ("cuda", READERS | {"train_encoder", "write_methods"}),
    "protocol": (
        "paper",
        READERS | {"fit_probes", "plot_correlation_summary", "plot_dimensions", "plot_correlation"} | TABLES | CV | CHOICE,
    ),
    "registry": ("models.tsv", set()),
    "prompts.random-1.random_tokens": (21, {"extract_features", "compare_prompts", "write_methods"}),
    "prompts.random-1.seed": (9, {"extract_features", "compare_prompts", "write_methods"}),
    "prompts.neutral.text": ("Look.", {"extract_features", "compare_prompts", "write_methods"}),
    "prompts.neutral.as_long_as": ("where", {"extract_features", "compare_prompts", "write_methods"}),
    "encoders.dataset": ("bluemarble", TRAINED),
    "encoders.seeds": (
        [2],
        OF_MODEL | TRAINED | JOINED - {"compare_prompts"} | {"plot_scale", "push_positions", "plot_push"}
        | {"finetune_model", "compare_finetuning"},
    ),
    f"{ARCHITECTURE}.image_size": (64, TRAINED),
    f"{ARCHITECTURE}.patch_size": (4, TRAINED),
    f"{ARCHITECTURE}.width": (64, TRAINED),
    f"{ARCHITECTURE}.depth": (3, TRAINED),
    f"{ARCHITECTURE}.heads": (2, TRAINED),
    f"{TRAINING}.presentations": (100, TRAINED),
    f"{TRAINING}.batch_size": (32, TRAINED),
    f"{TRAINING}.learning_rate": (0.01, TRAINED),
    f"{TRAINING}.weight_decay": (0.1, TRAINED),
    f"{TRAINING}.warmup": (0.2, TRAINED),
    f"{TRAINING}.crop": (0.5, TRAINED),
    f"{TRAINING}.colour": (0.1, TRAINED),
    "encoders.objectives.masked.mask": (0.5, TRAINED),
    "encoders.objectives.masked.decoder_width": (32, TRAINED),
    # no model of the run
    "encoders.objectives.contrastive.projection": (32, set()),
    "encoders.objectives.contrastive.temperature": (0.2, set()),
    "encoders.objectives.text-places.captions": ("scenery", TRAINED),
    "encoders.objectives.text-places.projection": (32, TRAINED),
    "encoders.objectives.text-places.temperature": (0.2, TRAINED),
    "download.limits.max_bytes": (1000, {"download_images"}),
    "download.limits.max_pixels": (1000, {"download_images", "build_images"}),
    "download.limits.respect_opt_out": (False, {"download_images"}),
    "download.limits.allow_private": (True, {"download_images", "fetch_metadata", "fetch_boundaries"}),
    "download.pace.contact": ("ann@example.org", set()),
    "download.pace.connections": (3, set()),
    "download.pace.connections_per_host": (3, set()),
    "download.pace.requests_per_second": (3, set()),
    "download.pace.timeout_s": (3, set()),
    "download.pace.attempts": (3, set()),
    "boundaries.gadm.coast_km": (3, {"fetch_boundaries"}),
    "boundaries.gadm.layers[0].file": ("other.gpkg", {"fetch_boundaries"}),
    "boundaries.gadm.layers[0].member": ("member", {"fetch_boundaries"}),
    "boundaries.gadm.layers[0].layer": ("layer", {"fetch_boundaries"}),
    "boundaries.gadm.layers[0].country": ("COUNTRY", {"fetch_boundaries"}),
    "boundaries.gadm.layers[0].region": ("REGION", {"fetch_boundaries"}),
    "boundaries.gadm.layers[0].district": ("DISTRICT", {"fetch_boundaries"}),
    "clusters.by": ("source", CLUSTERED),
    "clusters.from": ("bluemarble", CLUSTERED | {"plot_elbow"}),
    "clusters.embedding": ({"model": "clip-b32"}, CLUSTERED),
    "clusters.embedding.model": ("masked-seed1", CLUSTERED),
    "clusters.embedding.tower": ("text", CLUSTERED),
    "clusters.embedding.pooling": ("cls", CLUSTERED),
    "clusters.embedding.layer": (1, CLUSTERED),
    "clusters.count": (5, CLUSTERED),
    "clusters.count.low": (3, CLUSTERED),
    "clusters.count.high": (8, CLUSTERED),
    "clusters.count.step": (1, CLUSTERED),
    "clusters.components": (5, CLUSTERED),
    "clusters.seed": (5, CLUSTERED),
    "clusters.names.by": ("number", CLUSTERED),
    "clusters.names.set": ("scenery", CLUSTERED),
    "clusters.names.words": (2, CLUSTERED),
    "clusters.names.labels": (["sea", "land"], CLUSTERED),
    "clusters.names.model": ("dfn2b-l14", CLUSTERED | {"fetch_weights"}),
    "clusters.names.template": ("{}", CLUSTERED),
    "clusters.names.path": ("other_names.csv", {"assign_clusters"}),
    "clusters.matched": (None, CLUSTERED),
    "clusters.matched.images": (9, CLUSTERED),
    "clusters.matched.seed": (9, CLUSTERED),
    "folds.count": (4, FOLDED),
    "folds.blocks": ("geocell", FOLDED),
    "folds.block_degrees": (9, FOLDED),
    "folds.h3_resolution": (3, FOLDED),
    "folds.buffer_km": (9, FOLDED),
    "folds.seed": (9, FOLDED),
    "features.poolings": (["cls", "mean"], {"extract_features", "write_methods"}),
    "features.layers": (2, {"extract_features", "write_methods"}),
    "features.batch_size": (9, {"extract_features"}),
    "features.chunk": (9, {"extract_features"}),
    "features.dtype": ("float16", {"extract_features", "write_methods"}),
    "features.shards": (2, {"extract_features", "join_features"}),
    "features.threads": (2, set()),
    "probes.ridge.alphas.low": (-2, FITTED),
    "probes.ridge.alphas.high": (4, FITTED),
    "probes.ridge.alphas.count": (9, FITTED),
    "probes.ridge.penalty": ("leave-one-out", FITTED),
    "probes.ridge.per_column": (True, FITTED),
    "probes.ridge.standardise": (True, FITTED),
    "probes.ridge.targets": (["degrees", "sphere"], FITTED),
    "probes.ridge.cv": (["random", "blocked"], FITTED | {"score_baselines"}),
    "probes.ridge.controls": (["none"], FITTED),
    "probes.ridge.poolings": ("all", FITTED | {"plot_poolings"}),
    "probes.ridge.layers": ("last", FITTED),
    "probes.ridge.device": ("cuda", {"fit_probes"}),
    "probes.ridge.threads": (2, set()),
    "probes.ridge.seed": (9, FITTED),
    "probes.mlp.hidden": (9, FITTED),
    "probes.mlp.learning_rate": (0.1, FITTED),
    "probes.mlp.alpha": (0.1, FITTED),
    "probes.mlp.max_iter": (9, FITTED),
    "probes.mlp.batch_size": (9, FITTED),
    "probes.mlp.validation_fraction": (0.2, FITTED),
    "probes.mlp.patience": (9, FITTED),
    "probes.mlp.tolerance": (0.1, FITTED),
    "probes.mlp.targets": (["degrees", "sphere"], FITTED),
    "probes.mlp.cv": (["blocked"], FITTED),
    "probes.mlp.controls": (["none", "permuted"], FITTED),
    "probes.mlp.poolings": ("all", FITTED | {"plot_poolings"}),
    "probes.mlp.layers": ("all", FITTED),
    "probes.mlp.device": ("cuda", {"fit_probes"}),
    "probes.mlp.threads": (2, set()),
    "probes.mlp.seed": (9, FITTED),
    "analysis.poolings": (
        ["mean"],
        CLOSER | SUMMARIES | {"fit_probes", "score_probe", "compare_prompts", "plot_layers", "plot_transfers"}
        | MAPS | {"push_positions", "finetune_model", "write_methods", "write_explorer"},
    ),
    "analysis.target": ("sphere", TARGET),
    "analysis.cv": ("random", CV),
    "analysis.choice": ("inner", CHOICE),
    "analysis.depth": (0.5, CLOSER | {"score_probe", "write_methods"}),
    "analysis.bootstrap": (
        99,
        CLOSER | {"score_probe", "push_positions", "score_steering", "write_methods"}
        | {"finetune_model", "compare_finetuning"},
    ),
    "analysis.seed": (
        9,
        CLOSER | {"score_probe", "push_positions", "score_steering", "write_methods"}
        | {"finetune_model", "compare_finetuning", "compare_models", "compare_prompts"},
    ),
    "analysis.dimensions.shares": ([0.5], {"ablate_dimensions", "write_methods"}),
    "analysis.dimensions.random": (9, {"ablate_dimensions", "write_methods"}),
    "analysis.dimensions.clusters": ("each", {"ablate_dimensions", "write_methods"}),
    "analysis.correlation.shares": ([0.5], {"relate_clusters", "plot_correlation", "write_methods"}),
    "analysis.pairs[0].baseline": ("clip-b32", {"compare_models", "plot_scale", "write_methods"}),
    "analysis.pairs[0].text": ("clip-b32", {"compare_models", "plot_scale", "write_methods"}),
    "analysis.pairs[0].matched": ("size", {"compare_models", "plot_scale", "write_methods"}),
    f"{DIRECTIONS}.models": (["masked"], {"push_positions", "plot_push", "write_methods"}),
    f"{DIRECTIONS}.probe": ("coarse", {"push_positions", "plot_push", "write_methods"}),
    f"{DIRECTIONS}.blocks": ([0], {"push_positions", "write_methods"}),
    f"{DIRECTIONS}.km": ([9], {"push_positions", "write_methods"}),
    f"{DIRECTIONS}.random_seeds": (9, {"push_positions", "write_methods"}),
    f"{DIRECTIONS}.images": (9, {"push_positions", "write_methods"}),
    f"{DIRECTIONS}.batch_size": (9, {"push_positions"}),
    f"{STEERING}.models": ([], {"write_intervention_tables", "compare_published", "write_methods"}),
    f"{STEERING}.dataset": ("landmarks", STEERED | {"steer_model", "write_methods"}),
    f"{STEERING}.landmarks": ("other.csv", {"score_steering"}),
    f"{STEERING}.prompt": ("city", STEERED | {"steer_model", "write_methods"}),
    f"{STEERING}.probed.dataset": (
        "landmarks",
        {"assign_clusters", "assign_folds", "extract_features", "join_features", "fit_probes", "steer_model"}
        | {"write_methods"},
    ),
    f"{STEERING}.probed.prompt": ("none", {"steer_model", "write_methods"}),
    f"{STEERING}.probed.probe": ("coarse", {"steer_model", "write_methods"}),
    f"{STEERING}.block": (1, {"steer_model", "write_methods"}),
    f"{STEERING}.shares": ([0.5], {"steer_model", "write_methods"}),
    f"{STEERING}.rankings": (["random"], {"steer_model", "write_methods"}),
    f"{STEERING}.random_seeds": (9, {"steer_model", "write_methods"}),
    f"{STEERING}.where": (["every_step"], {"steer_model", "write_methods"}),
    f"{STEERING}.max_new_tokens": (9, {"steer_model", "write_methods"}),
    f"{STEERING}.batch_size": (9, {"steer_model"}),
    f"{STEERING}.pairs": (9, {"steer_model", "write_methods"}),
    f"{STEERING}.photos": ("all", {"steer_model", "write_methods"}),
    f"{STEERING}.seed": (9, {"steer_model", "write_methods"}),
    f"{FINETUNING}.models": (["masked"], {"compare_finetuning", "write_methods"}),
    f"{FINETUNING}.dataset": (
        "landmarks", {"split_countries", "finetune_model", "compare_finetuning", "plot_finetuning", "write_methods"}
    ),
    f"{FINETUNING}.split.minimum": (9, {"split_countries", "write_methods"}),
    f"{FINETUNING}.split.maximum": (90, {"split_countries", "write_methods"}),
    f"{FINETUNING}.split.seed": (9, {"split_countries", "write_methods"}),
    f"{FINETUNING}.training.train": ("head", {"finetune_model", "write_methods"}),
    f"{FINETUNING}.training.learning_rates": ([0.1], {"finetune_model", "write_methods"}),
    f"{FINETUNING}.training.seeds": ([9], {"finetune_model", "write_methods"}),
    f"{FINETUNING}.training.epochs": (9, {"finetune_model", "write_methods"}),
    f"{FINETUNING}.training.batch_size": (9, {"finetune_model", "write_methods"}),
    f"{FINETUNING}.training.warmup": (0.9, {"finetune_model", "write_methods"}),
    f"{FINETUNING}.training.weight_decay": (0.9, {"finetune_model", "write_methods"}),
    f"{FINETUNING}.training.patience": (9, {"finetune_model", "write_methods"}),
    f"{FINETUNING}.training.mixed_precision": ("bf16", {"finetune_model", "write_methods"}),
    "published.yfcc100m": ("landmarks", {"compare_published"}),
    "published.landmarks": ("yfcc100m", {"compare_published"}),
    "localizability.thresholds": ([0.0, 0.1, 0.2, 0.4], {"rank_clusters", "write_methods"}),
    "localizability.tiers": (["a", "b", "c", "d", "e"], {"rank_clusters", "write_methods"}),
    "figures.dpi": (99, PLOTS),
    "figures.each_model": (False, set()),
    "explorer.thumbnails": (False, {"write_explorer"}),
    "explorer.edge": (32, {"write_explorer"}),
    "explorer.most": (9, {"write_explorer"}),
    "explorer.megabytes": (9, {"write_explorer"}),
    "explorer.points": (9, {"write_explorer"}),
    "explorer.page_megabytes": (9, {"write_explorer"}),
}  # fmt: skip

# what must be set for a key to be read at all
NAMES_BY_TEXT = {"clusters": {"names": {"by": "text"}}}
MODEL_CLUSTERED = {"clusters": {"embedding": {"model": "clip-b32"}}}
ON_A_GPU = {"device": "cuda"}
BOTH_TARGETS = {"probes": {name: {"targets": ["degrees", "sphere"]} for name in ("ridge", "mlp")}}
RIDGE = yaml.safe_load((ROOT / "config/config.yaml").read_text())["probes"]["ridge"]
TWO_RIDGES = {"run": {"probes": ["ridge", "coarse"]}, "probes": {"coarse": RIDGE}}
UNDER = {
    **{f"clusters.names.{name}": NAMES_BY_TEXT for name in ("labels", "model", "template")},
    "clusters.names.path": {"clusters": {"count": 3, "names": {"by": "table", "path": "names.csv"}}},
    **{f"clusters.embedding.{name}": MODEL_CLUSTERED for name in ("model", "tower", "pooling", "layer")},
    "clusters.names.set": {"datasets": {"yfcc100m": {"caption_sets": ["places", "scenery"]}}},
    "encoders.dataset": {"datasets": {"bluemarble": {"caption_sets": ["places", "scenery", "shuffled"]}}},
    "folds.h3_resolution": {"folds": {"blocks": "h3"}},
    "probes.ridge.device": ON_A_GPU,
    "probes.mlp.device": ON_A_GPU,
    "analysis.target": BOTH_TARGETS,
    f"{DIRECTIONS}.probe": TWO_RIDGES,
    f"{STEERING}.probed.probe": TWO_RIDGES,
}
# what is not read in the base is read by nobody
UNREAD = {"folds.h3_resolution", *(key for key in UNDER if key.startswith("clusters.names."))} - {"clusters.names.set"}


def keys_of(schema, node, path=""):
    """Keys of a schema with one entry for each kind of what has names, as in NAMED; what chooses the kind left out."""
    if "$ref" in node:
        node = schema["$defs"][node["$ref"].rsplit("/", 1)[1]]
    listed = node.get("items", {}).get("properties")
    inner = node.get("properties") or node.get("then", {}).get("properties") or listed
    below = f"{path}[0]." if listed else f"{path}." if path else ""
    entry = node.get("additionalProperties")
    if isinstance(entry, dict) and "allOf" in entry:
        for case in entry["allOf"]:
            [(chooser, kind)] = case["if"]["properties"].items()
            name = below + NAMED[path][kind["const"]]
            yield from (key for key in keys_of(schema, case["then"], name) if key != f"{name}.{chooser}")
    elif isinstance(entry, dict):
        # prompts have two kinds, boundaries one
        kinds = {"random-1": entry["then"], "neutral": entry["else"]} if "else" in entry else {"gadm": entry}
        for name, kind in kinds.items():
            yield from keys_of(schema, kind, below + name)
    elif inner:
        if "then" in node or node.get("type", "object") not in ("object", "array"):
            yield path  # null, a number or a word is possible as well
        for name, part in inner.items():
            yield from keys_of(schema, part, below + name)
    else:
        yield path


def merge(config, delta):
    """A configuration with another laid over it, as Snakemake does it."""
    both = copy.deepcopy(config)
    for key, value in delta.items():
        both[key] = merge(both[key], value) if isinstance(value, dict) and isinstance(both.get(key), dict) else value
    return both


def with_value(config, key, value):
    """A configuration in which the dotted key has a value."""
    config = copy.deepcopy(config)
    *path, last = key.replace("[0]", ".0").split(".")
    node = config
    for name in path:
        node = node[0] if name == "0" else node.setdefault(name, {})
    node[last] = value
    return config


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with all files that the configuration names."""
    folder = tmp_path_factory.mktemp("options")
    for name in ("photos/one.jpg", "other/one.jpg", "photos/two.jpg", "models.tsv"):
        folder.joinpath(name).parent.mkdir(exist_ok=True)
        folder.joinpath(name).write_text("\t".join(COLUMNS) + "\n" if name == "models.tsv" else "a photo")
    for name in ("table.csv", "other.csv", "urls.csv", "list.txt", "images.zip", "stored.h5", "polygons.gpkg"):
        folder.joinpath(name).write_text("path,url,latitude,longitude\nphotos/one.jpg,https://x.example/1.jpg,1,2\n")
    shutil.copy(ROOT / "config/landmarks.csv", folder)
    for name in ("names.csv", "other_names.csv", "labels.csv"):
        folder.joinpath(name).write_text(f"cluster,name\n0,sea\n1,land\n2,{name}\n")
    return folder


@pytest.fixture(scope="module")
def base_of(folder):
    """A function that gives a base with a delta over it, and its plan, each made once."""
    made = {}

    def get(delta):
        key = yaml.safe_dump(delta)
        if key not in made:
            config = merge(BASE, delta)
            made[key] = config, plan(config, TARGETS, folder)
        return made[key]

    return get


def test_every_key_of_the_schema_is_expected_to_re_run_something_or_nothing():
    schema = yaml.safe_load((ROOT / "config/schemas/config.schema.yaml").read_text())
    keys = set(keys_of(schema, schema))
    of_images = {key for key in keys if key.startswith("datasets.")}
    assert len(of_images) > 100
    assert keys - of_images == set(OPTIONS)
    assert {key for key in of_images if expected_of_images(key) is None} == set()


@pytest.mark.parametrize("key", OPTIONS)
def test_a_changed_option_re_runs_what_reads_it(base_of, folder, key):
    value, rules = OPTIONS[key]
    config, before = base_of(UNDER.get(key, {}))
    jobs = changed(before, plan(with_value(config, key, value), TARGETS, folder))
    assert {rule for rule, *_ in jobs} == rules


@pytest.mark.parametrize("key", sorted(UNREAD))
def test_an_option_that_another_one_leaves_unread_re_runs_nothing(base_of, folder, key):
    config, before = base_of({})
    assert changed(before, plan(with_value(config, key, OPTIONS[key][0]), TARGETS, folder)) == []


def test_a_job_on_another_machine_is_told_what_it_is_recorded_with(base_of, folder):
    """Among it is the digest of its code, by which a job knows whether it may go on with what another one left."""
    config, before = base_of({})
    there = plan(config, TARGETS, folder, ExecMode.REMOTE)
    assert changed(before, there) == changed(there, before) == []
    assert all(job[2] for job in there.values())


def turned(value):
    """A configuration with its keys in the opposite order."""
    return {key: turned(value[key]) for key in reversed(value)} if isinstance(value, dict) else value


def test_a_default_stated_anew_re_runs_nothing(base_of, folder):
    config, before = base_of({})
    default = {}
    for path in DEFAULTS:
        default |= yaml.safe_load((ROOT / path).read_text())
    stated = turned(merge(default, config))
    assert list(stated["probes"]["ridge"]) != list(default["probes"]["ridge"])
    assert changed(before, plan(stated, TARGETS, folder)) == []


def expected_of_images(key):
    """(value, rules) for a key of a data set, by its own name or by that of its kind."""
    _, own, inner = key.split(".", 2)
    return OF_IMAGES.get(f"{own}.{inner}") or OF_IMAGES.get(inner)


def rounds_of_images():
    """Lists of keys, one of each data set at most, so that each plan tells of all data sets."""
    schema = yaml.safe_load((ROOT / "config/schemas/config.schema.yaml").read_text())
    keys = [key for key in keys_of(schema, schema) if key.startswith("datasets.")]
    of_each = [[key for key in keys if key.split(".")[1] == name] for name in SOURCES.values()]
    return [[own[number] for own in of_each if number < len(own)] for number in range(max(map(len, of_each)))]


@pytest.mark.parametrize("keys", rounds_of_images(), ids=lambda keys: keys[0])
def test_a_changed_option_of_images_re_runs_the_stages_of_its_data_set_that_read_it(base_of, folder, keys):
    config, before = base_of({})
    for key in keys:
        config = with_value(config, key, expected_of_images(key)[0])
    found = {key.split(".")[1]: set() for key in keys}
    for rule, wildcards, *_ in changed(before, plan(config, TARGETS, folder)):
        if "dataset" in wildcards:
            found[wildcards["dataset"]].add(rule)  # no other data set has any
        else:
            assert rule in ("write_methods", "fetch_boundaries")
    assert found == {key.split(".")[1]: expected_of_images(key)[1] for key in keys}


# the user's own files, and those of the checkout, by the rules that read them first
FILES = {
    "table.csv": {"plan_images"},
    "stored.h5": {"plan_images"},
    "urls.csv": {"fetch_metadata"},
    "list.txt": {"fetch_metadata"},
    "images.zip": {"fetch_metadata"},
    "polygons.gpkg": {"fetch_boundaries"},
    "config/landmarks.csv": {"fetch_metadata", "score_steering"},
    "config/published/numbers.csv": {"compare_published"},
}
# files whose content, or whose look, is a parameter: what is written into them, and the jobs that read them
CONTENTS = {
    "names.csv": ("cluster,name\n0,lake\n1,land\n2,hill\n", {("assign_clusters", "yfcc100m")}),
    "labels.csv": ("cluster,name\n0,lake\n", {("assign_clusters", "yfcc100m")}),
    "photos/one.jpg": ("another", {("plan_images", "folder"), ("build_images", "table")}),
    "photos/new.jpg": ("a third", {("plan_images", "folder")}),
    "photos/notes.txt": ("no photo", set()),
}
OF_CONTENTS = {
    "names.csv": {"clusters": {"count": 3, "names": {"by": "table", "path": "names.csv"}}},
    "labels.csv": {"clusters": {"names": {"by": "text", "labels": "labels.csv"}}},
}
# columns of a model's row
ROW = dict(
    zip(
        COLUMNS,
        ["mine", "Mine", "transformers", "ann/mine", "main", "vision-only", "no", "float32", "2", "any"],
        strict=True,
    )
)
READ = {"extract_features", "write_methods"}
ROWS = {
    "label": ("Ours", {"compare_models", "join_analyses", "compare_published", "write_methods"} | {
        f"plot_{name}" for name in ("map", "maps", "transfer", "correlation")
    }),
    "loader": ("timm", READ | {"fetch_weights"}),
    "id": ("ann/other", READ | {"fetch_weights", "compare_published"}),
    "revision": ("v1", READ | {"fetch_weights"}),
    "supervision": ("vision-language", READ | {"compare_models", "join_analyses"}),
    "geolocation": ("yes", {"compare_models", "write_methods"}),
    "dtype": ("bfloat16", READ),
    "memory_gb": ("3", set()),
    "weights": ("safetensors", READ | {"fetch_weights"}),
}  # fmt: skip


@pytest.mark.parametrize("file", FILES)
def test_a_file_is_an_input_of_the_stages_that_read_it(base_of, file):
    _, jobs = base_of({})
    paths = {file, str(ROOT / file)}
    assert {rule for rule, _, _, inputs in jobs.values() if inputs & paths} == FILES[file]


@pytest.mark.parametrize("file", CONTENTS)
def test_other_content_of_a_file_re_runs_the_jobs_that_read_it(folder, file):
    config, path, (text, jobs) = merge(BASE, OF_CONTENTS.get(file, {})), folder / file, CONTENTS[file]
    before, original = plan(config, TARGETS, folder), path.read_bytes() if path.exists() else None
    path.write_text(text)
    try:
        found = changed(before, plan(config, TARGETS, folder))
    finally:
        path.unlink() if original is None else path.write_bytes(original)
    assert {(rule, wildcards["dataset"]) for rule, wildcards, *_ in found} == jobs


def test_every_column_of_the_registry_is_expected_to_re_run_something_or_nothing():
    assert set(ROWS) == {*COLUMNS} - {"model"}


@pytest.mark.parametrize("column", ROWS)
def test_another_value_in_a_models_row_re_runs_what_reads_it(folder, column):
    value, rules = ROWS[column]
    config = merge(BASE, {"registry": "mine.tsv", "run": {"models": ["masked", "mine"]}})
    config["interventions"] = {name: {"models": []} for name in ("directions", "steering", "finetuning")}
    plans = []
    for row in (ROW, ROW | {column: value}):
        (folder / "mine.tsv").write_text("\n".join("\t".join(line) for line in (COLUMNS, row.values())) + "\n")
        plans.append(plan(config, TARGETS, folder))
    assert {rule for rule, *_ in changed(*plans)} == rules


def test_random_weights_do_not_stand_for_the_checkpoint_whose_architecture_they_have(folder):
    random = {"id": "openai/clip-vit-base-patch32", "weights": "random", "supervision": "baseline"}
    lines = [
        COLUMNS,
        (ROW | random).values(),
        (ROW | random | {"model": "other", "label": "Other", "weights": "any"}).values(),
    ]
    (folder / "mine.tsv").write_text("".join("\t".join(line) + "\n" for line in lines))
    config = merge(BASE, {"registry": "mine.tsv", "run": {"models": ["mine", "other", "clip-b32"], "untrained": [1]}})
    config["interventions"] = {name: {"models": []} for name in ("directions", "steering", "finetuning")}
    (params,) = (params for rule, _, params, _ in plan(config, TARGETS, folder).values() if rule == "compare_published")
    (options,) = (text for text in params if "'models'" in text)
    assert set(ast.literal_eval(options)["models"]) == {"other", "clip-b32"}
