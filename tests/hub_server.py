"""A Hugging Face hub on this machine, for tests: the answers that huggingface_hub asks for, from files in memory.

What it asks for and what the answers must hold is in that package: `HfApi.repo_info`, `HfApi.list_repo_tree`,
`file_download.get_hf_file_metadata` and `utils._http.hf_raise_for_status`.
"""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

PAGE = 3  # entries of a page of the list of files
LARGE = 100  # bytes from which a file is in Git LFS


def blob_name(data):
    """Git's name of a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class Hub:
    """Data sets and models by name: `commits` (a list of {path: bytes}, the last being main), licence, who may read.

    Attributes:
        asked: (method, path, range header, status, bytes sent) of each request.
        failures: path fragment to a list of what goes wrong next time: a status code, or "cut" for a body that ends
            half-way.
        ranges: whether parts of files are given.
        spoiled: path to the bytes that are sent in place of the file's own, whose checksums are still stated.
    """

    def __init__(self):
        self.repos, self.asked, self.failures, self.ranges, self.spoiled = {}, [], {}, True, {}
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments):
                pass

            def do_GET(self):
                hub.answer(self)

            def do_HEAD(self):
                hub.answer(self)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.server.shutdown()
        self.server.server_close()

    def add(self, repo, files, licence="cc-by-4.0", gated=False, private=False, tokens=(), kind="dataset"):
        """Make a data set or a model, or give it another commit; returns the commit's name."""
        known = self.repos.setdefault(repo, {"commits": [], "kind": kind})
        known |= {"licence": licence, "gated": gated, "private": private, "tokens": tokens}
        known["commits"].append(dict(files))
        return self.commit(repo, -1)

    def commit(self, repo, number):
        commits = self.repos[repo]["commits"]
        return hashlib.sha1(f"{repo} {number % len(commits)}".encode(), usedforsecurity=False).hexdigest()

    def sent(self, fragment):
        """Bytes of bodies sent for paths with a fragment."""
        return sum(size for method, path, _, _, size in self.asked if fragment in path and method == "GET")

    def answer(self, request):
        path = unquote(urlsplit(request.path).path)
        for fragment, planned in self.failures.items():
            if fragment in path and planned and planned[0] != "cut":
                self.send(request, planned.pop(0), {}, b"{}")
                return
        request.kind = "dataset" if "datasets" in path.split("/")[1:3] else "model"
        if match := re.fullmatch(r"/api/(?:datasets|models)/([^/]+/[^/]+)(?:/revision/(.+))?", path):
            self.tell(request, match[1], match[2] or "main")
        elif match := re.fullmatch(r"/api/(?:datasets|models)/([^/]+/[^/]+)/tree/([^/]+)(?:/(.*))?", path):
            self.list(request, match[1], match[2], match[3] or "")
        elif match := re.fullmatch(r"(?:/datasets)?/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path):
            self.give(request, *match.groups())
        else:
            self.send(request, 404, {}, b"")

    def files_at(self, request, repo, revision, inside=False):
        """Files of a repository at a revision, or None after an error was sent."""
        known = self.repos.get(repo)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        hidden = known is None or known["kind"] != request.kind
        if hidden or (known["private"] and token not in known["tokens"]):
            self.send(request, 401 if not token else 404, {"X-Error-Code": "RepoNotFound"}, b'{"error": "no"}')
            return None
        if known["gated"] and inside and token not in known["tokens"]:
            self.send(request, 403 if token else 401, {"X-Error-Code": "GatedRepo"}, b'{"error": "gated"}')
            return None
        commits = {self.commit(repo, number): files for number, files in enumerate(known["commits"])}
        revision = self.commit(repo, -1) if revision == "main" else revision
        if revision not in commits:
            self.send(request, 404, {"X-Error-Code": "RevisionNotFound"}, b'{"error": "no revision"}')
            return None
        return revision, commits[revision]

    def tell(self, request, repo, revision):
        found = self.files_at(request, repo, revision)
        if found:
            known, (commit, files) = self.repos[repo], found
            answer = {
                "id": repo, "sha": commit, "gated": known["gated"], "private": known["private"],
                "cardData": {"license": known["licence"]} if known["licence"] else None,
                "siblings": [{"rfilename": path} for path in files], "tags": [],
            }  # fmt: skip
            self.send(request, 200, {}, json.dumps(answer).encode())

    def list(self, request, repo, revision, folder):
        found = self.files_at(request, repo, revision)
        if not found:
            return
        query = {name: values[0] for name, values in parse_qs(urlsplit(request.path).query).items()}
        recursive, prefix = query.get("recursive", "").lower() == "true", f"{folder}/" if folder else ""
        entries = {}
        for path, data in found[1].items():
            if not path.startswith(prefix):
                continue
            parts = path.removeprefix(prefix).split("/")
            for depth in range(1, len(parts) if recursive else min(2, len(parts))):
                name = prefix + "/".join(parts[:depth])
                entries[name] = {"type": "directory", "path": name, "oid": blob_name(name.encode()), "size": 0}
            if recursive or len(parts) == 1:
                entry = {"type": "file", "path": path, "oid": blob_name(data), "size": len(data)}
                if len(data) >= LARGE:
                    sha256 = hashlib.sha256(data).hexdigest()
                    entry["lfs"] = {"oid": sha256, "size": len(data), "pointerSize": 130}
                entries[path] = entry
        start = int(query.get("cursor", 0))
        headers = {}
        if start + PAGE < len(entries):
            place = urlsplit(request.path).path
            link = f"{self.endpoint}{place}?recursive={query.get('recursive', 'false')}&cursor={start + PAGE}"
            headers["Link"] = f'<{link}>; rel="next"'
        self.send(request, 200, headers, json.dumps([*entries.values()][start : start + PAGE]).encode())

    def give(self, request, repo, revision, path):
        found = self.files_at(request, repo, revision, inside=True)
        if not found:
            return
        commit, files = found
        if path not in files:
            self.send(request, 404, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit}, b"")
            return
        data = files[path]
        tag = hashlib.sha256(data).hexdigest() if len(data) >= LARGE else blob_name(data)
        headers = {"X-Repo-Commit": commit, "ETag": f'"{tag}"', "X-Linked-Size": str(len(data))}
        data = self.spoiled.get(path, data)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", ""))
        if not (wanted and self.ranges):
            self.send(request, 200, headers, data)
            return
        first, last = int(wanted[1]), min(int(wanted[2] or len(data) - 1), len(data) - 1)
        headers["Content-Range"] = f"bytes {first}-{last}/{len(data)}"
        self.send(request, 206, headers, data[first : last + 1])

    def send(self, request, status, headers, body):
        path = unquote(urlsplit(request.path).path)
        cut = request.command == "GET" and any(
            fragment in path and planned and planned[0] == "cut" for fragment, planned in self.failures.items()
        )
        request.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            request.send_header(name, value)
        request.end_headers()
        sent = b"" if request.command == "HEAD" else body
        if cut:
            for fragment, planned in self.failures.items():
                if fragment in path:
                    planned.pop(0)
            sent = sent[: len(sent) // 2]
            request.close_connection = True
        self.asked.append((request.command, path, request.headers.get("Range", ""), status, len(sent)))
        request.wfile.write(sent)
