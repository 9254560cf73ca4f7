"""`plan` and `prefetch`: from the words of the command line to what is shown and fetched."""

from __future__ import annotations

import json
from collections.abc import Sequence

from evalrun import checkpoints
from evalrun.checkpoints.folder_notes import notes
from evalrun.commands.plan import detectable, render
from evalrun.commands.plan.inventory import take_inventory
from evalrun.commands.plan.prefetch import prefetch as fetched
from evalrun.config.compose import hydra_session
from evalrun.core.errors import ConfigError, TaskError
from evalrun.core.secrets import masked
from evalrun.grid import overrides as ov
from evalrun.grid import planning
from evalrun.grid.sweep_plan import Plan
from evalrun.progress.rounds import asked_so_far, said_of


def command(words: Sequence[str]) -> int:
    """`plan`: print the grid and what it needs."""
    with notes().one_look():  # nothing is run by what is seen
        print(_shown(*ov.split_flags(words)))
    return 0


def prefetch(words: Sequence[str]) -> int:
    """`prefetch`: download what a grid needs."""
    print(_fetched(ov.split_flags(words)[1]))
    return 0


def _shown(flags: Sequence[str], overrides: Sequence[str]) -> str:
    """What `plan` prints: the grid and what it needs.

    Raises:
        ConfigError: a mistake in the words.
    """
    plan = _grid(overrides)
    if plan.config.offline:
        checkpoints.go_offline()
    try:
        left, rounds, is_done = asked_so_far(plan)
        found = take_inventory(left)
    except TaskError as error:  # the grid is right all the same, and what it lacks may be made before it runs
        said = {"jobs": plan.to_json(), "problem": str(error)}
        return masked(json.dumps(said, indent=1)) if "--json" in flags else f"{plan.describe()}\n\n  problem  {error}"
    if "--json" in flags:
        known = {"jobs": plan.to_json(), **render.to_json(found), "power": detectable.power_of(found).to_json()}
        return masked(json.dumps(known, indent=1))
    more = [] if rounds is None else [f"  {said_of(rounds, is_done)}"]
    return "\n\n".join(
        ["\n".join([plan.describe(), *more]), render.describe(found), detectable.describe(detectable.power_of(found))]
    )


def _fetched(overrides: Sequence[str]) -> str:
    """What `prefetch` prints when it has fetched what a grid needs.

    Raises:
        EvalrunError: a mistake in the words, a full disk, or something that cannot be had.
    """
    plan = _grid(overrides)
    if plan.config.offline:
        raise ConfigError("prefetch downloads, and offline=true forbids it: leave out offline=true.")
    return fetched(plan)


def _grid(overrides: Sequence[str]) -> Plan:
    with hydra_session():
        given = ov.parse(overrides)
        planning.check(given)
        plan = planning.plan(tuple(ov.for_hydra(given)), are_checked=True)
        plan.check_tasks()
        return plan
