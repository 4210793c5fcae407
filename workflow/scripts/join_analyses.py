"""Join the closer analyses of all models into one table each."""

import pandas as pd

from geoprobe.analysis.families import read_summary
from geoprobe.runtime import rule_log, write_table


def join(models, parts, outputs):
    """Join tables below each other, with what is known of each model in front.

    Args:
        models: registry rows by model name.
        parts: name of a table to the paths of its parts, one a model, prompt and probe.
        outputs: name of a table to the path to write.
    """
    known = pd.DataFrame(models.values(), index=models.keys())[["family", "label", "supervision"]]
    for name, output in outputs.items():
        frames = [read_summary(path) for path in parts[name]]
        frame = pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=["dataset", "model"])
        write_table(frame.join(known, on="model"), output)
        print(f"{name}: {len(frame)} rows")


if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        outputs = dict(snakemake.output.items())
        join(snakemake.params.models, {name: list(snakemake.input[name]) for name in outputs}, outputs)
