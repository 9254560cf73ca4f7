"""Jobs on SLURM: one array task for some steps of a model, each a pool of workers on what SLURM gave it.

What a task has to say goes line by line into a file that it shares with the command, so that a task that is killed
loses nothing but the job at work, and so that the command may end and come back.
"""

from __future__ import annotations

import itertools
import logging
import shutil
import subprocess
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evalrun.core.errors import ConfigError, EvalrunError, first_line
from evalrun.core.text import counted
from evalrun.grid.job_spec import JobSpec
from evalrun.grid.launcher_settings import SlurmSettings
from evalrun.launch.jobs import JobResult, Status, largest_first
from evalrun.launch.slurm_queue import POLL_S, QueuedTasks, active_tasks, cancel, job_ids, scancel, state_of
from evalrun.launch.slurm_task import SlurmBatch, SlurmTask, read_results
from evalrun.launch.worker import Context

log = logging.getLogger(__name__)


def run(
    context: Context,
    works: Sequence[JobSpec],
    settings: SlurmSettings,
    device: str,
    stopping: Callable[[], bool],
    folder: Path,
) -> Generator[JobResult]:
    """Submit jobs, those aside that an earlier launch has in the queue, and yield each as it ends.

    Args:
        context: What they share.
        works: The jobs.
        settings: What to ask SLURM for.
        device: scorer.device: with `cpu` no GPU is asked for.
        stopping: Once true, no job is started any more; those at work are finished.
        folder: On all machines: what was submitted, and what the jobs say.

    Raises:
        ConfigError: values that cannot be right, submitit is not installed.
        EvalrunError: there is no SLURM here, or it refuses.
    """
    settings.check()
    context = replace(context, environment={})  # sbatch hands it on; a file would keep its secrets
    folder.mkdir(parents=True, exist_ok=True)
    ledger = QueuedTasks(folder / "queued.json")
    by_key = {work.key: work for work in works}
    active = active_tasks()
    queued = {task: keys for task, keys in ledger.read().items() if task in active}  # other sweeps' too
    tasks = {task: [key for key in keys if key in by_key] for task, keys in queued.items()}
    tasks = {task: keys for task, keys in tasks.items() if keys}
    known = {key for keys in tasks.values() for key in keys}
    if known:
        log.info("in the queue already: %s, as %s", counted(len(known), "job"), ", ".join(tasks))
    new = [work for work in works if work.key not in known]
    if new:
        submitted = _submit(context, new, settings, device, folder)
        tasks |= submitted
        ledger.write(queued | submitted)
        asked = counted(len(submitted), "SLURM task")
        log.info("submitted %s as %s: %s", counted(len(new), "job"), asked, job_ids(submitted))
    if not settings.wait:
        for task, keys in tasks.items():
            for key in keys:
                yield JobResult(by_key[key].index, Status.QUEUED, f"SLURM ({task.partition('_')[0]})")
        return
    ended = False
    try:
        yield from _follow(tasks, by_key, stopping, folder)
        ended = True
    finally:
        if not ended:
            cancel(tasks)


def _follow(
    tasks: Mapping[str, Sequence[str]], by_key: Mapping[str, JobSpec], stopping: Callable[[], bool], folder: Path
) -> Generator[JobResult]:
    """What tasks say, until they have said all or are gone."""
    waiting = {task: set(keys) for task, keys in tasks.items()}
    gone: dict[str, int] = {}
    while waiting:
        active = active_tasks()
        for task in list(waiting):
            for key, done in read_results(folder, task):
                if key in waiting[task]:
                    waiting[task].discard(key)
                    yield JobResult(by_key[key].index, *done)
            if not waiting[task]:
                del waiting[task]
            elif task not in active:
                gone[task] = gone.get(task, 0) + 1
                if gone[task] >= 3:  # a shared file system may show the last lines late
                    for key in sorted(waiting.pop(task), key=lambda k: by_key[k].index):
                        yield JobResult(by_key[key].index, *_lost(by_key[key], task, stopping(), folder))
            else:
                gone.pop(task, None)
        if stopping() and waiting:
            for task in waiting:
                (folder / f"stop-{task}").touch()
            scancel([*waiting], "--state=PENDING")
        if waiting:
            time.sleep(POLL_S)
    for file in folder.glob("stop-*"):
        file.unlink(missing_ok=True)


def _lost(work: JobSpec, task: str, stopped: bool, folder: Path) -> tuple[Status, str]:
    if stopped:
        return Status.SKIPPED, ""
    state = state_of(task)
    return Status.FAILED, (
        f"{work.cell.label}: SLURM job {task} ended{f' as {state}' if state else ''} before it had said a word of it; "
        f"its log is '{folder / task.partition('_')[0]}_{task.partition('_')[2]}_0_log.err'."
    )


def _submit(
    context: Context, works: Sequence[JobSpec], settings: SlurmSettings, device: str, folder: Path
) -> dict[str, list[str]]:
    """One array for each kind of resources; returns its tasks with the keys of their jobs."""
    try:
        import submitit
    except ImportError:
        raise ConfigError("hydra/launcher=slurm needs the package submitit: pip install 'submitit>=1.5'.") from None
    if shutil.which("sbatch") is None:
        raise EvalrunError("there is no sbatch on this machine: start the sweep where SLURM jobs are submitted.")
    tasks: dict[str, list[str]] = {}

    def resources(work: JobSpec) -> tuple[int, int]:
        gpus = 0 if device == "cpu" else int(work.resources.get("gpus", settings.gpus))
        return int(work.resources.get("cpus", settings.cpus)), gpus

    ordered = sorted(largest_first(works), key=resources, reverse=True)
    for (cpus, gpus), group in itertools.groupby(ordered, key=resources):
        executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=settings.requeues)
        asked = {
            "partition": settings.partition, "account": settings.account, "qos": settings.qos,
            "mem": f"{settings.memory_gb}GB" if settings.memory_gb else None,
            "gpus_per_node": gpus or None, "setup": list(settings.setup) or None,
        }  # fmt: skip
        executor.update_parameters(
            time=settings.minutes, cpus_per_task=cpus, nodes=1, ntasks_per_node=1, job_name="evalrun",
            array_parallelism=settings.at_once, additional_parameters=dict(settings.options),
            **{name: value for name, value in asked.items() if value is not None},
        )  # fmt: skip
        batches = [
            SlurmBatch(context, tuple(several), settings.retries, device, str(folder))
            for several in _by_model(group, settings.steps_per_job)
        ]
        try:
            sent = executor.map_array(SlurmTask(), batches)
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            if tasks:
                cancel(tasks)
            said = str(getattr(error, "stderr", "") or error)
            lines = [line for line in said.splitlines() if "error" in line.lower()] or [first_line(error)]
            raise EvalrunError(f"SLURM refuses the jobs: {lines[0].strip().rstrip('.')}.") from None
        for job, batch in zip(sent, batches, strict=True):
            tasks[str(job.job_id)] = [work.key for work in batch.works]
    return tasks


def _by_model(works: Iterable[JobSpec], size: int) -> list[Sequence[JobSpec]]:
    """Jobs in groups of one model, at most so many in each; a group goes out at the turn of its first job."""
    own: dict[tuple[str, int | None], list[JobSpec]] = defaultdict(list)
    for work in works:
        own[work.cell.model, work.cell.seed].append(work)
    chunks = [same[start : start + size] for same in own.values() for start in range(0, len(same), size)]
    return sorted(chunks, key=lambda chunk: chunk[0].turn)
