"""The regression table for machines and for papers: CSV, LaTeX, Markdown, plain text."""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Mapping

import pandas as pd

from evalrun.core.columns import TABLE_COLUMNS
from evalrun.core.text import markdown_escape
from evalrun.statistics.regression.interactions import CORRECTIONS, EFFECTS

CSV_COLUMNS = [
    *("task", "effect", "estimate", "low", "high", "t", "df", "p", "q", "stderr"),
    *("raw_estimate", "raw_low", "raw_high", "n", "clusters", "note", "title"),
]
_LATEX = {
    "\\": r"\textbackslash{}",
    **{character: "\\" + character for character in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}
_WIDTH = 100


def effects_csv(effects: pd.DataFrame) -> str:
    """One line for each task and effect, with the columns of `CSV_COLUMNS`; missing numbers are empty."""
    return csv_text(effects[CSV_COLUMNS])


def results_csv(table: pd.DataFrame) -> str:
    """The tidy table as it came, with the columns of `columns.TABLE_COLUMNS`: enough to repeat the analysis."""
    return csv_text(table.reindex(columns=list(TABLE_COLUMNS)))


def effects_latex(effects: pd.DataFrame, correction: str, alpha: float) -> str:
    """A booktabs table in the layout of the paper's Table 1: one row a task, t(df) and corrected p for each effect."""
    lines = [
        r"% needs \usepackage{booktabs}",
        r"\begin{tabular}{lrlrlrl}",
        r"\toprule",
        r" & \multicolumn{2}{c}{Parameters} & \multicolumn{2}{c}{Tokens} & \multicolumn{2}{c}{Interaction} \\",
        r"\cmidrule(lr){2-3} \cmidrule(lr){4-5} \cmidrule(lr){6-7}",
        r"Task & $t$ & $q$ & $t$ & $q$ & $t$ & $q$ \\",
        r"\midrule",
    ]
    for _, rows in effects.groupby("task", sort=False):
        cells = [latex_escape(str(rows["title"].iloc[0]))]
        for row in _by_effect(rows):
            pair = ["--", "--"]
            if pd.notna(row["t"]):
                q = q_text(row["q"]).replace("<", r"\ensuremath{<}")
                pair = [f"$t({row['df']:.0f}) = {row['t']:.2f}$", f"\\textbf{{{q}}}" if row["q"] < alpha else q]
            cells += pair
        lines.append(" & ".join(cells) + r" \\")
    how = f"$q$: $p$ corrected over {effects['p'].notna().sum()} tests ({latex_escape(CORRECTIONS[correction])})"
    bold = f"bold: $q < {alpha:g}$"
    lines += [r"\bottomrule", rf"\multicolumn{{7}}{{l}}{{\footnotesize {how}; {bold}.}} \\", r"\end{tabular}"]
    return "\n".join(lines) + "\n"


def effects_markdown(effects: pd.DataFrame, correction: str, alpha: float) -> str:
    """A pipe table, one row a task; significant effects are bold."""
    lines = ["| Task | Parameters | Tokens | Interaction |", "|---|---|---|---|"]
    for _, rows in effects.groupby("task", sort=False):
        cells = [markdown_escape(str(rows["title"].iloc[0]))]
        for row in _by_effect(rows):
            text = "–" if pd.isna(row["t"]) else f"t({row['df']:.0f}) = {row['t']:.2f}, q {q_relation(row['q'])}"
            cells.append(f"**{text}**" if row["q"] < alpha else text)
        lines.append("| " + " | ".join(cells) + " |")
    tests = effects["p"].notna().sum()
    lines += ["", f"q: p corrected over {tests} tests ({CORRECTIONS[correction]}); bold: q < {alpha:g}."]
    notes = [f"- {note}" for note in unfitted(effects, markdown_escape)]
    lines += ["", *notes] if notes else []
    return "\n".join(lines) + "\n"


def effects_text(
    effects: pd.DataFrame, shapes: Mapping[str, str], largest: str, correction: str, alpha: float, width: int = 100
) -> str:
    """The table for a terminal; where that is narrow, with names of tasks cut in the middle.

    Args:
        effects: What `fit_interactions` returns.
        shapes: Task name -> shape in the largest model.
        largest: That model's name.
        correction: The correction's short name.
        alpha: Level below which q is marked.
        width: Columns, 80 or more.
    """
    tasks = [(str(task), _by_effect(group)) for task, group in effects.groupby("task", sort=False)]
    numbers = [[_t(row["t"]) for row in group] for _, group in tasks]
    places = [max(map(len, column)) for column in zip(*numbers, strict=True)]
    rows = [["task", "parameters t (q)", "tokens t (q)", "interaction t (q)", "shape"]]
    for task, group in tasks:
        cells = [_cell(row["t"], row["q"], alpha, place) for row, place in zip(group, places, strict=True)]
        rows.append([task, *cells, shapes.get(task, "")])
    others = sum(max(len(row[column]) + 2 for row in rows) for column in range(1, 5))
    rows = [[_cut(task, min(24, max(12, width - others))), *cells] for task, *cells in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(5)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    tests = effects["p"].notna().sum()
    legend = f"* q < {alpha:g}, corrected over {tests} tests ({CORRECTIONS[correction]}). Shape: in {largest}."
    return "\n".join(line for part in (*lines, "", legend, *unfitted(effects)) for line in _wrapped(part, width)) + "\n"


def unfitted(effects: pd.DataFrame, escape: Callable[[str], str] = str) -> list[str]:
    """Why numbers are missing or were fitted otherwise: `task: note`, once for each note of a task."""
    noted = effects[effects["note"] != ""]
    told = noted.groupby(["task", "note"], sort=False)["effect"].agg(", ".join).reset_index()
    return [
        f"{escape(str(task))}{'' if len(names.split(', ')) == len(EFFECTS) else f', {names}'}: {escape(str(note))}"
        for task, note, names in told.itertuples(index=False)
    ]


def q_text(q: float) -> str:
    """A corrected p to three decimals: `0.012`, `<0.001`."""
    return "<0.001" if q < 0.0005 else f"{q:.3f}"


def q_relation(q: float) -> str:
    """A corrected p to three decimals with its relation: `= 0.012`, `< 0.001`."""
    return "< 0.001" if q < 0.0005 else f"= {q:.3f}"


def latex_escape(text: str) -> str:
    r"""Text as LaTeX shows it: `_` becomes `\_`."""
    return "".join(_LATEX.get(character, character) for character in text)


def _by_effect(rows: pd.DataFrame) -> list[dict[str, float]]:
    by_name = {str(row["effect"]): row for row in rows.to_dict("records")}
    return [{str(name): value for name, value in by_name[effect].items()} for effect in EFFECTS]


def _t(t: float) -> str:
    return "-" if pd.isna(t) else f"{t:.2f}"


def _cell(t: float, q: float, alpha: float, places: int) -> str:
    if pd.isna(t):
        return "-"
    return f"{_t(t):>{places}} ({q_text(q)})" + ("*" if q < alpha else "")


def _cut(text: str, width: int) -> str:
    """Cut in the middle: names of one family differ at their ends."""
    if len(text) <= width:
        return text
    tail = (width - 3) // 3
    return text[: width - 3 - tail] + "..." + text[-tail:]


def _wrapped(line: str, width: int) -> list[str]:
    return [line] if len(line) <= width else textwrap.wrap(line, width, subsequent_indent="  ")


def csv_text(frame: pd.DataFrame) -> str:
    """A frame as CSV, whole numbers as such."""
    whole = frame.copy()
    for column in ("seed", "step", "n", "tokens", "df"):
        if column in whole and pd.api.types.is_float_dtype(whole[column]) and (whole[column].dropna() % 1 == 0).all():
            whole[column] = whole[column].astype("Int64")  # a missing seed makes the others 1.0, 2.0
    return str(whole.to_csv(index=False, lineterminator="\n"))
