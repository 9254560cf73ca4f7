"""Checkpoints of a training run that were evaluated and are gone since, as `save_total_limit` deletes them: what their
results say of them, so that these stay in tables, reports and `status`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from evalrun.checkpoints.suites.released_steps import ReleasedStep
from evalrun.core.memory import remembered

ROOT = Path("multirun")  # where jobs' folders are, unless hydra.sweep.dir says otherwise


@remembered
def releases(root: str, suite: str, model: str, present: tuple[int, ...], jobs: Path = ROOT) -> dict[int, ReleasedStep]:
    """The steps of a run that have results and no folder any more, before the last that has one.

    What was computed of later steps is of another training, which was started again in the same folder.

    Args:
        root: The run's folder.
        suite: Its suite.
        model: The folder of its jobs: its name, with the seed where there are several.
        present: The steps that are there, whole or not.
        jobs: The folder of all jobs' folders.
    """
    try:
        names = [entry.name for entry in os.scandir(jobs / suite / model)]
    except OSError:
        return {}
    steps = sorted(int(name.removeprefix("step")) for name in names if name.removeprefix("step").isdecimal())
    found = {}
    for step in steps:
        if step not in present and step < max(present, default=-1):
            release = _release(jobs / suite / model / f"step{step}", step, root)
            if release is not None:
                found[step] = release
    return found


def _release(folder: Path, step: int, root: str) -> ReleasedStep | None:
    """What the newest result of a job's folder says of its checkpoint; None where it was another folder's."""
    newest: dict[str, Any] | None = None
    for path in (folder / "results").glob("*.json"):
        try:
            record = json.loads(path.read_text())
            if newest is None or record["finished_ms"] > newest["finished_ms"]:
                newest = record
        except (OSError, ValueError, KeyError, TypeError):
            continue
    try:
        assert newest is not None
        cell, settings = newest["cell"], newest["settings"]
        place = Path(cell["location"])
        known = settings.get("folder")
        is_ours = str(place.parent) == root if known is None else known == os.path.realpath(root)
        if not is_ours or cell["step"] != step or not isinstance(settings.get("identity"), str):
            return None
        return ReleasedStep(step, place.name, cell["tokens"], cell.get("tokenizer"), identity=settings["identity"])
    except (AssertionError, KeyError, TypeError, AttributeError):
        return None
