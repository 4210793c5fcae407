"""Positions near real towns of the gazetteer, for tests."""

import numpy as np

from geoprobe.images.gazetteer import load_towns


def towns(count, seed=0, jitter_km=5.0, **limits):
    """Positions of real towns, moved by a few kilometres; limits: country codes, or a function of the towns."""
    frame = load_towns()
    if "countries" in limits:
        frame = frame[frame["country_code"].isin(limits["countries"])]
    if "where" in limits:
        frame = frame[limits["where"](frame)]
    frame = frame.sample(count, random_state=seed, replace=count > len(frame))
    moved = np.random.default_rng(seed).normal(0, jitter_km / 111, (count, 2))
    return np.clip(frame[["latitude", "longitude"]].to_numpy() + moved, [-90, -180], [90, 180]), frame


def on_the_diagonal(count):
    """Real towns whose two coordinates are nearly the same: exchanged, they are still near towns."""
    return towns(count, where=lambda frame: (frame["latitude"] - frame["longitude"]).abs() < 0.3)
