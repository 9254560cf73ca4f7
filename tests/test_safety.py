"""Nothing runs that was not trusted, no secret is written down, no name leaves its folder or its page."""

from __future__ import annotations

import json
import logging
import os
import pickle
import re
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evalrun.config.schema import TrackingConf
from evalrun.core import secrets
from evalrun.core.console import Formatter
from evalrun.core.secrets import masked
from evalrun.errors import ConfigError, TrackingError
from evalrun.tracking import Store
from helpers import Run

SECRET = "s3cr3t-Pa55word"
TOKEN = "hf_aBcDeFgHiJkLmNoPqRsTuVwXyZ"


# --- trust ---


class Bomb:
    """Leaves a file where it is unpickled."""

    def __init__(self, place: Path) -> None:
        self.place = place

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self.place),)


def test_a_pickle_runs_nothing_even_when_it_is_trusted(evalrun: Run, workspace: Path) -> None:
    """Not loaded unless named; loaded, it is by transformers with torch's weights_only, which refuses code."""
    import torch

    folder, mark = workspace / "models" / "toy-s" / "step1", workspace / "exploded"
    (folder / "model.safetensors").unlink()
    torch.save({"embed": Bomb(mark)}, folder / "pytorch_model.bin")
    refused = evalrun("model=toy/toy-s", "step=1", "task=alpha")
    assert refused.returncode == 1
    assert "trust_pickle=true" in refused.stderr
    trusted = evalrun("model=toy/toy-s", "step=1", "task=alpha", "trust_pickle=true")
    assert trusted.returncode == 1
    assert "cannot be loaded" in trusted.stderr
    assert not mark.exists()
    torch.load(folder / "pytorch_model.bin", weights_only=False)  # it would have
    assert mark.exists()


def test_no_module_of_ours_unpickles(request: pytest.FixtureRequest) -> None:
    for path in (request.config.rootpath / "src").rglob("*.py"):
        if path.parts[-2:] == ("launch", "pool.py"):  # what a parent hands its own workers, through a pipe
            continue
        text = re.sub(r"torch\.load\([^()]*\bweights_only=True\)", "", path.read_text())  # tensors alone: runs nothing
        for word in ("torch.load(", "pickle.load", "yaml.unsafe_load", "yaml.full_load", "shell=True", " eval("):
            assert word not in text, path


def test_code_of_a_checkpoint_runs_only_when_named(evalrun: Run, workspace: Path) -> None:
    folder, mark = workspace / "models" / "toy-s" / "step1", workspace / "ran"
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "toy_own"
    config["auto_map"] = {"AutoConfig": "own.OwnConfig", "AutoModelForCausalLM": "own.OwnModel"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "own.py").write_text(
        "from pathlib import Path\n"
        f"Path({str(mark)!r}).touch()\n"
        "from transformers import GPTNeoXConfig, GPTNeoXForCausalLM\n"
        "class OwnConfig(GPTNeoXConfig):\n    model_type = 'toy_own'\n"
        "class OwnModel(GPTNeoXForCausalLM):\n    config_class = OwnConfig\n"
    )
    words = ("model=toy/toy-s", "step=1", "task=alpha")
    refused = evalrun(*words)
    assert refused.returncode == 1
    assert not mark.exists()
    evalrun(*words, "trust_remote_code=true")
    assert mark.exists()


def test_code_of_a_task_runs_only_when_named(evalrun: Run, workspace: Path) -> None:
    folder, mark = workspace / "conf" / "task", workspace / "ran"
    (folder / "own.py").write_text(
        f"from pathlib import Path\nPath({str(mark)!r}).touch()\ndef text(doc):\n    return doc['question']\n"
    )
    plain = (folder / "alpha.yaml").read_text()
    (folder / "alpha.yaml").write_text(plain.replace('"{{question}}"', "!function own.text"))
    refused = evalrun("model=toy/toy-s", "step=1", "task=alpha")
    assert refused.returncode == 2
    assert "trust_task_code=true" in refused.stderr
    assert not mark.exists()
    assert evalrun("model=toy/toy-s", "step=1", "task=alpha", "trust_task_code=true").returncode == 0
    assert mark.exists()


def test_what_is_saved_of_a_plan_is_no_pickle(workspace: Path) -> None:
    """A cache file that somebody else wrote must not run either."""
    import numpy as np

    from evalrun.scoring import trie_cache

    assert "allow_pickle=False" in Path(trie_cache.__file__).read_text()
    np.savez(workspace / "x.npz", a=np.array([Bomb(workspace / "exploded")], dtype=object))
    with np.load(workspace / "x.npz", allow_pickle=False) as arrays, pytest.raises(ValueError, match="allow_pickle"):
        arrays["a"]
    assert not (workspace / "exploded").exists()


# --- secrets ---


class _Health(BaseHTTPRequestHandler):
    """A server that is alive and then refuses: every word of its answer may end up in an error."""

    seen: list[str]

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        self.seen.append(self.headers.get("Authorization", ""))
        body = b"OK" if self.path.startswith("/health") else b"refused for " + self.seen[-1].encode()
        self.send_response(200 if self.path.startswith("/health") else 403)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815


@pytest.fixture
def server() -> Iterator[tuple[str, list[str]]]:
    seen: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Health,), {"seen": seen}))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"127.0.0.1:{server.server_port}", seen
    server.shutdown()
    server.server_close()
    thread.join()


def written(folder: Path) -> dict[Path, str]:
    """All that a run left, the database included."""
    parts = [folder / name for name in ("multirun", "mlruns", "outputs")]
    files = [path for part in parts for path in part.rglob("*") if path.is_file()]
    return {path: path.read_bytes().decode("utf-8", "replace") for path in files}


def test_a_password_in_the_address_of_a_server_is_nowhere(
    evalrun: Run, workspace: Path, server: tuple[str, list[str]]
) -> None:
    place, seen = server
    uri = f"tracking.uri=http://user:{SECRET}@{place}"
    environment = {"HF_TOKEN": TOKEN, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    for words in (("model=toy/toy-s", "step=1"), ("-m", "model=toy/toy-s", "step=1,2")):
        for more in ((), ("--cfg", "job"), ("--cfg", "hydra"), ("--cfg", "all")):
            found = evalrun(*words, "task=alpha", uri, "heartbeat_s=1", *more, env=environment)
            for text in (found.stdout, found.stderr):
                assert SECRET not in text, (words, more, text)
                assert TOKEN not in text
    assert any(header.startswith("Basic ") for header in seen)  # it was used all the same
    for words in (("plan", "--json"), ("plan",), ("analyze",), ("ui",)):
        found = evalrun(words[0], *(["model=toy/toy-s", "step=1"] if words[0] == "plan" else []), uri, *words[1:])
        assert SECRET not in found.stdout + found.stderr, words
    for path, text in written(workspace).items():
        assert SECRET not in text, path
        assert TOKEN not in text, path


def test_nor_is_that_of_a_database_or_of_a_config_file(evalrun: Run, workspace: Path) -> None:
    folder = workspace / "conf" / "tracking"
    folder.mkdir()
    (folder / "mine.yaml").write_text(f"uri: postgresql://user:{SECRET}@127.0.0.1:9/db\nroot: mlruns\n")
    for words in (("tracking=mine",), ("tracking=mine", "--cfg", "job"), ("tracking=mine", "-m", "step=1,2")):
        found = evalrun("model=toy/toy-s", "step=1", "task=alpha", *words)
        assert SECRET not in found.stdout + found.stderr, found.stdout + found.stderr
    assert "user" in evalrun("model=toy/toy-s", "step=1", "tracking=mine", "--cfg", "job").stdout
    for path, text in written(workspace).items():
        assert SECRET not in text, path


def test_secrets_of_the_environment_are_not_kept_with_results(evalrun: Run, workspace: Path) -> None:
    """A whole run with secrets around it, one of them even in the config: not in a file, a tag, a param or a note."""
    environment = {"HF_TOKEN": TOKEN, "MLFLOW_TRACKING_PASSWORD": SECRET, "AWS_SECRET_ACCESS_KEY": "aws-very-secret"}
    words = ("-m", "model=toy/toy-s", "step=1,2,4", "task=alpha", "analysis=interaction")
    found = evalrun(*words, f"scorer.cache=cache-{TOKEN}", env=environment)
    assert TOKEN not in found.stdout + found.stderr
    kept = written(workspace)
    assert any(path.name == "mlflow.db" for path in kept)
    configs = [text for path, text in kept.items() if path.name == "config.yaml" and "artifacts" in path.parts]
    assert len(configs) == 3
    assert all("cache-***" in text for text in configs)
    for path, text in kept.items():
        for secret in (SECRET, "aws-very-secret"):
            assert secret not in text, path
        if ".hydra" not in path.parts and path.name != "multirun.yaml":  # Hydra keeps the words that it was given
            assert TOKEN not in text, path


def test_errors_and_log_lines_are_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    text = f"no route to https://me:{SECRET}@host/x?password={SECRET}&a=1 with {TOKEN}"
    for error in (TrackingError(text), ConfigError(text), ConfigError([text, text])):
        assert SECRET not in str(error)
        assert TOKEN not in str(error)
        assert "host/x" in str(error)
        again = pickle.loads(pickle.dumps(error))
        assert str(again) == str(error)
    try:
        raise RuntimeError(text)
    except RuntimeError:
        record = logging.LogRecord("x", logging.ERROR, "x", 1, "failed: %s", (text,), __import__("sys").exc_info())
    line = Formatter("%(message)s").format(record)
    assert "Traceback" in line
    assert SECRET not in line
    assert TOKEN not in line


def test_an_address_without_its_password_is_whole_again_for_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (secrets.PASSWORD, "MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.delenv(name, raising=False)
    whole = "postgresql+psycopg://us%40er:p%2Fa%40ss@host:5432/db?sslmode=require"
    bare = secrets.hide_password(whole)
    assert bare == "postgresql+psycopg://us%40er@host:5432/db?sslmode=require"
    assert secrets.restore_password(bare) == whole
    assert secrets.hide_password(bare) == bare
    assert secrets.hide_password("http://u:p%40ss@host:1/x") == "http://host:1/x"
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "p@ss"
    for plain in ("sqlite:////a@b/c.db", "http://host:1", "postgresql://user@host/db"):
        assert secrets.hide_password(plain) == plain
    assert Store(TrackingConf(uri=whole, root="x")).uri == "postgresql+psycopg://***@host:5432/db?sslmode=require"
    assert secrets.masked("sqlite:////a@b/c.db") == "sqlite:////a@b/c.db"


# --- names ---


@pytest.mark.parametrize("name", ["../../out", "..", "/etc/x", "a/../../b", "a\\b", ".hidden", "a/b", " a", "a\nb", ""])
def test_names_cannot_leave_the_output_folder(workspace: Path, inside: Run, name: str) -> None:
    before = {path for path in workspace.parent.rglob("*") if workspace not in path.parents}
    for key in ("model.name", "checkpoint.suite"):
        found = inside("model=toy/toy-s", "step=1", "task=alpha", f"{key}={json.dumps(name)}")
        assert found.returncode == 2, (key, found.stdout, found.stderr)
        assert "Traceback" not in found.stderr
        if name not in ("", "a\nb"):
            assert "cannot name a folder" in found.stderr, found.stderr
    assert {path for path in workspace.parent.rglob("*") if workspace not in path.parents} == before
    assert not (workspace / "multirun").exists()


def test_a_suite_cannot_take_evalruns_own_folders(inside: Run) -> None:
    found = inside("model=toy/toy-s", "step=1", "task=alpha", "checkpoint.suite=audit")
    assert found.returncode == 2
    assert "a folder of evalrun's own" in found.stderr


def test_a_tasks_name_stays_in_its_folder(workspace: Path, evalrun: Run) -> None:
    """A task in a sub-folder has a slash in its name; a file that claims another name is refused."""
    folder = workspace / "conf" / "task" / "deep"
    folder.mkdir()
    plain = (workspace / "conf" / "task" / "alpha.yaml").read_text()
    (folder / "down.yaml").write_text(plain.replace("task: alpha", "task: ../../../../evil"))
    refused = evalrun("model=toy/toy-s", "step=1", "task=deep/down")
    assert refused.returncode == 2
    assert "rename the file, or write task: deep/down" in refused.stderr
    assert not list((workspace / "multirun").rglob("results/*.json"))
    (folder / "down.yaml").write_text(plain.replace("task: alpha", "task: deep/down"))
    found = evalrun("model=toy/toy-s", "step=1", "task=deep/down")
    assert found.returncode == 0, found.stderr
    (record,) = (workspace / "multirun").rglob("results/*.json")
    assert record.parent == workspace / "multirun" / "toy" / "toy-s" / "step1" / "results"
    assert not list(workspace.parent.rglob("*evil*"))
    for words in ("task=../../evil", "task=/etc/passwd"):
        refused = evalrun("model=toy/toy-s", "step=1", words)
        assert refused.returncode == 2
        assert "unknown task" in refused.stderr


def test_an_analysis_of_a_strange_sweep_or_suite_stays_in_its_folder(evalrun: Run, evaluated: Path) -> None:
    with sqlite3.connect(evaluated / "mlruns" / "mlflow.db") as database:  # a store that others write too
        database.execute("UPDATE experiments SET name = '../../../evil' WHERE name = 'toy'")
    evalrun("analyze")
    evalrun("analyze", "sweep=../../../evil")
    assert not list(evaluated.parent.glob("evil*"))
    assert not list(evaluated.glob("evil*"))


def test_names_are_text_in_pages_and_notes(evalrun: Run, workspace: Path) -> None:
    """Model, suite, task and title as a web page or a Markdown note would run them."""
    name = "<img src=x onerror=alert(1)>"
    config = workspace / "conf" / "model" / "toy" / "toy-s.yaml"
    bad = f"x{name}".replace("/", "")
    config.write_text(config.read_text().replace("name: toy-s", f"name: '{bad}'"))
    task = workspace / "conf" / "task" / "alpha.yaml"
    task.write_text(task.read_text().replace('title: "Alpha"', f'title: "{name} [a](javascript:x)"'))
    found = evalrun(
        "-m", "model=toy/toy-s", "step=1,2,4", "task=alpha", "checkpoint.suite='s <b>bold<b>'", "analysis=interaction"
    )
    assert found.returncode == 0, found.stderr
    (report,) = (workspace / "multirun" / "analysis").rglob("report.html")
    assert "<img" not in report.read_text()
    assert "<b>bold" not in report.read_text()
    assert "&lt;img" in report.read_text()
    with sqlite3.connect(workspace / "mlruns" / "mlflow.db") as database:
        notes = [
            str(row[0])
            for table in ("tags", "experiment_tags")
            for row in database.execute(f"SELECT value FROM {table} WHERE key = 'mlflow.note.content'")
        ]
    assert len(notes) >= 4
    assert any(line.startswith("    python -m evalrun -m ") for note in notes for line in note.splitlines())
    notes = [re.sub("^    .*", "", note, flags=re.MULTILINE) for note in notes]  # which are code and so text
    assert not [note for note in notes if "<img" in note or "<b>" in note or "](javascript" in note]
    assert any("&lt;img" in note for note in notes)


def test_a_deleted_current_folder_is_one_sentence(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    words = f'rmdir "{gone}"; exec "{sys.executable}" -m evalrun --help'
    found = subprocess.run(["sh", "-c", words], cwd=gone, capture_output=True, text=True)
    assert found.returncode == 1
    assert found.stderr == "evalrun: the current folder was deleted: change to one that is there.\n"


def test_a_secret_that_stands_in_another_unmasks_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_PASSWORD", "secret")
    monkeypatch.setenv("B_API_KEY", "sk-another-secret")
    assert masked("sent sk-another-secret and secret") == "sent *** and ***"
