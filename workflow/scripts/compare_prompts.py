"""Compare the prompts of each multimodal model: R2 by layer and prompt, and what prompts change."""

from geoprobe.analysis.prompts import compare_prompts
from geoprobe.runtime import rule_log

if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        compare_prompts(
            list(zip(snakemake.input.get("scores", []), snakemake.input.get("samples", []), strict=True)),
            snakemake.params.models,
            snakemake.params.prompts,
            snakemake.params.poolings,
            snakemake.params.target,
            snakemake.params.each_cluster,
            snakemake.params.seed,
            dict(snakemake.output.items()),
        )
