"""The whole grid of one command: its jobs, what they share, and how it is told."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from evalrun.checkpoints.suites import released_steps_of
from evalrun.config.schema import Config
from evalrun.config.training_stages import stage_notes
from evalrun.config.validate import BISECT, NEWEST
from evalrun.core.errors import ConfigError
from evalrun.core.text import counted
from evalrun.grid.job_spec import JobSpec
from evalrun.grid.model_configs import ComposedConfigs
from evalrun.tasks import groups
from evalrun.tasks.group_tree import single, task_groups

# How a sweep gets its checkpoints, not what it computes: it stays the same sweep without them.
_HOW = ("offline", "keep_checkpoints", "disk_budget", "tracking.upgrade", "order", "until", "until_levels")
_NOTES = 8  # lines of them at most


@dataclass(frozen=True)
class Plan:
    """The whole grid of one command."""

    jobs: tuple[JobSpec, ...]
    root: Path  # of the jobs' folders: hydra.sweep.dir
    composed: ComposedConfigs = field(  # whole configs, one a group of jobs
        default_factory=ComposedConfigs, repr=False, compare=False
    )

    @property
    def config(self) -> Config:
        """The config of the first job: what all jobs share (tracking, analysis) is read from it."""
        return self.jobs[0].config

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names as asked for: files, sets, lm-eval names."""
        return tuple(self.config.tasks)

    def check_tasks(self) -> None:
        """Read the tasks of all jobs.

        Raises:
            ConfigError: files that are no task configs, whose data is absent or lacks what they name, all at once; a
                label is expected of what is no task.
        """
        names = set()
        for tasks in {id(job.tasks): job.tasks for job in self.jobs}.values():
            names |= {file.name for file in tasks.checked()}
        # A task that this sweep leaves out may have a label: a study is often run in parts. What is none is a typo.
        others = [task for task in self.config.analysis.expected if task not in names]
        if unknown := groups.problems(others):
            raise ConfigError([f"analysis.expected: {problem}" for problem in unknown])

    @cached_property
    def sweep(self) -> str:
        """A short name of this grid: the same command has the same name, so that a rerun belongs to it."""
        overrides = [[word for word in job.overrides if _key(word) not in _HOW] for job in self.jobs]
        content = json.dumps([self.tasks, overrides])
        return hashlib.sha256(content.encode()).hexdigest()[:10]

    @property
    def final_steps(self) -> dict[str, int]:
        """Model -> the last step that its suite released of pretraining."""
        last = {job.cell.model: job.config for job in self.jobs if job.config.stage is None}
        return {model: released_steps_of(config).steps[-1] for model, config in last.items()}

    @cached_property
    def notes(self) -> list[str]:
        """What is to be said about the checkpoints that were found."""
        said: dict[str, None] = {}
        for config in {
            (job.config.model.path, job.cell.seed, job.config.stage): job.config for job in self.jobs
        }.values():
            said.update(dict.fromkeys(released_steps_of(config).notes))
            said.update(dict.fromkeys(stage_notes(config)))
            if config.checkpoint.tokens_per_step == 1:
                said[f"tokens_per_step=1: wherever {config.model.name} shows tokens, it shows steps."] = None
        said.update(dict.fromkeys(single(task_groups(self.tasks))))
        return list(said)

    def to_json(self) -> list[dict[str, Any]]:
        """The jobs for machines: model, step, revision, tokens, and what else tells them apart."""
        return [{**job.cell.to_json(), "overrides": list(job.overrides)} for job in self.jobs]

    def describe(self) -> str:
        """The grid for people: one line a model."""
        lines = []
        for (model, stage), group in itertools.groupby(self.jobs, key=lambda job: (job.cell.model, job.cell.stage)):
            cells = [job.cell for job in group]
            steps = sorted({cell.step if cell.stage_step is None else cell.stage_step for cell in cells})
            seeds = sorted({cell.seed for cell in cells if cell.seed is not None})
            extra = f"  seeds {','.join(map(str, seeds))}" if len(seeds) > 1 else ""
            of_stage = "" if stage is None else f"{stage} "
            lines.append(f"  {model:<14} {len(cells):>4} x {of_stage}step {_shorten(steps)}{extra}")
        is_staged = any(job.cell.stage for job in self.jobs)
        models = len({job.cell.trunk or job.cell.model for job in self.jobs}) if is_staged else len(lines)
        head = f"{counted(len(self.jobs), 'job')}: {counted(models, 'model')}, task {', '.join(self.tasks)}"
        lines += list(self._order())
        notes = [f"  note: {note}" for note in self.notes]
        if len(notes) > _NOTES:
            notes[_NOTES - 1 :] = [f"  and {len(notes) - _NOTES + 1} more: `python -m evalrun steps` lists all"]
        return "\n".join([head, *lines, *notes])

    def _order(self) -> Iterator[str]:
        """What goes out before what, where that is not the plan's own order."""
        of_turn = Counter(job.turn for job in self.jobs)
        sizes = [of_turn[turn] for turn in sorted(of_turn)]
        if self.config.order == NEWEST:
            yield "  order newest: the last step of every model first"
        elif self.config.order == BISECT:
            yield f"  order bisect: {_shorten(sizes)} jobs, one level of every model after the other"


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+")


def _shorten(steps: Sequence[int], most: int = 20) -> str:
    if len(steps) <= most:
        return " ".join(map(str, steps))
    return " ".join([*map(str, steps[:8]), "...", *map(str, steps[-3:])])
