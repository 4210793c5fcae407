"""Steering a tiny model over a store of landmarks: its pairs, its copies, and the same file after any interruption."""

import io
import json
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_fits import Files
from tiny_multimodal import make_row, save_model

from geoprobe.images.store import read_columns, write_store
from geoprobe.interventions import generation
from geoprobe.interventions.generation import generate_batch, read_lines
from geoprobe.interventions.outcomes import read_generations
from geoprobe.interventions.steering import choose_photos, plan_pairs, steer
from geoprobe.interventions.swap import Recorder, Swap, mask_of, rank_dimensions, read_coefficients
from geoprobe.models.loading import load_model

# one of InternVL's processor's own, in transformers before 5.24
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]

CPU, WIDTH, DEPTH = torch.device("cpu"), 48, 3
PROMPT = {"text": "Where is this photo?"}
OPTIONS = {
    "prompt_name": "where",
    "prompt": PROMPT,
    "cv": "random",
    "block": 1,
    "shares": [0, 0.5, 1.0],
    "rankings": ["coefficients", "random"],
    "random_seeds": 1,
    "where": ["prefill", "every_step"],
    "max_new_tokens": 3,
    "batch_size": 2,
    "pairs": 10,
    "seed": 3,
}
# landmark, country, width and height, colour; a landmark's second photo, and three that cannot be used
PHOTOS = [
    ("tower", "France", (60, 40), (255, 0, 0)),
    ("tower", "France", (60, 60), (200, 0, 90)),
    ("gate", "Germany", (90, 230), (0, 255, 0)),
    ("", "Germany", (60, 60), (9, 9, 9)),
    ("temple", "Japan", (330, 100), (10, 10, 120)),
    ("rock", "", (60, 60), (9, 99, 9)),
    ("bridge", "France", (100, 100), (250, 250, 250)),
    ("fort", "India", (200, 120), (255, 255, 0)),
    ("cave", "Unknown", (60, 60), (99, 9, 9)),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    encoded = []
    for *_, size, colour in PHOTOS:
        buffer = io.BytesIO()
        Image.new("RGB", size, colour).save(buffer, format="png")
        encoded.append(buffer.getvalue())
    columns = {
        "ids": [f"photo {number}" for number in range(len(PHOTOS))],
        "latitudes": np.zeros(len(PHOTOS)),
        "longitudes": np.zeros(len(PHOTOS)),
        "groups": [photo[0] for photo in PHOTOS],
        "countries": [photo[1] for photo in PHOTOS],
        "geocells": [""] * len(PHOTOS),
    }
    path = tmp_path_factory.mktemp("store") / "images.h5"
    write_store(path, encoded, columns, {}, {})
    return path


@pytest.fixture(scope="module")
def fits(tmp_path_factory):
    generator = np.random.default_rng(1)
    positions = np.column_stack([generator.uniform(-80, 80, 60), generator.uniform(-170, 170, 60)])
    features = {("text", "last", block): generator.normal(size=(60, WIDTH)) for block in (1, 2)}
    files = Files(tmp_path_factory.mktemp("fits"), positions, features, np.zeros(60, int), np.arange(60) % 3)
    return files.fit()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("model")
    save_model("qwen2_5_vl", path, depths=(2, DEPTH))
    return path


@pytest.fixture(scope="module")
def run(store, fits, folder):
    def make(output, dtype="float32", **options):
        steer(store, fits, make_row(folder, dtype), output, **{**OPTIONS, **options})
        header, *records = read_lines(output)
        return header, records

    return make


@pytest.fixture(scope="module")
def whole(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "generations.jsonl"
    return (*run(path), path)


def described(records):
    return [{name: value for name, value in record.items() if name != "text"} for record in records]


# Pairs


COUNTRIES = ["a"] * 4 + ["b"] * 2 + ["c"] * 3 + ["d"]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("maximum", "rounds"), [(10, 1), (19, 1), (20, 2), (30, 3), (1000, 3), (None, 3)])
def test_each_landmark_is_source_and_target_equally_often_in_pairs_across_countries(maximum, rounds, seed):
    # four of ten are of one country: shifts of 4, 5 and 6 places leave it
    countries = np.random.default_rng(seed).permutation(COUNTRIES)
    pairs = plan_pairs(countries, seed, maximum)
    assert pairs.shape == (10 * rounds, 2)
    assert len(set(map(tuple, pairs.tolist()))) == len(pairs)
    assert (countries[pairs[:, 0]] != countries[pairs[:, 1]]).all()
    for side in range(2):
        assert set(Counter(pairs[:, side].tolist()).values()) == {rounds}
        assert set(pairs[:, side].tolist()) == set(range(10))


def test_pairs_are_by_seed():
    countries = [f"country {number % 17}" for number in range(51)]
    one, again, other = (plan_pairs(countries, seed, 255) for seed in (1, 1, 2))
    assert one.shape == (255, 2)
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)


def test_a_countrys_landmarks_are_paired_with_those_of_many_countries():
    numbers = np.arange(100) // 10
    pairs = plan_pairs(numbers, 1, 100)
    met = [len(set(numbers[pairs[numbers[pairs[:, 0]] == country, 1]])) for country in range(10)]
    # ten targets in one of nine countries each: 6.2 are expected; a circle that is only turned has 2 at most
    assert 5 < np.mean(met) < 8


def test_half_of_the_landmarks_in_one_country_make_one_round():
    pairs = plan_pairs(["a", "a", "b", "c"], 0)
    assert sorted(pairs[:2, 1].tolist()) == [2, 3]
    assert sorted(pairs[2:, 1].tolist()) == [0, 1]


@pytest.mark.parametrize(
    ("countries", "maximum", "message"),
    [
        (["a", "a", "b"], None, "of 3 images with a landmark and a country 2 of a: each cannot be paired"),
        ([], None, "of 0 images with a landmark and a country none"),
        (["a", "b", "c"], 2, "steering.pairs is 2, and each of the 3 photos .* needs 3 pairs; set it to 3 or more"),
    ],
    ids=["majority", "none", "maximum"],
)
def test_landmarks_that_cannot_be_paired_are_an_error(countries, maximum, message):
    with pytest.raises(ValueError, match=message):
        plan_pairs(countries, 0, maximum)


@pytest.mark.parametrize("name", ["", "unknown", "Unknown"])
def test_photos_without_a_country_are_neither_sources_nor_targets(name):
    columns = {"groups": ["tower", "rock", "rock", "gate"], "countries": ["France", name, "Japan", name]}
    assert choose_photos(columns).tolist() == [0, 2]
    assert choose_photos(columns, "all").tolist() == [0, 2]


def test_one_photo_a_landmark_is_the_first_of_those_that_can_be_used(store):
    columns = read_columns(store)
    assert choose_photos(columns).tolist() == [0, 2, 4, 6, 7]
    assert choose_photos(columns, "all").tolist() == [0, 1, 2, 4, 6, 7]
    with pytest.raises(ValueError, match=r'steering\.photos is "last"'):
        choose_photos(columns, "last")


# The whole


def test_the_file_holds_every_image_and_every_pair_under_every_condition(whole, store):
    header, records, path = whole
    plain, swaps = records[:5], records[5:]
    assert [record["source"] for record in plain] == ["photo 0", "photo 2", "photo 4", "photo 6", "photo 7"]
    assert all(record["kind"] == "plain" and record["target"] is record["where"] is None for record in plain)
    assert len(swaps) == header["pairs"] * 2 * 2 * 3
    assert len({json.dumps(one) for one in described(records)}) == len(records)
    assert {(one["kind"], one["block"]) for one in swaps} == {("swap", 1)}
    landmarks = dict(zip(read_columns(store)["ids"], PHOTOS, strict=True))
    assert all(landmarks[one["source"]][1] != landmarks[one["target"]][1] for one in swaps)
    assert (
        set(plain[0])
        == set(swaps[0])
        == {*("kind", "source", "target", "ranking", "seed", "share", "where", "block", "text")}
    )
    # as those who score them read them
    frame = read_generations(path)
    for name in ("kind", "source", "text"):
        assert frame[name].tolist() == [record[name] for record in records]
    assert header["images"] == 5
    assert header["prompt"] == "where"
    assert "created" in header
    assert sorted(path.parent.iterdir()) == [path]


def generate_alone(model, image, act=None):
    batch = model.collate([model.prepare(image, "")])
    return generate_batch(model, batch, OPTIONS["max_new_tokens"], CPU, torch.float32, 1, act)


def test_every_text_is_that_of_its_swap_made_alone(whole, folder, fits):
    model = load_model(make_row(folder), folder, PROMPT)
    images = {f"photo {number}": Image.new("RGB", *photo[2:]) for number, photo in enumerate(PHOTOS)}
    found = read_coefficients(fits, 1, "random", WIDTH)
    plain = {}
    for name, image in images.items():
        recorder = Recorder(3)
        plain[name] = (generate_alone(model, image, recorder), recorder)
    seen = Counter()
    # every condition, of some pairs
    for record in whole[1][:5] + whole[1][5::3]:
        source = plain[record["source"]][0]
        if record["kind"] == "swap":
            made, recorder = plain[record["target"]]
            order = rank_dimensions(*found, record["ranking"], record["seed"])
            lengths = made.lengths if record["where"] == "every_step" else torch.ones(1, dtype=torch.long)
            swap = Swap(torch.from_numpy(mask_of(order, record["share"])), recorder.streams(), lengths)
            source = generate_alone(model, images[record["source"]], swap)
            seen[record["where"], source.texts[0] == plain[record["source"]][0].texts[0]] += 1
        assert [record["text"]] == source.texts, record
    assert min(seen["prefill", False], seen["every_step", False]) > 5, "swaps say what is said anyway"


def test_without_any_share_all_is_copied_from_the_plain_texts(run, tmp_path):
    _, records = run(tmp_path / "none.jsonl", shares=[0, 0.001])
    plain = {record["source"]: record["text"] for record in records[:5]}
    assert len(records) == 5 + 10 * 2 * 2 * 2
    assert all(record["text"] == plain[record["source"]] for record in records)


def test_nothing_is_generated_twice(monkeypatch, run, tmp_path):
    rows = []

    def count(model, batch, *rest):
        rows.append(len(batch["input_ids"]))
        return generate_batch(model, batch, *rest)

    monkeypatch.setattr(generation, "generate_batch", count)
    _, records = run(tmp_path / "counted.jsonl", where=["prefill"])
    # half of the dimensions by two orders, and all of them once, as the orders agree on these
    assert sum(rows) == 5 + 10 * (2 + 1)
    assert len(records) == 5 + 10 * 6


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_all_dimensions_at_every_step_of_the_last_block_give_the_targets_text(dtype, run, tmp_path):
    options = {"block": "last", "shares": [1], "rankings": ["random"], "random_seeds": 1, "batch_size": 8}
    _, records = run(tmp_path / "last.jsonl", dtype, **options)
    plain = {record["source"]: record["text"] for record in records[:5]}
    swaps = [record for record in records if record["where"] == "every_step"]
    assert len(swaps) == 10
    assert all(record["text"] == plain[record["target"]] for record in swaps)
    assert sum(plain[record["source"]] != plain[record["target"]] for record in swaps) > 5


class Stop(Exception):
    pass


def stop_after(batches, monkeypatch):
    """Let generation fail when so many batches were made (-1: never); the list of their sizes."""
    made = []

    def generate(model, batch, *rest):
        if len(made) == batches:
            raise Stop
        made.append(len(batch["input_ids"]))
        return generate_batch(model, batch, *rest)

    monkeypatch.setattr(generation, "generate_batch", generate)
    return made


# of OPTIONS: of the images as they are, of the pairs, and how often these are run: two places, 2 + 1 sets of dimensions
PLAIN, PAIRS, RUNS = 3, 5, 2 * 3


@pytest.mark.parametrize("batches", [0, 2, 3, 10])
def test_a_run_that_is_killed_goes_on_to_the_same_file(batches, whole, run, monkeypatch, tmp_path):
    output, partial = tmp_path / "generations.jsonl", tmp_path / "generations.jsonl.partial"
    made = stop_after(batches, monkeypatch)
    with pytest.raises(Stop):
        run(output)
    assert not output.exists()
    assert len(read_lines(partial)) == 1 + sum(made)
    again = stop_after(-1, monkeypatch)
    assert run(output)[1] == whole[1]
    # images are read again for their streams, all else only where it is not there
    assert len(again) == PLAIN + PAIRS * RUNS - max(0, batches - PLAIN)
    assert sorted(tmp_path.iterdir()) == [output]


@pytest.mark.parametrize("cut", [1, 180])
def test_what_was_written_of_a_line_or_batch_is_dropped(cut, whole, run, monkeypatch, tmp_path):
    output, partial = tmp_path / "generations.jsonl", tmp_path / "generations.jsonl.partial"
    stop_after(6, monkeypatch)
    with pytest.raises(Stop):
        run(output)
    partial.write_bytes(partial.read_bytes()[:-cut])
    again = stop_after(-1, monkeypatch)
    assert run(output)[1] == whole[1]
    assert len(again) == PLAIN + PAIRS * RUNS - 2


@pytest.mark.parametrize("other", [{"max_new_tokens": 1}, {"code": "edited"}], ids=str)
def test_what_is_there_of_other_options_or_code_is_not_taken(whole, run, monkeypatch, tmp_path, other):
    output = tmp_path / "generations.jsonl"
    stop_after(8, monkeypatch)
    with pytest.raises(Stop):
        run(output, **other)
    again = stop_after(-1, monkeypatch)
    assert run(output)[1] == whole[1]
    assert len(again) == PLAIN + PAIRS * RUNS


def test_a_smaller_batch_goes_on_with_what_is_there(whole, run, monkeypatch, tmp_path):
    output = tmp_path / "generations.jsonl"
    made = stop_after(10, monkeypatch)
    with pytest.raises(Stop):
        run(output)
    again = stop_after(-1, monkeypatch)
    assert run(output, batch_size=1)[1] == whole[1]
    # what is there of a batch that is another now is made again
    assert 0 <= sum(again) - (5 + 10 * RUNS - sum(made[PLAIN:])) < 3
    assert max(again) < max(made)


def test_a_block_that_was_not_probed_is_an_error_and_leaves_nothing(run, tmp_path):
    with pytest.raises(ValueError, match=r"block 0 of the decoder was not probed .* only 1, 2 were"):
        run(tmp_path / "generations.jsonl", block="first")
    assert not list(tmp_path.iterdir())
