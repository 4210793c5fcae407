"""Nothing from outside is run, leads elsewhere, or unpacks without end; and no secret is told."""

import ast
import contextlib
import io
import json
import socket
import tarfile
import zipfile
from pathlib import Path

import duckdb
import h5py
import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from hub_server import Hub
from image_server import ImageServer, watched_connections

from geoprobe.hub_files import Repository, _check
from geoprobe.images import files, hdf5
from geoprobe.images.archives import read_members
from geoprobe.images.boundaries import fetch_boundaries
from geoprobe.images.database import open_database
from geoprobe.images.download import download_shard
from geoprobe.images.fetch import FetchError, fetch_file
from geoprobe.images.files import LONGEST, archive_members
from geoprobe.images.http import AddressRules
from geoprobe.images.hub import check as check_hub
from geoprobe.images.polygons import check as check_polygons
from geoprobe.runtime import rule_log, write_json
from geoprobe.secrets import redact

PLANTED = "s3cr3t-pl4nted-v4lue"
NETWORK = {"attempts": 1, "timeout_s": 5, "requests_per_second": 0, "allow_private": True}


@pytest.fixture
def server():
    with ImageServer() as running:
        yield running


# code from outside


def test_no_module_can_run_what_a_file_or_a_user_says():
    found = []
    for path in [*ROOT.glob("geoprobe/**/*.py"), *ROOT.glob("workflow/**/*.py"), *ROOT.glob("benchmarks/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                found += [(path.name, name) for name in names & {"pickle", "joblib", "marshal", "shelve", "dill"}]
            if not isinstance(node, ast.Call):
                continue
            called, given = ast.unparse(node.func), {word.arg: ast.unparse(word.value) for word in node.keywords}
            if called in ("eval", "exec", "os.system", "os.popen", "torch.hub.load", "pd.read_pickle"):
                found.append((path.name, called))
            if called == "torch.load" and given.get("weights_only") != "True":
                found.append((path.name, "torch.load"))
            for word, bad in (("shell", "True"), ("trust_remote_code", "True"), ("allow_pickle", "True")):
                if given.get(word) == bad or (word != "shell" and given.get(word, "False") != "False"):
                    found.append((path.name, word))
    assert found == []


# archives


def test_a_tar_header_that_unpacks_to_gigabytes_is_not_read(tmp_path):
    header = tarfile.TarInfo("././@PaxHeader")
    header.type = tarfile.XHDTYPE
    for size, outcome in ((4 << 30, "archive broken"), (LONGEST + 1, "archive broken")):
        header.size = size
        path = tmp_path / "images.tar"
        path.write_bytes(header.tobuf(tarfile.GNU_FORMAT) + bytes(4096))
        ((_, data, status, detail),) = read_members(path, ["a.jpg"], 1000)
        assert (data, status) == (None, outcome)
        assert f"a header of {size} bytes" in detail
        with open(path, "rb") as file, pytest.raises(ValueError, match="damaged or no archive"):
            archive_members(file, "images.tar")


def test_a_long_name_is_still_read(tmp_path):
    name = f"{'a' * 300}/b.jpg"
    with tarfile.open(tmp_path / "images.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        member = tarfile.TarInfo(name)
        member.size = 3
        archive.addfile(member, io.BytesIO(b"abc"))
    assert [*read_members(tmp_path / "images.tar", [name], 1000)] == [(name, b"abc", "", "")]


@pytest.mark.parametrize("way", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_members_that_may_unpack_at_once_to_any_size_are_refused(tmp_path, way):
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as archive:
        archive.writestr("bomb.jpg", bytes(1000), compress_type=way)
        archive.writestr("good.jpg", b"abc", compress_type=zipfile.ZIP_DEFLATED)
    members = read_members(tmp_path / "images.zip", ["bomb.jpg", "good.jpg"], 100)
    found = {name: (data, status) for name, data, status, _ in members}
    assert found == {"bomb.jpg": (None, "unsafe member"), "good.jpg": (b"abc", "")}


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_tar_that_unpacks_to_far_more_than_photographs_do_is_broken(tmp_path, monkeypatch, mode):
    monkeypatch.setattr(files, "UNPACKED", 1 << 20)
    path = tmp_path / "images.tar.xz"
    with tarfile.open(path, mode) as archive:
        for name, size in (("first.jpg", 3), ("not wanted", 40 << 20), ("last.jpg", 3)):
            member = tarfile.TarInfo(name)
            member.size = size
            archive.addfile(member, io.BytesIO(bytes(size)))
    found = {
        name: (data, status, detail) for name, data, status, detail in read_members(path, ["first.jpg", "last.jpg"], 9)
    }
    # bzip2 unpacks a block of 900,000 bytes at once
    assert found["first.jpg"] == (bytes(3), "", "")
    assert found["last.jpg"][:2] == (None, "archive broken")
    assert "bytes unpack to more than" in found["last.jpg"][2]
    with open(path, "rb") as file, pytest.raises(ValueError, match="bytes unpack to more than"):
        archive_members(file, path)


def test_a_large_tar_of_what_does_not_shrink_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "UNPACKED", 1 << 20)
    photos = {f"{number}.jpg": np.random.default_rng(number).bytes(1 << 20) for number in range(4)}
    for mode in ("w", "w:gz"):
        with tarfile.open(tmp_path / "images.tar", mode) as archive:
            for name, data in photos.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        found = {name: data for name, data, *_ in read_members(tmp_path / "images.tar", list(photos), 2 << 20)}
        assert found == photos


# databases


def test_a_database_fetches_and_runs_no_code(tmp_path):
    with open_database(tmp_path) as base:
        settings = "SELECT name, value FROM duckdb_settings() WHERE name LIKE 'auto%_known_extensions'"
        assert set(base.execute(settings).fetchall()) == {
            ("autoinstall_known_extensions", "false"),
            ("autoload_known_extensions", "false"),
        }
        with watched_connections() as seen, pytest.raises(duckdb.Error, match="httpfs"):
            base.execute("SELECT * FROM read_csv('https://127.0.0.1:9/x.csv')")
    assert seen == []


# HDF5 and polygons that lead elsewhere


def _write_hdf5(path, **changed):
    with h5py.File(path, "w") as file:
        for name, values in {
            "images": [[1], [2]],
            "latitudes": [1.0, 2.0],
            "longitudes": [3.0, 4.0],
            **changed,
        }.items():
            if isinstance(values, h5py.ExternalLink):
                file[name] = values
            elif isinstance(values, h5py.VirtualLayout):
                file.create_virtual_dataset(name, values)
            elif isinstance(values, Path):
                file.create_dataset(name, (2, 4), np.uint8, external=[(str(values), 0, 8)])
            else:
                file[name] = values


def test_an_hdf5_file_cannot_read_other_files(tmp_path):
    secret, other, path = tmp_path / "id_rsa", tmp_path / "other.h5", tmp_path / "photos.h5"
    secret.write_bytes(b"private!")
    _write_hdf5(other)
    layout = h5py.VirtualLayout((2,), np.float64)
    layout[:] = h5py.VirtualSource(other, "latitudes", (2,))
    cases = {"images": secret, "latitudes": layout, "longitudes": h5py.ExternalLink("other.h5", "longitudes")}
    for name, values in cases.items():
        _write_hdf5(path, **{name: values})
        with pytest.raises(ValueError, match=f"whose {name} (lies in other files|is a link to)"):
            hdf5.check({"path": str(path)})
    _write_hdf5(path)
    hdf5.check({"path": str(path)})


def test_polygons_that_only_lead_to_others_are_refused(tmp_path):
    path = tmp_path / "units.geojson"
    path.write_text('<OGRVRTDataSource><OGRVRTLayer name="x"><SrcDataSource>/etc/passwd</SrcDataSource></OGRVRTLayer>')
    with pytest.raises(ValueError, match="leads to other files"):
        check_polygons({"layers": [{"path": str(path), "country": "a"}]})


@pytest.mark.parametrize("endpoint", ["file:///etc", "ftp://a.test", "hub.test"])
def test_the_address_of_a_hub_is_one_of_the_web(endpoint):
    with pytest.raises(ValueError, match="begins with http"):
        check_hub({"repo": "a/b", "metadata": ["a.csv"], "archives": ["a.zip"], "endpoint": endpoint})


class LeadingAway(Hub):
    """A hub that leads what is asked below `start` to `target`."""

    def answer(self, request):
        if request.path.startswith(self.start):
            # as the hub says where a large file lies
            about = {"X-Repo-Commit": "0" * 40, "ETag": '"x"', "X-Linked-Size": "4"}
            self.send(request, 302, {"Location": self.target, **about}, b"")
        else:
            super().answer(request)


@pytest.mark.parametrize("start", ["/api/", "/datasets/"])
def test_a_hub_cannot_lead_its_library_to_private_addresses(server, tmp_path, monkeypatch, start):
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "no token"))
    hub = LeadingAway()
    hub.start, hub.target = start, f"http://localhost:{server.port}/ok/1"
    commit = hub.add("ann/photos", {"list.csv": b"a,b\n"})
    options, network = {"repo": "ann/photos", "endpoint": hub.endpoint}, NETWORK | {"allow_private": False}
    try:
        with pytest.raises(FetchError, match="redirect to a private address"):
            Repository(options, network, tmp_path / "files").download("list.csv")
        assert server.requests == {}
        # of a host that the user names, the answer comes, and is not what the hub should say
        with pytest.raises((FetchError, OSError)):
            Repository(options, network | {"allow_private": ["localhost"]}, tmp_path / "files").download("list.csv")
        assert server.requests["/ok/1"] > 0
        hub.start = "/nowhere"
        found = Repository(options, network, tmp_path / "files")
        assert found.commit == commit
        assert found.download("list.csv").read_bytes() == b"a,b\n"
    finally:
        hub.close()


@pytest.mark.parametrize(("address", "refused"), [("10.0.0.1", True), ("1.1.1.1", False)])
def test_a_name_that_leads_to_a_private_address_is_none_for_a_hub(monkeypatch, address, refused):
    found = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 443))]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    expected = pytest.raises(FetchError, match=r"a\.test leads to 10\.0\.0\.1") if refused else contextlib.nullcontext()
    with expected:
        _check("https://a.test/x", AddressRules(["hub.test"]))


# secrets


@pytest.mark.parametrize(
    ("told", "kept"),
    [
        (f"https://ann:{PLANTED}@a.test/x.csv", "https://***@a.test/x.csv"),
        (f"https://a.test/x.csv?size=z&token={PLANTED}&page=2", "https://a.test/x.csv?size=z&token=***&page=2"),
        (f"https://a.test/x?X-Amz-Signature={PLANTED}", "https://a.test/x?X-Amz-Signature=***"),
        (f"https://a.test/x?api_key={PLANTED}", "https://a.test/x?api_key=***"),
        (f"{{'Authorization': 'Bearer {PLANTED}'}}", "{'Authorization': '***'}"),
        ("hub://datasets/ann/photos@main/a.zip", "hub://datasets/ann/photos@main/a.zip"),
        ("https://a.test/x.csv?page=2#top", "https://a.test/x.csv?page=2#top"),
    ],
)
def test_what_is_taken_out_of_a_text(told, kept):
    assert redact(told) == kept


@pytest.mark.parametrize("name", ["HF_TOKEN", "FLICKR_API_KEY", "AWS_SECRET_ACCESS_KEY", "MY_PASSWORD"])
def test_values_of_the_environment_are_taken_out(monkeypatch, name):
    monkeypatch.setenv(name, PLANTED)
    assert redact(f"sent {PLANTED}.") == "sent ***."


def test_a_planted_secret_is_in_nothing_that_a_download_leaves(server, tmp_path, capfd):
    """Through real requests: one that is answered, one that is gone, one that is led on to a signed address."""
    server.redirects["/away/1"] = f"ftp://ann:{PLANTED}@a.test/x?sig={PLANTED}"
    paths = ("ok/1.jpg", "gone/2.jpg", "away/1")
    urls = [[f"http://ann:{PLANTED}@127.0.0.1:{server.port}/{path}?token={PLANTED}"] for path in paths]
    rows = pd.DataFrame({"id": ["a", "b", "c"], "urls": urls})
    with rule_log(tmp_path / "log.txt"):
        download_shard(rows, tmp_path / "pack", tmp_path / "status.parquet", NETWORK, tmp_path / "pace")
        print(f"asked {urls[0][0]}")
    status = pd.read_parquet(tmp_path / "status.parquet")
    assert status["status"].tolist() == ["ok", "http 404", "not http or https"]
    left = [path for path in tmp_path.rglob("*") if path.is_file() and PLANTED.encode() in path.read_bytes()]
    assert left == []
    assert PLANTED not in status.to_csv() + "".join(capfd.readouterr())


def test_a_planted_secret_is_in_no_error_log_or_manifest_of_a_fetched_file(server, tmp_path, capfd):
    server.files["/list.csv"] = b"a,b\n1,2\n"
    address = f"http://ann:{PLANTED}@127.0.0.1:{server.port}"
    entry = fetch_file(f"{address}/list.csv?token={PLANTED}", tmp_path / "list.csv", NETWORK)
    write_json({"files": [entry]}, tmp_path / "manifest.json")
    with pytest.raises(SystemExit), rule_log(tmp_path / "log.txt"):
        fetch_file(f"{address}/gone/x?token={PLANTED}", tmp_path / "x", NETWORK)
    with pytest.raises(FetchError) as caught:
        fetch_file(f"{address}/gone/x?token={PLANTED}", tmp_path / "x", NETWORK)
    told = str(caught.value) + "".join(capfd.readouterr())
    told += "".join(path.read_text() for path in (tmp_path / "manifest.json", tmp_path / "log.txt"))
    assert "http 404" in told
    assert PLANTED not in told


def test_the_token_of_a_boundarys_address_is_no_part_of_a_file_name(server, tmp_path):
    point = {"type": "Point", "coordinates": [1, 2]}
    unit = {"type": "Feature", "properties": {"c": "FR"}, "geometry": point}
    server.files["/units.geojson"] = json.dumps({"type": "FeatureCollection", "features": [unit]}).encode()
    layer = {"file": f"{server.root}/units.geojson?token={PLANTED}", "country": "c"}
    fetch_boundaries({"coast_km": 0, "layers": [layer]}, tmp_path / "own.json", NETWORK)
    (path,) = (path for path in (tmp_path / "own").rglob("*") if path.is_file())
    assert path.name == "units.geojson"
    assert PLANTED not in str(path)
    assert PLANTED not in (tmp_path / "own.json").read_text()
