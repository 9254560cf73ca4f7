"""The user's command and address: what they get, and that nothing they do is worse than a sentence."""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from evalrun.commands.watch.hooks import call, problems, shown
from evalrun.config.schema import WatchConf

EVENT = {"suite": "local", "model": "mine", "step": 8, "run_id": "r", "text": "neqa fell", "drops": [{"task": "neqa"}]}


def conf(**given: Any) -> WatchConf:
    return WatchConf(**{"poll_s": 1.0, "hook_s": 10.0, **given})


def script(folder: Path, text: str) -> str:
    path = folder / "hook.py"
    path.write_text(text)
    return f"{sys.executable} {path}"


@pytest.fixture
def server() -> Iterator[tuple[str, list[bytes], dict[str, int]]]:
    got: list[bytes] = []
    answer = {"code": 200}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(answer["code"])
            self.send_header("Location", "http://127.0.0.1:1/elsewhere")
            self.end_headers()

        def log_message(self, *args: object) -> None:
            pass

    httpd = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{httpd.server_port}/services/hush?token=hush", got, answer
    httpd.shutdown()


def test_a_command_gets_json_and_variables(tmp_path: Path) -> None:
    text = "import os, sys\nopen(sys.argv[1], 'w').write(sys.stdin.read() + '\\n' + os.environ['EVALRUN_STEP'])"
    command = f"{script(tmp_path, text)} '{tmp_path / 'a b'}'"
    assert call(conf(command=command), EVENT) == []
    body, step = (tmp_path / "a b").read_text().splitlines()
    assert (json.loads(body), step) == (EVENT, "8")


def test_a_command_that_fails_is_a_sentence(tmp_path: Path) -> None:
    (said,) = call(conf(command=script(tmp_path, "print('no room'); raise SystemExit(7)")), EVENT)
    assert said == "watch.command ended with exit code 7: no room."
    (said,) = call(conf(command="/no/such/thing"), EVENT)
    assert "could not be started" in said


def test_a_command_that_hangs_is_ended_with_its_children(tmp_path: Path) -> None:
    text = "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import time; time.sleep(60)'])"
    began = time.monotonic()
    (said,) = call(conf(command=script(tmp_path, text), hook_s=0.5), EVENT)
    assert "ended after 0.5 seconds" in said
    assert time.monotonic() - began < 20


def test_an_address_gets_json(server: tuple[str, list[bytes], dict[str, int]]) -> None:
    url, got, _ = server
    assert call(conf(webhook=url), EVENT) == []
    assert [json.loads(body) for body in got] == [EVENT]


@pytest.mark.parametrize("code", [500, 302])
def test_an_address_that_refuses_or_redirects_is_a_sentence(
    server: tuple[str, list[bytes], dict[str, int]], code: int
) -> None:
    url, got, answer = server
    answer["code"] = code
    (said,) = call(conf(webhook=url), EVENT)
    assert said.endswith(f"answered {code}.")
    assert len(got) == 1
    assert "hush" not in said


def test_an_address_where_nobody_is() -> None:
    (said,) = call(conf(webhook="http://127.0.0.1:1/hush"), EVENT)
    assert "cannot be reached" in said
    assert "hush" not in said


def test_secrets_are_not_shown() -> None:
    assert shown("https://me:pass@hooks.example.com:8443/T0/B0/xyz?token=1") == "https://hooks.example.com/***"
    assert shown("nonsense") == "***"


@pytest.mark.parametrize("url", ["http://example.com/x", "ftp://example.com", "example.com", "http://[broken"])
def test_addresses_that_may_not_be_used(url: str) -> None:
    (said,) = problems(conf(webhook=url))
    assert "https://" in said


def test_what_may_be_used() -> None:
    assert list(problems(conf(webhook="http://localhost:8000/x", command="echo 'a b'"))) == []
    assert list(problems(conf(webhook="https://example.com"))) == []
    assert "quotes" in next(problems(conf(command="echo 'a")))
