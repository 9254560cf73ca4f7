"""The report: one HTML file that needs nothing else, to be put beside a paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any

import pandas as pd

from evalrun.core.causes import by_cause
from evalrun.core.text import counted
from evalrun.core.version import __version__
from evalrun.reporting.curve_view import CurveView, curve_view, final_over_size
from evalrun.reporting.effect_words import DOWN, effect_names, meaning, signs, which_stars
from evalrun.reporting.equivalence_words import smallest_effect_text
from evalrun.reporting.figures import Series
from evalrun.reporting.groups_section import group_tree
from evalrun.reporting.highlights import examples
from evalrun.reporting.metric_names import ACCURACIES, metric_name, value_name
from evalrun.reporting.page_templates import page_template
from evalrun.reporting.panels import panel
from evalrun.reporting.regression_table import df_text, q_relation, unfitted
from evalrun.reporting.scales import si
from evalrun.reporting.sections import references, sections
from evalrun.reporting.sentences import course, findings, rank, smallest_change_text
from evalrun.reporting.small_curves import sparks
from evalrun.reporting.tasks_of_a_page import tasks_of_a_page
from evalrun.statistics.findings import Findings
from evalrun.statistics.naming import run_name
from evalrun.statistics.regression.interactions import CORRECTIONS, EFFECTS, METHODS
from evalrun.statistics.regression.orientation import turned
from evalrun.statistics.shapes.thresholds import ShapeSettings

_LIBRARIES = ("numpy", "scipy", "pandas", "statsmodels", "matplotlib")
_MOST_ROWS = 500  # of a table in the page; more are in the CSV file beside it
_PARAMS = {
    "nominal": "nominal (as the models' names say)",
    "total": "total (embeddings included)",
    "nonembedding": "without input embedding and unembedding",
}


def render(study: Findings, context: Mapping[str, str], runs_at: str = "") -> str:
    """The report's HTML: names and notes are escaped, nothing is loaded from elsewhere.

    Args:
        study: What was found.
        context: Further lines of the report's settings: name -> value.
        runs_at: The address of an MLflow run, `{run}` for its id, for links; empty for none.
    """
    template = page_template("page.html.j2")
    view = curve_view(study)
    series, dark = view.series(study.table), view.series(study.table, dark=True)
    colors = {light.color: f"var(--s{i})" for i, light in enumerate(series)}
    groups = [(str(task), rows) for task, rows in study.table.groupby("task", sort=False)]
    opening = _opening(study, view, dict(groups), series, colors)
    methods = [_effects(effects) for effects in (study.headline, study.beside) if effects is not None]
    first = tasks_of_a_page(study.table)
    is_folded = len(groups) > len(first)
    tasks = [
        _task(study, view, task, rows, series, colors, methods)
        | panel(rows, series, colors, view.x, view.by, has_tile=is_folded)
        | {"id": f"task-{number}", "is_first": task in first}
        for number, (task, rows) in enumerate(groups, start=1)
    ]
    return template.render(
        tree=group_tree(study, series if view.over == "training" else [], colors),
        suite=study.suite,
        what=value_name(study.table),
        counts=_counts(study.table) | {"folded": f"{counted(len(groups) - len(first), 'more task')}"},
        findings=findings(study),
        opening=opening,
        runs_at=runs_at,
        legend=[(line.label, colors[line.color], line.dashes != "-") for line in series],
        light=[line.color for line in series],
        dark=[line.color for line in dark],
        groups=by_cause(tasks),
        first=_those(tasks, is_first=True),
        more=_those(tasks, is_first=False),
        has={
            "chance": bool(study.table["chance"].notna().any()),
            "seeds": bool(study.shapes.groupby(["task", "model"]).size().max() > 1),
            "stderr": bool(study.table["stderr"].notna().any()),
        },
        over=view.over,
        models=[line.label for line in series],
        largest="the largest model" if view.over == "training" and "largest" in rank(study) else view.where,
        shapes=[_evidence(row) for row in study.shapes.to_dict("records")] if len(study.shapes) <= _MOST_ROWS else [],
        curves=len(study.shapes),
        unfitted=unfitted(study.headline),
        notes=study.notes,
        settings=_settings(study, context),
        alpha=study.choice.alpha,
        axis={"tokens": "tokens", "flops": "FLOPs"}[study.choice.axis],
        effect_names=[name[0].upper() + name[1:] for name in effect_names(study.choice.axis)],
        stars=which_stars(study),
        signs=signs(study),
        beside=study.beside is not None,
        two_stories=bool(len(study.two_stories)),
        method=METHODS[study.choice.methods[0]].name,
        correction=CORRECTIONS[study.choice.corrections[0]],
        tests=int(study.headline["p"].notna().sum()),
        sections=sections(study),
        references=references(study),
    )


def _those(tasks: list[dict[str, Any]], is_first: bool) -> list[tuple[str, list[dict[str, Any]]]]:
    """The tasks of the first page, or the others, under the headings of all."""
    groups = [(cause, [task for task in own if task["is_first"] == is_first]) for cause, own in by_cause(tasks)]
    return [(cause, own) for cause, own in groups if own]


def _opening(
    study: Findings,
    view: CurveView,
    groups: Mapping[str, pd.DataFrame],
    series: list[Series],
    colors: Mapping[str, str],
) -> list[dict[str, Any]]:
    """The large pictures: what falls and what rises."""
    drawn = []
    shapes = study.shapes if view.over == "training" else final_over_size(study)
    for example in examples(study.table, shapes, view.over):
        rows = groups[example.task]
        drawing = panel(rows, series, colors, view.x, view.by, named=True)
        drawn.append({**vars(example), **drawing, "alt": f"{example.title}. {example.sentence} {_ends(rows, view)}"})
    return drawn


def _ends(rows: pd.DataFrame, view: CurveView) -> str:
    """In words where each line begins and ends: `tiny-xs goes from 0.50 to 0.15, ...`."""
    told = []
    rows = rows[rows[view.x] > 0]
    x, values = rows[view.x].to_numpy(dtype="float64"), rows["value"].to_numpy(dtype="float64")
    lines, names = pd.factorize(rows[view.by])
    for number, name in enumerate(names):
        own = lines == number
        first, last = (values[own & (x == end)].mean() for end in (x[own].min(), x[own].max()))
        line = str(name) if view.by == "model" else f"step {float(str(name)):.0f}"
        told.append(f"{line} goes from {first:.2f} to {last:.2f}")
    return "; ".join(told) + "."


def _counts(table: pd.DataFrame) -> dict[str, str]:
    """How many models, steps, tasks, items and results a table has, in words for the page's head."""
    items = table.groupby("task")["n"].max()
    steps = sorted(table["step"].unique())
    sizes = table.groupby("model")["n_params"].max()
    return {
        "models": f"{sizes.size} model{'s' if sizes.size > 1 else ''}",
        "sizes": _span([si(n) for n in (sizes.min(), sizes.max()) if n > 0] or ["an unknown number of"])
        + " parameters",
        "steps": f"{len(steps)} training step{'s' if len(steps) > 1 else ''}",
        "range": _span([f"{n:.0f}" for n in (steps[0], steps[-1])]),
        "tokens": _span([si(n) for n in (table["tokens"].min(), table["tokens"].max())]),
        "tasks": f"{items.size} task{'s' if items.size > 1 else ''}",
        "items": f"{items.sum():,.0f} items" if items.gt(0).all() else "an unknown number of items",
        "rows": f"{len(table):,} result{'s' if len(table) > 1 else ''}",
    }


def _span(ends: list[str]) -> str:
    return " to ".join(dict.fromkeys(ends))


def _task(
    study: Findings,
    view: CurveView,
    task: str,
    rows: pd.DataFrame,
    series: list[Series],
    colors: Mapping[str, str],
    methods: Sequence[_Effects],
) -> dict[str, Any]:
    """What the page's template shows of one task: titles, sentence, effects, small curves.

    Args:
        study: The findings.
        view: Which curves are shown.
        task: Its name.
        rows: Of the tidy table, of this task.
        series: The models in order.
        colors: Model -> its color.
        methods: The effects of every task by the headline method and, where there is one, by that beside it.
    """
    effects, *others = (method[task] for method in methods)
    title = str(rows["title"].iloc[0])
    shapes = study.shapes[study.shapes["task"] == task]
    sentence, label = view.sentences.get(task, f"{title}: too few points"), view.labels.get(task, "too few points")
    metric, down = metric_name(str(rows["metric"].iloc[0])), "" if rows["higher_is_better"].iloc[0] else DOWN
    against = f"training {study.choice.axis}" if view.over == "training" else "size"
    return {
        "task": task,
        "title": title,
        "cause": str(rows["cause"].iloc[0]),
        "role": str(rows["role"].iloc[0]),
        "metric": metric,
        "unit": "" if metric in ACCURACIES else f"{metric} {down}".rstrip(),
        "label": label,
        "story": sentence.removeprefix(f"{title} in ").removeprefix(f"{title} ").removesuffix(f": {label}"),
        "meaning": meaning(effects, study.choice.alpha, study.choice.axis),
        "alt": f"{title}: {metric} against {against}, one line a {view.by}. {sentence}. " + _ends(rows, view),
        "down": down,
        "effects": [_effect(effects[name], study.choice.alpha) for name in EFFECTS],
        "beside": [_effect(other[name], study.choice.alpha) for other in others for name in EFFECTS],
        "two_stories": task in set(study.two_stories["task"]),
        "sparks": sparks(rows, shapes, series, colors) if view.over == "training" else [],
    }


_Effects = Mapping[str, Mapping[str, Mapping[Any, Any]]]


def _effects(effects: pd.DataFrame) -> _Effects:
    """Task -> effect -> its row of one method, turned so that up is better."""
    found: dict[str, dict[str, Mapping[Any, Any]]] = {}
    for row in turned(effects).to_dict("records"):
        found.setdefault(str(row["task"]), {})[str(row["effect"])] = row
    return found


def _effect(row: Mapping[Any, Any], alpha: float) -> dict[str, Any]:
    if pd.isna(row["p"]):
        return {"t": None, "note": row["note"]}
    t = "no t" if pd.isna(row["t"]) else f"{row['t']:+.2f}".replace("-", "−")
    t += "" if pd.isna(row["df"]) else f" ({df_text(row['df'])})"
    return {"t": t, "q": q_relation(row["q"]), "significant": row["q"] < alpha, "note": ""}


def _evidence(row: Mapping[Any, Any]) -> dict[str, Any]:
    """One curve's line in the table of evidence."""
    signed = {name: _z(row[name]) for name in ("fall_z", "rise_z", "trend_z")}
    needed = "" if pd.isna(row["threshold_z"]) else f"{row['threshold_z']:.2f}"
    return {
        **{str(k): v for k, v in row.items()},
        **signed,
        "run": run_name(row),
        "needed": needed,
        "story": course(row),
    }


def _z(value: float) -> str:
    shown = f"{value:+z.1f}".replace("-", "−")
    return "0" if shown == "+0.0" else shown


def _thresholds(of: ShapeSettings) -> str:
    return (
        f"a move spans {of.move_share:.0%} of its curve’s range; a rise or fall prevails at {of.prevails:g} times the "
        f"other; late from {of.late_from:.0%} of the log axis, at most {of.held_loss:.0%} of the fall lost before; a "
        f"jump within a factor of {of.jump_within:g} makes {of.jump_share:.0%} of the rise, after {of.level_over:.0%} "
        "of the log axis"
    )


def _settings(study: Findings, context: Mapping[str, str]) -> dict[str, str]:
    """What was asked for and with which software, as the page lists it: name -> words."""
    metrics = ", ".join(sorted(study.table["metric"].unique()))
    return {
        "Metric": f"{study.metric or 'primary of each task'} ({metrics})" if not study.metric else study.metric,
        "Parameters": _PARAMS[study.choice.params],
        "Axis": {"tokens": "training tokens", "flops": "FLOPs, 6 x non-embedding parameters x tokens"}[
            study.choice.axis
        ],
        "Methods": ", ".join(study.choice.methods),
        "Corrections": ", ".join(f"{CORRECTIONS[name]} ({name})" for name in study.choice.corrections)
        + f", level {study.choice.alpha:g}",
        "Smallest change": smallest_change_text(study.thresholds.smallest_change),
        "Smallest effect": smallest_effect_text(study.smallest_effect),
        "Shapes": _thresholds(study.thresholds),
        "Same result within": f"{study.same_within:g} of its value",
        "Random draws": f"{study.choice.draws}, seed {study.choice.seed}",
        **context,
        "Software": ", ".join([f"evalrun {__version__}", *(f"{name} {metadata.version(name)}" for name in _LIBRARIES)]),
    }
