"""The report's section about texts: what a corpus costs each model, in its own units, with errors over documents."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd

from evalrun.core.ratios import ratio_of
from evalrun.core.text import counted
from evalrun.reporting.dynamics_words import tokens_text
from evalrun.reporting.effect_words import DOWN
from evalrun.reporting.heat_map_figure import picture
from evalrun.reporting.metric_names import metric_name
from evalrun.reporting.section_tables import Section, SectionPicture, TableCell, address_of
from evalrun.statistics.dynamics.document_maps import DocumentMaps
from evalrun.statistics.findings import Findings
from evalrun.statistics.naming import run_name

_PICTURES, _MODELS = 12, 8  # tasks whose documents are pictured, and models of each


def texts(study: Findings) -> Section:
    """First, best and last value of every curve whose metric is a ratio of sums over documents, or over answers."""
    table = study.table
    own = table[[ratio_of(str(metric)) is not None for metric in table["metric"]]]
    rows = [_row(curve) for _, curve in own.groupby(["task", "model", "seed"], dropna=False, sort=False)]
    return Section(
        "Texts",
        "Sums over all documents (or right answers) by sums, so that long ones count by their length; ± one standard "
        "error over documents, by the linearised ratio (Cochran 1977). Less is better: a model that gets better goes "
        "down, and a fall is a value that rises. Bits per byte can be compared between tokenizers, nats per token not. "
        "In the pictures a row is a document (or a few), dark where it costs little, the dearest of the last "
        "checkpoint at the top; training goes to the right.",
        ["Text", "Model", "Unit", "first", "best", "last", "last above best", "documents"],
        rows,
        pictures=[one for maps in study.dynamics.documents[:_PICTURES] for one in _pictures(maps)],
    )


def _pictures(found: DocumentMaps) -> Iterator[SectionPicture]:
    """What the documents of a task's curves cost, in colours that all curves share."""
    unit = metric_name(found.metric)
    said = [f"From {found.high:.3g} {unit} (pale) to {found.low:.3g} (dark).", *([f"{found.note}."] * bool(found.note))]
    if len(found.curves) > _MODELS:
        said.append(f"{_MODELS} of {len(found.curves)} models are shown.")
    for place, one in enumerate(found.curves[:_MODELS]):
        yield SectionPicture(
            found.title if not place else "",
            f"{one.label}, {tokens_text(float(one.tokens[0]))} to {tokens_text(float(one.tokens[-1]))} tokens",
            f"{unit} of {one.label}: {counted(one.documents, 'document')} of {found.title} by {len(one.tokens)} "
            "checkpoints",
            address_of(picture(one.costs, found.high, found.low), "png"),
            said if not place else (),
        )


def _row(curve: pd.DataFrame) -> list[TableCell]:
    """A curve's row: its ends and its best, in the metric's units."""
    curve = curve.sort_values("tokens", kind="stable")
    values = curve["value"].to_numpy(dtype="float64")
    higher = bool(curve["higher_is_better"].iloc[0])
    first, last, best = (curve.iloc[at] for at in (0, -1, int(values.argmax() if higher else values.argmin())))
    lost = last["value"] - best["value"]
    down = "" if higher else f" {DOWN}"
    return [
        TableCell(f"{first['title']}{down}"),
        TableCell(run_name(first), "name"),
        TableCell(metric_name(str(first["metric"]))),
        *(_value(row) for row in (first, best, last)),
        TableCell("–" if lost == 0 else f"{lost:+.3f}".replace("-", "−"), "number"),
        TableCell("" if pd.isna(last["n"]) else f"{last['n']:,.0f}", "number"),
    ]


def _value(row: pd.Series[Any]) -> TableCell:
    """`1.234 ± 0.012 (step 512)`."""
    digits = 3 if abs(row["value"]) < 100 else 1
    error = "" if not np.isfinite(row["stderr"]) else f" ± {row['stderr']:.{digits}f}"
    return TableCell(f"{row['value']:.{digits}f}{error} (step {row['step']:.0f})", "number")
