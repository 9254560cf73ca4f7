"""`evalrun.groups`: means over groups of tasks."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun import study
from evalrun.commands.run import inprocess
from evalrun.commands.run.inprocess import Value
from evalrun.commands.table_input import config_of
from evalrun.core.errors import AnalysisError
from evalrun.core.task_group import Groups, tasks_of, under
from evalrun.core.text import listed
from evalrun.tasks.group_tree import task_groups
from evalrun.tasks.groups import own_names
from evalrun.tracking import Store

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.statistics.group_means import GroupMeans


def groups(
    table: pd.DataFrame, names: str | Sequence[str] | None = None, *, root: Path | str | None = None, **settings: Value
) -> pd.DataFrame:
    """Average the tasks of each group at each checkpoint, by items and by tasks, with standard errors.

    What it returns has the columns of a table of results, a group where a task stands, and so goes into `shapes`,
    `plot`, `fit` and `falls` too: groups are then the outcomes, in place of their tasks.

    Args:
        table: Rows of `evaluate` or `results`.
        names: Sets of conf/task, groups that the suites in the table were evaluated on, or lm-eval's, each with those
            that it holds; None for all that the suites were evaluated on.
        root: The folder whose store has the groups, and the items by which tasks that share some are found; None for
            the current one.
        **settings: Keys of conf/analysis: `metric="acc_norm"` alone, `items=False` (take all items for different ones).

    Returns:
        One row for each group, metric and checkpoint. `value` and `stderr` are of the weighting that the group states
        (`weighted`), by_size and by_task both means, each with its `..._stderr`, in the metric's units; tasks is their
        number, n that of their items. Where a task has no result value is NaN, and `missing` names the tasks.

    Raises:
        ConfigError: a setting or a name that cannot be right.
        AnalysisError: no table of results, or no group is known.
        TrackingError: the store cannot be read.
    """
    import pandas as pd

    from evalrun.statistics.group_means import group_means_of, newest
    from evalrun.statistics.table import check, nearest_metrics

    check(table)
    with inprocess.session(root):
        config = config_of(settings)
        store, metric = Store(config.tracking), config.analysis.metric
        table = study.with_metric(config, store, table)
        if metric is not None and metric not in set(table["metric"]):
            raise AnalysisError(f"no results of metric '{metric}': {nearest_metrics(metric, table)}")
        rows = newest(table if metric is None else table[table["metric"] == metric])
        asked = [names] if isinstance(names, str) else names
        known = {suite: _chosen(store.groups.of(str(suite)), asked) for suite in rows["suite"].unique()}
        if not any(known.values()):
            which = "the store knows none of this suite" if names is None else f"{names!r} names tasks alone"
            raise AnalysisError(f'no groups of tasks: {which}; name some, such as groups(table, ["mmlu"]).')
        with study.items_of(config, store, rows) as items:
            found = [group_means_of(own, known[suite], items) for suite, own in rows.groupby("suite", sort=False)]
    empty = [note for one in found if asked is not None for note in _nothing_of(one)]
    for note in dict.fromkeys([*(note for one in found for note in one.notes), *empty]):
        logging.getLogger(__name__).warning(note)
    return pd.concat([one.table for one in found], ignore_index=True)


def _nothing_of(found: GroupMeans) -> Iterator[str]:
    """A sentence for each group that has no row and of which no note says so."""
    told = set(found.table["task"])
    for name in found.groups:
        tasks = tasks_of(found.groups, name)
        if len(tasks) < 2:
            yield f"The group '{name}' holds one task, and so has no mean beside that task's value."
        elif name not in told and not any(f"'{name}'" in note for note in found.notes):
            yield f"The group '{name}' has no mean: the table has no result of its tasks ({listed(tasks, 4)})."


def _chosen(known: Groups, names: Sequence[str] | None) -> Groups:
    """The groups of these names: of conf/task as they are there now, others as the store has them, else lm-eval's.

    Raises:
        ConfigError: a name of nothing.
    """
    if names is None:
        return known
    own = own_names()
    there = [name for name in names if name in known and name not in own]
    return under(known, there) | task_groups([name for name in names if name not in there])
