"""The pages under docs/ do what they say: their files are written, their commands run, their messages exist."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import pytest
import yaml
from conftest import ROOT, copy_project
from PIL import Image

from geoprobe.images.sources import SOURCES

pytestmark = pytest.mark.workflow

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"(?:#|\.\.) ([\w/.]+\.\w+)\n")
LINK = re.compile(r"\]\(([^)#\s]+)(#[\w-]+)?\)")


def follow(page, folder, config=None):
    """Write each named file of a page and run its commands, in order, in a folder; returns what they printed."""
    bin_folder = str(Path(sys.executable).parent)
    environment = {**os.environ, "PATH": os.pathsep.join([bin_folder, os.environ["PATH"]])}
    environment.pop("PYTHONPATH", None)
    said = ""
    for kind, text in BLOCK.findall((ROOT / "docs" / page).read_text(encoding="utf-8")):
        if kind == "sh":
            if config is not None:
                text = text.replace("snakemake --cores 2", f"snakemake --cores 2 --configfile {config} --")
            done = subprocess.run(
                ["bash", "-e", "-c", text],
                cwd=folder,
                env=environment,
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
            assert done.returncode == 0, f"{text}\n{done.stdout[-4000:]}"
            said += done.stdout
        elif named := FILE.match(text):
            path = folder / named[1]
            path.parent.mkdir(parents=True, exist_ok=True)
            # a caption's and a table's first line is not part of them
            path.write_text(text if kind in ("python", "yaml") else text[named.end() :], encoding="utf-8")
    return said


def test_a_model_is_added_as_its_page_says(tmp_path):
    said = follow("adding_a_model.md", copy_project(tmp_path / "clone").folder)
    jobs = dict(re.findall(r"^(\w+) +(\d+)$", said, re.MULTILINE))
    assert jobs["extract_features"] == jobs["fit_probes"] == "2"
    assert "train_encoder" not in jobs


def test_data_sets_are_added_as_their_page_says(tmp_path):
    folder = copy_project(tmp_path / "clone").folder
    said = follow("adding_a_dataset.md", folder)
    assert re.search(r"^fit_probes +1$", said, re.MULTILINE)
    stores = []
    for name in ("my-photos", "my-points"):
        with h5py.File(folder / f"results/images/{name}.h5") as file:
            order = file["ids"].asstr()[:].argsort()
            stores.append([file["ids"].asstr()[:][order].tolist(), file["latitudes"][:][order].tolist()])
    # the same photos, listed in two ways
    assert stores[0] == stores[1]
    assert len(stores[0][0]) > 20


def test_a_figure_is_added_as_its_page_says(tiny_run, tmp_path):
    folder = shutil.copytree(tiny_run.folder, tmp_path / "clone")
    follow("adding_a_figure.md", folder, config="tests/workflow/tiny.yaml")
    with Image.open(folder / "results/figures/bluemarble/ridge/distances.png") as picture:
        assert min(picture.size) > 50


OWN = {
    "datasets": {
        "my-photos": {
            "source": "table",
            "path": "photos.csv",
            "balance": {"minimum": 1, "maximum": 5, "seed": 1},
            "caption_sets": ["places"],
        }
    },
    "run": {"datasets": ["my-photos"], "models": ["colour-histogram"]},
    "clusters": {"names": {"set": "places"}},
}


def test_the_page_on_privacy_says_what_runs_and_leaves_nothing_of_a_data_set(tmp_path):
    folder = copy_project(tmp_path / "clone").folder
    (folder / "mine.yaml").write_text(yaml.safe_dump(OWN))
    (folder / "photos.csv").write_text("path,latitude,longitude\na.jpg,48.9,2.4\n")
    Image.new("RGB", (8, 8)).save(folder / "a.jpg")
    assert "write_methods" in follow("privacy.md", folder)
    # every file of a data set that a rule can make, for this one and for one whose name begins alike
    rules = "\n".join(path.read_text() for path in (ROOT / "rules").glob("*.smk"))
    paths = {path for path in re.findall(r'"(results/[^"]*)"', rules) if "{dataset}" in path}
    assert len(paths) > 100
    for path in paths:
        for name in ("my-photos", "my-photos-2"):
            file = folder / re.sub(r"\{\w+\}", "x", path.replace("{dataset}", name))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
    (removal,) = (text for _, text in BLOCK.findall((ROOT / "docs/privacy.md").read_text()) if text.startswith("rm "))
    lines = [line for line in removal.splitlines() if line.startswith("rm ")]
    subprocess.run(["bash", "-e", "-c", "\n".join(lines)], cwd=folder, check=True)
    left = [str(path.relative_to(folder)) for path in (folder / "results").rglob("*") if path.is_file()]
    # what Snakemake measured of a job, its time and memory, holds nothing of the images
    left = [path for path in left if not path.startswith("results/benchmarks/")]
    assert not [path for path in left if re.search(r"/my-photos[./]", path)]
    assert len([path for path in left if "/my-photos-2" in path]) > 60


def messages():
    """Texts that the package's code holds, with … for what is filled in."""
    for path in (ROOT / "geoprobe").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                yield "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value


def test_each_message_of_the_troubleshooting_page_is_one_of_ours():
    page = (ROOT / "docs/troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^### `(.+)`$", page, re.MULTILINE)
    assert len(quoted) > 15
    ours = list(messages())
    for message in quoted:
        parts = [part.strip() for part in message.split("…") if len(part.strip()) > 3]
        assert any(all(part in text for part in parts) for text in ours), message


def pages():
    return [ROOT / "README.md", ROOT / "config/README.md", *sorted((ROOT / "docs").glob("*.md"))]


def anchors(path):
    """Anchors of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages(), ids=lambda path: path.name)
def test_links_between_pages_lead_somewhere(page):
    for target, anchor in LINK.findall(page.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target
            if anchor:
                assert anchor[1:] in anchors(page.parent / target), anchor


def keys_of(node, schema):
    """Names of all keys under a part of the schema, definitions followed."""
    if isinstance(node, list):
        return set().union(*(keys_of(part, schema) for part in node))
    if not isinstance(node, dict):
        return set()
    if "$ref" in node:
        return keys_of(schema["$defs"][node["$ref"].rsplit("/", 1)[-1]], schema)
    properties = node.get("properties") if isinstance(node.get("properties"), dict) else {}
    return set(properties).union(*(keys_of(part, schema) for part in node.values()))


def names_in(text):
    """Words that stand between backticks."""
    return set(re.findall(r"[\w-]+", " ".join(re.findall(r"`([^`\n]+)`", text))))


def test_every_key_of_the_schema_is_explained_in_its_section_and_each_sources_under_its_name():
    schema = yaml.safe_load((ROOT / "config/schemas/config.schema.yaml").read_text())
    text = (ROOT / "config/README.md").read_text(encoding="utf-8")
    sections = re.split(r"^## ", text, flags=re.MULTILINE)[1:]
    for name, node in schema["properties"].items():
        (section,) = (part for part in sections if f"`{name}`" in part.split("\n", 1)[0])
        assert keys_of(node, schema) <= names_in(section), name
    (section,) = (part for part in sections if part.startswith("`datasets`"))
    # what is shared by all stands before the first source, what is shared by some after the first
    first, *parts = re.split(r"^\*\*`(\w+)`\*\*", section, flags=re.MULTILINE)
    own = dict(zip(parts[::2], parts[1::2], strict=True))
    own["bluemarble"], some = own["bluemarble"].split("Two optional keys are shared", 1)
    assert set(own) == set(SOURCES)
    for name, part in own.items():
        shared = names_in(first) if name == "bluemarble" else names_in(first + some)
        assert keys_of(schema["$defs"][name], schema) <= names_in(part) | shared, name


def test_every_column_of_the_registry_is_explained():
    header = (ROOT / "config/models.tsv").read_text().splitlines()[0].split("\t")
    section = (ROOT / "config/README.md").read_text(encoding="utf-8").split("## `models.tsv`")[1]
    assert all(f"| `{column}` |" in section for column in header)
