"""Words of a caption, the same for the text tower and for the clusters' names."""

import re

WORD = re.compile(r"[^\W_]+")


def split_words(caption):
    """Lower-case words of a caption, in order: runs of letters and digits of any script."""
    return WORD.findall(caption.lower())
