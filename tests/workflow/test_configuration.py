"""Configurations that work plan the right jobs; those that cannot work end in one sentence with key, value and fix."""

import re

import pytest
import yaml
from conftest import ROOT, Project

from geoprobe.images.sources import SOURCES

pytestmark = pytest.mark.workflow
PROJECT = Project(ROOT)


def plan(tmp_path, delta, *arguments):
    """Dry run of the default configuration with a delta over it, in an empty folder."""
    file = tmp_path / "delta.yaml"
    file.write_text(yaml.safe_dump(delta))
    options = {"config": file, "folder": tmp_path, "check": False}
    return PROJECT.snakemake("--snakefile", ROOT / "Snakefile", "--dry-run", *arguments, **options)


def counts(output):
    """Jobs by rule in the statistics of a dry run."""
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", output, re.MULTILINE)}


@pytest.mark.parametrize(
    ("delta", "jobs"),
    [
        ({}, {"build_images": 2, "train_encoder": 6, "extract_features": 7, "fit_probes": 7, "plot_map": 7}),
        ({"run": {"models": ["random"]}}, {"train_encoder": 1, "fit_probes": 1, "plot_map": 1, "plot_maps": 1}),
        ({"encoders": {"seeds": [1, 2, 3]}}, {"train_encoder": 18, "fit_probes": 19, "compare_models": 1}),
        (
            {"run": {"datasets": ["bluemarble", "bluemarble-pretrain"]}},
            {"build_images": 2, "fit_probes": 14, "score_baselines": 2},
        ),
        ({"device": "cuda"}, {"extract_features": 7}),
        (
            {
                "analysis": {"cv": "random", "poolings": ["mean"], "target": "sphere"},
                "probes": {"ridge": {"targets": ["sphere"]}},
            },
            {"fit_probes": 7},
        ),
        ({"run": {"probes": ["ridge", "mlp"]}}, {"fit_probes": 14, "score_probe": 14}),
        ({"run": {"models": ["clip-b32"], "untrained": [1, 2]}}, {"fetch_weights": 3, "fit_probes": 3}),
        ({"clusters": {"names": {"by": "number"}}}, {"assign_clusters": 1}),
    ],
)
def test_a_working_configuration_plans_its_jobs(tmp_path, delta, jobs):
    output = plan(tmp_path, delta).stdout
    assert counts(output).items() >= jobs.items(), output


@pytest.mark.parametrize(
    ("delta", "planned"),
    [
        ({}, {"plot_cross_validations", "plot_scale"}),
        ({"probes": {"ridge": {"poolings": "all"}}}, {"plot_cross_validations", "plot_scale", "plot_poolings"}),
        ({"probes": {"ridge": {"cv": ["blocked"]}}, "run": {"models": ["colour-histogram"]}}, set()),
        (
            {"run": {"models": ["clip-l14"], "datasets": ["landmarks"]}, "clusters": {"by": "source"}},
            {"plot_cross_validations", "plot_scale", "plot_published"},
        ),
    ],
    ids=["default", "all poolings", "one of each", "the paper's"],
)
def test_figures_that_could_only_say_that_they_are_empty_are_not_planned(tmp_path, delta, planned):
    jobs = counts(plan(tmp_path, delta, "paper").stdout)
    assert "plot_objectives" in jobs
    assert {f"plot_{name}" for name in ("poolings", "cross_validations", "scale", "published")} & {*jobs} == planned


def test_networks_have_no_coefficients_to_look_into(tmp_path):
    delta = {"run": {"probes": ["ridge", "mlp"]}}
    jobs = counts(plan(tmp_path, delta, "analyses").stdout)
    assert (jobs["score_probe"], jobs["relate_clusters"], jobs["ablate_dimensions"]) == (14, 7, 7)
    assert (jobs["plot_transfer"], jobs["plot_correlation"], jobs["plot_dimensions"]) == (7, 7, 1)
    assert (jobs["plot_correlation_summary"], jobs["plot_fairness"]) == (1, 2)


def test_figures_of_each_model_can_be_left_to_be_asked_for(tmp_path):
    jobs = counts(plan(tmp_path, {"figures": {"each_model": False}}, "figures", "analyses").stdout)
    assert (jobs["plot_maps"], jobs["plot_transfers"], jobs["plot_correlation_summary"]) == (1, 1, 1)
    assert not {"plot_map", "plot_transfer", "plot_correlation"} & set(jobs)


def test_two_probes_plan_two_fits_a_model(tmp_path):
    ridge = yaml.safe_load((ROOT / "config/config.yaml").read_text())["probes"]["ridge"]
    delta = {"run": {"probes": ["ridge", "coarse"]}, "probes": {"coarse": ridge | {"cv": ["blocked"]}}}
    assert counts(plan(tmp_path, delta).stdout)["fit_probes"] == 14


def test_the_controlled_experiment_plans_five_seeds(tmp_path):
    options = {"config": ROOT / "config/controlled.yaml", "folder": tmp_path}
    output = PROJECT.snakemake("--snakefile", ROOT / "Snakefile", "--dry-run", **options).stdout
    assert counts(output)["train_encoder"] == 30


TABLE = {"source": "table", "balance": {"minimum": 1, "maximum": 5, "seed": 1}, "caption_sets": []}


@pytest.mark.parametrize(
    ("delta", "sentence"),
    [
        ({"devise": "cpu"}, '"devise" is not a key; allowed: .* Did you mean "device"?'),
        ({"folds": {"cuont": 4}}, '"folds.cuont" is not a key; allowed: .* Did you mean "count"?'),
        ({"device": "gpu"}, 'device is "gpu"; allowed: cpu, cuda. Did you mean "cpu"?'),
        ({"folds": {"count": 1}}, "folds.count is 1; it must be at least 2."),
        ({"folds": {"count": "five"}}, 'folds.count is "five"; it must be of type integer.'),
        ({"folds": {"block_degrees": 120}}, "folds.block_degrees is 120; it must be at most 90."),
        ({"encoders": {"training": {"learning_rate": 0}}}, "encoders.training.learning_rate is 0; it must be more than 0."),
        ({"run": {"models": ["maskd"]}}, 'run.models[0] names "maskd", which is not in config/models.tsv; .* Did you mean "masked"?'),
        ({"run": {"models": ["random", "random"]}}, "run.models is ['random', 'random']; it names something twice"),
        ({"run": {"models": []}}, "run.models is empty or too short; give at least 1."),
        ({"run": {"datasets": ["bluemable"]}}, 'run.datasets[0] names "bluemable", which is not in datasets; .* Did you mean "bluemarble"?'),
        ({"run": {"probes": ["mpl"]}}, 'run.probes[0] names "mpl", which is not in probes; there are: ridge, mlp. Did you mean "mlp"?'),
        ({"probes": {"ridge": {"kind": "lasso"}}}, 'probes.ridge.kind is "lasso"; allowed: ridge, mlp.'),
        ({"probes": {"mlp": {"hidde": 8}}}, '"probes.mlp.hidde" is not a key; allowed: .* Did you mean "hidden"?'),
        ({"analysis": {"target": "sphere"}}, 'analysis.target is "sphere", which probes.ridge does not fit (degrees)'),
        ({"folds": {"count": 2}}, "folds.count is 2, and probes.ridge.penalty is inner-folds, which holds a second fold out"),
        ({"probes": {"ridge": {"device": "cuda"}}}, 'probes.ridge.device is "cuda", but device is "cpu"; set both, or neither.'),
        ({"protocol": "paper", "probes": {"ridge": {"cv": ["blocked"]}}}, 'analysis.cv is "random" (by protocol: paper), which probes.ridge does not fit (blocked)'),
        ({"analysis": {"pairs": [{"baseline": "maskd", "text": "text-places", "matched": "x"}]}}, 'analysis.pairs[0].baseline names "maskd", which is not in config/models.tsv; .* Did you mean "masked"?'),
        ({"encoders": {"architecture": {"patch_size": 5}}}, "encoders.architecture.image_size is 32, which patch_size (5) does not divide"),
        ({"encoders": {"objectives": {"text-places": {"captions": "titles"}}}}, 'encoders.objectives.text-places.captions names "titles", which is not in the caption sets of bluemarble-pretrain'),
        ({"encoders": {"objectives": {"masked": {"maskk": 0.5}}}}, '"encoders.objectives.masked.maskk" is not a key; allowed: .* Did you mean "mask"?'),
        ({"clusters": {"names": {"set": "titles"}}}, 'clusters.names.set is "titles", but dataset bluemarble has places, scenery'),
        ({"localizability": {"thresholds": [0.3, 0.1, 0.2, 0.4]}}, "localizability.thresholds is [0.3, 0.1, 0.2, 0.4]; give rising numbers"),
        ({"analysis": {"cv": "random"}, "probes": {"ridge": {"cv": ["blocked"]}}}, 'analysis.cv is "random", which probes.ridge does not fit (blocked)'),
        ({"features": {"poolings": ["maxmin"]}}, "analysis.poolings is ['cls', 'last', 'mean'], of which features.poolings (maxmin) holds none"),
        ({"published": {"landmarks": "landmark"}}, 'published.landmarks names "landmark", which is not in datasets; .* Did you mean "landmarks"?'),
        ({"features": {"layers": "some"}}, 'features.layers is "some"; it must be "all" or of type integer or of type array.'),
        ({"features": {"batch_size": 0}}, "features.batch_size is 0; it must be at least 1."),
        ({"prompts": {"city": {"txt": "Where?"}}}, '"prompts.city.txt" is not a key; allowed: .* Did you mean "text"?'),
        ({"run": {"prompts": ["cty"]}}, 'run.prompts[0] names "cty", which is not in prompts; .* Did you mean "city"?'),
        ({"prompts": {"none": {"text": "x"}}}, '"none" cannot be a name in prompts; use lower-case letters, digits and hyphens.'),
        ({"registry": "mine.tsv"}, 'registry is "mine.tsv", and there is no such file; its columns are those of config/models.tsv.'),
        ({"datasets": {"bluemarble": {"tile_pixels": None}}}, "datasets.bluemarble.tile_pixels is None; it must be of type integer."),
        ({"datasets": {"My Photos": TABLE | {"path": "x.csv"}}}, '"My Photos" cannot be a name in datasets; use lower-case letters, digits and hyphens.'),
        ({"datasets": {"mine": TABLE}}, '"datasets.mine.path" is missing; add it'),
        ({"datasets": {"mine": TABLE | {"path": "no.csv"}}, "run": {"datasets": ["mine"]}, "clusters": {"names": {"by": "number"}}}, 'datasets.mine.path is "no.csv", and there is no such file.'),
        ({"datasets": {"mine": TABLE | {"path": "bare.csv"}}, "run": {"datasets": ["mine"]}, "clusters": {"names": {"by": "number"}}}, 'datasets.mine.path is "bare.csv", whose columns are path, title: no column latitude and no column longitude. Rename or add it'),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)  # fmt: skip
def test_a_mistake_ends_in_one_sentence_with_the_fix(tmp_path, delta, sentence):
    (tmp_path / "bare.csv").write_text("path,title\na.jpg,A\n")
    done = plan(tmp_path, delta)
    assert done.returncode != 0
    pattern = ".*".join(re.escape(part) for part in sentence.split(".*"))
    said = [line for line in done.stdout.splitlines() if line.startswith("config: ")]
    assert len(said) == 1, done.stdout
    assert re.search(pattern, said[0]), said
    assert "Traceback" not in done.stdout


def described(schema, path=()):
    """Dotted keys of a schema's properties, and whether each has a description."""
    for name, part in schema.get("properties", {}).items():
        yield (*path, name), part
        yield from described(part, (*path, name))


def test_every_key_is_described_in_the_schema():
    schema = yaml.safe_load((ROOT / "config/schemas/config.schema.yaml").read_text())
    keys = list(described(schema))
    for name in (*SOURCES, "balance", "masked", "contrastive", "text", "ridge", "mlp"):
        properties = schema["$defs"][name]["properties"]
        keys += [((name, *path), part) for path, part in described({"properties": properties})]
    assert len(keys) > 60
    for path, part in keys:
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rsplit("/", 1)[1]]
        if part and "const" not in part:  # the rest repeats a key that is described elsewhere
            assert part.get("description"), path


def test_the_default_gives_every_required_key():
    schema = yaml.safe_load((ROOT / "config/schemas/config.schema.yaml").read_text())
    default = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    default |= yaml.safe_load((ROOT / "config/datasets.yaml").read_text())
    assert set(default) == set(schema["properties"]) == set(schema["required"])
