"""Where the kill test happens: a small real suite, the command as a user types it, an MLflow server to kill."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import sweep

MODELS = {"small": 1000, "medium": 3000}
STEPS = 3
TASKS = sweep.TASKS
RESULTS = len(MODELS) * STEPS * len(TASKS)
MODEL = """\
defaults:
  - /checkpoint@_global_.checkpoint: kill
  - _self_
name: {name}
path: models/{name}
n_params: {n}
n_params_nonembedding: {n}
n_params_nominal: {n}
"""
SOURCE = Path(__file__).resolve().parents[1] / "src"


def make_suite(folder: Path, items: int) -> None:
    """Two models of three checkpoints each and three tasks, two of which share their prompts."""
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()
    sweep.make_suite(folder, len(MODELS) * STEPS, items, None)
    shutil.rmtree(folder / "conf" / "model")
    for number, (name, n) in enumerate(MODELS.items()):
        config = folder / "conf" / "model" / "kill" / f"{name}.yaml"
        config.parent.mkdir(parents=True, exist_ok=True)
        config.write_text(MODEL.format(name=name, n=n))
        (folder / "models" / name).mkdir()
        for step in range(1, STEPS + 1):  # every checkpoint has weights of its own
            (folder / "models" / f"step{number * STEPS + step}").rename(folder / "models" / name / f"step{step}")
    (folder / "conf" / "checkpoint" / "bench.yaml").rename(folder / "conf" / "checkpoint" / "kill.yaml")
    config = folder / "conf" / "checkpoint" / "kill.yaml"
    config.write_text((sweep.CHECKPOINT % list(range(1, STEPS + 1))).replace("suite: bench", "suite: kill"))
    for name in TASKS:  # data beside the config, so that a copy of the folder is the same study
        data = (folder / "data" / f"{name}.jsonl").absolute()
        text = sweep.TASK.format(name=name, data=data)
        begin, end = text.index("dataset_path"), text.index("output_type")
        (folder / "conf" / "task" / f"{name}.yaml").write_text(f"{text[:begin]}data: data/{name}.jsonl\n{text[end:]}")


def copy_suite(template: Path, folder: Path) -> Path:
    """A fresh folder of a user: nothing computed, nothing cached."""
    for name in ("conf", "data", "models"):
        shutil.copytree(template / name, folder / name)
    (folder / "tmp").mkdir()
    return folder


def environment(folder: Path) -> dict[str, str]:
    """Offline, one thread, caches and temporary files in the folder."""
    quiet = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "MLFLOW_DISABLE_TELEMETRY": "true"}
    places = {"HF_HOME": str(folder / "hf"), "TMPDIR": str(folder / "tmp"), "PYTHONPATH": str(SOURCE)}
    return {**os.environ, **quiet, **places, "OMP_NUM_THREADS": "1", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


def words(launcher: str, address: str | None, analysis: bool) -> list[str]:
    """The command's words after `python -m evalrun`."""
    chosen = ["-m", "model=glob(kill/*)", "step=all", f"task={','.join(TASKS)}"]
    if launcher != "local":
        chosen += [f"hydra/launcher={launcher}", "hydra.launcher.workers=2"]
    if address is not None:
        chosen += ["tracking=server", f"tracking.uri={address}"]
    return chosen if analysis else [*chosen, "analysis.after_sweep=false"]


def start(folder: Path, command: list[str], output: Path) -> subprocess.Popen[bytes]:
    """The command in the background, in a process group of its own; its output goes to a file."""
    with output.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "evalrun", *command],
            cwd=folder, env=environment(folder), stdout=stream, stderr=stream, start_new_session=True,
        )  # fmt: skip


def workers(driver: int) -> list[int]:
    """Process ids of the driver's children that run jobs; empty where the driver runs them itself."""
    try:
        children = Path(f"/proc/{driver}/task/{driver}/children").read_text().split()
    except OSError:
        return []
    return [int(child) for child in children if "resource_tracker" not in _command_line(int(child))]


def _command_line(process: int) -> str:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return "resource_tracker"


def of_group(group: int) -> list[int]:
    """Living processes of a process group."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z" and int(fields[2]) == group:
            found.append(int(path.parent.name))
    return found


def end_group(group: int) -> None:
    """Kill what is left of a process group that this program started."""
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return


@dataclass
class Server:
    """A real MLflow server on a SQLite file; it can be killed and comes back at the same address."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @classmethod
    def at(cls, folder: Path, database: Path) -> Server:
        """One that has not started, on a copy of an empty database."""
        folder.mkdir()
        shutil.copyfile(database, folder / "mlflow.db")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            return cls(folder, free.getsockname()[1])

    @property
    def address(self) -> str:
        """Its URL."""
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            RuntimeError: it ends, or does not answer within two minutes.
        """
        command = [
            *(sys.executable, "-m", "mlflow", "server", "--backend-store-uri", f"sqlite:///{self.folder}/mlflow.db"),
            *("--artifacts-destination", (self.folder / "served").as_uri(), "--default-artifact-root"),
            *("mlflow-artifacts:/", "--host", "127.0.0.1", "--port", str(self.port), "--workers", "1"),
        ]
        around = {**environment(self.folder.parent), "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        with (self.folder / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=around, stdout=log, stderr=log, start_new_session=True
            )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        for _ in range(480):
            try:
                with opener.open(f"{self.address}/health", timeout=2) as reply:
                    if reply.read() == b"OK":
                        return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.25)
        raise RuntimeError(f"the MLflow server did not start: see {self.folder}/server.log")

    def kill(self) -> None:
        """SIGKILL to it and its worker."""
        if self.process is not None:
            end_group(self.process.pid)
            self.process.wait()
