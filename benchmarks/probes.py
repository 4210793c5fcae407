"""Ridge probes against scikit-learn's RidgeCV: same data, same penalties, same threads, same run; a ratio.

python benchmarks/probes.py [--threads 2] [--repeats 3]
"""

import argparse
import time

import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from threadpoolctl import threadpool_limits

from geoprobe.probes.ridge import fit_ridge

SHAPES = ((5000, 128), (1000, 1024), (5000, 1024))
ALPHAS = np.logspace(-1, 4, 12)


def seconds(function, repeats):
    """Median wall time of a call."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def compare(images, width, repeats):
    """Seconds of one fit with each, their ratio, and how far the coefficients are apart."""
    generator = np.random.default_rng(0)
    x = generator.normal(size=(images, width))
    y = x @ generator.normal(size=(width, 2)) / np.sqrt(width) + generator.normal(size=(images, 2))
    peer = RidgeCV(ALPHAS)
    ours = seconds(lambda: fit_ridge(x, [y], ALPHAS), repeats)
    theirs = seconds(lambda: peer.fit(x, y), repeats)
    weights, _, best = fit_ridge(x, [y], ALPHAS)[0]
    assert np.isclose(ALPHAS[best], peer.alpha_), "the two chose different penalties"
    apart = np.abs(weights - peer.coef_.T).max() / np.abs(peer.coef_).max()
    row = {"images": images, "width": width, "geoprobe_s": ours, "scikit_learn_s": theirs, "ratio": theirs / ours}
    return row | {"coefficients_apart": apart}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="threads of the linear algebra (default: 2)")
    parser.add_argument("--repeats", type=int, default=3, help="runs whose median counts (default: 3)")
    arguments = parser.parse_args()
    with threadpool_limits(arguments.threads):
        rows = [compare(images, width, arguments.repeats) for images, width in SHAPES]
    print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".3g"))
