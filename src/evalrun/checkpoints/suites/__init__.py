"""Suites: which checkpoints a model has, where each is, how many tokens it has seen, how large it is.

folders   one local folder: whole or not, what its training and its headers say
local     the checkpoints of a training run in a folder
unconverted  those of one that a command of the user's makes Hugging Face folders of
computed  those that were evaluated and are gone
step_units  what the numbers in the names of these count
released  those of a hub repository, from its list of revisions
sizes     exact parameter counts without reading weights
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from evalrun.checkpoints.formats.raw_checkpoint import Reading
from evalrun.checkpoints.suites import computed, local, released, sizes, step_units, unconverted
from evalrun.checkpoints.suites.called_steps import step_called
from evalrun.checkpoints.suites.released_steps import ReleasedStep, ReleasedSteps
from evalrun.checkpoints.suites.stage_begins import StageBegin
from evalrun.config import step_names
from evalrun.config.schema import CheckpointConf, Config, at_home, model_dirname, step_dirname
from evalrun.config.step_numbers import SAMPLES, TOKENS
from evalrun.config.steps import released_steps
from evalrun.config.training_stages import before, goes_on, in_stage, stage_of
from evalrun.core.columns import FIRST_STAGE
from evalrun.core.errors import CheckpointError, ConfigError, suggest
from evalrun.core.memory import forget, forget_one, remembered
from evalrun.core.records import Checkpoint

__all__ = [
    "ReleasedStep",
    "ReleasedSteps",
    "checkpoint_of",
    "gone",
    "known_steps",
    "location",
    "release_of",
    "released_steps_of",
    "stage_begin",
    "step_called",
]  # fmt: skip


def checkpoint_of(config: Config, jobs: Path = computed.ROOT, release: ReleasedStep | None = None) -> Checkpoint:
    """The cell of the grid that a job's config names.

    Args:
        config: The job's.
        jobs: The folder of all jobs' folders, where results of a checkpoint that is gone speak of it.
        release: What `release_of` says of it, where that is known.

    Raises:
        ConfigError: a step that is not there, or whose tokens nobody knows.
        CheckpointError: what is needed to say where it is cannot be read: hub or files.
    """
    release = release or release_of(config, jobs)
    begin, given = stage_begin(config), config
    config = in_stage(config)
    model, checkpoint = config.model, config.checkpoint
    root, is_local = location(config), checkpoint.folder is not None
    total, nonembedding = _parameters(config)
    return Checkpoint(
        suite=checkpoint.suite,
        model=begin.named(model.name),
        n_params=total,
        n_params_nonembedding=nonembedding,
        n_params_nominal=model.n_params_nominal or sizes.nominal(total),
        step=config.step + begin.adds_steps,
        tokens=_tokens(config, release) + begin.adds_tokens,
        seed=checkpoint.seed,
        location=str(Path(root) / release.place) if is_local else root,
        revision=None if is_local else release.place,
        tokenizer=model.tokenizer or release.tokenizer,
        **({} if given.stage is None else begin.of_cell(model.name, given.stage, config.step)),
    )


def stage_begin(config: Config) -> StageBegin:
    """Where a config's stage begins: at the step of the stage before that it was started from.

    Args:
        config: Its step does not matter.

    Raises:
        ConfigError: there is no such stage or step, or nobody knows how many tokens had been seen by then.
        CheckpointError: which steps the stage before has cannot be known.
    """
    if (found := stage_of(config)) is None:
        return StageBegin()
    stage, start = found
    earlier = before(config)
    steps = released_steps_of(earlier).steps
    own = steps[-1] if start is None else start
    if own not in steps:
        raise ConfigError(
            f"stage '{config.stage}' of {config.model.name} starts from step {own} of {earlier.stage or FIRST_STAGE}, "
            f"which is not there: {suggest(str(own), map(str, steps))}"
        )
    earlier = replace(earlier, step=own)
    inner, begin = in_stage(earlier), stage_begin(earlier)
    tokens = _tokens(inner, release_of(earlier)) + begin.adds_tokens
    leaves = own != steps[-1] or not goes_on(config)
    branch = begin.branch or (config.stage if leaves else None)
    return StageBegin(own + begin.adds_steps, tokens, stage.continues, branch)


def location(config: Config) -> str:
    """Where a model's checkpoints of one seed are: a repository of the hub, or a folder."""
    config = in_stage(config)
    path = config.model.path.replace("{seed}", str(config.checkpoint.seed))
    return str(at_home(path)) if config.checkpoint.folder is not None else path


def released_steps_of(config: Config, refresh: bool = False) -> ReleasedSteps:
    """All checkpoints of a config's model and seed; found once a session.

    Args:
        config: Its step does not matter.
        refresh: Look again, and ask the hub even if its answer is kept.

    Raises:
        ConfigError, CheckpointError: as `local.find` and `released.find` say.
    """
    config = in_stage(config)
    model, checkpoint = config.model, config.checkpoint
    asks_hub = refresh and checkpoint.folder is None
    given = (
        location(config), checkpoint.revision, checkpoint.folder, checkpoint.seed,
        json.dumps(checkpoint.steps), model.tokenizer is not None, _per_step(config) is None, checkpoint.unit, asks_hub,
        model.base, checkpoint.convert, checkpoint.converted, Reading(checkpoint.format, checkpoint.config),
    )  # fmt: skip
    if asks_hub:
        forget(_found)
    elif refresh:  # one folder of many
        forget_one(_found, *given)
    return _found(*given)


def gone(config: Config, jobs: Path = computed.ROOT) -> dict[int, ReleasedStep]:
    """The checkpoints of a config's run that have results and are not there any more, by step."""
    stage, config = config.stage, in_stage(config)
    model, checkpoint = config.model, config.checkpoint
    if checkpoint.folder is None or checkpoint.steps is not None:
        return {}
    found = released_steps_of(config)
    present = tuple(sorted({*found.by_step, *found.unfinished}))
    place = jobs / checkpoint.suite / model_dirname(model.name, checkpoint.seed)
    return computed.releases(location(config), place, present, step_dirname(stage, ""))


def known_steps(config: Config) -> list[int] | None:
    """The released steps where that costs no question to the hub; None where it would."""
    config = in_stage(config)
    if config.checkpoint.revision is not None and _is_listed_by_hub(config.checkpoint):
        kept = released.kept_listing(location(config))
        if kept is None:
            return None
    return released_steps_of(config).steps


def _is_listed_by_hub(checkpoint: CheckpointConf) -> bool:
    return checkpoint.steps is None or (
        isinstance(checkpoint.steps, list) and step_names.needs_list(str(checkpoint.revision))
    )


def _is_plain(checkpoint: CheckpointConf) -> bool:
    """Whether where a step is follows from the config alone."""
    pattern = checkpoint.revision or checkpoint.folder or ""
    is_named = pattern != local.AUTO and not step_names.needs_list(pattern)
    return isinstance(checkpoint.steps, list) and is_named and checkpoint.convert is None


def release_of(config: Config, jobs: Path = computed.ROOT) -> ReleasedStep:
    """What a suite says of a job's step: where it is, and whether it is gone or must not be scored.

    Args:
        config: The job's.
        jobs: The folder of all jobs' folders.

    Raises:
        ConfigError: the step is not there.
    """
    checkpoint, step = in_stage(config).checkpoint, config.step
    if _is_plain(checkpoint):
        return ReleasedStep(step, _place(checkpoint, step))
    found = released_steps_of(config)
    if step not in found.by_step:
        if step in (lost := gone(config, jobs)):
            return lost[step]
        missing = f"step {step} of {config.model.name} is not there: {suggest(str(step), map(str, found.steps))}"
        raise ConfigError(found.unfinished.get(step, missing))
    return found.by_step[step]


def _place(checkpoint: CheckpointConf, step: int) -> str:
    return str(checkpoint.revision or checkpoint.folder).format(step=step, seed=checkpoint.seed)


def _per_step(config: Config) -> int | None:
    """Tokens of a step as the config says; 0 where it says that they are not known."""
    said = config.checkpoint.tokens_per_step
    return config.model.tokens_per_step if said is None else said


def _tokens(config: Config, release: ReleasedStep) -> int:
    per_step = _per_step(config)
    if release.fault is not None:
        return release.tokens or 0  # it is refused before anything is filed
    if per_step is not None and release.unit != TOKENS:
        if release.unit == SAMPLES and config.checkpoint.unit is None:
            raise ConfigError(step_units.ask_for_unit(config.model.name, release))
        return release.step * per_step
    if release.tokens is not None:
        return release.tokens
    raise ConfigError(step_units.ask_for_tokens(config.model.name, release))


def _parameters(config: Config) -> tuple[int, int]:
    """All parameters, and those without embeddings: what the config says, else counted."""
    model, checkpoint = config.model, config.checkpoint
    if model.n_params is not None and model.n_params_nonembedding is not None:
        return model.n_params, model.n_params_nonembedding
    if checkpoint.convert is not None:
        counted = released_steps_of(config).parameters or unconverted.UNKNOWN
    elif checkpoint.folder is None:
        last = released_steps_of(config)
        counted = released.parameters(location(config), last.by_step[last.steps[-1]].place)
    else:
        reading = Reading(checkpoint.format, checkpoint.config)
        counted = released_steps_of(config).parameters or _counted(
            location(config), release_of(config).place, model.base, reading
        )
    return model.n_params or counted.total, model.n_params_nonembedding or counted.nonembedding


@remembered
def _counted(root: str, place: str, base: str | None, reading: Reading) -> sizes.Parameters:
    from evalrun.checkpoints.suites import folders

    if (why := local.uncountable(Path(root), place)) is not None:
        raise CheckpointError(why)
    return folders.parameters_of(Path(root) / place, base, reading)


@remembered
def _found(
    root: str, revision: str | None, folder: str | None, seed: int | None, steps: str, own_tokenizer: bool,
    counts_tokens: bool, unit: str | None, refresh: bool, base: str | None,
    convert: str | None, converted: str | None, reading: Reading,
) -> ReleasedSteps:  # fmt: skip
    """`released_steps_of` by plain values, so that it can be remembered.

    Args:
        root: Repository or folder, its seed filled in.
        revision: Pattern of the revisions' names; None for folders.
        folder: Pattern of the folders' names; None for revisions.
        seed: Of the training.
        steps: JSON of `checkpoint.steps`: null, a list, or a mapping step -> name.
        own_tokenizer: Whether the model names a tokenizer.
        counts_tokens: Whether tokens are known without the files.
        unit: What the numbers in names count; None: what the names say.
        refresh: Ask the hub even if its answer is kept.
        base: Of adapters, in place of the one that they name.
        convert: Command that makes Hugging Face folders of what is there.
        converted: Folder of what it made.
        reading: Of what a trainer wrote in a format of its own.

    Raises:
        ConfigError, CheckpointError: as `local.find`, `unconverted.find` and `released.find` say.
    """
    listed: Any = json.loads(steps)
    places = {int(step): str(name) for step, name in listed.items()} if isinstance(listed, dict) else None
    pattern = revision or folder or ""
    checkpoint = CheckpointConf(revision=revision, folder=folder, seed=seed, steps=listed, convert=convert)
    if _is_plain(checkpoint):
        return ReleasedSteps(
            {s: ReleasedStep(s, _place(checkpoint, s)) for s in released_steps(listed)}, origin="pinned"
        )
    if revision is None and convert is not None:
        found = unconverted.find(Path(root), pattern, places, own_tokenizer, unit, convert, converted)
    elif revision is None:
        found = local.find(Path(root), pattern, places, own_tokenizer, counts_tokens, unit, base, reading)
    elif places is not None:
        found = ReleasedSteps({step: ReleasedStep(step, places[step]) for step in sorted(places)}, origin="pinned")
    else:
        found = released.find(root, revision, seed, refresh)
    if isinstance(listed, list):
        wanted = set(released_steps(listed))
        return ReleasedSteps({s: r for s, r in found.by_step.items() if s in wanted}, found.unfinished, found.notes,
                        found.parameters, found.origin)  # fmt: skip
    return found
