"""The swap: which dimensions, and that a swap changes those at the last position, at its steps, and nothing else."""

import contextlib

import h5py
import numpy as np
import pytest
import torch
from PIL import Image
from tiny_fits import Files
from tiny_multimodal import make_row, save_model
from torch import nn

from geoprobe.analysis import dimensions
from geoprobe.interventions.generation import generate_batch
from geoprobe.interventions.swap import (
    Recorder,
    Swap,
    acting_on,
    block_number,
    list_conditions,
    mask_of,
    rank_dimensions,
    read_coefficients,
)
from geoprobe.models.loading import load_model
from geoprobe.models.towers import reading_blocks

# one of InternVL's processor's own, in transformers before 5.24
pytestmark = [
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),
    pytest.mark.usefixtures("one_thread"),
]

CPU, STEPS, WIDTH, DEPTH = torch.device("cpu"), 4, 48, 3
FAMILIES = ("llava", "qwen2_5_vl", "qwen3_vl", "gemma3", "internvl")
LOOKS = [((200, 120), (255, 0, 0)), ((100, 100), (0, 255, 0)), ((90, 230), (10, 10, 120)), ((330, 100), (250,) * 3)]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    made, folders = {}, {}

    def get(family, dtype):
        if family not in folders:
            folders[family] = tmp_path_factory.mktemp(family)
            save_model(family, folders[family], depths=(2, DEPTH))
        if (family, dtype) not in made:
            row = make_row(folders[family], dtype)
            made[family, dtype] = load_model(row, folders[family], {"text": "Where is this photo?"})
        return made[family, dtype]

    return get


class Run:
    """A model of a dtype with one batch of images, of which what is asked for is generated and looked at."""

    def __init__(self, model, dtype):
        self.model, self.dtype = model, getattr(torch, dtype)
        images = [Image.new("RGB", size, colour) for size, colour in LOOKS]
        self.batch = model.collate([model.prepare(image, "") for image in images])
        self.length = self.batch["input_ids"].shape[1]
        # each image's target is the next, some of another length
        self.targets = torch.tensor([1, 2, 3, 0])

    def generate(self, block=None, act=None, steps=STEPS):
        """What is generated, and the logits at the last position of each pass, shape (n, passes, words)."""
        seen = []
        head = self.model.module.get_output_embeddings()
        handle = head.register_forward_hook(lambda _module, _arguments, output: seen.append(output[:, -1].clone()))
        try:
            made = generate_batch(self.model, self.batch, steps, CPU, self.dtype, block, act)
        finally:
            handle.remove()
        return made, torch.stack(seen, dim=1)

    def record(self, block):
        recorder = Recorder(STEPS)
        made, logits = self.generate(block, recorder)
        return made, logits, recorder.streams()

    def swap(self, streams, lengths, mask, where="every_step"):
        steps = 1 if where == "prefill" else STEPS
        return Swap(mask, streams[self.targets, :steps], lengths[self.targets].clamp(max=steps))

    def watch(self, block, act, steps=STEPS):
        """Streams of all blocks at all passes: block to a list of (n, positions, d); and what is generated."""
        seen = {layer: [] for layer in range(DEPTH)}
        blocks = self.model.towers["text"].blocks
        with contextlib.ExitStack() as stack:
            if act is not None:
                # its hook comes before those that look
                stack.enter_context(acting_on(blocks[block], self.length, act))
            stack.enter_context(reading_blocks(blocks, range(DEPTH), lambda layer, stream: seen[layer].append(stream)))
            made = generate_batch(self.model, self.batch, steps, CPU, self.dtype)
        return seen, made


@pytest.fixture(scope="module")
def run(loaded):
    made = {}

    def get(family, dtype):
        if (family, dtype) not in made:
            made[family, dtype] = Run(loaded(family, dtype), dtype)
        return made[family, dtype]

    return get


each_model = pytest.mark.parametrize(
    ("family", "dtype"), [(family, dtype) for family in FAMILIES for dtype in ("float32", "bfloat16")]
)
ALL = torch.ones(WIDTH, dtype=torch.bool)
NONE = torch.zeros(WIDTH, dtype=torch.bool)
SOME = torch.arange(WIDTH) % 3 == 0


@each_model
@pytest.mark.parametrize("where", ["prefill", "every_step"])
def test_a_swap_of_no_dimension_changes_no_bit(family, dtype, where, run):
    one = run(family, dtype)
    for block in (0, DEPTH - 1):
        plain, logits, streams = one.record(block)
        made, swapped = one.generate(block, one.swap(streams, plain.lengths, NONE, where))
        assert made.tokens.equal(plain.tokens)
        assert made.texts == plain.texts
        assert swapped.equal(logits)


@each_model
def test_all_dimensions_at_every_step_of_the_last_block_say_what_the_target_says(family, dtype, run):
    one = run(family, dtype)
    plain, logits, streams = one.record(DEPTH - 1)
    made, swapped = one.generate(DEPTH - 1, one.swap(streams, plain.lengths, ALL))
    # after the last block come a norm and the head alone, which look at one position
    assert swapped.equal(logits[one.targets])
    assert made.tokens.equal(plain.tokens[one.targets])
    assert made.texts == [plain.texts[target] for target in one.targets]
    assert not made.tokens.equal(plain.tokens)


@each_model
def test_in_prefill_only_the_named_dimensions_of_the_last_position_are_set(family, dtype, run):
    one, block = run(family, dtype), 1
    plain, _, streams = one.record(block)
    before, _ = one.watch(block, None)
    after, _ = one.watch(block, one.swap(streams, plain.lengths, SOME, "prefill"))
    for layer in range(DEPTH):
        # no block sees a changed place of an earlier position, and attention looks back only
        assert after[layer][0][:, :-1].equal(before[layer][0][:, :-1])
        assert after[layer][0].shape == before[layer][0].shape == (len(LOOKS), one.length, WIDTH)
    assert after[0][0].equal(before[0][0])
    last, was = after[block][0][:, -1], before[block][0][:, -1]
    assert last[:, ~SOME].equal(was[:, ~SOME])
    assert last[:, SOME].equal(streams[one.targets, 0][:, SOME])
    assert not last[:, SOME].equal(was[:, SOME])
    assert (after[DEPTH - 1][0][:, -1] != before[DEPTH - 1][0][:, -1]).any(dim=1).all()


@each_model
def test_prefill_leaves_later_steps_alone_and_every_step_sets_them(family, dtype, run):
    one, block = run(family, dtype), 1
    plain, _, streams = one.record(block)
    once, _ = one.watch(block, one.swap(streams, plain.lengths, SOME, "prefill"))
    always, _ = one.watch(block, one.swap(streams, plain.lengths, SOME))
    for layer in range(DEPTH):
        assert always[layer][0].equal(once[layer][0])
    for step in range(1, STEPS):
        values = streams[one.targets, step]
        assert always[block][step][:, 0][:, SOME].equal(values[:, SOME])
        assert not once[block][step][:, 0][:, SOME].equal(values[:, SOME])


@each_model
def test_a_whole_swap_at_the_last_block_in_prefill_is_the_target_for_one_step(family, dtype, run):
    one = run(family, dtype)
    plain, logits, streams = one.record(DEPTH - 1)
    _, once = one.generate(DEPTH - 1, one.swap(streams, plain.lengths, ALL, "prefill"))
    assert once[:, 0].equal(logits[one.targets, 0])
    # the token is the target's then, but it follows the source's image
    assert not once[:, 1:].equal(logits[one.targets, 1:])


@pytest.mark.parametrize("family", FAMILIES)
def test_a_swap_beyond_the_end_of_the_targets_text_changes_nothing(family, run):
    one, block = run(family, "float32"), 1
    plain, _, streams = one.record(block)
    short = torch.tensor([2, 1, 2, 1])
    seen, _ = one.watch(block, one.swap(streams, short, SOME))
    for row, target in enumerate(one.targets.tolist()):
        for step in range(STEPS):
            same = seen[block][step][row, -1][SOME].equal(streams[target, step][SOME])
            assert same == (step < short[target])
    assert plain.lengths.tolist() == [STEPS] * len(LOOKS)


# Hooks


class Tuple(nn.Module):
    def forward(self, stream):
        return stream * 2, "beside"


class Plain(nn.Module):
    def forward(self, stream):
        return stream * 2


@pytest.mark.parametrize("block", [Tuple(), Plain()], ids=["tuple", "tensor"])
def test_blocks_that_return_a_tensor_or_a_tuple_are_changed_alike(block):
    prompt, later = torch.arange(24.0).reshape(2, 3, 4), torch.ones(2, 1, 4)
    swap = Swap(torch.tensor([True, False, False, True]), torch.full((2, 2, 4), -1.0), torch.tensor([1, 2]))
    with acting_on(block, 3, swap):
        outputs = [block(prompt), block(later), block(later)]
    if isinstance(block, Tuple):
        assert all(output[1] == "beside" for output in outputs)
        outputs = [output[0] for output in outputs]
    wanted = [prompt * 2, later * 2, later * 2]
    wanted[0][:, -1, [0, 3]] = -1
    wanted[1][1, -1, [0, 3]] = -1
    for output, expected in zip(outputs, wanted, strict=True):
        assert output.equal(expected)
    assert not block._forward_hooks


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([2], r"pass 0 .* \(1, 2, 4\), where 3 .* \(prefill_chunk_size unset\)"),
        ([1], r"pass 0 .* \(1, 1, 4\), where 3 "),
        ([3, 4], r"pass 1 .* \(1, 4, 4\), where 1 .* generate with a cache"),
    ],
    ids=["chunk", "cached", "no-cache"],
)
def test_a_prompt_that_is_read_in_parts_or_without_a_cache_is_an_error(lengths, message):
    block = Plain()

    def read():
        with acting_on(block, 3, Recorder(1)):
            for length in lengths:
                block(torch.ones(1, length, 4))

    with pytest.raises(ValueError, match=message):
        read()
    assert not block._forward_hooks


def test_generating_without_a_cache_is_an_error(run):
    one = run("llava", "float32")
    writer = one.model.generate
    kept = writer._options
    writer._options = lambda **options: kept(use_cache=False, **options)
    try:
        with pytest.raises(ValueError, match="generate with a cache"):
            one.generate(0, Recorder(1))
    finally:
        del writer._options


def test_a_block_that_is_never_passed_is_an_error():
    with pytest.raises(RuntimeError, match="Plain: the block was not passed"), acting_on(Plain(), 3, Recorder(1)):
        pass


@pytest.mark.parametrize(("rows", "width"), [(3, 4), (2, 5)])
def test_values_of_another_batch_or_model_are_an_error(rows, width):
    swap = Swap(torch.ones(4, dtype=torch.bool), torch.zeros(2, 1, 4), torch.tensor([1, 1]))
    with pytest.raises(ValueError, match=f"{rows} rows of {width} dimensions"):
        swap(0, torch.ones(rows, width))


def test_steps_that_never_came_are_recorded_as_zeros_and_those_beyond_are_not_kept():
    recorder = Recorder(3)
    recorder(0, torch.ones(2, 4))
    recorder(1, torch.full((2, 4), 2.0))
    assert recorder.streams()[0, :, 0].tolist() == [1, 2, 0]
    for step in (2, 3):
        recorder(step, torch.full((2, 4), step + 1.0))
    assert recorder.streams()[0, :, 0].tolist() == [1, 2, 3]


# Dimensions


def test_both_axes_count_alike_whatever_their_scales():
    # of the sums: .5 .3 .2 0 for latitude, 0 .1 .2 .7 for longitude a thousand times as large
    coefficients = np.array([[5, 0], [-3, 100], [2, -200], [0, 700]], dtype=float)
    assert rank_dimensions(coefficients, np.ones(4), "coefficients").tolist() == [3, 0, 1, 2]


def test_standardised_ranks_by_what_a_dimension_moves():
    coefficients, deviations = np.array([[1.0, 1.0], [2.0, 2.0], [4.0, 4.0]]), np.array([9.0, 1.0, 1.0])
    assert rank_dimensions(coefficients, deviations, "coefficients").tolist() == [2, 1, 0]
    assert rank_dimensions(coefficients, deviations, "standardised").tolist() == [0, 2, 1]


@pytest.mark.parametrize("axis", [0, 1])
def test_an_axis_without_weight_leaves_the_order_to_the_other(axis):
    coefficients = np.zeros((3, 2))
    coefficients[:, axis] = [1, 3, 2]
    assert rank_dimensions(coefficients, np.ones(3), "coefficients").tolist() == [1, 2, 0]
    assert rank_dimensions(np.zeros((3, 2)), np.ones(3), "standardised").tolist() == [0, 1, 2]


def test_random_orders_are_by_seed_and_those_of_the_ablation(monkeypatch):
    orders = [rank_dimensions(np.ones((WIDTH, 2)), np.ones(WIDTH), "random", seed).tolist() for seed in (1, 1, 2)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == list(range(WIDTH))
    seen = []

    def fit(_values, columns, *_rest):
        seen.append(columns.tolist())
        return [np.zeros((5, 1))] * 2, []

    monkeypatch.setattr(dimensions, "_fit", fit)
    dimensions.predict_random(np.ones((5, WIDTH)), np.ones((5, 2)), None, [0.25], 2, {})
    assert seen == [np.flatnonzero(mask_of(np.array(orders[2]), 0.25)).tolist()]


@pytest.mark.parametrize(("share", "count"), [(0, 0), (0.01, 0), (0.1, 5), (0.5, 24), (0.99, 48), (1, 48)])
def test_a_share_is_the_first_of_the_order_rounded(share, count):
    order = np.random.default_rng(0).permutation(WIDTH)
    assert np.flatnonzero(mask_of(order, share)).tolist() == sorted(order[:count].tolist())


def test_unknown_rankings_and_random_without_a_seed_are_errors():
    with pytest.raises(ValueError, match=r'rankings has "raw"; allowed: coefficients, standardised, random'):
        rank_dimensions(np.ones((3, 2)), np.ones(3), "raw")
    with pytest.raises(ValueError, match="has no seed"):
        rank_dimensions(np.ones((3, 2)), np.ones(3), "random")


@pytest.mark.parametrize(
    ("block", "number"), [(0, 0), (-1, 8), (-9, 0), ("first", 0), ("last", 8), (0.5, 4), (0.25, 2), (1.0, 8), (0.0, 0)]
)
def test_blocks_are_named_by_number_share_or_end(block, number):
    assert block_number(block, 9) == number


@pytest.mark.parametrize("block", [9, -10, 1.5, "middle", None])
def test_a_block_that_there_is_not_is_an_error(block):
    with pytest.raises(ValueError, match=f"steering.block is {block}, and the decoder has 9 blocks"):
        block_number(block, 9)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    generator = np.random.default_rng(1)
    positions = np.column_stack([generator.uniform(-80, 80, 30), generator.uniform(-170, 170, 30)])
    features = {("text", "last", block): generator.normal(size=(30, 6)) * (block + 1) for block in (0, 2)}
    features["vision", "mean", 1] = generator.normal(size=(30, 6))
    made = Files(tmp_path_factory.mktemp("fits"), positions, features, np.zeros(30, int), np.arange(30) % 3)
    made.fit()
    return made


def test_coefficients_are_the_means_of_the_folds(files):
    coefficients, deviations = read_coefficients(files.fits, 2, "random", 6)
    with h5py.File(files.fits) as fits:
        folds = fits["text/last/2/all/degrees/random/none/coefficients"][:].astype(float)
    assert folds.shape == (3, 6, 2)
    np.testing.assert_allclose(coefficients, (folds[0] + folds[1] + folds[2]) / 3)
    np.testing.assert_allclose(deviations, files.features["text", "last", 2].std(axis=0), rtol=1e-6)


def test_a_block_that_was_not_probed_names_those_that_were(files):
    with pytest.raises(
        ValueError, match=r"block 1 of the decoder was not probed .* only 0, 2 were; set steering.block"
    ):
        read_coefficients(files.fits, 1, "random", 6)


def test_fits_of_another_width_or_without_the_cross_validation_are_errors(files):
    with pytest.raises(ValueError, match="the probe is of 6 dimensions, and the model's stream has 48"):
        read_coefficients(files.fits, 0, "random", WIDTH)
    with pytest.raises(ValueError, match='no fold of the cross-validation "countries" was fitted'):
        read_coefficients(files.fits, 0, "countries", 6)


def test_conditions_are_every_combination_with_seeds_for_random_alone():
    made = list_conditions(["prefill", "every_step"], ["coefficients", "random"], 3, [0, 0.5])
    assert len(made) == len(set(made)) == 2 * (1 + 3) * 2
    assert {(one.ranking, one.seed) for one in made} == {
        ("coefficients", None),
        ("random", 0),
        ("random", 1),
        ("random", 2),
    }


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((["always"], ["random"], 1, [0.5]), 'steering.where has "always"; allowed: prefill, every_step'),
        ((["prefill"], ["random"], 1, [0, 1.5]), "steering.shares has 1.5"),
        ((["prefill"], ["random"], 0, [0.5]), "steering.random_seeds is 0; give 1 or more"),
    ],
    ids=["where", "shares", "seeds"],
)
def test_options_that_are_none_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        list_conditions(*options)
