"""`evalrun.compare` and `compare_runs`: two checkpoints, or two training runs, on the same items."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun.commands.compare import compare as compare_checkpoints
from evalrun.commands.compare import compare_over_training
from evalrun.commands.compare.over_training import names_runs
from evalrun.commands.compare.selection import HOW
from evalrun.commands.run import inprocess
from evalrun.commands.run.inprocess import Value
from evalrun.commands.table_input import with_full_keys
from evalrun.core.errors import ConfigError

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.statistics.training_runs.run_comparison import RunComparison


def compare(
    a: str, b: str, *, suite: str | None = None, root: Path | str | None = None, **settings: Value
) -> pd.DataFrame:
    """Say whether checkpoint b is worse than a, task by task, on the same items; or training run b than a.

    Args:
        a: MODEL@STEP, MODEL@final or an MLflow run id; or a training run by its name, as for `compare_runs`.
        b: The same of the other one.
        suite: Where to look; None for everywhere.
        root: The folder to work in; None for the current one.
        **settings: Keys of conf/analysis, tasks and the store: `task="memo_trap"`, `alpha=0.01`.

    Returns:
        One row a task: before, after, difference with low and high (in the metric's units), items that fell and rose,
        p, q over the tasks, verdict (worse, better, no difference shown, not comparable) and note. Of training runs
        the tasks of `compare_runs`.

    Raises:
        ConfigError: mistakes, or results that were scored differently.
        AnalysisError: no results, or none in common.
        TrackingError: the store cannot be read.
    """
    for name in (a, b):
        if not isinstance(name, str):
            raise ConfigError(f"'{name}' names no checkpoint: {HOW}.")
    if names_runs([a, b]):
        return compare_runs(a, b, suite=suite, root=root, **settings).tasks  # type: ignore[arg-type] # at= too
    with inprocess.session(root):
        named = [a, b, *([] if suite is None else [f"suite={suite}"])]
        found = compare_checkpoints([*named, *inprocess.words(with_full_keys(settings))])
    for note in found.notes:
        logging.getLogger(__name__).warning(note)
    return found.tasks


def compare_runs(
    a: str | Sequence[str],
    b: str | Sequence[str],
    *,
    at: str = "tokens",
    seeds_from: str | Sequence[str] | None = None,
    suite: str | None = None,
    root: Path | str | None = None,
    **settings: Value,
) -> RunComparison:
    """Compare training run b with a over the whole of training, or the seeds of two recipes; nothing is written.

    Args:
        a: A run by its name in the store ("run-a", "tiny-s-seed1"), a glob ("run-a-*"), or several in a list.
        b: As `a`, of the other recipe.
        at: What is matched: "tokens", "flops", "loss", "loss:TASK" or "log:FILE".
        seeds_from: Runs that tell how far seeds differ, where a and b are one run each; "none" for none. Without it
            other seeds of the two models, if the store has any.
        suite: Where to look; None for everywhere.
        root: The folder to work in; None for the current one.
        **settings: Keys of conf/analysis, tasks and the store: `task="memo_trap"`, `alpha=0.01`, `seed_shift=0.01`.

    Returns:
        Frames: `tasks` (a row a task: difference with low and high, p, verdict, decided_step, mean_difference, effect,
        same_sign, ...), `points` (a row for each task and point: a, b, difference with the band), `looks`; notes, and
        `bands`, which says what the band allows for.

    Raises:
        ConfigError: mistakes, unknown runs, or runs that were scored differently.
        AnalysisError: nothing in common.
        TrackingError: the store cannot be read.
    """
    own = {"a": a, "b": b, "at": at, "seeds_from": seeds_from, "suite": suite}
    given = {key: value for key, value in own.items() if value is not None}
    words = [f"{key}={value if isinstance(value, str) else ','.join(value)}" for key, value in given.items()]
    with inprocess.session(root):
        compared = compare_over_training([*words, *inprocess.words(with_full_keys(settings))])
    for note in compared.notes:
        logging.getLogger(__name__).warning(note)
    return compared.found
