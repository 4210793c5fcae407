"""Figures at the size of the paper's comparison, and that the made-up tables are such as the code writes."""

import functools

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import paper_files
import paper_size
import pytest
from figure_checks import check_legible, drawn_texts

from geoprobe.analysis.comparison import add_selectivity, compare_families, join_baselines, join_members, own_tower
from geoprobe.analysis.families import (
    CHOICE_WHERE,
    WHERE,
    chosen_rows,
    headline_rows,
    prompted_rows,
    read_summary,
    split_models,
)
from geoprobe.analysis.pairs import compare_pairs
from geoprobe.analysis.supervision import compare_supervisions
from geoprobe.figures import (
    balance,
    captions,
    contact_sheet,
    correlation,
    cross_validations,
    dimensions,
    elbow,
    fairness,
    finetuning,
    heatmap,
    layers,
    localizability,
    map,
    objectives,
    poolings,
    prompts,
    published,
    push,
    scale,
    steering,
    transfer,
)
from geoprobe.figures.style import PAGE, TALL
from geoprobe.probes.baselines import score_baselines
from geoprobe.runtime import write_table

MODELS = paper_size.models()
LABELS = {name: row["label"] for name, row in MODELS.items()}


@functools.cache
def choices():
    """Of all models, asked nothing, with the controls and cross-validations that a figure shows."""
    return paper_size.choices(controls=("none", "permuted"))


def chosen(**conditions):
    return chosen_rows(choices(), prompts=["none"], choice="inner", **conditions)


def draw_sheets():
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (36, 16, 16, 3), dtype=np.uint8))
    return contact_sheet.draw(
        [(f"{number}: {name} (5000 images)", images) for number, name in paper_size.cluster_names().items()]
    )


def draw_balance():
    truth, _ = paper_size.predictions(200_000)
    kept = np.histogram2d(*truth.T, bins=balance.bin_edges())[0]
    table = pd.DataFrame(
        {"continent": paper_size.CONTINENTS, "kept": 30_000, "geocell_full": 4_000_000, "left_out": 70}
    )
    table["listed"] = table[["kept", "geocell_full", "left_out"]].sum(axis=1)
    return balance.draw(kept, 130 * kept, table, "yfcc100m")


def draw_elbow():
    curve = pd.DataFrame({"k": range(5, 105, 5)})
    return elbow.draw(curve.assign(inertia=1e7 / np.sqrt(curve["k"]), chosen=curve["k"] == 40))


CLOSER = {"prompts": ["none"], "poolings": ["cls", "last", "mean"], "cv": "blocked"}
NAMES = paper_size.cluster_names()


def draw_heatmap():
    return heatmap.draw(chosen(cv="blocked", control="none"), NAMES)


def draw_layers():
    frame = paper_size.families()
    return layers.draw(headline_rows(frame, ["none"], CLOSER["poolings"], cluster="all", control="none"))


def draw_poolings():
    frame = prompted_rows(paper_size.families(cvs=("blocked",), every_pooling=True), ["none"])
    return poolings.draw(poolings.layer_by_pooling(frame, 1.0), ["cls", "last", "mean", "maxmin"])


def draw_scale():
    sizes = {name: paper_files.parameters(name) for name in MODELS}
    frame = chosen(cv="blocked", control="none", cluster="all")
    frame = frame.assign(parameters=frame["origin"].map(sizes))
    return scale.draw(frame, [{"baseline": "vit-b16", "text": "clip-b32"}])


def draw_localizability():
    rng = np.random.default_rng(0)
    images = list(rng.integers(0, 256, (4, 16, 16, 3), dtype=np.uint8))
    ranked = paper_size.localizability()
    return localizability.draw(ranked, dict.fromkeys(ranked["cluster"], images))


def draw_maps():
    truth, predicted = paper_size.predictions(5_000)
    found = {label: map.summarise_errors(truth, predicted) for label in LABELS.values()}
    return map.draw_side_by_side(found)


def draw_published():
    tables = {name: make() for name, make in CLOSER_TABLES.items()} | {"finetuning": paper_size.finetuning()}
    frame = paper_size.choices(cvs=("random", "blocked"), controls=("none",))
    places = paper_size.choices(
        "landmarks", cvs=("random", "blocked"), controls=("none",), prompt_of=paper_files.prompts_of
    )
    return published.draw(paper_files.compared(tables, pd.concat([frame, places], ignore_index=True)))


CLOSER_TABLES = {
    "correlation": paper_size.correlation_summary,
    "dimensions": paper_size.dimension_scores,
    "fairness": paper_size.fairness_scores,
    "transfer": paper_size.transfers,
}


def closer(name):
    """Rows of a closer analysis of all models, as a script selects them."""
    return split_models(headline_rows(CLOSER_TABLES[name](), **CLOSER))


def of_model(frame):
    return frame[frame["model"] == "gemma-3-12b-it"]


def pairs_of_clusters():
    frame = of_model(paper_size.correlations())
    frame = frame[(frame["share"] == 1) & (frame["scaled"] == "raw")]
    return frame.assign(**{name: frame[name].astype(str) for name in ("cluster_a", "cluster_b")})


# Figures drawn from tables of the paper's size: name to a function without arguments.
FIGURES = {
    "heatmap": draw_heatmap,
    "layers": draw_layers,
    "poolings": draw_poolings,
    "cross_validations": lambda: cross_validations.draw(chosen(cluster="all", control="none")),
    "scale": draw_scale,
    "localizability": draw_localizability,
    "map": lambda: map.draw(*paper_size.predictions(60_000), "MetaCLIP-H/14, block 31, cls pooling, blocked folds"),
    "maps of all models": draw_maps,
    "transfer": lambda: transfer.draw(of_model(paper_size.transfers()), NAMES, LABELS["gemma-3-12b-it"]),
    "transfer of all models": lambda: transfer.draw_side_by_side(closer("transfer"), NAMES),
    "correlation": lambda: correlation.draw(pairs_of_clusters(), NAMES, LABELS["gemma-3-12b-it"], ""),
    "correlation of all models": lambda: correlation.draw_summary(closer("correlation").query("scaled == 'raw'")),
    "dimensions": lambda: dimensions.draw(closer("dimensions")),
    "fairness": lambda: fairness.draw(closer("fairness")),
    "published": draw_published,
    "objectives": lambda: objectives.draw(chosen(cluster="all")),
    "objectives of one cross-validation": lambda: objectives.draw(chosen(cluster="all", cv="blocked")),
    "captions": lambda: captions.draw(paper_size.differences(), LABELS, "n = 200,000 images in 1,400 blocks"),
    "prompts": lambda: prompts.draw(paper_size.prompt_curves(cvs=("blocked",)).query("tower == 'text'")),
    "push": lambda: push.draw(paper_size.pushes()),
    "push of 40 blocks": lambda: push.draw(paper_size.pushes("dinov2-g14", seeds=1)),
    "steering": lambda: steering.draw(paper_size.steering(), LABELS["qwen2-5-vl-3b"]),
    "steering of five blocks": lambda: steering.draw(paper_size.steering(blocks=range(0, 40, 8)), "Qwen2.5-VL-3B"),
    "finetuning": lambda: finetuning.draw(paper_size.finetuning(), paper_size.finetuning_rates()),
    "finetuning of all models": lambda: finetuning.draw(
        paper_size.finetuning(of=MODELS), paper_size.finetuning_rates(of=MODELS)
    ),
    "contact sheet": draw_sheets,
    "balance": draw_balance,
    "elbow": draw_elbow,
}


@pytest.fixture(scope="module", autouse=True)
def _close_figures():
    yield
    plt.close("all")


@functools.cache
def drawn(name):
    """A figure, drawn once for all that is asked of it."""
    with plt.rc_context({"figure.max_open_warning": 0}):
        return FIGURES[name]()


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_of_the_papers_size_is_legible(name):
    check_legible(drawn(name))


@pytest.mark.parametrize(
    ("name", "labels"),
    [("objectives", LABELS.values()), ("finetuning of all models", LABELS.values()),
     ("captions", [f"{label} − ViT-B/16" for label in LABELS.values() if label != "ViT-B/16"]),
     ("prompts", [LABELS[name] for name in paper_size.multimodal()])],
)  # fmt: skip
def test_every_model_has_its_row_or_panel(name, labels):
    figure = drawn(name)
    figure.canvas.draw()
    shown = [text.get_text() for text in drawn_texts(figure)]
    assert {label: shown.count(label) for label in labels} == dict.fromkeys(labels, 1)


def test_of_too_many_pairs_the_figure_says_which_it_shows():
    [panel] = drawn("captions").axes
    assert panel.get_title() == "against ViT-B/16: 31 of 496 pairs; the table of differences has all"
    few = paper_size.differences().query("family in ['clip-l14', 'mae-l16', 'vit-l16']")
    few = few[few["baseline"].isin(few["family"])]
    assert captions.draw(few, LABELS, "").axes[0].get_title() == ""


@pytest.mark.parametrize("name", ["objectives", "captions", "finetuning of all models"])
def test_a_figure_taller_than_a_page_has_its_scale_above_as_well(name):
    figure = drawn(name)
    assert figure.get_size_inches()[0] == PAGE
    assert figure.get_size_inches()[1] > TALL
    figure.canvas.draw()
    ticks = [tick for tick in figure.axes[0].xaxis.get_major_ticks() if tick.label2.get_visible()]
    assert len(ticks) > 2
    assert all(tick.label1.get_text() == tick.label2.get_text() != "" for tick in ticks)


def test_numbers_of_two_rows_do_not_overlap_in_a_figure_of_many_models():
    figure = drawn("objectives")
    figure.canvas.draw()
    boxes = [text.get_window_extent() for text in figure.axes[0].texts]
    assert len(boxes) == 3 * len(MODELS)
    assert not any(a.overlaps(b) for number, a in enumerate(boxes) for b in boxes[number + 1 :])


# the checks themselves


def one_panel(**ticks):
    figure, axes = plt.subplots(figsize=(3, 2), layout="constrained")
    axes.set_xlim(0, 1)
    axes.set_xticks([0.4, 0.5], ["a long label", "another one"], **ticks)
    return figure, axes


@pytest.mark.parametrize(
    ("spoil", "message"),
    [(lambda axes: axes.set_title("small", size=5), "'small' has 5 points"),
     (lambda axes: axes.text(1, 0.5, "beyond the edge", in_layout=False), "'beyond the edge' at .* within"),
     (lambda axes: axes.tick_params(labelrotation=0), "tick labels 'a long label' and 'another one' overlap")],
)  # fmt: skip
def test_what_cannot_be_read_is_found(spoil, message):
    figure, axes = one_panel(rotation=90)
    check_legible(figure)
    spoil(axes)
    with pytest.raises(AssertionError, match=message):
        check_legible(figure)


def test_slanted_labels_whose_boxes_overlap_are_apart_as_drawn():
    figure, axes = one_panel(rotation=60, ha="right", rotation_mode="anchor")
    figure.canvas.draw()
    first, second = (label.get_window_extent() for label in axes.get_xticklabels())
    assert first.overlaps(second)
    check_legible(figure)


def test_labels_of_ticks_beyond_the_limits_do_not_count():
    figure, axes = one_panel(rotation=90)
    axes.set_xticks([0.4, 0.5, 5.0], ["a", "b", "far away"])
    axes.set_xlim(0, 1)
    check_legible(figure)
    assert "far away" not in [text.get_text() for text in drawn_texts(figure)]


# the tables


def assert_alike(made, written):
    """Same columns in the same order, and of the same kinds."""
    assert list(made) == list(written)
    for name in made:
        assert made[name].dtype.kind == written[name].dtype.kind, name


def test_the_tables_have_the_size_of_the_paper():
    assert len(MODELS) == len(LABELS) == len(paper_size.DEPTHS) == 32
    assert len(paper_size.clusters()) == 41
    assert max(paper_size.DEPTHS.values()) == 40
    assert set(paper_size.DEPTHS) == set(MODELS)
    families = paper_size.families(cvs=("blocked",))
    towers = sum(depth for name in MODELS for _, _, depth in paper_size.towers(name))
    assert len(families) == 41 * towers
    assert not families.duplicated([*WHERE, "family"]).any()
    assert len(paper_size.differences(cvs=("blocked",))) == 32 * 31 // 2


def test_numbers_are_plausible_and_drawn_again_alike():
    frame = paper_size.choices(cvs=("blocked",), controls=("none",))
    pd.testing.assert_frame_equal(frame, paper_size.choices(cvs=("blocked",), controls=("none",)))
    assert frame["r2"].between(-0.1, 0.9).all()
    assert (frame["low"] < frame["r2"]).all()
    assert (frame["high"] > frame["r2"]).all()
    means = frame.groupby("supervision")["r2"].mean()
    assert means["vision-only"] < means["multimodal"] < means["vision-language"]


def test_summaries_have_the_columns_that_the_code_writes():
    scores = paper_size.scores(cvs=("blocked",), of=["clip-l14"])
    joined = join_members([scores], [None], "scores", WHERE, 1)
    families = paper_size.families(cvs=("blocked",), of=["clip-l14"])
    assert_alike(families.drop(columns=["family", "label", "supervision"]), joined)
    frame = paper_size.choices(cvs=("blocked",))
    frame = frame[frame["family"] == "clip-l14"].drop(columns=["family", "label", "supervision"])
    parts = frame.drop(columns=["seeds", "selectivity"]).assign(own_tower=own_tower)
    joined = add_selectivity(join_members([parts], [None], "choices", [*CHOICE_WHERE, "own_tower"], 1))
    assert_alike(frame, joined.drop(columns="own_tower"))


def test_comparisons_have_the_columns_that_the_code_writes():
    rows = chosen(cluster="all", control="none")
    rows = rows[rows["family"].isin(["vit-b16", "mae-b16", "clip-b32", "gemma-3-4b-it"])]
    rng = np.random.default_rng(0)

    def samples_of(row):
        return row["r2"] + rng.normal(0, 0.01, 20)

    assert_alike(paper_size.differences(cvs=("blocked",)), compare_families(rows, samples_of))
    assert_alike(paper_size.supervisions(), compare_supervisions(rows, samples_of, ["streetclip"], 1))
    pairs = [{"baseline": "vit-b16", "text": "clip-b32", "matched": "size"},
             {"baseline": "mae-b16", "text": "clip-b32", "matched": "size"}]  # fmt: skip
    assert_alike(paper_size.text_effect(), compare_pairs(rows, samples_of, pairs, 1))


def test_baselines_have_the_columns_that_the_code_writes(tmp_path):
    rng = np.random.default_rng(0)
    positions = paper_size.predictions(300)[0]
    cells = rng.integers(0, 20, 300)
    folds = pd.DataFrame({"random": np.arange(300) % 3})
    table = score_baselines(positions, cells, {"all": np.arange(300)}, folds, ["random"])
    table.to_parquet(tmp_path / "baselines.parquet")
    assert_alike(paper_size.baselines(), join_baselines({"yfcc100m": tmp_path / "baselines.parquet"}))


def test_clusters_stay_text_where_whole_data_and_numbers_are_far_apart(tmp_path):
    # pandas guesses the type of a column piece by piece: numbers in one, text in another, and a warning
    write_table(paper_size.transfers().query("family == 'clip-l14'"), tmp_path / "transfer.csv")
    read = read_summary(tmp_path / "transfer.csv")
    assert set(read["trained_on"]) == set(read["tested_on"]) == set(paper_size.clusters())
