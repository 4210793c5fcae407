"""The configuration, and what models say of themselves: of any values a run can start, or a sentence says why not."""

import json
import struct

import pytest
import yaml
from conftest import ROOT
from fuzzing import TEXTS, VALUES, altered, damaged, guarded
from hypothesis import example, given
from hypothesis import strategies as st

from geoprobe.config import check_config, check_texts
from geoprobe.images.http import NETWORK, network_options
from geoprobe.models.registry import library_of
from geoprobe.models.weights import weights_bytes, weights_in
from geoprobe.secrets import redact


def default():
    """The default configuration, as Snakemake loads it."""
    merged = {}
    for name in ("datasets", "config"):
        merged |= yaml.safe_load((ROOT / f"config/{name}.yaml").read_text(encoding="utf-8"))
    return merged


DEFAULT = default()
ASKED = sorted(DEFAULT)


@given(config=altered(DEFAULT))
def test_a_configuration_with_odd_values(config):
    with guarded(ValueError, naming="config"):
        check_config(config, ROOT)


@given(data=st.data(), key=st.sampled_from(ASKED))
def test_a_part_of_the_configuration_with_odd_values(data, key):
    """As above, a part as often as any other, however large it is."""
    config = DEFAULT | {key: data.draw(altered(DEFAULT[key]))}
    with guarded(ValueError, naming="config"):
        check_config(config, ROOT)


@given(data=st.data(), name=st.sampled_from(sorted(DEFAULT["datasets"])))
def test_a_data_set_with_odd_values(data, name):
    """A data set that is in the run, so that its source checks it too."""
    options = data.draw(altered(DEFAULT["datasets"][name]))
    run = DEFAULT["run"] | {
        "datasets": [name],
        "models": ["histogram"] if "histogram" in DEFAULT["run"]["models"] else ["random"],
    }
    with guarded(ValueError, naming="config"):
        check_config(DEFAULT | {"run": run, "datasets": DEFAULT["datasets"] | {name: options}}, ROOT)


@given(values=VALUES)
def test_texts_of_any_values(values):
    with guarded(ValueError, naming="report"):
        check_texts(values)
        assert "</script" not in json.dumps(values).lower()


@given(options=st.dictionaries(st.one_of(st.sampled_from(sorted(NETWORK)), TEXTS), VALUES, max_size=3))
def test_options_of_the_network(options):
    with guarded(ValueError, naming="download."):
        assert set(network_options(options)) == set(NETWORK)


@given(
    text=st.lists(
        st.one_of(
            TEXTS, st.sampled_from(["https://", "ann:s3cret@", "?token=s3cret", "&key=", "Bearer s3cret", "://", "@"])
        )
    ).map("".join)
)
def test_secrets_of_any_text(text):
    with guarded():
        told = redact(text)
        assert redact(told) == told
        assert "://ann:s3cret@" not in told


# files of models


HEADER = {"__metadata__": {"format": "pt"}, "a": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 16]}}


def safetensors(header, more=bytes(16)):
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + more


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("model")


@given(
    data=st.one_of(
        damaged([safetensors(HEADER)], [b"9" * 20, b"nan", b"null", b"[", b'"']), altered(HEADER).map(safetensors)
    )
)
@example(data=safetensors({"a": {"dtype": [], "data_offsets": [0, 16]}}))
@example(data=safetensors({"a": {"dtype": "F32", "data_offsets": [0]}}))
@example(data=safetensors({"a": {"dtype": "F32", "data_offsets": [16, 0]}}))
@example(data=safetensors({"a": {"dtype": "F32", "data_offsets": [0, 10**30]}}))
def test_weights_of_any_bytes(folder, data):
    (folder / "model.safetensors").write_bytes(data)
    with guarded(ValueError, naming=folder, folder=folder):
        assert weights_bytes(folder, "float32") >= 0


INDEX = {"metadata": {"total_size": 16}, "weight_map": {"a": "model-1.safetensors", "b": "model-2.safetensors"}}


@given(
    data=st.one_of(
        damaged([json.dumps(INDEX).encode()], [b"../model-1.safetensors", b"null"]),
        altered(INDEX).map(lambda index: json.dumps(index).encode()),
    )
)
def test_a_list_of_weights_of_any_bytes(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("listed")
    (folder / "model.safetensors.index.json").write_bytes(data)
    for number in (1, 2):
        (folder / f"model-{number}.safetensors").write_bytes(safetensors(HEADER))
    with guarded(ValueError, naming=folder, folder=folder):
        assert {path.parent for path in weights_in(folder)} <= {folder}


@given(
    data=st.one_of(
        damaged([b'{"model_type": "vit", "architecture": "vit_base"}'], [b"null", b"[1]"]),
        VALUES.map(lambda values: json.dumps(values).encode()),
    )
)
def test_a_configuration_of_a_model(folder, data):
    (folder / "config.json").write_bytes(data)
    with guarded(ValueError, naming=folder, folder=folder):
        assert library_of(folder) in ("encoder", "transformers", "timm", "open_clip")
