"""A network with one hidden layer instead of a linear probe: the paper's ablation, many networks trained at once.

The paper's is scikit-learn's MLPRegressor with hidden_layer_sizes=(256,), learning_rate_init=1e-3, alpha=.01,
max_iter=100 and early_stopping=True, otherwise its defaults: rectified linear units, Adam (Kingma and Ba 2015),
batches of 200, uniform initial weights (Glorot and Bengio 2010), squared loss, and a weight penalty that a batch
shares. This is the same algorithm on batched matrix products, so that the networks of all targets, cross-validations
and folds are trained side by side. Two things differ from the paper: features and targets are scaled, by means and
deviations of the fold's training images alone, and everything that is drawn is seeded.

As in scikit-learn the images that decide when to stop are drawn at random from the training images. Under blocked folds
they are therefore neighbours of images that are trained on, and the network stops later than it would if they were from
elsewhere; the test images stay apart all the same. `r2_inner` is of these images, so it is too high under such folds.
"""

from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

LEAST_TRAIN, LEAST_TEST, LEAST_VALIDATION = 10, 2, 2
BETA_1, BETA_2, EPSILON = 0.9, 0.999, 1e-8  # Adam's, in scikit-learn and in Kingma and Ba (2015)
# Networks that are trained at once take about this: on a CPU what its cache holds, as more of them are slower.
GROUP_BYTES = {"cpu": 2**24, "cuda": 2**31}


@dataclass(frozen=True)
class MlpFit:
    """Networks of one target under one cross-validation; not a number where a fold has a reason.

    Attributes:
        folds: fold numbers, shape (F,).
        predictions: held out, shape (n, k); not a number where a row was not tested.
        n_train, n_test: rows, shape (F,); those that decide when to stop are among the training rows.
        reasons: why a fold has no numbers, "" where it has.
        epochs: how many a network was trained for, shape (F,); the weights kept may be of an earlier one.
        r2_inner: R² of the rows that decide when to stop, at the epoch that was kept, mean over columns, shape (F,).
    """

    folds: np.ndarray
    predictions: np.ndarray
    n_train: np.ndarray
    n_test: np.ndarray
    reasons: list
    epochs: np.ndarray
    r2_inner: np.ndarray


@dataclass(frozen=True)
class Task:
    """A network to be trained: its split, its target, and its fold with its position among the split's folds."""

    split: int
    target: int
    position: int
    fold: int
    columns: int
    rows: int


@dataclass(frozen=True)
class Network:
    """What one network is trained on.

    Attributes:
        generator: of all that is drawn for it.
        train, validation, test: row numbers; validation decides when to stop.
        centre, scale: of the features, shape (d,).
        y: scaled target of all rows, shape (n, k), float32.
        y_centre, y_scale: shape (k,).
    """

    generator: np.random.Generator
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray
    centre: np.ndarray
    scale: np.ndarray
    y: np.ndarray
    y_centre: np.ndarray
    y_scale: np.ndarray


def fit_folds(features, targets, splits, options, seed, device="cpu"):
    """Train a network for each target, cross-validation and fold, and predict the rows held out.

    Args:
        features: shape (n, d), finite; used as float32.
        targets: list of arrays (n, k_j), each a regression of its own.
        splits: list of :class:`geoprobe.probes.folds.Split`.
        options: `hidden` units, `learning_rate`, `alpha` (weight penalty), `max_iter` (most epochs), `batch_size`,
            `validation_fraction` of the training rows (at least 2 of them) that decide when to stop, and `patience` and
            `tolerance`: training stops after more than `patience` epochs in a row whose R² on those rows is not above
            the best so far by `tolerance`. The weights of the best epoch are kept.
        seed: not negative. A network's numbers hang on it and on the positions of its split and its target and its
            fold's number, so not on what is trained beside it, but for rounding where threads or a GPU share a product.
        device: cpu or cuda.

    Returns:
        By split, by target, a MlpFit. A fold with fewer than 2 test or 10 training rows has a reason instead of
        numbers, as has one in which training diverges.

    Raises:
        ValueError: a feature or a target is not finite (names the row), or numbers of rows differ.
    """
    x, targets = _checked(features, targets, splits)
    fits = [[_empty_fit(split, target) for target in targets] for split in splits]
    tasks = [
        Task(s, t, position, int(fold), targets[t].shape[1], int(fit.n_train[position]))
        for s, of_split in enumerate(fits)
        for t, fit in enumerate(of_split)
        for position, fold in enumerate(fit.folds)
        if not fit.reasons[position]
    ]
    scales = {}
    for task in tasks:
        if (task.split, task.fold) not in scales:
            rows = np.flatnonzero(~splits[task.split].excluded(task.fold))
            scales[task.split, task.fold] = _moments(x, rows)
    x_device = torch.from_numpy(x).to(device)
    groups = _group(tasks, len(x), x.shape[1], options, GROUP_BYTES[torch.device(device).type])
    for group in tqdm(groups, unit="group", desc="networks", mininterval=5, delay=5, leave=False):
        networks = [
            _prepare(task, splits[task.split], targets[task.target], scales[task.split, task.fold], options, seed)
            for task in group
        ]
        results = train_networks(x_device, networks, options)
        for task, network, (predicted, epochs, score) in zip(group, networks, results, strict=True):
            fit = fits[task.split][task.target]
            fit.epochs[task.position] = epochs
            if np.isfinite(score) and np.isfinite(predicted).all():
                fit.r2_inner[task.position] = score
                fit.predictions[network.test] = predicted
            else:
                fit.reasons[task.position] = f"training diverged at a learning rate of {options['learning_rate']}"
    return fits


def _checked(features, targets, splits):
    """Features as float32 and targets as float64, of one number of rows and finite."""
    with np.errstate(over="ignore"):  # what float32 cannot hold is not finite below
        x = np.require(features, np.float32, ["C", "W"])  # torch shares it, and warns of what it might write to
    targets = [np.asarray(target, dtype=np.float64) for target in targets]
    for name, sizes in (("target", map(len, targets)), ("split", [len(split.folds) for split in splits])):
        for rows in sizes:
            if rows != len(x):
                raise ValueError(f"features have {len(x)} rows, but a {name} has {rows}; give all the same rows.")
    for name, values in (("features", x), *(("targets", target) for target in targets)):
        bad = ~np.isfinite(values).all(axis=1)
        if bad.any():
            raise ValueError(f"{name}, row {int(np.argmax(bad))}: a value is not finite; leave the row out.")
    return x, targets


def _empty_fit(split, target):
    """A fit without numbers, with sizes and the reasons known beforehand."""
    folds = split.numbers
    n_train = np.array([(~split.excluded(fold)).sum() for fold in folds], dtype=np.int64)
    n_test = np.array([split.tested(fold).sum() for fold in folds], dtype=np.int64)
    reasons = [
        f"{train} training and {test} test images; at least {LEAST_TRAIN} and {LEAST_TEST} are needed"
        if train < LEAST_TRAIN or test < LEAST_TEST
        else ""
        for train, test in zip(n_train, n_test, strict=True)
    ]
    epochs, r2_inner = np.zeros(len(folds), dtype=np.int64), np.full(len(folds), np.nan)
    return MlpFit(folds, np.full(target.shape, np.nan), n_train, n_test, reasons, epochs, r2_inner)


def _moments(values, rows):
    """Mean and standard deviation of each column over some rows, float64, shape (d,); deviation 1 of a constant."""
    blocks = [rows[at : at + 4096] for at in range(0, len(rows), 4096)]
    mean = sum(values[block].sum(axis=0, dtype=np.float64) for block in blocks) / len(rows)
    squares = sum(((values[block] - mean) ** 2).sum(axis=0) for block in blocks)
    # equal numbers have a mean that is off by rounding, and so a deviation that is not quite 0
    varies = np.any([(values[block] != values[rows[0]]).any(axis=0) for block in blocks], axis=0)
    return mean, np.where(varies & (squares > 0), np.sqrt(squares / len(rows)), 1.0)


def _group(tasks, rows, width, options, budget):
    """Tasks in groups that are trained at once: of one number of columns, those of most training rows first."""
    groups = []
    batch = min(options["batch_size"], rows)
    for columns in sorted({task.columns for task in tasks}):
        weights = (width + 1) * options["hidden"] + (options["hidden"] + 1) * columns
        # weights, both moments, the best, gradient and two temporary ones; batch of features twice, hidden layer thrice
        floats = 7 * weights + 2 * batch * width + 3 * batch * options["hidden"] + 2 * rows * columns
        size = max(1, budget // (4 * floats))
        own = sorted((task for task in tasks if task.columns == columns), key=lambda task: -task.rows)
        groups += [own[at : at + size] for at in range(0, len(own), size)]
    return groups


def _prepare(task, split, target, moments, options, seed):
    """The Network of a task."""
    generator = np.random.default_rng([seed, task.split, task.target, task.fold])
    rows = np.flatnonzero(~split.excluded(task.fold))
    y_centre, y_scale = _moments(target, rows)
    order = generator.permutation(rows)
    # scikit-learn's number, but never so few that they have no R2
    count = min(max(LEAST_VALIDATION, int(np.ceil(options["validation_fraction"] * len(rows)))), len(rows) - 1)
    y = ((target - y_centre) / y_scale).astype(np.float32)
    test = np.flatnonzero(split.tested(task.fold))
    return Network(generator, order[count:], np.sort(order[:count]), test, *moments, y, y_centre, y_scale)


def draw_weights(generator, width, hidden, columns):
    """Initial weights and intercepts of one network as scikit-learn draws them: uniform within sqrt(6 / (in + out)).

    Returns:
        float32 arrays, shapes (width, hidden), (1, hidden), (hidden, columns), (1, columns).
    """
    drawn = []
    for fan_in, fan_out in ((width, hidden), (hidden, columns)):
        bound = np.sqrt(6 / (fan_in + fan_out))
        for shape in ((fan_in, fan_out), (1, fan_out)):
            drawn.append(((2 * generator.random(shape, dtype=np.float32) - 1) * bound).astype(np.float32))
    return drawn


def forward(weights, x):
    """Hidden layer (G, b, h) and output (G, b, k) of G networks with weights as of :func:`draw_weights`, stacked."""
    inner, inner_bias, outer, outer_bias = weights
    hidden = torch.baddbmm(inner_bias, x, inner).relu_()
    return hidden, torch.baddbmm(outer_bias, hidden, outer)


def gradients(weights, x, y, used, alpha):
    """Gradients of each network's loss on its batch.

    The loss is that whose gradient scikit-learn takes: half the squared error, summed over columns, mean over the rows,
    and alpha / 2 times the sum of squared weights (not intercepts) over the number of rows.

    Args:
        weights: stacked, see :func:`forward`.
        x, y: shape (G, b, d) and (G, b, k).
        used: 1 where a row is of the batch and 0 where it fills up, shape (G, b, 1).
        alpha: weight penalty.

    Returns:
        As the weights.
    """
    inner, _, outer, _ = weights
    share = 1 / used.sum(dim=1, keepdim=True)
    hidden, output = forward(weights, x)
    delta = (output - y).mul_(used * share)
    back = torch.bmm(delta, outer.mT).mul_(hidden > 0)
    return (
        torch.bmm(x.mT, back).addcmul_(inner, alpha * share),
        back.sum(dim=1, keepdim=True),
        torch.bmm(hidden.mT, delta).addcmul_(outer, alpha * share),
        delta.sum(dim=1, keepdim=True),
    )


def adam_step(weights, first, second, grads, rate):
    """One step of Adam, in place.

    Args:
        weights, first, second, grads: weights, running means of gradients and of their squares, gradients; G networks.
        rate: learning rate with the bias correction of the networks' step, see :func:`adam_rates`, shape (G, 1, 1).
    """
    for weight, mean, square, grad in zip(weights, first, second, grads, strict=True):
        mean.lerp_(grad, 1 - BETA_1)
        square.mul_(BETA_2).addcmul_(grad, grad, value=1 - BETA_2)
        weight.addcmul_(mean / square.sqrt().add_(EPSILON), -rate)


def adam_rates(learning_rate, step):
    """Learning rate with Adam's correction for the running means' start at 0; step from 1, an array."""
    return learning_rate * np.sqrt(1 - BETA_2**step) / (1 - BETA_1**step)


def train_networks(x, networks, options):
    """Train networks side by side until each has stopped.

    Args:
        x: features of all rows, shape (n, d), on the device.
        networks: those with most training rows first.
        options: see :func:`fit_folds`.

    Returns:
        For each network a tuple: predictions of its test rows (m, k) in the target's units, epochs trained, best R² on
        its validation rows (-inf where there was none).
    """
    device = x.device
    batch = min(options["batch_size"], len(x))  # whatever the group, so that the products' shapes do not hang on it
    drawn = [draw_weights(network.generator, x.shape[1], options["hidden"], network.y.shape[1]) for network in networks]
    state = {"weights": [torch.from_numpy(np.stack(arrays)).to(device) for arrays in zip(*drawn, strict=True)]}
    for name, make in (("first", torch.zeros_like), ("second", torch.zeros_like), ("best", torch.clone)):
        state[name] = [make(weight) for weight in state["weights"]]
    data = Data(x, networks, batch)
    alive = np.arange(len(networks))
    best, idle = np.full(len(networks), -np.inf), np.zeros(len(networks), dtype=np.int64)
    results = [None] * len(networks)
    for epoch in range(1, options["max_iter"] + 1):
        _train_epoch(state, data, [networks[index] for index in alive], epoch, batch, options)
        score = data.validation_r2(state["weights"])
        # written so that a score that is not a number is no gain
        idle[alive] = np.where(score >= best[alive] + options["tolerance"], 0, idle[alive] + 1)
        better = np.flatnonzero(score > best[alive])
        best[alive[better]] = score[better]
        chosen = torch.from_numpy(better).to(device)
        for kept, weight in zip(state["best"], state["weights"], strict=True):
            kept[chosen] = weight[chosen]
        stopped = (idle[alive] > options["patience"]) | (epoch == options["max_iter"])
        for place in np.flatnonzero(stopped):
            index = alive[place]
            kept = [weight[place : place + 1] for weight in state["best"]]
            results[index] = (_predict(x, networks[index], kept, batch), epoch, float(best[index]))
        if stopped.all():
            break
        if stopped.any():
            going = torch.from_numpy(np.flatnonzero(~stopped)).to(device)
            state = {name: [tensor[going] for tensor in tensors] for name, tensors in state.items()}
            data.keep(going)
            alive = alive[~stopped]
    return results


class Data:
    """Rows of the networks that are being trained, on the device."""

    def __init__(self, x, networks, batch):
        self.x = x
        rows, used = _fill([network.validation for network in networks], batch)
        arrays = {
            "centre": np.stack([network.centre for network in networks])[:, None].astype(np.float32),
            "inverse": np.stack([1 / network.scale for network in networks])[:, None].astype(np.float32),
            "y": np.stack([network.y for network in networks]),
            "totals": np.stack([_squares(network.y[network.validation]) for network in networks]),
            "rows": rows,
            "used": used,
        }
        self.tensors = {name: torch.from_numpy(array).to(x.device) for name, array in arrays.items()}

    def keep(self, going):
        """Drop the networks that have stopped."""
        self.tensors = {name: tensor[going] for name, tensor in self.tensors.items()}

    def gather(self, rows):
        """Scaled features (a, b, d) and targets (a, b, k) of rows (a, b) of the first a networks."""
        count, columns = len(rows), self.tensors["y"].shape[2]
        x = self.x.index_select(0, rows.flatten()).view(*rows.shape, -1)
        x = x.sub_(self.tensors["centre"][:count]).mul_(self.tensors["inverse"][:count])
        return x, self.tensors["y"][:count].gather(1, rows[:, :, None].expand(-1, -1, columns))

    def validation_r2(self, weights):
        """R² of each network's validation rows, mean over columns, shape (G,); as scikit-learn where none vary."""
        totals, residual = self.tensors["totals"], 0.0
        for part in range(self.tensors["rows"].shape[1]):
            x, y = self.gather(self.tensors["rows"][:, part])
            error = (forward(weights, x)[1] - y).double()
            residual = residual + (error**2 * self.tensors["used"][:, part, :, None]).sum(dim=1)
        varies = totals > 0
        r2 = 1 - residual / torch.where(varies, totals, 1.0)
        return torch.where(varies, r2, (residual == 0).double()).mean(dim=1).cpu().numpy()


def _squares(y):
    """Sum of squares about the mean of each column, float64, shape (k,); exactly 0 of a constant."""
    squares = ((y - y.mean(axis=0, dtype=np.float64)) ** 2).sum(axis=0)
    return np.where((y != y[:1]).any(axis=0), squares, 0.0)


def _fill(lists, batch):
    """Row numbers cut into batches, (G, batches, batch), and 1 where they are used; filled up with each's first."""
    count = -(-max(map(len, lists)) // batch)
    rows = np.stack([np.append(values, np.full(count * batch - len(values), values[0])) for values in lists])
    used = np.stack([np.arange(count * batch) < len(values) for values in lists]).astype(np.float32)
    return rows.reshape(len(lists), count, batch), used.reshape(len(lists), count, batch)


def _train_epoch(state, data, networks, epoch, batch, options):
    """One pass of each network over its training rows in an order of its own."""
    device = data.x.device
    # networks stand in the order of their batches, so that those which have a batch left are the first ones
    rows, used = _fill([network.generator.permutation(network.train) for network in networks], batch)
    steps = np.array([-(-len(network.train) // batch) for network in networks])
    # of each network at each of its batches, shape (batches, G)
    at = (epoch - 1) * steps + np.arange(1, rows.shape[1] + 1)[:, None]
    rates = torch.from_numpy(adam_rates(options["learning_rate"], at).astype(np.float32)).to(device)
    rows, used = torch.from_numpy(rows).to(device), torch.from_numpy(used).to(device)
    for part in range(rows.shape[1]):
        count = int((steps > part).sum())
        weights, first, second = ([tensor[:count] for tensor in state[name]] for name in ("weights", "first", "second"))
        x, y = data.gather(rows[:count, part])
        grads = gradients(weights, x, y, used[:count, part, :, None], options["alpha"])
        adam_step(weights, first, second, grads, rates[part, :count, None, None])


def _predict(x, network, weights, batch):
    """Predictions of one network's test rows in the target's units, float64, shape (m, k)."""
    centre, scale = (torch.from_numpy(a.astype(np.float32)).to(x.device) for a in (network.centre, 1 / network.scale))
    rows = torch.from_numpy(network.test).to(x.device)
    parts = [forward(weights, ((x[part] - centre) * scale)[None])[1][0] for part in rows.split(batch)]
    return torch.cat(parts).double().cpu().numpy() * network.y_scale + network.y_centre
