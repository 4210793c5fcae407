"""Names: by hand-calculated c-TF-IDF and scikit-learn's counts, by table, by number."""

import numpy as np
import pytest
from conftest import ROOT
from sklearn.feature_extraction.text import CountVectorizer

from geoprobe.clusters.naming import name_by_captions, name_by_number, name_by_table, read_names

TWO, THREE = (0, 1), (0, 1, 2)


def test_names_are_by_hand_calculated_weights():
    # A = (6 + 4) / 2 = 5 words a cluster; f: ice 3, rock 4, sea 1, sand 2
    # cluster 0: ice 3 log(1 + 5/3) = 2.94, rock 2 log(1 + 5/4) = 1.62, sea 1 log(1 + 5) = 1.79
    # cluster 1: rock 2 log(1 + 5/4) = 1.62, sand 2 log(1 + 5/2) = 2.51
    captions = ["ice, rock", "Sand rock", "ice ice rock", "sea", "rock, SAND"]
    clusters = np.array([0, 1, 0, 0, 1])
    assert name_by_captions(captions, clusters, TWO, 3) == ["ice, sea, rock", "sand, rock"]
    assert name_by_captions(captions, clusters, TWO, 2) == ["ice, sea", "sand, rock"]
    assert name_by_captions(captions, clusters, TWO, 1) == ["ice", "sand"]


def test_the_numbers_of_clusters_may_have_gaps_and_images_may_be_in_none():
    captions = ["ice, rock", "Sand rock", "ice ice rock", "sea", "rock, SAND", "lava lava lava"]
    clusters = np.array([7, 3, 7, 7, 3, -1])
    assert name_by_captions(captions, clusters, [3, 7], 3) == ["sand, rock", "ice, sea, rock"]


@pytest.mark.parametrize("seed", range(3))
def test_names_are_those_of_the_formula_on_scikit_learns_counts(seed):
    generator = np.random.default_rng(seed)
    vocabulary = np.array(["ice", "rock", "sea", "sand", "fog", "hill", "the", "of", "moor", "fell"])
    captions = [" ".join(generator.choice(vocabulary, 5)) for _ in range(60)]
    clusters = generator.integers(0, 4, 60)
    vectorizer = CountVectorizer(stop_words="english")
    texts = [" ".join(np.array(captions)[clusters == number]) for number in range(4)]
    frequency = vectorizer.fit_transform(texts).toarray()
    weight = frequency * np.log1p(frequency.sum(axis=1).mean() / frequency.sum(axis=0))
    words = vectorizer.get_feature_names_out()
    expected = [", ".join(words[np.argsort(-row, kind="stable")[:3]]) for row in weight]
    assert name_by_captions(captions, clusters, range(4), 3) == expected


def test_a_word_of_all_clusters_yields_to_a_rarer_one():
    # A = 3; rock 2 log(1 + 3/5) = 0.94 is less than ice 1 log(1 + 3/1) = 1.39
    assert name_by_captions(["rock rock ice", "rock rock rock"], np.array([0, 1]), TWO, 1) == ["ice", "rock"]


def test_single_letters_and_digits_are_words():
    assert name_by_captions(["x 7 x 7 x", "b"], np.array([0, 1]), TWO, 2) == ["x, 7", "b"]


def test_stop_words_name_nothing():
    captions = ["the ice of the ice and the ice", "the sea sea", "of the rock"]
    assert name_by_captions(captions, np.array([0, 0, 1]), TWO, 9) == ["ice, sea", "rock"]


@pytest.mark.parametrize("captions", [["", " , ", "_"], ["the", "of", "And the"]])
def test_without_a_word_a_cluster_is_its_number(captions):
    names = ["cluster 0", "cluster 1", "cluster 2"]
    assert name_by_captions(captions, np.array([0, 1, 2]), THREE, 3) == names
    assert name_by_number(THREE) == names


def test_a_cluster_without_words_is_its_number_beside_named_ones():
    captions = ["ice", "", "sand"]
    assert name_by_captions(captions, np.array([0, 1, 2]), THREE, 3) == ["ice", "cluster 1", "sand"]


# by table


def test_a_table_names_the_clusters_that_there_are():
    assert name_by_table([(4, "Beach"), (0, "Ice"), (2, "Beach")], [0, 2]) == ["Ice", "Beach"]


def test_clusters_that_a_table_lacks_are_named_in_the_error():
    with pytest.raises(ValueError, match="no name for cluster 1, 5; add a row for each"):
        name_by_table([(0, "Ice"), (2, "Sea")], [0, 1, 2, 5])


def write(folder, text, encoding="utf-8"):
    path = folder / "names.csv"
    path.write_bytes(text.encode(encoding))
    return path


@pytest.mark.parametrize(
    "text",
    [
        'cluster,name\n3,"Ice, snow"\n0,Плаж\n',
        'name,by,cluster\n"Ice, snow",me,3\nПлаж,me,0\n',
        'cluster,name\r\n 3 ," Ice, snow "\r\n0,Плаж\r\n',
        '\ufeffcluster,name\n3,"Ice, snow"\n0,Плаж',
    ],
)
def test_a_csv_is_read_as_spreadsheets_write_it(tmp_path, text):
    assert read_names(write(tmp_path, text)) == [(3, "Ice, snow"), (0, "Плаж")]


def test_a_name_that_looks_like_a_missing_value_is_a_name(tmp_path):
    assert read_names(write(tmp_path, "cluster,name\n0,NA\n1,None\n")) == [(0, "NA"), (1, "None")]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "the columns are none; there must be cluster and name"),
        ("number,name\n0,Ice\n", "the columns are number, name; there must be cluster and name"),
        ("cluster,name\n", "has no row; give a name a row"),
        ("cluster,name\n0,Ice\nfirst,Sea\n", 'line 3: cluster is "first"; give its number, 0 or more'),
        ("cluster,name\n-1,Ice\n", 'line 2: cluster is "-1"'),
        ("cluster,name\n1.0,Ice\n", 'line 2: cluster is "1.0"'),
        ("cluster,name\n²,Ice\n", 'line 2: cluster is "²"'),
        ("cluster,name\n0\n", "line 2: cluster 0 has no name; give one"),
        ("cluster,name\n0, \n", "line 2: cluster 0 has no name; give one"),
        ("cluster,name\n0,Ice\n1,Sea\n00,Fog\n", "line 4: cluster 00 is named twice; leave one row out"),
    ],
)
def test_a_csv_that_cannot_name_clusters_is_an_error_with_file_and_line(tmp_path, text, sentence):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=r"names\.csv") as raised:
        read_names(path)
    assert sentence in str(raised.value)


def test_a_file_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(ValueError, match=r'none\.csv" is no file; give a CSV with columns cluster, name'):
        read_names(tmp_path / "none.csv")


def test_the_papers_forty_names_are_there():
    pairs = read_names(ROOT / "config/cluster_names.csv")
    assert [number for number, _ in pairs] == list(range(40))
    names = dict(pairs)
    # table of the paper's clusters; no name is used twice
    assert (names[0], names[12], names[33], names[39]) == ("Children", "Piers", "Banks/Beaches", "Large Gatherings")
    assert len(set(names.values())) == 40
