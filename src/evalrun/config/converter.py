"""The user's command that makes a Hugging Face folder of a checkpoint: how its words are read."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

PLACES = ("{input}", "{output}")  # that a command must have
STEP = "{step}"  # that it may have
_PLACE = re.compile("|".join(map(re.escape, (*PLACES, STEP))))


def parts(command: str) -> list[str]:
    """The words of a command, its places not yet filled in; none where its quotes do not match."""
    try:
        return shlex.split(command)
    except ValueError:
        return []


def filled(command: str, places: Mapping[str, str]) -> list[str]:
    """The words of a command with what goes in its places, whatever that holds: no shell reads it.

    Args:
        command: Without `problem`.
        places: Of `{input}`, `{output}` and `{step}` those that are known; the others stay.
    """
    return [_PLACE.sub(lambda match: places.get(match[0], match[0]), word) for word in parts(command)]


def problem(command: str) -> str | None:
    """A sentence about a command that cannot convert anything; None for one that may."""
    words = parts(command)
    if not words:
        return f"checkpoint.convert is '{command}', which cannot be read as a command: check its quotes."
    lacking = [place for place in PLACES if not any(place in word for word in words[1:])]
    if lacking:
        return (
            f"checkpoint.convert is '{command}', without {' and '.join(lacking)}: write it as "
            "'checkpoint.convert=\"python to_hf.py {input} {output}\"', where {input} stands for a checkpoint and "
            "{output} for the folder to be made of it."
        )
    return None
