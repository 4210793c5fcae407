"""Which layer stands for a model.

The paper reports the best layer on the very images that it is scored on. Of thirty layers the best one's score is
then too high by construction, and more so for models with more layers. Two ways do not look at the test images:
"inner", for each fold the layer that predicts best within that fold's training images, and "depth", a fixed share of
each tower's depth.
"""

import numpy as np

CHOICES = ("inner", "depth", "maximum")
NO_LAYER = -1
UNCHOSEN = "–"


def list_candidates(layers, poolings, what):
    """The layers that a choice is made from.

    Args:
        layers: (tower, pooling, layer) in the order of the probe table.
        poolings: names, the preferred first.
        what: names the model in an error.

    Returns:
        (tower, pooling, layer), towers in their order, layers rising: of each tower those under the first of the
        poolings that it has. A tower without any of them has no candidates.

    Raises:
        ValueError: no tower has any of the poolings; names model and poolings.
    """
    chosen = []
    for tower in dict.fromkeys(tower for tower, _, _ in layers):
        has = {pooling for name, pooling, _ in layers if name == tower}
        first = next((pooling for pooling in poolings if pooling in has), None)
        chosen += sorted((name, pooling, layer) for name, pooling, layer in layers if (name, pooling) == (tower, first))
    if not chosen:
        has = ", ".join(dict.fromkeys(pooling for _, pooling, _ in layers))
        raise ValueError(
            f"{what}: has the poolings {has}, none of {', '.join(poolings)}; add one that it has to analysis.poolings"
        )
    return chosen


def choose_inner(r2_inner):
    """The candidate with the highest R2 within the training images, fold by fold.

    Args:
        r2_inner: shape (candidates, folds), of images of each fold's training set alone; nan where there is none.

    Returns:
        Candidate of each fold, shape (folds,), the first of equals; NO_LAYER in a fold in which none has a number.
    """
    known = np.isfinite(r2_inner)
    return np.where(known.any(axis=0), np.argmax(np.where(known, r2_inner, -np.inf), axis=0), NO_LAYER)


def choose_maximum(r2):
    """The candidate with the highest mean R2 over the test folds, in every fold: the paper's choice.

    Args:
        r2: shape (candidates, folds), of the held-out images.

    Returns:
        shape (folds,), the first of equals; NO_LAYER where no candidate has a number.
    """
    known = np.isfinite(r2)
    count = known.sum(axis=1)
    means = np.where(count > 0, np.where(known, r2, 0).sum(axis=1) / np.maximum(count, 1), -np.inf)
    best = int(np.argmax(means)) if known.any() else NO_LAYER
    return np.full(r2.shape[1], best)


def choose_depth(candidates, depth):
    """The candidate at a share of each tower's depth.

    Args:
        candidates: of :func:`list_candidates`.
        depth: 0 for the first of a tower's candidates, 1 for the last.

    Returns:
        Tower to the index of its candidate: number round(depth x (L - 1)), from 0, of its L layers.
    """
    chosen = {}
    for tower in dict.fromkeys(tower for tower, _, _ in candidates):
        own = [index for index, candidate in enumerate(candidates) if candidate[0] == tower]
        chosen[tower] = own[round(depth * (len(own) - 1))]
    return chosen


def choose(candidates, r2_inner, r2, depth):
    """Every choice of one condition.

    Args:
        candidates: of :func:`list_candidates`.
        r2_inner, r2: shape (candidates, folds).
        depth: see :func:`choose_depth`.

    Returns:
        Triples of a name in CHOICES, the tower that it is made within ("" for all towers together), and the
        candidate of each fold, shape (folds,). "depth" is there once a tower.
    """
    folds = r2.shape[1]
    at_depth = [("depth", tower, np.full(folds, index)) for tower, index in choose_depth(candidates, depth).items()]
    return [("inner", "", choose_inner(r2_inner)), *at_depth, ("maximum", "", choose_maximum(r2))]


def describe(candidates, picks):
    """Words for a choice: its tower or towers, pooling or poolings, and the layer of each fold.

    Args:
        candidates: of :func:`list_candidates`.
        picks: candidate of each fold, shape (folds,).

    Returns:
        A dict of tower, pooling and layers: "vision", "cls", "3, 3, 2"; where folds differ in their tower "text,
        vision", "last, cls" and "text 11, vision 3, text 12". A fold without a layer has a dash.
    """
    used = sorted({candidates[pick][:2] for pick in picks if pick != NO_LAYER})
    several = len({tower for tower, _ in used}) > 1
    names = [
        UNCHOSEN if pick == NO_LAYER
        else f"{candidates[pick][0]} {candidates[pick][2]}" if several
        else str(candidates[pick][2])
        for pick in picks
    ]  # fmt: skip
    return {
        "tower": ", ".join(tower for tower, _ in used),
        "pooling": ", ".join(dict.fromkeys(pooling for _, pooling in used)),
        "layers": ", ".join(names),
    }
