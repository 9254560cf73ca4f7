"""Runs `python -m evalrun` without its imports: a process that has made them forks for each command.

Half of what the tests cost was importing torch, transformers, lm-eval and MLflow anew for every command. The command
itself is run as `python -m` runs it, in a process of its own: its folder, its streams, its exit code. What looks at
imports, at signals or at an environment of its own starts a real one instead.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import runpy
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

LIBRARIES = (
    "torch mlflow mlflow.store.tracking.sqlalchemy_store alembic.command statsmodels.formula.api matplotlib.figure "
    "matplotlib.backends.backend_agg matplotlib.backends.backend_svg matplotlib.backends.backend_pdf hydra jinja2 "
    "joblib pyarrow.parquet scipy.stats evalrun.cli evalrun.commands.status evalrun.pipeline evalrun.study "
    "evalrun.statistics.findings evalrun.reporting.html_page evalrun.tracking.store "
    # what those of the hub spend most of their time on, and which does not read HF_*
    "torch._dynamo torch.distributed.tensor tokenizers safetensors.torch sacrebleu httpx2 multiprocess PIL.Image xxhash"
).split()
OF_THE_HUB = (  # these read HF_* when they are imported
    "transformers transformers.models.gpt_neox.modeling_gpt_neox transformers.models.auto.modeling_auto "
    "transformers.generation.utils lm_eval.evaluator lm_eval.tasks lm_eval.models.huggingface datasets evalrun.tasks "
    "evalrun.scoring.evaluate evalrun.scoring.shared_prefix"
).split()
# Read by commands when they need them, or not at all; anything else may have been read while libraries were imported.
_LATE = ("MLFLOW_", "PYTEST_", "NO_PROXY", "no_proxy", "COLUMNS", "LINES")


class Server:
    """Starts commands from one preloaded process; `run` is subprocess.run of `python -m evalrun`.

    Args:
        environment: Of the process; that of a command may differ from it in what libraries read late.
        hub: Whether the libraries of the hub are among the preloaded, so that a command cannot have an HF_* of its own.
    """

    def __init__(self, environment: Mapping[str, str], hub: bool = True) -> None:
        self._late = _LATE if hub else (*_LATE, "HF_", "TRANSFORMERS_", "TOKENIZERS_")
        self.environment = self._early(environment)
        self._ours, theirs = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, str(Path(__file__)), str(theirs.fileno()), *(["hub"] if hub else [])],
            env=self.environment, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL,
        )  # fmt: skip
        theirs.close()
        self._one_at_a_time = threading.Lock()

    def can(self, environment: Mapping[str, str]) -> bool:
        """Whether a command with this environment may be forked: libraries read theirs while they are imported."""
        return self._early(environment) == self.environment

    def run(
        self, words: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float, code: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """Run a command, or code with these words, to its end.

        Raises:
            subprocess.TimeoutExpired: it took too long, and was killed with all its children.
        """
        argv = _argv(words, code)
        with self._one_at_a_time, tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
            order = json.dumps([code, list(words), str(folder), dict(environment)]).encode()
            socket.send_fds(self._ours, [order], [out.fileno(), err.fileno()])
            pid = int(self._read())
            self._ours.settimeout(timeout)
            try:
                code = int(self._read())
            except TimeoutError:
                os.killpg(pid, signal.SIGKILL)
                self._ours.settimeout(None)
                self._read()
                raise subprocess.TimeoutExpired(argv, timeout) from None
            finally:
                self._ours.settimeout(None)
            out.seek(0), err.seek(0)
            return subprocess.CompletedProcess(argv, code, out.read(), err.read())

    def close(self) -> None:
        """End it."""
        self._ours.close()
        self._process.wait(30)

    def spent(self) -> float:
        """Seconds of processor time of the commands that have ended; its own imports are no test's."""
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(map(int, fields[13:15])) / os.sysconf("SC_CLK_TCK")

    def _early(self, environment: Mapping[str, str]) -> dict[str, str]:
        return {key: value for key, value in environment.items() if not key.startswith(self._late)}

    def _read(self) -> bytes:
        if not (said := self._ours.recv(16)):
            raise RuntimeError(f"the preloaded process ended with {self._process.wait()}")
        return said


_servers: list[Server] = []


def run(
    words: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float, code: str = ""
) -> subprocess.CompletedProcess[str]:
    """subprocess.run of `python -m evalrun`, or of `python -c code`: forked where the environment is the tests' own.

    Another environment gets a process of its own.

    Raises:
        subprocess.TimeoutExpired: it took too long.
    """
    for number, hub in enumerate((True, False)):
        if number == len(_servers):
            _servers.append(Server(os.environ, hub))
        if _servers[number].can(environment):
            return _servers[number].run(words, folder, environment, timeout, code)
    return subprocess.run(
        _argv(words, code),
        cwd=folder, env=dict(environment), capture_output=True, text=True, timeout=timeout, check=False,
    )  # fmt: skip


def python(code: str, *words: str) -> subprocess.CompletedProcess[str]:
    """subprocess.run of `python -c code` in the current folder, its imports made already."""
    return run(words, Path.cwd(), os.environ, 300, code)


def spent() -> float:
    """Seconds of processor time of the commands that preloaded processes have run so far."""
    return sum(server.spent() for server in _servers)


def close() -> None:
    """End the preloaded processes."""
    while _servers:
        _servers.pop().close()


def make_databases_from_one(folder: Path) -> None:
    """Let MLflow copy its empty SQLite database instead of making each in sixty migrations, in this process."""
    import mlflow.store.db.utils as utils
    from sqlalchemy import create_engine

    made = utils._initialize_tables
    template = folder / "empty.db"

    def copy(engine: Any) -> None:
        path = engine.url.database
        if engine.dialect.name != "sqlite" or not path or (Path(path).exists() and Path(path).stat().st_size):
            made(engine)
            return
        if not template.exists():
            draft = template.with_name(f"{template.name}.{os.getpid()}")
            first = create_engine(f"sqlite:///{draft}")
            made(first)
            first.dispose()
            draft.replace(template)
        engine.dispose()
        shutil.copyfile(template, path)

    utils._initialize_tables = copy


def _serve(link: socket.socket) -> None:
    """In the preloaded process: fork for each order, say the child's id, then its exit code."""
    gc.collect()
    gc.freeze()  # else each child looks through all that was imported, two seconds of its time
    while True:
        message, streams, _, _ = socket.recv_fds(link, 2**20, 2)
        if not message:
            return
        order = json.loads(message)
        pid = os.fork()
        if pid == 0:
            link.close()
            _become(*order, streams)
        for stream in streams:
            os.close(stream)
        link.sendall(str(pid).encode())
        _, status = os.waitpid(pid, 0)
        link.sendall(str(os.waitstatus_to_exitcode(status)).encode())


def _argv(words: Sequence[str], code: str) -> list[str]:
    return [sys.executable, *(["-c", code] if code else ["-m", "evalrun"]), *words]


def _become(
    code: str, words: Sequence[str], folder: str, environment: Mapping[str, str], streams: Sequence[int]
) -> NoReturn:
    """In the child: be `python -m evalrun`, or `python -c code`, in that folder, in a session of its own."""
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for place, stream in zip((1, 2), streams, strict=True):
        os.dup2(stream, place)
        os.close(stream)
    sys.path[0] = folder  # as `python -m` has it
    try:
        if code:
            sys.argv = ["-c", *words]
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
        else:
            sys.argv = ["evalrun", *words]
            runpy.run_module("evalrun", run_name="__main__", alter_sys=True)
    except SystemExit as end:
        _end(end.code)
    except BaseException:
        traceback.print_exc()
        _end(1)
    _end(0)


def _end(code: object) -> NoReturn:
    """End as an interpreter does, but for taking down what was inherited, which costs half a second of each command."""
    if isinstance(code, str):
        print(code, file=sys.stderr)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


if __name__ == "__main__":
    own = socket.socket(fileno=int(sys.argv[1]))
    for name in (*LIBRARIES, *(OF_THE_HUB if "hub" in sys.argv else ())):
        importlib.import_module(name)
    assert "hub" in sys.argv or "huggingface_hub" not in sys.modules, "it has read its environment already"
    place = tempfile.mkdtemp()
    make_databases_from_one(Path(place))
    _serve(own)
    shutil.rmtree(place)
