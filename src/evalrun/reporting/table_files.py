"""Which tables lie beside the report: the paper's in three formats, the others as CSV and, for papers, as LaTeX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import pandas as pd

from evalrun.reporting.csv_text import csv_text
from evalrun.reporting.effect_words import effect_name, effect_names
from evalrun.reporting.regression_table import (
    effects_csv,
    effects_latex,
    effects_markdown,
    latex_escape,
    q_text,
    raw_text,
    results_csv,
    titled,
)
from evalrun.statistics.findings import Findings
from evalrun.statistics.regression.interactions import EFFECTS
from evalrun.statistics.regression.orientation import turned
from evalrun.statistics.reliability.intervals import with_intervals
from evalrun.statistics.row_groups import row_groups

Column = tuple[str, Callable[[Any], str]]  # heading, and how a value is written


def table_files(study: Findings, raw: pd.DataFrame) -> dict[str, str]:
    """Path below the report's folder -> content.

    Args:
        study: What was found.
        raw: The tidy table as it came.
    """
    headline, correction, alpha = study.headline, study.choice.corrections[0], study.choice.alpha
    return {
        "effects.csv": effects_csv(headline),
        "effects.tex": effects_latex(turned(headline), correction, alpha),
        "effects.md": effects_markdown(turned(headline), correction, alpha),
        "results.csv": results_csv(raw),
        **{f"tables/{name}.csv": csv_text(frame) for name, of in TABLES.items() if len(frame := of(study))},
        "tables/methods.tex": _methods_latex(study),
        "tables/per_ten.tex": _per_ten_latex(study),
        "tables/falls.tex": latex_table(study.falls[study.falls["falls"]], _FALLS),
        "tables/diagnostics.tex": latex_table(study.diagnostics, _DIAGNOSTICS),
        "tables/noise.tex": latex_table(study.signal, _NOISE),
    }


def latex_table(frame: pd.DataFrame, columns: Mapping[str, Column]) -> str:
    """A booktabs table of some columns; the first is set left, the others right.

    Args:
        frame: Rows.
        columns: Column -> heading (as LaTeX has it) and a function from a value to text, which is escaped.
    """
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
        r"\toprule",
        " & ".join(heading for heading, _ in columns.values()) + r" \\",
        r"\midrule",
    ]
    for row in frame.to_dict("records"):
        cells = ["--" if pd.isna(row[name]) else latex_escape(write(row[name])) for name, (_, write) in columns.items()]
        lines.append(" & ".join(cells) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _methods_latex(study: Findings) -> str:
    """Tasks and effects down, methods across: t and corrected p, bold where it is below the level."""
    methods, alpha = list(study.choice.methods), study.choice.alpha
    heads = " & ".join(rf"\multicolumn{{2}}{{c}}{{{latex_escape(name)}}}" for name in methods)
    lines = [
        r"% needs \usepackage{booktabs}",
        rf"\begin{{tabular}}{{ll{'rl' * len(methods)}}}",
        r"\toprule",
        rf"Task & Effect & {heads} \\",
        r"\midrule",
    ]
    for (_, effect), rows in row_groups(turned(study.effects), "task", "effect").items():
        by_method = {row["method"]: row for row in rows}
        cells = []
        for method in methods:
            row = by_method[method]
            q: str = "" if pd.isna(row["q"]) else q_text(row["q"]).replace("<", r"\ensuremath{<}")
            t: str = f"${row['t']:.2f}$" if pd.notna(row["t"]) else "--"
            cells += [t, rf"\textbf{{{q}}}" if row["q"] < alpha else q]
        name = effect_name(str(effect), study.choice.axis)
        lines.append(" & ".join([latex_escape(titled(rows[0])), name, *cells]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"]) + "\n"


def _per_ten_latex(study: Findings) -> str:
    """Tasks down: the effects per factor of ten with their intervals, in the metric's units, by the headline method."""
    wide = [
        {"title": titled(rows[0]), **{str(row["effect"]): raw_text(row) for row in rows}}
        for rows in row_groups(turned(study.headline), "task").values()
    ]
    heads = dict(zip(EFFECTS, effect_names(study.choice.axis), strict=True))
    columns: dict[str, Column] = {"title": ("Task", str)}
    columns |= {effect: (name[0].upper() + name[1:], _plain) for effect, name in heads.items()}
    return latex_table(pd.DataFrame(wide), columns)


def _plain(text: str) -> str:
    return text.replace("−", "-")


def _fixed(digits: int) -> Callable[[float], str]:
    return lambda value: f"{value:.{digits}f}"


DYNAMICS = ("classes", "losses", "transitions", "agreement", "returned", "distractors")


def dynamics_table(name: str, study: Findings) -> pd.DataFrame:
    """One of the tables about items over training, of all tasks."""
    frames = []
    for one in study.dynamics.tasks:
        own: pd.DataFrame = getattr(one, name)
        if len(own):
            frames.append(pd.DataFrame({"task": one.task, "title": one.title, **own}))
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame()


_POINTS = ["task", "model", "seed", "step", "tokens", "loss", "loss_stderr", "metric", "value", "stderr"]
_INTERVALS = ["task", "model", "seed", "step", "metric", "value", "low", "high", "interval", "n"]
# Name -> frame; written as CSV where it has a row.
TABLES: dict[str, Callable[[Findings], pd.DataFrame]] = {
    "coverage": lambda study: study.coverage.tasks,
    "coverage_cells": lambda study: study.coverage.cells,
    "groups": lambda study: study.groups.table,
    "methods": lambda study: study.effects,
    "pooled": lambda study: study.pooled,
    "diagnostics": lambda study: study.diagnostics,
    "shapes": lambda study: study.shapes,
    "shapes_over_size": lambda study: study.size_shapes,
    "evidence": lambda study: study.evidence,
    "predictions": lambda study: study.predictions,
    "over_loss": lambda study: study.over_loss.curves,
    "over_loss_points": lambda study: study.over_loss.rows.filter(items=_POINTS),
    "over_loss_forecasts": lambda study: study.over_loss.forecasts,
    "over_loss_hold_out": lambda study: study.over_loss.hold_out,
    "two_stories": lambda study: study.two_stories,
    "sensitivity": lambda study: study.sensitivity,
    "expected": lambda study: study.expected,
    "falls": lambda study: study.falls,
    "stages": lambda study: study.tuning.did,
    "stage_starts": lambda study: study.tuning.starts.table,
    "stage_start_falls": lambda study: study.tuning.starts.falls,
    "continuous": lambda study: study.continuous,
    "artefacts": lambda study: study.artefacts,
    "samples": lambda study: study.samples,
    "clustered": lambda study: study.clustered,
    "item_model": lambda study: study.item_effects,
    **{f"items_{name}": partial(dynamics_table, name) for name in DYNAMICS},
    "words": lambda study: study.word_correlates,
    "items_parts": lambda study: study.parts.found,
    "items_part_curves": lambda study: study.parts.curves,
    "noise": lambda study: study.signal,
    "seeds": lambda study: study.seeds,
    "intervals": lambda study: with_intervals(study.table, study.choice.alpha)[_INTERVALS],
}
_FALLS: dict[str, Column] = {
    "title": ("Task", str),
    "model": ("Model", str),
    "peak_step": ("Peak at step", _fixed(0)),
    "trough_step": ("Trough at step", _fixed(0)),
    "fall": ("Fall", _fixed(3)),
    "low": ("from", _fixed(3)),
    "high": ("to", _fixed(3)),
    "q": ("$q$", q_text),
    "method": ("Test", str),
}
_DIAGNOSTICS: dict[str, Column] = {
    "title": ("Task", str),
    "autocorrelation": ("Autocorrelation", _fixed(2)),
    "dispersion": (r"$\chi^2$/df", _fixed(1)),
    "influence": ("Largest Cook's distance", _fixed(2)),
    "aic_linear": ("AIC", _fixed(1)),
    "aic_quadratic": ("AIC with squares", _fixed(1)),
}
_NOISE: dict[str, Column] = {
    "title": ("Task", str),
    "signal": ("Signal", _fixed(3)),
    "noise": ("Noise", _fixed(3)),
    "snr": ("Signal/noise", _fixed(1)),
    "pooled_snr": ("pooled", _fixed(1)),
}
