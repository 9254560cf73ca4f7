"""The checkpoints of a training run in a folder: found by their names, read as far as they must be."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from evalrun.checkpoints import folder_notes
from evalrun.checkpoints.contents import is_raw
from evalrun.checkpoints.formats.raw_checkpoint import RawCheckpoint, Reading, know
from evalrun.checkpoints.suites import folders, losses, passed_over, run_tokenizers, step_units
from evalrun.checkpoints.suites.folders import TrainerState
from evalrun.checkpoints.suites.released_steps import ReleasedStep, ReleasedSteps
from evalrun.checkpoints.suites.run_tokenizers import Looks
from evalrun.config import step_names
from evalrun.config.step_names import StepName
from evalrun.config.step_numbers import STEPS
from evalrun.core.errors import ConfigError, suggest

AUTO = "auto"
_LOOKED_FOR = (
    "folders named by their step, such as checkpoint-500, step500 or 500, each with config.json and weights, or what a "
    "trainer writes (conf/format)"
)


def find(
    root: Path,
    pattern: str,
    places: Mapping[int, str] | None = None,
    own_tokenizer: bool = False,
    counts_tokens: bool = True,
    unit: str | None = None,
    base: str | None = None,
    reading: Reading | None = None,
) -> ReleasedSteps:
    """Find the checkpoints of a run.

    Args:
        root: The run's folder.
        pattern: What their folders are called, such as checkpoint-{step}; `auto`: by whatever names hold one number.
        places: Step -> folder, where they are listed.
        own_tokenizer: A tokenizer is named for all of them.
        counts_tokens: Whether the tokens that the training counted are wanted.
        unit: What the numbers in names count, one of step_words.UNITS; None: what the names say.
        base: Of adapters, in place of the one that they name.
        reading: Of what a trainer wrote in a format of its own.

    Raises:
        ConfigError: no such folder, no checkpoints in it, or those of two runs.
        CheckpointError: parameters that cannot be counted.
    """
    if not root.is_dir():
        raise ConfigError(no_folder(root))
    looks = cache(lambda name: folders.look(root / name))
    named = _listed(root, places) if places is not None else _named(root, pattern, looks)
    if unit is not None and places is None:
        named = [step_units.taken_as(one, unit) for one in named]
    reading = reading or Reading()
    states = {one.step: folders.state_of(root / one.name) for one in named}
    unfinished, shapes = _looked_at(root, named, looks, states if places is None else {})
    whole = [one for one in named if one.step not in unfinished]
    if not whole:
        raise ConfigError(f"no whole checkpoint in '{root}': {unfinished[named[0].step]}")
    for one in whole:
        if states[one.step] is None and is_raw(root / one.name):
            states[one.step] = folders.raw_state(root / one.name, reading)
        _check_step(one, states[one.step], root)
    _check_one_run(root, whole, states, counts_tokens)
    faults = _strangers(root, whole, shapes)
    sound = [one for one in whole if one.step not in faults]
    parameters = folders.parameters_of(root / sound[0].name, base, reading)
    found: dict[int, ReleasedStep] = {}
    for one in whole:
        state = states[one.step]
        tokens = folders.tokens_of(state, parameters.counted) if state and counts_tokens else None
        found[one.step] = ReleasedStep(
            one.step, one.name, tokens or one.tokens, unit=one.unit, fault=faults.get(one.step)
        )
    doubt = losses.doubt((state.losses for state in states.values() if state is not None), str(root))
    said = [*step_units.notes(root, named, unit), *([doubt] if doubt else [])]
    if (adapter := folders.adapter_of(root / sound[0].name, base)) is not None:
        said.append(f"the checkpoints of '{root}' are adapters ({adapter.kind}) on the base '{adapter.base}'.")
    if is_raw(root / sound[0].name):
        said.append(_said_of_format(root, know(root / sound[0].name, reading, f"'{root / sound[0].name}'")))
    notes = [*said, *unfinished.values(), *faults.values()]
    if places is None:
        notes += passed_over.sentences(root, [one.name for one in named])
        last, note = _at_root(root, named[-1].step, sound[-1].name, parameters.counted if counts_tokens else 0)
        found.update({last.step: last} if last else {})
        notes += [note] if note else []
    if not own_tokenizer:
        found = run_tokenizers.said(root, found, looks, base, reading.config)
    folder_notes.notes().save()
    return ReleasedSteps(dict(sorted(found.items())), unfinished, tuple(notes), parameters, "folder")


def no_folder(root: Path) -> str:
    """What to say of a run's folder that is not there."""
    beside = root.absolute().parent
    there = [entry.name for entry in beside.iterdir() if entry.is_dir()] if beside.is_dir() else []
    few = there and beside != Path(beside.anchor)  # the names at the top of a disk help nobody
    hint = suggest(root.name, there) if few else "check where it is."
    return f"folder '{root}' (path=, or path in a file of conf/model/) is not there: {hint}"


def uncountable(root: Path, place: str) -> str | None:
    """A sentence about a folder in a run's whose parameters cannot be counted; None: they can."""
    for folder in (root, root / place):
        if not folder.is_dir():
            return no_folder(folder)
    why = folders.unfinished(root / place)
    return why and (
        f"the parameters of '{root / place}' cannot be counted: it {why}. They may be said as n_params and "
        "n_params_nonembedding in the model's file in conf/model/."
    )


def _listed(root: Path, places: Mapping[int, str]) -> list[StepName]:
    absent = [f"'{name}' (step {step})" for step, name in places.items() if not (root / name).is_dir()]
    if absent:
        raise ConfigError(f"checkpoint.steps names folders that are not in '{root}': {', '.join(absent)}.")
    return [StepName(name, step) for step, name in sorted(places.items())]


def _named(root: Path, pattern: str, looks: Looks) -> list[StepName]:
    """The folders of one run's checkpoints, whole or not."""
    below = passed_over.names_below(root)
    if pattern != AUTO:
        found = step_names.matching(below, pattern)
        if not found:
            near = ", ".join(f"'{name}'" for name in sorted(below)[:4]) or "no folder"
            raise ConfigError(
                f"no checkpoints in '{root}': nothing is named as checkpoint.folder={pattern} says ({near})."
            )
        return found
    candidates = step_names.parse_numbered_names(below)
    families = Counter(one.family for one in candidates if looks(one.name).is_model)
    if not families:
        raise ConfigError(_nothing(root, below))
    if len(families) > 1:
        examples = [next(one.name for one in candidates if one.family == family) for family in sorted(families)]
        first = min(families)
        remedy = "move one away" if "#" in first else f"choose one, such as 'checkpoint.folder=\"{first}\"'"
        raise ConfigError(
            f"'{root}' holds two runs or more, by the names of their checkpoints: {', '.join(examples)}; {remedy}."
        )
    (family,) = families
    step_units.refuse_fractions(root, [one for one in candidates if one.family == family])
    return step_names.unique([one for one in candidates if one.family == family], f"'{root}'")


def _nothing(root: Path, below: Sequence[str]) -> str:
    """Why there is nothing, and where there may be something."""
    if folders.looks_like_model(root):
        own = step_names.parse_numbered_names([root.name])
        if own and (alike := _count(root.parent)):
            return (
                f"'{root}' is one checkpoint of a run with {alike}: say path={root.parent} step={own[0].step} for it, "
                f"path={root.parent} step=all for all."
            )
        return (
            f"'{root}' is one model, and nothing says its step: name the folder that holds all checkpoints of the run, "
            "or say 'checkpoint.steps={1000: .}' with its step."
        )
    deeper = [name for name in below if not name.startswith(".") and _count(root / name)]
    if deeper:
        rest = f" (or {', '.join(deeper[1:4])})" if deeper[1:] else ""
        return f"no checkpoints in '{root}' itself, but in '{root / deeper[0]}'{rest}: say path={root / deeper[0]}."
    hint = "; for a format that nothing here reads, give a command with checkpoint.convert=" if below else ""
    return f"no checkpoints in '{root}': looked for {_LOOKED_FOR}, and found {_seen(below)}{hint}."


def _seen(below: Sequence[str]) -> str:
    visible = sorted(name for name in below if not name.startswith("."))
    more = ", ..." if len(visible) > 4 else ""
    return f"{', '.join(visible[:4])}{more}" if visible else "no folder"


def _count(root: Path) -> int:
    """How many folders below look like checkpoints."""
    try:
        below = [entry.name for entry in root.iterdir() if entry.is_dir()]
    except OSError:
        return 0
    return sum(folders.looks_like_model(root / one.name) for one in step_names.parse_numbered_names(below))


def _looked_at(
    root: Path, named: Sequence[StepName], looks: Looks, states: Mapping[int, TrainerState | None]
) -> tuple[dict[int, str], dict[int, dict[str, Any]]]:
    """Step -> a sentence for each checkpoint that is not whole, and the shape of each that is.

    A Trainer writes its state last.
    """
    found, shapes, has_states = {}, {}, any(states.values())
    for one in named:
        look = looks(one.name)
        why = look.unfinished
        if why is None and has_states and states[one.step] is None:
            why = f"has no {folders.STATE}{folders.CUT_SHORT}"
        if why is not None:
            found[one.step] = f"step {one.step} of '{root}' is passed over: '{one.name}' {why}."
        else:
            shapes[one.step] = look.shape
    return found, shapes


def _check_step(one: StepName, state: TrainerState | None, root: Path) -> None:
    if state is not None and state.step != one.step and one.unit == STEPS:
        raise ConfigError(
            f"'{root / one.name}' is taken for step {one.step}, and its {state.said_by} says step {state.step}: rename "
            "it, or move it away."
        )


def _check_one_run(
    root: Path, whole: Sequence[StepName], states: Mapping[int, TrainerState | None], counts_tokens: bool
) -> None:
    """See that what the Trainer wrote at one step follows from what it wrote at those before.

    Raises:
        ConfigError: two runs saved into one folder.
    """
    known = [(one, state) for one in whole if (state := states[one.step]) is not None]
    for (one, before), (other, after) in pairwise(known):
        differ = losses.first_difference(before.losses, after.losses)
        if differ is not None:
            why = f"log different losses at step {differ}"
        elif counts_tokens and before.tokens_seen > 0 and after.tokens_seen <= before.tokens_seen:
            why = f"have seen {before.tokens_seen} and then {after.tokens_seen} tokens"
        else:
            continue
        raise ConfigError(
            f"'{root}' holds two runs: '{one.name}' and '{other.name}' {why}; move one run's checkpoints away, or list "
            "those of the other with checkpoint.steps={step: folder}."
        )


def _strangers(root: Path, whole: Sequence[StepName], shapes: Mapping[int, dict[str, Any]]) -> dict[int, str]:
    """Step -> a sentence for each checkpoint whose vocabulary or architecture is not that of most others."""
    votes = Counter(tuple(shape.items()) for shape in shapes.values())
    usual = votes.most_common(1)[0][0]
    sibling = next(one for one in whole if tuple(shapes[one.step].items()) == usual)
    found = {}
    for one in whole:
        own, others = shapes[one.step], shapes[sibling.step]
        differ = [key for key in {**own, **others} if own.get(key) != others.get(key)]
        if differ:
            said, usually = f"has {differ[0]} {own.get(differ[0])}", f"has {others.get(differ[0])}"
            if own.keys() != others.keys():
                said, usually = _kind(own), _kind(others)
            found[one.step] = (
                f"step {one.step} of '{root}' is refused: '{one.name}' {said} and '{sibling.name}' {usually}, which "
                "cannot be one run; move it to a folder of its own."
            )
    return found


def _kind(shape: Mapping[str, Any]) -> str:
    return "is an adapter" if "peft_type" in shape else "is a whole model"


def _said_of_format(root: Path, raw: RawCheckpoint) -> str:
    """A note: which rules read a run's checkpoints, and where their architecture is from."""
    what = f"{len(raw.weights)} weights of {raw.config.get('model_type')}, by {raw.config_from}"
    return f"the checkpoints of '{root}' are of format {raw.rules.name} ({raw.rules.title}): {what}."


def _at_root(root: Path, last: int, sibling: str, counted: int) -> tuple[ReleasedStep | None, str | None]:
    """The model in the run's folder itself, as a Trainer saves it at the end; or why it is left out.

    Args:
        root: The run's folder.
        last: The last step that has a folder, whole or not.
        sibling: A checkpoint of the run.
        counted: `Parameters.counted`; 0 where the training's tokens are not wanted.
    """
    if not (root / "config.json").is_file():
        return None, None
    why, state = folders.unfinished(root), folders.state_of(root)
    if why is None and state is None:
        why = f"has no {folders.STATE} that would say its step"
    if why is None and folders.shape_of(root) != folders.shape_of(root / sibling):
        why = f"is another one than '{sibling}'"
    if why is not None or state is None:
        return None, f"the model in '{root}' itself is left out: it {why}."
    if state.step <= last:
        return None, None  # the last checkpoint again
    return ReleasedStep(state.step, ".", folders.tokens_of(state, counted) if counted else None), None
