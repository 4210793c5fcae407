"""Words of captions."""

import itertools

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import CountVectorizer

from geoprobe.words import WORD, split_words

PROPERTY = settings(max_examples=300, deadline=None, derandomize=True, database=None)


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("rolling dark rainforest, shore, green tint", ["rolling", "dark", "rainforest", "shore", "green", "tint"]),
        ("Rhône-Alpes: Côte d'Azur", ["rhône", "alpes", "côte", "d", "azur"]),
        ("Баткен, Кыргызстан", ["баткен", "кыргызстан"]),
        ("路 42, 東京", ["路", "42", "東京"]),
        ("one_two__three", ["one", "two", "three"]),
        ("ice ice", ["ice", "ice"]),
        ("  \n, _ - ", []),
        ("", []),
    ],
)
def test_words_are_lower_case_runs_of_letters_and_digits_in_order(caption, words):
    assert split_words(caption) == words


@PROPERTY
@given(st.text(max_size=40))
@example("İstanbul_Ⅷ²")
def test_words_are_what_lies_between_characters_that_are_no_letter_or_digit(caption):
    runs = itertools.groupby(caption.lower(), key=str.isalnum)
    assert split_words(caption) == ["".join(run) for is_word, run in runs if is_word]


@PROPERTY
@given(st.text(max_size=40))
def test_scikit_learn_finds_the_same_words_by_the_pattern(caption):
    assert CountVectorizer(token_pattern=WORD.pattern).build_analyzer()(caption) == split_words(caption)


@PROPERTY
@given(st.lists(st.text(max_size=10), max_size=5))
def test_joining_captions_by_spaces_joins_their_words(captions):
    # lower-casing a Greek sigma looks at its neighbours, so captions are lower-cased first
    captions = [caption.lower() for caption in captions]
    expected = [word for caption in captions for word in split_words(caption)]
    assert split_words(" ".join(captions)) == expected
