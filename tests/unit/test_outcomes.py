"""Outcomes of swaps, on generations whose outcome is plain to see, and against tests that others wrote."""

import importlib.util
import itertools
import json

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from scipy.stats import binom, permutation_test

from geoprobe.images.store import write_store
from geoprobe.interventions import outcomes
from geoprobe.interventions.landmarks import read_landmarks
from geoprobe.interventions.outcomes import (
    COLUMNS,
    landmarks_of_images,
    mcnemar,
    read_generations,
    score_generations,
    sign_flip_test,
    summarise,
)

TABLE = ROOT / "config" / "landmarks.csv"
LANDMARKS = read_landmarks(TABLE)
BY_NAME = {landmark.name: landmark for landmark in LANDMARKS}
EIFFEL, OPERA, TAJ = (BY_NAME[name] for name in ("Eiffel Tower", "Sydney Opera House", "Taj Mahal"))
GOLDEN, BADSHAHI = BY_NAME["Golden Temple"], BY_NAME["Badshahi Mosque"]
IMAGES = {"e": EIFFEL, "o": OPERA, "t": TAJ, "g": GOLDEN, "b": BADSHAHI}
PLAIN = {
    "e": "The Eiffel Tower in Paris.",
    "o": "The Sydney Opera House.",
    "t": "A white mausoleum.",
    "g": "The Golden Temple in Punjab.",
    "b": "The Badshahi Mosque.",
}


def plain(source, text=None):
    line = dict.fromkeys(("target", "ranking", "seed", "share", "where", "block"))
    return {"kind": "plain", "source": source, **line, "text": PLAIN[source] if text is None else text}


def swap(source, target, text, **changes):
    line = {"ranking": "coefficients", "seed": None, "share": 0.5, "where": "prefill", "block": 0}
    return {"kind": "swap", "source": source, "target": target, **line, "text": text, **changes}


def frame_of(*swaps):
    return pd.DataFrame([*map(plain, PLAIN), *swaps])


def score(*swaps):
    return score_generations(frame_of(*swaps), IMAGES, LANDMARKS)


@pytest.mark.parametrize(
    ("source", "target", "text", "expected"),
    [
        ("e", "o", "The Eiffel Tower in Paris.", {"stability"}),
        ("e", "o", "La Tour Eiffel in Sydney.", {"stability", "city", "efficacy", "success"}),
        ("e", "o", "A tower in New South Wales, Australia.", {"region", "country", "efficacy"}),
        # the target's landmark is not its place
        ("e", "o", "The Sydney Opera House.", set()),
        ("e", "o", "A tower in France.", set()),
        ("e", "o", "", set()),
        # Punjab lies in India and in Pakistan
        ("g", "b", "The Golden Temple in Punjab, Pakistan.", {"stability", "country", "efficacy", "success"}),
        ("b", "g", "A mosque in Punjab.", set()),
    ],
)
def test_each_outcome_is_what_the_text_says(source, target, text, expected):
    (row,) = score(swap(source, target, text)).to_dict("records")
    assert {name for name in outcomes.OUTCOMES if row[name]} == expected
    assert row["source_landmark"] == IMAGES[source].name
    assert row["target_landmark"] == IMAGES[target].name
    assert row["scored"]


def test_a_place_that_the_source_is_put_in_anyway_is_no_success():
    rows = [plain("e", "The Eiffel Tower, as in Sydney."), plain("o")]
    rows += [swap("e", "o", "In Sydney, Australia."), swap("e", "o", "In Sydney.", share=0.6)]
    scored = score_generations(pd.DataFrame(rows), IMAGES, LANDMARKS)
    assert scored["city"].tolist() == [False, False]
    assert scored["efficacy"].tolist() == [True, False]


def test_pairs_whose_source_was_not_recognised_are_counted_and_left_out():
    swaps = [swap("e", "o", "Sydney"), swap("o", "e", "The Sydney Opera House"), swap("t", "o", "Taj Mahal in Sydney")]
    table = summarise(score(*swaps), 50, 1).set_index("outcome")
    assert set(table["pairs"]) == {2}
    assert set(table["left_out"]) == {1}
    assert table["value"].to_dict() == {
        "stability": 0.5, "efficacy": 0.5, "success": 0.0, "city": 0.5, "region": 0.0, "country": 0.0,
    }  # fmt: skip
    assert table["difference"].isna().all()


def test_without_any_recognised_source_there_are_rows_and_no_numbers():
    scored = score(swap("t", "o", "Sydney"), swap("t", "o", "Sydney", ranking="random", seed=4))
    table = summarise(scored, 20, 1)
    assert len(table) == 2 * len(outcomes.OUTCOMES)
    assert set(table["left_out"]) == {1}
    assert set(table["pairs"]) == {0}
    assert table[["value", "low", "high", "difference", "p", "p_holm", "p_mcnemar"]].isna().all(axis=None)


def grid(values, rankings, shares=(0.5,)):
    """Scored rows of all pairs of landmarks; values(source, target, ranking, seed, share) is each one's stability.

    Args:
        values: a function.
        rankings: ranking to seeds.
        shares: of each ranking.
    """
    names = [f"landmark {number}" for number in range(6)]
    rows = []
    for source, target in itertools.permutations(range(6), 2):
        for (ranking, seeds), share in itertools.product(rankings.items(), shares):
            for seed in seeds:
                row = swap(f"i{source}", f"i{target}", "", ranking=ranking, seed=seed, share=share)
                row |= {"source_landmark": names[source], "target_landmark": names[target], "scored": True}
                row |= dict.fromkeys(outcomes.OUTCOMES, False)
                rows.append(row | {"stability": values(source, target, ranking, seed, share)})
    return pd.DataFrame(rows)


def test_random_dimensions_are_averaged_over_seeds_and_taken_away():
    def values(source, target, ranking, seed, share):
        return source < 3 if ranking == "coefficients" else source == seed

    scored = grid(values, {"coefficients": [None], "random": [0, 1, 2, 3, 7]})
    table = summarise(scored, 200, 1)
    table = table[table["outcome"] == "stability"].set_index("ranking")
    assert table.loc["coefficients", "value"] == pytest.approx(0.5)
    assert table.loc["random", "value"] == pytest.approx(4 / 30)
    assert table.loc["coefficients", "difference"] == pytest.approx(0.5 - 4 / 30)
    assert table.loc["coefficients", ["pairs", "sources", "seeds"]].tolist() == [30, 6, 1]
    assert table.loc["random", "seeds"] == 5
    assert np.isnan(table.loc["random", "p"])
    assert np.isnan(table.loc["coefficients", "p_mcnemar"])
    differences = np.array([5 * (source < 3) - 5 * (source in (0, 1, 2, 3)) / 5 for source in range(6)])
    expected = permutation_test(
        (differences, np.zeros(6)), lambda a, b: np.sum(a - b), permutation_type="samples", n_resamples=np.inf
    )
    assert table.loc["coefficients", "p"] == pytest.approx(expected.pvalue)


def test_p_values_are_corrected_for_the_shares_between_none_and_all():
    def values(source, target, ranking, seed, share):
        return ranking == "coefficients" and source < round(10 * share)

    scored = grid(values, {"coefficients": [None], "random": [1]}, shares=(0, 0.1, 0.3, 0.6, 1))
    table = summarise(scored, 20, 1)
    table = table[(table["outcome"] == "stability") & (table["ranking"] == "coefficients")].set_index("share")
    p = table["p"]
    assert p.isna().tolist() == [True, False, False, False, True]
    # of 2^m signs the two that are all alike
    assert p[[0.1, 0.3, 0.6]].tolist() == [1.0, 0.25, 2 / 64]
    assert table["p_holm"][[0.1, 0.3, 0.6]].tolist() == [1.0, 0.5, 3 * 2 / 64]
    assert table["p_mcnemar"][0.3] == pytest.approx(2 * 0.5**15)


def test_intervals_are_as_wide_as_the_landmarks_vary():
    # of additive effects in a whole grid, the variance of the mean is the sum of those of the two means
    generator = np.random.default_rng(0)
    names = [f"landmark {number}" for number in range(20)]
    of_source, of_target = generator.normal(size=20), 2 * generator.normal(size=20)
    index = pd.MultiIndex.from_product([names, names], names=["source_landmark", "target_landmark"])
    values = pd.DataFrame({-1.0: (of_source[:, None] + of_target[None]).ravel()}, index=index)
    weights = [outcomes.draw_weights(20, 4000, [1, place]) for place in (0, 1)]
    means = outcomes._Draws([names, names], weights, 4000, 1).means(values)
    assert means.mean() == pytest.approx(of_source.mean() + of_target.mean(), abs=0.03)
    assert means.std() == pytest.approx(np.sqrt(of_source.var() / 20 + of_target.var() / 20), rel=0.05)


def test_seeds_that_differ_widen_the_interval_of_random_dimensions():
    def widths(seeds):
        table = summarise(grid(lambda *a: a[3] % 2 == 0, {"random": seeds}), 400, 1)
        (row,) = table[table["outcome"] == "stability"].to_dict("records")
        return row["low"], row["value"], row["high"]

    assert widths([0, 2, 4, 6]) == (1, 1, 1)
    low, value, high = widths([0, 1, 2, 3])
    assert low < value == 0.5 < high


def test_the_same_seed_gives_the_same_table():
    scored = grid(lambda *a: (a[0] * a[1]) % 3 == 0, {"coefficients": [None], "random": [1, 2]})
    pd.testing.assert_frame_equal(summarise(scored, 100, 3), summarise(scored.sample(frac=1, random_state=1), 100, 3))
    assert list(summarise(scored, 100, 3)) == COLUMNS


@pytest.mark.parametrize("seed", range(6))
def test_signs_are_flipped_as_scipy_flips_them(seed):
    sums = np.random.default_rng(seed).integers(-3, 5, size=9).astype(float)
    expected = permutation_test(
        (sums, np.zeros(9)), lambda a, b: np.sum(a - b), permutation_type="samples", n_resamples=np.inf
    )
    assert sign_flip_test(sums, 1) == pytest.approx(expected.pvalue)


@pytest.mark.parametrize(("gained", "lost"), [(6, 16), (3, 3), (0, 20), (9, 4), (0, 0)])
def test_flipped_signs_of_single_pairs_are_the_exact_mcnemar_test(gained, lost):
    first = np.repeat([1, 0, 1, 0], [gained, lost, 5, 5])
    second = np.repeat([0, 1, 1, 0], [gained, lost, 5, 5])
    expected = min(1.0, 2 * binom.cdf(min(gained, lost), gained + lost, 0.5))
    assert mcnemar(first, second) == pytest.approx(expected)
    # above 12 differences the signs are drawn
    error = 0 if gained + lost <= outcomes.EXACT else 0.02
    assert sign_flip_test(first - second, 1) == pytest.approx(expected, abs=error + 1e-12)


def test_no_difference_is_no_evidence():
    assert sign_flip_test(np.zeros(5), 1) == 1.0
    assert sign_flip_test([], 1) == 1.0


# what cannot be scored


def write(folder, *lines):
    path = folder / "generations.jsonl"
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines))
    return path


def test_generations_are_read_as_they_were_written(tmp_path):
    rows = [plain("e"), swap("e", "o", "東京\u2028\n", ranking="random", seed=2)]
    path = write(tmp_path, {"kind": "header", "key": "a"}, *rows)
    frame = read_generations(path)
    assert frame["text"].tolist() == [row["text"] for row in rows]
    assert frame["target"].isna().tolist() == [True, False]
    assert read_generations(write(tmp_path, *rows)).equals(frame)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ([], "holds no generation; generate again"),
        ([{"kind": "header"}], "holds no generation"),
        ([plain("e"), '{"kind": "pl'], "line 2: not JSON"),
        ([plain("e"), "[]"], "line 2: no kind, source"),
        ([{"kind": "plain", "source": "e"}], "line 1: no target, ranking"),
        ([plain("e"), {"kind": "header"}], "line 2: no source"),
        ([plain("e") | {"kind": "edit"}], 'line 1: kind is "edit" instead of plain or swap'),
    ],
    ids=["empty", "header-only", "cut", "list", "keys", "second-header", "kind"],
)
def test_a_broken_file_is_refused_with_its_line(tmp_path, lines, words):
    with pytest.raises(ValueError, match="generations.jsonl".replace(".", r"\.")) as caught:
        read_generations(write(tmp_path, *lines))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([plain("e")], "hold no swap"),
        ([swap("e", "o", "")], 'image "e" has no plain generation'),
        ([plain("e"), plain("e", "Other."), swap("e", "o", "")], 'image "e" has two plain generations'),
    ],
    ids=["no-swap", "no-plain", "two-plain"],
)
def test_generations_that_lack_something_are_refused(rows, words):
    with pytest.raises(ValueError, match=words):
        score_generations(pd.DataFrame(rows), IMAGES, LANDMARKS)


@pytest.mark.parametrize("change", ["less", "twice", "pair"])
def test_a_condition_that_is_not_whole_is_refused(change):
    scored = grid(lambda *a: True, {"coefficients": [None], "random": [1, 2]})
    rows = {"less": scored.index[:-1], "twice": [*scored.index, 0]}
    keep = scored.loc[rows[change]] if change in rows else scored[(scored["source"] != "i0") | (scored["seed"] == 1)]
    with pytest.raises(ValueError, match="has not one generation of each seed; run the generation to its end"):
        summarise(keep, 10, 1)


def test_images_are_tied_to_landmarks_by_their_group():
    ids, groups = ["1", "2", "3"], ["Taj Mahal", "Eiffel Tower", "unknown"]
    assert landmarks_of_images(ids, groups, LANDMARKS, ["2", "1"]) == {"2": EIFFEL, "1": TAJ}
    with pytest.raises(ValueError, match='image "3" is of "unknown", which the table'):
        landmarks_of_images(ids, groups, LANDMARKS, ["3"])
    with pytest.raises(ValueError, match='image "4" was generated for and is not in the store'):
        landmarks_of_images(ids, groups, LANDMARKS, ["4"])


def test_the_script_writes_the_table(tmp_path, capsys):
    spec = importlib.util.spec_from_file_location("score_steering", ROOT / "workflow/scripts/score_steering.py")
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    names = {"a": "Eiffel Tower", "b": "Sydney Opera House"}
    columns = {
        "ids": list(names), "groups": list(names.values()), "countries": ["FR", "AU"], "geocells": ["x", "y"],
        "latitudes": [48.9, -33.9], "longitudes": [2.3, 151.2],
    }  # fmt: skip
    write_store(tmp_path / "store.h5", [b"1", b"2"], columns, {}, {})
    lines = [{"kind": "header"}, plain("e") | {"source": "a"}, plain("o") | {"source": "b"}]
    lines += [swap("a", "b", "The Eiffel Tower in Sydney."), swap("b", "a", "In Paris.")]
    path = write(tmp_path, *lines)
    script.score(path, tmp_path / "store.h5", TABLE, 20, 1, tmp_path / "scores.csv")
    table = pd.read_csv(tmp_path / "scores.csv").set_index("outcome")
    assert table.loc[["stability", "efficacy", "success"], "value"].tolist() == [0.5, 1.0, 0.5]
    assert "2 generations of 2 pairs, 2 of them scored" in capsys.readouterr().out
