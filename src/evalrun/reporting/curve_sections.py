"""The report's sections about single curves: shapes over size, falls, artefacts, noise, seeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from evalrun.reporting.regression_table import q_text
from evalrun.reporting.section_tables import Section, TableCell, interval_cell, number_cell
from evalrun.reporting.sentences import course, smallest_change_text
from evalrun.statistics.findings import Findings
from evalrun.statistics.items.continuous import METRICS as CONTINUOUS
from evalrun.statistics.naming import run_name
from evalrun.statistics.row_groups import row_groups
from evalrun.statistics.tuning.stage_rows import step_names

MOST = 40  # rows of a table in the page; all are in the CSV file beside it


def over_size(study: Findings) -> Section | None:
    """Labels over size, a few steps of each task."""
    shapes = study.size_shapes[study.size_shapes["label"] != "too few points"]
    steps = sorted(shapes["step"].unique())
    if not steps:
        return None
    chosen = [steps[round(i * (len(steps) - 1) / 7)] for i in range(8)] if len(steps) > 8 else steps
    rows = []
    for own in row_groups(shapes[["task", "title", "step", "label", "sentence"]], "task").values():
        by_step = {row["step"]: row for row in own}
        cells = [
            TableCell(by_step[step]["label"], "", by_step[step]["sentence"]) if step in by_step else TableCell("")
            for step in chosen
        ]
        rows.append([TableCell(str(own[0]["title"])), *cells])
    return Section(
        "Shapes over size",
        "Each task’s values over model size at one step: inverse is inverse scaling proper. Hover for the course.",
        ["Task", *(f"step {step:.0f}" for step in chosen)],
        rows,
        f"{len(chosen)} of {len(steps)} steps; all are in tables/shapes_over_size.csv." if len(steps) > 8 else "",
    )


def falls(study: Findings) -> Section | None:
    """Falls after a peak that count, the largest first."""
    curve = ["task", "model", "seed"]
    noise = study.shapes[[*curve, "training_noise"]]
    found = study.falls[study.falls["falls"]].merge(noise, on=curve, how="left")
    found = found.sort_values("changes", ascending=False, kind="stable")
    shown = found.head(MOST)
    runs = _runs(study.table[study.table["step"].isin([*shown["peak_step"], *shown["trough_step"]])])
    names = step_names(study.table)
    rows, least = [], smallest_change_text(study.thresholds.smallest_change)
    for row in shown.to_dict("records"):
        again = row["recovered"]
        rows.append(
            [
                TableCell(str(row["title"])),
                TableCell(run_name(row), "name"),
                _checkpoint(row, "peak", runs, names),
                _checkpoint(row, "trough", runs, names),
                interval_cell(row["fall"], row["low"], row["high"], str(row["note"])),
                number_cell(row["changes"], 1),
                number_cell(row["training_noise"], 3),
                TableCell(q_text(row["q"]), "number"),
                TableCell("" if pd.isna(again) else "yes" if again else "no"),
                TableCell(str(row["method"]).removesuffix(" from standard errors"), "name"),
            ]
        )
    return Section(
        "Did it get worse?",
        f"The largest fall that counts after a peak, of every curve that has one ({len(found)} of {len(study.falls)} "
        f"curves): the smallest change of interest or more ({least}), and beyond what items and the noise between "
        f"checkpoints explain (q < {study.choice.alpha:g} over all pairs of all curves). The interval holds for all "
        "pairs of the curve’s checkpoints at once. Test: trend, where the whole curve shows a fall that no pair shows "
        "alone. Ranked by the fall in smallest changes. Where lower is better the values rise.",
        ["Task", "Model", "Peak", "Trough", "Fall", "in smallest changes", "noise", "q", "recovers", "Test"],
        rows,
        f"The first {MOST} of {len(found)}; all are in tables/falls.csv." if len(found) > MOST else "",
    )


def _runs(table: pd.DataFrame) -> dict[tuple[Any, ...], str]:
    """Task, model, seed (-1 for none) and step -> the MLflow run."""
    places = zip(table["task"], table["model"], table["seed"].fillna(-1), table["step"], strict=True)
    return dict(zip(places, table["run_id"], strict=True))


def _checkpoint(
    row: Mapping[Any, Any], which: str, runs: Mapping[tuple[Any, ...], str], names: Mapping[tuple[str, float], str]
) -> TableCell:
    """A curve's value at its peak or trough, with the run that it is from.

    Args:
        row: Of the falls.
        which: peak or trough.
        runs: `_runs`.
        names: `step_names`.
    """
    step = row[f"{which}_step"]
    named = names.get((row["model"], step), f"step {step:.0f}")
    place = row["task"], row["model"], -1 if pd.isna(row["seed"]) else row["seed"], step
    return TableCell(f"{row[f'{which}_value']:.3f} ({named})", "number", run=runs.get(place, ""))


def artefacts(study: Findings) -> Section | None:
    """Jumps of accuracy that a continuous metric does not show, and the other way round."""
    found = study.artefacts[study.artefacts["label"] != "none"]
    rows = [
        [
            TableCell(str(row["title"])),
            TableCell(run_name(row), "name"),
            TableCell(CONTINUOUS[row["metric"]].title),
            TableCell(str(row["label"]), "yes" if row["label"] != "in both" else ""),
            TableCell(course(row).replace(" -", " −"), "words"),
        ]
        for row in found.head(MOST).to_dict("records")
    ]
    return Section(
        "Is it the metric?",
        "Accuracy set against metrics that move with the log-probabilities of the choices, on the same items. A jump "
        "that is only in accuracy says where a smooth change crosses the threshold between right and wrong.",
        ["Task", "Model", "Beside accuracy", "", "What is seen"],
        rows,
        f"The first {MOST} of {len(found)}; all are in tables/artefacts.csv." if len(found) > MOST else "",
    )


def signal(study: Findings) -> Section | None:
    """The models' spread by the noise between checkpoints, a row a task."""
    rows = [
        [
            TableCell(str(row["title"])),
            number_cell(row["signal"], 3),
            number_cell(row["noise"], 3),
            number_cell(row["snr"], 1),
            number_cell(row["pooled_snr"], 1),
            TableCell(str(row["note"])),
        ]
        for row in study.signal.to_dict("records")
    ]
    return Section(
        "Signal and noise",
        "Signal: the spread of the models’ final values, divided by their mean. Noise: the relative standard deviation "
        "of the largest model’s checkpoints in the last doubling of tokens (two at least); pooled: of all models’. A "
        "ratio near 1 says that models differ by no more than the checkpoints of one.",
        ["Task", "signal", "noise", "signal/noise", "pooled", "Note"],
        rows,
    )


def seeds(study: Findings) -> Section | None:
    """Spread between training seeds against that of single checkpoints, a row a task."""
    known = study.seeds[study.seeds["final_sd"].notna()]
    rows = [
        [
            TableCell(str(row["title"])),
            number_cell(row["seeds"], 0),
            number_cell(row["seed_sd"], 4),
            number_cell(row["residual_sd"], 4),
            number_cell(row["icc"], 2),
            TableCell(f"{row['final_sd']:.4f} ({row['final_low']:.4f} to {row['final_high']:.4f})", "number"),
            number_cell(row["difference"], 3),
            TableCell("yes" if row["exceeds"] else "no"),
        ]
        for row in known.to_dict("records")
    ]
    return Section(
        "Training seeds",
        "Standard deviations between seeds (lasting) and of single checkpoints; at the final step with its interval; "
        "and whether the largest model differs from the smallest by more than seeds do.",
        [
            "Task",
            "seeds",
            "sd of seeds",
            "sd of checkpoints",
            "share of seeds",
            "final sd",
            "largest − smallest",
            "beyond seeds",
        ],
        rows,
    )
