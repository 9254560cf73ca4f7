"""The regression table for machines and for papers: CSV, LaTeX, Markdown."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from evalrun.core.columns import table_columns
from evalrun.core.text import listed, markdown_escape
from evalrun.reporting.csv_text import csv_text
from evalrun.reporting.effect_words import DOWN, TURNED, axis_note, effect_names
from evalrun.reporting.section_tables import signed
from evalrun.statistics.regression.equivalence import COLUMNS
from evalrun.statistics.regression.interactions import CORRECTIONS, EFFECTS, METHODS
from evalrun.statistics.row_groups import row_groups

CSV_COLUMNS = [
    *("task", "effect", "estimate", "low", "high", "t", "df", "p", "q", "stderr"),
    *("raw_estimate", "raw_low", "raw_high", "n", "clusters", "axis", "higher_is_better", "method", "note", "title"),
    *COLUMNS,
]
_TOLD = 4  # tasks that a note names
_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    DOWN: r"\ensuremath{\downarrow}",
    ">": r"\textgreater{}",
}


def effects_csv(effects: pd.DataFrame) -> str:
    """One line for each task and effect, with the columns of `CSV_COLUMNS`; missing numbers are empty."""
    return csv_text(effects[CSV_COLUMNS])


def results_csv(table: pd.DataFrame) -> str:
    """The tidy table as it came, with the columns of `columns.TABLE_COLUMNS`: enough to repeat the analysis."""
    return csv_text(table.reindex(columns=list(table_columns(table.columns))))


def effects_latex(effects: pd.DataFrame, correction: str, alpha: float) -> str:
    """A booktabs table in the layout of the paper's Table 1: one row a task, t(df) and corrected p for each effect.

    Args:
        effects: Rows of one method, as `orientation.turned` returns them.
        correction: The correction's short name.
        alpha: Level below which q is bold.
    """
    heads = [rf"\multicolumn{{2}}{{c}}{{{name[0].upper()}{name[1:]}}}" for name in effect_names(_axis(effects))]
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{tabular}{lrlrlrl}",
        r"\toprule",
        rf" & {' & '.join(heads)} \\",
        r"\cmidrule(lr){2-3} \cmidrule(lr){4-5} \cmidrule(lr){6-7}",
        r"Task & $t$ & $q$ & $t$ & $q$ & $t$ & $q$ \\",
        r"\midrule",
    ]
    for rows in row_groups(effects, "task").values():
        cells = [latex_escape(titled(rows[0]))]
        for row in by_effect(rows):
            pair = ["--", "--"]
            if pd.notna(row["p"]):
                q = q_text(row["q"]).replace("<", r"\ensuremath{<}")
                pair = [f"${t_text(row)}$", f"\\textbf{{{q}}}" if row["q"] < alpha else q]
            cells += pair
        lines.append(" & ".join(cells) + r" \\")
    how = f"$q$: $p$ corrected over {effects['p'].notna().sum()} tests ({latex_escape(CORRECTIONS[correction])})"
    said = [f"By {latex_escape(_method(effects))}. {how}; bold: $q < {alpha:g}$.", *map(latex_escape, _signs(effects))]
    feet = [rf"\multicolumn{{7}}{{l}}{{\footnotesize {line}}} \\" for line in said]
    lines += [r"\bottomrule", *feet, r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def effects_markdown(effects: pd.DataFrame, correction: str, alpha: float) -> str:
    """A pipe table, one row a task; significant effects are bold. Arguments as for `effects_latex`."""
    heads = [name[0].upper() + name[1:] for name in effect_names(_axis(effects))]
    lines = [f"| Task | {' | '.join(heads)} |", "|---|---|---|---|"]
    for rows in row_groups(effects, "task").values():
        cells = [markdown_escape(titled(rows[0]))]
        for row in by_effect(rows):
            text = "–" if pd.isna(row["p"]) else f"{t_text(row)}, q {q_relation(row['q'])}"
            cells.append(f"**{text}**" if row["q"] < alpha else text)
        lines.append("| " + " | ".join(cells) + " |")
    tests = effects["p"].notna().sum()
    how = f"q: p corrected over {tests} tests ({CORRECTIONS[correction]}); bold: q < {alpha:g}."
    lines += ["", " ".join([f"By {_method(effects)}. {how}", *_signs(effects)])]
    lines += ["", *_per_ten_markdown(effects, heads)]
    notes = [f"- {note}" for note in unfitted(effects, markdown_escape)]
    lines += ["", *notes] if notes else []
    return "\n".join(lines) + "\n"


def _per_ten_markdown(effects: pd.DataFrame, heads: list[str]) -> list[str]:
    """A pipe table of the effects per factor of ten, in the metric's units, with their intervals."""
    lines = [f"| Task, per factor of ten | {' | '.join(heads)} |", "|---|---|---|---|"]
    for rows in row_groups(effects, "task").values():
        cells = [markdown_escape(titled(rows[0])), *(raw_text(row) for row in by_effect(rows))]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def unfitted(effects: pd.DataFrame, escape: Callable[[str], str] = str) -> list[str]:
    """Why numbers are missing or doubtful: `task, effects: note`, once for all tasks that share it."""
    noted = effects[effects["note"] != ""]
    told = noted.groupby(["task", "note"], sort=False)["effect"].agg(", ".join).reset_index()
    found = []
    for (names, note), rows in told.groupby(["effect", "note"], sort=False):
        tasks = listed([escape(str(task)) for task in rows["task"]], _TOLD)
        of = "" if len(str(names).split(", ")) == len(EFFECTS) else f", {names}"
        found.append(f"{tasks}{of}: {escape(str(note))}")
    return found


def t_text(row: Mapping[Any, Any]) -> str:
    """`t(60) = -2.88`; degrees of freedom that are no whole number with one digit, none where t has none."""
    if pd.isna(row["t"]):
        return "no t"
    df = "" if pd.isna(row["df"]) else f"({df_text(row['df'])})"
    return f"t{df} = {row['t']:.2f}"


def df_text(df: float) -> str:
    """Degrees of freedom: `60`, `4.3`."""
    return f"{df:.0f}" if abs(df - round(df)) < 0.05 else f"{df:.1f}"


def raw_text(row: Mapping[Any, Any]) -> str:
    """`+0.035 (+0.010 to +0.060)`: an effect per factor of ten with its interval."""
    if pd.isna(row["raw_estimate"]):
        return "–"
    text = signed(row["raw_estimate"], 3)
    return text if pd.isna(row["raw_low"]) else f"{text} ({signed(row['raw_low'], 3)} to {signed(row['raw_high'], 3)})"


def titled(row: Mapping[Any, Any]) -> str:
    """A task's title, with an arrow where less is better of its metric."""
    return str(row["title"]) + ("" if row["higher_is_better"] else f" {DOWN}")


def _axis(effects: pd.DataFrame) -> str:
    return str(effects["axis"].iloc[0])


def _method(effects: pd.DataFrame) -> str:
    return METHODS[str(effects["method"].iloc[0])].name


def _signs(effects: pd.DataFrame) -> list[str]:
    """What must be said of the signs, a sentence each."""
    said = [axis_note(_axis(effects))] if axis_note(_axis(effects)) else []
    return said if effects["higher_is_better"].all() else [*said, TURNED]


def q_text(q: float) -> str:
    """A corrected p to three decimals: `0.012`, `<0.001`."""
    return "<0.001" if q < 0.0005 else f"{q:.3f}"


def q_relation(q: float) -> str:
    """A corrected p to three decimals with its relation: `= 0.012`, `< 0.001`."""
    return "< 0.001" if q < 0.0005 else f"= {q:.3f}"


def latex_escape(text: str) -> str:
    r"""Text as LaTeX shows it: `_` becomes `\_`."""
    return "".join(_LATEX.get(character, character) for character in text)


def by_effect(rows: Sequence[Mapping[Any, Any]]) -> list[Mapping[Any, Any]]:
    """The rows of one task and method in the order of `EFFECTS`."""
    by_name = {str(row["effect"]): row for row in rows}
    return [by_name[effect] for effect in EFFECTS]
