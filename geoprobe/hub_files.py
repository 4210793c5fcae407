"""A repository of the Hugging Face hub at one commit: its files, and what lies in them without fetching the whole."""

import contextlib
import os
import re
import socket
import tempfile
import time
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, urlsplit

HUB = "https://huggingface.co"
AGAIN = (408, 429, 500, 502, 503, 504)
PREFIXES = {"dataset": "datasets/", "model": ""}  # what comes before a repository's name in its address
TOKEN = (
    "See whether the name is right. If its page asks for conditions, accept them there, and set HF_TOKEN to a token of "
    "the account that did, or run `hf auth login`, on the machine that starts the run."
)
OWN_HUB = (
    "A token is sent to the public hub alone, or to the one that HF_ENDPOINT names: if you trust this hub with yours, "
    "set HF_ENDPOINT to its address."
)
NO_HUB = "See whether endpoint or HF_ENDPOINT is the address of a hub."
# a name that a hub gives to a commit or a file's content, and that becomes a part of addresses and paths
NAME = re.compile(r"\w[\w.-]*", re.ASCII)
OFFLINE = {
    "dataset": "Unset it to fetch.",
    "model": "Unset it to fetch, or give the folder of files that you have as the id of a row with the loader local.",
}


class HubFile(NamedTuple):
    """A file of a repository: its path, size in bytes, git's name of its content, and its sha256 ("" if unknown)."""

    path: str
    size: int
    blob: str
    sha256: str


def endpoint_of(options):
    """Address of the hub: option `endpoint`, else HF_ENDPOINT, else the public one."""
    return (options.get("endpoint") or os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def _trusted():
    """Addresses of the hubs that a user's token is sent to."""
    return HUB, (os.environ.get("HF_ENDPOINT") or HUB).rstrip("/")


def _named(text):
    """A name that the hub gave, if it can be a part of a path.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(text, str) or not NAME.fullmatch(text):
        raise ValueError(f"{text!r} is no name of a commit or a file's content")
    return text


def _inside(path):
    """The path of a file in the repository, if it leads nowhere else and can be written."""
    from geoprobe.images.archives import is_unsafe

    if is_unsafe(path) or path != path.encode("utf-8", "replace").decode():
        raise ValueError(f"{path!r} is no path in a repository")
    return path


def file_url(endpoint, repo, commit, path, kind="dataset"):
    """Address of a file of a repository."""
    return f"{endpoint}/{PREFIXES[kind]}{repo}/resolve/{commit}/{quote(path)}"


def check_addresses(endpoint, network):
    """Let the hub's library ask the hub and public addresses alone, wherever it is led.

    Args:
        endpoint: address of the hub, whose own host may be private.
        network: options of the network; `allow_private` is used.

    A name that leads elsewhere between this check and the connection is not found out. What the library's own
    downloader of large files (hf_xet) asks is not seen here.
    """
    from huggingface_hub import set_client_factory
    from huggingface_hub.utils._http import default_client_factory

    from geoprobe.images.http import AddressRules, network_options

    allowed = network_options(network)["allow_private"]
    hub = urlsplit(endpoint).hostname
    rules = AddressRules(allowed if isinstance(allowed, bool) and allowed else [hub, *(allowed or [])])

    def checked_client():
        client = default_client_factory()
        hooks = client.event_hooks
        client.event_hooks = {**hooks, "request": [*hooks["request"], lambda request: _check(str(request.url), rules)]}
        return client

    set_client_factory(checked_client)


def _check(address, rules):
    """Raise FetchError for an address that is no public one and not allowed either."""
    from yarl import URL

    from geoprobe.images.fetch import FetchError
    from geoprobe.images.http import RequestFailed, is_public

    url = URL(address)
    try:
        rules.check(url, 1)
    except RequestFailed as failure:
        raise FetchError(address, failure.status, failure.detail) from failure
    if rules.allows(url.raw_host) or rules.proxy_of(url):
        return
    try:
        found = {entry[4][0] for entry in socket.getaddrinfo(url.raw_host, url.port, type=socket.SOCK_STREAM)}
    except OSError:  # the request will fail for the same reason, and say so
        return
    if not all(map(is_public, found)):
        raise FetchError(
            address, "redirect to a private address", f"{url.raw_host} leads to {', '.join(sorted(found))}"
        )


def _is_transient(error):
    """Whether the same may work later."""
    from huggingface_hub import errors

    if isinstance(error, (errors.OfflineModeIsEnabled, errors.FileMetadataError)):
        return False
    if isinstance(error, errors.LocalEntryNotFoundError):  # the hub's words for a file that could not be asked for
        return error.__cause__ is None or _is_transient(error.__cause__)
    response = getattr(error, "response", None)
    if response is not None:
        return response.status_code in AGAIN
    return isinstance(error, (errors.HTTPError, ConnectionError, TimeoutError)) or "Consistency check" in str(error)


class Repository:
    """A data set or a model of the hub at the commit that a branch, tag or commit name leads to now.

    Args:
        options: `repo` and, where they differ from the default, `revision` ("main") and `endpoint`.
        network: options of the network; `attempts` and `timeout_s` are used.
        folder: where files are put, made if absent; the cache of the hub's library is one of a layout of its own.
        kind: dataset or model.

    Attributes:
        commit: the commit's whole name.
        licence: as the repository's card states it, or "".
        restricted: whether files are given to accounts only.

    Raises:
        FetchError: it cannot be read: it does not exist, asks for a token, or the hub cannot be reached.
        ValueError: it has no such revision.
    """

    def __init__(self, options, network, folder, kind="dataset"):
        from huggingface_hub import HfApi

        from geoprobe.images.http import network_options

        self.name, self.revision = options["repo"], options.get("revision", "main")
        self.endpoint, self.folder, self.kind = endpoint_of(options), Path(folder), kind
        self.folder.mkdir(parents=True, exist_ok=True)
        network = network_options(network)
        self.attempts, self.timeout_s = network["attempts"], network["timeout_s"]
        # None takes the user's, False none: a configuration of someone else's must not send it where that one likes
        self.token = None if self.endpoint in _trusted() else False
        check_addresses(self.endpoint, network)
        self.api = HfApi(endpoint=self.endpoint, token=self.token)
        given = {"repo_type": kind, "revision": self.revision, "timeout": self.timeout_s}
        self.commit, self.licence, self.restricted = self._ask(lambda: self._info(given))

    @contextlib.contextmanager
    def _understood(self):
        """An answer that is not laid out as a hub's is a FetchError."""
        from huggingface_hub import errors

        from geoprobe.images.fetch import FetchError

        try:
            yield
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            if isinstance(error, errors.HFValidationError | errors.HTTPError):
                raise
            detail = f"{type(error).__name__}: {error}"
            raise FetchError(self._page(), "not understood", detail, advice=NO_HUB) from error

    def _info(self, given):
        """Commit, licence, and whether files are given to accounts only."""
        from geoprobe.images.http import as_text

        with self._understood():
            info = self.api.repo_info(self.name, **given)
            licence = (info.card_data or {}).get("license") or ""
            licence = licence if isinstance(licence, str) else ", ".join(licence)
            return _named(info.sha), as_text(licence), bool(info.gated or info.private)

    def _page(self):
        return f"{self.endpoint}/{PREFIXES[self.kind]}{self.name}"

    def _ask(self, work):
        """Call `work` until it succeeds, fails for good, or has failed as often as is allowed."""
        from huggingface_hub import errors

        from geoprobe.images.http import backoff_s

        left = self.attempts
        while True:
            try:
                return work()
            except (errors.HTTPError, OSError) as error:
                left -= 1
                if not left or not _is_transient(error):
                    if sentence := self._explained(error):
                        raise sentence from error
                    raise
            time.sleep(backoff_s(self.attempts - left - 1))

    def _explained(self, error):
        """The error to raise for one of the hub's library, with what to do; None for one that has another cause."""
        from huggingface_hub import errors

        from geoprobe.images.fetch import FetchError

        page = self._page()
        cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ else error
        code = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(cause, errors.RevisionNotFoundError):
            return ValueError(
                f'revision is "{self.revision}", and {self.name} has no branch, tag or commit of that name.'
            )
        if isinstance(cause, errors.RepositoryNotFoundError) or code in (401, 403):
            advice, detail = TOKEN, "private, gated or not there"
            if self.token is False:
                advice = OWN_HUB
            if isinstance(cause, errors.GatedRepoError):
                detail = "it is given to accounts that accepted its conditions"
                detail += ", and that of your token has not" if code == 403 else ""
            return FetchError(page, f"http {code}", detail, advice=advice)
        if isinstance(cause, errors.OfflineModeIsEnabled):
            return FetchError(page, "connection failed", "HF_HUB_OFFLINE is set", advice=OFFLINE[self.kind])
        if code is not None:
            return FetchError(page, f"http {code}", retryable=code in AGAIN)
        if isinstance(cause, errors.FileMetadataError):
            return FetchError(page, "not a hub", advice=NO_HUB)
        if _is_transient(error):
            return FetchError(page, "connection failed", type(cause).__name__, retryable=True)
        return None

    def files(self):
        """All files, by path."""

        def ask():
            found = {}
            with self._understood():
                tree = self.api.list_repo_tree(self.name, recursive=True, revision=self.commit, repo_type=self.kind)
                for entry in tree:
                    if hasattr(entry, "blob_id"):  # a folder has none
                        sha256 = _named(entry.lfs.sha256) if entry.lfs else ""
                        found[_inside(entry.path)] = HubFile(entry.path, int(entry.size), _named(entry.blob_id), sha256)
            return found

        return self._ask(ask)

    def url(self, path):
        """Address of a file at this commit."""
        return file_url(self.endpoint, self.name, self.commit, path, self.kind)

    def _download(self, path, **where):
        return self.api.hf_hub_download(self.name, path, repo_type=self.kind, revision=self.commit, **where)

    def download(self, path):
        """Path of a file once it is whole in the folder; one that was begun is resumed, one that is there is kept."""
        return Path(self._ask(lambda: self._download(path, local_dir=self.folder)))

    def cached(self, path):
        """The same where the folder is a cache of the hub's library; the path keeps the repository's own names."""
        return Path(self._ask(lambda: self._download(path, cache_dir=self.folder)))

    def blob(self, file):
        """Where a cache of the hub's library keeps the content of a file: by its sha256, else by git's name."""
        from huggingface_hub.file_download import repo_folder_name

        return (
            self.folder
            / repo_folder_name(repo_id=self.name, repo_type=self.kind)
            / "blobs"
            / (file.sha256 or file.blob)
        )

    def _gives_parts(self, path):
        """Whether the server gives a part of a file when it is asked for one."""
        from huggingface_hub.utils import build_hf_headers, get_session, hf_raise_for_status

        headers = {**build_hf_headers(token=self.token), "Range": "bytes=0-0"}
        with get_session().stream("GET", self.url(path), headers=headers, timeout=self.timeout_s) as response:
            if response.is_error:
                response.read()
            hf_raise_for_status(response)
            return response.status_code == 206

    @contextlib.contextmanager
    def _opened(self, path, through):
        """A file to read from: its bytes are fetched as they are read, or all of them if the server gives no parts."""
        from huggingface_hub import HfFileSystem

        if not through and not self._gives_parts(path):
            with (
                tempfile.TemporaryDirectory(dir=self.folder) as scratch,
                open(self._download(path, local_dir=scratch), "rb") as file,
            ):
                yield file
            return
        system = HfFileSystem(endpoint=self.endpoint, token=self.token, skip_instance_cache=True)
        # without a cache: what reads a directory or some columns knows what it wants
        size = {"block_size": 0} if through else {"cache_type": "none"}
        with self._understood():
            opened = system.open(f"{PREFIXES[self.kind]}{self.name}@{self.commit}/{path}", "rb", **size)
        with opened as file:
            yield file

    def read(self, path, work, through=False):
        """What `work` returns for a file that it reads from, opened for binary reading; called anew after a failure.

        Args:
            path: of the file in the repository.
            work: function of the open file.
            through: whether it reads the whole file from its beginning to its end, as for a tar.
        """

        def ask():
            with self._opened(path, through) as file:
                return work(file)

        return self._ask(ask)
