"""Steps in names: patterns such as `stage1-step{step}-tokens{tokens}`, and folders named by a number."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from string import Formatter

from evalrun.config.step_numbers import SCALE, STEPS, TOKENS, Count, count_in
from evalrun.core.errors import ConfigError

FIELDS = {"step": r"\d+", "tokens": r"\d+(?:\.\d+)?[KMBT]?"}
_TOKENS_WORD = re.compile(r"tokens?[-_.]?(\d+(?:\.\d+)?[KMBT])(?![a-z])", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class StepName:
    """What a revision or folder is called, and what its name says."""

    name: str
    step: int
    tokens: int | None = None
    family: str = ""  # the name with its step and other numbers left out; one run's checkpoints have one
    unit: str = STEPS  # what `step` counts: one of step_words.UNITS
    letter: str = ""  # M where the name says 1M, what it counts is not said, and `step` is 1
    whole: bool = True  # whether the name's number is `step`, and not a fraction near it


def pattern_problem(pattern: str, where: str) -> str | None:
    """A sentence about a pattern that cannot name steps; None for one that can.

    Args:
        pattern: Text with fields in braces.
        where: The key that holds it, for the sentence.
    """
    try:
        fields = [field for _, field, _, _ in Formatter().parse(pattern) if field is not None]
    except ValueError as error:
        return f"{where} is '{pattern}', whose braces do not match ({error}): write it as in step{{step}}."
    unknown = [field for field in fields if field not in (*FIELDS, "seed")]
    if unknown:
        return f"{where} is '{pattern}': its fields may be {{step}}, {{tokens}} and {{seed}}, not {{{unknown[0]}}}."
    if re.search(r"\{tokens[^}]*\}[KMBT](?![a-z])", pattern):
        return f"{where} is '{pattern}': {{tokens}} takes the unit after the number with it, so leave that out."
    if fields.count("step") != 1 or len(fields) != len(set(fields)):
        return f"{where} is '{pattern}': it must hold {{step}} once, and no field twice."
    return None


def needs_list(pattern: str) -> bool:
    """Whether the name of a step does not follow from the step alone."""
    return any(field == "tokens" for _, field, _, _ in Formatter().parse(pattern))


def matching(names: Iterable[str], pattern: str, seed: int | None = None) -> list[StepName]:
    """The names that follow a pattern whole, by step.

    Args:
        names: Revisions or folders.
        pattern: Without `pattern_problem`.
        seed: What stands for {seed}.

    Raises:
        ConfigError: two names of one step.
    """
    regex = _regex(pattern, seed)
    found = []
    for name in names:
        if match := regex.fullmatch(name):
            tokens = match.groupdict().get("tokens")
            said = count_in(name)
            unit = said.unit if said is not None and said.span[0] == match.start("step") else STEPS
            seen = None if tokens is None else tokens_of(tokens)
            if unit == TOKENS and said is not None and seen is None:
                seen = int(said.with_letter().value)
            found.append(StepName(name, int(match["step"]), seen, pattern, unit))
    return _by_step(found)


@lru_cache(maxsize=1000)  # the same for each name that is asked for by itself
def _regex(pattern: str, seed: int | None) -> re.Pattern[str]:
    """What a name that follows a pattern looks like."""
    parts = []
    for literal, field, _, _ in Formatter().parse(pattern):
        parts.append(re.escape(literal))
        if field is not None:
            parts.append(re.escape(str(seed)) if field == "seed" else f"(?P<{field}>{FIELDS[field]})")
    return re.compile("".join(parts))


def parse_numbered_names(names: Iterable[str]) -> list[StepName]:
    """The names that hold one number, or one beside a word such as `step`: by family and step.

    `checkpoint-500`, `step100`, `global_step100`, `iter_0000100`, `100`, `epoch-3`, `step1000-tokens4B`, `500steps`,
    `step-1k`; not `runs`, nor `tmp-checkpoint-500`, which a Trainer is still writing.
    """
    counts = {
        name: count
        for name in names
        if not name.startswith((".", "_", "tmp")) and (count := count_in(name)) is not None
    }
    letters: dict[str, set[str]] = defaultdict(set)  # run_900K beside run_1M
    for name, count in counts.items():
        letters[_family(name, count.with_letter())].add("" if count.scaled else count.letter)
    found = []
    for name, count in counts.items():
        mixed = len(letters[_family(name, count.with_letter())]) > 1
        found.append(_of(name, count.with_letter() if mixed else count))
    return sorted(found, key=lambda named: (named.family, named.step, named.name))


def _of(name: str, count: Count) -> StepName:
    tokens = _TOKENS_WORD.search(name)
    step, letter = int(count.value), "" if count.scaled else count.letter
    said = tokens_of(tokens[1]) if tokens else None
    if count.unit == TOKENS:
        said = int(count.value * SCALE[letter])
    return StepName(name, step, said, _family(name, count), count.unit, letter, count.value == step)


def _family(name: str, count: Count) -> str:
    start, end = count.span
    return _NUMBER.sub("#", name[:start]) + "{step}" + _NUMBER.sub("#", name[end:])


def unique(found: Sequence[StepName], where: str) -> list[StepName]:
    """The names ordered by step, one for each.

    Raises:
        ConfigError: two names of one step.
    """
    return _by_step(found, where)


def tokens_of(text: str) -> int:
    """The number of tokens that `294B`, `4b`, `1.5T` or `1000` says."""
    unit = text[-1].upper() if text[-1].isalpha() else ""
    whole, _, part = text.removesuffix(text[-1] if unit else "").partition(".")
    return int(whole + part) * SCALE[unit] // int(10 ** len(part))


def _by_step(found: Sequence[StepName], where: str = "the suite") -> list[StepName]:
    ordered = sorted(found, key=lambda named: (named.step, named.name))
    for one, other in pairwise(ordered):
        if one.step == other.step:
            raise ConfigError(
                f"{where} has two checkpoints of step {one.step}, '{one.name}' and '{other.name}': narrow the pattern "
                "(checkpoint.revision or checkpoint.folder), or say which with checkpoint.steps={step: name}."
            )
    return ordered
