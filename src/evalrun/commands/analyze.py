"""`analyze`: from the store to tables, figures and a report."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path

from evalrun import study
from evalrun.commands.help import TIMINGS
from evalrun.commands.own_words import take_own_words
from evalrun.commands.selecting_words import selects_nothing
from evalrun.config.compose import hydra_session
from evalrun.config.schema import Config
from evalrun.core import garbage
from evalrun.core.plain_names import slug
from evalrun.core.progress_line import watched
from evalrun.core.scored_ways import HOW_SCORED
from evalrun.core.second_process import done_while, on_two_cores
from evalrun.core.stages import stage, timings
from evalrun.grid import override_checks, planning
from evalrun.grid import overrides as ov
from evalrun.grid.sweep_plan import Plan
from evalrun.progress.rounds import Cell, asked_so_far, cells_of

WHICH = {  # words of a command that say which results are meant, and what is to stand in them
    "suite": "name a suite, or leave it out",
    "sweep": "name a sweep, or leave it out",
    "scored": HOW_SCORED,
}
# What an analysis imports, in pieces of some tenths of a second: while its settings are read, as far as it comes.
_LIBRARIES = [
    partial(import_module, name)
    for name in ("pandas", "scipy.stats", "matplotlib.figure", "statsmodels.base.model", "evalrun.reporting.build")
]


def command(words: Sequence[str]) -> int:
    """`analyze`: from the store to tables, figures and a report."""
    with watched("analysis") as clock, garbage.rarer_search(), on_two_cores():
        _analyze([word for word in words if word != TIMINGS])
    if TIMINGS in words:
        print(timings(clock))
    return 0


def _analyze(words: Sequence[str]) -> None:
    """Read the words, and make the reports."""
    own, rest = take_own_words(words, WHICH)
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    with stage("settings"):
        asked = partial(_asked, rest, own)
        idle, config, folder, selection, finals = done_while(asked, _LIBRARIES)
    if idle:
        print(f"{idle}: each way of scoring has a report of its own; scored= chooses one.")
    study.analyse(config, folder, selection, finals)


def _asked(words: Sequence[str], own: Mapping[str, str]) -> tuple[str, Config, Path, study.Selection, dict[str, int]]:
    """Which words an analysis has no use for, if any, and what `study.analyse` takes, from what `select` does."""
    with hydra_session():
        plan, selection = select(words, own.get("suite"), own.get("sweep"), own.get("scored"))
        finals = planning.final_steps()
        idle = selects_nothing(words, ("profile",))  # which says how texts of items read
    return idle, plan.config, reports_folder(plan, selection), selection, finals


def reports_folder(plan: Plan, selection: study.Selection) -> Path:
    """Where the reports of a selection go: other results, another folder."""
    name = slug(selection.sweep or ("all" if selection.cells is None else plan.sweep))
    way = "" if selection.scored is None else f"-{slug(selection.scored.replace(' ', '-'))}"
    return plan.root / "analysis" / f"{name}{way}"


def select(
    words: Sequence[str], suite: str | None, name: str | None, scored: str | None = None
) -> tuple[Plan, study.Selection]:
    """Which results words mean: those of a grid, or else all that there are (inside a `compose.hydra_session`).

    Args:
        words: Overrides, as for a sweep; any of model=, step= and experiment= makes a grid.
        suite: Of this suite alone.
        name: The checkpoints that the multirun of this name wanted.
        scored: In this way alone.

    Raises:
        ConfigError: words that cannot be right.
    """
    given = ov.parse(words)
    override_checks.check(given)
    keys = {o.key_or_group for o in given}
    grid = bool(keys & {"model", "step", "experiment"})
    filler = [] if grid else ["model=pythia-70m"]
    filler += [] if keys & {"step", "experiment"} else ["step=all"]
    plan = planning.plan((*filler, *ov.for_hydra(given)))
    cells = [job.cell for job in plan.jobs] if grid else None
    settled: tuple[Cell, ...] = ()
    if grid:
        _, rounds, is_done = asked_so_far(plan)
        settled = cells_of(rounds.left_out()) if rounds is not None and is_done else ()
    return plan, study.Selection(
        settled=settled,
        suite=suite,
        sweep=name,
        scored=scored,
        tasks=plan.tasks if keys & {"task", "tasks", "experiment"} else None,
        cells=cells,
        asked=cells if keys & {"step", "experiment"} else None,  # else the steps are all that were ever released
    )
