"""One run that is watched: what is in its folder, and what of it is done, judged, waiting or failed."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from evalrun.checkpoints.suites import released_steps_of
from evalrun.commands.watch.backoff import FailedTry, Faults
from evalrun.commands.watch.judge import Visit
from evalrun.commands.watch.scan import Files, Scan, files_of, root_of, scan, signature
from evalrun.commands.watch.watch_request import RunSetup
from evalrun.config import step_names
from evalrun.config.schema import Config
from evalrun.core.errors import CheckpointError, ConfigError, EvalrunError, first_line
from evalrun.core.text import counted
from evalrun.grid.job_spec import JobSpec, JobTasks
from evalrun.grid.planning import spec_of
from evalrun.grid.step_order import ordered

log = logging.getLogger(__name__)


@dataclass
class WatchedRun:
    """A run's folder over time.

    Args:
        setup: How it is evaluated.
        group: Tells its jobs from those of other runs.
        tasks: Of all runs.
        faults: Of all runs.
        complain: Gets one sentence for everything that is wrong; says each once.
    """

    setup: RunSetup
    group: int
    tasks: JobTasks
    faults: Faults
    complain: Callable[[str], None]
    seen: Scan | None = None  # at the last look that found a run
    problem: EvalrunError | None = None  # why the last look found none
    keys: dict[int, str] = field(default_factory=dict)  # step -> key of its results, of those that are evaluated
    fresh: set[int] = field(default_factory=set)  # of them, those that this process evaluated and has not judged
    judged: dict[int, Visit] = field(default_factory=dict)  # of them, those with a verdict
    queued: dict[int, str] = field(default_factory=dict)  # left to a cluster: step -> where
    failed: set[int] = field(default_factory=set)  # steps whose last try failed, as far as they are there
    mistakes: dict[int, ConfigError] = field(default_factory=dict)  # of them, those for which the request is wrong
    turn: float = 0.0  # monotonic time of its last evaluation: who waited longest is next
    refusals: int = 0  # checkpoints that were found to be no part of the run
    _done: dict[int, Files] = field(default_factory=dict)
    _files: dict[int, Files] = field(default_factory=dict)  # at the look before
    _signature: int | None = None
    _latest: int = -1  # step, of those that were there at the looks before

    @property
    def config(self) -> Config:
        """Of any of its checkpoints."""
        return self.setup.config

    @property
    def root(self) -> Path:
        """Its folder."""
        return root_of(self.config)

    @property
    def is_empty(self) -> bool:
        """Whether nothing in the folder is named as a checkpoint would be: a run that has not begun, or none."""
        try:
            names = [entry.name for entry in self.root.iterdir()]
        except OSError:
            return False
        return self.problem is not None and not step_names.parse_numbered_names(names)

    @property
    def is_mistaken(self) -> bool:
        """Whether nothing of it can be evaluated as it was asked for, though its checkpoints are whole."""
        return bool(self.mistakes) and not self.keys and self.mistakes.keys() >= set(self.new())

    @property
    def newest(self) -> Visit | None:
        """The verdict on the newest of its checkpoints that has one; those that a restart left behind are none."""
        there = self.seen.ready.keys() & self.judged.keys() if self.seen is not None else set()
        return self.judged[max(there or self.judged)] if self.judged else None

    def look(self, rest_s: float) -> bool:
        """Read what is in the folder; of one in which nothing was written the look before holds.

        Args:
            rest_s: Seconds after which a checkpoint without a Trainer's own sign counts as written.

        Returns:
            Whether anything may have changed.
        """
        now = signature(self.config)
        if now is not None and now == self._signature:
            if self.problem is None and self.seen is not None and not self.seen.waiting:
                return False
            fault = self.faults.of(str(self.root), now)
            if self.problem is not None and fault is not None and not fault.is_over:
                return False
        before, self._signature = self.seen, now
        try:
            self.seen, self.problem = scan(self.config, self._files, rest_s), None
        except EvalrunError as error:
            self.seen, self.problem = None, error
            self.faults.note(str(self.root), now, str(error))
            return True
        self.faults.clear(str(self.root))
        self._compare_looks(before, self.seen)
        return True

    def _compare_looks(self, before: Scan | None, seen: Scan) -> None:
        """Say what has changed since the look before."""
        told = set(before.refused.values()) if before is not None else set()
        self.refusals += sum(why not in told for why in seen.refused.values())
        for note in (*seen.notes, *seen.refused.values()):
            self.complain(note)
        for step, files in seen.ready.items():
            if step < self._latest and self._files.get(step) != files:
                self.complain(f"steps go back: step {step} was written after step {self._latest} had been evaluated.")
        self._files = dict(seen.ready) | {step: self.files(step) for step in seen.waiting}
        self._latest = max(self._latest, *seen.ready, -1)
        self.failed &= seen.ready.keys()
        self.mistakes = {step: error for step, error in self.mistakes.items() if step in self.failed}

    def new(self) -> list[int]:
        """The steps that are there as they were not when they were last evaluated, in order."""
        ready = self.seen.ready if self.seen is not None else {}
        return sorted(step for step, files in ready.items() if self._done.get(step) != files)

    def todo(self) -> list[int]:
        """Those of `new` that are to be evaluated now, in the order that `order` says for all that are there."""
        new = {step for step in self.new() if not self._waits(step)}
        there = sorted(self.seen.ready) if new and self.seen is not None else []
        return [step for step in ordered(there, self.config.order) if step in new]

    def _waits(self, step: int) -> bool:
        """Whether a checkpoint failed, has not changed since, and its time has not come."""
        fault = self._fault(step)
        if fault is None or fault.is_over:
            return False
        if step not in self.failed:  # of an earlier watch
            self.failed.add(step)
            self.complain(
                f"step {step} of '{self.root}' failed {counted(fault.tries, 'time')} and is not tried yet "
                f"(watch.retry_s=0 tries at once): {fault.why}"
            )
        return True

    def job(self, step: int) -> JobSpec:
        """The job of a checkpoint.

        Raises:
            ConfigError, CheckpointError: it is not there, or nobody knows its tokens.
        """
        config = replace(self.setup.config if self.seen is None else self.seen.config, step=step)
        overrides = (*self.setup.overrides, f"step={step}")
        return spec_of(config, self.setup.folders, self.tasks, overrides, step, self.group)

    def ready(self, step: int) -> Files:
        """A checkpoint's files as the last look saw them."""
        return frozenset() if self.seen is None else self.seen.ready.get(step, frozenset())

    def files(self, step: int) -> Files:
        """A checkpoint's files as they are now."""
        config = self.config if self.seen is None else self.seen.config
        release = released_steps_of(config, refresh=False).by_step.get(step)
        if release is None:
            return frozenset()
        return files_of(self.root / release.place, config.checkpoint.convert is not None)

    def found(self, step: int, run_key: str) -> None:
        """Results of a checkpoint as it is there are in the store."""
        self._settled(step, run_key)
        self._done[step] = self.ready(step)

    def evaluated(self, step: int, run_key: str, computed: bool) -> None:
        """A checkpoint was evaluated, by this process or by a launcher.

        Args:
            step: Which.
            run_key: Of its results.
            computed: Something was scored, not found.
        """
        self._settled(step, run_key)
        if computed:
            self.fresh.add(step)
        now, before = self.files(step), self.ready(step)
        if now and now != before:
            self.complain(f"step {step} of '{self.root}' was changed while it was read: it is evaluated again.")
        else:
            self._done[step] = before

    def _settled(self, step: int, run_key: str) -> None:
        self.turn = time.monotonic()
        if self.keys.get(step) != run_key:
            self.judged.pop(step, None)
        self.keys[step] = run_key
        self.queued.pop(step, None)
        self.failed.discard(step)
        self.mistakes.pop(step, None)
        self.faults.clear(self._key(step))

    def failing(self, step: int, error: Exception) -> None:
        """A checkpoint could not be evaluated: say why, and when it is tried again.

        A mistake of the request is none of the checkpoint's: it is kept for the watch to say, once for all of them.
        """
        files = self.ready(step)
        self.turn = time.monotonic()
        self.queued.pop(step, None)
        self.failed.add(step)
        if not self.files(step) and isinstance(error, (CheckpointError, ConfigError, OSError)):
            self._done[step] = files
            self.complain(f"step {step} of '{self.root}' disappeared before it was evaluated: it has no result.")
            return
        if isinstance(error, ConfigError):
            self.mistakes[step] = error
            self.faults.note(self._key(step), self._state(step), str(error), outlives=False)
            return
        self.mistakes.pop(step, None)
        why = str(error)
        if not isinstance(error, EvalrunError):
            log.debug("step %d", step, exc_info=error)
            cause = f"{type(error).__name__}: {first_line(error)}"
            why = f"step {step} of '{self.root}' failed in a way that evalrun did not foresee ({cause})."
        fault = self.faults.note(self._key(step), self._state(step), why)
        later = f" {_next_try(fault, self._waited(fault))}" if self.faults.are_tried_again else ""
        self.complain(f"{why}{later}")

    def _waited(self, fault: FailedTry) -> float:
        watch = self.config.watch
        return min(watch.retry_s * 2.0 ** min(fault.tries - 1, 60), watch.retry_most_s)

    def undecided(self) -> list[int]:
        """Steps that can be judged now, in order of training: nothing before them is still to be evaluated.

        So that what is said of a checkpoint does not depend on the order of evaluation; one that fails holds up nobody.
        """
        waiting = [step for step in self.new() if step not in self.failed and step not in self.keys]
        first = min(waiting, default=None)
        return sorted(step for step in self.keys if step not in self.judged and (first is None or step < first))

    def _fault(self, step: int) -> FailedTry | None:
        return self.faults.of(self._key(step), self._state(step))

    def _state(self, step: int) -> tuple[object, ...]:
        """What a try depends on: another request is not held back by what failed under this one."""
        return (*self.setup.asked, *sorted(self.ready(step)))

    def _key(self, step: int) -> str:
        return f"{self.root.absolute()} step {step}"


def _next_try(fault: FailedTry, wait: float) -> str:
    when = f"in {wait:,.0f} s" if wait else "at the next look"
    return f"It is tried again {when}{f' (fault {fault.tries})' if fault.tries > 1 else ''}."
