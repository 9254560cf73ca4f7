"""What tags of a checkpoint's run say of a watch: which looks of its training were spent on it, and what fell.

A look is one comparison of a checkpoint with those before it, at its part of one level for the whole training. Its
number is taken before the comparison is made and stays on the run, so that whoever asks again, after a restart or from
another process, gets the same number, and nobody spends a part twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalrun.core.text import markdown_escape
from evalrun.tracking import layout
from evalrun.tracking.layout import RunEntry

LOOKS = "evalrun.looks"  # JSON: what was compared -> its look


@dataclass(frozen=True)
class Look:
    """One comparison of one checkpoint."""

    number: int  # from 1, over all looks of its training; 0 where there was nothing to compare with
    level: float | None = None  # that it was made at; None until that is done and told
    fallen: tuple[str, ...] = ()  # tasks that fell significantly


def looks_of(tags: Mapping[str, str]) -> dict[str, Look]:
    """The looks at a run, by what they compared; others may have edited the tag, of which nothing is taken then."""
    try:
        said = json.loads(tags.get(LOOKS, "{}"))
        return {
            str(key): Look(int(one["look"]), one.get("level"), tuple(one.get("fell", ()))) for key, one in said.items()
        }
    except (ValueError, TypeError, KeyError, AttributeError):
        return {}


def to_tag(looks: Mapping[str, Look]) -> str:
    """What `looks_of` reads."""
    said: dict[str, dict[str, Any]] = {}
    for key, look in looks.items():
        said[key] = {"look": look.number}
        if look.level is not None:
            said[key] |= {"level": look.level, "fell": list(look.fallen)}
    return json.dumps(said, separators=(",", ":"))


def last_number(runs: Iterable[RunEntry], model: str, seed: int | None, stage: str | None) -> int:
    """How many looks of a training were taken; 0 where there was none."""
    cells = ((run.tags, run.checkpoint) for run in runs)
    ours = (
        tags for tags, cell in cells if cell is not None and (cell.model, cell.seed, cell.stage) == (model, seed, stage)
    )
    return max((look.number for tags in ours for look in looks_of(tags).values()), default=0)


def alarms_of(tags: Mapping[str, str]) -> list[tuple[str, dict[str, Any]]]:
    """The alarms on a run: what fell, in a sentence and in plain values."""
    try:
        said = json.loads(tags.get(layout.ALARM, "{}"))
        return list(zip(said.get("warnings", ()), said.get("drops", ()), strict=False))
    except (ValueError, AttributeError, TypeError):
        return []


def section(tags: Mapping[str, str]) -> str:
    """What an alarm adds to its run's note; nothing where there is none."""
    if layout.ALARM not in tags:
        return ""
    said = json.loads(tags[layout.ALARM])["warnings"]
    return layout.ALARM_NOTE + "".join(f"\n- {markdown_escape(sentence)}" for sentence in said)


def fitting(alarms: Sequence[tuple[str, Mapping[str, Any]]]) -> str | None:
    """JSON that fits a tag, None of no alarms: of very many drops the last are left out, and counted."""
    if not alarms:
        return None
    kept = len(alarms)
    while True:
        sentences, details = [one[0] for one in alarms[:kept]], [one[1] for one in alarms[:kept]]
        text = json.dumps(
            {"warnings": sentences, "drops": details, "left_out": len(alarms) - kept}, separators=(",", ":")
        )
        if len(text) <= layout.TAG_LIMIT or not kept:
            return text
        kept -= 1
