"""The report's section about tasks whose items were answered several times: what chance is in their means."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from evalrun.reporting.section_tables import Section, TableCell, number_cell
from evalrun.statistics.findings import Findings
from evalrun.statistics.naming import run_name


def samples(study: Findings) -> Section | None:
    """The parts of the variance of the last checkpoint of every curve; None where no item was answered twice."""
    if study.samples.empty:
        return None
    last = study.samples.sort_values("tokens", kind="stable").groupby(["task", "model", "seed"], dropna=False).tail(1)
    rows = [_row(row) for row in last.sort_index().to_dict("records")]
    return Section(
        "Several answers to each item",
        "The last checkpoint of every model: the standard error of its mean, and the share of its variance by which "
        "answers were drawn, which more samples would take away; the rest is by which items were drawn. The error with "
        "samples without number is what is left then. Two checkpoints that answer the same items share what items do, "
        "and never what samples do. Training: the standard deviation of a checkpoint’s value about the line between "
        "its neighbours, beyond what samples explain (Wang 2025, arXiv:2512.21326; law of total variance).",
        ["Task", "Model", "value", "samples", "items", "error", "by samples", "error if many", "training"],
        rows,
    )


def _row(row: Mapping[Any, Any]) -> list[TableCell]:
    """One curve's last checkpoint."""
    share = row["samples_share"]
    return [
        TableCell(str(row["title"])),
        TableCell(run_name(row)),
        number_cell(row["value"], 3),
        TableCell(f"{row['samples']:g}", "number"),
        TableCell(f"{row['items']:,}", "number"),
        number_cell(row["stderr"], 4),
        TableCell("–" if pd.isna(share) else f"{share:.0%}", "number"),
        number_cell(row["stderr_if_many"], 4),
        number_cell(np.sqrt(row["by_checkpoints"]), 4),
    ]
