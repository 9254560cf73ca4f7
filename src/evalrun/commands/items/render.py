"""What items do, for people, for scripts, and as tables on the disk."""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evalrun.core.atomic import write_files
from evalrun.core.text import counted

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.statistics.dynamics.item_dynamics import ItemDynamics

_WIDTH = 100
_PAIRS = 12  # rows of agreement that are printed
TABLES = ("classes", "losses", "transitions", "agreement", "returned", "distractors", "parts")
_HEADS = {
    "always right": "always",
    "learned for good": "learned",
    "lost and regained": "regained",
    "unstable": "unstable",
    "lost": "lost",
    "never": "never",
}


def write(found: ItemDynamics, folder: Path, page: str | None) -> list[Path]:
    """Write what was found: tables as CSV; items, and every answer, as Parquet; the page of them, if there is one.

    Raises:
        StorageError: a file cannot be written.
    """
    from evalrun.reporting.csv_text import csv_text

    contents: dict[str, str | bytes] = {
        f"{name}.csv": csv_text(frame) for name in TABLES if len(frame := getattr(found, name))
    }
    if len(found.part_curves):
        contents["part_curves.csv"] = csv_text(found.part_curves)
    contents["items.csv"] = csv_text(found.items)
    contents["items.parquet"] = parquet(found.items)
    if page is not None:
        contents["items.html"] = page
    if found.grid is not None:
        contents["answers.parquet"] = _answers(found)
    return list(write_files(folder, contents).values())


def parquet(frame: pd.DataFrame) -> bytes:
    """A frame as the bytes of a Parquet file."""
    buffer = io.BytesIO()
    frame.to_parquet(buffer, index=False)
    return buffer.getvalue()


def _answers(found: ItemDynamics) -> bytes:
    """A row an item and checkpoint: whether the answer is right, by which margin, which it is, whether it is known."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    assert found.grid is not None
    buffer = io.BytesIO()
    docs = found.grid.keys["doc_id"].to_numpy()
    writer: pq.ParquetWriter | None = None
    for curve, course in zip(found.grid.curves, found.courses, strict=True):
        count = len(docs)
        columns = {
            "doc_id": np.tile(docs, len(curve.steps)),
            "step": np.repeat(curve.steps.astype(np.int64), count),
            "tokens": np.repeat(curve.tokens, count),
            "right": curve.right.ravel(),
            "margin": curve.margin.ravel(),
            "chosen": curve.chosen.ravel(),
            "known": course.known.ravel(),
        }
        names = pa.array([curve.model] * len(columns["doc_id"])).dictionary_encode()
        seed = pa.array(np.full(len(columns["doc_id"]), curve.seed))
        table = pa.table({"model": names, "seed": seed, **columns})
        writer = writer or pq.ParquetWriter(buffer, table.schema)
        writer.write_table(table)
    if writer is not None:
        writer.close()
    return buffer.getvalue()


def to_json(found: ItemDynamics, suite: str, files: list[Path]) -> dict[str, Any]:
    """One object; keys stay, what is not known is null. Items themselves are in the files."""
    tables = {name: _records(getattr(found, name)) for name in TABLES}
    about = {"suite": suite, "task": found.task, "title": found.title, "items": found.n}
    return {**about, **tables, "notes": found.notes, "files": [str(path) for path in files]}


def text(found: ItemDynamics, suite: str, files: list[Path], alpha: float) -> str:
    """Classes and ages by model, what they say in sentences, agreement, what must be known.

    Args:
        found: Of one task.
        suite: Its suite.
        files: That were written.
        alpha: Level of what is shown.
    """
    from evalrun.reporting.dynamics_words import sentences

    said = [line for sentence in sentences(found, alpha) for line in _wrapped(sentence)]
    blocks = [
        [f"{found.title} ({found.task}), suite {suite}: {counted(found.n, 'item')}"],
        list(_classes(found)) if len(found.classes) else [],
        said,
        list(_agreement(found)) if len(found.agreement) else [],
        list(_parts(found)) if len(found.parts) else [],
        [line for note in found.notes for line in _wrapped(note)],
        [f"tables: {files[0].parent}"] if files else [],
    ]
    blocks[-1] += [f"a page of every item, beside them: {path.name}" for path in files if path.suffix == ".html"]
    return "\n\n".join("\n".join(block) for block in blocks if block)


def _classes(found: ItemDynamics) -> Iterator[str]:
    """A line a curve: how many items of each class, the ages' middle half."""
    from evalrun.reporting.dynamics_words import same_seed, tokens_text
    from evalrun.statistics.dynamics.item_classes import LOSING
    from evalrun.statistics.naming import run_name

    by_curve = list(found.classes.groupby(["model", "seed"], dropna=False, sort=False))
    width = max(5, max(len(run_name(own.iloc[0].to_dict())) for _, own in by_curve))
    heads = " ".join(f"{head:>8}" for head in _HEADS.values())
    yield f"{'items':<{width}} {heads}  lost by chance  age in tokens"
    for _, own in by_curve:
        row = own.iloc[0].to_dict()
        counts, label = dict(zip(own["class"], own["items"].astype(int), strict=True)), run_name(row)
        mine = found.items[(found.items["model"] == row["model"]) & same_seed(found.items, row["seed"])]
        low, middle, high = (tokens_text(float(age)) for age in mine["age"].quantile([0.25, 0.5, 0.75]).tolist())
        numbers = " ".join(f"{counts[name]:>8}" for name in _HEADS)
        chance = float(own.loc[own["class"].isin(LOSING), "by_chance"].sum())
        age = f"{middle} ({low} to {high})" if mine["age"].notna().any() else "–"
        yield f"{label:<{width}} {numbers}  {chance:>14.1f}  {age}"


def _parts(found: ItemDynamics) -> Iterator[str]:
    """A line a part and curve: its shape and its largest fall."""
    from evalrun.reporting.dynamics_words import q_said
    from evalrun.statistics.naming import run_name

    rows = [{**row, "part": f"{row['by']}={row['part']}"} for row in found.parts.to_dict("records")]
    wide, long = (max(5, *(len(name) for name in names)) for names in ([str(row["part"]) for row in rows],
                                                                     [run_name(row) for row in rows]))  # fmt: skip
    yield f"{'part':<{wide}} {'model':<{long}} {'items':>5}  {'shape':<13} largest fall"
    for row in rows:
        fall = ""
        if row["falls"]:
            fall = f"{_number(row['fall'])} from step {row['peak_step']:.0f} to {row['trough_step']:.0f}"
            fall += f" ({q_said(row['q'])}){', hidden in the mean' if row['hidden'] else ''}"
        yield f"{row['part']:<{wide}} {run_name(row):<{long}} {row['n']:>5.0f}  {row['label']:<13} {fall}".rstrip()


def _agreement(found: ItemDynamics) -> Iterator[str]:
    """A line a pair of curves, the first so many."""
    from evalrun.statistics.naming import run_name

    rows = found.agreement.to_dict("records")
    named = [(f"{run_name(row)} and {run_name(row, 'other_model', 'other_seed')}", row) for row in rows[:_PAIRS]]
    head = "answers that agree"
    width = max(len(head), max(len(name) for name, _ in named))
    yield f"{head:<{width}} {'observed':>8} {'by chance':>9}  {'kappa':<21} ages"
    for name, row in named:
        kappa, rho = (_interval(row, *names) for names in _INTERVALS)
        shares = f"{_number(row['agreement']):>8} {_number(row['expected']):>9}"
        yield f"{name:<{width}} {shares}  {kappa:<21} {rho}"
    if len(rows) > _PAIRS:
        yield f"and {len(rows) - _PAIRS} more pairs: agreement.csv"


_INTERVALS = (("kappa", "kappa_low", "kappa_high"), ("age_rho", "age_low", "age_high"))


def _interval(row: Mapping[Any, Any], middle: str, low: str, high: str) -> str:
    return f"{_number(row[middle])} [{_number(row[low])}, {_number(row[high])}]" if row[middle] == row[middle] else "-"


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:z.2f}"


def _wrapped(line: str) -> list[str]:
    """A sentence in lines, a number with its percent sign in one of them."""
    kept = line.replace(" %", "\xa0%")
    lines = textwrap.wrap(kept, _WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)
    return [one.replace("\xa0", " ") for one in lines]


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(key): _plain(value) for key, value in row.items()} for row in frame.to_dict("records")]


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value
