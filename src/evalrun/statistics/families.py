"""Several families of models on the same tasks: each model's last checkpoint, by the compute of its training."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from evalrun.core.text import listed

_MOST = 12  # names in a sentence
COLUMNS = [
    *("family", "task", "title", "metric", "model", "n_params", "step", "tokens", "flops"),
    *("value", "stderr", "seeds", "n", "chance", "higher_is_better"),
]


def last_checkpoints(families: Mapping[str, pd.DataFrame]) -> tuple[pd.DataFrame, list[str]]:
    """The last checkpoint of every model in the tasks that two families or more have, by the same metric.

    Compute is 6 x non-embedding parameters x tokens (Kaplan et al. 2020), which families with other architectures, data
    or tokenizers may spend better or worse: a line says what a family reaches with it, not why. Seeds are averaged; the
    standard error of their mean is the mean of theirs, because they answer the same items.

    Args:
        families: Name, such as the suite's -> rows of `table.Prepared.table`.

    Returns:
        A row for each family, task and model with the columns of `COLUMNS`, by task and compute; and sentences about
        what is left out.
    """
    rows = pd.concat([table.assign(family=name) for name, table in families.items()], ignore_index=True)
    notes = []
    unknown = rows[~(rows["flops"] > 0)]
    if len(unknown):
        models = listed(sorted({str(model) for model in unknown["model"]}), _MOST)
        notes.append(f"Left out, because their compute is not known: {models}.")
    rows = rows[rows["flops"] > 0]
    run = ["family", "task", "model", "seed"]
    rows = rows[rows["step"] == rows.groupby(run, dropna=False)["step"].transform("max")]
    shared = rows.groupby(["task", "metric"])["family"].transform("nunique") > 1
    alone = sorted({str(title) for title in rows.loc[~shared, "title"]} - {str(t) for t in rows.loc[shared, "title"]})
    if alone:
        notes.append(f"Tasks of one family alone, or by another metric in each, are not shown: {listed(alone, _MOST)}.")
    how = dict.fromkeys(("title", "n_params", "n", "chance", "higher_is_better"), "first")
    how |= dict.fromkeys(("step", "tokens"), "max") | dict.fromkeys(("flops", "value", "stderr"), "mean")
    places = ["family", "task", "metric", "model"]
    grouped = rows[shared].groupby(places, sort=False, as_index=False)
    found = grouped.agg(how).merge(grouped.size().rename(columns={"size": "seeds"}), on=places)
    order = {task: place for place, task in enumerate(rows["task"].unique())}
    found = found.assign(_task=found["task"].map(order)).sort_values(["_task", "family", "flops"], kind="stable")
    return found[COLUMNS].reset_index(drop=True), notes
