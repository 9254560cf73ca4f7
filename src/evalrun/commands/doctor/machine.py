"""The machine: what scores, where results go, and how much room there is."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evalrun import checkpoints
from evalrun.commands.doctor.check import FAIL, OK, WARN, Check
from evalrun.config.schema import TrackingConf
from evalrun.config.store_words import store_words
from evalrun.core.errors import TrackingError
from evalrun.core.secrets import command_line
from evalrun.core.text import counted
from evalrun.tracking import Store

_LITTLE, _TOO_LITTLE = 20 * 10**9, 10**9  # bytes: of a few checkpoints, of results alone
_PATIENCE_S = 5.0
_TORCH = """
import json, torch
found = [torch.cuda.get_device_properties(i) for i in range(torch.cuda.device_count())]
print(json.dumps({
    "torch": torch.__version__, "cuda": torch.version.cuda, "threads": torch.get_num_threads(),
    "gpus": [[one.name, torch.cuda.mem_get_info(i)[0], one.total_memory] for i, one in enumerate(found)],
}))
"""


def torch() -> Check:
    """What torch sees: asked in a process of its own, because one that cannot be imported may end the process."""
    try:
        done = subprocess.run([sys.executable, "-c", _TORCH], capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return Check("device", FAIL, "torch does not answer within a minute", "try `python -c 'import torch'`.")
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        return Check("device", FAIL, f"torch cannot be used ({last})", "install it anew: python -m pip install torch")
    seen: dict[str, Any] = json.loads(done.stdout)
    driver = _driver()
    if seen["gpus"]:
        listed = [f"{name}, {free / 1e9:.0f} of {all_ / 1e9:.0f} GB free" for name, free, all_ in seen["gpus"]]
        return Check("device", OK, f"{'; '.join(listed)} (torch {seen['torch']}, driver {driver or 'unknown'})")
    if driver is not None:
        said = f"a GPU is here (driver {driver}), and torch {seen['torch']} does not see it"
        return Check("device", WARN, said, "install a build of torch for CUDA; see pytorch.org/get-started.")
    cores = counted(seen["threads"], "thread")
    return Check("device", OK, f"no GPU: checkpoints are scored on the CPU with {cores} (torch {seen['torch']})")


def _driver() -> str | None:
    """The version of NVIDIA's driver, where one answers."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"],
            capture_output=True, text=True, timeout=10, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.split()[0] if done.returncode == 0 and done.stdout.strip() else None


def store(conf: TrackingConf) -> Check:
    """Whether results can be delivered; a store that is not there is not made."""
    asked = Store(conf, _PATIENCE_S)
    root = _existing(Path(conf.root))
    try:
        if conf.uri is None and not (Path(conf.root).expanduser() / "mlflow.db").exists():
            if os.access(root, os.W_OK):
                return Check("store", OK, f"{conf.root} is not there yet: the first run makes it")
            raise TrackingError(f"{root} cannot be written; set tracking.root.")
        asked.check()
        suites = asked.suites()
    except TrackingError as error:
        sync = command_line(["sync", *store_words(conf)])
        return Check("store", FAIL, str(error), f"results stay in multirun/ until it answers; then run `{sync}`.")
    held = f"results of {', '.join(suites)}" if suites else "no results yet"
    return Check("store", OK, f"{asked.uri} answers and can be written: {held}")


def disk(conf: TrackingConf) -> Iterator[Check]:
    """Room for results and downloads, a line for each disk."""
    places = [("multirun/", Path("multirun")), ("the hub's cache", checkpoints.hub_cache())]
    if conf.uri is None:
        places.insert(1, (f"{conf.root}/", Path(conf.root).expanduser()))
    by_disk: dict[int, list[tuple[str, Path]]] = {}
    for name, path in places:
        by_disk.setdefault(_existing(path).stat().st_dev, []).append((name, _existing(path)))
    for group in by_disk.values():
        free = shutil.disk_usage(group[0][1]).free
        said = f"{free / 1e9:,.1f} GB free for {' and '.join(name for name, _ in group)}"
        closed = [f"{name} in {path}" for name, path in group if not os.access(path, os.W_OK)]
        if closed:
            yield Check("disk", FAIL, f"{'; '.join(closed)} cannot be written", "work in a folder of your own.")
        elif free < _TOO_LITTLE:
            yield Check("disk", FAIL, said, "make room, or work in a folder on another disk.")
        elif free < _LITTLE:
            todo = "enough for small models; large ones: keep_checkpoints=false disk_budget=..., or HF_HOME elsewhere."
            yield Check("disk", WARN, said, todo)
        else:
            yield Check("disk", OK, said)


def _existing(path: Path) -> Path:
    """The path, or the nearest above it that is there."""
    path = path.expanduser().absolute()
    return next(folder for folder in (path, *path.parents) if folder.exists())
