"""What a watch says of a checkpoint that has results: one look, at its part of the level, noted in the store."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from evalrun import study
from evalrun.commands.watch import alarm
from evalrun.commands.watch.alarm import Change
from evalrun.commands.watch.store_view import StoreView
from evalrun.config.schema import Config, model_dirname
from evalrun.core.errors import TrackingError
from evalrun.core.records import Checkpoint
from evalrun.core.tokenizer_changes import tokenizer_changes
from evalrun.grid.job_spec import JobTasks
from evalrun.statistics.alpha_spending import level_of_look
from evalrun.statistics.items.clusters import unclustered
from evalrun.tracking import Store
from evalrun.tracking.alarm_tags import alarms_of, looks_of
from evalrun.tracking.layout import RunEntry
from evalrun.tracking.sweep_tags import sweeps_of

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.statistics.items.values import Items


@dataclass(frozen=True)
class Visit:
    """What became of one checkpoint."""

    cell: Checkpoint
    run_id: str
    fresh: bool  # judged now, and not a checkpoint that others had evaluated
    rows: pd.DataFrame | None  # of the tidy table: one a task; None of one that was judged before
    changes: Sequence[Change] = ()  # of one that was judged now
    fallen: tuple[str, ...] = ()  # tasks that fell significantly
    warnings: tuple[str, ...] = ()  # a sentence for each
    look: int = 0  # its number over the training; 0 where there was nothing to compare with
    level: float = 0.0  # of its alarm
    compared: str = ""  # names what was looked at

    @property
    def step(self) -> int:
        """The checkpoint's."""
        return self.cell.step

    @property
    def drops(self) -> list[Change]:
        """The changes that are significant falls."""
        return [change for change in self.changes if change.is_drop]


@dataclass
class Judge:
    """Compares checkpoints of any number of runs that are scored in one way.

    Args:
        config: Of any of them.
        store: Where results are.
        view: The same as of this look.
        tasks: That are compared.
        complain: Gets a sentence for what cannot be believed or compared as asked; once each.
    """

    config: Config
    store: Store
    view: StoreView
    tasks: JobTasks
    complain: Callable[[str], None]
    faults: int = 0  # results of checkpoints that cannot be believed
    _doubts: dict[tuple[str, str], str] = field(default_factory=dict)  # run and task -> why it is not believed

    def __post_init__(self) -> None:
        self._clusters = study.clusters_of(self.config)

    def known(self, suite: str, run_key: str) -> Visit | None:
        """The verdict on a checkpoint that was looked at before, by any watch; None where there is none."""
        entry = self.view.filed(suite).get(run_key)
        if entry is None or entry.checkpoint is None:
            return None
        compared = self._compared(entry)
        look = looks_of(entry.tags).get(compared)
        if look is None or look.level is None:
            return None
        said = tuple(sentence for sentence, drop in alarms_of(entry.tags) if drop.get("task") in look.fallen)
        given = look.fallen, said, look.number, look.level, compared
        return Visit(entry.checkpoint, entry.run_id, False, None, (), *given)

    def judge(self, suite: str, run_key: str, sweep: str | None, computed: bool) -> Visit:
        """Hold a checkpoint against those before it, at the part of the level that is its look's.

        Args:
            suite: The checkpoint's.
            run_key: Of its results.
            sweep: The watch on its run: what that evaluated is new, whoever finishes the work.
            computed: It was evaluated by this process.

        Raises:
            TrackingError: its results are not in the store, or that fails.
        """
        mine = self.view.again(suite, run_key)
        if mine is None or not mine.tasks or mine.checkpoint is None:
            raise TrackingError(f"results of {suite} are not in {self.store.uri} yet.")
        alike = [run for run in self.view.filed(suite).values() if _is_alike(run, mine)]
        before = [run for run in alike if run.step == mine.step and run.run_key != run_key]
        if computed and before:
            other = "settings" if any(_files(run) == _files(mine) for run in before) else "files"
            self.complain(f"{mine.checkpoint.label} was evaluated before with other {other}: its newest result counts.")
        self._say_tokenizers(mine, alike)
        earlier = [run.run_id for run in alike if run.step < mine.step]
        fresh = computed or (sweep is not None and sweep in sweeps_of(mine.tags))
        compared = self._compared(mine)
        if not earlier:
            return Visit(mine.checkpoint, mine.run_id, fresh, self.rows(mine.run_id), compared=compared)
        look = self.store.alarms.take_look(suite, mine.run_id, compared)
        level = level_of_look(self.config.analysis.alpha, look, self.config.watch.half_by)
        rows, changes = self._changes(mine, earlier, level)
        fell = tuple(dict.fromkeys(change.task for change in changes if change.is_drop))
        said = [change.sentence for change in changes if change.is_drop]
        details = [change.to_json() for change in changes if change.is_drop]
        self.store.alarms.flag(mine.run_id, said, details, [file.name for file in self.tasks.files])
        return Visit(mine.checkpoint, mine.run_id, fresh, rows, changes, fell, tuple(said), look, level, compared)

    def _say_tokenizers(self, mine: RunEntry, alike: Sequence[RunEntry]) -> None:
        """Say that the tokenizer changed, at the first checkpoint that has another one."""
        before = max((run for run in alike if run.step < mine.step), key=lambda run: run.step, default=mine)
        name = model_dirname(mine.model, mine.seed)
        for said in tokenizer_changes((name, run.step, run.tokenizer) for run in (before, mine)):
            self.complain(said)

    def rows(self, run_id: str) -> pd.DataFrame:
        """A checkpoint's results: one row a task, of the tidy table."""
        return self._table([run_id]).sort_values("task", ignore_index=True)

    def conclude(self, visit: Visit) -> None:
        """Note that a verdict was told; until then it is made again, and told again, after a restart."""
        self.store.alarms.conclude(visit.run_id, visit.compared, visit.level, visit.fallen)

    def _compared(self, entry: RunEntry) -> str:
        """A name for what is compared: which results, by which metric."""
        tasks = {file.name: entry.tasks.get(file.name) for file in self.tasks.files}
        said = json.dumps([sorted(tasks.items()), self.config.analysis.metric])
        return hashlib.sha256(said.encode()).hexdigest()[:8]

    def _table(self, run_ids: Sequence[str]) -> pd.DataFrame:
        """The newest row of each step and task, of these runs: the primary metric, or the one that is asked for."""
        metric = self.config.analysis.metric
        table = study.with_metric(self.config, self.store, self.store.table_of(run_ids))
        table = table[table["primary"] if metric is None else table["metric"] == metric]
        table = table[table["task"].isin([file.name for file in self.tasks.files])]
        return table.sort_values("finished_ms", kind="stable").drop_duplicates(["step", "task"], keep="last")

    def _changes(self, mine: RunEntry, earlier: Sequence[str], level: float) -> tuple[pd.DataFrame, list[Change]]:
        """A checkpoint's rows, and its changes against the checkpoint before and the best before.

        Args:
            mine: Its run.
            earlier: Run ids of the checkpoints before it.
            level: Of the alarm.
        """
        analysis, tasks = self.config.analysis, [file.name for file in self.tasks.files]
        table = self._table([mine.run_id, *earlier])
        with self.store.items(zip(table["run_id"], table["task"], strict=True)) as items:
            table = self._believed(table, items, mine.run_id)
            rows = table[table["run_id"] == mine.run_id].sort_values("task", ignore_index=True)
            before = table[table["step"] < mine.step]
            given = analysis.corrections[0], analysis.alpha, analysis.draws, analysis.seed
            changes = alarm.changes(rows, before, items, *given, self._clusters, level)
        for why in unclustered(tasks, self._clusters):
            self.complain(f"items not clustered: {why}.")
        return rows, changes

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
                self.complain(f"step {step}: {task} is left out, because {self._doubts[key]}.")
        return table[sound]


def _files(run: RunEntry) -> tuple[str, str]:
    """What of a checkpoint's files its results depend on."""
    return run.tags.get("evalrun.weights", ""), run.tokenizer


def _is_alike(run: RunEntry, mine: RunEntry) -> bool:
    """Whether a run is of the same training, has results, and was scored in the same way."""
    one, other = run.checkpoint, mine.checkpoint
    if one is None or other is None or not run.tasks:
        return False
    same = (one.model, one.seed, one.stage) == (other.model, other.seed, other.stage)
    return same and run.settings == mine.settings
