"""One checkpoint after the other, as they come: evaluate, deliver, compare, warn. No fault of one ends the watch."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import OmegaConf

from evalrun import pipeline, study
from evalrun.checkpoints.suites import checkpoint_of, released_steps_of
from evalrun.commands.watch import alarm, hooks, render
from evalrun.commands.watch.alarm import Change
from evalrun.commands.watch.scan import Files, Scan, files_of, root_of, scan
from evalrun.config.schema import Config
from evalrun.core.errors import CheckpointError, ConfigError, EvalrunError, TrackingError, first_line
from evalrun.core.secrets import masked
from evalrun.core.text import counted
from evalrun.grid import namesakes
from evalrun.grid.job_folders import FolderTemplate
from evalrun.grid.job_spec import JobTasks
from evalrun.grid.planning import spec_of
from evalrun.statistics.items.clusters import unclustered
from evalrun.tracking import Store

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.statistics.items.values import Items

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Visit:
    """What became of one checkpoint."""

    step: int
    fresh: bool  # evaluated now, not found done
    rows: pd.DataFrame  # of the tidy table: one a task
    changes: list[Change]

    @property
    def drops(self) -> list[Change]:
        """The tasks that fell significantly."""
        return [change for change in self.changes if change.is_drop]


@dataclass
class Watch:
    """A watch over one training run.

    Args:
        config: Of the run: any step. Its `sweep` names the watch.
        plain: The same config as plain values, kept with the results.
        folders: Where its checkpoints' journals are.
        say: Gets every line of the report.
        warn: Gets one sentence for everything that went wrong.
    """

    config: Config
    plain: Mapping[str, Any]
    folders: FolderTemplate
    say: Callable[[str], None]
    warn: Callable[[str], None]
    evaluated: int = 0  # checkpoints, by this watch
    faults: int = 0  # checkpoints that could not be evaluated or were refused
    newest: Visit | None = None  # of the latest step that has results
    _done: dict[int, Files] = field(default_factory=dict)
    _seen: dict[int, Files] = field(default_factory=dict)
    _said: set[str] = field(default_factory=set)
    _is_named: bool = False  # whether the run's name was seen to be its own
    _owed: set[int] = field(default_factory=set)  # evaluated, and not compared yet
    _doubts: dict[tuple[str, str], str] = field(default_factory=dict)  # run and task -> why it is not believed
    _latest: int = -1  # step, of those that were there at the looks before

    def __post_init__(self) -> None:
        self._store = Store(self.config.tracking)
        self._tasks = JobTasks(self.config)
        self._clusters = study.clusters_of(self.config)

    def forever(self) -> None:
        """Look every `watch.poll_s` seconds until interrupted."""
        while True:
            try:
                self.round()
            except EvalrunError as error:
                self._complain(f"{str(error).rstrip('.')}; waiting for it to change.")
            time.sleep(self.config.watch.poll_s)

    def once(self) -> None:
        """Evaluate what is there; waits once for what may still be written.

        Raises:
            ConfigError, CheckpointError: no run can be made out.
        """
        if self.round().waiting:
            time.sleep(self.config.watch.poll_s)
            self.round()

    def round(self) -> Scan:
        """One look, and a visit to each checkpoint that is new, in order of training.

        Raises:
            ConfigError, CheckpointError: no run can be made out.
        """
        seen = scan(self.config, self._seen, self.config.watch.poll_s)
        for note in (*seen.notes, *seen.refused.values()):
            if note not in self._said and note in seen.refused.values():
                self.faults += 1
            self._complain(note)
        new = [step for step, files in seen.ready.items() if self._done.get(step) != files]
        visits = [visit for step in new if (visit := self.attempt(step, seen)) is not None]
        self._seen = dict(seen.ready) | {step: self._files(step, seen.config) for step in seen.waiting}
        self._latest = max(self._latest, *seen.ready, -1)
        if visits:
            self.newest = visits[-1] if self.newest is None or visits[-1].step >= self.newest.step else self.newest
            found = sum(not visit.fresh for visit in visits)
            if found:
                self.say(f"{counted(found, 'checkpoint')} found done")
            if not visits[-1].fresh:
                self._show(visits[-1], seen.config)
        return seen

    def visit(self, config: Config) -> Visit:
        """Evaluate one checkpoint, deliver it, compare it with those before it, warn.

        Raises:
            EvalrunError: whatever a user can do something about.
        """
        if not self._is_named:
            with suppress(TrackingError):  # asked again with the next checkpoint; results wait in the journal
                namesakes.refuse_one(config, self._store)
                self._is_named = True
        plain = OmegaConf.create({**self.plain, "step": config.step, "sweep": config.sweep})
        job = spec_of(config, self.folders, self._tasks)
        done = pipeline.evaluate(job, masked(OmegaConf.to_yaml(plain)))
        fresh = bool(done.computed) or config.step in self._owed
        if done.computed:
            self.evaluated += 1
            self._owed.add(config.step)
        visit = self._compare(config, done.run_key, fresh)
        self._owed.discard(config.step)
        if fresh:
            self._show(visit, config)
            self._store.rebuild_curves(config.checkpoint.suite)
        return visit

    def attempt(self, step: int, seen: Scan) -> Visit | None:
        """Visit a checkpoint; whatever goes wrong is one sentence."""
        files, config = seen.ready[step], replace(seen.config, step=step)
        if step < self._latest and self._seen.get(step) != files:
            self._complain(f"steps go back: step {step} was written after step {self._latest} had been evaluated.")
        try:
            visit = self.visit(config)
        except TrackingError as error:  # what is in the journal is delivered at a later look
            self._complain(f"{str(error).rstrip('.')}. This watch tries again at its next look.")
            return None
        except Exception as error:
            self.faults += 1
            self._done[step] = files
            gone = not self._files(step, seen.config)
            self._complain(_said(error, step, root_of(config), gone))
            return None
        now = self._files(step, seen.config)
        if now and now != files:
            self._complain(f"step {step} of '{root_of(config)}' was changed while it was read: it is evaluated again.")
            return visit
        self._done[step] = files
        return visit

    def _files(self, step: int, config: Config) -> Files:
        release = released_steps_of(config, refresh=False).by_step.get(step)
        if release is None:
            return frozenset()
        return files_of(root_of(config) / release.place, config.checkpoint.convert is not None)

    def _compare(self, config: Config, run_key: str, fresh: bool) -> Visit:
        """Read back this checkpoint's results and those of the steps before it, and compare."""
        cell, analysis = checkpoint_of(config), config.analysis
        past = [run for run in self._store.past(cell.suite) if (run.model, run.seed) == (cell.model, cell.seed)]
        mine = next((run for run in past if run.run_key == run_key and run.tasks), None)
        if mine is None:
            raise TrackingError(f"the results of {cell.label} are not in {self._store.uri} yet.")
        alike = [run for run in past if run.settings == mine.settings and run.tasks]
        if fresh and any(run.step == cell.step and run.run_key != run_key for run in alike):
            self._complain(f"{cell.label} was evaluated before with other files: its newest result counts.")
        earlier = [run.run_id for run in alike if run.step < cell.step]
        table = study.with_metric(self.config, self._store, self._store.table_of([mine.run_id, *earlier]))
        tasks = [file.name for file in self._tasks.files]
        table = table[table["primary"] if analysis.metric is None else table["metric"] == analysis.metric]
        table = table[table["task"].isin(tasks)].sort_values("finished_ms", kind="stable")
        table = table.drop_duplicates(["step", "task"], keep="last")
        with self._store.items(zip(table["run_id"], table["task"], strict=True)) as items:
            table = self._believed(table, items, mine.run_id)
            rows = table[table["run_id"] == mine.run_id].sort_values("task", ignore_index=True)
            before = table[table["step"] < cell.step]
            changes = alarm.changes(
                *(rows, before, items, analysis.corrections[0], analysis.alpha, analysis.draws, analysis.seed),
                self._clusters,
            )
        for why in unclustered(tasks, self._clusters):
            self._complain(f"items not clustered: {why}.")
        visit = Visit(cell.step, fresh, rows, changes)
        self._store.flag(mine.run_id, render.warnings(changes), [change.to_json() for change in visit.drops])
        return visit

    def _believed(self, table: pd.DataFrame, items: Items, newest: str) -> pd.DataFrame:
        """The results that can be believed; of the others, those of the newest checkpoint are faults."""
        from evalrun.statistics.items.believed import doubt
        from evalrun.statistics.items.continuous import COLUMNS

        sound = []
        for run_id, task, step in table[["run_id", "task", "step"]].itertuples(index=False, name=None):
            key = (str(run_id), str(task))
            if key not in self._doubts:
                found = items(*key, COLUMNS)
                self._doubts[key] = "" if found is None else doubt(found).why
            sound.append(not self._doubts[key])
            if self._doubts[key] and run_id == newest:
                self.faults += 1
                self._complain(f"step {step}: {task} is left out, because {self._doubts[key]}.")
        return table[sound]

    def _show(self, visit: Visit, config: Config) -> None:
        """Say how a checkpoint compares with those before; if it is new and worse, call the user's hooks once."""
        cell = checkpoint_of(replace(config, step=visit.step))
        warnings = render.warnings(visit.changes)
        for line in [*render.block(cell, visit.rows, visit.changes), *map(render.loud, warnings)]:
            self.say(line)
        if not visit.fresh or not warnings:
            return
        event = {
            **{name: getattr(cell, name) for name in ("suite", "model", "seed", "step", "tokens")},
            "run_id": str(visit.rows["run_id"].iloc[0]),
            "text": "\n".join([f"{cell.label} is worse than before", *warnings]),
            "drops": [change.to_json() for change in visit.drops],
        }
        for failed in hooks.call(config.watch, event):
            self.warn(failed)

    def _complain(self, sentence: str) -> None:
        """Warn with a sentence that was not said before."""
        if sentence not in self._said:
            self._said.add(sentence)
            self.warn(sentence)


def _said(error: Exception, step: int, root: Path, gone: bool) -> str:
    if gone and isinstance(error, (CheckpointError, ConfigError, OSError)):
        return f"step {step} of '{root}' disappeared before it was evaluated: it has no result."
    if isinstance(error, EvalrunError):
        return str(error)
    log.debug("step %d", step, exc_info=error)
    why = f"{type(error).__name__}: {first_line(error)}"
    return f"step {step} of '{root}' failed in a way that evalrun did not foresee ({why})."
