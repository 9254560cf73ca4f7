"""Training steps as a user writes them: `2,4,...,143000`, `all`, `final`, lists; always steps that were released."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any

from evalrun.core.errors import ConfigError

DOTS = "..."
_MOST = 100_000  # steps that one model has at most


def released_steps(items: Iterable[Any]) -> list[int]:
    """Unfold a suite's `steps`: numbers and `{from, to, by}` ranges (both ends included), sorted.

    Raises:
        ConfigError: an item that is neither, or more steps than any model has.
    """
    steps: set[int] = set()
    for item in items:
        if is_step(item):
            steps.add(item)
        elif (numbers := _range(item)) is not None:
            if (count := 1 + (item["to"] - item["from"]) // item["by"]) > _MOST:  # len() takes none that large
                raise ConfigError(
                    f"checkpoint.steps holds {item}, which is {count:,} steps: a model has {_MOST:,} at most; "
                    "`by` is the distance between the checkpoints that were saved."
                )
            steps.update(numbers)
        else:
            raise ConfigError(f"checkpoint.steps holds {item!r}: use numbers and {{from: 0, to: 9, by: 1}} ranges.")
    return sorted(steps)


def kind_problems(steps: object, key: str) -> Iterator[str]:
    """A sentence about a suite's `steps`, or a stage's, that are neither a list, a mapping of names nor nothing.

    Args:
        steps: What was written.
        key: Where, for the sentence.
    """
    if isinstance(steps, dict):
        if not all(is_step(step) and isinstance(name, str) for step, name in steps.items()):
            yield f"{key} is {steps}: as a mapping it gives each step its folder or revision, {{500: name}}."
    elif steps is not None and not isinstance(steps, list):
        yield f"{key} is {steps}: write a list of steps, or a mapping such as {{500: name}}."


def is_step(item: object) -> bool:
    """Whether something is a step's number."""
    return isinstance(item, int) and not isinstance(item, bool) and item >= 0


def _range(item: object) -> range | None:
    """The steps of `{from, to, by}`; None where they are none."""
    if not isinstance(item, dict) or set(item) != {"from", "to", "by"} or not all(map(is_step, item.values())):
        return None
    if item["by"] < 1:
        return None
    return range(item["from"], item["to"] + 1, item["by"])


def expand_steps(words: Sequence[str], released: Sequence[int], model: str) -> list[int]:
    """Turn what stands after `step=` into released steps of one model.

    With two numbers before the dots the progression is geometric, with three or more it is read from them
    (constant difference, else constant ratio). Each term snaps to the nearest released step and the next one
    goes on from there, so that doubling crosses from 512 to 1000. The number after the dots ends it.

    Args:
        words: The comma-separated words: numbers, `...`, `all` or `final`.
        released: The model's released steps, ascending.
        model: Its name, for messages.

    Returns:
        Steps, ascending and without repetition.

    Raises:
        ConfigError: a step that was never released, a malformed progression, no released steps at all.
    """
    if not released:
        raise ConfigError(f"{model} has no released steps: its checkpoint config lists none.")
    if list(words) == ["all"]:
        return list(released)
    if list(words) == ["final"]:
        return [released[-1]]
    steps: list[int] = []
    run: list[int] = []  # the numbers since the last dots: what a progression is read from
    pending = False
    for word in words:
        if word == DOTS:
            if pending or len(run) < 2:
                raise ConfigError(
                    f"step={','.join(words)}: the dots need at least two numbers before them, such as 2,4,...,128."
                )
            pending = True
            continue
        number = _released_number(word, words, released, model)
        if pending:
            steps += _progression(run, number, released, words)
            run, pending = [], False
        else:
            run.append(number)
        steps.append(number)
    if pending:
        raise ConfigError(f"step={','.join(words)}: a number must follow the dots; {model} ends at {released[-1]}.")
    return sorted(set(steps))


def suspect_steps(sharing: Collection[int], final: int | None) -> list[int]:
    """Of steps that share weights, those that cannot be trusted to be what their names say.

    The suite's final step is trusted: faulty repositories serve the final weights under earlier steps. Where it is not
    among them nobody can know which step the weights belong to, and none is trusted.

    Args:
        sharing: Two or more steps of one model (and seed) that share weights.
        final: The last step that the suite released; None where that is unknown.

    Returns:
        Steps, ascending.
    """
    return sorted(step for step in sharing if step != final)


def _released_number(word: str, words: Sequence[str], released: Sequence[int], model: str) -> int:
    """The step that a word means: `final`, or the number of a released one.

    Args:
        word: One of `words`.
        words: All that was given, for the message.
        released: Ascending.
        model: Its name, for the message.

    Raises:
        ConfigError: neither; with the neighbours that were released.
    """
    if word == "final":
        return released[-1]
    try:
        number = int(word)
    except ValueError:
        raise ConfigError(
            f"step={','.join(words)}: '{word}' is no step; use released steps, dots as in 2,4,...,128, "
            "range(from,to,by), all or final."
        ) from None
    if number not in set(released):
        at = bisect_left(released, number)
        around = [str(step) for step in (*released[max(0, at - 1) : at], *released[at : at + 1])]
        raise ConfigError(
            f"step {number} was never released for {model}: "
            f"{'its neighbours are' if len(around) > 1 else 'the nearest is'} {' and '.join(around)}."
        )
    return number


def _progression(run: Sequence[int], end: int, released: Sequence[int], words: Sequence[str]) -> list[int]:
    """Terms strictly between the last number before the dots and the number after them."""
    written = f"step={','.join(words)}"
    differences = {b - a for a, b in pairwise(run)}
    first, last = run[-2], run[-1]
    if min(differences) <= 0 or end <= last:
        raise ConfigError(f"{written}: numbers around the dots must grow.")
    if len(run) > 2 and len(differences) == 1:
        by, ratio = differences.pop(), None
    elif first > 0 and all(b * first == a * last for a, b in pairwise(run)):
        by, ratio = 0, last / first
    elif len(run) == 2:
        raise ConfigError(f"{written}: two numbers before the dots mean a ratio, and {first} has none; write three.")
    else:
        raise ConfigError(f"{written}: {', '.join(map(str, run))} have neither one difference nor one ratio.")
    terms: list[int] = []
    current = last
    while True:
        target = current + by if ratio is None else current * ratio
        if target >= end:
            return terms
        step = _snap(target, released)
        if step <= current:  # the released grid is coarser than the progression: take the next one
            step = released[bisect_left(released, current + 1)]
        if step >= end:
            return terms
        terms.append(step)
        current = step


def _snap(target: float, released: Sequence[int]) -> int:
    """The released step nearest to target (the smaller of two equally near)."""
    at = bisect_left(released, target)
    candidates = released[max(0, at - 1) : at + 1]
    return min(candidates, key=lambda step: (abs(step - target), step))
