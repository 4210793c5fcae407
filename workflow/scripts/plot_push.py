"""Draw how far read-outs move when a model is steered along its probes' directions."""

import pandas as pd

from geoprobe.figures.push import draw
from geoprobe.figures.style import save_figure
from geoprobe.runtime import rule_log

if __name__ == "__main__":
    with rule_log(snakemake.log[0], snakemake.input, snakemake.output):
        frame = pd.read_csv(snakemake.input.pushes)
        save_figure(draw(frame), snakemake.output, snakemake.params.dpi)
