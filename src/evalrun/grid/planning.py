"""From what the user typed to the exact list of jobs: models x training steps x anything else, grouped by model."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException

from evalrun import checkpoints
from evalrun.checkpoints.suites import checkpoint_of, gone, known_steps, released_steps_of
from evalrun.checkpoints.suites.computed import folder_of
from evalrun.checkpoints.suites.configured import config_of
from evalrun.config.as_typed import element
from evalrun.config.compose import compose, to_config
from evalrun.config.schema import Config, TrackingConf, model_dirname
from evalrun.config.steps import expand_steps
from evalrun.core.errors import ConfigError, EvalrunError
from evalrun.core.records import Checkpoint
from evalrun.core.secrets import hide_password
from evalrun.grid import job_keys, override_checks
from evalrun.grid import overrides as ov
from evalrun.journal import result_files
from evalrun.tasks import groups

# How a sweep gets its checkpoints, not what it computes: it stays the same sweep without them.
_HOW = ("offline", "keep_checkpoints", "disk_budget", "tracking.upgrade")
_NOTES = 8  # lines of them at most


@dataclass(frozen=True)
class Job:
    """One checkpoint to evaluate, and the Hydra overrides that make its config."""

    cell: Checkpoint
    config: Config
    overrides: tuple[str, ...]


@dataclass(frozen=True)
class Plan:
    """The whole grid of one command."""

    jobs: tuple[Job, ...]

    @property
    def config(self) -> Config:
        """The config of the first job: what all jobs share (tracking, analysis) is read from it."""
        return self.jobs[0].config

    @property
    def tasks(self) -> tuple[str, ...]:
        """Names as asked for: files, sets, lm-eval names."""
        return tuple(self.config.tasks)

    @cached_property
    def sweep(self) -> str:
        """A short name of this grid: the same command has the same name, so that a rerun belongs to it."""
        overrides = [[word for word in job.overrides if _key(word) not in _HOW] for job in self.jobs]
        content = json.dumps([self.tasks, overrides])
        return hashlib.sha256(content.encode()).hexdigest()[:10]

    @property
    def final_steps(self) -> dict[str, int]:
        """Model -> the last step that its suite released."""
        return {job.cell.model: released_steps_of(job.config).steps[-1] for job in self.jobs}

    @cached_property
    def notes(self) -> list[str]:
        """What is to be said about the checkpoints that were found."""
        said: dict[str, None] = {}
        for config in {(job.config.model.path, job.cell.seed): job.config for job in self.jobs}.values():
            said.update(dict.fromkeys(released_steps_of(config).notes))
            if config.checkpoint.tokens_per_step == 1:
                said[f"tokens_per_step=1: wherever {config.model.name} shows tokens, it shows steps."] = None
        for name in groups.averaged(self.tasks):
            said[f"{name} asks for a mean over its tasks, which is not computed: read each task's own value."] = None
        return list(said)

    def to_json(self) -> list[dict[str, Any]]:
        """The jobs for machines: model, step, revision, tokens, and what else tells them apart."""
        return [{**asdict(job.cell), "overrides": list(job.overrides)} for job in self.jobs]

    def describe(self) -> str:
        """The grid for people: one line a model."""
        lines = []
        for model, group in itertools.groupby(self.jobs, key=lambda job: job.cell.model):
            cells = [job.cell for job in group]
            steps = sorted({cell.step for cell in cells})
            seeds = sorted({cell.seed for cell in cells if cell.seed is not None})
            extra = f"  seeds {','.join(map(str, seeds))}" if len(seeds) > 1 else ""
            lines.append(f"  {model:<14} {len(cells):>4} x step {_shorten(steps)}{extra}")
        jobs, models = len(self.jobs), len(lines)
        head = f"{jobs} job{'s' * (jobs > 1)}: {models} model{'s' * (models > 1)}, task {', '.join(self.tasks)}"
        notes = [f"  note: {note}" for note in self.notes]
        if len(notes) > _NOTES:
            notes[_NOTES - 1 :] = [f"  and {len(notes) - _NOTES + 1} more: `python -m evalrun steps` lists all"]
        return "\n".join([head, *lines, *notes])


def _key(word: str) -> str:
    return word.partition("=")[0].lstrip("+")


def _shorten(steps: Sequence[int], most: int = 20) -> str:
    if len(steps) <= most:
        return " ".join(map(str, steps))
    return " ".join([*map(str, steps[:8]), "...", *map(str, steps[-3:])])


def planned(given: Sequence[Override]) -> tuple[Plan, list[str]]:
    """The plan of checked overrides, and the words that Hydra may save: without the password of a tracking URI.

    Raises:
        ConfigError: as `plan`.
    """
    check(given)
    words = ov.for_hydra(given)
    found = plan(tuple(words))
    if problems := list(
        override_checks.unresolved([o for o in given if o.key_or_group.startswith("hydra.")], found.jobs[0].overrides)
    ):
        raise ConfigError(problems)
    uri = found.config.tracking.uri
    if uri is None or hide_password(uri) == uri:
        return found, words
    words = [
        *ov.for_hydra([o for o in given if o.key_or_group != "tracking.uri"]),
        f"tracking.uri='{hide_password(uri)}'",
    ]
    return plan(tuple(words)), words


def check(given: Sequence[Override]) -> None:
    """Check overrides one by one and, where some are wrong, what the others come to.

    Raises:
        ConfigError: all mistakes together.
    """
    found = override_checks.mistakes(given)
    if not found:
        return
    problems = dict.fromkeys(sentence for _, sentence in found)
    wrong = [override for override, _ in found]
    rest = [o for o in given if o not in wrong and not o.key_or_group.startswith("hydra")]
    if not {o.key_or_group for o in given if o not in rest} & {"model", "step", "experiment"}:
        try:
            plan(tuple(ov.for_hydra(rest)))
        except ConfigError as error:
            problems.update(dict.fromkeys(error.problems))
        except EvalrunError:  # what cannot be had now, such as a list of the hub's, can wait for the right words
            pass
    raise ConfigError(problems)


@lru_cache(maxsize=4)
def plan(arguments: tuple[str, ...]) -> Plan:
    """Expand overrides, sweeps included, into jobs (inside a `compose.hydra_session`).

    Args:
        arguments: Hydra overrides as typed, without flags.

    Raises:
        ConfigError: anything that cannot be right, all of it at once.
    """
    given = ov.parse(arguments)
    override_checks.check(given)
    merged = {o.key_or_group: o for o in [*_experiment_params(given), *given]}
    override_checks.check(list(merged.values()))
    model, step, task = (merged.pop(key, None) for key in ("model", "step", "task"))
    if model is None:
        raise ConfigError(f"no model is given: name one with model=..., for example {_examples()}.")
    if step is None:
        raise ConfigError("no step is given: step=final, step=all, step=1000,2000 or step=2,4,...,143000.")
    axes = [_axis(o) for key, o in merged.items() if not key.startswith("hydra")]
    if task is not None:
        axes.append([f"tasks={element(ov.words(task))}"])
    jobs: list[Job] = []
    problems: dict[str, None] = {}
    for name in _ordered(model):
        for fixed in itertools.product(*axes):
            try:
                jobs += _jobs(name, fixed, ov.words(step))
            except ConfigError as error:
                problems.update(dict.fromkeys(error.problems))
    problems.update(dict.fromkeys(_namesakes(jobs)))
    if problems:
        raise ConfigError(problems)
    return Plan(tuple(jobs))


def _namesakes(jobs: Sequence[Job]) -> Iterator[str]:
    """Sentences about models of one name that lie in different places: their results would be taken for one's."""
    places: dict[tuple[str, str], str] = {}
    for job in jobs:
        path = job.config.model.path
        if (other := places.setdefault((job.cell.suite, job.cell.model), path)) != path:
            yield (
                f"'{other}' and '{path}' would both be called '{job.cell.model}' in suite {job.cell.suite}: evaluate "
                "one at a time and give it another name with model.name=, or rename its folder."
            )


def _experiment_params(given: Sequence[Override]) -> list[Override]:
    """What an experiment (or a user's hydra.sweeper.params) asks to sweep; the command line wins over it."""
    plain = [
        o.input_line for o in given if not o.is_sweep_override() and o.key_or_group not in ("task", "model", "step")
    ]
    hydra = compose(plain, partial=True).hydra
    if hydra.job.chdir:
        raise ConfigError(
            "hydra.job.chdir is true: each job would start in a folder of its own, where relative paths of models and "
            "data lead nowhere; leave it out."
        )
    params = hydra.sweeper.params or {}
    return ov.parse([f"{key}={value}" for key, value in params.items()])


def _axis(override: Override) -> list[str]:
    if override.is_sweep_override():
        names: Any = ov.choices(override) if isinstance(override.value(), Glob) else override.sweep_iterator()
        return [f"{override.get_key_element()}={element(name)}" for name in names]
    return [override.input_line or ""]


def _ordered(model: Override) -> list[str]:
    """Model names as typed; those of a glob by size, since file names sort 12b before 70m."""
    names = ov.choices(model)
    if not isinstance(model.value(), Glob):
        return list(dict.fromkeys(names))
    return sorted(names, key=lambda name: (_size(config_of(name).model), name))


def _size(model: Any) -> int:
    """What models are ordered by; counting is left to when it is needed."""
    return int(model.n_params or model.n_params_nominal or 0)


def _jobs(model: str, fixed: Sequence[str], step: Sequence[str]) -> list[Job]:
    """The jobs of one model under one combination of the other axes, in order of training."""
    shared = [f"model={element(model)}", *fixed]
    config = to_config(compose([*shared, "step=0"]))
    if config.offline:
        checkpoints.go_offline()
    found = released_steps_of(config)
    waiting = [found.unfinished[int(word)] for word in step if word.isdigit() and int(word) in found.unfinished]
    if waiting:
        raise ConfigError(waiting)
    jobs = []
    for number in expand_steps(step, _with_gone(config, found.steps, step), config.model.name):
        own = replace(config, step=number)
        jobs.append(Job(checkpoint_of(own), own, (*shared, f"step={number}")))
    return jobs


def _with_gone(config: Config, present: Sequence[int], asked: Sequence[str]) -> list[int]:
    """The steps that are there, and those that are gone since all that is asked of them was computed.

    Raises:
        ConfigError: a step is named that is gone, and something is left to compute.
    """
    steps, problems = list(present), []
    for step, release in gone(config).items():
        own = replace(config, step=step)
        folder = folder_of(own.checkpoint.suite, model_dirname(own.model.name, own.checkpoint.seed), step)
        lacks = _lacking(own, str(release.identity), folder)
        if not lacks:
            steps.append(step)
        elif str(step) in asked:
            problems.append(
                f"step {step} of {own.model.name} is gone: {', '.join(lacks)} cannot be computed; leave the "
                "step out (its other results stay), or restore its folder."
            )
    if problems:
        raise ConfigError(problems)
    return sorted(steps)


def _lacking(config: Config, identity: str, folder: Path) -> list[str]:
    """The tasks of a job that have no result of this checkpoint in its journal."""
    names = {path.name for path in (folder / result_files.FOLDER).glob("*.json")}
    _, keys = job_keys.keys_by_identity(config, identity, job_keys.files_of_sweep(config))
    return [name for name, key in keys.items() if config.force or result_files.record_name(name, key) not in names]


def final_steps() -> dict[str, int]:
    """The last released step of every model that has a config and is known (inside a `compose.hydra_session`)."""
    found = {}
    for name in ov.models():
        try:
            config = config_of(name)
            if steps := known_steps(config):
                found[config.model.name] = steps[-1]
        except (EvalrunError, HydraException):
            continue  # a config that cannot be composed is said when it is asked for
    return found


def _examples() -> str:
    return (
        "model=pythia-70m, 'model=glob(*)' with its quotes, or model=local path=runs/my-model "
        "(`python -m evalrun suites` lists what there is)"
    )


def tracking_of(words: Sequence[str]) -> TrackingConf:
    """The store that overrides name, for commands that concern no model (inside a `compose.hydra_session`)."""
    given = ov.parse(words)
    override_checks.check(given)
    return to_config(compose(["model=pythia-70m", "step=0", *ov.for_hydra(given)])).tracking
