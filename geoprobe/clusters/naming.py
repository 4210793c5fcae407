"""Names of clusters: their numbers, a table of the user's, or the words that their captions use most."""

import csv
from pathlib import Path

import numpy as np

from geoprobe import csv_files
from geoprobe.words import WORD, split_words

DIGITS = 18  # of a number that 64 bits hold


def name_by_number(numbers):
    """The name "cluster <k>" for each number k."""
    return [f"cluster {number}" for number in numbers]


def name_by_captions(captions, clusters, numbers, words):
    """Name each cluster by the words that are over-represented in its captions.

    Args:
        captions: n captions.
        clusters: cluster of each image, shape (n,).
        numbers: the clusters to name.
        words: words a name.

    Returns:
        A name for each of the numbers; "cluster <k>" for a cluster whose captions have no word.

    English stop words ("a", "in") are left out. Class-based TF-IDF, tf(word, cluster) * log(1 + A / f(word)) with A
    the mean number of words a cluster (Grootendorst 2022, BERTopic, equation 2).
    """
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

    names = name_by_number(numbers)
    texts = [" ".join(np.asarray(captions)[clusters == number]) for number in numbers]
    if not any(set(split_words(text)) - ENGLISH_STOP_WORDS for text in texts):
        return names
    vectorizer = CountVectorizer(token_pattern=WORD.pattern, stop_words="english")
    frequency = vectorizer.fit_transform(texts).toarray()
    weight = frequency * np.log1p(frequency.sum(axis=1).mean() / frequency.sum(axis=0))
    vocabulary = vectorizer.get_feature_names_out()
    for row in range(len(names)):
        best = [index for index in np.argsort(-weight[row], kind="stable")[:words] if weight[row, index] > 0]
        if best:
            names[row] = ", ".join(vocabulary[best])
    return names


def name_by_table(table, numbers):
    """Name each cluster as a table says.

    Args:
        table: pairs of number and name.
        numbers: the clusters to name.

    Raises:
        ValueError: clusters are missing from the table; names them.
    """
    named = dict(table)
    missing = [str(number) for number in numbers if number not in named]
    if missing:
        raise ValueError(f"path has no name for cluster {', '.join(missing)}; add a row for each.")
    return [named[number] for number in numbers]


def read_names(path):
    """Pairs of number and name of a CSV with columns cluster and name, in its order.

    Raises:
        ValueError: a column is missing, a number is none or repeats, or a name is empty; names file and row.
    """
    path = Path(path)
    if not path.is_file():
        raise ValueError(f'"{path}" is no file; give a CSV with columns cluster, name.')
    pairs = []
    with csv_files.reading(path, csv.DictReader) as reader:
        header = reader.fieldnames or []
        if not {"cluster", "name"} <= set(header):
            raise ValueError(f"{path}: the columns are {', '.join(header) or 'none'}; there must be cluster and name.")
        for row in reader:
            number, name = (row["cluster"] or "").strip(), (row["name"] or "").strip()
            where = f"{path}, line {reader.line_num}"
            # isdecimal alone would let other scripts' digits in
            if not (number.isascii() and number.isdecimal() and len(number) <= DIGITS):
                raise ValueError(f'{where}: cluster is "{number}"; give its number, 0 or more.')
            if not name:
                raise ValueError(f"{where}: cluster {number} has no name; give one.")
            if int(number) in dict(pairs):
                raise ValueError(f"{where}: cluster {number} is named twice; leave one row out.")
            pairs.append((int(number), name))
    if not pairs:
        raise ValueError(f"{path}: has no row; give a name a row.")
    return pairs
