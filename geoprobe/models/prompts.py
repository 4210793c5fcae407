"""What is said to a model beside the image: a text as configured, or random tokens of its own vocabulary."""

import numpy as np

# Candidates looked at for one token before it is given up.
TRIES = 2000


def ordinary_tokens(tokenizer):
    """Ids of a tokenizer's vocabulary, ascending, without special and added tokens."""
    left_out = {*tokenizer.all_special_ids, *tokenizer.added_tokens_decoder}
    return np.array(sorted(set(tokenizer.get_vocab().values()) - left_out), dtype=np.int64)


def draw_tokens(tokenizer, number, seed):
    """Text of random tokens that is encoded as just those tokens again.

    Tokens are drawn one after the other, uniformly from the ordinary vocabulary; one that would be merged with those
    before it, that is no text by itself (half a character) or that is not printable is drawn anew. The text neither
    starts nor ends with white space, which chat templates strip.

    Args:
        tokenizer: of transformers.
        number: of tokens.
        seed: of numpy's default_rng.

    Returns:
        The text and the ids of its tokens.

    Raises:
        ValueError: no token of the vocabulary, of very many tried, continues the text.
    """
    vocabulary = ordinary_tokens(tokenizer)
    generator = np.random.default_rng(seed)
    tokens, text = [], ""
    for place in range(number):
        for _ in range(TRIES):
            longer = [*tokens, int(vocabulary[generator.integers(len(vocabulary))])]
            words = tokenizer.decode(longer, clean_up_tokenization_spaces=False)
            whole = words.strip() == words if place == number - 1 else words.lstrip() == words
            if words and whole and words.isprintable() and tokenizer.encode(words, add_special_tokens=False) == longer:
                tokens, text = longer, words
                break
        else:
            raise ValueError(
                f"random_tokens is {number}: after {place} tokens none of {TRIES} drawn from the {len(vocabulary)} of "
                f"{type(tokenizer).__name__} is encoded as itself again; ask for fewer tokens or give a text"
            )
    return text, tokens


def make_prompt(options, tokenizer):
    """The text of a configured prompt.

    Args:
        options: {text: ...}; {random_tokens: number, seed: number}; or None for no text.
        tokenizer: of the model that will read it.

    Returns:
        The text, or None.

    Raises:
        ValueError: the options are neither, or random tokens cannot be drawn.
    """
    if options is None:
        return None
    if set(options) == {"text"}:
        return options["text"]
    if set(options) == {"random_tokens", "seed"}:
        return draw_tokens(tokenizer, options["random_tokens"], options["seed"])[0]
    raise ValueError(f"prompt has {', '.join(options) or 'no keys'}; give text, or random_tokens and seed")
