"""Ridge probes against scikit-learn's RidgeCV and against the least that any exact method of this kind must compute.

python benchmarks/probes.py [--threads 2] [--repeats 3] [--device cpu] [--shapes 5000x1024 1000x1024] [--skip-disk]

Five random folds, twelve penalties, two targets. The limit is one product of all features with themselves and an
eigendecomposition a fold, and nothing else. Each repeat runs all of them in turn, so that a busy machine slows all.
"""

import argparse
import multiprocessing
import sys
import tempfile
import time
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
from sklearn.linear_model import RidgeCV
from threadpoolctl import threadpool_limits

from geoprobe.probes.folds import Split
from geoprobe.probes.ridge import fit_folds
from geoprobe.runtime import peak_mb

FOLDS = 5
ALPHAS = np.logspace(-1, 4, 12)
SHAPES = ("5000x1024", "1000x1024", "5000x3584")
LARGE = 2048  # columns from which scikit-learn takes minutes a fold
DISK_ROWS = (50_000, 200_000)
DISK_WIDTH = 1024
CHUNK = 4096


def say(message):
    print(message, file=sys.stderr, flush=True)


def timed(function):
    """Wall time in seconds, and what the function gives."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def make_problem(n, d):
    """Features, targets that half depend on them, and random folds."""
    random = np.random.default_rng(0)
    x = random.normal(size=(n, d))
    y = x @ random.normal(size=(d, 2)) / np.sqrt(d) + random.normal(size=(n, 2))
    return x, y, Split(random.permutation(np.arange(n) % FOLDS), None)


def limit(x, split):
    """The products and the eigendecompositions alone; of the rows' inner products where these are fewer."""
    if len(x) >= x.shape[1]:
        gram = x.T @ x
        for _ in range(FOLDS):
            np.linalg.eigh(gram)
        return
    kernel = x @ x.T
    for fold in range(FOLDS):
        train = np.flatnonzero(~split.excluded(fold))
        np.linalg.eigh(kernel[np.ix_(train, train)])


def compare(n, d, repeats, device):
    """A row of the table: seconds of each, their ratios and how far the results are apart."""
    x, y, split = make_problem(n, d)
    rows = np.arange(n)
    one_fold = d >= LARGE
    folds = range(1 if one_fold else FOLDS)
    repeats = 1 if one_fold else repeats

    def ours(penalty):
        [[fit]] = fit_folds(lambda: [(rows, x)], [y], [split], ALPHAS, penalty=penalty, device=device)
        return fit

    def peer():
        return [RidgeCV(ALPHAS).fit(x[split.folds != fold], y[split.folds != fold]) for fold in folds]

    calls = {
        "leave_one_out_s": lambda: ours("leave-one-out"),
        "scikit_learn_s": peer,
        "limit_s": lambda: limit(x, split),
        "inner_folds_s": lambda: ours("inner-folds"),
    }
    seconds, results = {name: [] for name in calls}, {}
    for repeat in range(repeats):
        for name, call in calls.items():
            say(f"{n} x {d}, repeat {repeat + 1} of {repeats}: {name.removesuffix('_s').replace('_', ' ')}")
            took, results[name] = timed(call)
            seconds[name].append(took * (FOLDS if one_fold and call is peer else 1))
    medians = {name: float(np.median(values)) for name, values in seconds.items()}
    fit, peers = results["leave_one_out_s"], results["scikit_learn_s"]
    return {
        "images": n,
        "columns": d,
        **medians,
        "times_the_limit": medians["leave_one_out_s"] / medians["limit_s"],
        "times_as_fast": medians["scikit_learn_s"] / medians["leave_one_out_s"],
        "scikit_learn": "one fold, times five" if one_fold else "all folds",
        "same_penalty": all(np.isclose(fit.alphas[fold, 0], peers[fold].alpha_) for fold in folds),
        "coefficients_apart": max(
            np.abs(fit.coefficients[fold] - peers[fold].coef_.T).max() / np.abs(peers[fold].coef_).max()
            for fold in folds
        ),
    }


def write_features(path, n):
    """Features in single precision, chunk by chunk, and targets."""
    random = np.random.default_rng(0)
    weights = random.normal(size=(DISK_WIDTH, 2)) / np.sqrt(DISK_WIDTH)
    with h5py.File(path, "w") as file:
        features = file.create_dataset("features", (n, DISK_WIDTH), dtype=np.float32)
        targets = file.create_dataset("targets", (n, 2), dtype=np.float64)
        for first in range(0, n, CHUNK):
            x = random.normal(size=(min(CHUNK, n - first), DISK_WIDTH))
            features[first : first + CHUNK] = x
            targets[first : first + CHUNK] = x @ weights + random.normal(size=(len(x), 2))


def fit_from_disk(path, threads, device, results):
    """Runs in a process of its own, so that its peak of memory is that of the fit."""
    with threadpool_limits(threads), h5py.File(path, "r") as file:
        features, targets = file["features"], file["targets"][:]
        n, d = features.shape

        def chunks():
            for first in range(0, n, CHUNK):
                last = min(first + CHUNK, n)
                yield np.arange(first, last), features[first:last]

        split = Split(np.random.default_rng(1).permutation(np.arange(n) % FOLDS), None)
        row = {"images": n, "columns": d, "features_mb": n * d * 4 / 2**20}
        # the most that any process has held only grows: before, and after
        row["memory_before_mb"] = peak_mb()
        for name, penalty in (("inner_folds_s", "inner-folds"), ("leave_one_out_s", "leave-one-out")):
            row[name], _ = timed(lambda p=penalty: fit_folds(chunks, [targets], [split], ALPHAS, p, device=device))
            say(f"{n} x {d} from disk: {penalty} done")
        row["peak_memory_mb"] = peak_mb()
        # of one chunk time after time: as many rows, and no reading
        x = features[:CHUNK].astype(np.float64)

        def least():
            gram = np.zeros((d, d))
            for first in range(0, n, CHUNK):
                part = x[: min(CHUNK, n - first)]
                gram += part.T @ part
            for _ in range(FOLDS):
                np.linalg.eigh(gram)

        row["limit_s"], _ = timed(least)
        row["times_the_limit"] = row["leave_one_out_s"] / row["limit_s"]
    results.put(row)


def measure_disk(n, threads, device):
    """A row of the table of fits from disk."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.h5"
        say(f"{n} x {DISK_WIDTH} from disk: writing the features")
        write_features(path, n)
        results = context.SimpleQueue()
        process = context.Process(target=fit_from_disk, args=(path, threads, device, results))
        process.start()
        process.join()
        if process.exitcode:
            raise RuntimeError(f"the fit of {n} rows from disk ended with exit code {process.exitcode}; see above.")
        return results.get()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--threads", type=int, default=2, help="threads of the linear algebra (default: 2)")
    parser.add_argument("--repeats", type=int, default=3, help="runs whose median counts (default: 3)")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="where ours runs (default: cpu)")
    parser.add_argument("--shapes", nargs="*", default=SHAPES, metavar="NxD", help="images x columns, in memory")
    parser.add_argument("--skip-disk", action="store_true", help="leave out the fits from disk")
    arguments = parser.parse_args()
    with threadpool_limits(arguments.threads):
        rows = [compare(*map(int, shape.split("x")), arguments.repeats, arguments.device) for shape in arguments.shapes]
    if rows:
        print(pd.DataFrame(rows).to_markdown(index=False, floatfmt=".3g"), flush=True)
    if not arguments.skip_disk:
        rows = [measure_disk(n, arguments.threads, arguments.device) for n in DISK_ROWS]
        print("\n" + pd.DataFrame(rows).to_markdown(index=False, floatfmt=".4g"))
