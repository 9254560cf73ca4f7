"""From what the user typed to the exact list of jobs: models x training steps x anything else, grouped by model."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Glob, Override
from hydra.errors import HydraException

from evalrun import checkpoints
from evalrun.checkpoints.suites import checkpoint_of, gone, known_steps, release_of, released_steps_of
from evalrun.checkpoints.suites.configured import ModelFiles, config_of
from evalrun.config.as_typed import element
from evalrun.config.asking import chat_in, generation_in
from evalrun.config.compose import compose, to_config
from evalrun.config.schema import Config, TrackingConf
from evalrun.config.steps import expand_steps
from evalrun.core import garbage
from evalrun.core.errors import ConfigError, EvalrunError
from evalrun.core.secrets import hide_password
from evalrun.grid import job_keys, override_checks, step_order
from evalrun.grid import overrides as ov
from evalrun.grid.chat_template_problems import chat_template_problems
from evalrun.grid.job_folders import FolderTemplate
from evalrun.grid.job_spec import JobSpec, JobTasks
from evalrun.grid.model_configs import ComposedConfigs, GroupConfig, ModelConfigs
from evalrun.grid.one_server import one_server_problems
from evalrun.grid.sweep_plan import Plan
from evalrun.journal import result_files

TasksByWords = dict[tuple[object, ...], JobTasks]


def planned(given: Sequence[Override]) -> tuple[Plan, list[str]]:
    """The plan of checked overrides, and the words that Hydra may save: without the password of a tracking URI.

    Raises:
        ConfigError: as `plan`.
    """
    check(given)
    words = ov.for_hydra(given)
    found = plan(tuple(words), are_checked=True)
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
    return plan(tuple(words), are_checked=True), words


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


@garbage.without_search()
def plan(arguments: tuple[str, ...], are_checked: bool = False) -> Plan:
    """Expand overrides, sweeps included, into jobs (inside a `compose.hydra_session`).

    Args:
        arguments: Hydra overrides as typed, without flags.
        are_checked: `check` has seen them.

    Raises:
        ConfigError: anything that cannot be right, all of it at once.
    """
    given = ov.parse(arguments)
    if not are_checked:
        override_checks.check(given)
    merged = {o.key_or_group: o for o in [*_experiment_params(given), *given]}
    override_checks.check([o for o in merged.values() if o not in given])
    model, step, task, stage = (merged.pop(key, None) for key in ("model", "step", "task", "stage"))
    if model is None:
        raise ConfigError(f"no model is given: name one with model=..., for example {_examples()}.")
    if step is None:
        raise ConfigError("no step is given: step=final, step=all, step=1000,2000 or step=2,4,...,143000.")
    axes = [_axis(o) for key, o in merged.items() if not key.startswith("hydra")]
    hydra = [o.input_line or "" for key, o in merged.items() if key.startswith("hydra")]
    if task is not None:
        axes.append([f"tasks={element(ov.words(task))}"])
    jobs: list[JobSpec] = []
    groups: list[GroupConfig] = []
    tasks: TasksByWords = {}
    problems: dict[str, None] = {}
    files = ModelFiles()
    configs = ModelConfigs(hydra, files)
    for name in _ordered(model, files):
        for fixed in itertools.product(*axes):
            try:
                for made in configs.of_stages(name, fixed, stage):
                    jobs += _jobs(made, ov.words(step), tasks, len(jobs), len(groups))
                    groups.append(made)
            except ConfigError as error:
                problems.update(dict.fromkeys(error.problems))
    problems.update(dict.fromkeys([*_namesakes(jobs), *one_server_problems(jobs), *chat_template_problems(jobs)]))
    if problems:
        raise ConfigError(problems)
    return Plan(step_order.with_turns(jobs), groups[0].folders.root, ComposedConfigs(groups))


def _namesakes(jobs: Sequence[JobSpec]) -> Iterator[str]:
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
        o.input_line
        for o in given
        if not o.is_sweep_override() and o.key_or_group not in ("task", "model", "step", "stage")
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


def _ordered(model: Override, files: ModelFiles) -> list[str]:
    """Model names as typed; those of a glob by size, since file names sort 12b before 70m."""
    names = ov.choices(model)
    if not isinstance(model.value(), Glob):
        return list(dict.fromkeys(names))
    return sorted(names, key=lambda name: (_size(config_of(name, files).model), name))


def _size(model: Any) -> int:
    """What models are ordered by; counting is left to when it is needed."""
    return int(model.n_params or model.n_params_nominal or 0)


def _jobs(shared: GroupConfig, step: Sequence[str], tasks: TasksByWords, first: int, group: int) -> Iterator[JobSpec]:
    """The jobs of one model under one combination of the other axes, in order of training.

    Args:
        shared: What they share.
        step: The words for their steps.
        tasks: Those of the jobs before; what these ask for is added.
        first: Number of the first.
        group: Which combination it is.

    Raises:
        ConfigError: a step that is not there, or is not whole yet.
    """
    config, folders = shared.config, shared.folders
    set_beside = repr((generation_in(config), chat_in(config)))
    asked = (*config.tasks, config.data_dir, config.trust_task_code, config.profile, set_beside)
    alike = tasks.setdefault(asked, JobTasks(config))
    if config.offline:
        checkpoints.go_offline()
    found = released_steps_of(config)
    waiting = [found.unfinished[int(word)] for word in step if word.isdigit() and int(word) in found.unfinished]
    if waiting:
        raise ConfigError(waiting)
    named = config.model.name if config.stage is None else f"{config.model.name} {config.stage}"
    steps = expand_steps(step, _with_gone(config, folders, found.steps, step, alike), named)
    for number, n in enumerate(steps, start=first):
        yield spec_of(replace(config, step=n), folders, alike, (*shared.overrides, f"step={n}"), number, group)


def spec_of(
    config: Config,
    folders: FolderTemplate,
    tasks: JobTasks,
    overrides: tuple[str, ...] = (),
    number: int = 0,
    group: int = 0,
) -> JobSpec:
    """The job of a config.

    Args:
        config: Its own.
        folders: Of the jobs of its model.
        tasks: Its tasks, shared with jobs that ask for the same.
        overrides: That make the config.
        number: Its place in the plan.
        group: Of the plan's composed configs, its own but for the step.

    Raises:
        ConfigError: a step that is not there, or whose tokens nobody knows.
        CheckpointError: what is needed to say where it is cannot be read: hub or files.
    """
    release = release_of(config, folders.root)
    cell = checkpoint_of(config, folders.root, release)
    folder = folders.folder(config.step, number)
    return JobSpec(cell, config, overrides, folder, tasks, release, group, number)


def _with_gone(
    config: Config, folders: FolderTemplate, present: Sequence[int], asked: Sequence[str], tasks: JobTasks
) -> list[int]:
    """The steps that are there, and those that are gone since all that is asked of them was computed.

    Raises:
        ConfigError: a step is named that is gone, and something is left to compute.
    """
    steps, problems = list(present), []
    for step, release in gone(config, folders.root).items():
        own = replace(config, step=step)
        lacks = _lacking(own, str(release.identity), folders.folder(step), tasks)
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


def _lacking(config: Config, identity: str, folder: Path, tasks: JobTasks) -> list[str]:
    """The tasks of a job that have no result of this checkpoint in its journal."""
    names = {path.name for path in (folder / result_files.FOLDER).glob("*.json")}
    _, keys = job_keys.keys_by_identity(config, identity, tasks.files)
    return [name for name, key in keys.items() if config.force or result_files.record_name(name, key) not in names]


def final_steps() -> dict[str, int]:
    """The last released step of every model that has a config and is known (inside a `compose.hydra_session`)."""
    found, files = {}, ModelFiles()
    for name in ov.models():
        try:
            config = config_of(name, files)
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
    return settings_of(words).tracking


def settings_of(words: Sequence[str]) -> Config:
    """What overrides set that concern no model (inside a `compose.hydra_session`); its model and step mean nothing."""
    given = ov.parse(words)
    override_checks.check(given)
    return to_config(compose(["model=pythia-70m", "step=0", *ov.for_hydra(given)]))
