"""Fit probes on the features of one model."""

from threadpoolctl import threadpool_limits

from geoprobe.probes.fit import fit_all
from geoprobe.runtime import rule_log

if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output), threadpool_limits(snakemake.threads):
        if snakemake.params.probe["kind"] == "mlp":
            import torch

            torch.set_num_threads(snakemake.threads)  # threadpoolctl does not reach torch's own threads
        fit_all(
            snakemake.input.store,
            snakemake.input.features,
            snakemake.input.clusters,
            snakemake.input.folds,
            snakemake.output.fits,
            snakemake.output.scores,
            dict(snakemake.wildcards.items()),
            snakemake.params.probe,
            # Gram matrices and eigenvectors need the rest
            budget=snakemake.resources.mem_mb * 10**6 // 4,
            code=snakemake.params.code,
        )
