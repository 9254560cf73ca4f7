"""What runs inside one SLURM task, and the file in which it reports to the command."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from evalrun.core.errors import StorageError
from evalrun.grid.job_spec import JobSpec
from evalrun.grid.launcher_settings import PoolSettings
from evalrun.launch import pool
from evalrun.launch.jobs import JobResult, Status
from evalrun.launch.worker import Context, enter_workspace


@dataclass(frozen=True)
class SlurmBatch:
    """Some jobs of one model, for one SLURM task."""

    context: Context
    works: tuple[JobSpec, ...]
    retries: int
    device: str
    folder: str


class SlurmTask:
    """What a SLURM task runs. Started again, after a preemption or at its time limit, it finds done what is done."""

    def __call__(self, batch: SlurmBatch) -> None:
        """Run a batch on the CPUs and GPUs of this task."""
        array, number = (os.environ.get(f"SLURM_ARRAY_{part}_ID", "") for part in ("JOB", "TASK"))
        task = f"{array}_{number}" if array else os.environ["SLURM_JOB_ID"]
        out, stop = _results_file(Path(batch.folder), task), Path(batch.folder) / f"stop-{task}"
        keys = {work.index: work.key for work in batch.works}
        try:
            enter_workspace(batch.context)
        except StorageError as error:
            for work in batch.works:
                _report(out, work.key, JobResult(work.index, Status.FAILED, f"{work.cell.label}: {error}"))
            return
        settings = PoolSettings("auto", 1, 1, "auto", batch.retries)
        places = pool.slots(settings, batch.device)[: len(batch.works)]
        logs = Path(batch.folder) / "workers"
        failed = False

        def stopping() -> bool:  # the command says so too, but late, and only while it waits
            return (failed and bool(batch.context.config.fail_fast)) or stop.exists()

        for done in pool.run(batch.context, batch.works, places, batch.retries, stopping, logs):
            failed = failed or done.status is Status.FAILED
            _report(out, keys[done.index], done)

    def checkpoint(self, batch: SlurmBatch) -> Any:
        """What submitit queues in place of a task that has to leave: the same, since jobs find what they have done."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, batch)


def _results_file(folder: Path, task: str) -> Path:
    return folder / f"said-{task}.jsonl"


def _report(out: Path, key: str, done: JobResult) -> None:
    with out.open("a") as file:
        file.write(json.dumps({"key": key, **asdict(done)}) + "\n")


def read_results(folder: Path, task: str) -> list[tuple[str, tuple[Any, ...]]]:
    """All that a task has said: key and how that job ended; a line that is being written is left for the next time."""
    try:
        text = _results_file(folder, task).read_text()
    except OSError:
        return []
    found = {}
    for line in text.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            continue
        ended = Status(said["status"]), said["said"], tuple(said["warnings"]), said["seconds"], said["requests"]
        found[said["key"]] = ended
    return list(found.items())
