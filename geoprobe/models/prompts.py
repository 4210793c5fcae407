"""What is said to a model beside the image: a text as configured or brought to a length, or random tokens."""

import numpy as np

# Candidates looked at for one token before it is given up.
TRIES = 2000
# Characters before and after the guessed place within which a text is cut.
MARGIN = 40
# The name of the image alone, which the configuration always has.
NO_PROMPT = "none"


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


def fit_length(text, number, tokenizer):
    """A text of exactly so many tokens, made of another: repeated while it is too short, then cut.

    It is cut behind a token, where what is kept is encoded as it was within the longer text. Where no cut can be made
    there (half a character; white space at the end, which chat templates strip), another one nearby that leaves the
    number is taken, or else one with a full stop after it.

    Args:
        text: to be repeated, with a space between.
        number: of tokens, without those that a tokenizer puts around every text.
        tokenizer: of transformers.

    Returns:
        The text, which neither starts nor ends with white space.

    Raises:
        ValueError: no cut of the text has just so many tokens.
    """

    def encode(words):
        return list(tokenizer.encode(words, add_special_tokens=False))

    once = text.strip()
    # one repetition more than is needed, so that a cut at the very end is a cut between words like any other
    longer = " ".join([once] * (number // max(1, len(encode(once))) + 2)) if once else ""
    kept = encode(longer)[:number]
    guess = len(tokenizer.decode(kept, clean_up_tokenization_spaces=False))
    # the cut is near where the decoded tokens end; a tokenizer may add or leave out white space when it decodes
    cuts = sorted(range(1, len(longer) + 1), key=lambda cut: (abs(cut - guess), cut))[: 2 * MARGIN]
    parts = [words for words in (longer[:cut] for cut in cuts) if words == words.strip()]
    found = [words for words in parts if len(encode(words)) == number]
    found = [words for words in found if encode(words) == kept] or found
    if not found:
        found = [words for words in (f"{part}." for part in parts) if len(encode(words)) == number]
        found.sort(key=lambda words: words.endswith(".."))  # the nearest first, behind a word if there is one
    if not found:
        raise ValueError(
            f"as_long_as asks for {number} tokens of {type(tokenizer).__name__}, and no cut of {text!r} has just so "
            "many; give another neutral text"
        )
    return found[0]


def resolve_prompt(prompts, name):
    """Options of a prompt that say all by themselves: the name under as_long_as is replaced by that prompt's options.

    Args:
        prompts: name to options, of the configuration.
        name: of a prompt, or none.

    Returns:
        Options for :func:`make_prompt`; None for the name none.

    Raises:
        ValueError: there is no such prompt, or prompts are as long as each other.
    """
    if name == NO_PROMPT:
        return None
    chain = [name]
    while True:
        options = prompts.get(chain[-1])
        if options is None:
            asker = f'prompts.{chain[-2]}.as_long_as names "{chain[-1]}"' if chain[1:] else f'the prompt is "{name}"'
            why = "which is no text" if chain[-1] == NO_PROMPT else "which is not in prompts"
            raise ValueError(f"{asker}, {why}; there are: {', '.join(prompts) or 'none'}")
        if "as_long_as" not in options:
            break
        if options["as_long_as"] in chain:
            circle = [*chain[chain.index(options["as_long_as"]) :], options["as_long_as"]]
            raise ValueError(
                f"prompts.{circle[0]}: {' is as long as '.join(circle)}, so none of them has a length; let one of "
                "them name a prompt that has"
            )
        chain.append(options["as_long_as"])
    resolved = dict(prompts[chain[-1]])
    for asker in chain[-2::-1]:
        resolved = {**prompts[asker], "as_long_as": resolved}
    return resolved


def make_prompt(options, tokenizer):
    """The text of a configured prompt.

    Args:
        options: {text: ...}; {text: ..., as_long_as: options of another prompt}, which is brought to that prompt's
            number of tokens (:func:`resolve_prompt` puts the options for a name); {random_tokens: number, seed:
            number}; or None for no text.
        tokenizer: of the model that will read it.

    Returns:
        The text, or None.

    Raises:
        ValueError: the options are none of these, random tokens cannot be drawn, or the text cannot be cut to length.
    """
    if options is None:
        return None
    if set(options) == {"text"}:
        return options["text"]
    if set(options) == {"text", "as_long_as"}:
        if not isinstance(options["as_long_as"], dict):
            raise ValueError(
                f"as_long_as is {options['as_long_as']!r}; give the other prompt's options, which resolve_prompt finds"
            )
        other = make_prompt(options["as_long_as"], tokenizer)
        return fit_length(options["text"], len(tokenizer.encode(other, add_special_tokens=False)), tokenizer)
    if set(options) == {"random_tokens", "seed"}:
        return draw_tokens(tokenizer, options["random_tokens"], options["seed"])[0]
    raise ValueError(
        f"prompt has {', '.join(options) or 'no keys'}; give text, text and as_long_as, or random_tokens and seed"
    )
