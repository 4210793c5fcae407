"""The explorer's data are those of the sources, within its limits, and its texts cannot become markup."""

import base64
import io
import itertools
import json
import re
import sys
from pathlib import Path

import h5py
import numpy as np
import pandas as pd
import pytest
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from explorer_files import HOSTILE, NAMED, Files

from geoprobe.analysis.families import read_summary
from geoprobe.explorer.budget import LEAST, needed_bytes, plan_maps
from geoprobe.explorer.data import LEFT_OUT, METRICS, prepare, read_curves
from geoprobe.explorer.maps import aggregate
from geoprobe.explorer.page import NAMES, assemble, assets_digest, assets_size, embed_json, size_of
from geoprobe.geodesy import great_circle_km
from geoprobe.probes.metrics import METRICS as MEASURED


def numbers(text, kind):
    return np.frombuffer(base64.b64decode(text), dtype=kind)


def pairs(text):
    return numbers(text, "<f4").reshape(-1, 2)


def test_scores_curves_and_predictions_are_those_of_the_sources(tmp_path):
    files = Files(tmp_path)
    content = prepare(*files.arguments())
    [view] = content["views"]
    models = [content["rows"][number] for number in view["models"]]
    assert [model["label"] for model in models] == ["plain & co", "other & co"]
    images, source = content["images"]["photos"], pd.read_csv(files.paths["choices"], dtype={"cluster": str})
    assert images["order"] == ["all", "0", "1"]
    truth = pairs(images["truth"])
    for model, name in zip(models, ("plain-seed1", "other"), strict=True):
        own = source[source["family"] == model["family"]].set_index("cluster")
        for cluster, rows in files.members.items():
            cell = dict(zip(content["columns"], model["cells"][cluster], strict=True))
            assert cell["r2"] == pytest.approx(own.loc[cluster, "r2"], abs=1e-4)
            assert cell["images"] == len(rows)
            [curve] = model["curves"][cluster]
            assert (curve["layer"], curve["r2"], curve["high"]) == ([0, 1], [0.1, 1.1], [0.2, 1.2])
            shown = content["maps"][model["maps"][cluster]]
            assert (shown["model"], shown["cells"]) == (name, None)
            points = numbers(images["clusters"][cluster]["points"], "<u4")
            np.testing.assert_array_equal(truth[points], files.truth[rows].astype(np.float32))
            at, expected = pairs(shown["at"]), files.predicted[name, cluster, 1]
            np.testing.assert_array_equal(np.isnan(at), np.isnan(expected))
            turns = (at[1:, 1] - expected[1:, 1]) / 360  # longitudes are wrapped
            np.testing.assert_allclose(turns, np.round(turns), atol=1e-6)
            np.testing.assert_allclose(at[1:, 0], np.clip(expected[1:, 0], -90, 90), atol=1e-5)


def test_a_layer_chosen_fold_by_fold_is_read_fold_by_fold(tmp_path):
    files = Files(tmp_path, layers="1, 0")
    content = prepare(*files.arguments())
    at = pairs(content["maps"][content["rows"][0]["maps"]["all"]]["at"])
    by_layer = np.stack([files.predicted["plain-seed1", "all", layer] for layer in (0, 1)])
    expected = by_layer[1 - files.folds, np.arange(files.n)]
    np.testing.assert_allclose(at[1:, 0], np.clip(expected[1:, 0], -90, 90), atol=1e-5)


def test_a_cluster_may_be_called_none_or_na(tmp_path):
    files = Files(tmp_path)
    pd.DataFrame({"cluster": ["0", "1"], "name": ["NA", "None"]}).to_csv(tmp_path / "clusters.csv", index=False)
    shown = prepare(*files.arguments())["images"]["photos"]["clusters"]
    assert [shown[cluster]["name"] for cluster in ("0", "1")] == ["NA", "None"]


def test_folds_in_another_order_are_joined_and_fits_in_another_order_refused(tmp_path):
    files = Files(tmp_path, layers="1, 0")
    expected = prepare(*files.arguments())
    folds = tmp_path / "folds.parquet"
    pd.read_parquet(folds).iloc[::-1].to_parquet(folds)
    assert prepare(*files.arguments())["maps"] == expected["maps"]
    with h5py.File(tmp_path / "other.h5", "r+") as file:
        file["ids"][:2] = file["ids"][1], file["ids"][0]
    with pytest.raises(ValueError, match=r"other\.h5: the probes are of other images than the image store"):
        prepare(*files.arguments())


def test_curves_are_the_same_from_parquet_as_from_csv(tmp_path):
    path = Files(tmp_path).paths["families"]
    whole = read_curves(path, "degrees", ["cls"])
    read_summary(path).to_parquet(tmp_path / "families.parquet")
    read = read_curves(tmp_path / "families.parquet", "degrees", ["cls"])
    pd.testing.assert_frame_equal(read[list(whole)], whole, check_dtype=False)
    assert set(whole["control"]) == {"none"}
    assert read_curves(path, "sphere", ["cls"]).empty


def test_cells_have_the_median_error_of_their_images():
    truth = np.array([[2.5, 1.0], [3.0, 3.9], [5.0, 2.0], [-89.0, -179.0], [90.0, 180.0], [50.0, 50.0]])
    at = truth + np.array([[0, 1], [0, 3], [0, 2], [1, 0], [0, 1], [np.nan, 0]])
    cells = aggregate(truth, at)
    south, north = np.divmod(cells["cell"].tolist(), 90)
    assert list(zip(south * 4 - 88, north * 4 - 178, strict=True)) == [(-88, -178), (4, 2), (88, -178)]
    assert cells["images"].tolist() == [1, 3, 1]
    assert cells["km"][1] == round(np.median(great_circle_km(truth[:3], at[:3])))


def test_more_images_than_the_limit_are_sampled_and_aggregated(tmp_path):
    content = prepare(*Files(tmp_path).arguments(points=25))
    shown = content["maps"][content["rows"][0]["maps"]["all"]]
    assert len(pairs(shown["at"])) == 25
    assert numbers(shown["cells"]["images"], "<u4").sum() == 59  # one was not tested
    assert content["maps"][content["rows"][0]["maps"]["0"]]["cells"] is None
    assert content["images"]["photos"]["clusters"]["all"]["images"] == 60


def test_thumbnails_keep_to_number_edge_and_size(tmp_path):
    files = Files(tmp_path)
    pictures = prepare(*files.arguments())["images"]["photos"]["thumbnails"]
    assert len(pictures) == 20
    for number, entry in pictures.items():
        with Image.open(io.BytesIO(base64.b64decode(entry["jpeg"]))) as picture:
            assert picture.size == (16, 12)
        assert entry["authors"] == NAMED.format(number)
    size = max(sum(map(len, entry.values())) for entry in pictures.values())
    few = prepare(*files.arguments(megabytes=3.5 * size / 1e6))["images"]["photos"]["thumbnails"]
    assert len(few) == 3


def test_every_metric_of_a_chosen_layer_can_be_chosen(tmp_path):
    files = Files(tmp_path)
    table = pd.read_csv(files.paths["choices"])
    values = {name: round(0.01 * number, 4) for number, name in enumerate(METRICS, 1)}
    table.assign(**values).to_csv(files.paths["choices"], index=False)
    content = prepare(*files.arguments())
    assert list(content["metrics"]) == list(METRICS)
    cell = dict(zip(content["columns"], content["rows"][0]["cells"]["all"], strict=True))
    assert {name: cell[name] for name in METRICS} == values
    # all that the probe table measures
    assert set(MEASURED) <= set(METRICS)


def test_a_model_without_text_input_is_one_row_under_every_prompt(tmp_path):
    paths, stores, jobs, models, shown, options = Files(tmp_path).arguments()
    content = prepare(paths, stores, jobs, models, shown | {"prompts": ["where", "none"]}, options)
    assert [view["prompt"] for view in content["views"]] == ["where", "none"]
    assert content["views"][0]["models"] == content["views"][1]["models"] == [0, 1]
    assert len(content["rows"]) == 2


@pytest.mark.parametrize(("share", "shows"), [(1.6, "pictures"), (0.6, "points"), (0, "scores")])
def test_a_page_keeps_to_its_size_and_says_what_it_left_out(tmp_path, share, shows):
    files = Files(tmp_path, n=200) if shows == "pictures" else Files(tmp_path, n=3000, pictures=False)
    whole = prepare(*files.arguments(most=0))
    scores, every = size_of(whole | {"images": {}, "maps": []}), size_of(whole)
    options = {
        "most": 200 * (shows == "pictures"),
        "page_megabytes": (assets_size() + scores + share * (every - scores)) / 1e6,
    }
    content = prepare(*files.arguments(**options), assets_size())
    assert len(assemble(content).encode()) <= options["page_megabytes"] * 1e6 or shows == "scores"
    limits, maps = content["limits"], [number for row in content["rows"] for number in row["maps"].values()]
    if shows == "pictures":
        assert (limits["points"], limits["leftOut"]) == (20_000, "")
        assert 0 < limits["thumbnails"] < limits["of"] == 200
    elif shows == "points":
        assert LEAST <= limits["points"] < 3000
        assert (limits["thumbnails"], limits["leftOut"]) == (0, "")
        assert LEFT_OUT not in maps
    else:
        assert limits["leftOut"] == "maps"
        assert set(maps) == {LEFT_OUT}
        assert content["rows"][0]["cells"]["all"] == whole["rows"][0]["cells"]["all"]


def test_maps_are_left_out_from_the_least_looked_at(tmp_path):
    columns = ["dataset", "prompt", "cluster", "cv", "images"]
    keys = itertools.product(["d"], ["where", "city"], ["all", "0", "1"], ["blocked", "random"])
    wanted = pd.DataFrame([(*key, 5000) for key in keys], columns=columns)
    shown, options = {"prompts": ["where", "city"], "cv": "blocked"}, {"points": 5000}
    first = wanted["cv"] == "blocked"
    asked = first & (wanted["prompt"] == "where")
    scopes = {
        "": wanted["cv"] != "",
        "maps under": first,
        "and of other": asked,
        "single": asked & (wanted["cluster"] == "all"),
    }
    assert needed_bytes(wanted, 5000, options, {"d": 9}) > 12 * 5000 * 8
    for words, expected in scopes.items():
        left = needed_bytes(wanted[expected], LEAST, options, {"d": 9}) / 0.97
        kept, points, said = plan_maps(wanted, shown, options, left, {"d": 9})
        assert words in said
        assert kept.tolist() == expected.tolist()
        assert LEAST <= points < 1.2 * LEAST
    assert plan_maps(wanted, shown, options, 1e9, {"d": 9})[1:] == (5000, "")


def test_private_photos_leave_no_picture_and_no_name(tmp_path):
    content = prepare(*Files(tmp_path).arguments(thumbnails=False))
    assert content["images"]["photos"]["ids"] is None
    assert "photo" not in embed_json(content["images"]["photos"]).replace("photos", "")
    assert "/9j/" not in assemble(content)  # how a JPEG begins in base64


@pytest.mark.parametrize("text", [HOSTILE, "<!--<script>", "]]>&amp;", "\u2028\u2029", "@@SCRIPT@@", "\\u003c"])
def test_a_text_stays_itself_and_ends_no_script(tmp_path, text):
    embedded = embed_json({"a": text})
    assert not re.search("[<>&\u2028\u2029]", embedded)
    assert json.loads(embedded) == {"a": text}
    page = assemble({"a": text})
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert json.loads(found[1]) == {"a": text}
    assert page.count("</script>") == 3


def test_a_number_that_json_lacks_is_refused():
    with pytest.raises(ValueError, match="JSON compliant"):
        embed_json({"a": float("nan")})


def test_another_asset_is_another_digest(tmp_path, monkeypatch):
    from geoprobe.explorer import page

    for name in NAMES:
        (tmp_path / name).write_bytes((page.ASSETS / name).read_bytes())
    before = assets_digest()
    monkeypatch.setattr(page, "ASSETS", tmp_path)
    assert assets_digest() == before
    for name in NAMES:
        (tmp_path / name).write_text("other")
        before, after = assets_digest(), before
        assert before != after
