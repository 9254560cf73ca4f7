"""W&B's offline runs: a run for each model and seed, which `wandb sync` takes.

W&B's own step must not go back, so that it counts rows; the training step is a metric, which all others are drawn
against. A run has the same id each time and is written whole: what was late is in its place.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evalrun.commands.export.request import ExportRequest, ExportSummary
from evalrun.commands.export.selected_rows import TrainingRun, newest, not_finite, training_runs
from evalrun.commands.export.target import ExportFolder, open_folder
from evalrun.core.errors import StorageError, first_line
from evalrun.core.text import counted

_NOTE = "evalrun.json"  # in a run's folder: the digest of what it was made from
_STEP = "training_step"
_FORM = 1  # of what is written; another one writes all runs anew


def write_runs(asked: ExportRequest) -> ExportSummary:
    """Write the rows as runs whose metrics are `task/metric`.

    Args:
        asked: What and where.

    Raises:
        ConfigError: the folder holds something else.
        StorageError: it cannot be written, by W&B's library or at all.
    """
    table, notes = newest(asked.table)
    runs = list(training_runs(table))
    with open_folder(asked.target, asked.about) as folder:
        for run in runs:
            _keep(folder, run)
    if folder.written:
        import wandb

        wandb.teardown()  # its service is a process beside this one
    notes += not_finite(table, "W&B keeps them as NaN")
    held = f"{counted(len(runs), 'run')} with {counted(len(table), 'value')}"
    return ExportSummary(held, folder.written, folder.kept, notes, f"wandb sync {asked.target}/offline-run-*")


def run_id(run: TrainingRun) -> str:
    """A run's id by what it is of: W&B takes what has the id of a run that it knows for that run."""
    named = json.dumps([run.suite, run.model, run.seed, run.settings])
    return hashlib.sha256(named.encode()).hexdigest()[:16]


def _keep(folder: ExportFolder, run: TrainingRun) -> None:
    """Write a run, unless it is there; `folder`, which is changed, tells which.

    Raises:
        StorageError: W&B's library cannot write it.
    """
    own, history = run_id(run), list(_history(run))
    digest = hashlib.sha256(repr([_FORM, run.name, run.about, history]).encode()).hexdigest()
    place = next(folder.folder.glob(f"offline-run-*-{own}"), None)
    if place is not None and _digest_of(place) == digest:
        folder.kept += 1
        return
    scratch = folder.free_path()
    scratch.mkdir()
    _record(run, own, history, scratch)
    made = next((scratch / "wandb").glob(f"offline-run-*-{own}"), None)
    if made is None:
        raise StorageError(f"W&B's library left no run in {scratch}: free some space and run it again.")
    for name in ("logs", "tmp"):  # of this machine
        shutil.rmtree(made / name, ignore_errors=True)
    (made / _NOTE).write_text(json.dumps({"digest": digest}) + "\n")
    if place is None:
        began = datetime.fromtimestamp(int(run.rows["finished_ms"].min()) / 1000, UTC)
        place = folder.folder / f"offline-run-{began:%Y%m%d_%H%M%S}-{own}"
    else:
        place.rename(folder.free_path())  # swept by the next export, if this one ends here
    made.rename(place)
    folder.sweep()
    folder.written.append(place)


def _digest_of(place: Path) -> str | None:
    try:
        return str(json.loads((place / _NOTE).read_text())["digest"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _history(run: TrainingRun) -> Iterator[dict[str, Any]]:
    """A row for each training step, in their order."""
    for step, rows in run.rows.groupby("step", sort=True):
        about = {_STEP: step, "tokens": int(rows["tokens"].iloc[0]), "_timestamp": rows["finished_ms"].max() / 1000}
        names = rows["task"] + "/" + rows["metric"]
        values = dict(zip(names, rows["value"].astype(float), strict=True))
        errors = zip(names, rows["stderr"].astype(float), strict=True)
        yield {**about, **values, **{f"{name}_stderr": error for name, error in errors if error == error}}


def _record(run: TrainingRun, own: str, history: list[dict[str, Any]], scratch: Path) -> None:
    """Have W&B's library write a run below a folder; nothing of this machine goes into it.

    Args:
        run: Which.
        own: Its id.
        history: Its rows.
        scratch: The folder.

    Raises:
        StorageError: the library cannot.
    """
    import wandb

    quiet = {"silent": True, "console": "off", "x_disable_meta": True, "x_disable_stats": True}
    private = {"x_disable_machine_info": True, "disable_git": True, "disable_code": True, "x_save_requirements": False}
    settings = wandb.Settings(mode="offline", root_dir=str(scratch), **quiet, **private)
    config = {"suite": run.suite, "model": run.model, "seed": run.seed, "settings": run.settings, **run.about}
    names = sorted({name for row in history for name in row} - {_STEP, "_timestamp"})
    try:
        made = wandb.init(
            project=run.suite, group=run.model, name=run.name, id=own, config=config, dir=str(scratch),
            mode="offline", job_type="evaluation", settings=settings, reinit="create_new",
        )  # fmt: skip
        made.define_metric(_STEP, hidden=True)
        for name in names:
            made.define_metric(name, step_metric=_STEP, hidden=name.endswith("_stderr"))
        for row in history:
            made.log(row)
        made.finish()
    except (wandb.Error, OSError) as error:
        raise StorageError(f"W&B's library cannot write a run below {scratch} ({first_line(error)}).") from error
