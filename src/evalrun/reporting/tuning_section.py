"""The report's sections on stages after pretraining: what each of them did, and where a tuning starts from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pandas as pd

from evalrun.core.columns import FIRST_STAGE
from evalrun.reporting.regression_table import q_text
from evalrun.reporting.scales import si
from evalrun.reporting.section_tables import Section, SectionPicture, TableCell, address_of, number_cell, signed
from evalrun.reporting.small_multiples import drawn_over_training
from evalrun.statistics.findings import Findings
from evalrun.statistics.naming import run_name
from evalrun.statistics.tuning.start_grid import StartGrid, start_sentences
from evalrun.statistics.tuning.what_tuning_did import tuning_sentences

_MOST = 60  # rows of a table in the page
_ORDER = {"worse": 0, "better": 1, "no difference shown": 2, "not comparable": 3}


def stage_sentences(study: Findings) -> Iterator[str]:
    """What the stages did, in words."""
    yield from tuning_sentences(study.tuning.did, study.choice.alpha)
    yield from start_sentences(study.tuning.starts)


def what_stages_did(study: Findings) -> Section | None:
    """Each stage against the last checkpoint before it, what it broke first; None without later stages."""
    found = study.tuning.did
    if found.empty:
        return None
    order = found["verdict"].map(_ORDER)
    found = found.assign(_order=order, _size=-found["difference"].abs()).sort_values(["_order", "_size"], kind="stable")
    counts = found["verdict"].value_counts()
    return Section(
        "What did each stage do?",
        "The last checkpoint of each stage against the last one before it, on the same items: "
        f"{counts.get('worse', 0)} of {len(found)} comparisons got worse, "
        f"{counts.get('better', 0)} better (q < {study.choice.alpha:g}, one "
        "correction over all of this table). Lost and gained: items whose answer changed. Steps are those that a stage "
        f"counts; elsewhere in this report they count from the beginning of {FIRST_STAGE}.",
        ["Stage", "Task", "Model", "Before", "After", "Difference", "lost", "gained", "q", "It is"],
        [_row(row) for row in found.head(_MOST).to_dict("records")],
        f"The first {_MOST} of {len(found)}; all are in tables/stages.csv." if len(found) > _MOST else "",
    )


def _row(row: Mapping[Any, Any]) -> list[TableCell]:
    """One comparison: both values with their places, the difference, what items did, and the verdict."""
    interval = "" if pd.isna(row["low"]) else f"{signed(row['low'], 3)} to {signed(row['high'], 3)}; {row['method']}"
    shown = row["verdict"] in ("worse", "better")
    lost, gained = ("fell", "rose") if row["higher_is_better"] else ("rose", "fell")
    return [
        TableCell(str(row["stage"]), "name"),
        TableCell(str(row["title"])),
        TableCell(run_name(row), "name"),
        TableCell(_place(row["before"], f"{row['stage_before']} ", row["stage_before_step"]), "number"),
        TableCell(_place(row["after"], "", row["stage_step"]), "number"),
        TableCell(signed(row["difference"], 3), "number yes" if shown else "number not", interval),
        number_cell(row[lost], 0),
        number_cell(row[gained], 0),
        TableCell("–" if pd.isna(row["q"]) else q_text(row["q"]), "number q"),
        TableCell(str(row["verdict"]), "", str(row["note"])),
    ]


def _place(value: float, stage: str, step: float) -> str:
    return "–" if pd.isna(value) else f"{value:.3f} ({stage}step {step:.0f})"


def where_tuning_starts(study: Findings) -> Section | None:
    """Tuned models against the tokens of pretraining that they were started from; None without such a grid."""
    starts = study.tuning.starts
    if starts.table.empty:
        return None
    fell = {(row["task"], row["model"]): row for row in starts.falls[starts.falls["falls"]].to_dict("records")}
    rows = []
    for row in starts.table.head(_MOST).to_dict("records"):
        fall = fell.get((row["task"], f"{row['model']} after {row['stage']}"), {})
        is_trough = fall.get("trough_step") == row["start_step"]
        rows.append(
            [
                TableCell(str(row["title"])),
                TableCell(run_name(row), "name"),
                TableCell(str(row["stage"]), "name"),
                TableCell(f"{si(row['start_tokens'])} (step {row['start_step']:.0f})", "number"),
                number_cell(row["before"], 3),
                TableCell(f"{row['after']:.3f}", "number yes" if is_trough else "number"),
                TableCell(f"q {q_text(fall['q'])}" if is_trough else "", "number q"),
            ]
        )
    more = f"The first {_MOST} of {len(starts.table)}; all are in tables/stage_starts.csv."
    return Section(
        "Does more pretraining make the tuned model worse?",
        "The same tuning from several checkpoints of pretraining (Springer et al. 2025, arXiv:2503.19206): the value "
        "of each before tuning and after it. In bold: where the tuned model is worse than from an earlier start, "
        "beyond what items and the noise between checkpoints explain, corrected over all its starts and curves.",
        ["Task", "Model", "Stage", "Tokens of pretraining", "Before", "After", ""],
        rows,
        more if len(starts.table) > _MOST else "",
        [_picture(study)],
    )


def given_of_starts(starts: StartGrid, axis: str) -> tuple[Any, ...]:
    """What `drawn_over_training` draws: a panel a task, a line a model before tuning and one after it."""
    return starts.rows.drop(columns="stage"), axis


def _picture(study: Findings) -> SectionPicture:
    image = drawn_over_training(*given_of_starts(study.tuning.starts, study.choice.axis)).svg().encode()
    return SectionPicture(
        "Before and after tuning",
        "A panel a task; a line a model before tuning, and one after it",
        "Values before and after tuning against the tokens of pretraining",
        address_of(image),
        kind="drawn",
    )
