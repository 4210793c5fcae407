"""Captions as numbers: a vocabulary of words, and a small tower that embeds a bag of them."""

from collections import Counter

import torch
from torch import nn

from geoprobe.words import split_words


def build_vocabulary(captions):
    """Every word of the captions, the most frequent first; ties in alphabetical order."""
    counts = Counter(word for caption in captions for word in split_words(caption))
    return sorted(counts, key=lambda word: (-counts[word], word))


def encode_captions(captions, vocabulary):
    """Captions as padded word numbers.

    Returns:
        Integer tensor, shape (captions, longest caption); 0 is padding, word k of the vocabulary is k + 1.

    Raises:
        ValueError: a caption has no word; names it.
    """
    number = {word: index + 1 for index, word in enumerate(vocabulary)}
    rows = [[number[word] for word in split_words(caption) if word in number] for caption in captions]
    for caption, row in zip(captions, rows, strict=True):
        if not row:
            raise ValueError(f"caption {caption!r} has no word; leave the image out or give it a caption")
    encoded = torch.zeros(len(rows), max(map(len, rows)), dtype=torch.long)
    for index, row in enumerate(rows):
        encoded[index, : len(row)] = torch.tensor(row)
    return encoded


class BagOfWords(nn.Module):
    """Text tower: the mean of word vectors, then one hidden layer.

    Captions here are a handful of names or nouns without syntax, for which word order carries nothing.
    """

    def __init__(self, words, width):
        super().__init__()
        self.embed = nn.EmbeddingBag(words + 1, width, mode="mean", padding_idx=0)
        self.mlp = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, tokens):
        """Word numbers (n, length) to text vectors (n, width)."""
        return self.mlp(self.embed(tokens))
