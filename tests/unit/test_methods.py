"""The methods text: each value of the configuration is in it, and names with markup stay text in every format."""

import copy
import html.parser
import re
import subprocess
from pathlib import Path

import pytest
import yaml
from markdown_it import MarkdownIt

from geoprobe.clusters.options import told_clusters, way_of
from geoprobe.config import check_config, labellers
from geoprobe.methods.page import as_html, as_latex, as_markdown, paragraphs
from geoprobe.models.registry import COLUMNS
from geoprobe.probes.options import probe_options, shown_options
from geoprobe.software import git_commit
from tests.conftest import ROOT

STORE = {"images": 1234, "licence": "CC0", "attribution": "A. Nobody", "source_version": "2"}
# What text has to say only where another value stands: no clusters by text in the default, and so on.
OTHERS = {
    "run": {
        "datasets": ["landmarks", "yfcc100m"],
        "models": ["clip-l14", "vit-l16", "llava-1-5-7b", "colour-histogram"],
        "prompts": ["none", "coordinates", "random-1", "neutral"],
        "probes": ["ridge", "mlp"],
    },
    "protocol": "sound",
    "clusters": {
        "by": {"landmarks": "source", "yfcc100m": "kmeans"},
        "embedding": {"model": "clip-l14", "pooling": "mean"},
        "count": {"low": 5, "high": 50, "step": 5},
        "names": {"by": "text"},
        "matched": {"images": 50, "seed": 3},
    },
    "folds": {"blocks": "h3"},
    "features": {"layers": 6},
    "analysis": {"choice": "inner"},
    "interventions": {
        "directions": {"models": ["clip-l14"]},
        "steering": {"models": ["llava-1-5-7b"]},
        "finetuning": {"models": ["vit-l16"]},
    },
}
# A value of each word that allows only some.
INSTEAD = {
    "dtype": "float64", "penalty": "leave-one-out", "cv": "grouped", "choice": "maximum", "target": "sphere",
    "blocks": "geocell", "by": "number", "ranking": "raw", "loader": "timm", "weights": "random", "geolocation": "yes",
    "part": "tune", "pooling": "maxmin", "photos": "all", "train": "head", "where": "every_step", "device": "cuda",
    "poolings": "maxmin", "targets": "sphere", "controls": "permuted_cells",
    "protocol": "paper", "clusters": "each",
    "embedding": {"model": "clip-l14", "tower": "vision", "pooling": "mean", "layer": "last"},
}  # fmt: skip
# what changes no word: what other keys have decided (`analysis.choice` by `shown`), what only another choice uses, and
# where files lie
SHOWN_BY = {"analysis.choice", "analysis.cv", "analysis.depth", "analysis.target"}
FILES = ("commons_api", "images_base", "keep_tars", "metadata_base", "shards", "wikidata_api")
LOCAL = [
    f"{name}-seed1" for name in ("random", "masked", "contrastive", "text-places", "text-scenery", "text-shuffled")
]
# no model of the default writes text
STEERING = ("dataset", "prompt", "probed.dataset", "probed.prompt", "probed.probe", "block", "shares")
STEERING += ("rankings", "random_seeds", "where", "max_new_tokens", "pairs", "photos", "seed")
SILENT = {
    "default": SHOWN_BY
    | {
        "clusters.by",
        "clusters.names.model",
        "clusters.names.template",
        "folds.h3_resolution",
    }
    | {f"models.{name}.{key}" for name in LOCAL for key in ("model", "id", "revision")}
    | {f"interventions.steering.{key}" for key in STEERING}
    | {f"models.colour-histogram.{key}" for key in ("model", "dtype", "family", "id", "revision")},
    "public": {*SHOWN_BY, "analysis.pairs", "folds.block_degrees"}
    | {"clusters.by.landmarks", "clusters.by.yfcc100m", "clusters.names.set", "clusters.names.words"}
    | {f"datasets.landmarks.{key}" for key in FILES}
    | {f"datasets.yfcc100m.{key}" for key in ("flickr_base", "images_base", "metadata", "shards")}
    | {f"models.{name}.model" for name in ("clip-l14", "vit-l16", "llava-1-5-7b", "colour-histogram")}
    | {f"models.colour-histogram.{key}" for key in ("dtype", "family", "id", "revision")}
    | {"models.llava-1-5-7b.family"},
}


def merged(default, change):
    """A mapping with another laid over it, key by key."""
    found = dict(default)
    for key, value in change.items():
        both = isinstance(value, dict) and isinstance(found.get(key), dict)
        found[key] = merged(found[key], value) if both else value
    return found


def options_of(change):
    """What the rule write_methods hands on, of the default with a change laid over it."""
    config = merged(yaml.safe_load((ROOT / "config/datasets.yaml").read_text()), {})
    config = merged({**config, **yaml.safe_load((ROOT / "config/config.yaml").read_text())}, change)
    columns = (*COLUMNS, "family")
    models = {
        name: {key: row[key] for key in columns if key != "memory_gb"}
        for name, row in check_config(config, ROOT).items()
    }
    run, clusters = config["run"], config["clusters"]
    told = told_clusters(clusters, labellers(config, ROOT))
    trained = list(config["encoders"]["objectives"]) if "masked" in run["models"] else []
    kept = {"protocol", "device", "localizability", "folds", "analysis"}
    families = {row["family"] for row in models.values()}
    unread = ("batch_size", "chunk", "shards", "threads")
    return {
        "datasets": {name: config["datasets"][name] for name in run["datasets"]},
        "others": {"bluemarble-pretrain": config["datasets"]["bluemarble-pretrain"]} if trained else {},
        "encoders": config["encoders"] if trained else {},
        "families": trained,
        "models": models,
        "prompts": {name: config["prompts"].get(name) for name in run["prompts"]},
        "clusters": clusters | {"embedding": told["embedding"], "names": clusters["names"] | told["names"]},
        "ways": {name: way_of(clusters, name) for name in run["datasets"]},
        "probes": {name: without(probe_options(config, name), "device", "threads") for name in run["probes"]},
        "features": without(config["features"], *unread),
        "shown": shown_options(config) | {"ranking": "standardised"},
        "interventions": {
            name: without(part, "batch_size", "landmarks")
            | {"models": [model for model in part["models"] if model in families]}
            for name, part in config["interventions"].items()
        },
        **{name: config[name] for name in kept},
    }


def text_of(options, commits=None, store=STORE):
    stores = dict.fromkeys([*options["datasets"], *options["others"]], store)
    blocks = dict.fromkeys(options["datasets"], 77)
    return paragraphs(options, stores, commits or {}, blocks, "Computed with geoprobe 1.")


def without(options, *names):
    return {key: value for key, value in options.items() if key not in names}


def leaves(options, path=()):
    """Paths of all values that are no mapping, and of members of lists."""
    for key, value in options.items():
        if key == "kind" or value is None or value == []:
            continue  # decides which clauses there are, or there is nothing to say
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))
        else:
            yield (*path, key)


def changed(value, key):
    """Another value of the same kind."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1 if value >= 1 else value / 2 + 0.01
    if isinstance(value, list):
        return [INSTEAD[key]] if key in INSTEAD else value[1:] or [9]
    if key == "layers":
        return "all" if value == "last" else "last"
    if key == "objective":
        return "masked" if value == "random" else "random"
    return INSTEAD.get(key, f"{value}x")


def silent_paths(options):
    """Paths of the values that may change without a change of the text."""
    before, silent = text_of(options), set()
    for path in leaves(options):
        other = copy.deepcopy(options)
        at = other
        for part in path[:-1]:
            at = at[part]
        key = path[-1]
        at[key] = "stored" if path[0] == "ways" else [0, 2] if path == ("features", "layers") else changed(at[key], key)
        if text_of(other) == before:
            silent.add(".".join(map(str, path)))
    return silent


@pytest.mark.parametrize("name", ["default", "public"])
def test_a_changed_value_changes_the_text(name):
    silent = silent_paths(options_of({} if name == "default" else OTHERS))
    assert silent == SILENT[name]


def test_what_a_run_does_not_have_is_not_told():
    text = text_of(options_of({}))
    assert not {"Prompts"} & {*text}
    assert "training seeds" not in text["Scores"]
    assert "countries" not in text["Scores"]
    alone = text_of(options_of({"run": {"models": ["colour-histogram"], "probes": ["mlp"]}}))
    assert "Interventions" not in alone
    assert "effect of text" not in alone["Scores"]
    assert "P values" not in alone["Scores"]
    assert "coefficients" not in alone["Closer analyses"]
    assert "predictions of the last layer of each tower" in alone["Closer analyses"]
    analysis = {"choice": "inner", "depth": 0.5}
    fixed = text_of(options_of({"analysis": analysis}))
    assert "the best score within the training images" in fixed["Scores"]
    assert "predictions of the layer at 50 % of the depth of each tower" in fixed["Closer analyses"]
    seeds = text_of(options_of({"encoders": {"seeds": [1, 2]}, "probes": {"ridge": {"cv": ["blocked", "countries"]}}}))
    assert "of countries where those are held out, and of the training seeds of a model" in seeds["Scores"]
    assert "with seeds 1 and 2" in seeds["Models"]
    change = {"probes": {"ridge": {"cv": ["countries"]}}, "analysis": {"cv": "countries"}}
    assert "resamples (seed 1) of countries." in text_of(options_of(change))["Scores"]


@pytest.mark.parametrize(
    ("labels", "said"),
    [(None, "the published ones"), (["sea", "sand"], "sea and sand"), ("own.csv", "a table")],
)
def test_labels_of_clusters_are_told_without_their_path(tmp_path, labels, said):
    if labels == "own.csv":
        labels = str(tmp_path / labels)
        Path(labels).write_text("cluster,name\n0,sea\n1,sand\n")
    text = text_of(options_of({"clusters": {"names": {"by": "text", "labels": labels}}}))["Clusters"]
    assert f"named by the label, of {said}" in text
    assert str(tmp_path) not in text


def test_what_was_made_is_in_the_text():
    text = " ".join(text_of(options_of(OTHERS), commits={"clip-l14": "0123abc"}).values())
    for part in ("1,234 images", "licence: CC0", "credit: A. Nobody", "at revision 0123abc", "77 of landmarks"):
        assert part in text


MARKUP = r"<script>alert(1)</script> [a](javascript:x) *b* `c` \input{d} $e$ 5 % f_g ~h^ #i & | ![j](k)"


def with_markup():
    options = options_of({})
    options["models"]["random-seed1"]["label"] = MARKUP
    return text_of(options, store=STORE | {"licence": MARKUP})


class Tags(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = set(), ""

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)

    def handle_data(self, data):
        self.text += data


@pytest.mark.parametrize("form", ["html", "markdown"])
def test_markup_in_names_stays_text(form):
    parts = with_markup()
    page = as_html(parts) if form == "html" else MarkdownIt("commonmark").render(as_markdown(parts))
    found = Tags()
    found.feed(page)
    assert found.text.count(MARKUP) == 3  # a label, and the licence of two data sets
    assert found.tags <= {"html", "head", "meta", "title", "style", "body", "h1", "p", "b", "strong"}


def test_every_special_letter_of_latex_is_escaped():
    start, end = "\\begin{sloppypar}\n\\paragraph{Images.} ", "\\end{sloppypar}\n"
    text = as_latex({"Images": MARKUP}).removeprefix(start).removesuffix(end)
    bare = re.sub(r"\\(?:text[a-z]+|allowbreak)\{\}|\\[_%&#${}]|\$[<>]\$", "", text)
    assert not re.search(r"[\\_%&#${}~^<>]", bare)


def test_the_commit_is_that_of_the_checkout_and_not_of_a_folder_above(tmp_path):
    git = ["git", "-C", str(tmp_path), "-c", "user.name=test", "-c", "user.email=test@example.org"]
    assert git_commit(tmp_path) == "no git commit"
    (tmp_path / "file").write_text("as it was")
    for command in (["init", "--quiet"], ["add", "file"], ["commit", "--quiet", "--message", "one"]):
        subprocess.run([*git, *command], check=True)
    head = subprocess.run([*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()
    assert git_commit(tmp_path) == f"git commit {head}"
    (tmp_path / "file").write_text("changed")
    assert git_commit(tmp_path) == f"git commit {head}, with changed files"
    (tmp_path / "inner").mkdir()
    assert git_commit(tmp_path / "inner") == "no git commit"
