"""The continuous metrics of every result of a table, from its items."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from evalrun.core.errors import AnalysisError
from evalrun.core.stages import stage
from evalrun.statistics.items.believed import Doubt, doubt
from evalrun.statistics.items.continuous import COLUMNS as ITEM_COLUMNS
from evalrun.statistics.items.continuous import METRICS, continuous
from evalrun.statistics.items.values import Items
from evalrun.statistics.table import capped, checkpoint_name

COLUMNS = ["task", "model", "seed", "step", "metric", "value", "stderr"]


def with_measured(table: pd.DataFrame, items: Items, metric: str) -> tuple[pd.DataFrame, list[str]]:
    """A table of results with a row of a metric of `continuous.METRICS` for each result that lacks it.

    Args:
        table: With the columns of `columns.TABLE_COLUMNS`.
        items: Gives per-item results.
        metric: Which; where a result has it by its task's own code, that one stays.

    Returns:
        The table, the new rows last; and a sentence for each task that has none, with why.

    Raises:
        AnalysisError: no result has the metric.
    """
    has = set(table.loc[table["metric"] == metric, ["run_id", "task"]].itertuples(index=False, name=None))
    rows: list[dict[Any, Any]] = []
    without: dict[str, str] = {}
    for row in table[table["primary"].astype(bool)].to_dict("records"):
        run_id, task = str(row["run_id"]), str(row["task"])
        if (run_id, task) in has:
            continue
        frame = items(run_id, task, ITEM_COLUMNS)
        found = Doubt() if frame is None else doubt(frame)
        measured = None if frame is None or found.why else continuous(frame)
        value, stderr = (float("nan"),) * 2 if measured is None else measured.metrics[metric]
        if measured is None or value != value:
            texts = getattr(items, "why", {}).get(task, "")
            why = found.why or ("no items are in the store" if measured is None else measured.note)
            without.setdefault(str(row["title"]), f"{why} ({texts})" if texts else why)
            continue
        better = METRICS[metric].higher_is_better
        numbers = {"value": value, "stderr": stderr, "n": measured.n, "chance": float("nan"), "disputed": ""}
        rows.append({**row, "metric": metric, "primary": False, "higher_is_better": better, **numbers})
    notes = [f"{title} has no {metric}: {why}." for title, why in without.items()]
    if not rows and not has:
        raise AnalysisError(f"no task has the metric '{metric}'. {' '.join(capped(notes))}".rstrip())
    if not rows:
        return table, notes
    return pd.concat([table, pd.DataFrame(rows, columns=table.columns).astype(table.dtypes)], ignore_index=True), notes


@dataclass(frozen=True)
class Measured:
    """What the items of a table say."""

    table: pd.DataFrame  # one row for each result and metric of `continuous.METRICS`, with the columns of `COLUMNS`
    notes: list[str]  # why a task has none; what of a result is not believed; where choices tie
    disbelieved: list[Any]  # labels of the table's rows whose results are not to be used


@stage("items")
def continuous_table(table: pd.DataFrame, items: Items | None) -> Measured:
    """Measure what the items allow, and see that the results are those of their items.

    Args:
        table: Rows of `Prepared.table`.
        items: Gives per-item results; None for an empty table.
    """
    found: list[dict[str, Any]] = []
    without: dict[str, dict[str, None]] = defaultdict(dict)  # why -> titles
    doubts: dict[Any, Doubt] = {}
    if items is None:
        return Measured(pd.DataFrame(columns=COLUMNS), [], [])
    titles, known = table["title"].tolist(), {name: table[name].tolist() for name in ("task", "model", "seed", "step")}
    runs = table["run_id"].tolist()
    for place, (label, run_id, task) in enumerate(zip(table.index, runs, known["task"], strict=True)):
        frame = items(str(run_id), str(task), ITEM_COLUMNS)
        if frame is None:
            without["no items are in the store"][str(titles[place])] = None
            continue
        doubts[label] = doubt(frame)
        if doubts[label].why:
            continue
        measured = continuous(frame)
        if measured.n == 0:
            without[measured.note][str(titles[place])] = None
        about = {name: values[place] for name, values in known.items()}
        found += [
            {**about, "metric": name, "value": value, "stderr": stderr}
            for name, (value, stderr) in measured.metrics.items()
            if value == value
        ]
    tasks = table["title"].nunique()
    notes = [
        f"No continuous metrics of {'any task' if len(own) == tasks > 1 else ', '.join(own)}: {why}."
        for why, own in without.items()
    ]
    bad = [label for label, one in doubts.items() if one.why]
    return Measured(pd.DataFrame(found, columns=COLUMNS), [*notes, *_doubted(table, doubts)], bad)


def _doubted(table: pd.DataFrame, doubts: Mapping[Any, Doubt]) -> Iterator[str]:
    """Sentences about results that are left out, and about those where choices tie."""
    for label, one in doubts.items():
        if one.why:
            row = table.loc[label].to_dict()
            yield f"{checkpoint_name(row)}, {row['title']}: left out, because {one.why}."
    if not any(one.ties for one in doubts.values()):
        return
    for title, group in table.groupby("title", sort=False):
        tied = {label: doubts[label] for label in group.index if label in doubts and doubts[label].ties}
        if not tied:
            continue
        most = max(tied, key=lambda label: tied[label].ties / tied[label].items)
        yield (
            f"{title}: in {len(tied)} of {len(group)} results choices tie, at most in {tied[most].ties} of "
            f"{tied[most].items} items ({checkpoint_name(group.loc[most].to_dict())}); a tie counts as the share of "
            "right choices in it, where lm-eval takes the first."
        )
        if old := sum(bool(one.first) for one in tied.values()):
            yield (
                f"{title}: {old} of these results took the first (of an earlier version, or ingested): score again "
                "with force=true."
            )
