"""Stages of training after pretraining: their names, and the config of a job of one as if it were a suite of its own.

A stage that starts from several steps of the one before is as many trainings: NAME with `start: [1000, 2000]` is
NAME@1000 and NAME@2000, and NAME alone means both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase

from evalrun.config.schema import CheckpointConf, Config, StageConf
from evalrun.config.step_names import pattern_problem
from evalrun.config.step_numbers import UNITS
from evalrun.config.steps import is_step, kind_problems, released_steps
from evalrun.core.columns import FIRST_STAGE as FIRST
from evalrun.core.errors import ConfigError, suggest

ALL = "all"
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]{0,59}")


def starts_of(stage: StageConf) -> list[int] | None:
    """The steps of the stage before that it was started from, ascending; None where it is one training.

    Raises:
        ConfigError: a list that holds something else than steps and ranges.
    """
    return released_steps(stage.start) if isinstance(stage.start, list) else None


def stage_names(checkpoint: CheckpointConf) -> list[str]:
    """The names that a suite's later stages have in `stage=`, one for each training, in order."""
    names: list[str] = []
    for stage in checkpoint.stages:
        starts = starts_of(stage)
        names += [stage.name] if starts is None else [f"{stage.name}@{start}" for start in starts]
    return names


def expand_stages(words: Sequence[str], is_glob: bool, checkpoint: CheckpointConf, model: str) -> list[str | None]:
    """Turn what stands after `stage=` into stages of one model; None is pretraining.

    Args:
        words: Names, or `all`; patterns where `is_glob`.
        is_glob: Whether they are patterns, as in glob(sft@*).
        checkpoint: The model's suite.
        model: Its name, for messages.

    Returns:
        In order of training, without repetition.

    Raises:
        ConfigError: a stage that there is not, a glob that matches nothing.
    """
    known: list[str | None] = [None, *stage_names(checkpoint)]
    grids = {stage.name: starts_of(stage) for stage in checkpoint.stages if starts_of(stage) is not None}
    chosen: list[str | None] = []
    for word in words:
        if not is_glob and word == ALL:
            found = known
        elif is_glob:
            found = [name for name in known if fnmatchcase(name or FIRST, word)]
        elif word in grids:
            found = [name for name in known if name is not None and name.partition("@")[0] == word]
        else:
            found = [name for name in known if (name or FIRST) == word]
        if not found:
            said = f"stage=glob({word}) of {model} matches nothing" if is_glob else f"{model} has no stage '{word}'"
            if not checkpoint.stages:
                raise ConfigError(f"{said}: suite {checkpoint.suite} names none (checkpoint.stages); leave stage= out.")
            names = [FIRST, *grids, *(name for name in known if name is not None)]
            raise ConfigError(f"{said}: {suggest(word, names)}")
        chosen += found
    return [name for name in known if name in chosen]


def stage_of(config: Config) -> tuple[StageConf, int | None] | None:
    """The stage that a job's config names, and the step that it starts from; None for pretraining.

    Returns:
        The step is as the suite says it: None where it is the last of the stage before.

    Raises:
        ConfigError: there is no such stage.
    """
    if config.stage is None:
        return None
    name, at, start = config.stage.partition("@")
    for stage in config.checkpoint.stages:
        if stage.name == name:
            starts = starts_of(stage)
            if starts is None and not at:
                return stage, stage.start
            if starts is not None and start.isdigit() and int(start) in starts:
                return stage, int(start)
    raise ConfigError(
        f"{config.model.name} has no stage '{config.stage}': {suggest(config.stage, [*stage_names(config.checkpoint)])}"
    )


def before(config: Config) -> Config:
    """The config of the stage that a stage starts from: of its one training from the last step, where it is several.

    Raises:
        ConfigError: there is no such stage.
    """
    found = stage_of(config)
    assert found is not None  # asked of later stages alone
    name = _name_before(config.checkpoint, found[0])
    if name == FIRST:
        return replace(config, stage=None)
    earlier = next(stage for stage in config.checkpoint.stages if stage.name == name)
    starts = starts_of(earlier)
    return replace(config, stage=name if starts is None else f"{name}@{starts[-1]}")


def _name_before(checkpoint: CheckpointConf, stage: StageConf) -> str:
    at = checkpoint.stages.index(stage)
    return stage.after or (checkpoint.stages[at - 1].name if at else FIRST)


def goes_on(config: Config) -> bool:
    """Whether a config's stage is the first that starts from the one before it; others are side branches."""
    found = stage_of(config)
    assert found is not None  # asked of later stages alone
    checkpoint = config.checkpoint
    name = _name_before(checkpoint, found[0])
    first = next(stage for stage in checkpoint.stages if _name_before(checkpoint, stage) == name)
    return first is found[0]


def in_stage(config: Config) -> Config:
    """A job's config with its stage's place, steps and tokens for the suite's own; itself for pretraining.

    Raises:
        ConfigError: there is no such stage.
    """
    if (found := stage_of(config)) is None:
        return config
    stage, start = found
    said = {"path": config.model.path, "start": "" if start is None else str(start)}
    whole = config.checkpoint
    revision, folder = stage.revision, stage.folder
    if revision is None and folder is None:
        revision, folder = whole.revision, whole.folder
    checkpoint = replace(
        whole,
        revision=_filled(revision, said),
        folder=_filled(folder, said),
        steps=stage.steps,
        unit=stage.unit,
        tokens_per_step=stage.tokens_per_step,
        stages=[],
    )
    tokens_per_step = None
    if stage.continues and stage.tokens_per_step is None:
        checkpoint = replace(checkpoint, tokens_per_step=whole.tokens_per_step)
        tokens_per_step = config.model.tokens_per_step
    model = replace(
        config.model,
        path=_filled(stage.path, said) or config.model.path,
        tokenizer=stage.tokenizer or config.model.tokenizer,
        base=stage.base,
        tokens_per_step=tokens_per_step,
    )
    return replace(config, stage=None, model=model, checkpoint=checkpoint)


def stage_notes(config: Config) -> Iterator[str]:
    """What is to be said of a job's stage: that its tokens are not known, and counted as none."""
    found = stage_of(config)
    if found is not None and found[0].tokens_per_step == 0:
        yield (
            f"how many tokens stage '{found[0].name}' of {config.model.name} takes is not known: its checkpoints are "
            "filed with the tokens seen before it."
        )


def _filled(pattern: str | None, said: dict[str, str]) -> str | None:
    if pattern is None:
        return None
    for field, text in said.items():
        pattern = pattern.replace(f"{{{field}}}", text)
    return pattern


def stage_problems(checkpoint: CheckpointConf) -> Iterator[str]:
    """Sentences about what cannot be right in `checkpoint.stages`: names, order, patterns, steps, starts."""
    earlier = [FIRST]
    for stage in checkpoint.stages:
        key = f"checkpoint.stages, '{stage.name}'"
        if not _NAME.fullmatch(stage.name) or stage.name == ALL:
            yield f"{key}: a stage's name is letters, digits and . _ + - (and not 'all')."
        if stage.name in earlier:
            yield f"{key}: two stages have this name ('{FIRST}' is the suite's own steps): rename one."
        if stage.after is not None and stage.after not in earlier:
            yield f"{key}: after is '{stage.after}', which is no stage above it: {suggest(stage.after, earlier)}"
        earlier.append(stage.name)
        yield from _own_problems(stage, key, checkpoint)


def _own_problems(stage: StageConf, key: str, checkpoint: CheckpointConf) -> Iterator[str]:
    """Sentences about one stage, each beginning with its key."""
    if stage.revision is not None and stage.folder is not None:
        yield f"{key}: it has a revision (hub) and a folder (local): leave one out."
    for name in ("revision", "folder"):
        pattern = _filled(getattr(stage, name), {"start": "1"})
        listed = isinstance(stage.steps, dict)  # gives each step its name
        if pattern not in (None, "auto") and not listed and (problem := pattern_problem(pattern, f"{key}: {name}")):
            yield problem
    if stage.unit is not None and stage.unit not in UNITS:
        yield f"{key}: unit is '{stage.unit}': {suggest(stage.unit, UNITS)}"
    if stage.tokens_per_step is not None and stage.tokens_per_step < 0:
        yield f"{key}: tokens_per_step is {stage.tokens_per_step}: it must be 1 token or more, or 0 for not known."
    yield from _list_problems(stage, key)
    starts = isinstance(stage.start, list)
    if starts and stage.continues:
        yield f"{key}: it continues the stage before, so it has one start: leave the list of start out."
    if starts and not any("{start}" in (text or "") for text in (stage.path, stage.revision, stage.folder)):
        yield f"{key}: start lists several steps, so path, revision or folder must say which with {{start}}."


def _list_problems(stage: StageConf, key: str) -> Iterator[str]:
    """Sentences about the steps of a stage, and those that it starts from."""
    start, steps = stage.start, stage.steps
    if start is not None and not isinstance(start, list) and not is_step(start):
        yield f"{key}: start is {start}: write a step of the stage before, a list of steps, or null for its last."
    yield from kind_problems(steps, f"{key}: steps")
    for name, listed in (("steps", steps), ("start", start)):
        if isinstance(listed, list):
            try:
                if not released_steps(listed):
                    yield f"{key}: {name} is []: list one step at least, or write null."
            except ConfigError as error:
                yield from (problem.replace("checkpoint.steps", f"{key}: {name}") for problem in error.problems)
