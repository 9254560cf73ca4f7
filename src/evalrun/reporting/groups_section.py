"""Groups of tasks in the report: rows that unfold to the groups and tasks that they hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.task_group import outermost, tasks_of
from evalrun.core.text import counted
from evalrun.reporting.figures import Series
from evalrun.reporting.small_curves import sparks
from evalrun.statistics.findings import Findings
from evalrun.statistics.naming import checkpoint_name

_UNFOLDED = 16  # members of an outermost group that are shown at once
_TOLD = 4  # groups that the findings speak of
COUNTED = {"by task": "every task counts alike", "by size": "every item counts alike"}


@dataclass(frozen=True)
class GroupCell:
    """One model's course and last value."""

    text: str
    hint: str
    points: Sequence[str] = ()
    color: str = ""


@dataclass(frozen=True)
class GroupRow:
    """A group, or a task in one."""

    title: str
    about: str  # how many tasks, and how they are weighted; empty for a task
    cells: Sequence[GroupCell]
    members: Sequence[GroupRow] = field(default_factory=tuple)
    is_open: bool = False


@dataclass(frozen=True)
class GroupTree:
    """The outermost groups that have a mean, with all that they hold."""

    models: Sequence[str]  # of the columns
    rows: Sequence[GroupRow]


def group_tree(study: Findings, series: Sequence[Series], colors: Mapping[str, str]) -> GroupTree:
    """The groups of a study.

    Args:
        study: The findings.
        series: The models as lines of the page's pictures; none where its lines are not models.
        colors: Colour of a line -> what the page calls it.
    """
    groups = study.groups.groups
    by_size = study.table.sort_values(["n_params", "model"], kind="stable")["model"].unique()
    models = [str(line.key) for line in series] or [str(name) for name in by_size]
    table = pd.concat([study.table.assign(weighted="", tasks=1), study.groups.table], ignore_index=True)
    by_name = {str(name): own for name, own in table[table["value"].notna()].groupby("task", sort=False)}

    def row(name: str, depth: int) -> GroupRow:
        own = by_name[name]
        cells = _cells(own, models, series, colors)
        if name not in groups:
            return GroupRow(str(own["title"].iloc[0]), "", cells)
        group, last = groups[name], own.iloc[-1]
        members = tuple(row(member, depth + 1) for member in group.members if member in by_name)
        about = f"{counted(len(tasks_of(groups, name)), 'task')}, {last['metric']}, {COUNTED[last['weighted']]}"
        return GroupRow(group.title, about, cells, members, depth == 0 and len(members) <= _UNFOLDED)

    means = set(study.groups.table["task"])
    with_mean = {name: group for name, group in study.groups.groups.items() if name in by_name and name in means}
    return GroupTree(models, [row(name, 0) for name in outermost(with_mean)])


def group_sentences(study: Findings) -> list[str]:
    """What the outermost groups come to at the end of the largest model's training, a sentence each."""
    means = study.groups.table[study.groups.table["value"].notna()]
    said = []
    for name in outermost({name: group for name, group in study.groups.groups.items() if name in set(means["task"])})[
        :_TOLD
    ]:
        own = means[means["task"] == name].sort_values(["n_params", "step"], kind="stable")
        last = own.to_dict("records")[-1]
        error = "" if pd.isna(last["stderr"]) else f" (standard error {last['stderr']:.3f})"
        said.append(
            f"{last['title']}, the mean {last['metric']} of {last['tasks']} tasks ({COUNTED[last['weighted']]}), is "
            f"{last['value']:.3f}{error} in {checkpoint_name(last)}."
        )
    return said


def _cells(
    rows: pd.DataFrame, models: Sequence[str], series: Sequence[Series], colors: Mapping[str, str]
) -> list[GroupCell]:
    """A cell a model: its curve, and its value at its last step; seeds are averaged."""
    drawn: list[dict[str, Any]] = [{"points": (), "color": ""}] * len(models)
    if series:
        drawn = sparks(rows, pd.DataFrame({"model": [], "label": []}), series, colors)
    cells = []
    for model, spark in zip(models, drawn, strict=True):
        own = rows[rows["model"] == model]
        if own.empty:
            cells.append(GroupCell("–", f"{model}: no mean"))
            continue
        last = own[own["step"] == own["step"].max()]
        cells.append(GroupCell(_value(last), _hint(last, model), spark["points"], spark["color"]))
    return cells


def _value(last: pd.DataFrame) -> str:
    """`0.612 ± 0.004`; of several seeds the mean alone."""
    error = last["stderr"].iloc[0]
    text = f"{last['value'].mean():z.3f}" + ("" if len(last) > 1 or pd.isna(error) else f" ± {error:.3f}")
    return text.replace("-", "−")


def _hint(last: pd.DataFrame, model: str) -> str:
    """Where the value is from, and the mean by the other weighting where it is another."""
    row = last.iloc[0]
    said = f"{model} at step {row['step']:.0f}"
    said += f", mean of {len(last)} seeds" if len(last) > 1 else ""
    if not row["weighted"]:
        return said
    other, way = ("by_size", "by size") if row["weighted"] == "by task" else ("by_task", "by task")
    value = last[other].mean()
    if pd.isna(value) or np.isclose(value, last["value"].mean(), rtol=0, atol=5e-5):
        return said
    return f"{said}; {value:.3f} where {COUNTED[way]}"
