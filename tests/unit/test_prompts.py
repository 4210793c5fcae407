"""Prompts from the configuration."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from tiny_multimodal import SENTENCES, make_tokenizer
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from geoprobe.models.prompts import draw_tokens, fit_length, make_prompt, ordinary_tokens, resolve_prompt


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


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"random_tokens": 5},
        {"text": "Where?", "seed": 1},
        {"words": "Where?"},
        {"as_long_as": {"text": "Where?"}},
    ],
)
def test_other_options_are_an_error_that_says_what_to_give(tokenizer, options):
    with pytest.raises(ValueError, match="give text, text and as_long_as, or random_tokens and seed"):
        make_prompt(options, tokenizer)


def train(model, trainer, pre_tokenizer, decoder, **parts):
    """A tokenizer of another kind, trained on the same sentences."""
    made = Tokenizer(model)
    made.pre_tokenizer, made.decoder = pre_tokenizer, decoder
    for name, part in parts.items():
        setattr(made, name, part)
    made.train_from_iterator(SENTENCES, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=made, unk_token="[UNK]", pad_token="[UNK]")


def make_tokenizers():
    """The kinds that language models have: bytes; pieces with a space before the text; words in lower case."""
    quiet = {"special_tokens": ["[UNK]"], "show_progress": False}
    pieces = {"pre_tokenizer": pre_tokenizers.Metaspace(), "decoder": decoders.Metaspace()}
    unigram = trainers.UnigramTrainer(vocab_size=120, unk_token="[UNK]", **quiet)
    return {
        "bytes": make_tokenizer(["<pad>", "<s>", "<image>"], begin="<s>"),
        "merged pieces": train(models.BPE(unk_token="[UNK]"), trainers.BpeTrainer(vocab_size=150, **quiet), **pieces),
        "likely pieces": train(models.Unigram(), unigram, **pieces),
        "words": train(
            models.WordPiece(unk_token="[UNK]"),
            trainers.WordPieceTrainer(vocab_size=120, **quiet),
            pre_tokenizers.BertPreTokenizer(),
            decoders.WordPiece(),
            normalizer=normalizers.BertNormalizer(lowercase=True),
        ),
    }


NEUTRAL = "Please look at this image with care. There is no hurry."
ASKING = "Guess the latitude and longitude of this image. Answer only with the coordinate tuple (lat,lon)"


@pytest.fixture(scope="module")
def tokenizers():
    return make_tokenizers()


@pytest.mark.parametrize("kind", ["bytes", "merged pieces", "likely pieces", "words"])
@pytest.mark.parametrize("number", [2, 3, 7, 20, 57, 58, 59, 60, 61, 62, 63, 200])
def test_a_text_is_brought_to_exactly_so_many_tokens(tokenizers, kind, number):
    tokenizer = tokenizers[kind]
    text = fit_length(NEUTRAL, number, tokenizer)
    assert len(tokenizer.encode(text, add_special_tokens=False)) == number
    assert text == text.strip() != ""
    # nothing but the neutral text, from its start, and at most a full stop
    assert " ".join([NEUTRAL] * 200).startswith(text) or " ".join([NEUTRAL] * 200).startswith(text.removesuffix("."))
    assert text == fit_length(NEUTRAL, number, tokenizer)


def test_where_a_cut_would_end_in_white_space_a_full_stop_ends_the_text(tokenizer):
    # of the joined text, token 4 is the space; with one more there are 5
    words = [len(tokenizer.encode(text, add_special_tokens=False)) for text in ("Zqx", "Zqx ", "Zqx Z", "Zqx.")]
    assert words == [3, 4, 5, 4]
    assert fit_length("Zqx", 4, tokenizer) == "Zqx."
    assert fit_length("Zqx", 5, tokenizer) == "Zqx Z"


@pytest.mark.parametrize("kind", ["bytes", "merged pieces", "likely pieces", "words"])
def test_a_text_that_already_has_the_number_stays(tokenizers, kind):
    number = len(tokenizers[kind].encode(NEUTRAL, add_special_tokens=False))
    assert fit_length(f"  {NEUTRAL}\n", number, tokenizers[kind]) == NEUTRAL


@pytest.mark.parametrize("other", [{"text": ASKING}, {"text": "Where?"}, {"random_tokens": 20, "seed": 3}])
def test_a_prompt_is_as_long_as_the_one_that_it_names(tokenizer, other):
    text = make_prompt({"text": NEUTRAL, "as_long_as": other}, tokenizer)
    lengths = [
        len(tokenizer.encode(words, add_special_tokens=False)) for words in (text, make_prompt(other, tokenizer))
    ]
    assert lengths[0] == lengths[1]
    assert text.startswith(NEUTRAL) or NEUTRAL.startswith(text)


def test_a_length_that_no_cut_has_is_an_error(tokenizer):
    # four bytes, each a token of its own: half a character is no text
    with pytest.raises(ValueError, match=r"as_long_as asks for 2 tokens of .*, and no cut of '🗼' has just so many"):
        fit_length("🗼", 2, tokenizer)
    with pytest.raises(ValueError, match="give another neutral text"):
        fit_length("  ", 2, tokenizer)


PROMPTS = {
    "asking": {"text": ASKING},
    "random-1": {"random_tokens": 20, "seed": 1},
    "neutral": {"text": NEUTRAL, "as_long_as": "asking"},
    "calm": {"text": "Calm.", "as_long_as": "neutral"},
    "left": {"text": "a", "as_long_as": "right"},
    "right": {"text": "b", "as_long_as": "left"},
    "lost": {"text": "c", "as_long_as": "askng"},
    "bare": {"text": "d", "as_long_as": "none"},
}


def test_a_resolved_prompt_says_all_by_itself(tokenizer):
    assert resolve_prompt(PROMPTS, "none") is None
    assert resolve_prompt(PROMPTS, "random-1") == PROMPTS["random-1"]
    neutral = {"text": NEUTRAL, "as_long_as": {"text": ASKING}}
    assert resolve_prompt(PROMPTS, "neutral") == neutral
    assert resolve_prompt(PROMPTS, "calm") == {"text": "Calm.", "as_long_as": neutral}
    assert PROMPTS["calm"]["as_long_as"] == "neutral"
    long, calm = (make_prompt(resolve_prompt(PROMPTS, name), tokenizer) for name in ("asking", "calm"))
    assert len(tokenizer.encode(long)) == len(tokenizer.encode(calm))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("askng", 'the prompt is "askng", which is not in prompts; there are: asking, random-1'),
        ("lost", 'prompts.lost.as_long_as names "askng", which is not in prompts; there are: asking'),
        ("bare", 'prompts.bare.as_long_as names "none", which is no text'),
        ("left", "prompts.left: left is as long as right is as long as left, so none of them has a length"),
    ],
)
def test_a_name_that_leads_nowhere_is_an_error_in_a_sentence(name, words):
    with pytest.raises(ValueError, match=words):
        resolve_prompt(PROMPTS, name)


def test_a_name_instead_of_options_is_an_error(tokenizer):
    with pytest.raises(ValueError, match="as_long_as is 'asking'; give the other prompt's options"):
        make_prompt(PROMPTS["neutral"], tokenizer)


def test_the_prompts_of_the_configuration_can_all_be_made(tokenizer):
    prompts = yaml.safe_load((Path(__file__).parents[2] / "config/config.yaml").read_text())["prompts"]
    made = {name: make_prompt(resolve_prompt(prompts, name), tokenizer) for name in prompts}
    lengths = {name: len(tokenizer.encode(text, add_special_tokens=False)) for name, text in made.items()}
    assert lengths["neutral"] == lengths["coordinates"]
    assert lengths["random-1"] == lengths["random-2"] == lengths["random-3"] == 20
    assert len(set(made.values())) == len(made) == 8
