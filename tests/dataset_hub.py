"""Datasets on the loopback hub: what `datasets` asks of the Hub's API for a repository of plain data files."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlsplit

import local_hub
from local_hub import Handler, LocalHub, sha

COMMIT = "d" * 40


class _WithDatasets(Handler):
    datasets: dict[str, Path]

    def do_POST(self) -> None:  # noqa: N802
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.hub.requests.append(f"POST {self.path}")
        match = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)/paths-info/[^/]+", unquote(urlsplit(self.path).path))
        if match is None or match[1] not in self.datasets:
            return self._fail(404, "RepoNotFound")
        wanted = json.loads(body)["paths"]
        return self._json([entry for entry in self._entries(match[1]) if entry["path"] in wanted])

    def do_GET(self) -> None:  # noqa: N802
        path = unquote(urlsplit(self.path).path)
        api = re.fullmatch(r"/api/datasets/([^/]+/[^/]+)(?:/(revision|tree)/[^/]+(/.*)?)?", path)
        file = re.fullmatch(r"/datasets/([^/]+/[^/]+)/resolve/[^/]+/(.+)", path)
        if not api and not file:
            return super().do_GET()
        self.hub.requests.append(f"{self.command} {path}")
        name = (api or file)[1]  # type: ignore[index]
        if name not in self.datasets:
            return self._fail(404, "RepoNotFound")
        if file:
            return self._file(self.datasets[name] / file[2], COMMIT)
        if api and api[2] == "tree":
            return self._json(self._entries(name))
        files = [{"rfilename": str(entry["path"])} for entry in self._entries(name)]
        return self._json({"id": name, "sha": COMMIT, "siblings": files, "tags": [], "private": False})

    def _entries(self, name: str) -> list[dict[str, object]]:
        return [
            {"type": "file", "path": path.name, "size": path.stat().st_size, "oid": sha(path, "sha1")}
            for path in sorted(self.datasets[name].iterdir())
        ]


@contextmanager
def serve(datasets: dict[str, Path]) -> Iterator[LocalHub]:
    """A hub without models that has these datasets: name -> folder of files."""
    with local_hub.serve(_WithDatasets, datasets=datasets) as hub:
        yield hub
