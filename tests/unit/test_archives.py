"""Images in archives: wanted members are read as they are, all else has its reason, nothing is unpacked to disk."""

import contextlib
import hashlib
import io
import os
import stat
import tarfile
import time
import zipfile
from urllib.parse import quote

import pandas as pd
import pytest
from image_server import ImageServer, photo, watched_connections

from geoprobe.images.archives import AccessError, fetched_archive, is_unsafe, read_members
from geoprobe.images.fetch import FetchError

NETWORK = {"attempts": 2, "timeout_s": 2, "requests_per_second": 0, "allow_private": True}
LIMIT = 50_000
IMAGES = {f"a/{number}.jpg": photo(number) for number in range(6)}
FORMS = ["tar", "tar.gz", "tar.bz2", "tar.xz", "zip"]


def pack_tar(members, form="tar", others=()):
    buffer = io.BytesIO()
    mode = {"tar": "w", "tar.gz": "w:gz", "tar.bz2": "w:bz2", "tar.xz": "w:xz"}[form]
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for info in others:
            archive.addfile(info)
    return buffer.getvalue()


def pack_zip(members, others=(), compression=zipfile.ZIP_DEFLATED):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
        for info, data in others:
            archive.writestr(info, data)
    return buffer.getvalue()


def pack(members, form):
    return pack_zip(members) if form == "zip" else pack_tar(members, form)


@pytest.fixture
def read(tmp_path):
    """Read members of an archive given as bytes; returns name to (bytes, status, detail)."""

    def make(content, wanted, limit=LIMIT):
        (tmp_path / "archive").write_bytes(content)
        found = list(read_members(tmp_path / "archive", wanted, limit))
        assert sorted(name for name, *_ in found) == sorted(wanted)
        assert os.listdir(tmp_path) == ["archive"]
        return {name: rest for name, *rest in found}

    return make


def statuses(found):
    return {name: status for name, (_, status, _) in found.items()}


# members


@pytest.mark.parametrize("form", FORMS)
def test_wanted_members_are_read_and_others_are_not(read, form):
    wanted = ["a/4.jpg", "a/1.jpg", "a/missing.jpg"]
    found = read(pack(IMAGES, form), wanted)
    assert found["a/4.jpg"] == [IMAGES["a/4.jpg"], "", ""]
    assert found["a/1.jpg"] == [IMAGES["a/1.jpg"], "", ""]
    assert found["a/missing.jpg"][:2] == [None, "member missing"]


@pytest.mark.parametrize("form", FORMS)
def test_a_name_is_the_same_with_and_without_the_folder_it_is_in(read, form):
    content = pack({f"./{name}": data for name, data in IMAGES.items()}, form)
    assert read(content, ["a/1.jpg"])["a/1.jpg"][0] == IMAGES["a/1.jpg"]
    found = read(pack(IMAGES, form), ["./a/1.jpg", "a/1.jpg"])
    assert [data for data, *_ in found.values()] == [IMAGES["a/1.jpg"]] * 2


def test_a_long_name_with_any_letters_is_found(read):
    name = "Bäume/" + "日本" * 80 + ".jpg"
    for form in FORMS:
        assert read(pack({name: photo(1)}, form), [name])[name][0] == photo(1)


UNSAFE = [
    "/etc/passwd",
    "../up.jpg",
    "a/../../up.jpg",
    "a\\..\\..\\up.jpg",
    "C:\\x.jpg",
    "\\\\host\\x.jpg",
    "a/\0.jpg",
    "",
]


@pytest.mark.parametrize("name", UNSAFE)
def test_a_name_that_leads_out_is_refused_even_where_the_archive_has_it(read, name):
    assert is_unsafe(name)
    assert statuses(read(pack_tar({name.replace("\0", "0"): photo(1), **IMAGES}), [name, "a/1.jpg"])) == {
        name: "unsafe member",
        "a/1.jpg": "",
    }


@pytest.mark.parametrize("name", ["a.jpg", "./a.jpg", "a/b/c.jpg", "a..b/c..jpg", "...", "a/.hidden", "ab:c.jpg"])
def test_names_that_stay_inside_are_not_refused(name):
    assert not is_unsafe(name)


def test_links_devices_and_folders_are_refused(read):
    kinds = {"hard": tarfile.LNKTYPE, "soft": tarfile.SYMTYPE, "device": tarfile.CHRTYPE, "block": tarfile.BLKTYPE,
             "pipe": tarfile.FIFOTYPE, "folder": tarfile.DIRTYPE}  # fmt: skip
    others = []
    for name, kind in kinds.items():
        info = tarfile.TarInfo(name)
        info.type, info.linkname = kind, "/etc/passwd"
        others.append(info)
    found = read(pack_tar(IMAGES, others=others), [*kinds, "a/1.jpg"])
    assert statuses(found) == {**dict.fromkeys(kinds, "unsafe member"), "a/1.jpg": ""}

    link = zipfile.ZipInfo("soft")
    link.create_system, link.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
    found = read(
        pack_zip(IMAGES, others=[(link, "/etc/passwd"), (zipfile.ZipInfo("folder/"), "")]), ["soft", "folder/"]
    )
    assert statuses(found) == {"soft": "unsafe member", "folder/": "unsafe member"}


@pytest.mark.parametrize("form", FORMS)
def test_a_member_over_the_limit_is_refused_and_the_next_is_read(read, form):
    content = pack({"big": b"\0" * 10**6, "fits": b"\0" * LIMIT, "over": b"\0" * (LIMIT + 1)}, form)
    assert statuses(read(content, ["big", "fits", "over"])) == {"big": "too large", "fits": "", "over": "too large"}


def test_a_zip_that_lies_about_the_size_of_a_member_is_not_believed(read):
    content = bytearray(pack_zip({"bomb": b"\0" * 10**6}))
    for header, place in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        start = content.index(header) + place
        content[start : start + 4] = (10).to_bytes(4, "little")
    data, status, _ = read(bytes(content), ["bomb"])["bomb"]
    assert data is None
    assert status in ("too large", "archive broken")


# broken archives


@pytest.mark.parametrize("form", ["tar", "tar.gz", "tar.bz2", "tar.xz"])
def test_of_a_tar_cut_anywhere_each_member_is_read_whole_or_broken(read, form):
    content, seen = pack(IMAGES, form), set()
    for place in range(0, len(content), max(1, len(content) // 60)):
        found = read(content[:place], list(IMAGES))
        for name, (data, status, _) in found.items():
            seen.add(status)
            assert (data, status) in ((IMAGES[name], ""), (None, "archive broken"))
    # bzip2 gives nothing before a whole block, which is more than the archive
    assert seen == {"archive broken"} | ({""} if form != "tar.bz2" else set())


def test_what_was_read_before_an_archive_breaks_is_kept(read):
    whole = pack_tar(IMAGES)
    third = whole.index(b"a/3.jpg")
    found = read(whole[: third + 600], list(IMAGES))
    expected = {name: "" if number < 3 else "archive broken" for number, name in enumerate(IMAGES)}
    assert statuses(found) == expected


def test_a_tar_cut_between_two_members_is_broken_and_not_short_of_members(read):
    whole = pack_tar(IMAGES)
    found = read(whole[: whole.index(b"a/3.jpg")], ["a/1.jpg", "a/5.jpg"])
    assert statuses(found) == {"a/1.jpg": "", "a/5.jpg": "archive broken"}


def test_a_damaged_header_between_two_members_is_not_taken_for_the_end(read):
    content = bytearray(pack_tar(IMAGES))
    content[content.index(b"a/3.jpg") + 200] ^= 1
    found = statuses(read(bytes(content), ["a/1.jpg", "a/3.jpg", "a/5.jpg"]))
    assert found == {"a/1.jpg": "", "a/3.jpg": "archive broken", "a/5.jpg": "archive broken"}


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 broken", b"\x1f\x8b broken"])
def test_what_is_no_archive_is_a_broken_one(read, content):
    assert statuses(read(content, ["a/1.jpg"])) == {"a/1.jpg": "archive broken"}


def test_a_zip_without_its_directory_is_broken_and_a_damaged_member_hides_no_other(read):
    content = pack_zip(IMAGES, compression=zipfile.ZIP_STORED)
    assert set(statuses(read(content[:-30], list(IMAGES))).values()) == {"archive broken"}
    damaged = bytearray(content)
    damaged[content.index(IMAGES["a/2.jpg"]) + 50] ^= 1
    expected = {name: "archive broken" if name == "a/2.jpg" else "" for name in IMAGES}
    assert statuses(read(bytes(damaged), list(IMAGES))) == expected


def test_an_encrypted_member_is_broken_and_the_others_are_read(read):
    content = bytearray(pack_zip({"a": photo(1), "b": photo(2)}))
    for header, place in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + place] |= 1
    assert statuses(read(bytes(content), ["a", "b"])) == {"a": "archive broken", "b": ""}


# obtaining


@pytest.fixture
def server(direct):
    with ImageServer() as server:
        server.files["/images.tar"] = pack_tar(IMAGES)
        yield server


def test_an_archive_is_there_for_as_long_as_it_is_used(server, tmp_path):
    address = f"{server.root}/images.tar"
    with fetched_archive(address, tmp_path, NETWORK) as path:
        assert path.read_bytes() == server.files["/images.tar"]
        assert path.parent == tmp_path
    assert os.listdir(tmp_path) == []


def test_an_archive_whose_reading_was_stopped_is_not_fetched_again(server, tmp_path):
    address, checksum = f"{server.root}/images.tar", hashlib.md5(server.files["/images.tar"]).hexdigest()
    with contextlib.suppress(KeyboardInterrupt), fetched_archive(address, tmp_path, NETWORK, md5=checksum):
        raise KeyboardInterrupt
    with fetched_archive(address, tmp_path, NETWORK, md5=checksum):
        pass
    assert server.requests["/images.tar"] == 1
    assert os.listdir(tmp_path) == []


def test_archives_of_the_same_last_name_are_kept_apart(server, tmp_path):
    server.files["/train/0.tar"], server.files["/test/0.tar"] = b"train", b"test"
    train, test = (fetched_archive(f"{server.root}/{part}/0.tar", tmp_path, NETWORK) for part in ("train", "test"))
    with train as one, test as other:
        assert (one.read_bytes(), other.read_bytes()) == (b"train", b"test")


def test_a_wrong_checksum_is_an_error_that_keeps_nothing(server, tmp_path):
    with pytest.raises(FetchError, match="checksum wrong") as caught, fetched_archive(
        f"{server.root}/images.tar", tmp_path, NETWORK, sha256="0" * 64
    ):  # fmt: skip
        pass
    assert (caught.value.status, caught.value.retryable) == ("checksum wrong", True)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_an_archive_on_this_machine_is_read_where_it_is_and_stays(tmp_path, scheme):
    path = tmp_path / "a b.tar"
    path.write_bytes(pack_tar(IMAGES))
    address = f"{scheme}{quote(str(path)) if scheme else path}"
    checksum = hashlib.md5(path.read_bytes()).hexdigest()
    with fetched_archive(address, tmp_path / "work", NETWORK, md5=checksum) as found:
        assert found == path
    wrong = fetched_archive(address, tmp_path / "work", NETWORK, md5="0" * 32)
    with pytest.raises(FetchError, match="checksum wrong"), wrong:
        pass
    assert os.listdir(tmp_path) == ["a b.tar"]


def test_a_folder_is_read_as_an_archive_and_no_name_leads_out_of_it(tmp_path):
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "1.jpg").write_bytes(photo(1))
    (tmp_path / "inside" / "big").write_bytes(bytes(LIMIT + 1))
    (tmp_path / "outside.jpg").write_bytes(photo(2))
    wanted = ["1.jpg", "big", "gone.jpg", "../outside.jpg", str(tmp_path / "outside.jpg")]
    found = {name: rest for name, *rest in read_members(tmp_path / "inside", wanted, LIMIT)}
    assert found["1.jpg"] == [photo(1), "", ""]
    assert list(statuses(found).values()).count("unsafe member") == 2
    assert statuses({name: found[name] for name in ("big", "gone.jpg")}) == {
        "big": "too large",
        "gone.jpg": "member missing",
    }


def test_images_in_a_column_of_a_parquet_file_are_members(read):
    buffer = io.BytesIO()
    pd.DataFrame({"image": [photo(1), photo(2)]}).to_parquet(buffer)
    found = read(buffer.getvalue(), ["image/1", "image/2", "../image/0"])
    assert found["image/1"] == [photo(2), "", ""]
    assert statuses(found) == {"image/1": "", "image/2": "member missing", "../image/0": "unsafe member"}


# the hub

HUB = "hub://datasets/osm/tiny@main/images/00.zip"
REMOTE = "/datasets/osm/tiny/resolve/main/images/00.zip"
COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(server, tmp_path, monkeypatch):
    """A hub on this machine that has one archive, and an empty cache."""
    import huggingface_hub.constants

    monkeypatch.setenv("HF_ENDPOINT", server.root)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_TOKEN_PATH", str(tmp_path / "no token"))
    monkeypatch.setenv("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    monkeypatch.delenv("HF_TOKEN", raising=False)
    server.files[REMOTE] = pack_zip(IMAGES)
    server.file_headers = {"X-Repo-Commit": COMMIT}
    with watched_connections():
        yield server


def test_an_archive_of_the_hub_is_fetched_from_the_endpoint_and_removed_when_done(hub, tmp_path):
    with fetched_archive(HUB, tmp_path / "work", NETWORK) as path:
        assert path.read_bytes() == hub.files[REMOTE]
        assert path.is_relative_to(tmp_path / "work")
    assert not path.exists()
    assert hub.requests[REMOTE] >= 1


def test_an_archive_in_the_hubs_own_cache_is_used_and_left_there(hub, tmp_path):
    import huggingface_hub

    cached = huggingface_hub.hf_hub_download(
        "osm/tiny",
        "images/00.zip",
        repo_type="dataset",
        revision="main",
        endpoint=hub.root,
        cache_dir=tmp_path / "cache",
    )
    hub.requests.clear()
    with fetched_archive(HUB, tmp_path / "work", NETWORK) as path:
        assert path.read_bytes() == hub.files[REMOTE]
    assert os.path.exists(cached)
    assert not hub.requests


@pytest.mark.parametrize("name", ["md5", "sha256"])
def test_the_checksum_of_an_archive_of_the_hub_is_checked(hub, tmp_path, name):
    right = hashlib.new(name, hub.files[REMOTE]).hexdigest()
    with fetched_archive(HUB, tmp_path / "work", NETWORK, **{name: right}) as path:
        assert path.exists()
    wrong = fetched_archive(HUB, tmp_path / "work", NETWORK, **{name: "0" * len(right)})
    with pytest.raises(FetchError, match=f"checksum wrong .{name} is {right} instead of 0"), wrong:
        pass
    assert not path.exists()


@pytest.mark.parametrize(
    ("status", "code"), [(401, "GatedRepo"), (403, "GatedRepo"), (401, "RepoNotFound"), (401, ""), (403, "")]
)
def test_a_data_set_behind_an_agreement_is_an_error_that_says_how_to_get_a_token(hub, tmp_path, status, code):
    hub.files.clear()
    hub.refusals[REMOTE] = (status, {"X-Error-Code": code})
    archive = fetched_archive(HUB, tmp_path / "work", NETWORK)
    advice = rf"http {status}.*Agree to the conditions .*osm/tiny.*HF_TOKEN"
    with pytest.raises(AccessError, match=advice) as caught, archive:
        pass
    assert "\n" not in str(caught.value)
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("status", "code"), [(404, "EntryNotFound"), (404, "RepoNotFound"), (404, "RevisionNotFound"), (410, "")]
)
def test_an_archive_that_the_hub_does_not_have_is_gone(hub, tmp_path, status, code):
    hub.files.clear()
    hub.refusals[REMOTE] = (status, {"X-Error-Code": code})
    archive = fetched_archive(HUB, tmp_path / "work", NETWORK)
    with pytest.raises(FetchError, match=f"http {status}") as caught, archive:
        pass
    assert not isinstance(caught.value, AccessError)
    assert not caught.value.retryable


def test_a_hub_that_cannot_be_reached_is_a_failed_connection(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)  # the hub's library tries again by itself
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    archive = fetched_archive(HUB, tmp_path / "work", NETWORK)
    with pytest.raises(FetchError, match=r"connection failed .*HF_HUB_OFFLINE") as caught, archive:
        pass
    assert caught.value.retryable
