"""A stand-in for the Hugging Face hub on 127.0.0.1: what adpt uses of its HTTP interface."""

import base64
import hashlib
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote, urlsplit

import huggingface_hub
import pytest
from huggingface_hub import constants

LARGE = (".pth", ".safetensors")
"""Files that the hub keeps apart, by their SHA-256."""


class Hub(ThreadingHTTPServer):
    """Repositories in memory; what is committed can be read again.

    Attributes:
        repos: Repository to commit to file to content; the last commit is that of `main`.
        objects: SHA-256 to content, of large files.
        requests: Method and path of every request so far.
        corrupted: Whether the content of large files differs from what is stated.
        broken: So many times more a download breaks off in its middle.
        refuses_ranges: Whether a download cannot be resumed.
        resumed: How often one was.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.repos: dict[str, dict[str, dict[str, bytes]]] = {}
        self.objects: dict[str, bytes] = {}
        self.requests: list[str] = []
        self.corrupted, self.broken, self.refuses_ranges = False, 0, False
        self.resumed = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def commit(self, repo: str, files: dict[str, bytes]) -> str:
        """Add files to a repository, in a commit of its own."""
        commits = self.repos.setdefault(repo, {})
        before = commits[list(commits)[-1]] if commits else {}
        commit = hashlib.sha1(f"{repo} {len(commits)}".encode()).hexdigest()  # noqa: S324
        commits[commit] = before | files
        self.objects |= {sha256(content): content for content in files.values()}
        return commit

    def files(self, repo: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit behind a revision, and its files."""
        commits = self.repos.get(repo, {})
        commit = list(commits)[-1] if commits and revision == "main" else revision
        return (commit, commits[commit]) if commit in commits else None

    def downloads(self) -> int:
        """How often the content of a large file was asked for."""
        return sum(request.startswith("GET /content/") for request in self.requests)


class Handler(BaseHTTPRequestHandler):
    server: Hub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def log_message(self, *_: Any) -> None:
        pass

    def _answer(self) -> None:
        path = urlsplit(self.path).path
        self.server.requests.append(f"{self.command} {path}")
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        for pattern, answer in ROUTES.items():
            if match := re.fullmatch(pattern, f"{self.command} {path}"):
                return answer(self, *map(unquote, match.groups()))
        return self._json(404, {"error": f"No such thing: {self.command} {path}"})

    def _json(self, status: int, content: Any, **headers: str) -> None:
        self._bytes(status, json.dumps(content).encode(), **headers)

    def _bytes(self, status: int, content: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(content))} | headers).items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _missing(self, repo: str, revision: str) -> None:
        code = "RevisionNotFound" if repo in self.server.repos else "RepoNotFound"
        self._json(404, {"error": f"{repo} {revision}"}, X_Error_Code=code)

    def info(self, repo: str, revision: str) -> None:
        found = self.server.files(repo, revision)
        if found is None:
            return self._missing(repo, revision)
        commit, files = found
        siblings = []
        for name, content in files.items():
            about: dict[str, Any] = {"rfilename": name, "size": len(content), "blobId": "0" * 40}
            if name.endswith(LARGE):
                digest = sha256(content)
                about["lfs"] = {"sha256": digest, "size": len(content), "pointerSize": 134}
            siblings.append(about)
        return self._json(200, {"id": repo, "modelId": repo, "sha": commit, "siblings": siblings})

    def resolve(self, repo: str, revision: str, name: str) -> None:
        found = self.server.files(repo, revision)
        if found is None:
            return self._missing(repo, revision)
        commit, files = found
        if name not in files:
            code = {"X_Error_Code": "EntryNotFound", "X_Repo_Commit": commit}
            return self._json(404, {"error": name}, **code)
        content = files[name]
        digest = sha256(content)
        if not name.endswith(LARGE):
            return self._bytes(200, content, ETag=f'"{digest[:40]}"', X_Repo_Commit=commit)
        linked = {"X_Linked_Etag": f'"{digest}"', "X_Linked_Size": str(len(content))}
        # On another host, as the hub does it.
        where = f"http://localhost:{self.server.server_port}/content/{digest}"
        return self._bytes(302, b"", Location=where, X_Repo_Commit=commit, **linked)

    def content(self, digest: str) -> None:
        content = self.server.objects[digest]
        if self.server.corrupted:
            content = content[:-1] + bytes([content[-1] ^ 1])
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        self.server.resumed += bool(asked)
        if asked and self.server.refuses_ranges:
            return self._json(403, {"error": "no ranges"})
        start = int(asked[1]) if asked else 0
        if self.server.broken:
            self.server.broken -= 1
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content[start : len(content) // 2])
            self.close_connection = True
            return None
        ranges = f"bytes {start}-{len(content) - 1}/{len(content)}"
        return self._bytes(206 if asked else 200, content[start:], Content_Range=ranges)

    def create(self) -> None:
        if not self.headers.get("Authorization"):
            return self._json(401, {"error": "Invalid username or password."})
        asked = json.loads(self.body)
        repo = f"{asked['organization']}/{asked['name']}"
        url = {"url": f"{self.server.url}/{repo}"}
        if repo in self.server.repos:
            return self._json(409, url | {"error": "You already created this model repo"})
        self.server.repos[repo] = {}
        self.server.commit(repo, {".gitattributes": b""})
        return self._json(200, url)

    def validate(self) -> None:
        header = json.loads(self.body)["content"].startswith("---\n")
        self._json(200 if header else 400, {"errors": [] if header else [{"message": "no header"}]})

    def preupload(self, repo: str, revision: str) -> None:
        files = [
            {
                "path": file["path"],
                "uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular",
                "shouldIgnore": False,
            }
            for file in json.loads(self.body)["files"]
        ]
        self._json(200, {"files": files, "commitOid": self.server.files(repo, revision)[0]})

    def batch(self, repo: str) -> None:
        objects = [
            {**asked, "actions": {"upload": {"href": f"{self.server.url}/content/{asked['oid']}"}}}
            for asked in json.loads(self.body)["objects"]
        ]
        self._json(200, {"transfer": "basic", "objects": objects})

    def receive(self, digest: str) -> None:
        if sha256(self.body) != digest:
            return self._json(400, {"error": "another SHA-256"})
        self.server.objects[digest] = self.body
        return self._bytes(200, b"")

    def accept(self, repo: str, revision: str) -> None:
        files = {}
        for line in self.body.splitlines():
            entry = json.loads(line)
            value = entry["value"]
            if entry["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif entry["key"] == "lfsFile":
                files[value["path"]] = self.server.objects[value["oid"]]
        commit = self.server.commit(repo, files)
        url = f"{self.server.url}/{repo}/commit/{commit}"
        self._json(200, {"commitUrl": url, "commitOid": commit, "success": True})


ROUTES = {
    r"GET /api/models/([^/]+/[^/]+)/revision/([^/]+)": Handler.info,
    r"(?:GET|HEAD) /([^/]+/[^/]+)/resolve/([^/]+)/(.+)": Handler.resolve,
    r"(?:GET|HEAD) /content/(\w+)": Handler.content,
    r"POST /api/repos/create": Handler.create,
    r"POST /api/validate-yaml": Handler.validate,
    r"POST /api/models/([^/]+/[^/]+)/preupload/([^/]+)": Handler.preupload,
    r"POST /([^/]+/[^/]+)\.git/info/lfs/objects/batch": Handler.batch,
    r"PUT /content/(\w+)": Handler.receive,
    r"POST /api/models/([^/]+/[^/]+)/commit/([^/]+)": Handler.accept,
}


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def running() -> Iterator[Hub]:
    """A hub that answers until the end."""
    hub = Hub()
    thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        thread.join()
        hub.server_close()


def environment(url: str, home: Path) -> dict[str, str]:
    """What makes another process use the stand-in, and a cache of its own."""
    return {
        "HF_ENDPOINT": url,
        "HF_HOME": str(home),
        "HF_HUB_CACHE": str(home / "hub"),
        "HF_ASSETS_CACHE": str(home / "assets"),
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "HF_TOKEN": "hf_of_the_tests",
    }


def use(url: str, home: Path, patch: pytest.MonkeyPatch) -> None:
    """Make this process do so: the client has read the environment when it was imported."""
    for name, value in environment(url, home).items():
        patch.setenv(name, value)
    patch.setattr(constants, "ENDPOINT", url)
    template = f"{url}/{{repo_id}}/resolve/{{revision}}/{{filename}}"
    patch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    patch.setattr(constants, "HF_HUB_CACHE", os.environ["HF_HUB_CACHE"])
    patch.setattr(constants, "HF_ASSETS_CACHE", os.environ["HF_ASSETS_CACHE"])
    patch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    patch.setattr(constants, "HF_HUB_OFFLINE", False)
    patch.setattr(huggingface_hub.utils._cache_assets, "HF_ASSETS_CACHE", home / "assets")
    # So that half of a small file is more than nothing.
    patch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 2**16)
    impatient = SimpleNamespace(sleep=lambda _: None)
    patch.setattr(huggingface_hub.file_download, "time", impatient)
