"""What re-runs after an edit: exactly the rules that use the edited module, and what follows from them.

The expectations are written out by hand. A second oracle is what the jobs themselves had imported when they
ended, which their logs list.

What each module's edit changes is asked of the digests, a rule at a time; that Snakemake re-runs a rule whose digest has
changed, and what follows from it, is asked of Snakemake for each rule.
"""

import ast
import base64
import re
import shutil
import subprocess

import pytest

from geoprobe.freshness import digest_script, reached_modules, unfinished_outputs
from geoprobe.images.sources import SOURCES
from geoprobe.models.registry import LOADERS

pytestmark = pytest.mark.workflow

MAPS = {"plot_map", "plot_maps"}
TRANSFERS = {"plot_transfer", "plot_transfers"}
FOLLOWS = {
    "plan_images": {"build_images"},
    "build_images": {"train_encoder", "assign_clusters", "assign_folds", "extract_features", "fit_probes"}
    | {"score_baselines", "score_probe", "relate_clusters", "ablate_dimensions"}
    | {"plot_localizability", "plot_contact_sheet", "plot_balance", "write_methods", "write_explorer"} | MAPS,
    "train_encoder": {"extract_features"},
    "assign_clusters": {"fit_probes", "score_baselines", "rank_clusters"}
    | {"plot_localizability", "plot_contact_sheet", "plot_elbow", "write_explorer"},
    "assign_folds": {"fit_probes", "score_baselines", "score_probe"}
    | {"relate_clusters", "ablate_dimensions", "write_explorer"},
    "extract_features": {"join_features"},
    "join_features": {"fit_probes", "relate_clusters", "ablate_dimensions", "plot_scale"},
    "fit_probes": {"score_probe", "relate_clusters", "ablate_dimensions", "write_explorer"} | MAPS,
    "score_baselines": {"compare_models"},
    "score_probe": {"compare_models", "join_analyses", "write_explorer"},
    "compare_models": {"rank_clusters", "plot_objectives", "plot_heatmap", "plot_layers", "plot_captions", "write_tables"}
    | {"plot_cross_validations", "plot_scale", "write_methods", "write_explorer"},
    "rank_clusters": {"plot_heatmap", "plot_localizability", "write_tables", "plot_correlation"} | TRANSFERS,
    "relate_clusters": {"join_analyses", "plot_transfer", "plot_correlation"},
    "ablate_dimensions": {"join_analyses"},
    "join_analyses": {"plot_correlation_summary", "plot_dimensions", "plot_fairness", "plot_transfers"}
    | {"write_analysis_tables"},
}  # fmt: skip
FIGURES = ("objectives", "heatmap", "layers", "captions", "localizability", "contact_sheet", "balance", "elbow")
CORRELATIONS = {"plot_correlation", "plot_correlation_summary"}
CLOSER_PLOTS = {"plot_dimensions", "plot_fairness"} | TRANSFERS | CORRELATIONS
COMPARISONS = {"plot_cross_validations", "plot_scale"}
PLOTS = {f"plot_{name}" for name in FIGURES} | MAPS | CLOSER_PLOTS | COMPARISONS
RULES = {*FOLLOWS, *PLOTS, "write_tables", "write_analysis_tables", "write_methods", "write_explorer"}
EXPLORER = {"write_explorer"}
# these have no job where all images and models are made on this machine and no file is exported
UNUSED = {"fetch_metadata", "fetch_boundaries", "download_images", "export_images", "fetch_weights"}
# these have none where only figures and tables of probes are asked for
MODEL_USERS = {"push_positions", "steer_model", "finetune_model"}
BY_NAME = MODEL_USERS | {"score_steering", "split_countries", "compare_finetuning", "compare_prompts"}
BY_NAME |= {"plot_prompts", "plot_push", "plot_steering", "plot_finetuning"}
PRINT_BY_NAME = {"write_intervention_tables", "compare_published"}
BY_NAME |= PRINT_BY_NAME | {"plot_published", "plot_poolings"}
IMAGES = {"plan_images", "build_images"}
TRAIN = {"train_encoder"}
EXTRACT = {"extract_features"}
CLOSER = {"relate_clusters", "ablate_dimensions"}
SUMMARIES = {"score_probe", "compare_models"}
SUMMARY_READERS = (
    {
        "rank_clusters",
        "write_tables",
        "write_analysis_tables",
        "write_methods",
        "write_explorer",
        "join_analyses",
        *SUMMARIES,
    }
    | CLOSER_PLOTS
    | {f"plot_{name}" for name in ("objectives", "heatmap", "layers", "captions", "localizability")}
    | COMPARISONS
)
FEATURE_READERS = {"join_features", "fit_probes", "assign_clusters", "relate_clusters", "ablate_dimensions"}
FEATURE_READERS |= {"plot_scale"}
FOLD_READERS = {"assign_folds", "score_baselines", "fit_probes", "score_probe"} | CLOSER
LABELS = FOLD_READERS | MAPS | EXPLORER
# what only other models use
OTHER_LOADERS = ("transformers", "vision", "multimodal", "timm", "open_clip", "histogram")
RIDGE = ("ridge", "primal", "dual", "moments", "backend")
ENGINE = ("engine", "batches", "decoding", "layout", "memory", "placing", "writing")
STORE_READERS = {"train_encoder", "assign_clusters", "assign_folds", "extract_features", "fit_probes", "score_baselines", "score_probe"} | {
    "plot_localizability", "plot_contact_sheet", "plot_balance", "write_explorer"
} | MAPS | CLOSER  # fmt: skip

# what shows one choice of the layers
CHOICES_SHOWN = {"plot_objectives", "plot_heatmap", "plot_captions", "plot_localizability"} | {
    "plot_cross_validations",
    "plot_scale",
}

# What only other sources use.
ELSEWHERE = [
    "addresses",
    "archives",
    "boundaries",
    "commons",
    "commons_photos",
    "download",
    "embedded",
    "fetch",
    "files",
    "folder",
    "hdf5",
    "http",
    "hub",
    "im2gps",
    "landmarks",
    "members",
    "osv5m",
    "swap",
    "table",
    "urls",
    "yfcc100m",
]

# The rules whose own code an edit changes, by module; what follows is found from FOLLOWS.
USERS = {
    "geoprobe": RULES,
    "geoprobe.runtime": RULES,
    "geoprobe.secrets": RULES,
    "geoprobe.whole": RULES,
    "geoprobe.config": set(),
    "geoprobe.freshness": set(),
    "geoprobe.words": TRAIN | {"assign_clusters"},
    "geoprobe.geodesy": IMAGES | STORE_READERS | SUMMARIES,
    "geoprobe.images": IMAGES | STORE_READERS,
    "geoprobe.images.store": {"build_images"} | STORE_READERS,
    "geoprobe.images.formats": {"build_images"} | STORE_READERS,
    "geoprobe.images.verify": {"build_images"},
    "geoprobe.images.build": {"build_images"},
    "geoprobe.images.captions": {"build_images"},
    "geoprobe.images.duplicates": {"build_images"},
    "geoprobe.images.pack": {"build_images"},
    "geoprobe.images.checks": IMAGES,
    "geoprobe.images.countries": IMAGES | {"score_probe"},
    "geoprobe.images.database": IMAGES,
    "geoprobe.images.gazetteer": IMAGES,
    "geoprobe.images.geocells": IMAGES | {"assign_clusters"},
    "geoprobe.images.plan": IMAGES,
    "geoprobe.images.polygons": IMAGES,
    "geoprobe.images.sources": IMAGES,
    "geoprobe.images.units": IMAGES,
    "geoprobe.images.bluemarble": IMAGES,
    # asked by the rules themselves
    "geoprobe.images.reads": set(),
    **{f"geoprobe.images.{name}": set() for name in ELSEWHERE},
    "geoprobe.encoders": TRAIN | EXTRACT,
    "geoprobe.encoders.architecture": TRAIN | EXTRACT,
    "geoprobe.encoders.augment": TRAIN,
    "geoprobe.encoders.objectives": TRAIN,
    "geoprobe.encoders.text": TRAIN,
    "geoprobe.encoders.training": TRAIN,
    "geoprobe.clusters": {"assign_clusters", "plot_localizability", "plot_contact_sheet"},
    "geoprobe.clusters.options": set(),
    "geoprobe.clusters.table": {"assign_clusters", "plot_localizability", "plot_contact_sheet"},
    "geoprobe.clusters.assign": {"assign_clusters"},
    "geoprobe.clusters.embedding": {"assign_clusters"},
    "geoprobe.clusters.kmeans": {"assign_clusters"},
    "geoprobe.clusters.naming": {"assign_clusters"},
    "geoprobe.clusters.sampling": {"assign_clusters"},
    "geoprobe.clusters.stored": {"assign_clusters"},
    "geoprobe.clusters.zero_shot": {"assign_clusters"},
    "geoprobe.models": EXTRACT | {"assign_clusters"},
    "geoprobe.models.registry": EXTRACT,
    "geoprobe.models.loading": EXTRACT,
    "geoprobe.models.pooling": EXTRACT,
    "geoprobe.models.towers": EXTRACT,
    "geoprobe.models.untrained": EXTRACT,
    **{f"geoprobe.models.{name}": set() for name in ("prompts", "token_maps", "image_text")},
    "geoprobe.models.weights": EXTRACT | {"assign_clusters"},
    # what fetches public models
    "geoprobe.models.fetch": set(),
    "geoprobe.hub_files": set(),
    # what reads files that may be damaged
    "geoprobe.csv_files": EXTRACT | {"assign_clusters"},
    "geoprobe.hdf5_files": EXTRACT | FEATURE_READERS,
    "geoprobe.models.loaders": EXTRACT,
    "geoprobe.models.loaders.encoder": EXTRACT,
    "geoprobe.models.loaders.patches": EXTRACT,
    **{f"geoprobe.models.loaders.{name}": set() for name in OTHER_LOADERS},
    "geoprobe.features": EXTRACT | FEATURE_READERS,
    "geoprobe.features.store": EXTRACT | FEATURE_READERS,
    "geoprobe.features.joining": {"join_features"},
    "geoprobe.features.reading": {"fit_probes"},
    **{f"geoprobe.features.{name}": EXTRACT for name in ENGINE},
    "geoprobe.probes": LABELS | {"compare_models", "write_methods"},
    "geoprobe.probes.options": {"write_methods"},
    "geoprobe.probes.folds": FOLD_READERS,
    "geoprobe.probes.labels": LABELS - {"assign_folds"} | {"compare_models"},
    "geoprobe.probes.metrics": LABELS - {"assign_folds"} | {"compare_models"},
    "geoprobe.probes.baselines": {"score_baselines"},
    **{f"geoprobe.probes.{name}": {"fit_probes", "ablate_dimensions"} for name in RIDGE},
    "geoprobe.probes.fit": {"fit_probes"},
    "geoprobe.probes.mlp": {"fit_probes"},
    "geoprobe.analysis": SUMMARY_READERS | CLOSER | MAPS,
    "geoprobe.analysis.families": SUMMARY_READERS,
    "geoprobe.analysis.selection": CLOSER | EXPLORER | {"score_probe", "write_tables", "write_analysis_tables"} | MAPS,
    "geoprobe.analysis.bootstrap": SUMMARIES | CLOSER | MAPS,
    "geoprobe.analysis.summary": {"score_probe"},
    "geoprobe.analysis.comparison": {"compare_models"},
    "geoprobe.analysis.pairs": {"compare_models"},
    "geoprobe.analysis.supervision": {"compare_models"},
    "geoprobe.analysis.localizability": {"rank_clusters"},
    "geoprobe.analysis.layers": CLOSER | {"score_probe"} | MAPS,
    "geoprobe.analysis.fairness": {"score_probe"},
    "geoprobe.analysis.transfer": {"relate_clusters"},
    "geoprobe.analysis.correlation": {"relate_clusters"},
    "geoprobe.analysis.dimensions": {"ablate_dimensions"},
    **{f"geoprobe.explorer{name}": EXPLORER for name in ("", ".budget", ".data", ".maps", ".page")},
    "geoprobe.figures": PLOTS | EXPLORER,
    "geoprobe.figures.style": PLOTS,
    "geoprobe.figures.coastlines": EXPLORER | {"plot_balance"} | MAPS,
    "geoprobe.figures.counts": PLOTS - {"plot_balance", "plot_contact_sheet", "plot_elbow"},
    "geoprobe.figures.objectives": {"plot_objectives", "plot_layers", "plot_captions"}
    | {"plot_cross_validations", "plot_scale"},
    "geoprobe.figures.heatmap": {"plot_heatmap", "plot_fairness", "plot_layers"} | CORRELATIONS,
    "geoprobe.figures.rows": {"plot_fairness"} | CORRELATIONS,
    "geoprobe.figures.matrix": TRANSFERS | CORRELATIONS,
    "geoprobe.figures.transfer": TRANSFERS,
    "geoprobe.figures.correlation": CORRELATIONS,
    "geoprobe.figures.dimensions": {"plot_dimensions"},
    "geoprobe.figures.fairness": {"plot_fairness"},
    "geoprobe.figures.layers": {"plot_layers"},
    "geoprobe.figures.labels": {"plot_scale"},
    "geoprobe.figures.cross_validations": {"plot_cross_validations"},
    "geoprobe.figures.scale": {"plot_scale"},
    "geoprobe.figures.captions": {"plot_captions"},
    "geoprobe.figures.localizability": {"plot_localizability"},
    "geoprobe.figures.map": MAPS,
    "geoprobe.figures.contact_sheet": {"plot_contact_sheet"},
    "geoprobe.figures.balance": {"plot_balance"},
    "geoprobe.figures.elbow": {"plot_elbow"},
    "geoprobe.tables": {"write_tables", "write_analysis_tables"},
    "geoprobe.numbers": {"write_tables", "write_analysis_tables", "plot_heatmap", "plot_fairness", "plot_layers"}
    | {"plot_objectives", "plot_captions", "plot_cross_validations", "plot_scale"}
    | CORRELATIONS
    | TRANSFERS,
    "geoprobe.latex": {"write_tables", "write_analysis_tables", "write_methods"},
    "geoprobe.software": {"write_methods"},
    "geoprobe.methods": {"write_methods"},
    **{f"geoprobe.methods.{name}": {"write_methods"} for name in ("page", "words", "materials", "scoring")},
    "geoprobe.analysis.views": {"write_tables", "write_analysis_tables"},
    "geoprobe.analysis.printed": {"write_tables", "write_analysis_tables"},
}


for name in ("directions", "generation", "landmarks", "matching", "options", "outcomes", "push_plan", "pushing"):
    USERS[f"geoprobe.interventions.{name}"] = set()
for name in ("comparison", "evaluation", "grid", "network", "splits", "training"):
    USERS[f"geoprobe.finetune.{name}"] = set()
for name in (
    "interventions",
    "interventions.steering",
    "interventions.swap",
    "finetune",
    "analysis.prompts",
    "analysis.published",
):
    USERS[f"geoprobe.{name}"] = set()
for name in ("finetuning", "poolings", "prompts", "published", "push", "steering"):
    USERS[f"geoprobe.figures.{name}"] = set()

# The same of the rules that are asked for by name, for what is theirs and some that they share.
USERS_BY_NAME = {
    "geoprobe.runtime": BY_NAME,
    "geoprobe.secrets": BY_NAME,
    "geoprobe.whole": BY_NAME,
    "geoprobe.models.loading": MODEL_USERS,
    "geoprobe.models.loaders.encoder": MODEL_USERS,
    "geoprobe.models.loaders.multimodal": set(),
    "geoprobe.interventions": {"push_positions", "steer_model", "score_steering"},
    "geoprobe.interventions.options": set(),
    **{f"geoprobe.interventions.{name}": {"push_positions"} for name in ("directions", "push_plan", "pushing")},
    **{f"geoprobe.interventions.{name}": {"steer_model"} for name in ("generation", "swap", "steering")},
    **{f"geoprobe.interventions.{name}": {"score_steering"} for name in ("landmarks", "matching", "outcomes")},
    "geoprobe.finetune": {"split_countries", "finetune_model", "compare_finetuning"},
    "geoprobe.finetune.splits": {"split_countries", "finetune_model"},
    **{f"geoprobe.finetune.{name}": {"finetune_model"} for name in ("grid", "network", "training")},
    "geoprobe.finetune.evaluation": {"finetune_model", "compare_finetuning"},
    "geoprobe.finetune.comparison": {"compare_finetuning"},
    "geoprobe.analysis.prompts": {"compare_prompts"},
    "geoprobe.figures.counts": {"plot_finetuning", "plot_poolings", "plot_prompts", "plot_push"},
    **{
        f"geoprobe.figures.{name}": {f"plot_{name}"}
        for name in ("finetuning", "poolings", "prompts", "published", "push", "steering")
    },
    **{f"geoprobe.{name}": PRINT_BY_NAME for name in ("tables", "latex", "analysis.views", "analysis.printed")},
    "geoprobe.analysis.published": {"compare_published"},
}


# Of these modules one is loaded by name, and it alone counts.
ONE_OF = {
    **dict.fromkeys(IMAGES, (tuple(SOURCES.values()), SOURCES["bluemarble"])),
    **dict.fromkeys(("extract_features", *MODEL_USERS), (tuple(LOADERS.values()), LOADERS["encoder"])),
}


def digests(folder, rules=RULES):
    """Digest of each rule's code."""
    found = {}
    for rule in rules:
        table, used = ONE_OF.get(rule, ((), None))
        found[rule] = digest_script(folder / f"workflow/scripts/{rule}.py", root=folder, table=table, used=used)
    return found


def and_what_follows(rules):
    """The rules and all that is made of their outputs."""
    found, pending = set(), list(rules)
    while pending:
        rule = pending.pop()
        if rule not in found:
            found.add(rule)
            pending += FOLLOWS.get(rule, ())
    return found


def module_path(folder, module):
    base = folder.joinpath(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def modules_of(folder):
    """Dotted names of all modules of the package."""
    names = set()
    for path in (folder / "geoprobe").rglob("*.py"):
        parts = path.relative_to(folder).with_suffix("").parts
        names.add(".".join(parts[:-1] if parts[-1] == "__init__" else parts))
    return names


def planned_with(project, path, text):
    """Rules that would run if a file had another text; the file is put back."""
    original = path.read_text()
    path.write_text(text)
    try:
        return project.planned()
    finally:
        path.write_text(original)


def test_the_expectations_cover_every_module_and_rule(tiny_run):
    assert set(USERS) == modules_of(tiny_run.folder)
    assert {path.stem for path in (tiny_run.folder / "workflow/scripts").glob("*.py")} == RULES | UNUSED | BY_NAME


@pytest.mark.parametrize("module", USERS)
def test_an_edited_module_changes_the_digests_of_its_users_alone(tiny_run, module):
    path = module_path(tiny_run.folder, module)
    original, before = path.read_text(), digests(tiny_run.folder)
    path.write_text(original + "\nEDITED = True\n")
    try:
        after = digests(tiny_run.folder)
    finally:
        path.write_text(original)
    assert {rule for rule in RULES if before[rule] != after[rule]} == USERS[module]


@pytest.mark.parametrize("module", USERS_BY_NAME)
def test_an_edited_module_changes_the_digests_of_the_interventions_that_use_it(tiny_run, module):
    path = module_path(tiny_run.folder, module)
    original, before = path.read_text(), digests(tiny_run.folder, BY_NAME)
    path.write_text(original + "\nEDITED = True\n")
    try:
        after = digests(tiny_run.folder, BY_NAME)
    finally:
        path.write_text(original)
    assert {rule for rule in BY_NAME if before[rule] != after[rule]} == USERS_BY_NAME[module]


# used by every rule, by a few, by none; and modules of which one is loaded by name
@pytest.mark.parametrize(
    "module",
    [
        *("geoprobe.runtime", "geoprobe.features.store", "geoprobe.config"),
        *(SOURCES["bluemarble"], SOURCES["osv5m"], LOADERS["encoder"], LOADERS["timm"]),
    ],
)
def test_snakemake_re_runs_the_users_of_an_edited_module_and_what_follows(tiny_run, module):
    path = module_path(tiny_run.folder, module)
    planned = planned_with(tiny_run, path, path.read_text() + "\nEDITED = True\n")
    assert planned == and_what_follows(USERS[module])


@pytest.mark.parametrize("rule", sorted(RULES))
def test_an_edited_script_re_runs_its_rule_and_what_follows(tiny_run, rule):
    path = tiny_run.folder / f"workflow/scripts/{rule}.py"
    edited = path.read_text().replace('if __name__ == "__main__":', 'EDITED = True\n\nif __name__ == "__main__":')
    assert planned_with(tiny_run, path, edited) == and_what_follows({rule})


def test_comments_docstrings_and_layout_re_run_nothing(tiny_run):
    originals = {path: path.read_text() for path in (tiny_run.folder / "geoprobe").rglob("*.py")}
    try:
        for path, text in originals.items():
            lines = text.splitlines()
            last = ast.parse(text).body[0].end_lineno  # the module's docstring
            path.write_text("\n".join(['"""Another docstring."""', "", "# A comment.", *lines[last:], "", ""]))
        assert tiny_run.planned() == set()
    finally:
        for path, text in originals.items():
            path.write_text(text)


def test_a_touch_re_runs_nothing(tiny_run):
    for folder in ("geoprobe", "workflow", "rules", "config"):
        for path in (tiny_run.folder / folder).rglob("*"):
            path.touch()
    (tiny_run.folder / "Snakefile").touch()
    assert tiny_run.planned() == set()


def test_a_fresh_clone_with_the_results_re_runs_nothing(tiny_run, tmp_path):
    git = ["git", "-c", "user.name=test", "-c", "user.email=test@example.org"]
    origin, clone = tmp_path / "origin", tmp_path / "clone"
    shutil.copytree(tiny_run.folder, origin, ignore=shutil.ignore_patterns("results", ".snakemake"))
    for command in (["init", "--quiet"], ["add", "--all"], ["commit", "--quiet", "--message", "as it is"]):
        subprocess.run([*git, *command], cwd=origin, check=True)
    subprocess.run(["git", "clone", "--quiet", str(origin), str(clone)], check=True)
    for name in ("results", ".snakemake"):
        shutil.copytree(tiny_run.folder / name, clone / name)
    assert tiny_run.planned(folder=clone) == set()


# which jobs read each option is asked in test_options; here that Snakemake re-runs them and what follows
@pytest.mark.parametrize(
    ("change", "rules"),
    [
        ("probes: {ridge: {seed: 7}}", {"fit_probes"}),
        (
            "protocol: paper",
            {
                "extract_features",
                "fit_probes",
                *CLOSER,
                "compare_models",
                "rank_clusters",
                *MAPS,
                "write_explorer",
                *CHOICES_SHOWN,
            },
        ),
        ("datasets: {bluemarble-pretrain: {seed: 2}}", {"train_encoder"}),
    ],
)
def test_a_changed_option_re_runs_its_stage_and_what_follows(tiny_run, tmp_path, change, rules):
    delta = tmp_path / "delta.yaml"
    delta.write_text(change + "\n")
    config = tiny_run.folder / "tests/workflow/tiny.yaml"
    expected = and_what_follows(rules)
    if "bluemarble-pretrain" in change:
        expected |= IMAGES  # those of the pretraining images alone
    assert tiny_run.planned("--configfile", config, delta, config=None) == expected


def test_other_probing_images_train_nothing(tiny_run, tmp_path):
    delta = tmp_path / "delta.yaml"
    delta.write_text("datasets: {bluemarble: {max_sea_share: 0.4}}\n")
    config = tiny_run.folder / "tests/workflow/tiny.yaml"
    planned = tiny_run.planned("--configfile", config, delta, config=None)
    assert planned == and_what_follows(IMAGES) - {"train_encoder"}


def test_the_digest_knows_every_module_that_a_job_had_imported(tiny_run):
    scripts = tiny_run.folder / "workflow/scripts"
    logs = tiny_run.folder / "results/logs"
    for log in logs.rglob("*.log"):
        rule = log.relative_to(logs).parts[0].removesuffix(".log")
        imported = set(re.search(r"^modules: (.*)$", log.read_text(), re.MULTILINE).group(1).split())
        assert imported <= set(reached_modules(scripts / f"{rule}.py", tiny_run.folder)), rule


def record_of(folder, path):
    """Snakemake's own record of a job that began to make a file."""
    name = base64.urlsafe_b64encode(path.encode()).decode()
    record = folder.joinpath(
        ".snakemake/incomplete", *(f"@{name[i : i + 254]}" for i in range(0, len(name) - 254, 254))
    )
    record = record / name[(len(name) - 1) // 254 * 254 :]
    record.parent.mkdir(parents=True, exist_ok=True)
    record.touch()
    return record


def test_what_a_killed_job_had_removed_is_made_again_and_what_follows(tiny_run):
    path = "results/features/bluemarble/random-seed1/none/0.h5"
    kept = (tiny_run.folder / path).rename(tiny_run.folder / "kept.h5")
    record, other = (
        record_of(tiny_run.folder, path),
        record_of(tiny_run.folder, "results/features/bluemarble/gone/0.h5"),
    )
    try:
        assert tiny_run.planned() == and_what_follows({"extract_features"})
    finally:
        kept.replace(tiny_run.folder / path)
        record.unlink()
        other.unlink()
    assert not (tiny_run.folder / "results/features/bluemarble/gone").exists()
    assert tiny_run.planned() == set()


def test_a_report_shows_no_figure_that_a_kill_left_empty(tiny_run, tmp_path):
    path = tiny_run.folder / "results/figures/bluemarble/ridge/heatmap.png"
    kept = path.rename(tiny_run.folder / "kept.png")
    record = record_of(tiny_run.folder, str(path.relative_to(tiny_run.folder)))
    try:
        assert "plot_heatmap" in tiny_run.planned()
        assert path.stat().st_size == 0
        with pytest.raises(AssertionError, match=r"heatmap\.png.* marked for report but does not exist"):
            tiny_run.snakemake("--report", tmp_path / "report.html")
    finally:
        kept.replace(path)
        record.unlink()
    assert tiny_run.planned() == set()


def test_records_of_unfinished_jobs_are_read_whatever_their_length(tmp_path):
    paths = [f"results/{'x' * length}" for length in (1, 180, 240)]
    for path in paths:
        record_of(tmp_path, path)
    there = tmp_path / paths[0]
    there.parent.mkdir()
    there.write_text("something")
    tmp_path.joinpath(paths[1]).touch()
    assert unfinished_outputs(tmp_path) == sorted(paths[1:])
