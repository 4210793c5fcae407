"""Greedy text of tiny multimodal models, against a loop over whole passes, and the file that generations grow in."""

import io
import json
import logging

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_multimodal import FAMILIES, make_row, save_model
from transformers import GenerationConfig

from geoprobe.encoders.architecture import build_encoder, save_encoder
from geoprobe.features.engine import extract_batch
from geoprobe.features.layout import Reading
from geoprobe.images.store import write_store
from geoprobe.interventions.generation import (
    Growing,
    generate_batch,
    generate_batches,
    load_writer,
    plan_batches,
    read_lines,
    write_lines,
)
from geoprobe.interventions.swap import Recorder
from geoprobe.models.loading import load_model

# one of InternVL's processor's own, in transformers before 5.24
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]

CPU, STEPS = torch.device("cpu"), 5
COLOURS = ((255, 0, 0), (0, 255, 0), (10, 10, 120), (250, 250, 250))
SIZES = ((200, 120), (100, 100), (90, 230), (330, 100))
each_family = pytest.mark.parametrize("family", FAMILIES)


@pytest.fixture(scope="module")
def images():
    # of one colour each: a tiny random model says one thing of all noise
    return [Image.new("RGB", size, colour) for size, colour in zip(SIZES, COLOURS, strict=True)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    made = {}

    def get(family):
        if family not in made:
            made[family] = tmp_path_factory.mktemp(family)
            save_model(family, made[family], depths=(2, 3))
        return made[family]

    return get


@pytest.fixture(scope="module")
def loaded(folders):
    made = {}

    def get(family, dtype="float32"):
        if (family, dtype) not in made:
            folder = folders(family)
            made[family, dtype] = load_model(make_row(folder, dtype), folder, {"text": "Where is this photo?"})
        return made[family, dtype]

    return get


@pytest.fixture(scope="module")
def store(images, tmp_path_factory):
    encoded = []
    for image in images:
        buffer = io.BytesIO()
        image.save(buffer, format="png")
        encoded.append(buffer.getvalue())
    names = [f"image {number}" for number in range(len(images))]
    columns = {"ids": names, "latitudes": np.zeros(len(names)), "longitudes": np.zeros(len(names))}
    path = tmp_path_factory.mktemp("store") / "images.h5"
    write_store(path, encoded, columns | dict.fromkeys(("geocells", "countries", "groups"), names), {}, {})
    return path


def batch_of(model, images):
    return model.collate([model.prepare(image, "") for image in images])


def generate(model, images, dtype=torch.float32, **options):
    return generate_batch(model, batch_of(model, images), STEPS, CPU, dtype, **options)


def write_by_hand(model, image):
    """Token after token, by the likeliest at the last place of a whole pass without a cache."""
    inputs = {name: values for name, values in batch_of(model, [image]).items() if name in model.generate.accepted}
    tokens = []
    with torch.no_grad():
        for _ in range(STEPS):
            logits = model.module(**inputs, use_cache=False).logits
            tokens.append(int(logits[0, -1].argmax()))
            if tokens[-1] in model.generate.ends:
                break
            length = inputs["input_ids"].shape
            for name, values in inputs.items():
                if values.shape == length and not values.is_floating_point():
                    new = {"input_ids": tokens[-1], "attention_mask": 1}.get(name, 0)
                    inputs[name] = torch.cat([values, torch.tensor([[new]])], dim=1)
    return tokens


@each_family
def test_text_is_the_likeliest_token_after_each_whole_pass(family, loaded, images):
    model = loaded(family)
    for image in images[:2]:
        made = generate(model, [image])
        wanted = write_by_hand(model, image)
        assert made.tokens[0, : len(wanted)].tolist() == wanted
        assert made.lengths.tolist() == [len(wanted)]
    assert len(wanted) == STEPS, "no text goes on, which shows nothing"


@each_family
def test_a_batch_of_unlike_images_says_what_each_says_alone(family, loaded, images):
    model = loaded(family)
    together = generate(model, images)
    assert together.tokens.shape == (len(images), STEPS)
    assert len({tuple(row) for row in together.tokens.tolist()}) > 1, "all texts are alike, which shows nothing"
    for row, image in enumerate(images):
        alone = generate(model, [image])
        assert alone.tokens[0].tolist() == together.tokens[row].tolist()
        assert alone.texts == [together.texts[row]]
    again = generate(model, images[::-1])
    assert again.tokens.flip(0).equal(together.tokens)


@each_family
def test_the_stream_at_the_prompts_end_is_what_extraction_calls_last(family, loaded, images):
    model = loaded(family)
    for block in range(3):
        recorder = Recorder(STEPS)
        generate(model, images, block=block, act=recorder)
        features = extract_batch(
            model, batch_of(model, images), {"text": Reading(("last",), (block,))}, CPU, torch.float32
        )
        streams = recorder.streams()
        assert streams.shape == (len(images), STEPS, 48)
        torch.testing.assert_close(streams[:, 0], features["text", "last", block], rtol=1e-4, atol=1e-5)


@each_family
def test_recording_changes_nothing_and_leaves_no_hook(family, loaded, images):
    model = loaded(family)
    plain = generate(model, images)
    assert generate(model, images, block=1, act=Recorder(2)).tokens.equal(plain.tokens)
    assert not any(block._forward_hooks for block in model.towers["text"].blocks)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_weights_of_low_precision_write_and_record_in_their_own_dtype(dtype, loaded, images):
    model, recorder = loaded("gemma3", dtype), Recorder(STEPS)
    made = generate(model, images, getattr(torch, dtype), block=2, act=recorder)
    assert recorder.streams().dtype == getattr(torch, dtype)
    assert made.tokens.equal(generate(model, images, getattr(torch, dtype)).tokens)


def test_a_model_spread_over_memory_and_disk_writes_and_records_the_same(folders, loaded, images, tmp_path):
    folder = folders("gemma3")
    placement = {"device_map": "auto", "max_memory": {"cpu": "150KB"}, "offload_folder": str(tmp_path)}
    spread = load_model(make_row(folder), folder, {"text": "Where is this photo?"}, placement=placement)
    assert any(parameter.is_meta for parameter in spread.module.parameters())
    here, there = Recorder(STEPS), Recorder(STEPS)
    wanted = generate(loaded("gemma3"), images, block=1, act=here)
    assert generate(spread, images, block=1, act=there).tokens.equal(wanted.tokens)
    torch.testing.assert_close(there.streams(), here.streams(), rtol=1e-5, atol=1e-6)


class Listener(logging.Handler):
    def __init__(self):
        super().__init__(logging.WARNING)
        self.messages = []

    def emit(self, record):
        self.messages.append(record.getMessage())


def test_what_a_checkpoint_says_of_sampling_is_dropped_without_a_warning(loaded, images, tmp_path):
    model, _ = save_model("qwen2_5_vl", tmp_path, depths=(2, 3))
    own = {"temperature": 3.0, "top_k": 50, "top_p": 0.9, "repetition_penalty": 100.0, "min_length": 300}
    model.generation_config = GenerationConfig(do_sample=True, eos_token_id=[7, 2], **own)
    model.save_pretrained(tmp_path)
    listener, logger = Listener(), logging.getLogger("transformers")
    sampling = load_model(make_row(tmp_path), tmp_path, {"text": "Where is this photo?"})
    assert sampling.generate.ends == [2, 7]
    logger.addHandler(listener)
    try:
        made = generate(sampling, images)
    finally:
        logger.removeHandler(listener)
    assert made.tokens.equal(generate(loaded("qwen2_5_vl"), images).tokens)
    assert listener.messages == []


def test_a_text_stops_at_its_end_and_the_others_go_on(loaded, images):
    model = loaded("llava")
    before, plain = model.generate.ends, generate(model, images)
    # ends the first row after its second token; rows in which it is elsewhere end there
    end = int(plain.tokens[0, 1])
    wanted = [row.index(end) + 1 if end in row else STEPS for row in plain.tokens.tolist()]
    assert len(set(wanted)) > 1
    model.generate.ends = [end]
    try:
        made = generate(model, images)
        longer = generate_batch(model, batch_of(model, images[:1]), STEPS, CPU, torch.float32)
    finally:
        model.generate.ends = before
    assert made.lengths.tolist() == wanted
    pad = model.generate.pad_token
    for row, length in enumerate(wanted):
        assert made.tokens[row, :length].equal(plain.tokens[row, :length])
        assert made.tokens[row, length:].eq(pad).all()
        words = model.generate.tokenizer.decode(plain.tokens[row, :length].tolist(), skip_special_tokens=True)
        assert made.texts[row] == words.strip()
    assert longer.tokens.shape == (1, STEPS)


def test_special_tokens_and_what_follows_the_end_are_not_in_a_text(loaded):
    writer = loaded("gemma3").generate
    tokenizer = writer.tokenizer
    words = tokenizer.encode("Where is this", add_special_tokens=False)
    bos, end = tokenizer.bos_token_id, writer.ends[0]
    assert writer.decode(torch.tensor([[bos, *words, end, *words]])) == ["Where is this"]


def test_images_go_in_batches_of_like_cost_each_once(loaded, store):
    rows = [0, 1, 2, 3, 3, 0, 1]
    for family in ("llava", "qwen2_5_vl"):
        model = loaded(family)
        batches = plan_batches(model, store, rows, 2)
        assert sorted(position for batch in batches for position in batch) == list(range(len(rows)))
        assert max(map(len, batches)) >= 2
    costs = [[model.cost(*SIZES[rows[position]]) for position in batch] for batch in batches]
    flat = [cost for batch in costs for cost in batch]
    assert flat == sorted(flat, reverse=True)
    assert plan_batches(model, store, [], 2) == []


def test_batches_from_a_store_are_given_in_order_each_with_its_act(loaded, images, store):
    model, planned = loaded("llava"), [[2, 0], [1, 1], [3]]
    recorders = [Recorder(1) for _ in planned]
    made = list(generate_batches(model, store, planned, STEPS, CPU, torch.float32, block=0, acts=recorders))
    for rows, one, recorder in zip(planned, made, recorders, strict=True):
        assert one.tokens.equal(generate(model, [images[row] for row in rows]).tokens)
        assert len(recorder.streams()) == len(rows)


def test_a_batch_that_does_not_fit_says_what_to_set(loaded, store):
    def fill(_step, _last):
        raise torch.OutOfMemoryError("tried to allocate\nmore")

    running = generate_batches(loaded("llava"), store, [[0, 1, 2]], 2, CPU, torch.float32, block=0, acts=[fill])
    with pytest.raises(MemoryError, match=r"3 images at once \(tried to allocate\); set steering.batch_size lower"):
        list(running)
    assert not loaded("llava").towers["text"].blocks[0]._forward_hooks


def test_a_model_that_writes_no_text_is_an_error(tmp_path):
    architecture = {"image_size": 16, "patch_size": 4, "width": 24, "depth": 2, "heads": 2}
    config = {"architecture": architecture, "mean": [0.5] * 3, "std": [0.5] * 3}
    save_encoder(tmp_path, build_encoder(**architecture, seed=1), config)
    row = {"model": "small", "loader": "encoder", "id": str(tmp_path), "dtype": "float32", "weights": "safetensors"}
    with pytest.raises(ValueError, match=r'small: a model of the loader "encoder" writes no text'):
        load_writer(row, None, None, "sound", CPU, tmp_path / "offload")


# The file


RECORDS = [{"text": "one\nline"}, {"text": "Île-de-France \u2028"}, {"text": "three"}]


def test_a_file_grows_and_is_gone_on_with(tmp_path):
    path = tmp_path / "unfinished"
    growing = Growing(path, "key")
    assert growing.records == []
    with growing.writing([]) as add:
        add(RECORDS[:2])
        assert Growing(path, "key").records == RECORDS[:2]
    again = Growing(path, "key")
    with again.writing(again.records) as add:
        add(RECORDS[2:])
    assert Growing(path, "key").records == RECORDS


def test_a_line_that_was_broken_off_is_dropped_wherever_the_break_is(tmp_path):
    path = tmp_path / "unfinished"
    with Growing(path, "key").writing([]) as add:
        add(RECORDS)
    whole = path.read_bytes()
    starts = np.cumsum([len(line) for line in whole.splitlines(keepends=True)])
    for size in range(len(whole) + 1):
        path.write_bytes(whole[:size])
        assert Growing(path, "key").records == RECORDS[: max(0, int((starts <= size).sum()) - 1)]


def test_what_another_making_left_is_dropped(tmp_path):
    path = tmp_path / "unfinished"
    with Growing(path, "old").writing([]) as add:
        add(RECORDS)
    growing = Growing(path, "new")
    assert growing.records == []
    with growing.writing(growing.records):
        assert Growing(path, "old").records == []


def test_a_finished_file_is_json_lines(tmp_path):
    write_lines(RECORDS, tmp_path / "whole")
    lines = (tmp_path / "whole").read_text(encoding="utf-8").rstrip("\n").split("\n")
    assert [json.loads(line) for line in lines] == RECORDS == read_lines(tmp_path / "whole")
    assert read_lines(tmp_path / "absent") == []
