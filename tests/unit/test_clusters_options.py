"""What of the configuration reaches a job, and what in it cannot work."""

import copy
import re

import pytest
from conftest import ROOT

from geoprobe.clusters.naming import read_names
from geoprobe.clusters.options import caption_set, check_clusters, embedding_of, has_elbow, options_of, way_of
from geoprobe.models.registry import read_registry

DEFAULT = {
    "by": "kmeans",
    "from": None,
    "embedding": "statistics",
    "count": 8,
    "components": 16,
    "seed": 1,
    "names": {
        "by": "captions",
        "set": "scenery",
        "words": 3,
        "labels": None,
        "model": "openclip-b32",
        "template": "a photo of {}",
        "path": None,
    },
    "matched": None,
}
PAPERS = str(ROOT / "config/cluster_names.csv")
COUNTS = {"low": 4, "high": 60, "step": 4}


def clusters(names=None, **changes):
    """The default `clusters` with changes, those to `names` laid over its keys."""
    made = copy.deepcopy(DEFAULT) | changes
    made["names"] |= names or {}
    return made


def configuration(made, run=("photos", "landmarks")):
    return {
        "run": {"datasets": list(run)},
        "datasets": {"photos": {}, "landmarks": {}, "paper": {}},
        "features": {"poolings": ["cls", "mean"]},
        "clusters": made,
    }


def check(made, **options):
    registry = read_registry(ROOT / "config/models.tsv") | {"gone": {"loader": "local", "id": "gone"}}
    check_clusters(configuration(made, **options), ["vit", "dino-seed1"], registry, ROOT)


# the ways


@pytest.mark.parametrize(
    ("changes", "ways"),
    [
        ({}, {"photos": "kmeans", "landmarks": "kmeans"}),
        ({"by": "source"}, {"photos": "source", "landmarks": "source"}),
        ({"by": {"landmarks": "source"}}, {"photos": "kmeans", "landmarks": "source"}),
        ({"by": {"photos": "stored", "landmarks": "source"}}, {"photos": "stored", "landmarks": "source"}),
        ({"from": "paper"}, {"photos": "from", "landmarks": "from", "paper": "kmeans"}),
        ({"from": "photos"}, {"photos": "kmeans", "landmarks": "from"}),
        ({"from": "paper", "by": {"paper": "stored", "landmarks": "source"}},
         {"photos": "from", "landmarks": "source", "paper": "stored"}),
    ],
)  # fmt: skip
def test_each_data_set_has_its_way(changes, ways):
    made = clusters(**changes)
    check(made)
    assert {name: way_of(made, name) for name in ways} == ways


def test_an_elbow_is_for_data_sets_whose_clusters_are_found():
    made = clusters(count=COUNTS, by={"landmarks": "source"}, **{"from": "paper"})
    assert {name: has_elbow(made, name) for name in ("photos", "landmarks", "paper")} == {
        "photos": False,
        "landmarks": False,
        "paper": True,
    }
    assert not has_elbow(clusters(), "photos")


def test_captions_name_the_clusters_that_are_neither_taken_over_nor_the_source():
    made = clusters(by={"landmarks": "source", "paper": "stored"}, **{"from": "paper"})
    assert [caption_set(made, name) for name in ("photos", "landmarks", "paper")] == [None, None, "scenery"]
    assert caption_set(clusters(), "photos") == "scenery"
    assert caption_set(clusters({"by": "number"}), "photos") is None


# what a job gets


def test_a_job_gets_no_more_than_it_uses(tmp_path):
    (tmp_path / "names.csv").write_text("cluster,name\n1,Sea\n0,Ice\n")
    common = {"embedding": "statistics", "matched": None}
    fit = common | {"by": "kmeans", "components": 16, "seed": 1, "count": 8}
    cases = [
        ({}, {}, fit | {"names": {"by": "captions", "set": "scenery", "words": 3}}),
        ({"by": "number"}, {}, fit | {"names": {"by": "number"}}),
        ({"by": "table", "path": str(tmp_path / "names.csv")}, {},
         fit | {"names": {"by": "table", "table": [(1, "Sea"), (0, "Ice")]}}),
        ({}, {"by": "source"}, common | {"by": "source", "components": 16, "seed": 1}),
        ({}, {"from": "paper"}, common | {"by": "from", "from": "paper"}),
    ]  # fmt: skip
    for names, changes, expected in cases:
        assert options_of(clusters(names, **changes), "photos", ROOT, "cuda") == expected


def test_labels_are_the_papers_names_a_list_or_a_file(tmp_path):
    (tmp_path / "labels.csv").write_text("cluster,name\n4,Sea\n0,Ice\n")
    papers = [name for _, name in read_names(ROOT / "config/cluster_names.csv")]
    for labels, expected in ((None, papers), (["a", "b"], ["a", "b"]), (str(tmp_path / "labels.csv"), ["Sea", "Ice"])):
        names = options_of(clusters({"by": "text", "labels": labels}), "photos", ROOT, "cuda")["names"]
        assert names == {
            "by": "text",
            "labels": expected,
            "model": "openclip-b32",
            "template": "a photo of {}",
            "device": "cuda",
        }


def test_an_embedding_of_a_model_has_defaults():
    full = {"model": "vit", "tower": "vision", "pooling": "mean", "layer": "last"}
    assert embedding_of(clusters(embedding={"model": "vit"})) == full
    chosen = {"model": "vit", "tower": "text", "pooling": "cls", "layer": 3}
    assert embedding_of(clusters(embedding=chosen)) == chosen
    assert embedding_of(clusters()) == "statistics"


# what cannot work


@pytest.mark.parametrize(
    "made",
    [
        clusters(embedding={"model": "dino-seed1", "pooling": "cls"}),
        clusters(count={"low": 2, "high": 4, "step": 1}),
        clusters({"by": "text"}),
        clusters({"by": "text", "labels": ["a"]}),
        clusters(matched={"images": "smallest", "seed": 1}),
    ],
)
def test_what_works_is_not_refused(made):
    check(made)


@pytest.mark.parametrize(
    ("names", "changes", "sentence"),
    [
        (
            {},
            {"by": {"landmark": "source"}},
            'clusters.by names "landmark", which is not in datasets; .* Did you mean "landmarks"?',
        ),
        ({}, {"from": "papers"}, 'clusters.from names "papers", which is not in datasets; .* Did you mean "paper"?'),
        ({}, {"from": "paper", "by": "source"}, "clusters.by takes the clusters of photos, landmarks from the source"),
        ({}, {"embedding": {"model": "dino"}}, 'embedding.model names "dino", .* there are: vit, dino-seed1.'),
        (
            {},
            {"embedding": {"model": "vit", "pooling": "max"}},
            'embedding.pooling names "max", which is not in features.poolings',
        ),
        ({}, {"count": {"low": 4, "high": 8, "step": 4}}, "clusters.count runs from 4 to 8 by 4; an elbow needs three"),
        ({}, {"count": {"low": 9, "high": 4, "step": 1}}, "clusters.count runs from 9 to 4 by 1"),
        ({"by": "text", "template": "a photo"}, {}, 'names.template is "a photo"; it must hold {} where the label'),
        ({"by": "text", "model": "openclip"}, {}, 'names.model names "openclip", .* Did you mean "openclip-b32"?'),
        ({"by": "text", "model": "vit-b16"}, {}, 'names.model is "vit-b16"; names by text need a model of open_clip'),
        ({"by": "text", "model": "gone"}, {}, "clusters.names.model: gone: no such folder"),
        ({"by": "text", "labels": "none.csv"}, {}, 'clusters.names: "none.csv" is no file'),
        ({"by": "table"}, {}, "clusters.names.path is null; give the CSV (columns cluster, name)"),
        ({"by": "table", "path": "none.csv"}, {}, 'clusters.names: "none.csv" is no file'),
        (
            {"by": "table", "path": PAPERS},
            {"count": 42},
            "clusters.names: path has no name for cluster 40, 41; add a row",
        ),
    ],
)
def test_what_cannot_work_is_one_sentence_with_key_value_and_fix(names, changes, sentence):
    with pytest.raises(ValueError, match=r"^config: ") as raised:
        check(clusters(names, **changes))
    # as in the tests of the workflow: ".*" stands for anything, all else for itself
    assert re.search(re.escape(sentence).replace(r"\.\*", ".*"), str(raised.value)), raised.value


def test_a_run_of_the_fitted_data_set_alone_is_allowed():
    check(clusters(by="stored", **{"from": "paper"}), run=("paper",))
