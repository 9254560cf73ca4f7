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
def releases(root: str, jobs: Path, present: tuple[int, ...], prefix: str = "step") -> dict[int, ReleasedStep]:
    """The steps of a run that have results and no folder any more, before the last that has one.

    What was computed of later steps is of another training, which was started again in the same folder.

    Args:
        root: The run's folder.
        jobs: The folder of its jobs' folders.
        present: The steps that are there, whole or not.
        prefix: Of the names of the folders of its jobs, before their step.
    """
    try:
        names = [entry.name for entry in os.scandir(jobs)]
    except OSError:
        return {}
    own = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    steps = sorted(int(step) for step in own if step.isdecimal())
    found = {}
    for step in steps:
        if step not in present and step < max(present, default=-1):
            release = _release(jobs / f"{prefix}{step}", step, root)
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
        if not is_ours or cell.get("stage_step", cell["step"]) != step or not isinstance(settings.get("identity"), str):
            return None
        return ReleasedStep(step, place.name, cell["tokens"], cell.get("tokenizer"), identity=settings["identity"])
    except (AssertionError, KeyError, TypeError, AttributeError):
        return None
