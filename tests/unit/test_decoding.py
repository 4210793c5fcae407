"""Decoding: the images of the store, whoever decodes them, and errors that name the image."""

import multiprocessing
import os
import pickle

import numpy as np
import pytest
import torch
from test_features import make_store

from geoprobe.features.decoding import Batches, Failure, load_batches, share_threads, start_method
from geoprobe.images.store import read_images
from geoprobe.models.loading import stack_inputs

ROWS = [[3, 1], [0], [2, 4]]


class Pixels:
    """The pixels themselves, the id's length, and which process it was, on how many threads.

    In a worker, image `deadly` is the end of it.
    """

    def __init__(self, deadly=None):
        self.deadly = deadly

    def __call__(self, image, image_id):
        if image_id == self.deadly and multiprocessing.parent_process():
            os._exit(3)
        if image_id == "image 9":
            raise LookupError("nine is not known")
        about = [int(image_id.split()[1]), os.getpid(), torch.get_num_threads()]
        return {"pixels": torch.from_numpy(np.array(image)), "about": torch.tensor(about)}


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store") / "images.h5")


def test_batches_hold_the_decoded_images_of_their_rows_in_order(store):
    images = [np.asarray(image) for image in read_images(store, range(5))]
    loaded = list(load_batches(Batches(store, Pixels(), stack_inputs), ROWS, workers=0))
    assert [rows for rows, _ in loaded] == ROWS
    for rows, batch in loaded:
        np.testing.assert_array_equal(batch["pixels"], np.stack([images[row] for row in rows]))
        assert batch["about"][:, 0].tolist() == rows
        assert set(batch["about"][:, 1].tolist()) == {os.getpid()}


def test_workers_give_the_same_batches_in_the_same_order_each_on_one_thread(store):
    batches = Batches(store, Pixels(), stack_inputs)
    alone = list(load_batches(batches, ROWS * 3, workers=0))
    others = list(load_batches(batches, ROWS * 3, workers=2))
    assert [rows for rows, _ in others] == ROWS * 3
    processes = set()
    for (_, batch), (_, expected) in zip(others, alone, strict=True):
        assert torch.equal(batch["pixels"], expected["pixels"])
        processes.update(batch["about"][:, 1].tolist())
        assert batch["about"][:, 2].unique().tolist() == [1]
    assert os.getpid() not in processes
    assert len(processes) == 2


def test_a_worker_that_dies_is_an_error_that_names_where_it_was(store):
    batches = Batches(store, Pixels(deadly="image 2"), stack_inputs)
    with pytest.raises(RuntimeError, match=r"was ended, .* at image image [023] or within 2 batches after it"):
        list(load_batches(batches, ROWS, workers=1))


def test_an_image_that_the_model_cannot_take_is_named_with_the_reason(store):
    batches = Batches(store, Pixels(), stack_inputs)
    with pytest.raises(
        ValueError, match=r"image image 9 cannot be made an input of the model \(LookupError: "
    ) as error:
        list(load_batches(batches, [[8, 9]], workers=0))
    assert "Pixels" in str(error.value.__cause__) or "__call__" in str(error.value.__cause__)


def test_a_store_is_opened_by_whoever_reads_it_and_not_before(store):
    batches = Batches(store, Pixels(), stack_inputs)
    assert batches.file is None
    assert batches.name(4) == "image 4"
    assert batches.file
    sent = pickle.loads(pickle.dumps(batches))
    assert sent.file is None
    assert sent.name(4) == "image 4"
    sent.close()
    batches.close()
    assert batches.file is None


def test_a_failure_is_handed_over_and_not_raised_where_it_happens(store):
    rows, failure = Batches(store, Pixels(), stack_inputs)[[9]]
    assert rows == [9]
    assert isinstance(failure, Failure)
    assert "nine is not known" in failure.trace


def test_sizes_are_read_from_the_headers(tmp_path):
    # the second file ends after its header: it has a size, and no pixels
    store = make_store(tmp_path / "images.h5", sizes=[(8, 12), (20, 4), (16, 16)], spoil=1)
    assert Batches(store, Pixels(), stack_inputs).sizes([1, 0]) == [(20, 4), (8, 12)]


@pytest.mark.parametrize(
    ("threads", "device", "shares"),
    [(1, "cpu", (1, 0)), (1, "cuda", (1, 0)), (2, "cpu", (1, 1)), (8, "cpu", (7, 1)), (8, "cuda", (1, 7))],
)
def test_threads_decode_beside_a_gpu_and_compute_on_a_cpu(threads, device, shares):
    assert share_threads(threads, device) == shares


def test_workers_are_no_copies_of_a_process_that_may_hold_a_gpu():
    assert start_method() in ("forkserver", "spawn")
