"""Which results make one study: those that were scored in one way, however their prompts were made."""

from __future__ import annotations

from collections import defaultdict

import pandas as pd

from evalrun.core.asked_words import asked_how, without_asked
from evalrun.core.text import listed
from evalrun.statistics.naming import CHECKPOINT, MOST_NOTES

_CELL = [*CHECKPOINT, "task", "metric"]


def studies_of(table: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The rows of each study, by how they were scored.

    Results of another precision, say, are another study. Those that differ in how they were asked alone, as base models
    in plain text and chat models by their template, are one, unless a task of a checkpoint was asked in several ways.

    Args:
        table: Rows with `settings` and what says which checkpoint and task they are of.

    Returns:
        In the order of the labels; the table itself where it is one study, of which a copy may be gigabytes.
    """
    labels = sorted(str(label) for label in table["settings"].unique())
    alike: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike[without_asked(label)].append(label)
    found: dict[str, list[str]] = {}
    for scored, own in alike.items():
        rows = table[table["settings"].isin(own)] if len(own) > 1 else table.iloc[:0]
        ways = rows.groupby(_CELL, dropna=False, sort=False)["settings"].nunique()
        if len(own) > 1 and (ways <= 1).all():
            found[scored] = own
        else:
            found |= {label: [label] for label in own}
    if len(found) == 1:
        return dict.fromkeys(found, table)
    return {label: table[table["settings"].isin(found[label])] for label in sorted(found)}


def asked_notes(rows: pd.DataFrame) -> list[str]:
    """A sentence where the results of a study were asked in several ways: which models how.

    Args:
        rows: Of one study.
    """
    asked: dict[str, list[str]] = defaultdict(list)
    ways = rows.groupby("model", sort=False)["settings"].nunique()
    several = set(ways[ways > 1].index)
    for (label, model), own in rows.groupby(["settings", "model"], sort=False):
        steps = f" step {own['step'].min():.0f} to {own['step'].max():.0f}" if model in several else ""
        asked[asked_how(str(label))].append(f"{model}{steps}")
    if len(asked) < 2:
        return []
    said = "; ".join(f"{how}: {listed(sorted(set(models)), MOST_NOTES)}" for how, models in sorted(asked.items()))
    return [f"The prompts were not made in one way ({said}): what differs between these may be due to that."]
