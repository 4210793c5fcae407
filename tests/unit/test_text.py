"""Captions as numbers, and the tower that embeds them."""

import pytest
import torch

from geoprobe.encoders.text import BagOfWords, build_vocabulary, encode_captions

CAPTIONS = ["Sand, sand and sea", "Sea", "sand-sea of Ålesund", "and"]


@pytest.fixture
def tower():
    torch.manual_seed(0)
    return BagOfWords(words=5, width=8).eval()


def test_the_most_frequent_word_comes_first_and_ties_are_alphabetical():
    # sand and sea three times each, and twice, the others once
    assert build_vocabulary(CAPTIONS) == ["sand", "sea", "and", "of", "ålesund"]


def test_captions_come_back_from_their_numbers():
    vocabulary = build_vocabulary(CAPTIONS)
    encoded = encode_captions(CAPTIONS, vocabulary)
    words = [[vocabulary[number - 1] for number in row if number] for row in encoded.tolist()]
    assert words == [["sand", "sand", "and", "sea"], ["sea"], ["sand", "sea", "of", "ålesund"], ["and"]]


def test_short_captions_are_padded_with_zeros_at_their_end():
    encoded = encode_captions(CAPTIONS, build_vocabulary(CAPTIONS))
    assert encoded.shape == (4, 4)
    assert encoded.dtype == torch.long
    assert (encoded[0] > 0).all()
    assert (encoded[1, 1:] == 0).all()


@pytest.mark.parametrize("empty", ["", "  ", "...!", "_"])
def test_a_caption_without_a_word_is_refused_by_name(empty):
    with pytest.raises(ValueError, match="has no word") as error:
        encode_captions(["sea", empty], ["sea"])
    assert repr(empty) in str(error.value)


def test_padding_changes_no_vector(tower):
    padded = torch.tensor([[1, 2, 0, 0, 0]])
    torch.testing.assert_close(tower(padded), tower(padded[:, :2]))


def test_word_order_changes_no_vector(tower):
    torch.testing.assert_close(tower(torch.tensor([[1, 2, 5]])), tower(torch.tensor([[5, 1, 2]])))


def test_a_vector_is_the_hidden_layer_of_the_mean_word_vector(tower):
    mean = (tower.embed.weight[1] + 2 * tower.embed.weight[4]) / 3
    torch.testing.assert_close(tower(torch.tensor([[4, 1, 4, 0]]))[0], tower.mlp(mean))


def test_other_words_give_other_vectors(tower):
    first, second = tower(torch.tensor([[1], [2]]))
    assert (first - second).abs().max() > 1e-4
