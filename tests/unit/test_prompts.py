"""Prompts from the configuration."""

import numpy as np
import pytest
from tiny_multimodal import make_tokenizer
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from geoprobe.models.prompts import draw_tokens, make_prompt, ordinary_tokens


@pytest.fixture(scope="module")
def tokenizer():
    return make_tokenizer(["<pad>", "<s>", "<image>"], begin="<s>")


def test_no_prompt_stays_none_and_a_text_stays_as_it_is(tokenizer):
    assert make_prompt(None, tokenizer) is None
    assert make_prompt({"text": " Where? \n"}, tokenizer) == " Where? \n"


@pytest.mark.parametrize("seed", range(5))
def test_random_tokens_are_encoded_as_just_those_tokens_again(tokenizer, seed):
    text, tokens = draw_tokens(tokenizer, 20, seed)
    assert len(tokens) == 20
    assert tokenizer.encode(text, add_special_tokens=False) == tokens
    assert text == text.strip()
    assert text.isprintable()


def test_random_tokens_are_set_by_their_seed(tokenizer):
    options = {"random_tokens": 20, "seed": 1}
    assert make_prompt(options, tokenizer) == make_prompt(options, tokenizer)
    assert make_prompt(options, tokenizer) != make_prompt({**options, "seed": 2}, tokenizer)


def test_special_and_added_tokens_are_never_drawn(tokenizer):
    tokenizer = make_tokenizer(["<pad>", "<s>", "<image>"], begin="<s>")
    tokenizer.add_tokens(["geography"])
    left_out = {tokenizer.convert_tokens_to_ids(token) for token in ("<pad>", "<s>", "<image>", "geography")}
    drawable = ordinary_tokens(tokenizer)
    assert left_out.isdisjoint(drawable.tolist())
    assert len(drawable) == len(tokenizer) - len(left_out)


def test_all_of_the_vocabulary_that_can_be_drawn_is_drawn():
    vocabulary = {"[UNK]": 0, **{word: number for number, word in enumerate("abcdefgh", start=1)}}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=words, unk_token="[UNK]")
    _, tokens = draw_tokens(tokenizer, 400, 0)
    counts = np.bincount(tokens, minlength=9)
    assert counts[0] == 0
    # uniform: 50 each, standard deviation 6.6
    assert (np.abs(counts[1:] - 50) < 5 * 6.6).all()


def test_a_vocabulary_whose_tokens_are_not_encoded_as_themselves_is_an_error():
    merging = Tokenizer(models.WordLevel({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=merging, unk_token="[UNK]")
    with pytest.raises(ValueError, match=r"random_tokens is 3: after 1 tokens none of 2000 drawn from the 1 of"):
        make_prompt({"random_tokens": 3, "seed": 0}, tokenizer)


@pytest.mark.parametrize("options", [{}, {"random_tokens": 5}, {"text": "Where?", "seed": 1}, {"words": "Where?"}])
def test_other_options_are_an_error_that_says_what_to_give(tokenizer, options):
    with pytest.raises(ValueError, match="give text, or random_tokens and seed"):
        make_prompt(options, tokenizer)
