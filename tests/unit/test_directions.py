"""Additive steering: what is asked for is what the steered probe reads, and linear blocks hand on what algebra says."""

import io
import shutil

import geopy.distance
import h5py
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.metrics import r2_score
from tiny_fits import Files
from tiny_multimodal import make_row, save_model
from torch import nn

from geoprobe.analysis.bootstrap import draw_weights
from geoprobe.encoders.architecture import build_encoder, save_encoder
from geoprobe.features import placing
from geoprobe.features.engine import extract_features
from geoprobe.features.store import read_features
from geoprobe.geodesy import EARTH_RADIUS_KM, draw_on_sphere
from geoprobe.images.store import write_store
from geoprobe.interventions import pushing
from geoprobe.interventions.directions import (
    COLUMNS,
    adding,
    degree_lengths,
    displacements,
    random_direction,
    shortest_steps,
    summarise_steps,
)
from geoprobe.interventions.push_plan import choose_images, list_variants
from geoprobe.models.loading import LoadedModel, Tower, load_model
from geoprobe.models.pooling import TokenMap, gather_tokens, pool_tokens

pytestmark = pytest.mark.usefixtures("one_thread")

WIDTH, TOKENS, DEPTH, COUNT = 12, 5, 3, 40
ARCHITECTURE = {"image_size": 16, "patch_size": 4, "width": 24, "depth": DEPTH, "heads": 2}
OPTIONS = {"blocks": "all", "km": [1000], "random_seeds": 5, "images": 1000, "batch_size": 16}
CHOICE = {"cv": "random", "poolings": ["cls", "last", "mean"], "resamples": 50, "seed": 3}


class Study(Files):
    """Files of one data set whose images can be decoded, and a model for them."""

    def __init__(self, folder, features, row, folds=None, positions=None, count=COUNT, size=(16, 16)):
        generator = np.random.default_rng(5)
        positions = draw_on_sphere(count, generator) if positions is None else positions
        folds = np.arange(count) % 2 if folds is None else folds
        super().__init__(folder, positions, features, np.zeros(count, int), folds, blocks=np.arange(count) // 2)
        self.folder, self.row = folder, row
        columns = {"ids": self.ids, "latitudes": positions[:, 0], "longitudes": positions[:, 1]}
        columns |= dict.fromkeys(("groups", "countries", "geocells"), self.ids)
        generator = np.random.default_rng(6)  # the same images whatever the positions
        write_store(self.store, [png(generator, size) for _ in range(count)], columns, {}, {})

    def push(self, fits=None, work="work", **options):
        choice = {name: options.pop(name) for name in (*CHOICE, "folder", "prompt", "code") if name in options}
        return pushing.push_positions(
            self.store,
            self.row,
            fits or self.fits,
            self.fold_table,
            self.folder / work,
            options=OPTIONS | options,
            **CHOICE | choice,
        )


def png(generator, size):
    buffer = io.BytesIO()
    Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8)).save(buffer, format="png")
    return buffer.getvalue()


class Linear(nn.Module):
    """A block that is one linear map of every token."""

    def __init__(self, matrix):
        super().__init__()
        self.matrix = nn.Parameter(torch.tensor(matrix, dtype=torch.float32))

    def forward(self, stream):
        return stream @ self.matrix


def rotation(generator, width=WIDTH):
    return np.linalg.qr(generator.standard_normal((width, width)))[0]


def make_toy():
    """A tower of linear maps, the first after an embedding, as a model; its matrices."""
    matrices = [rotation(np.random.default_rng([7, layer])) for layer in range(DEPTH)]
    module = nn.Sequential(*map(Linear, matrices))
    embedding = torch.tensor(np.random.default_rng(8).standard_normal((3, TOKENS * WIDTH)), dtype=torch.float32)

    def prepare(image, _name):
        return {"pixel_values": torch.from_numpy(np.array(image)).float().mean(dim=(0, 1))}

    tower = Tower(module, "", WIDTH, ("cls",), lambda batch, stream: TokenMap(own=slice(1, None), summary=0), "")
    return LoadedModel(
        module=module,
        prepare=prepare,
        forward=lambda batch: module((batch["pixel_values"] @ embedding).view(-1, TOKENS, WIDTH)),
        towers={"vision": tower},
        digest="toy",
    ), matrices


def plant(files, **by_where):
    """Write probes with coefficients that nobody fitted, different in each fold; where to (F, d, 2)."""
    files.fit(cvs=("random", "blocked"))
    with h5py.File(files.fits, "r+") as file:
        for where in files.features:
            for cv in ("random", "blocked"):
                group = file["/".join(map(str, where))][f"all/degrees/{cv}/none"]
                group["coefficients"][:] = by_where["planted"][where]
    return files


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    """A study of the toy: after each block its own probe, those of later blocks reading what the first one reads."""
    model, matrices = make_toy()
    generator = np.random.default_rng(11)
    first, planted = generator.standard_normal((2, WIDTH, 2)) * 3, {}
    for layer in range(DEPTH):
        planted["vision", "cls", layer] = first
        if layer + 1 < DEPTH:
            first = np.stack([matrices[layer + 1].T @ slopes for slopes in first])
    features = {where: generator.standard_normal((COUNT, WIDTH)) for where in planted}
    row = {"model": "toy", "id": "no folder", "dtype": "float32"}
    files = plant(Study(tmp_path_factory.mktemp("toy"), features, row), planted=planted)
    return files, model, matrices, planted


@pytest.fixture
def toy_model(toy, monkeypatch):
    monkeypatch.setattr(placing, "load_model", lambda *_args: toy[1])


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    """A study of a tiny real encoder: positions that its last class token tells, and probes that were fitted."""
    folder = tmp_path_factory.mktemp("real")
    save_encoder(folder / "encoder", build_encoder(**ARCHITECTURE, seed=1), {"architecture": ARCHITECTURE})
    row = {"model": "tiny", "loader": "local", "id": str(folder / "encoder"), "revision": "none"}
    row |= {"supervision": "vision-only", "dtype": "float32", "weights": "safetensors"}
    empty = {("vision", "cls", layer): np.zeros((COUNT * 2, 24)) for layer in range(DEPTH)}
    (folder / "first").mkdir()
    unlabelled = Study(folder / "first", empty, row, count=COUNT * 2)
    options = {"poolings": ["cls"], "layers": "all", "batch_size": 16, "chunk": 40, "workers": 0, "dtype": "float32"}
    extract_features(unlabelled.store, row, folder / "extracted.h5", **options)
    features = {where: read_features(folder / "extracted.h5", unlabelled.ids, *where) for where in empty}
    last = features["vision", "cls", DEPTH - 1].astype(float)
    told = (last - last.mean(axis=0)) @ np.random.default_rng(2).standard_normal((24, 2))
    positions = told / np.abs(told).max(axis=0) * [60, 150]
    files = Study(folder, features, row, positions=positions, count=COUNT * 2)
    files.fit(alpha=1e-3)
    return files


def one(frame, **keys):
    """Rows with these values, seed None for none."""
    for name, value in keys.items():
        frame = frame[frame[name].isna() if value is None else frame[name] == value]
    return frame


# directions


@pytest.mark.parametrize("seed", range(3))
def test_the_step_is_the_shortest_that_moves_the_probe_as_asked(seed):
    generator = np.random.default_rng(seed)
    slopes, asked = generator.standard_normal((30, 2)), generator.standard_normal(2)
    step = shortest_steps(slopes, "probe") @ asked
    np.testing.assert_allclose(slopes.T @ step, asked, rtol=1e-10)
    np.testing.assert_allclose(step, slopes @ np.linalg.inv(slopes.T @ slopes) @ asked, rtol=1e-8)
    # lstsq gives the solution of smallest norm
    np.testing.assert_allclose(step, np.linalg.lstsq(slopes.T, asked, rcond=None)[0], rtol=1e-8)


@pytest.mark.parametrize("slopes", [np.zeros((6, 2)), np.ones((6, 2))], ids=["zero", "parallel"])
def test_a_probe_that_cannot_be_moved_along_one_axis_is_refused(slopes):
    with pytest.raises(ValueError, match=r"fits.h5, vision/cls/0: .* zero or parallel"):
        shortest_steps(slopes, "fits.h5, vision/cls/0")


@pytest.mark.parametrize("km", [-2000, 0, 250, 1000])
@pytest.mark.parametrize("latitude", [-70, -10, 0, 45])
def test_north_is_as_far_as_geopy_says_and_east_lies_on_the_parallel(km, latitude):
    [[north, still]] = displacements("north", km, np.array([latitude]))
    if abs(latitude + north) <= 90:
        there = geopy.distance.great_circle((latitude, 5), (latitude + north, 5)).km
        assert there == pytest.approx(abs(km), rel=1e-6)
    assert np.sign(north) == np.sign(km)
    assert still == 0
    [[still, east]] = displacements("east", km, np.array([latitude]))
    around = 2 * np.pi * EARTH_RADIUS_KM * np.cos(np.radians(latitude))
    assert east == pytest.approx(360 * km / around, rel=1e-12)
    assert still == 0


def test_beyond_80_degrees_a_degree_of_longitude_is_as_long_as_there():
    lengths = degree_lengths(np.array([80.0, 85, 90, -90, 79]))
    np.testing.assert_allclose(lengths[1:4, 1], lengths[0, 1], rtol=1e-12)
    assert lengths[4, 1] > lengths[0, 1]
    np.testing.assert_allclose(lengths[:, 0], geopy.distance.great_circle((0, 0), (1, 0)).km, rtol=1e-6)


def test_random_directions_are_unit_vectors_that_differ_by_seed_and_block():
    drawn = [random_direction(50, seed, block) for seed in range(3) for block in range(2)]
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), 1)
    product = np.abs(np.array(drawn) @ np.array(drawn).T - np.eye(6))
    assert product.max() < 0.6
    np.testing.assert_array_equal(drawn[3], random_direction(50, 1, 1))


# one token


def stream_maps():
    """Streams of three images with 4 columns at most, their maps, the pooling, and which rows are summaries."""
    mask = torch.tensor([[0, 0, 1, 1], [1, 1, 1, 1], [0, 1, 1, 1]]).bool()
    packed = torch.tensor([[3, 4, 0, 0], [0, 1, 2, 5], [8, 7, 6, 0]])
    packed_mask = torch.tensor([[1, 1, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]]).bool()
    turned = torch.arange(12).view(4, 3).T
    return {
        "class token": ((3, 4, 6), TokenMap(own=slice(1, None), summary=0), "cls", [0, 4, 8]),
        "class token by image": ((3, 4, 6), TokenMap(summary=torch.tensor([2, 0, 3])), "cls", [2, 4, 11]),
        "last": ((3, 4, 6), TokenMap(), "last", [3, 7, 11]),
        "padded left": ((3, 4, 6), TokenMap(mask=mask), "last", [3, 7, 11]),
        "padded right": ((3, 4, 6), TokenMap(mask=mask.flip(1)), "last", [1, 7, 10]),
        "packed": ((9, 6), TokenMap(packed, packed_mask, summary=torch.tensor([1, 3, 0])), "cls", [4, 5, 8]),
        "tokens first": ((4, 3, 6), TokenMap(index=turned, summary=0), "cls", [0, 1, 2]),
    }


@pytest.mark.parametrize("in_tuple", [False, True], ids=["tensor", "tuple"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("name", stream_maps())
def test_only_the_summary_token_is_touched(name, dtype, in_tuple):
    shape, tokens, pooling, rows = stream_maps()[name]
    stream = torch.randn(shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    vectors = torch.randn(3, 6, generator=torch.Generator().manual_seed(2))
    block = nn.Module()
    block.forward = lambda: (stream, "weights") if in_tuple else stream
    before = stream.clone()
    tower = Tower([block], "", 6, (pooling,), lambda batch, seen: tokens, "")
    with adding(tower, 0, pooling, {}, vectors):
        output = block()
    changed = output[0] if in_tuple else output
    assert not in_tuple or output[1] == "weights"
    assert changed.dtype == dtype
    assert torch.equal(stream, before)  # not in place
    flat, whole = changed.reshape(-1, 6), before.reshape(-1, 6)
    others = [row for row in range(len(flat)) if row not in rows]
    assert torch.equal(flat[others], whole[others])
    assert torch.equal(flat[rows], (whole[rows].float() + vectors).to(dtype))
    pooled = pool_tokens(gather_tokens(changed, tokens), tokens, pooling)
    assert torch.equal(pooled, flat[rows].float())
    assert torch.equal(block()[0] if in_tuple else block(), before)  # the hook is gone


# the toy


def test_read_outs_of_linear_blocks_move_as_the_closed_form_says(toy, toy_model):
    files, _, matrices, planted = toy
    frame = files.push(km=[500, 3000])
    assert list(frame.columns) == COLUMNS
    lengths = degree_lengths(files.positions[:, 0])
    seen = 0
    for row in one(frame, kind="probe").itertuples():
        asked = displacements(row.direction, row.km, files.positions[:, 0])
        moved = np.empty((COUNT, 2))
        for image in range(COUNT):
            fold = files.folds[image]
            step = np.linalg.lstsq(planted["vision", "cls", row.block][fold].T, asked[image], rcond=None)[0]
            for layer in range(row.block + 1, row.readout + 1):
                step = step @ matrices[layer]
            moved[image] = step @ planted["vision", "cls", row.readout][fold] * lengths[image]
        np.testing.assert_allclose(
            [row.moved_north_km, row.moved_east_km], moved.mean(axis=0), rtol=1e-3, atol=1e-3 * abs(row.km) + 1e-9
        )
        seen += 1
    assert seen == 6 * 2 * 5


@pytest.mark.parametrize("direction", ["north", "east"])
def test_the_steered_probe_itself_moves_exactly_as_asked_and_not_on_the_other_axis(toy, toy_model, direction):
    frame = one(toy[0].push(km=[250, 2000]), kind="probe", direction=direction)
    rows = frame[(frame["block"] == frame["readout"]) & (frame["km"] != 0)]
    assert sorted(rows["km"].unique()) == [-2000, -250, 250, 2000]
    other = {"north": "east", "east": "north"}[direction]
    np.testing.assert_allclose(rows["share_moved"], 1, rtol=1e-3)
    np.testing.assert_allclose(rows[f"moved_{direction}_km"], rows["km"], rtol=1e-3)
    np.testing.assert_allclose(rows["rms_km"], rows["km"].abs(), rtol=1e-3)
    assert (rows[f"moved_{other}_km"].abs() < 1e-3 * rows["km"].abs()).all()


def test_zero_kilometres_change_nothing_bit_for_bit(real):
    rows = one(real.push(random_seeds=1), km=0)
    assert len(rows) == 2 * 6
    assert set(rows["kind"]) == {"probe"}
    for name in ("moved_north_km", "moved_east_km", "low", "high", "rms_km", "relative_norm"):
        assert (rows[name] == 0).all()
    assert (rows["r2_after"] == rows["r2_before"]).all()
    assert rows["share_moved"].isna().all()


def test_random_directions_move_planted_probes_less_and_are_as_long(toy, toy_model):
    frame = toy[0].push()
    for keys, rows in one(frame, km=1000).groupby(["block", "readout", "direction"]):
        [probe] = one(rows, kind="probe").itertuples()
        seeds = one(rows, kind="random")
        assert len(seeds) == 6, keys
        # rotations hand the probe's move on as it is; of a random direction the twelfth part in the mean of squares
        assert seeds["rms_km"].max() < 0.9 * probe.rms_km
        assert abs(probe.share_moved - 1) < 1e-3
        np.testing.assert_allclose(seeds["relative_norm"], probe.relative_norm, rtol=1e-6)
        [mean], own = one(seeds, seed=None).itertuples(), seeds[seeds["seed"].notna()]
        assert sorted(own["seed"]) == list(range(5))
        assert mean.moved_north_km == pytest.approx(own["moved_north_km"].mean(), abs=1e-9)
        assert mean.rms_km == pytest.approx(np.sqrt((own["rms_km"] ** 2).mean()))


def test_moves_of_the_probe_and_of_each_random_direction_are_odd_in_kilometres(toy, toy_model):
    frame = toy[0].push(km=[500, 2000])
    frame = frame[frame["km"] != 0].fillna({"seed": -1}).set_index(["block", "readout", "kind", "seed", "direction"])
    there, back = (frame[frame["km"] > 0].set_index("km", append=True), frame[frame["km"] < 0])
    back = back.set_index(-back["km"], append=True).reindex(there.index)
    assert set(there.index.get_level_values("seed")) == {-1, *range(5)}
    for name in ("moved_north_km", "moved_east_km"):
        # in a tower of linear maps what a step moves is linear in it
        np.testing.assert_allclose(back[name], -there[name], rtol=1e-3, atol=0.5)
        assert (there[name].abs() > 5).mean() > 0.5
    np.testing.assert_allclose(back["rms_km"], there["rms_km"], rtol=1e-3)
    np.testing.assert_allclose(back["relative_norm"], there["relative_norm"], rtol=1e-6)


def test_only_the_probes_of_an_images_own_fold_are_used(toy, toy_model, tmp_path):
    files = toy[0]
    (study := with_own_folds(files, tmp_path)).folds = np.where(files.folds == 0, 0, -1)
    rewrite_folds(study)
    spoiled = {}
    for fold in (0, 1):
        spoiled[fold] = shutil.copy(files.fits, tmp_path / f"spoiled{fold}.h5")
        with h5py.File(spoiled[fold], "r+") as file:
            for layer in range(DEPTH):
                data = file[f"vision/cls/{layer}/all/degrees/random/none/coefficients"]
                data[fold] = np.roll(data[fold], 1, axis=0) * 50
    right, same, other = study.push(), study.push(fits=spoiled[1]), study.push(fits=spoiled[0])
    pd.testing.assert_frame_equal(right, same)
    assert (right["images"] == COUNT // 2).all()
    assert not np.allclose(one(right, kind="probe")["relative_norm"], one(other, kind="probe")["relative_norm"])


def with_own_folds(files, folder):
    """The same study with a folds table of its own."""
    copied = object.__new__(Study)
    vars(copied).update(vars(files), folder=folder, fold_table=folder / "folds.parquet")
    return copied


def rewrite_folds(study):
    table = pd.DataFrame({"id": study.ids, "random": study.folds, "blocked": study.folds, "countries": -1})
    table["block"], table["country"] = study.blocks, -1
    table.attrs["impossible"] = {"countries": "all images are of one country"}
    table.to_parquet(study.fold_table)


def test_an_image_in_no_fold_is_left_out(toy, toy_model, tmp_path):
    study = with_own_folds(toy[0], tmp_path)
    study.folds = toy[0].folds.copy()
    study.folds[[3, 8]] = -1
    rewrite_folds(study)
    assert set(study.push()["images"]) == {COUNT - 2}


def test_images_are_spread_over_the_folds():
    fold = np.repeat([2, -1, 0, 1], [40, 10, 20, 30])
    chosen = np.array(choose_images(fold, [0, 1, 2], 18))
    assert np.bincount(fold[chosen]).tolist() == [4, 6, 8]
    assert (np.diff(chosen) > 0).all()
    assert (np.diff(chosen[:8]) == 5).all()
    assert choose_images(fold, [0, 1, 2], 1000) == [*range(40), *range(50, 100)]
    assert set(fold[choose_images(fold, [1], 1000)]) == {1}


def test_a_cross_validation_that_the_images_cannot_have_gives_a_row_that_says_why(toy, toy_model):
    [row] = toy[0].push(cv="countries").itertuples()
    assert (row.images, row.reason) == (0, "all images are of one country")


# what may not matter


def assert_close(a, b, km=0.5):
    numbers = a.select_dtypes("number").columns
    assert len(a) == len(b)
    pd.testing.assert_frame_equal(a.drop(columns=numbers), b.drop(columns=numbers))
    np.testing.assert_allclose(a[numbers].astype(float), b[numbers].astype(float), rtol=1e-3, atol=km)


def test_neither_batch_size_nor_where_a_pass_begins_matters(real, monkeypatch):
    few = {"blocks": [0, 1], "random_seeds": 1}
    frame = real.push(**few)
    assert_close(frame, real.push(**few, batch_size=7))
    monkeypatch.setattr(pushing, "can_start_late", lambda model, push: False)
    # the very same numbers go through the very same later blocks
    pd.testing.assert_frame_equal(frame, real.push(**few))


def test_unsteered_predictions_are_those_of_the_fits(real):
    frame = real.push(images=30, random_seeds=1)
    rows = choose_images(real.folds, [0, 1], 30)
    for readout, part in frame.groupby("readout"):
        held_out = real.predictions(("vision", "cls", readout), "all")[rows]
        assert part["r2_before"].iloc[0] == pytest.approx(r2_score(real.positions[rows], held_out), abs=1e-3)
    assert set(frame["images"]) == {30}


def test_blocks_are_chosen_by_number_also_from_the_end(real):
    frame = real.push(blocks=[0, -1], random_seeds=1, images=4)
    pairs = frame[["block", "readout"]].drop_duplicates().to_numpy().tolist()
    assert pairs == [[0, 0], [0, 1], [0, 2], [2, 2]]


def test_a_killed_run_goes_on_with_the_batches_that_are_left(real, monkeypatch):
    few, original, seen = {"blocks": [1], "random_seeds": 1}, pushing.push_batch, []
    whole = real.push(**few)

    def dies(model, push, batch, fold, *arguments):
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(len(fold))
        return original(model, push, batch, fold, *arguments)

    monkeypatch.setattr(pushing, "push_batch", dies)
    with pytest.raises(KeyboardInterrupt):
        real.push(work="killed", **few)
    assert seen == [16, 16, 16]
    left = []

    def counted(model, push, batch, fold, *arguments):
        left.append(len(fold))
        return original(model, push, batch, fold, *arguments)

    monkeypatch.setattr(pushing, "push_batch", counted)
    pd.testing.assert_frame_equal(real.push(work="killed", **few), whole)
    assert left == [16, 16]
    assert not (real.folder / "killed").exists()


@pytest.mark.parametrize("other", [{"km": [300]}, {"code": "newer"}], ids=["km", "code"])
def test_parts_of_another_making_are_not_taken(real, monkeypatch, other):
    few, original, seen = {"blocks": [1], "random_seeds": 1}, pushing.push_batch, []

    def dies(model, push, batch, fold, *arguments):
        if len(seen) == 1:
            raise KeyboardInterrupt
        seen.append(1)
        return original(model, push, batch, fold, *arguments)

    monkeypatch.setattr(pushing, "push_batch", dies)
    with pytest.raises(KeyboardInterrupt):
        real.push(work="stale", **few)
    assert len(list((real.folder / "stale").rglob("*.npz"))) == 1
    monkeypatch.setattr(pushing, "push_batch", original)
    whole, left = real.push(**few | other), []

    def counted(model, push, batch, fold, *arguments):
        left.append(len(fold))
        return original(model, push, batch, fold, *arguments)

    monkeypatch.setattr(pushing, "push_batch", counted)
    pd.testing.assert_frame_equal(real.push(work="stale", **few | other), whole)
    assert sum(left) == COUNT * 2


# an image-text model


@pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")
@pytest.mark.parametrize("family", ["llava", "qwen2_5_vl"])
def test_towers_of_image_text_models_are_steered_at_their_one_token(tmp_path, family):
    save_model(family, tmp_path / "model")
    row, prompt = make_row(tmp_path / "model"), {"text": "Where was this?"}
    model = load_model(row, tmp_path / "model", prompt)
    widths = {"vision": model.towers["vision"].width, "text": model.towers["text"].width}
    generator = np.random.default_rng(4)
    where = [("text", "last", layer) for layer in range(len(model.towers["text"].blocks))]
    if family == "llava":  # the one with a class token
        where += [("vision", "cls", layer) for layer in range(len(model.towers["vision"].blocks))]
    where.append(("vision", "mean", 0))
    features = {key: generator.standard_normal((6, widths[key[0]])) for key in where}
    files = Study(tmp_path, features, row, count=6, size=(40, 64))
    plant(files, planted={key: generator.standard_normal((2, widths[key[0]], 2)) for key in where})
    chosen = {"folder": tmp_path / "model", "prompt": prompt, "batch_size": 4, "random_seeds": 1, "km": [700]}
    frame = files.push(**chosen)
    steered = {(row.tower, row.pooling) for row in frame.itertuples()}
    assert steered == {key[:2] for key in where} - {("vision", "mean")}
    assert (one(frame, km=0)["rms_km"] == 0).all()
    itself = frame[(frame["block"] == frame["readout"]) & (frame["kind"] == "probe") & (frame["km"] != 0)]
    np.testing.assert_allclose(itself["share_moved"], 1, rtol=2e-3)
    later = frame[(frame["block"] < frame["readout"]) & (frame["km"] != 0)]
    assert len(later)
    assert (later["rms_km"] > 0).all()


# tables and messages


def test_means_and_intervals_are_those_of_units_drawn_with_replacement():
    generator = np.random.default_rng(6)
    n, units = 30, np.repeat(np.arange(10), 3)
    positions, variants = draw_on_sphere(n, generator), [("probe", None, "east", 500.0), ("random", 0, "east", 500.0)]
    moved, plain = generator.standard_normal((2, 1, n, 2)), positions[None] + 5
    norms = generator.uniform(size=(2, n))
    keys = {"tower": "vision", "pooling": "cls", "block": 1, "cv": "random"}
    frame = summarise_steps(keys, [2], variants, moved, norms, plain, positions, units, 200, 9)
    [row] = one(frame, kind="probe").itertuples()
    degree = 2 * np.pi * EARTH_RADIUS_KM / 360
    along = moved[0, 0, :, 1] * degree * np.maximum(np.cos(np.radians(positions[:, 0])), np.cos(np.radians(80)))
    assert row.moved_east_km == pytest.approx(along.mean())
    assert row.moved_north_km == pytest.approx(moved[0, 0, :, 0].mean() * degree)
    assert row.share_moved == pytest.approx(along.mean() / 500)
    assert row.relative_norm == pytest.approx(np.median(norms[0]))
    samples = [np.average(along, weights=counts[units]) for counts in draw_weights(10, 200, 9)]
    np.testing.assert_allclose([row.low, row.high], np.quantile(samples, [0.025, 0.975]))
    shifted = plain[0] + moved[0, 0]
    assert row.r2_after == pytest.approx(r2_score(positions, shifted))
    assert row.r2_realigned == pytest.approx(r2_score(positions, shifted - moved[0, 0].mean(axis=0)))
    assert row.r2_before == pytest.approx(r2_score(positions, plain[0]))
    assert (frame["seed"].isna()).tolist() == [True, False, True]


def test_steps_are_none_and_both_ways_and_random_ones_for_each():
    variants = list_variants([1000, 250], 2)
    assert len(variants) == len(set(variants)) == 2 * (1 + 4 * 3)
    assert {km for _, _, _, km in variants} == {-1000, -250, 0, 250, 1000}
    assert {seed for kind, seed, _, _ in variants if kind == "random"} == {0, 1}


@pytest.mark.parametrize(
    ("km", "seeds", "message"),
    [([0], 5, "km is"), ([-5], 5, "km is"), ([], 5, "km is"), ([np.nan], 5, "km is"), ([1], 0, "random_seeds is 0")],
    ids=["zero", "negative", "none", "nan", "no-seed"],
)
def test_steps_that_are_none_are_refused(km, seeds, message):
    with pytest.raises(ValueError, match=message):
        list_variants(km, seeds)


@pytest.mark.parametrize("wrong", [{"poolings": ["mean"]}, {"blocks": [17]}], ids=["pooling", "block"])
def test_what_cannot_be_steered_is_refused(toy, toy_model, wrong):
    with pytest.raises(ValueError, match=r"nothing can be steered .* there are probes of vision/cls"):
        toy[0].push(**wrong)


def test_fits_of_other_images_are_refused(toy, toy_model, tmp_path):
    other = shutil.copy(toy[0].fits, tmp_path / "other.h5")
    with h5py.File(other, "r+") as file:
        file["ids"][0] = "another"
    with pytest.raises(ValueError, match="the probes are of other images"):
        toy[0].push(fits=other)
