"""What the pages say of keys, defaults, figures, targets and options is so."""

import itertools
import re
import shlex

import pytest
import yaml

from geoprobe.config import check_config
from tests.conftest import ROOT
from tests.unit.test_methods import merged

PAGES = [ROOT / name for name in ("README.md", "config/README.md", "profiles/README.md")]
PAGES += sorted((ROOT / "docs").glob("*.md"))
RULES = "\n".join(path.read_text(encoding="utf-8") for path in [ROOT / "Snakefile", *ROOT.glob("rules/*.smk")])


def default_config():
    """The configuration that is always loaded."""
    names = ("datasets", "config")
    return {
        key: value
        for name in names
        for key, value in yaml.safe_load((ROOT / f"config/{name}.yaml").read_text()).items()
    }


def values_of(node, key):
    """All values that a key has anywhere in a section."""
    if isinstance(node, dict):
        for name, value in node.items():
            if name == key:
                yield value
            yield from values_of(value, key)


def documented_defaults():
    """Section, part of it, key and default of each row of config/README.md that gives plain values for its keys.

    The part is what the head of the table names, as in "key of `steering`", or "" where it names none.
    """
    config = default_config()
    for section in re.split(r"^## ", (ROOT / "config/README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        name = re.match(r"`(\w+)`", section)
        if not name or name[1] not in config or name[1] == "datasets":  # whose defaults are those of each data set
            continue
        head = part = ""
        for line in section.splitlines():
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if len(cells) < 2 or cells[0].startswith("key"):
                head = cells[1] if cells[1:] else ""
                part = next(iter(re.findall(r"^key of (?:an? )?`?(\w+)`?$", cells[0])), "") if cells[:1] else ""
            elif "default" in head:
                keys = re.findall(r"`([^`]+)`", cells[0])
                values = [value.strip() for value in cells[1].split(";")[-1].replace("`", "").split(",")]
                if len(keys) == len(values) and all(re.fullmatch(r"-?[\d.]+|true|false", value) for value in values):
                    for key, value in zip(keys, values, strict=True):
                        yield name[1], part, key, yaml.safe_load(value)


def test_documented_defaults_are_those_of_the_configuration():
    config, seen = default_config(), []
    for section, part, key, value in documented_defaults():
        node = config[section][part] if part else config[section]
        assert value in list(values_of(node, key)), f"{section}.{part}.{key}"
        seen.append(part)
    assert len(seen) > 60
    assert set(seen) >= {"", "directions", "steering", "finetuning", "ridge", "mlp"}


def test_every_figure_stands_in_the_readmes_table():
    paths = set(re.findall(r'"results/figures/([^"]*)\.png"', RULES))
    assert len(paths) > 20
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    table = text.split("## Figures, and where the paper has them")[1].split("\n## ")[0]
    named = {name for row in re.findall(r"^\| (.+?) \|", table, re.MULTILINE) for name in re.findall(r"`([^`]+)`", row)}
    for path in paths:
        short = path.replace("{dataset}/{probe}/", "")
        ways = {short, short.replace("{dataset}/", ""), f"results/figures/{path}"}
        assert ways & named, path


BLOCK = re.compile(r"^ *```(\w*)\n(.*?)^ *```", re.MULTILINE | re.DOTALL)


def commands():
    """Page, words of each snakemake command in it, and whether it is one of the user's own data or model."""
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        pieces = [block for kind, block in BLOCK.findall(text) if kind == "sh"]
        pieces += re.findall(r"`(snakemake [^`\n]+)`", BLOCK.sub("", text))
        for piece in pieces:
            for line in piece.splitlines():
                if line.strip().startswith("snakemake "):
                    yield page.name, shlex.split(line, comments=True)[1:], bool(re.search(r"(?:/|\b)my-", piece))


COMMANDS = list(commands())
VALUED = {"--cores": 1, "--configfile": 1, "--config": None, "--forcerun": None, "--report": 1, "--profile": 1}
VALUED |= {"--directory": 1, "--batch": 1, "--quiet": 1}
PLAIN = {"-n", "--list", "--unlock", "--"}


def parted(words):
    """Targets of a command, and the values of its options by name."""
    targets, options, words = [], {}, list(words)
    while words:
        word = words.pop(0)
        if word in VALUED:
            count = VALUED[word] or len(list(itertools.takewhile(lambda other: not other.startswith("-"), words)))
            options[word], words = words[:count], words[count:]
        elif word in PLAIN:
            options[word] = []
        else:
            assert not word.startswith("-"), word
            targets.append(word)
    return targets, options


@pytest.mark.parametrize(
    ("page", "words", "own"), COMMANDS, ids=[f"{page} {' '.join(words)}" for page, words, _ in COMMANDS]
)
def test_commands_name_targets_rules_and_options_that_there_are(page, words, own):
    targets, options = parted(words)
    text = "\n".join(path.read_text(encoding="utf-8") for path in PAGES if path.name == page)
    # a page may add a rule
    outputs = [
        re.sub(r"\\\{[^{}]*\\\}", "[^/]+", re.escape(path)) for path in re.findall(r'f?"(results/[^"]*)"', RULES + text)
    ]
    for name in targets:
        rule = re.search(rf"^rule {name}:", RULES, re.MULTILINE)
        assert rule or name == "TARGET" or any(re.fullmatch(path, name) for path in outputs), name
    for name in options.get("--forcerun", []):
        assert re.search(rf"^rule {name}:", RULES, re.MULTILINE), name
    for path in options.get("--configfile", []):
        assert path == "mine.yaml" or f"# {path}\n" in text or (ROOT / path).is_file(), path
    # a data set or a model of one's own is in no configuration but one's own
    assert "--configfile" in options or not own
    config = default_config()
    for path in options.get("--configfile", []):
        if (ROOT / path).is_file():
            config = merged(config, yaml.safe_load((ROOT / path).read_text()))
    for pair in options.get("--config", []):
        key, value = pair.split("=", 1)
        config = merged(config, {key: yaml.safe_load(value)})
    assert check_config(config, ROOT)


def own_files():
    """Page and text of each configuration file that a page writes, but for that of a source which the page adds."""
    for page in PAGES:
        for kind, block in BLOCK.findall(page.read_text(encoding="utf-8")):
            if kind == "yaml" and re.match(r"# \w+\.yaml\n", block) and "geojson" not in block:
                yield page, block


@pytest.mark.parametrize(("page", "block"), list(own_files()), ids=lambda value: getattr(value, "name", ""))
def test_the_configuration_files_of_the_pages_are_accepted(page, block, tmp_path, monkeypatch):
    own = yaml.safe_load(block)
    monkeypatch.chdir(tmp_path)
    for options in own.get("datasets", {}).values():
        if options["source"] == "folder":
            (tmp_path / options["path"]).mkdir()
        elif options["source"] == "table":
            (tmp_path / options["path"]).parent.mkdir()
            (tmp_path / options["path"]).write_text(",".join(["path,latitude,longitude", *options["captions"]]) + "\n")
    if own.get("registry"):
        rows = [line for line in page.read_text().splitlines() if line.count("\t") == 9]
        (tmp_path / own["registry"]).write_text("\n".join(rows) + "\n")
        (tmp_path / "checkpoints/my-vit").mkdir(parents=True)
        for name, content in (("config.json", '{"architecture": "vit_tiny_patch16_224"}'), ("model.safetensors", "")):
            (tmp_path / "checkpoints/my-vit" / name).write_text(content)
    assert check_config(merged(default_config(), own), ROOT)


def test_there_are_commands_to_check():
    assert len(COMMANDS) > 40
