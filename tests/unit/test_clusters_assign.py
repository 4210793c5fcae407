"""From an image store to clusters: against scikit-learn's own steps, taken over by other images, given, sampled."""

import io
import json

import h5py
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.metrics import pairwise_distances
from threadpoolctl import threadpool_limits

import geoprobe
from geoprobe.clusters import assign
from geoprobe.clusters.assign import assign_images
from geoprobe.clusters.embedding import digest_embedding, embed_pixels
from geoprobe.clusters.stored import Clusters, read_clusters, read_source_clusters, write_clusters
from geoprobe.images.store import write_store

PROPERTY = settings(max_examples=12, deadline=None, derandomize=True, database=None)
WORDS = ["ice snow", "sand dune", "wood moor", "city wall", "sea foam"]
COUNT, SIDE = 120, 32
DEFAULT = {
    "by": "kmeans",
    "embedding": "statistics",
    "matched": None,
    "components": 16,
    "seed": 1,
    "count": 5,
    "names": {"by": "captions", "set": "title", "words": 2},
}
FEATURES = {"model": "vit", "tower": "vision", "pooling": "mean", "layer": "last"}


@pytest.fixture(autouse=True, scope="module")
def _threads():
    """As a job of one thread."""
    with threadpool_limits(1):
        yield


def noisy_images(count, seed):
    """Images in five colours with five grains, not all alike, and the kind of each."""
    generator = np.random.default_rng(seed)
    kinds = generator.integers(0, 5, count)
    colours = generator.integers(0, 256, (count, 1, 1, 3)) // 3 + np.eye(5, 3)[kinds][:, None, None] * 150
    grain = generator.normal(0, 1, (count, SIDE, SIDE, 3)) * (3 + 12 * kinds[:, None, None, None])
    return (colours + grain).clip(0, 255).astype(np.uint8), kinds


def make_store(path, count=COUNT, seed=0):
    """An image store of noisy images; returns pixels, ids, captions and positions."""
    pixels, kinds = noisy_images(count, seed)
    generator = np.random.default_rng(seed)
    encoded = []
    for image in pixels:
        stream = io.BytesIO()
        Image.fromarray(image).save(stream, "PNG")
        encoded.append(stream.getvalue())
    ids = [f"{path.stem} {number}" for number in range(count)]
    captions = [f"{WORDS[kind]} of {WORDS[generator.integers(5)]}" for kind in kinds]
    positions = np.column_stack([generator.uniform(-60, 60, count), generator.uniform(-170, 170, count)])
    columns = {name: [""] * count for name in ("geocells", "countries", "groups")}
    columns |= {"ids": ids, "latitudes": positions[:, 0], "longitudes": positions[:, 1]}
    write_store(path, encoded, columns, {"title": captions}, {"source": "test"})
    return pixels, ids, captions, positions


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    path = tmp_path_factory.mktemp("photos") / "photos.h5"
    return path, *make_store(path)


@pytest.fixture(scope="module")
def others(tmp_path_factory):
    path = tmp_path_factory.mktemp("others") / "others.h5"
    return path, *make_store(path, 70, seed=9)


def run(folder, store, options=DEFAULT, dataset="photos", elbow=False, **inputs):
    """Assign; returns the table, the summary and the paths of the outputs."""
    kinds = {"clusters": "parquet", "summary": "csv", "fitted": "h5"} | ({"elbow": "elbow.csv"} if elbow else {})
    outputs = {name: folder / f"{dataset}.{kind}" for name, kind in kinds.items()}
    assign_images(store, dataset, options, outputs, **inputs)
    return pd.read_parquet(outputs["clusters"]), pd.read_csv(outputs["summary"]), outputs


def earlier_formula(embedding, count, seed):
    """Clusters and distances as they have always been found, by scikit-learn's own steps."""
    reduced = PCA(min(16, *embedding.shape), random_state=seed).fit_transform(embedding)
    means = KMeans(count, n_init=10, random_state=seed).fit(reduced)
    order = np.argsort(-np.bincount(means.labels_, minlength=count), kind="stable")
    distance = np.linalg.norm(reduced - means.cluster_centers_[means.labels_], axis=1)
    return np.argsort(order)[means.labels_], distance


def earlier_names(captions, clusters, count, words):
    """Names by class-based TF-IDF as they have always been found."""
    vectorizer = CountVectorizer(token_pattern=r"[^\W_]+", stop_words="english")
    frequency = vectorizer.fit_transform(
        [" ".join(np.array(captions)[clusters == number]) for number in range(count)]
    ).toarray()
    weight = frequency * np.log1p(frequency.sum(axis=1).mean() / frequency.sum(axis=0))
    vocabulary = vectorizer.get_feature_names_out()
    return [", ".join(vocabulary[np.argsort(-row, kind="stable")[:words]]) for row in weight]


@pytest.mark.parametrize(("count", "seed"), [(5, 1), (8, 3)])
def test_the_default_is_the_earlier_formula(tmp_path, photos, count, seed):
    store, pixels, ids, captions, _ = photos
    table, summary, _ = run(tmp_path, store, DEFAULT | {"count": count, "seed": seed})
    clusters, distances = earlier_formula(embed_pixels(pixels), count, seed)
    names = earlier_names(captions, clusters, count, 2)
    assert table["id"].tolist() == ids
    assert table["cluster"].tolist() == clusters.tolist()
    assert table["name"].tolist() == [names[number] for number in clusters]
    np.testing.assert_allclose(table["distance"], distances, rtol=1e-9)
    assert summary["name"].tolist() == names
    assert summary["images"].tolist() == np.bincount(clusters).tolist()


def test_a_models_features_are_clustered_in_place_of_the_statistics(tmp_path, photos):
    store, _, ids, _, _ = photos
    values = np.random.default_rng(4).gamma(1, size=(COUNT, 24)).astype(np.float32)
    features = tmp_path / "features.h5"
    with h5py.File(features, "w") as file:
        file.create_dataset("ids", data=np.asarray(ids, dtype=object), dtype=h5py.string_dtype())
        file["vision/mean/0"], file["vision/mean/1"] = values[::-1], values
        file.attrs["weights_digest"] = "abc"
    table, _, outputs = run(tmp_path, store, DEFAULT | {"embedding": FEATURES}, features=features)
    clusters, distances = earlier_formula(values.astype(np.float64), 5, 1)
    assert table["cluster"].tolist() == clusters.tolist()
    np.testing.assert_allclose(table["distance"], distances, rtol=1e-6)
    fitted = read_clusters(outputs["fitted"])
    assert fitted.embedding == {**FEATURES, "by": "model", "layer": 1, "weights_digest": "abc"}
    assert fitted.attributes["embedding_digest"] == digest_embedding(ids, values)


def test_the_file_says_what_the_clusters_were_made_of(tmp_path, photos):
    store, pixels, ids, _, _ = photos
    table, _, outputs = run(tmp_path, store)
    fitted = read_clusters(outputs["fitted"])
    assert fitted.embedding == {"by": "statistics", "pixels": 32}
    assert fitted.names == table.groupby("cluster")["name"].first().tolist()
    with h5py.File(store) as file:
        assert fitted.attributes["images_digest"] == file.attrs["digest"] == table.attrs["images_digest"]
    assert fitted.attributes["embedding_digest"] == digest_embedding(ids, embed_pixels(pixels))
    assert json.loads(fitted.attributes["options"]) == DEFAULT
    assert fitted.attributes["geoprobe"] == geoprobe.__version__
    assert {"numpy", "scikit-learn"} <= set(json.loads(fitted.attributes["versions"]))


def test_a_caption_set_that_the_store_lacks_is_an_error_that_names_those_it_has(tmp_path, photos):
    options = DEFAULT | {"names": {"by": "captions", "set": "tags", "words": 2}}
    with pytest.raises(ValueError, match=r'names\.set is "tags"; .* has: title\. Choose one, or name .* by number'):
        run(tmp_path, photos[0], options)


# the number of clusters


def test_the_number_of_the_elbow_is_used_and_its_curve_written(tmp_path, photos):
    store, pixels, _, _, _ = photos
    options = DEFAULT | {"count": {"low": 2, "high": 14, "step": 3}}
    table, _, outputs = run(tmp_path, store, options, elbow=True)
    curve = pd.read_csv(outputs["elbow"])
    embedding = embed_pixels(pixels)
    reduced = PCA(16, random_state=1).fit_transform(embedding)
    expected = [KMeans(k, n_init=10, random_state=1).fit(reduced).inertia_ for k in (2, 5, 8, 11, 14)]
    assert curve["k"].tolist() == [2, 5, 8, 11, 14]
    np.testing.assert_allclose(curve["inertia"], expected, rtol=1e-9)
    (chosen,) = curve.loc[curve["chosen"], "k"]
    assert table["cluster"].tolist() == earlier_formula(embedding, chosen, 1)[0].tolist()


def test_where_the_number_is_given_no_other_is_tried(tmp_path, photos, monkeypatch):
    monkeypatch.setattr(assign, "choose_count", None)
    _, _, outputs = run(tmp_path, photos[0], elbow=True)
    # another data set of the run has an elbow: its file has no row here
    assert outputs["elbow"].read_text() == "k,inertia,chosen\n"


# clusters of another data set


FROM = {"by": "from", "from": "photos", "embedding": "statistics", "matched": None}


@PROPERTY
@given(st.integers(0, 2**32 - 1), st.integers(2, 12))
def test_the_fitted_images_assigned_again_are_in_the_same_clusters(tmp_path_factory, seed, count):
    values = np.random.default_rng(seed).gamma(1, size=(60, 10))
    fitted, _ = assign._cluster_freely(values, {"by": "test"}, {"components": 4, "seed": 0, "count": count})
    fitted.names = [f"name {number}" for number in fitted.numbers]
    path = tmp_path_factory.mktemp("fitted") / "fitted.h5"
    write_clusters(path, fitted)
    again = read_clusters(path)
    for a, b in zip(fitted.assign(values), again.assign(values), strict=True):
        np.testing.assert_array_equal(a, b)
    # nor does it matter which images are beside them
    rows = np.random.default_rng(seed).permutation(60)[:7]
    clusters, distances = fitted.assign(values)
    some, near = again.assign(values[rows])
    np.testing.assert_array_equal(some, clusters[rows])
    np.testing.assert_allclose(near, distances[rows], rtol=1e-9, atol=1e-12)
    assert again.names == fitted.names


def test_a_data_set_assigned_to_its_own_clusters_gets_the_same_table(tmp_path, photos):
    table, summary, outputs = run(tmp_path, photos[0])
    again, summary_again, _ = run(tmp_path, photos[0], FROM, dataset="again", fitted=outputs["fitted"])
    pd.testing.assert_frame_equal(again, table, check_exact=True)
    pd.testing.assert_frame_equal(summary_again, summary, check_exact=True)


def test_other_images_are_assigned_to_the_nearest_centroid_and_keep_numbers_and_names(tmp_path, photos, others):
    first, _, outputs = run(
        tmp_path, photos[0], DEFAULT | {"names": {"by": "table", "table": [(k, f"n{k}") for k in range(5)]}}
    )
    table, _, made = run(tmp_path, others[0], FROM, dataset="others", fitted=outputs["fitted"])
    pca = PCA(16, random_state=1).fit(embed_pixels(photos[1]))
    reduced = pca.transform(embed_pixels(photos[1]))
    centroids = np.stack([reduced[first["cluster"] == number].mean(axis=0) for number in range(5)])
    between = pairwise_distances(pca.transform(embed_pixels(others[1])), centroids)
    assert table["id"].tolist() == others[2]
    assert table["cluster"].tolist() == between.argmin(axis=1).tolist()
    np.testing.assert_allclose(table["distance"], between.min(axis=1), rtol=1e-6)
    assert table["name"].tolist() == [f"n{number}" for number in table["cluster"]]
    kept, origin = read_clusters(made["fitted"]), read_clusters(outputs["fitted"])
    np.testing.assert_array_equal(kept.centroids, origin.centroids)
    assert kept.names == origin.names
    assert kept.attributes["fitted_dataset"] == "photos"
    assert kept.attributes["fitted_embedding_digest"] == origin.attributes["embedding_digest"]
    assert kept.attributes["embedding_digest"] != origin.attributes["embedding_digest"]


def test_clusters_by_another_embedding_are_refused(tmp_path, photos):
    _, _, outputs = run(tmp_path, photos[0])
    clusters = read_clusters(outputs["fitted"])
    clusters.embedding = {"by": "model", "model": "vit"}
    write_clusters(outputs["fitted"], clusters)
    with pytest.raises(
        ValueError, match=r'photos\.h5 holds clusters by .*"vit".* of mine are embedded by .*statistics'
    ):
        run(tmp_path, photos[0], FROM, dataset="mine", fitted=outputs["fitted"])


# given clusters


def with_clusters(folder, store, clusters):
    """A copy of a store that has clusters, as the paper's own files have."""
    path = folder / "given.h5"
    path.write_bytes(store.read_bytes())
    with h5py.File(path, "r+") as file:
        file["clusters"] = clusters
    return path


def test_a_source_may_be_one_cluster_named_after_the_data_set(tmp_path, photos):
    store, pixels, _, _, _ = photos
    options = {key: DEFAULT[key] for key in ("embedding", "matched", "components", "seed")} | {"by": "source"}
    table, summary, outputs = run(tmp_path, store, options, dataset="landmarks")
    assert set(table["cluster"]) == {0}
    assert set(table["name"]) == {"landmarks"}
    assert summary["images"].tolist() == [COUNT]
    reduced = PCA(16, random_state=1).fit_transform(embed_pixels(pixels))
    # the components are centred: the centroid is the origin
    np.testing.assert_allclose(table["distance"], np.linalg.norm(reduced, axis=1), rtol=1e-9)
    assert read_clusters(outputs["fitted"]).names == ["landmarks"]


def test_clusters_of_the_store_keep_their_numbers(tmp_path, photos):
    store, pixels, _, captions, _ = photos
    given = np.random.default_rng(0).choice([-1, 3, 7, 35], COUNT)
    options = {key: value for key, value in DEFAULT.items() if key != "count"} | {"by": "stored"}
    table, _, outputs = run(tmp_path, with_clusters(tmp_path, store, given), options)
    assert table["cluster"].tolist() == given.tolist()
    reduced = PCA(16, random_state=1).fit_transform(embed_pixels(pixels))
    for number in (3, 7, 35):
        part = reduced[given == number]
        expected = np.linalg.norm(part - part.mean(axis=0), axis=1)
        np.testing.assert_allclose(table["distance"][given == number], expected, rtol=1e-9)
    assert table["distance"][given == -1].isna().all()
    dense = np.searchsorted([3, 7, 35], given[given >= 0])
    names = earlier_names(np.array(captions)[given >= 0], dense, 3, 2)
    assert table.groupby("cluster")["name"].first().to_dict() == dict(
        zip([-1, 3, 7, 35], ["not sampled", *names], strict=True)
    )
    assert read_clusters(outputs["fitted"]).numbers.tolist() == [3, 7, 35]


def test_a_store_without_clusters_says_what_to_choose(photos):
    with pytest.raises(ValueError, match=r'by is "stored", but .*photos\.h5 has no clusters.*Choose kmeans or source'):
        read_source_clusters(photos[0])


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (1.5, r"cluster 1\.5 of image 2 is no number"),
        (-2, r"cluster -2\.0 of image 2 is no number"),
        (None, "all its clusters are -1"),
    ],
)
def test_what_is_no_cluster_is_an_error(tmp_path, photos, bad, sentence):
    clusters = np.full(COUNT, -1.0)
    if bad is not None:
        clusters[2] = bad
    with pytest.raises(ValueError, match=sentence):
        read_source_clusters(with_clusters(tmp_path, photos[0], clusters))


# names and sampling


def test_clusters_are_named_by_number_and_by_table(tmp_path, photos):
    table, _, _ = run(tmp_path, photos[0], DEFAULT | {"names": {"by": "number"}})
    assert (table["name"] == "cluster " + table["cluster"].astype(str)).all()
    with pytest.raises(ValueError, match="no name for cluster 3, 4"):
        run(tmp_path, photos[0], DEFAULT | {"names": {"by": "table", "table": [(0, "a"), (1, "b"), (2, "c")]}})


def test_clusters_are_named_by_the_labels_most_like_their_typical_images(tmp_path, photos, monkeypatch, capsys):
    monkeypatch.setattr(assign, "TYPICAL", 3)
    asked = {}

    def similarities(store, rows, labels, folder, **how):
        asked.update(store=store, rows=rows, labels=labels, folder=folder, how=how)
        return np.eye(5, 6)[::-1] * 0.5, "digest of the weights"

    monkeypatch.setattr(assign, "label_similarities", similarities)
    how = {"template": "a {}", "device": "cpu"}
    labels = ["ice", "sand", "wood", "city", "sea", "fog"]
    table, _, outputs = run(
        tmp_path, photos[0], DEFAULT | {"names": {"by": "text", "labels": labels, **how}}, labeller="clip", threads=2
    )
    assert table.groupby("cluster")["name"].first().tolist() == ["sea", "city", "wood", "sand", "ice"]
    assert (asked["labels"], asked["folder"]) == (labels, "clip")
    assert asked["how"] == how | {"threads": 2}
    for number, rows in enumerate(asked["rows"]):
        nearest = table[table["cluster"] == number].sort_values("distance", kind="stable").index[:3]
        assert rows.tolist() == nearest.tolist()
    assert "cluster 0: sea (mean cosine similarity 0.500)" in capsys.readouterr().out
    attributes = read_clusters(outputs["fitted"]).attributes
    assert attributes["names_weights_digest"] == "digest of the weights"
    assert json.loads(attributes["options"])["names"] == {"by": "text", **how}


def test_matched_clusters_differ_from_the_others_in_what_is_not_sampled_alone(tmp_path, photos):
    whole, summary, _ = run(tmp_path, photos[0])
    options = DEFAULT | {"matched": {"images": "smallest", "seed": 1}}
    table, matched, outputs = run(tmp_path, photos[0], options, dataset="matched")
    smallest = summary["images"].min()
    assert matched.set_index("cluster")["images"].to_dict() == {-1: COUNT - 5 * smallest} | dict.fromkeys(
        range(5), smallest
    )
    kept = table["cluster"] >= 0
    pd.testing.assert_frame_equal(table[kept], whole[kept], check_exact=True)
    assert set(table.loc[~kept, "name"]) == {"not sampled"}
    pd.testing.assert_series_equal(table["distance"], whole["distance"], check_exact=True)
    # the names are those of all images, and the clusters for others are not those of a sample
    assert matched["name"].tolist()[1:] == summary["name"].tolist()
    assert read_clusters(outputs["fitted"]).numbers.tolist() == list(range(5))


def test_stored_clusters_are_read_as_they_were_written(tmp_path):
    generator = np.random.default_rng(0)
    clusters = Clusters(
        np.array([2, 5]), ["Ice, snow", "Плаж"], generator.normal(size=(2, 3)), generator.normal(size=4),
        generator.normal(size=(3, 4)), {"by": "statistics", "pixels": 32}, {"seed": 4},
    )  # fmt: skip
    write_clusters(tmp_path / "clusters.h5", clusters)
    again = read_clusters(tmp_path / "clusters.h5")
    for name in ("numbers", "centroids", "mean", "components"):
        np.testing.assert_array_equal(getattr(again, name), getattr(clusters, name))
    assert (again.names, again.embedding) == (clusters.names, clusters.embedding)
    assert again.attributes["seed"] == 4
    assert [path.name for path in tmp_path.iterdir()] == ["clusters.h5"]
