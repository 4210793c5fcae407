"""What is fetched of a data set of the hub: as little as will do, once, through failures, and with the right token."""

import hashlib
import socket

import huggingface_hub.constants
import pandas as pd
import pytest
from hub_photos import (
    ARCHIVES,
    FILES,
    LISTED,
    NETWORK,
    PICTURES,
    REPO,
    fetched,
    listing,
    picture,
    put_on,
    serving,
    tarred,
    zipped,
)

from geoprobe.images import hub
from geoprobe.images.fetch import FetchError


@pytest.fixture
def server(monkeypatch, tmp_path):
    """A hub."""
    yield from serving(monkeypatch, tmp_path)


@pytest.fixture
def data_set(server, tmp_path):
    """Put files on the hub; returns the source's options and the folder of its metadata."""
    return lambda *content, **options: (put_on(server, *content, **options), tmp_path / "metadata")


def test_of_zip_files_only_their_directories_are_fetched(data_set, server):
    large = {f"images/{k}.zip": zipped({f"{k}/{name}.png": picture(k, 400) for name in PICTURES}) for k in range(2)}
    options, folder = data_set(FILES | large, archives=[*large])
    fetched(options, folder)
    assert sum(map(len, large.values())) > 4_000_000
    assert server.sent("images/") < 5_000
    assert listing(options, folder)["member"].tolist() == [f"0/{name}.png" for name in PICTURES]


def test_a_server_that_gives_no_parts_of_files_gives_the_same_list(data_set, server):
    options, folder = data_set()
    fetched(options, folder)
    expected = listing(options, folder)
    server.ranges = False
    fetched(options, folder.with_name("again"))
    pd.testing.assert_frame_equal(listing(options, folder.with_name("again")), expected)


@pytest.mark.parametrize(("ending", "mode"), [("tar", "w"), ("tar.gz", "w:gz"), ("tgz", "w:gz")])
def test_tar_files_are_read_through(data_set, ending, mode):
    archive = tarred({f"x/{name}.png": data for name, data in PICTURES.items()} | {"x/notes.txt": b"no"}, mode)
    options, folder = data_set(FILES | {f"all.{ending}": archive}, archives=[f"all.{ending}"])
    fetched(options, folder)
    rows = listing(options, folder)
    assert rows["member"].tolist() == [f"x/{name}.png" for name in PICTURES]
    assert rows["archive"].str.endswith(f"/all.{ending}").all()


def test_what_has_been_fetched_is_recorded_with_its_digest(data_set, server):
    options, folder = data_set()
    manifest = fetched(options, folder)
    commit = server.commit(REPO, -1)
    assert [
        entry["url"].removeprefix(f"{server.endpoint}/datasets/{REPO}/resolve/{commit}/") for entry in manifest
    ] == ["list.csv", *ARCHIVES]
    for entry in manifest:
        data = (folder / entry["file"]).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(data), hashlib.sha256(data).hexdigest())
    assert (folder / manifest[0]["file"]).read_bytes() == FILES["list.csv"]


def test_what_is_there_is_not_fetched_again(data_set, server):
    options, folder = data_set()
    first = fetched(options, folder)
    server.asked.clear()
    assert fetched(options, folder) == first
    assert server.sent("/resolve/") == 0


def test_a_run_that_failed_goes_on_where_it_ended(data_set, server):
    options, folder = data_set()
    server.failures["01.zip"] = [404] * 50
    with pytest.raises(FetchError, match="http 404"):
        fetched(options, folder)
    assert not (folder / hub.STATE).exists()
    server.failures.clear()
    server.asked.clear()
    fetched(options, folder)
    assert server.sent("list.csv") == server.sent("00.zip") == 0
    assert len(listing(options, folder)) == 5


@pytest.mark.parametrize("place", ["list.csv", "00.zip", "/tree/", "/revision/"])
@pytest.mark.parametrize("failure", [503, 429, "cut"])
def test_a_failure_that_passes_is_not_noticed(data_set, server, place, failure):
    options, folder = data_set()
    server.failures[place] = [failure]
    fetched(options, folder)
    assert listing(options, folder)["reason"].tolist() == ["", "", "", "", "in none of the archives"]
    assert (folder / "files" / "list.csv").read_bytes() == FILES["list.csv"]


def test_a_hub_that_stays_down_is_named_with_what_to_do(data_set, server):
    options, folder = data_set()
    server.failures["/revision/"] = [503] * 50
    with pytest.raises(FetchError, match=rf"^{server.endpoint}/datasets/{REPO}: http 503\. Run again later") as caught:
        fetched(options, folder)
    assert caught.value.retryable
    assert len(server.failures["/revision/"]) == 50 - NETWORK["attempts"]


def test_a_hub_that_is_not_there_is_named(data_set):
    options, folder = data_set()
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    with pytest.raises(FetchError, match=rf"{nobody}/datasets/{REPO}: connection failed \(ConnectError\)") as caught:
        fetched(options | {"endpoint": nobody}, folder)
    assert caught.value.retryable


def test_a_list_that_came_with_another_checksum_is_refused(data_set, server, monkeypatch):
    options, folder = data_set()
    wrong = dict(FILES, **{"list.csv": FILES["list.csv"].replace(b"Paris", b"Perth")})
    give = server.give

    def give_another(request, repo, revision, path):
        server.repos[repo]["commits"][-1] = wrong
        give(request, repo, revision, path)

    monkeypatch.setattr(server, "give", give_another)
    with pytest.raises(FetchError, match=r"list\.csv: checksum wrong"):
        fetched(options, folder)
    assert not (folder / "files" / "list.csv").exists()


# revisions


def test_a_branch_is_resolved_to_a_commit_when_it_is_fetched(data_set, server):
    options, folder = data_set()
    fetched(options, folder)
    old, before = server.commit(REPO, 0), listing(options, folder)
    moved = FILES | {"list.csv": LISTED[:3].to_csv(index=False).encode()}
    server.add(REPO, moved)
    pd.testing.assert_frame_equal(listing(options, folder), before)
    assert hub.describe(options, folder)["source_version"] == f"{REPO}@{server.commit(REPO, 0)}"
    server.asked.clear()
    fetched(options, folder)
    rows = listing(options, folder)
    assert len(rows) == 3
    assert server.commit(REPO, 1) in rows["archive"][0]
    assert old not in rows["archive"][0]
    assert server.sent(".zip") == 0  # the same archives as before


def test_a_pinned_commit_stays_what_it_was(data_set, server):
    options, folder = data_set()
    options["revision"] = server.commit(REPO, 0)
    server.add(REPO, {"README.md": b"all gone"})
    options["revision"] = server.commit(REPO, 0)
    fetched(options, folder)
    assert len(listing(options, folder)) == 5


def test_a_revision_that_is_not_there_is_named(data_set):
    options, folder = data_set(revision="v9")
    with pytest.raises(ValueError, match=rf'revision is "v9", and {REPO} has no branch, tag or commit') as caught:
        fetched(options, folder)
    assert "\n" not in str(caught.value)


# access


def refused(options, folder):
    with pytest.raises(FetchError) as caught:
        fetched(options, folder)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_gated_data_set_says_which_token_it_wants_and_comes_with_it(data_set, server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    options, folder = data_set(access={"gated": "auto", "tokens": ["hf_right"]})
    sentence = refused(options, folder)
    assert sentence.startswith(f"{server.endpoint}/datasets/{REPO}: http 401 (it is given to accounts that accepted")
    assert "accept them there, and set HF_TOKEN" in sentence
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    assert "http 403" in refused(options, folder)
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    fetched(options, folder)
    assert len(listing(options, folder)) == 5


def test_a_private_data_set_and_one_that_is_not_there_are_told_alike(data_set, server, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", server.endpoint)
    options, folder = data_set(access={"private": True, "tokens": ["hf_right"]})
    for repo in (REPO, "ann/absent"):
        sentence = refused(options | {"repo": repo}, folder)
        assert f"/datasets/{repo}: http 401 (private, gated or not there). See whether the name is right" in sentence
        assert "HF_TOKEN" in sentence
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    fetched(options, folder)
    assert len(listing(options, folder)) == 5


def test_a_token_is_not_sent_to_a_hub_that_only_the_configuration_names(data_set, monkeypatch):
    options, folder = data_set(access={"private": True, "tokens": ["hf_right"]})
    monkeypatch.setenv("HF_TOKEN", "hf_right")
    assert "A token is sent to the public hub alone" in refused(options, folder)


def test_single_files_of_a_gated_data_set_are_refused_at_once(data_set):
    options, folder = data_set(access={"gated": "manual"}, files="images/{id}.png")
    with pytest.raises(ValueError, match="gives its files to accounts only"):
        fetched(options, folder)


def test_an_offline_hub_library_is_named(data_set, monkeypatch):

    options, folder = data_set()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert "HF_HUB_OFFLINE is set" in refused(options, folder)


def test_a_damaged_archive_is_named(data_set):
    options, folder = data_set(FILES | {"images/00.zip": ARCHIVES["images/00.zip"][:-30]})
    with pytest.raises(ValueError, match=r'images/00\.zip" is damaged or no archive'):
        fetched(options, folder)
    assert not list((folder / "members").glob("*.tmp"))


def test_an_archive_of_another_kind_is_named(data_set):
    options, folder = data_set(FILES | {"images.7z": b"7z"}, archives=["images.7z"])
    with pytest.raises(ValueError, match=r'images\.7z" does not end like an archive; allowed: \.zip, \.tar'):
        fetched(options, folder)
