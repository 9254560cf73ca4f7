"""`prefetch`: get what a sweep needs, so that it can run without the network."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Sequence
from queue import Empty, SimpleQueue
from typing import Any

from tqdm import tqdm

from evalrun import checkpoints
from evalrun.checkpoints import kept_commits
from evalrun.checkpoints.suites import allowed
from evalrun.commands.plan.inventory import JobNeeds, take_inventory
from evalrun.commands.plan.render import size
from evalrun.config.schema import Config
from evalrun.core import console
from evalrun.core.errors import CheckpointError, EvalrunError, TaskError, first_line
from evalrun.core.text import counted
from evalrun.grid.sweep_plan import Plan
from evalrun.tasks import builder

_AT_ONCE = 2  # checkpoints under way: enough to keep a line busy, few enough for the hub's limits
RESERVE = 10**9  # bytes of the disk that are left free


def prefetch(plan: Plan) -> str:
    """Download what is needed and not here; what an earlier start began is gone on with.

    Returns:
        One line that says what was fetched.

    Raises:
        CheckpointError: the hub is out of reach, the disk would fill, or checkpoints that cannot be had.
        TaskError: datasets that cannot be had.
    """
    found = take_inventory(plan, patience_s=10)
    wanted = found.to_fetch
    lost = [job.problem or job.cell.label for job in wanted if job.located is None]
    if found.hub is not None and wanted:
        raise CheckpointError(
            f"the hub is {found.hub}, and {counted(len(wanted), 'checkpoint')} must come from it: connect, run again."
        )
    jobs = [job for job in wanted if job.located is not None]
    kept_commits.remember([job.located for job in found.jobs if job.located is not None])
    _check_room(sum(job.download or 0 for job in jobs))
    fetched, failed = _Fetch(jobs).run()
    made, unmade = _data([need for need in found.data if need.state in ("missing", "unknown")], plan.config)
    problems = [*dict.fromkeys(lost), *failed, *unmade]
    if problems:
        kind = CheckpointError if lost or failed else TaskError
        raise kind(f"{len(problems)} could not be fetched, the rest is here: {' '.join(problems)}")
    here = len({(job.cell.location, job.cell.revision) for job in found.jobs}) - len(jobs)
    return (
        f"{counted(len(jobs), 'checkpoint')} fetched ({size(fetched)}), {here} here or done before; "
        f"{counted(made, 'dataset')} fetched"
    )


class _Fetch:
    """Some checkpoints at a time, in threads that end with the process, so that Ctrl-C waits for no download."""

    def __init__(self, jobs: Sequence[JobNeeds]) -> None:
        """Queue the jobs, and a bar over the bytes that are to come.

        Args:
            jobs: Those whose checkpoints are not here.
        """
        self._todo: SimpleQueue[JobNeeds] = SimpleQueue()
        for job in jobs:
            self._todo.put(job)
        self._stop = threading.Event()
        self._rest = {id(job): job.download or 0 for job in jobs}  # bytes that are still to come
        self._bytes = 0
        self._failed: list[str] = []
        total = sum(self._rest.values())
        self._bar = tqdm(
            total=total, desc="prefetch", unit="B", unit_scale=True, leave=False, disable=None
        ) if jobs else console.bar(0, "prefetch", "B")  # fmt: skip

    def run(self) -> tuple[int, list[str]]:
        """Returns the bytes that came, and a sentence for each checkpoint that did not.

        Raises:
            CheckpointError: the disk would fill.
        """
        threads = [threading.Thread(target=self._work, name="prefetch", daemon=True) for _ in range(_AT_ONCE)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            time.sleep(0.05)
        self._bar.close()
        if self._stop.is_set():
            raise CheckpointError(_full(sum(self._rest.values())))
        return self._bytes, self._failed

    def _work(self) -> None:
        """Fetch until the queue is empty or the disk is full; a thread's work. What fails is kept as a sentence."""
        while not self._stop.is_set():
            try:
                job = self._todo.get_nowait()
            except Empty:
                return
            if _free() < self._rest[id(job)] + RESERVE:
                self._stop.set()
                return
            try:
                self._one(job)
            except EvalrunError as error:
                self._failed.append(str(error))
            except OSError as error:
                if error.errno == 28:
                    self._stop.set()
                    return
                self._failed.append(f"{job.cell.label}: {first_line(error)}.")
            except Exception as error:  # the hub's client raises many classes
                self._failed.append(f"{job.cell.label}: {first_line(error)}.")

    def _one(self, job: JobNeeds) -> None:
        assert job.located is not None
        checkpoints.download(job.cell, job.config.trust_pickle, bar=_told(self._came))
        allowed.fetch(job.config, job.located)  # all is here: this notes the revision's name and looks that it is whole
        self._rest[id(job)] = 0
        if not self._bar.disable:
            return
        print(f"  {job.cell.label}: {size(job.download)}", flush=True)

    def _came(self, n: float) -> None:
        self._bytes += int(n)
        self._bar.update(n)


def _told(came: Any) -> Any:
    """A class as tqdm's that shows nothing and passes on how many bytes came."""

    class Told(tqdm):  # type: ignore[type-arg]
        def __init__(self, *words: Any, **keys: Any) -> None:
            super().__init__(*words, **{**keys, "disable": True})

        def update(self, n: float | None = 1) -> bool | None:
            came(n or 0)
            return None

    return Told


def _check_room(needed: int) -> None:
    if needed and _free() < needed + RESERVE:
        raise CheckpointError(_full(needed))


def _full(needed: int) -> str:
    place = checkpoints.hub_cache()
    return (
        f"the disk of '{place}' would fill: {size(needed)} are to come and {size(_free())} are free, of which "
        f"{size(RESERVE)} stay free: free some, set HF_HOME, or fetch fewer steps; the same command goes on."
    )


def _free() -> int:
    return shutil.disk_usage(checkpoints.hub_cache()).free


def _data(needs: Sequence[Any], config: Config) -> tuple[int, list[str]]:
    """Make the tasks as a run does, which fetches their data; returns how many datasets came, and sentences."""
    made, failed = 0, []
    for need in needs:
        try:
            builder.build(need.tasks, config.num_fewshot)
            made += 1
        except TaskError as error:
            failed.append(str(error))
    return made, failed
