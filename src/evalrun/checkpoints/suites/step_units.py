"""What the numbers in the names of a run's checkpoints count, in sentences: steps, epochs, samples or tokens."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from evalrun.checkpoints.suites.released_steps import ReleasedStep
from evalrun.config.step_names import StepName
from evalrun.config.step_numbers import EPOCHS, SAMPLES, STEPS, TOKENS, count_in
from evalrun.core.errors import ConfigError

_ONE = {STEPS: "a step", EPOCHS: "an epoch", SAMPLES: "a sample", TOKENS: "a token"}


def taken_as(one: StepName, unit: str) -> StepName:
    """A checkpoint whose name counts what the user says it does."""
    said = count_in(one.name)
    tokens = int(said.with_letter().value) if unit == TOKENS and said is not None else None
    return replace(one, unit=unit, tokens=tokens if unit == TOKENS else one.tokens if one.unit == STEPS else None)


def refuse_fractions(root: Path, named: Sequence[StepName]) -> None:
    """See that every name says a whole number.

    Raises:
        ConfigError: `step1.5` or `epoch-0.5`; with what to say in its place.
    """
    parts = [one for one in named if not one.whole]
    if not parts:
        return
    inorder = sorted(named, key=lambda one: (said.value if (said := count_in(one.name)) else 0, one.name))
    listed = ", ".join(f"{place}: {one.name}" for place, one in enumerate(inorder[:4], start=1))
    more = ", ..." if len(inorder) > 4 else ""
    raise ConfigError(
        f"'{root}' has '{parts[0].name}', which says no whole number: give each checkpoint its step with "
        f"'checkpoint.steps={{{listed}{more}}}'."
    )


def notes(root: Path, named: Sequence[StepName], unit: str | None) -> Iterator[str]:
    """A sentence where a step of this run is no step of the optimizer, or may be none."""
    first = named[-1]
    if first.unit == TOKENS:
        shown = "" if first.tokens in (None, first.step) else f" ({first.step} is {first.tokens:,})"
        yield f"the names in '{root}' count tokens ('{first.name}'): wherever a step is shown it is theirs{shown}."
    elif first.unit in (EPOCHS, SAMPLES):
        yield (
            f"the names in '{root}' count {first.unit} ('{first.name}'): wherever a step is shown it is "
            f"{_ONE[first.unit]}, and tokens_per_step= is the tokens of {_ONE[first.unit]}."
        )
    elif first.letter and unit is None:
        yield (
            f"the names in '{root}' count in {first.letter} ('{first.name}') and do not say what: {first.step} is "
            "taken for the step; say checkpoint.unit=tokens if it is tokens, and checkpoint.unit=steps if not."
        )


def ask_for_unit(model: str, release: ReleasedStep) -> str:
    """What to say where tokens would be computed from steps, and the names count something else."""
    return (
        f"the checkpoints of {model} are named by {release.unit} ('{release.place}'), not by steps: say "
        f"checkpoint.unit={release.unit}, and with tokens_per_step= the tokens of {_ONE[release.unit]}, or give each "
        "its step with checkpoint.steps={step: name}."
    )


def ask_for_tokens(model: str, release: ReleasedStep) -> str:
    """What to say where nobody knows how many tokens a checkpoint had seen."""
    one = _ONE[release.unit]
    if release.unit == STEPS:
        how = "(sequences in a batch x their length x devices); tokens_per_step=1 counts steps instead"
    else:
        also = f"checkpoint.unit={release.unit} and " if release.unit == SAMPLES else ""
        how = f"({also}tokens_per_step=1 counts {release.unit} instead)"
    return (
        f"how many tokens {model} had seen at step {release.step} is not known: say how many {one} is with "
        f"tokens_per_step= {how}."
    )
