"""The report's sections about the size of effects, and about how much they owe to choices."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pandas as pd

from evalrun.core.text import counted, listed
from evalrun.reporting.effect_words import effect_name, effect_names, signs
from evalrun.reporting.equivalence_words import MARK, marked, smallest_effect_text
from evalrun.reporting.regression_table import by_effect, q_text, raw_text, titled
from evalrun.reporting.section_tables import Section, TableCell, signed
from evalrun.statistics.findings import Findings
from evalrun.statistics.regression.interactions import EFFECTS, METHODS
from evalrun.statistics.regression.orientation import turned
from evalrun.statistics.regression.sensitivity import CHOSEN, COUNT, SCALE, WITHOUT
from evalrun.statistics.row_groups import row_groups

_MOST = 8  # effects that a sentence names


def per_ten(study: Findings) -> Section | None:
    """Effects in the metric's units for a factor of ten, with their intervals, by the headline method."""
    method = METHODS[study.choice.methods[0]]
    own = turned(study.headline)
    if own["raw_estimate"].isna().all():
        return None
    rows = []
    for task in row_groups(own, "task").values():
        cells = [_raw(row, study.choice.alpha) for row in by_effect(task)]
        rows.append([TableCell(titled(task[0])), *cells])
    axis = effect_name("tokens", study.choice.axis)
    units = "log-odds" if study.choice.methods[0] == "quasibinomial" else "the metric’s units"
    return Section(
        "Effects per factor of ten",
        f"In {units}, by {method.name}: of ten times the parameters, of ten times the {axis}, and by how much the "
        f"latter changes with ten times the parameters; each at the mean of the other. Intervals of {_level(study)}, "
        f"not corrected for the number of tests; bold and ✱: q < {study.choice.alpha:g}. {_against(study)}"
        f"{signs(study)}",
        ["Task", *(name[0].upper() + name[1:] for name in effect_names(study.choice.axis))],
        rows,
    )


def _against(study: Findings) -> str:
    """What the mark of a small effect means; empty where no effect was tested against the margin."""
    if study.headline["q_equivalence"].isna().all():
        return ""
    return (
        f"{MARK}: shown to be smaller than the smallest effect of interest, "
        f"{smallest_effect_text(study.smallest_effect)}, by two one-sided tests (q by the same correction and level); "
        "with neither mark an effect is undecided. "
    )


def _raw(row: Mapping[Any, Any], alpha: float) -> TableCell:
    hint = "" if pd.isna(row["q_equivalence"]) else f"against {row['margin']:.3g}: q {q_text(row['q_equivalence'])}"
    return TableCell(raw_text(row) + marked(row), "number q yes" if row["q"] < alpha else "number", hint)


def _level(study: Findings) -> str:
    return f"{100 * (1 - study.choice.alpha):g} %"


def sensitivity(study: Findings) -> Section | None:
    """T of each effect under each other choice, and the range without one model."""
    found = study.sensitivity
    if found.empty:
        return None
    found = turned(found)
    single = found[found["kind"].isin([CHOSEN, COUNT, SCALE])]["variant"].drop_duplicates().tolist()
    rows = []
    for (_, effect), own in row_groups(found, "task", "effect").items():
        by_variant = {row["variant"]: row for row in own if row["kind"] != WITHOUT}
        label = TableCell(titled(own[0]) if effect == EFFECTS[0] else "")
        cells = [_t(by_variant.get(name)) for name in single]
        rows.append([label, TableCell(effect_name(str(effect), study.choice.axis)), *cells, *_without(own)])
    name = METHODS[str(found["method"].iloc[0])].name
    return Section(
        "Does it hang on a choice?",
        f"t of each effect by {name}, fitted as chosen ({single[0]} parameter counts), with other counts, on the logit "
        f"scale, and without each model; bold and ✱: q < {study.choice.alpha:g} over the tests of a column. Last: the "
        f"models without which the significance changes. {signs(study)}",
        ["Task", "Effect", *single, "without one model", "changes without"],
        rows,
    )


def _t(row: Any) -> TableCell:
    if row is None or pd.isna(row["p"]):
        return TableCell("–", "number not", "" if row is None else str(row["note"]))
    return TableCell(signed(row["t"], 2), "number q yes" if row["significant"] else "number not")


def _without(own: Sequence[Mapping[Any, Any]]) -> list[TableCell]:
    """The range of t without one model, and the models that change whether it is significant."""
    left = [row for row in own if row["kind"] == WITHOUT and pd.notna(row["p"])]
    chosen = next(row for row in own if row["kind"] == CHOSEN)
    if not left or pd.isna(chosen["p"]):
        return [TableCell("–", "number not"), TableCell("", "words")]
    moved = [row["variant"] for row in left if row["significant"] != chosen["significant"]]
    known = [row["t"] for row in left if pd.notna(row["t"])] or [float("nan")]
    span = f"{signed(min(known), 2)} to {signed(max(known), 2)}"
    return [TableCell(span, "number"), TableCell(listed(moved, 4), "words")]


def sensitivity_sentences(study: Findings) -> Iterator[str]:
    """How many significant effects stay so whatever is chosen, and which do not."""
    found = study.sensitivity
    if found.empty:
        return
    chosen = found[(found["kind"] == CHOSEN) & found["significant"]]
    others = found[(found["kind"] != CHOSEN) & found["p"].notna()]
    if chosen.empty or others.empty:
        yield from _gained(study)
        return
    lost, other = [], row_groups(others, "task", "effect")
    for row in chosen.to_dict("records"):
        own = other.get((row["task"], row["effect"]), [])
        gone = [one for one in own if not one["significant"] or not one["same_sign"]]
        if gone:
            why = listed([_words(one) for one in gone], 3)
            lost.append(f"{row['title']} ({effect_name(row['effect'], study.choice.axis)}: {why})")
    kept = len(chosen) - len(lost)
    name = METHODS[str(found["method"].iloc[0])].name
    stay = f"{kept or 'none'} {'stays' if kept <= 1 else 'stay'} so"
    yield (
        f"Of {counted(len(chosen), 'effect')} significant by {name} {stay} "
        f"with every parameter count, on the logit scale and without any one model"
        + (f"{'; not so' if kept else ''}: {listed(lost, _MOST)}." if lost else ".")
    )
    yield from _gained(study)


def _gained(study: Findings) -> Iterator[str]:
    """Which effects get a star when something else is chosen."""
    found, key = study.sensitivity, ["task", "effect"]
    plain = found.loc[(found["kind"] == CHOSEN) & found["p"].notna() & ~found["significant"], key]
    others = plain.merge(found[(found["kind"] != CHOSEN) & found["significant"]], on=key)
    named = []
    for own in row_groups(others, *key).values():
        first, why = own[0], listed([_words(one) for one in own], 3)
        named.append(f"{first['title']} ({effect_name(first['effect'], study.choice.axis)}: {why})")
    if named:
        get = "gets" if len(named) == 1 else "get"
        yield f"{counted(len(named), 'effect')} without a star {get} one by another choice: {listed(named, _MOST)}."


def _words(row: dict[Any, Any]) -> str:
    return {COUNT: f"{row['variant']} counts", SCALE: "logit scale", WITHOUT: f"without {row['variant']}"}[row["kind"]]
