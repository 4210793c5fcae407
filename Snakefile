"""geoprobe: how much a frozen image model knows about where on Earth a photo was taken.

The default configuration is always loaded; a file given by --configfile states what differs from it.
"""

from snakemake.utils import min_version

min_version("9.0")


configfile: f"{workflow.basedir}/config/datasets.yaml"
configfile: f"{workflow.basedir}/config/config.yaml"


report: "workflow/report/workflow.rst"


include: "rules/common.smk"
include: "rules/requests.smk"
include: "rules/datasets.smk"
include: "rules/images.smk"
include: "rules/encoders.smk"
include: "rules/clusters.smk"
include: "rules/features.smk"
include: "rules/probes.smk"
include: "rules/analysis.smk"
include: "rules/coefficients.smk"
include: "rules/cluster_figures.smk"
include: "rules/analysis_figures.smk"
include: "rules/interventions.smk"
include: "rules/finetuning.smk"
include: "rules/image_figures.smk"
include: "rules/map_figures.smk"
include: "rules/intervention_figures.smk"
include: "rules/comparison_figures.smk"
include: "rules/figures.smk"
include: "rules/tables.smk"
include: "rules/methods.smk"
include: "rules/explorer.smk"
include: "rules/published.smk"


# a job that was killed cannot say so in its log
onerror:
    for path in note_killed("results/logs"):
        print(f"killed: {path}", file=sys.stderr)


rule all:
    """Make every figure and table of the run, its methods paragraph, and the explorer."""
    default_target: True
    input:
        rules.figures.input,
        rules.tables.input,
        rules.write_methods.output,
        rules.write_explorer.output,
        # what lies between as well: where it is missing after a failure, it is made again only if it is asked for
        collect(
            [
                *rules.build_images.output,
                *rules.assign_clusters.output,
                rules.assign_folds.output.folds,
            ],
            dataset=RUN["datasets"],
        ),
        of_probes(rules.join_features.input.shards),
        of_probes(rules.join_features.output.features),
        of_probes([*rules.fit_probes.output, *rules.score_probe.output]),
        rules.compare_models.output,
        rules.rank_clusters.output,


# Snakemake makes a missing file anew only where what follows from it is to be made anyway: a figure of older results
# would stay as it is where a kill took what it is made of. An empty file that its records call incomplete is made again;
# a report would show it as it is, and ends with its name where there is none.
if workflow.is_main_process:
    for path in unfinished_outputs():
        if "--report" in sys.argv:
            Path(path).unlink(missing_ok=True)
        elif any(rule.is_producer(path) for rule in workflow.rules):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).touch()
