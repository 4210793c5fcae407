"""The model registry: what a table may say, and that reading it loads no model library."""

import subprocess
import sys
from pathlib import Path

import pytest

from geoprobe.models.registry import COLUMNS, SUPERVISIONS, did_you_mean, expand_seeds, files_of, read_registry

ROOT = Path(__file__).resolve().parents[2]
GOOD = {
    "model": "masked",
    "loader": "local",
    "id": "results/masked-seed{seed}",
    "revision": "none",
    "supervision": "vision-only",
    "label": "Masked",
}


@pytest.fixture
def table(tmp_path):
    """Write a registry from rows given as what differs from a good one."""

    def write(*rows, columns=COLUMNS):
        lines = ["\t".join(columns)]
        lines += ["\t".join((GOOD | row)[name] for name in columns) for row in rows]
        path = tmp_path / "models.tsv"
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def test_the_registry_that_ships_reads():
    rows = read_registry(ROOT / "config" / "models.tsv")
    assert {"random", "masked", "contrastive", "text-places"} <= set(rows)
    for name, row in rows.items():
        assert row["model"] == name
        assert set(row) == set(COLUMNS)
        assert row["supervision"] in SUPERVISIONS
        assert row["label"]


def test_rows_keep_the_order_of_the_table(table):
    path = table({"model": "zebra"}, {"model": "ape"}, {"model": "newt"})
    assert list(read_registry(path)) == ["zebra", "ape", "newt"]


def test_a_good_row_is_read_as_it_is_written(table):
    assert read_registry(table({}))["masked"] == GOOD


def test_a_missing_column_is_named_with_all_that_are_needed(table):
    columns = [name for name in COLUMNS if name != "revision"]
    with pytest.raises(ValueError, match=r"columns are model, loader, id, supervision, label; they must be") as error:
        read_registry(table({}, columns=columns))
    assert "revision" in str(error.value).split("they must be")[1]


def test_an_empty_file_is_refused(tmp_path):
    (tmp_path / "empty.tsv").write_text("")
    with pytest.raises(ValueError, match=r"empty\.tsv: the columns are"):
        read_registry(tmp_path / "empty.tsv")


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"loader": "lcal"}, 'line 3: loader is "lcal"; allowed: local. Did you mean "local"?'),
        (
            {"supervision": "vision-langauge"},
            'line 3: supervision is "vision-langauge"; allowed: vision-only, vision-language, multimodal. '
            'Did you mean "vision-language"?',
        ),
        ({"supervision": "xyz"}, 'line 3: supervision is "xyz"; allowed: vision-only, vision-language, multimodal.'),
    ],
)
def test_a_value_that_is_not_allowed_is_named_with_its_line_and_the_nearest(table, bad, sentence):
    path = table({}, {"model": "other", **bad})
    with pytest.raises(ValueError, match="line 3") as error:
        read_registry(path)
    assert str(error.value) == f"{path}, {sentence}"


def test_a_model_listed_twice_is_refused_with_its_line(table):
    path = table({}, {"model": "other"}, {})
    with pytest.raises(ValueError, match="listed twice") as error:
        read_registry(path)
    assert str(error.value) == f'{path}, line 4: model "masked" is listed twice; rename one'


@pytest.mark.parametrize("change", [lambda line: line + "\tmore", lambda line: line.rsplit("\t", 1)[0]])
def test_a_row_with_too_many_or_too_few_fields_is_refused_with_its_line(table, change):
    path = table({}, {"model": "other"})
    lines = path.read_text().splitlines()
    lines[2] = change(lines[2])
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"models\.tsv, line 3: label must be the last of 6 fields parted by tabs"):
        read_registry(path)


def test_the_line_is_that_of_the_file_even_after_an_empty_line(table):
    path = table({}, {"model": "other", "loader": "hub"})
    path.write_text(path.read_text().replace("\nother", "\n\nother"))
    assert path.read_text().splitlines()[3].startswith("other")
    with pytest.raises(ValueError, match=r"models\.tsv, line 4: loader"):
        read_registry(path)


def test_a_row_with_seed_in_its_id_stands_for_one_model_a_seed(table):
    rows = read_registry(table({}, {"model": "public", "id": "org/name"}))
    models = expand_seeds(rows, [1, 30])
    assert list(models) == ["masked-seed1", "masked-seed30", "public"]
    assert models["masked-seed30"] == {**GOOD, "id": "results/masked-seed30", "family": "masked", "seed": 30}
    assert models["public"]["family"] == "public"
    assert models["public"]["seed"] is None
    assert models["public"]["id"] == "org/name"


def test_expanding_leaves_the_rows_as_they_were(table):
    rows = read_registry(table({}))
    expand_seeds(rows, [1, 2])
    assert rows == {"masked": GOOD}


def test_an_encoder_of_ours_needs_its_two_files():
    assert files_of({**GOOD, "id": "results/masked-seed1"}) == [
        "results/masked-seed1/model.safetensors",
        "results/masked-seed1/config.json",
    ]


def test_a_public_model_needs_no_file_of_ours():
    assert files_of({**GOOD, "loader": "hub"}) == []


def test_nothing_near_gives_no_suggestion():
    assert did_you_mean("qqq", ["local"]) == ""
    assert did_you_mean(7, [1, 70]) == ' Did you mean "70"?'


def test_importing_and_reading_the_registry_loads_no_model_library():
    code = (
        "import sys\n"
        "from geoprobe.models.registry import read_registry\n"
        "read_registry('config/models.tsv')\n"
        "print(sorted({'torch', 'timm', 'transformers', 'torchvision', 'sklearn'} & set(sys.modules)))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
