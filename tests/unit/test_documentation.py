"""What the pages say of keys, defaults, figures, targets and options is so."""

import re
import shlex

import pytest
import yaml

from geoprobe.config import check_config
from tests.conftest import ROOT
from tests.unit.test_methods import merged

# the pages that tests/workflow/test_pages.py runs are left out
PAGES = [ROOT / name for name in ("README.md", "config/README.md", "docs/troubleshooting.md")]
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
    """Section, key and default of each row of config/README.md that gives plain values for its keys."""
    config = default_config()
    for section in re.split(r"^## ", (ROOT / "config/README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        name = re.match(r"`(\w+)`", section)
        if not name or name[1] not in config or name[1] == "datasets":  # whose defaults are those of each data set
            continue
        head = ""
        for line in section.splitlines():
            cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
            if len(cells) < 2 or cells[0].startswith("key"):
                head = cells[1] if cells[1:] else ""
            elif "default" in head:
                keys = re.findall(r"`([^`]+)`", cells[0])
                values = [value.strip() for value in cells[1].split(";")[-1].replace("`", "").split(",")]
                if len(keys) == len(values) and all(re.fullmatch(r"-?[\d.]+|true|false", value) for value in values):
                    yield from ((name[1], key, yaml.safe_load(value)) for key, value in zip(keys, values, strict=True))


def test_documented_defaults_are_those_of_the_configuration():
    config, seen = default_config(), 0
    for section, key, value in documented_defaults():
        assert value in list(values_of(config[section], key)), f"{section}.{key}"
        seen += 1
    assert seen > 60


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


def commands():
    """Words of each snakemake command of the pages."""
    for page in PAGES:
        for block in re.findall(r"^ *```sh\n(.*?)^ *```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
            for line in block.splitlines():
                if line.strip().startswith("snakemake "):
                    yield page.name, shlex.split(line, comments=True)[1:]


COMMANDS = list(commands())
VALUED = {"--cores": 1, "--configfile": 1, "--config": None, "--forcerun": None, "--report": 1, "--profile": 1}
VALUED |= {"--directory": 1}
PLAIN = {"-n", "--list", "--unlock"}


def parted(words):
    """Targets of a command, and the values of its options by name."""
    targets, options, words = [], {}, list(words)
    while words:
        word = words.pop(0)
        if word in VALUED:
            count = VALUED[word] or sum(1 for _ in iter(words) if not _.startswith("-"))
            options[word], words = words[:count], words[count:]
        elif word in PLAIN:
            options[word] = []
        else:
            assert not word.startswith("-"), word
            targets.append(word)
    return targets, options


@pytest.mark.parametrize(("page", "words"), COMMANDS, ids=[f"{page} {' '.join(words)}" for page, words in COMMANDS])
def test_commands_name_targets_rules_and_options_that_there_are(page, words):
    targets, options = parted(words)
    outputs = [
        re.sub(r"\\\{[^{}]*\\\}", "[^/]+", re.escape(path)) for path in re.findall(r'f?"(results/[^"]*)"', RULES)
    ]
    for name in targets:
        rule = re.search(rf"^rule {name}:", RULES, re.MULTILINE)
        assert rule or any(re.fullmatch(path, name) for path in outputs), name
    for name in options.get("--forcerun", []):
        assert re.search(rf"^rule {name}:", RULES, re.MULTILINE), name
    for path in options.get("--configfile", []):
        assert path == "mine.yaml" or (ROOT / path).is_file(), path
    config = default_config()
    for path in options.get("--configfile", []):
        if (ROOT / path).is_file():
            config = merged(config, yaml.safe_load((ROOT / path).read_text()))
    for pair in options.get("--config", []):
        key, value = pair.split("=", 1)
        config = merged(config, {key: yaml.safe_load(value)})
    assert check_config(config, ROOT)


def test_there_are_commands_to_check():
    assert len(COMMANDS) > 20
