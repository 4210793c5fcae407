"""Weights of models: which files are fetched from a hub and which never, and what is said of them afterwards."""

import hashlib
import json
import shutil
import socket
import time
from types import SimpleNamespace

import huggingface_hub
import huggingface_hub.constants
import numpy as np
import pytest
import torch
from hub_server import Hub, blob_name
from safetensors.torch import save, save_file
from torch import nn

from geoprobe.images.fetch import FetchError
from geoprobe.models import fetch
from geoprobe.models.fetch import fetch_weights
from geoprobe.models.weights import digest_weights, folder_of, hub_id, side_files, weights_bytes, weights_in

NETWORK = {"attempts": 3, "timeout_s": 20}
REPO = "ann/vit"
ROW = {"loader": "transformers", "id": REPO, "revision": "main", "weights": "safetensors"}


def tensors(seed, rows=40):
    return {"a.weight": torch.from_numpy(np.random.default_rng(seed).standard_normal((rows, 8), dtype=np.float32))}


WEIGHTS = save(tensors(0))
SIDE = {
    "config.json": b'{"model_type": "vit"}',
    "preprocessor_config.json": b"{}",
    "tokenizer.model": b"spiece",
    "merges.txt": b"a b",
    "chat_template.jinja": b"{{ messages }}",
}
OTHERS = {
    "README.md": b"---\n",
    "modeling_vit.py": b"raise SystemExit('executed')",
    "pytorch_model.bin": b"pickle " * 40,
    "pytorch_model.bin.index.json": b"{}",
    "flax_model.msgpack": b"flax " * 40,
    "tf_model.h5": b"tf " * 40,
    "consolidated.safetensors": b"again " * 40,
    "model.fp16.safetensors": b"half " * 40,
    "model-q4.gguf": b"gguf " * 40,
    "onnx/model.onnx": b"onnx " * 40,
    "onnx/config.json": b"{}",
    "openvino/openvino_model.bin": b"vino " * 40,
}
SHARDS = {f"model-0000{k}-of-00002.safetensors": save({f"part{k}.weight": tensors(k)["a.weight"]}) for k in (1, 2)}
INDEX = {"metadata": {}, "weight_map": {f"part{k}.weight": f"model-0000{k}-of-00002.safetensors" for k in (1, 2)}}
SHARDED = {**SHARDS, "model.safetensors.index.json": json.dumps(INDEX).encode()}


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A hub that the library asks, with no token anywhere and no waiting between attempts."""
    monkeypatch.delenv("HF_TOKEN", raising=False)
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    server = Hub()
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    yield server
    server.close()


@pytest.fixture
def put(hub):
    """Put a model on the hub; returns the commit."""
    return lambda files, repo=REPO, **access: hub.add(repo, files, kind="model", **access)


@pytest.fixture
def run(tmp_path):
    """Fetch a row's weights into a cache of the test's own; returns the manifest's content."""

    def run(**changes):
        manifest = tmp_path / "weights" / "model.json"
        fetch_weights(ROW | changes, manifest, NETWORK, cache=tmp_path / "cache")
        return json.loads(manifest.read_text())

    return run


def names(manifest):
    return [entry["path"] for entry in manifest["files"]]


def bodies(hub):
    """Paths of which bytes of the body were sent."""
    return {path.split("/", 5)[-1] for method, path, *_, size in hub.asked if "/resolve/" in path and size}


def refused(run, kind=FetchError, **changes):
    with pytest.raises(kind) as caught:
        run(**changes)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# what is fetched


def test_what_describes_a_model_and_its_safetensors_are_fetched_and_nothing_else(hub, put, run, tmp_path):
    commit = put(SIDE | OTHERS | {"model.safetensors": WEIGHTS})
    manifest = run()
    assert names(manifest) == [*sorted(SIDE), "model.safetensors"]
    assert bodies(hub) == {*SIDE, "model.safetensors"}
    assert manifest["folder"] == str(tmp_path / "cache" / "models--ann--vit" / "snapshots" / commit)
    for entry in manifest["files"]:
        data = (SIDE | {"model.safetensors": WEIGHTS})[entry["path"]]
        assert (entry["bytes"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
        assert (tmp_path / "cache" / "models--ann--vit" / "snapshots" / commit / entry["path"]).read_bytes() == data
    assert manifest["bytes"] == sum(map(len, SIDE.values())) + len(WEIGHTS)
    assert (manifest["repo"], manifest["endpoint"]) == (REPO, hub.endpoint)
    assert manifest["licence"] == "cc-by-4.0"


@pytest.mark.parametrize("weights", [{"model.safetensors": WEIGHTS}, SHARDED, {}])
def test_of_random_weights_no_file_is_asked_for(hub, put, run, tmp_path, weights):
    commit = put(SIDE | OTHERS | weights)
    manifest = run(weights="random")
    assert names(manifest) == sorted(SIDE)
    assert bodies(hub) == set(SIDE)
    # not even for its size
    resolved = {path.split("/", 5)[-1] for _, path, *_ in hub.asked if "/resolve/" in path}
    assert resolved == set(SIDE)
    assert manifest["bytes"] == sum(map(len, SIDE.values()))
    folder = tmp_path / "cache" / "models--ann--vit" / "snapshots" / commit
    assert folder_of(tmp_path / "weights" / "model.json") == folder
    assert sorted(path.name for path in folder.iterdir()) == sorted(SIDE)


def test_a_repository_of_another_library_is_refused_for_random_weights_too(put, run):
    put(SIDE)
    assert "has no open_clip_config.json" in refused(run, ValueError, loader="open_clip", weights="random")


def test_of_sharded_weights_those_that_the_index_lists_are_fetched(hub, put, run):
    put(SIDE | OTHERS | SHARDED | {"model-00003-of-00003.safetensors": b"older " * 40})
    manifest = run()
    assert names(manifest) == [*sorted(SIDE), "model.safetensors.index.json", *sorted(SHARDS)]
    assert bodies(hub) == {*SIDE, *SHARDED}
    paths = weights_in(manifest["folder"])
    assert [path.name for path in paths] == sorted(SHARDS)


def test_a_whole_file_is_preferred_to_shards_as_the_library_does(put, run):
    put(SIDE | SHARDED | {"model.safetensors": WEIGHTS})
    assert names(run()) == [*sorted(SIDE), "model.safetensors"]


def test_a_bare_timm_name_is_the_repository_of_timm(put, run):
    put({"config.json": b'{"architecture": "vit"}', "model.safetensors": WEIGHTS}, repo="timm/vit_tiny.x")
    manifest = run(loader="timm", id="vit_tiny.x")
    assert manifest["repo"] == "timm/vit_tiny.x"
    assert names(manifest) == ["config.json", "model.safetensors"]
    assert hub_id({"loader": "timm", "id": "ann/vit_tiny.x"}) == "ann/vit_tiny.x"
    assert hub_id({"loader": "transformers", "id": "vit"}) == "vit"


def test_of_a_repository_for_two_libraries_open_clip_gets_its_own_weights(hub, put, run):
    own = {"open_clip_config.json": b"{}", "open_clip_model.safetensors": save(tensors(5))}
    put(own | SIDE | OTHERS | {"model.safetensors": WEIGHTS, "open_clip_pytorch_model.bin": b"pickle " * 40})
    manifest = run(loader="open_clip")
    assert names(manifest)[-1] == "open_clip_model.safetensors"
    assert "open_clip_config.json" in names(manifest)
    assert not {"model.safetensors", "open_clip_pytorch_model.bin"} & bodies(hub)


def test_templates_in_their_folder_come_too_and_other_folders_do_not():
    found = [
        "config.json",
        "additional_chat_templates/rag.jinja",
        "original/params.json",
        "model.safetensors.index.json",
    ]
    assert side_files(found) == ["additional_chat_templates/rag.jinja", "config.json"]


def test_the_folder_is_the_repository_even_if_a_file_in_a_folder_comes_first(put, run):
    commit = put(SIDE | {"additional_chat_templates/rag.jinja": b"{{ x }}", "model.safetensors": WEIGHTS})
    manifest = run()
    assert manifest["folder"].endswith(commit)
    assert names(manifest)[0] == "additional_chat_templates/rag.jinja"


@pytest.mark.parametrize(
    ("loader", "config", "pickle"),
    [
        ("transformers", "config.json", "pytorch_model.bin"),
        ("timm", "config.json", "pytorch_model.bin"),
        ("open_clip", "open_clip_config.json", "open_clip_pytorch_model.bin"),
    ],
)
def test_a_pickle_is_fetched_only_where_the_row_allows_it(hub, put, run, loader, config, pickle):
    put({config: b"{}", pickle: b"pickle " * 40})
    sentence = refused(run, ValueError, loader=loader)
    assert sentence.startswith(f"{REPO} at {hub.commit(REPO, -1)} has its weights only as a pickle ({pickle}); ")
    assert "set the row's weights to any" in sentence
    assert hub.sent("/resolve/") == 0
    assert names(run(loader=loader, weights="any")) == [config, pickle]


def test_a_sharded_pickle_comes_with_its_shards_where_it_is_allowed(put, run):
    index = {"weight_map": {"a": "pytorch_model-1.bin", "b": "pytorch_model-2.bin"}}
    shards = {f"pytorch_model-{k}.bin": b"pickle%d" % k * 40 for k in (1, 2)}
    put({"config.json": b"{}", "pytorch_model.bin.index.json": json.dumps(index).encode(), **shards})
    assert names(run(weights="any")) == ["config.json", "pytorch_model.bin.index.json", *shards]


def test_safetensors_are_preferred_where_a_pickle_is_allowed(hub, put, run):
    put(SIDE | OTHERS | SHARDED)
    run(weights="any")
    assert "pytorch_model.bin" not in bodies(hub)


@pytest.mark.parametrize(
    ("files", "row", "sentence"),
    [
        ({"config.json": b"{}", "flax_model.msgpack": b"x"}, {}, "has no model.safetensors, whole or in shards"),
        ({"model.safetensors": WEIGHTS}, {}, "has no config.json, which the loader transformers needs"),
        (SIDE | {"model.safetensors": WEIGHTS}, {"loader": "open_clip"}, "has no open_clip_config.json"),
        (SIDE | {"model.safetensors.index.json": b"<html>"}, {}, "model.safetensors.index.json is no list of weights"),
        (SIDE | {"model.safetensors.index.json": b'{"weight_map": []}'}, {}, "is no list of weights"),
        (
            {name: data for name, data in (SIDE | SHARDED).items() if "00002-of" not in name},
            {},
            'names "model-00002-of-00002.safetensors", which is not beside it',
        ),
    ],
)
def test_a_repository_without_what_is_needed_is_refused_in_a_sentence(put, run, files, row, sentence, tmp_path):
    put(files)
    said = refused(run, ValueError, **row)
    assert said.startswith(f"{REPO} at ")
    assert sentence in said
    assert not (tmp_path / "weights" / "model.json").exists()


def saved(folder):
    """Files of a folder as a hub has them."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_transformers_loads_what_was_fetched_with_no_hub_left(hub, put, run, tmp_path):
    from transformers import AutoModel, ViTConfig, ViTModel

    sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    model = ViTModel(ViTConfig(**sizes, image_size=32, patch_size=8))
    model.save_pretrained(tmp_path / "made", max_shard_size="40KB")
    put(saved(tmp_path / "made") | OTHERS)
    folder = run()["folder"]
    hub.asked.clear()
    loaded = AutoModel.from_pretrained(folder)
    assert len(weights_in(folder)) > 1
    assert weights_bytes(folder, "float32") == held(model)
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in model.state_dict().items())
    assert hub.asked == []


def test_timm_loads_what_was_fetched_with_no_hub_left(hub, put, run, tmp_path):
    import timm

    sizes = {"embed_dim": 32, "depth": 2, "num_heads": 2, "img_size": 32, "patch_size": 8}
    model = timm.create_model("vit_tiny_patch16_224", num_classes=0, **sizes)
    timm.models.save_for_hf(model, tmp_path / "made", model_args=sizes, safe_serialization="both")
    put(saved(tmp_path / "made"), repo="timm/vit_own.mine")
    manifest = run(loader="timm", id="vit_own.mine")
    assert names(manifest) == ["config.json", "model.safetensors"]
    hub.asked.clear()
    loaded = timm.create_model(f"local-dir:{manifest['folder']}", pretrained=True)
    assert all(torch.equal(loaded.state_dict()[name], value) for name, value in model.state_dict().items())
    assert hub.asked == []


# revisions


def test_a_branch_is_resolved_and_its_commit_recorded_and_told(put, run, capsys):
    commit = put(SIDE | {"model.safetensors": WEIGHTS})
    manifest = run()
    assert (manifest["revision"], manifest["commit"]) == ("main", commit)
    assert f"main is commit {commit} today; to have the same weights tomorrow" in capsys.readouterr().out


def test_a_pinned_commit_is_honoured_after_the_branch_has_moved(put, run, capsys):
    first = put(SIDE | {"model.safetensors": WEIGHTS})
    second = put(SIDE | {"model.safetensors": save(tensors(9))})
    pinned = run(revision=first)
    assert "is commit" not in capsys.readouterr().out
    moved = run()
    assert (pinned["commit"], moved["commit"]) == (first, second)
    digests = [manifest["files"][-1]["sha256"] for manifest in (pinned, moved)]
    assert digests == [hashlib.sha256(data).hexdigest() for data in (WEIGHTS, save(tensors(9)))]


def test_a_revision_that_is_not_there_is_named(put, run):
    put(SIDE)
    assert refused(run, ValueError, revision="v9").startswith(
        f'revision is "v9", and {REPO} has no branch, tag or commit'
    )


# access


def test_a_gated_model_says_where_to_accept_and_how_to_give_a_token(hub, put, run, monkeypatch):
    put(SIDE | {"model.safetensors": WEIGHTS}, gated="manual", tokens=["hf_right"])
    page = f"{hub.endpoint}/{REPO}"
    sentence = refused(run)
    assert sentence.startswith(f"{page}: http 401 (it is given to accounts that accepted its conditions). ")
    assert "accept them there, and set HF_TOKEN to a token" in sentence
    assert "run `hf auth login`, on the machine that starts the run" in sentence
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    sentence = refused(run)
    assert sentence.startswith(
        f"{page}: http 403 (it is given to accounts that accepted its conditions, and that of your"
    )
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert names(run())[-1] == "model.safetensors"


def test_a_private_model_and_one_that_is_not_there_are_told_alike(hub, put, run):
    put(SIDE, private=True)
    hub.add("ann/data", {"config.json": b"{}"})
    for repo in (REPO, "ann/absent", "ann/data"):  # the last is a data set
        sentence = refused(run, id=repo)
        assert sentence.startswith(
            f"{hub.endpoint}/{repo}: http 401 (private, gated or not there). See whether the name"
        )


def test_a_hub_that_is_not_there_is_named(run, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("HF_ENDPOINT", nobody)
    assert refused(run).startswith(f"{nobody}/{REPO}: connection failed (ConnectError). Run again later")


def test_an_offline_library_is_named_with_both_ways_out(put, run, monkeypatch):
    put(SIDE)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    sentence = refused(run)
    assert "HF_HUB_OFFLINE is set" in sentence
    assert "with the loader local" in sentence


# what is there is kept, what breaks is mended


def test_a_second_fetch_asks_for_no_bytes_again(hub, put, run):
    put(SIDE | SHARDED)
    first = run()
    hub.asked.clear()
    second = run()
    assert {k: v for k, v in second.items() if k != "provenance"} == {
        k: v for k, v in first.items() if k != "provenance"
    }
    assert hub.sent("/resolve/") == 0


def test_what_the_library_itself_has_fetched_is_not_fetched_again(hub, put, run, tmp_path):
    commit = put(SIDE | {"model.safetensors": WEIGHTS})
    given = {"cache_dir": tmp_path / "cache", "endpoint": hub.endpoint}
    theirs = huggingface_hub.snapshot_download(REPO, **given)
    hub.asked.clear()
    assert run(revision=commit)["folder"] == theirs
    assert hub.sent("/resolve/") == 0


def test_of_another_commit_only_what_changed_is_fetched(hub, put, run):
    put(SIDE | SHARDED)
    run()
    hub.asked.clear()
    put(SIDE | SHARDED | {"config.json": b'{"model_type": "vit", "layer_norm_eps": 1e-6}'})
    run()
    assert bodies(hub) == {"config.json"}


def test_a_transfer_that_was_cut_goes_on_where_it_ended(hub, put, run, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 64)
    put(SIDE | {"model.safetensors": WEIGHTS})
    hub.failures["model.safetensors"] = ["cut"]
    assert names(run())[-1] == "model.safetensors"
    asked = [(span, size) for method, path, span, _, size in hub.asked if method == "GET" and "model.safe" in path]
    (_, before), (span, after) = asked
    start = int(span.removeprefix("bytes=").removesuffix("-"))
    assert before == len(WEIGHTS) // 2
    assert before - 64 < start <= before
    assert after == len(WEIGHTS) - start


@pytest.mark.parametrize("place", ["/revision/", "/tree/", "/resolve/"])
def test_a_failure_that_passes_is_not_noticed(hub, put, run, place):
    put(SIDE | {"model.safetensors": WEIGHTS})
    hub.failures[place] = [503]
    assert names(run())[-1] == "model.safetensors"
    assert hub.failures[place] == []


def test_a_fetch_that_failed_goes_on_with_the_next_file(hub, put, run, tmp_path):
    put(SIDE | SHARDED)
    hub.failures["model-00002"] = [404] * 50
    assert "http 404" in refused(run)
    assert not (tmp_path / "weights" / "model.json").exists()
    hub.failures.clear()
    hub.asked.clear()
    run()
    assert bodies(hub) == {"model-00002-of-00002.safetensors"}


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
def test_a_file_that_came_damaged_is_refused_and_not_kept(hub, put, run, name, tmp_path):
    files = SIDE | {"model.safetensors": WEIGHTS}
    put(files)
    hub.spoiled[name] = files[name][:-1] + b"?"
    sentence = refused(run)
    assert f"/{name}: checksum wrong (" in sentence
    assert "What came is removed; run again" in sentence
    assert not (tmp_path / "weights" / "model.json").exists()
    hub.spoiled.clear()
    hub.asked.clear()
    manifest = run()
    assert bodies(hub) == {name}
    assert (folder_of(tmp_path / "weights" / "model.json") / name).read_bytes() == files[name]
    assert len(manifest["files"]) == len(files)


def test_a_file_that_was_damaged_in_the_cache_is_found(put, run, tmp_path):
    put(SIDE | {"model.safetensors": WEIGHTS})
    folder = run()["folder"]
    path = tmp_path / "cache" / "models--ann--vit" / "blobs" / hashlib.sha256(WEIGHTS).hexdigest()
    path.write_bytes(WEIGHTS[:-4] + b"\0\0\0\0")
    assert f"sha256 is {hashlib.sha256(path.read_bytes()).hexdigest()} instead of" in refused(run)
    assert digest_weights(run()["folder"]) == digest_weights(folder)


def test_a_disk_without_room_is_refused_before_weights_are_asked_for(hub, put, run, monkeypatch, tmp_path):
    put(SIDE | SHARDED)
    coming = sum(map(len, (SIDE | SHARDS).values()))  # the index is there when this is counted
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: SimpleNamespace(free=coming - 1))
    sentence = refused(run, ValueError)
    assert sentence.startswith(f"{REPO} has 0.00 GB to fetch, and {tmp_path / 'cache'} has room for 0.00 GB; free some")
    assert bodies(hub) == {"model.safetensors.index.json"}
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: SimpleNamespace(free=coming))
    run()
    monkeypatch.setattr(fetch.shutil, "disk_usage", lambda path: SimpleNamespace(free=0))
    run()  # all is there


# the manifest's folder


@pytest.fixture
def fetched(put, run, tmp_path):
    """A manifest and its folder."""
    put(SIDE | {"model.safetensors": WEIGHTS})
    run()
    manifest = tmp_path / "weights" / "model.json"
    return manifest, folder_of(manifest)


def gone(manifest):
    with pytest.raises(ValueError, match=rf"delete {manifest} and run again to fetch it") as caught:
        folder_of(manifest)
    return str(caught.value)


def test_the_folder_of_a_manifest_holds_its_files(fetched):
    manifest, folder = fetched
    assert folder.is_absolute()
    assert {path.name for path in folder.iterdir()} == {*SIDE, "model.safetensors"}
    assert str(folder) == json.loads(manifest.read_text())["folder"]


def test_a_file_that_vanished_is_named(fetched):
    manifest, folder = fetched
    (folder / "config.json").unlink()
    assert gone(manifest).startswith(f"{folder / 'config.json'}, which {manifest} lists, is gone")


def test_a_file_whose_content_vanished_from_the_cache_is_named(fetched):
    manifest, folder = fetched
    (folder / "model.safetensors").resolve().unlink()
    assert gone(manifest).startswith(f"{folder / 'model.safetensors'}, which")


def test_a_file_of_another_size_is_named_with_both(fetched):
    manifest, folder = fetched
    with open(folder / "model.safetensors", "ab") as file:
        file.write(b"!")
    expected = f"{folder / 'model.safetensors'} has {len(WEIGHTS) + 1} bytes instead of the {len(WEIGHTS)} that"
    assert gone(manifest).startswith(expected)


def test_a_folder_that_vanished_is_named(fetched):
    manifest, folder = fetched
    shutil.rmtree(folder)
    assert gone(manifest).startswith(f"{folder}, where {manifest} says that the weights lie, is gone")


@pytest.mark.parametrize("text", ["", "{}", '{"folder": "x", "files": [1]}'])
def test_a_file_that_is_no_manifest_is_named(tmp_path, text):
    (tmp_path / "model.json").write_text(text)
    assert gone(tmp_path / "model.json").startswith(f"{tmp_path / 'model.json'} is no manifest of fetched weights")


# digests


def plain_digest(files):
    """What the digest is by its definition."""
    lines = [f"{name} {hashlib.sha256(data).hexdigest()}\n" for name, data in sorted(files.items())]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


@pytest.mark.parametrize("weights", [{"model.safetensors": WEIGHTS}, SHARDED])
def test_the_digest_is_the_same_in_the_cache_and_in_a_plain_folder(put, run, tmp_path, weights):
    put(SIDE | weights)
    cached = run()["folder"]
    plain = shutil.copytree(cached, tmp_path / "plain")
    assert not (plain / "config.json").is_symlink()
    shards = {name: data for name, data in weights.items() if not name.endswith(".json")}
    assert digest_weights(cached) == digest_weights(plain) == plain_digest(shards)


def test_the_cache_is_believed_and_a_link_elsewhere_is_read(put, run, tmp_path):
    put(SIDE | {"model.safetensors": WEIGHTS})
    cached = run()["folder"]
    (tmp_path / "linked").mkdir()
    for target in ("0" * 64, "blobs/" + "0" * 63):
        (tmp_path / target).parent.mkdir(exist_ok=True)
        (tmp_path / target).write_bytes(WEIGHTS)
        link = tmp_path / "linked" / "model.safetensors"
        link.unlink(missing_ok=True)
        link.symlink_to(tmp_path / target)
        assert digest_weights(tmp_path / "linked") == digest_weights(cached)


def test_contents_shared_by_repositories_are_called_by_what_their_repository_calls_them(tmp_path):
    """Newer releases of the library link blobs/<sha256> on to blobs/<two digits>/<another hash>, one for all."""
    sha256, other = hashlib.sha256(WEIGHTS).hexdigest(), "ab" + "0" * 62
    shared, blob = tmp_path / "blobs" / "ab" / other, tmp_path / "models--ann--vit" / "blobs" / sha256
    link = tmp_path / "models--ann--vit" / "snapshots" / "c" / "model.safetensors"
    for path in (shared, blob, link):
        path.parent.mkdir(parents=True)
    shared.write_bytes(WEIGHTS)
    blob.symlink_to(shared)
    link.symlink_to(f"../../blobs/{sha256}")
    assert digest_weights(link.parent) == plain_digest({"model.safetensors": WEIGHTS})


@pytest.mark.parametrize(
    ("change", "same"),
    [
        (lambda folder: (folder / "config.json").write_text("{ }"), True),
        (lambda folder: (folder / "model.safetensors").write_bytes(save(tensors(1))), False),
        (lambda folder: (folder / "pytorch_model.bin").write_bytes(b"not read"), True),
        (lambda folder: (folder / "optimizer.bin").write_bytes(b"not read"), True),
    ],
)
def test_the_digest_changes_with_the_weights_alone(tmp_path, change, same):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    before = digest_weights(tmp_path)
    change(tmp_path)
    assert (digest_weights(tmp_path) == before) is same


def test_shards_that_change_places_change_the_digest(tmp_path):
    for name, data in SHARDED.items():
        (tmp_path / name).write_bytes(data)
    before = digest_weights(tmp_path)
    first, second = (tmp_path / name for name in SHARDS)
    content = first.read_bytes(), second.read_bytes()
    first.write_bytes(content[1])
    second.write_bytes(content[0])
    assert digest_weights(tmp_path) != before


def test_where_weights_of_two_libraries_lie_each_loader_has_its_own(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(WEIGHTS)
    (tmp_path / "open_clip_pytorch_model.bin").write_bytes(b"pickle")
    assert digest_weights(tmp_path) == digest_weights(tmp_path, "timm") == plain_digest({"model.safetensors": WEIGHTS})
    assert digest_weights(tmp_path, "open_clip") == plain_digest({"open_clip_pytorch_model.bin": b"pickle"})
    assert weights_in(tmp_path, "open_clip", pickles=False) == []


def test_a_folder_without_weights_is_named(tmp_path):
    (tmp_path / "optimizer.bin").write_bytes(b"x")
    with pytest.raises(
        ValueError, match=rf"{tmp_path} holds no weights; a model has one of model\.safetensors, pytorch"
    ):
        digest_weights(tmp_path)


def test_a_folder_whose_index_lists_a_missing_shard_is_named(tmp_path):
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(INDEX))
    with pytest.raises(ValueError, match=rf'{tmp_path}: model\.safetensors\.index\.json names "model-00001-of'):
        digest_weights(tmp_path)


# bytes


class Tiny(nn.Module):
    """Parameters, a floating-point buffer, and one of integers."""

    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(7, 5), nn.BatchNorm1d(5)


def held(module):
    """Bytes of a module's tensors as torch counts them."""
    return sum(tensor.nbytes for tensor in module.state_dict().values())


@pytest.mark.parametrize("stored", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_the_bytes_of_weights_are_what_torch_holds_in_that_dtype(tmp_path, stored, dtype):
    save_file(Tiny().to(stored).state_dict(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    assert weights_bytes(tmp_path, dtype) == held(Tiny().to(getattr(torch, dtype)))


def test_the_bytes_of_shards_add_up(tmp_path):
    for name, data in SHARDED.items():
        (tmp_path / name).write_bytes(data)
    assert weights_bytes(tmp_path, "bfloat16") == 2 * 40 * 8 * 2


def test_a_pickle_is_taken_for_float32(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"x" * 1000)
    assert [weights_bytes(tmp_path, dtype) for dtype in ("float32", "float16")] == [1000, 500]


@pytest.mark.parametrize(
    "data", [b"", b"\xff" * 20, WEIGHTS[:60], b"\2" + b"\0" * 7 + b"[]", b"\4" + b"\0" * 7 + b"null"]
)
def test_a_damaged_file_of_weights_is_named(tmp_path, data):
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(ValueError, match=rf"{tmp_path / 'model.safetensors'} is no whole safetensors file; delete it"):
        weights_bytes(tmp_path, "float32")


def test_small_files_are_checked_by_what_git_calls_them(tmp_path):
    (tmp_path / "config.json").write_bytes(b"{}")
    assert fetch._git_name(tmp_path / "config.json") == blob_name(b"{}") == "9e26dfeeb6e641a33dae4961196235bdb965b21b"
