"""Which checkpoint is to pass a gate, and what it is held against."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from evalrun.commands.compare.selection import (
    HOW,
    ComparedCheckpoint,
    named_checkpoint,
    scored_alike,
    scored_by,
    with_results,
)
from evalrun.config.schema import GateConf
from evalrun.core.errors import AnalysisError, ConfigError, suggest
from evalrun.core.scored_ways import to_choose
from evalrun.core.text import counted
from evalrun.tracking import Store

PREVIOUS, BEST = "previous", "best"
_RUN_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class GateSides:
    """A checkpoint, and those that it is held against: several where the best so far is meant."""

    checkpoint: ComparedCheckpoint
    references: tuple[ComparedCheckpoint, ...]  # in order of training
    against: str  # which they are, in words


def find_sides(
    name: str,
    gate: GateConf,
    suite: str | None,
    store: Store,
    tasks: Sequence[str] | None = None,
    scored: str | None = None,
) -> GateSides:
    """The checkpoint of a name and its references, each with only the runs that were scored alike.

    Args:
        name: MODEL@STEP, MODEL for its newest checkpoint that has results, or the id of an MLflow run.
        gate: Says what it is held against.
        suite: Where to look; None for everywhere.
        store: What has the results.
        tasks: Those that are asked about; None for all. How others were scored does not matter.
        scored: In which way, where there are several.

    Raises:
        ConfigError: there is no such checkpoint or reference, both are one, or they were scored differently.
        AnalysisError: there are no results at all, or no checkpoint before this one.
    """
    there = with_results(suite, store, tasks)
    mine = named_checkpoint(name if "@" in name or _RUN_ID.fullmatch(name) else f"{name}@final", there)
    mine = scored_by(mine, scored)
    if gate.against in (PREVIOUS, BEST):
        return _earlier(mine, there, gate.against)
    pinned = gate.pinned.get(gate.against, gate.against)
    if "@" not in pinned and not _RUN_ID.fullmatch(pinned):
        names = [PREVIOUS, BEST, *gate.pinned]
        raise ConfigError(f"gate.against is '{gate.against}': {suggest(gate.against, names)} Or {HOW}.")
    reference, mine = scored_alike(scored_by(named_checkpoint(pinned, there), scored), mine)
    label = reference.label if pinned == gate.against else f"{gate.against}, {reference.label}"
    return GateSides(mine, (reference,), label)


def _earlier(mine: ComparedCheckpoint, there: list[ComparedCheckpoint], which: str) -> GateSides:
    """The checkpoints before this one that were scored as it was; the last of them, or all.

    Args:
        mine: The checkpoint.
        there: All that have results.
        which: `PREVIOUS` or `BEST`.

    Raises:
        ConfigError: it was scored in several ways.
        AnalysisError: there is none before it.
    """
    ways = sorted({run.settings for run in mine.runs})
    if len(ways) > 1:
        raise ConfigError(
            f"{mine.label} was scored in {len(ways)} ways: {to_choose(ways)}, or tasks of one way with task=."
        )
    earlier = []
    for one in sorted(there, key=lambda one: one.step):
        runs = tuple(run for run in one.runs if run.settings == ways[0])
        if runs and (one.suite, one.model, one.seed) == (mine.suite, mine.model, mine.seed) and one.step < mine.step:
            earlier.append(replace(one, runs=runs))
    if not earlier:
        raise AnalysisError(
            f"{mine.label} has no earlier checkpoint that was scored by {ways[0]}: evaluate one, or name what it is "
            "held against with against=MODEL@STEP."
        )
    if which == PREVIOUS:
        return GateSides(mine, (earlier[-1],), f"the checkpoint before, {earlier[-1].label}")
    return GateSides(mine, tuple(earlier), f"the best of {counted(len(earlier), 'checkpoint')} before")
