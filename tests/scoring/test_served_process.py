"""The command that serves a checkpoint: waited for, its log kept, ended with all that it started."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from evalrun.errors import CheckpointError
from evalrun.scoring.engines import keeper
from evalrun.scoring.engines.served_checkpoint import served
from scoring.test_server_engine import SERVER

# Lists a model, and starts a child of its own; writes down both processes.
SCRIPT = """
import http.server, json, os, subprocess, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200); self.end_headers()
        self.wfile.write(json.dumps({"data": [{"id": sys.argv[1]}]}).encode())
child = subprocess.Popen(["sleep", "300"])
open("pids", "w").write(f"{os.getpid()} {child.pid}")
print("key", os.environ.get("EVALRUN_API_KEY"), flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[2])), Handler).serve_forever()
"""


@pytest.fixture
def pids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], list[int]]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "serve.py").write_text(SCRIPT)

    def read() -> list[int]:
        return [int(pid) for pid in (tmp_path / "pids").read_text().split()]

    return read


def command(*words: str) -> str:
    return shlex.join([sys.executable, *words])


def gone(pids: list[int]) -> bool:
    """Whether processes end within some seconds; what nobody waits for counts as ended."""
    for _ in range(200):
        if not any(_runs(pid) for pid in pids):
            return True
        time.sleep(0.05)
    return False


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_ends_with_its_children_when_the_checkpoint_is_done_and_when_it_fails(
    pids: Callable[[], list[int]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVALRUN_API_KEY", "sk-very-secret")
    conf = replace(SERVER, serve=command("serve.py", "{path}", "{port}"))
    for error in (None, KeyboardInterrupt):
        try:
            with served(conf, {"path": "a folder"}, "toy step 1", tmp_path / "log" / "served.log") as client:
                assert client.models() == [{"id": "a folder"}]
                running = pids()
                assert all(_runs(pid) for pid in running)
                if error is not None:
                    raise error
        except KeyboardInterrupt:
            pass
        assert gone(running)
    assert (tmp_path / "log" / "served.log").read_text().startswith("key None\n")


def test_it_ends_when_whoever_started_it_is_killed(pids: Callable[[], list[int]], tmp_path: Path) -> None:
    words = [sys.executable, keeper.__file__, sys.executable, "serve.py", "x", "0"]
    starter = f"import subprocess, time; subprocess.Popen({words!r}, stdin=subprocess.PIPE); time.sleep(300)"
    started = subprocess.Popen([sys.executable, "-c", starter])
    while not (tmp_path / "pids").exists() or len((tmp_path / "pids").read_text().split()) < 2:
        time.sleep(0.05)
    os.kill(started.pid, signal.SIGKILL)
    started.wait()
    assert gone(pids())


def test_one_that_cannot_serve_is_a_sentence_with_its_last_words(tmp_path: Path) -> None:
    for serve, message in (
        (
            "no-such-server {path} {port}",
            r"toy step 1 ended with exit code 127: 'no-such-server' cannot be started: No ",
        ),
        (
            command("-c", "import sys; sys.exit('out of memory')", "{path}", "{port}"),
            r"exit code 1: out of memory \(all",
        ),
        (
            command("-c", "import time; time.sleep(60)", "{path}", "{port}"),
            r"after 0\.5 seconds \(scorer\.start_s\): it s",
        ),
    ):
        began = time.monotonic()
        conf = replace(SERVER, serve=serve, start_s=0.5 if "sleep" in serve else 60)
        with pytest.raises(CheckpointError, match=message), served(conf, {"path": "x"}, "toy step 1", tmp_path / "log"):
            raise AssertionError
        assert time.monotonic() - began < 30
