"""The report's further sections as plain tables: headings, rows of cells, a sentence on how to read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from evalrun.reporting import (
    curve_sections,
    dynamics_section,
    effect_sections,
    item_section,
    loss_section,
    prediction_section,
    sample_section,
    text_section,
    tuning_section,
    word_section,
)
from evalrun.reporting.coverage_section import coverage
from evalrun.reporting.distractor_section import took_over
from evalrun.reporting.effect_words import effect_name, effect_names, signs
from evalrun.reporting.expected_section import expected_labels
from evalrun.reporting.parts_section import parts_of_tasks
from evalrun.reporting.regression_sentences import significant
from evalrun.reporting.regression_table import q_text, titled
from evalrun.reporting.section_tables import Section, TableCell, number_cell, signed
from evalrun.statistics.findings import Findings
from evalrun.statistics.items.continuous import METRICS as CONTINUOUS
from evalrun.statistics.regression.interactions import CORRECTIONS, EFFECTS, METHODS
from evalrun.statistics.regression.orientation import turned
from evalrun.statistics.row_groups import row_groups


def sections(study: Findings) -> list[Section]:
    """Every section that has something to show."""
    made = (
        coverage(study),
        expected_labels(study),
        effect_sections.per_ten(study),
        _methods(study),
        _corrections(study),
        _pooled(study),
        item_section.by_items(study),
        dynamics_section.learned_and_lost(study),
        took_over(study),
        parts_of_tasks(study),
        word_section.words_and_lists(study),
        _diagnostics(study),
        effect_sections.sensitivity(study),
        loss_section.over_loss(study),
        loss_section.came_true(study),
        prediction_section.ahead(study),
        text_section.texts(study),
        curve_sections.over_size(study),
        tuning_section.what_stages_did(study),
        tuning_section.where_tuning_starts(study),
        curve_sections.falls(study),
        curve_sections.artefacts(study),
        curve_sections.signal(study),
        curve_sections.seeds(study),
        sample_section.samples(study),
    )
    return [section for section in made if section is not None and section.rows]


def references(study: Findings) -> dict[str, str]:
    """Name -> sentence with its source, of every method that this study used."""
    chosen = [METHODS[method] for method in study.choice.methods]
    found = {method.name[0].upper() + method.name[1:]: method.about for method in chosen}
    found |= _OTHER_METHODS
    if study.item_effects["p"].notna().any():
        found |= item_section.REFERENCES
    if study.dynamics.tasks:
        found |= dynamics_section.REFERENCES
    if len(study.over_loss.curves):
        found |= loss_section.REFERENCES
    if len(study.word_correlates):
        found |= word_section.REFERENCES
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
    for (_, effect), own in row_groups(turned(study.effects), "task", "effect").items():
        by_method = {row["method"]: row for row in own}
        label = TableCell(titled(own[0]) if effect == EFFECTS[0] else "")
        name = TableCell(effect_name(str(effect), study.choice.axis))
        rows.append([label, name, *(_t(by_method[method], study.choice.alpha) for method in methods)])
    return Section(
        "Which effects stand",
        f"t of each effect by each method; bold and ✱: q < {study.choice.alpha:g} after the headline correction over "
        "all tests of that method. Hover a number for its estimate and interval. Where methods differ, believe those "
        "whose assumptions hold: checkpoints of one model are not independent, and there are few models. "
        + signs(study),
        ["Task", "Effect", *methods],
        rows,
    )


def _t(row: Mapping[Any, Any], alpha: float) -> TableCell:
    if pd.isna(row["p"]):
        return TableCell("–", "number not", str(row["note"]))
    shown = signed(row["t"], 2) if pd.notna(row["t"]) else f"p {q_text(row['p'])}"
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
    """The table of the regressions over several tasks."""
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
        "better; errors clustered by model (CR2). Standardised estimates with their intervals; bold and ✱: "
        f"q < {study.choice.alpha:g} by the same correction, over the tests of this table. Controls are left out.",
        ["Cause", "tasks", *(name[0].upper() + name[1:] for name in effect_names(study.choice.axis))],
        rows,
    )


def _pooled_cell(row: Mapping[Any, Any], alpha: float) -> TableCell:
    if pd.isna(row["p"]):
        return TableCell("–", "number not", str(row["note"]))
    text = f"{signed(row['estimate'], 2)} ({signed(row['low'], 2)} to {signed(row['high'], 2)})"
    hint = f"p {q_text(row['p'])}, q {q_text(row['q'])}" + (f"; {row['note']}" if row["note"] else "")
    return TableCell(text, "number q yes" if row["q"] < alpha else "number not", hint)


def _diagnostics(study: Findings) -> Section | None:
    """The table of what the regression assumes and how far the tasks keep to it."""
    rows = []
    for row in study.diagnostics.to_dict("records"):
        improvement = row["aic_linear"] - row["aic_quadratic"]
        rows.append(
            [
                TableCell(str(row["title"])),
                number_cell(row["autocorrelation"], 2),
                number_cell(row["dispersion"], 1),
                number_cell(row["influence"], 2, str(row["influence_at"])),
                number_cell(improvement, 0),
                TableCell(str(row["warnings"]), "words"),
            ]
        )
    return Section(
        "Do the assumptions hold?",
        "Autocorrelation: of the residuals of neighbouring checkpoints of a model, 0 if independent. Dispersion: "
        "Pearson chi-square divided by the degrees of freedom of the binomial fit, 1 if items were the only chance. "
        "Influence: the largest Cook’s distance; hover for the checkpoint. Curvature: by how much squares improve "
        "Akaike’s criterion.",
        ["Task", "autocorrelation", "dispersion", "influence", "curvature", "Warnings"],
        rows,
    )


_OTHER_METHODS = {
    "Shapes": "Moves between checkpoints against the noise of items and of training, simultaneous over all pairs; flat "
    "by an equivalence test (docs/explanation/statistics.md).",
    "Quadratic": "U and inverted U by the slopes at both ends (Lind & Mehlum 2010).",
    "Two lines": "Both slopes significant and opposite, break by the Robin Hood procedure (Simonsohn 2018).",
    "Broken line": "One break by least squares, its interval by profile likelihood (Hinkley 1971; Muggeo 2003).",
    "Falls": "Exact McNemar test on the same items with Tango’s interval (McNemar 1947; Tango 1998), Bonferroni "
    "over the curve’s pairs; without items z of two standard errors.",
    "Signal and noise": "Heineman et al. 2025, arXiv:2508.13144.",
    "Effects of no interest": "Two one-sided t-tests against a stated margin, with the error and degrees of freedom of "
    "the effect’s own test (Schuirmann 1987; Lakens 2017).",
    "Predictions": "One new value with the variance of the coefficients, of models’ levels and slopes, and of a "
    "residual, t with Satterthwaite degrees of freedom (Kuznetsova et al. 2017); by OLS coefficients and residual "
    "(Seber & Lee 2003).",
    "Corrections": "Benjamini & Hochberg 1995; Benjamini & Yekutieli 2001; Holm 1979.",
}
