"""A small Hugging Face hub on the loopback: real folders served as revisions of repositories, by the Hub's own API."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LARGE = (".safetensors", ".bin")  # what a repository keeps in Git LFS


class LocalHub:
    """Which repositories there are; `requests` records what was asked."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, Path]] = {}
        self.requests: list[str] = []
        self.busy = 0  # so many of the next tree requests are answered 503
        self.silent = ""  # of this commit no file's body ever ends
        self.closing = threading.Event()
        self.broken: set[str] = set()  # revisions whose tree is refused once
        self.url = ""

    def add(self, repository: str, revision: str, folder: Path) -> None:
        self.repositories.setdefault(repository, {})[revision] = folder

    def commit(self, repository: str, revision: str) -> str:
        """A name for the content, as in git: branches with one content have one commit."""
        folder = self.repositories[repository][revision]
        content = "".join(f"{path.name} {sha(path, 'sha1')}" for path in sorted(folder.iterdir()))
        return hashlib.sha1(f"{repository} {content}".encode()).hexdigest()

    def find(self, repository: str, name: str) -> Path | None:
        """The folder of a revision or commit."""
        for revision, folder in self.repositories[repository].items():
            if name in (revision, self.commit(repository, revision)):
                return folder
        return None

    def downloads(self) -> list[str]:
        """The weight files that were asked for by name."""
        return [path for path in self.requests if "/resolve/" in path and path.endswith(LARGE)]


def sha(path: Path, name: str) -> str:
    return hashlib.new(name, path.read_bytes()).hexdigest()


class Handler(BaseHTTPRequestHandler):
    hub: LocalHub

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.hub.requests.append(f"{self.command} {path}")
        if path == "/":
            return self._json({})
        api = re.fullmatch(r"/api/models/([^/]+/[^/]+)/(refs|revision|tree)(?:/(.+))?", path)
        file = re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        match = api or file
        if match is None or match[1] not in self.hub.repositories:
            return self._fail(404, "RepoNotFound")
        if api and api[2] == "refs":
            return self._refs(api[1])
        revision = (api[3] if api else file[2]) or "main"  # type: ignore[index]
        folder = self.hub.find(match[1], revision)
        if folder is None:
            return self._fail(404, "RevisionNotFound")
        commit = next(
            self.hub.commit(match[1], name) for name, at in self.hub.repositories[match[1]].items() if at == folder
        )
        if file and commit == self.hub.silent and self.command == "GET":
            self._send(200, b"", {"X-Repo-Commit": commit, "ETag": '"0"', "Content-Length": "1000"})
            self.hub.closing.wait(60)
            return None
        if file:
            return self._file(folder / file[3], commit)
        if api and api[2] == "tree":
            return self._tree(folder)
        names = [{"rfilename": path.name} for path in sorted(folder.iterdir())]
        return self._json({"id": match[1], "sha": commit, "siblings": names})

    def _refs(self, repository: str) -> None:
        branches = [
            {"name": name, "ref": f"refs/heads/{name}", "targetCommit": self.hub.commit(repository, name)}
            for name in self.hub.repositories[repository]
        ]
        self._json({"branches": branches, "tags": [], "converts": []})

    def _tree(self, folder: Path) -> None:
        if self.hub.busy > 0:
            self.hub.busy -= 1
            return self._fail(503, "")
        if folder.name in self.hub.broken:
            self.hub.broken.remove(folder.name)
            return self._fail(403, "")
        entries = [{"type": "directory", "path": "docs", "oid": "0" * 40, "size": 0}]
        for path in sorted(folder.iterdir()):
            size = path.stat().st_size
            entry = {"type": "file", "path": path.name, "size": size, "oid": sha(path, "sha1")}
            if path.suffix in LARGE:
                entry["lfs"] = {"oid": sha(path, "sha256"), "size": size, "pointerSize": 130}
            entries.append(entry)
        return self._json(entries)

    def _file(self, path: Path, commit: str) -> None:
        if not path.is_file():
            return self._fail(404, "EntryNotFound")
        body = path.read_bytes()
        etag = sha(path, "sha256" if path.suffix in LARGE else "sha1")
        return self._send(200, body, {"X-Repo-Commit": commit, "ETag": f'"{etag}"'})

    def _json(self, content: object) -> None:
        self._send(200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _fail(self, status: int, code: str) -> None:
        self._send(status, b"{}", {"X-Error-Code": code} if code else {})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)


@contextmanager
def serve(base: type[BaseHTTPRequestHandler] = Handler, **attributes: object) -> Iterator[LocalHub]:
    """Serve an empty hub on a free port of the loopback until the block ends; attributes are the handler's."""
    hub = LocalHub()
    handler = type("Handler", (base,), {"hub": hub, **attributes})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        hub.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
