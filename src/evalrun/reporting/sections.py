"""The report's further sections as plain tables: headings, rows of cells, a sentence on how to read them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from evalrun.reporting.regression_table import q_text
from evalrun.reporting.sentences import course, run_name, significant
from evalrun.statistics.findings import Findings
from evalrun.statistics.items.continuous import METRICS as CONTINUOUS
from evalrun.statistics.regression.interactions import CORRECTIONS, EFFECTS, METHODS

MOST = 40  # rows of a table in the page; all are in the CSV file beside it


@dataclass(frozen=True)
class TableCell:
    """One cell of a table."""

    text: str
    kind: str = ""  # number, yes (significant), not (not significant): how it is set
    hint: str = ""
    run: str = ""  # id of the MLflow run that it is about


@dataclass(frozen=True)
class Section:
    """One table with its heading."""

    title: str
    about: str  # how to read it
    heads: Sequence[str]
    rows: Sequence[Sequence[TableCell]]
    more: str = ""  # what the page leaves out, and where it is


def sections(study: Findings) -> list[Section]:
    """Every section that has something to show."""
    made = (
        _methods(study),
        _corrections(study),
        _pooled(study),
        _diagnostics(study),
        _over_size(study),
        _drops(study),
        _artefacts(study),
        _signal(study),
        _seeds(study),
    )
    return [section for section in made if section is not None and section.rows]


def references(study: Findings) -> dict[str, str]:
    """Name -> sentence with its source, of every method that this study used."""
    chosen = [METHODS[method] for method in study.choice.methods]
    found = {method.name[0].upper() + method.name[1:]: method.about for method in chosen}
    found |= _OTHER_METHODS
    if len(study.continuous):
        found |= {
            metric.title[0].upper() + metric.title[1:]: f"{metric.sentence} {metric.source}."
            for metric in CONTINUOUS.values()
        }
    return found


def _methods(study: Findings) -> Section | None:
    """Which effects stand by which method."""
    methods = study.choice.methods
    if len(methods) < 2:
        return None
    rows = []
    for (_, effect), own in study.effects.groupby(["task", "effect"], sort=False):
        by_method = {row["method"]: row for row in own.to_dict("records")}
        label = TableCell(f"{own['title'].iloc[0]}" if effect == EFFECTS[0] else "")
        rows.append([label, TableCell(str(effect)), *(_t(by_method[method], study.choice.alpha) for method in methods)])
    return Section(
        "Which effects stand",
        f"t of each effect by each method; bold and ✱: q < {study.choice.alpha:g} after the headline correction over "
        "all tests of that method. Hover a number for its estimate and interval. Where methods differ, believe those "
        "whose assumptions hold: checkpoints of one model are not independent, and there are few models.",
        ["Task", "Effect", *methods],
        rows,
    )


def _t(row: Mapping[Any, Any], alpha: float) -> TableCell:
    if pd.isna(row["p"]):
        return TableCell("–", "number not", str(row["note"]))
    shown = _signed(row["t"], 2) if pd.notna(row["t"]) else f"p {q_text(row['p'])}"
    hint = f"{row['estimate']:+.3f}"
    if pd.notna(row["low"]):
        hint += f" ({row['low']:+.3f} to {row['high']:+.3f})"
    hint += f", p {q_text(row['p'])}, q {q_text(row['q'])}" + (f"; {row['note']}" if row["note"] else "")
    return TableCell(shown, "number q yes" if row["q"] < alpha else "number not", hint)


def _corrections(study: Findings) -> Section | None:
    """How many effects are significant, methods by corrections."""
    names = study.choice.corrections
    if len(names) * len(study.choice.methods) < 2:
        return None
    rows = []
    for method in study.choice.methods:
        own = study.effects[study.effects["method"] == method]
        raw = int((own["p"] < study.choice.alpha).sum())
        counts = [len(significant(study, method, name)) for name in names]
        rows.append(
            [
                TableCell(METHODS[method].name),
                *(TableCell(str(n), "number") for n in (own["p"].notna().sum(), raw, *counts)),
            ]
        )
    return Section(
        "How many are significant",
        f"Effects below {study.choice.alpha:g}: uncorrected, and after each correction for the number of tests.",
        ["Method", "tested", "uncorrected", *(CORRECTIONS[name] for name in names)],
        rows,
    )


def _pooled(study: Findings) -> Section | None:
    rows = []
    for cause, own in study.pooled.groupby("cause", sort=False):
        by_effect = {row["effect"]: row for row in own.to_dict("records")}
        cells = [_pooled_cell(by_effect[effect], study.choice.alpha) for effect in EFFECTS]
        rows.append(
            [TableCell(str(cause) or "no cause named"), TableCell(f"{own['tasks'].iloc[0]:.0f}", "number"), *cells]
        )
    return Section(
        "Pooled over tasks",
        "The same regression over the tasks of each cause, values z-scored within each task and turned so that up is "
        "better; errors clustered by model (CR2). Standardised estimates with their intervals; controls are left out.",
        ["Cause", "tasks", "Parameters", "Tokens", "Interaction"],
        rows,
    )


def _pooled_cell(row: Mapping[Any, Any], alpha: float) -> TableCell:
    if pd.isna(row["p"]):
        return TableCell("–", "number not", str(row["note"]))
    text = f"{_signed(row['estimate'], 2)} ({_signed(row['low'], 2)} to {_signed(row['high'], 2)})"
    hint = f"p {q_text(row['p'])}, q {q_text(row['q'])}" + (f"; {row['note']}" if row["note"] else "")
    return TableCell(text, "number q yes" if row["q"] < alpha else "number not", hint)


def _diagnostics(study: Findings) -> Section | None:
    rows = []
    for row in study.diagnostics.to_dict("records"):
        improvement = row["aic_linear"] - row["aic_quadratic"]
        rows.append(
            [
                TableCell(str(row["title"])),
                _number(row["autocorrelation"], 2),
                _number(row["dispersion"], 1),
                _number(row["influence"], 2, str(row["influence_at"])),
                _number(improvement, 0),
                TableCell(str(row["warnings"]), "words"),
            ]
        )
    return Section(
        "Do the assumptions hold?",
        "Autocorrelation: of the residuals of neighbouring checkpoints of a model, 0 if independent. Dispersion: "
        "Pearson chi-square by degrees of freedom of the binomial fit, 1 if items were the only chance. Influence: the "
        "largest Cook’s distance; hover for the checkpoint. Curvature: by how much squares improve Akaike’s criterion.",
        ["Task", "autocorrelation", "dispersion", "influence", "curvature", "Warnings"],
        rows,
    )


def _over_size(study: Findings) -> Section | None:
    """Labels over size, a few steps of each task."""
    shapes = study.size_shapes[study.size_shapes["label"] != "too few points"]
    steps = sorted(shapes["step"].unique())
    if not steps:
        return None
    chosen = [steps[round(i * (len(steps) - 1) / 7)] for i in range(8)] if len(steps) > 8 else steps
    rows = []
    for _, own in shapes.groupby("task", sort=False):
        by_step = {row["step"]: row for row in own.to_dict("records")}
        cells = [
            TableCell(by_step[step]["label"], "", by_step[step]["sentence"]) if step in by_step else TableCell("")
            for step in chosen
        ]
        rows.append([TableCell(str(own["title"].iloc[0])), *cells])
    return Section(
        "Shapes over size",
        "Each task’s values over model size at one step: inverse is inverse scaling proper. Hover for the course.",
        ["Task", *(f"step {step:.0f}" for step in chosen)],
        rows,
        f"{len(chosen)} of {len(steps)} steps; all are in tables/shapes_over_size.csv." if len(steps) > 8 else "",
    )


def _drops(study: Findings) -> Section | None:
    curve = ["task", "model", "seed"]
    noise = study.shapes[[*curve, "training_noise"]]
    found = study.drops[study.drops["q"] < study.choice.alpha].merge(noise, on=curve, how="left")
    found = found.sort_values("fall", ascending=False, kind="stable")
    runs = _runs(study.table)
    rows = []
    for row in found.head(MOST).to_dict("records"):
        again = row["recovered"]
        rows.append(
            [
                TableCell(str(row["title"])),
                TableCell(run_name(row), "name"),
                _checkpoint(row, "peak", runs),
                _checkpoint(row, "trough", runs),
                TableCell(f"{row['fall']:.3f} ({row['low']:.3f} to {row['high']:.3f})", "number", str(row["note"])),
                _number(row["training_noise"], 3),
                TableCell(q_text(row["q"]), "number"),
                TableCell("" if pd.isna(again) else "yes" if again else "no"),
                TableCell(str(row["method"]).removesuffix(" from standard errors"), "name"),
            ]
        )
    return Section(
        "Did it get worse?",
        f"The largest significant fall after a peak, of every curve that has one (q < {study.choice.alpha:g}; "
        f"{len(found)} of {len(study.drops)} curves). The interval holds for all pairs of the curve’s checkpoints at "
        "once. Noise is the standard deviation between neighbouring checkpoints beyond what items explain: a fall of "
        "no more than some three times as much may be one checkpoint’s chance, however many items show it.",
        ["Task", "Model", "Peak", "Trough", "Fall", "noise", "q", "recovers", "Test"],
        rows,
        f"The first {MOST} of {len(found)}; all are in tables/drops.csv." if len(found) > MOST else "",
    )


def _runs(table: pd.DataFrame) -> dict[tuple[Any, ...], str]:
    """Task, model, seed (-1 for none) and step -> the MLflow run."""
    places = zip(table["task"], table["model"], table["seed"].fillna(-1), table["step"], strict=True)
    return dict(zip(places, table["run_id"], strict=True))


def _checkpoint(row: Mapping[Any, Any], which: str, runs: Mapping[tuple[Any, ...], str]) -> TableCell:
    """A curve's value at its peak or trough, with the run that it is from."""
    step = row[f"{which}_step"]
    place = row["task"], row["model"], -1 if pd.isna(row["seed"]) else row["seed"], step
    return TableCell(f"{row[f'{which}_value']:.3f} (step {step:.0f})", "number", run=runs.get(place, ""))


def _artefacts(study: Findings) -> Section | None:
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


def _signal(study: Findings) -> Section | None:
    rows = [
        [
            TableCell(str(row["title"])),
            _number(row["signal"], 3),
            _number(row["noise"], 3),
            _number(row["snr"], 1),
            _number(row["pooled_snr"], 1),
            TableCell(str(row["note"])),
        ]
        for row in study.signal.to_dict("records")
    ]
    return Section(
        "Signal and noise",
        "Signal: the spread of the models’ final values by their mean. Noise: the relative standard deviation of the "
        "largest model’s checkpoints in the last doubling of tokens (two at least); pooled: of all models’. A ratio "
        "near 1 says that models differ by no more than the checkpoints of one.",
        ["Task", "signal", "noise", "signal/noise", "pooled", "Note"],
        rows,
    )


def _seeds(study: Findings) -> Section | None:
    known = study.seeds[study.seeds["final_sd"].notna()]
    rows = [
        [
            TableCell(str(row["title"])),
            _number(row["seeds"], 0),
            _number(row["seed_sd"], 4),
            _number(row["residual_sd"], 4),
            _number(row["icc"], 2),
            TableCell(f"{row['final_sd']:.4f} ({row['final_low']:.4f} to {row['final_high']:.4f})", "number"),
            _number(row["difference"], 3),
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


def _number(value: float, digits: int, hint: str = "") -> TableCell:
    return TableCell("–" if pd.isna(value) else f"{value:z.{digits}f}".replace("-", "−"), "number", hint)


def _signed(value: float, digits: int) -> str:
    return "–" if pd.isna(value) else f"{value:+.{digits}f}".replace("-", "−")


_OTHER_METHODS = {
    "Shapes": "Moves between checkpoints against the noise of items and of training, simultaneous over all pairs; flat "
    "by an equivalence test (docs/explanation/statistics.md).",
    "Quadratic": "U and inverted U by the slopes at both ends (Lind & Mehlum 2010).",
    "Two lines": "Both slopes significant and opposite, break by the Robin Hood procedure (Simonsohn 2018).",
    "Broken line": "One break by least squares, its interval by profile likelihood (Hinkley 1971; Muggeo 2003).",
    "Falls": "Exact McNemar test on the same items with Newcombe’s interval (McNemar 1947; Newcombe 1998), Bonferroni "
    "over the curve’s pairs; without items z of two standard errors.",
    "Signal and noise": "Heineman et al. 2025, arXiv:2508.13144.",
    "Corrections": "Benjamini & Hochberg 1995; Benjamini & Yekutieli 2001; Holm 1979.",
}
