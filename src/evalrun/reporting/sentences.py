"""The findings as sentences, every number of them from the frames of a study."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pandas as pd

from evalrun.core.text import counted, listed
from evalrun.reporting.curve_view import final_over_size
from evalrun.reporting.effect_sections import sensitivity_sentences
from evalrun.reporting.equivalence_words import equivalence
from evalrun.reporting.few_items import FEW, few_items, on_few
from evalrun.reporting.groups_section import group_sentences
from evalrun.reporting.parts_section import part_sentences
from evalrun.reporting.regression_sentences import assumptions, regression
from evalrun.reporting.tuning_section import stage_sentences
from evalrun.statistics.controls import control_sentences
from evalrun.statistics.coverage import coverage_sentences
from evalrun.statistics.expected import expected_sentences
from evalrun.statistics.findings import Findings
from evalrun.statistics.items.continuous import METRICS
from evalrun.statistics.naming import run_name
from evalrun.statistics.shapes.labels import LABELS, label_of, of_largest

_LOW_SNR = 2.0  # the spread of models is then hard to tell from the noise of one


def findings(study: Findings) -> list[tuple[str, list[str]]]:
    """What a reader should know first, under headings; those under which there is nothing are left out."""
    over_training = [
        *coverage_sentences(study.coverage),
        *_over_training(study),
        *expected_sentences(study.expected),
        *_falls(study),
        *stage_sentences(study),
        *part_sentences(study),
        *control_sentences(study.table, study.shapes),
        *group_sentences(study),
    ]
    over_size = list(_over_size(study))
    effects = [*regression(study), *equivalence(study)]
    doubts = [*assumptions(study), *sensitivity_sentences(study), *_artefacts(study), *_noise(study)]
    headed = [
        ("Over training", over_training),
        ("Over size", over_size),
        ("Size, training and both", effects),
        ("How far this holds", doubts),
    ]
    return [(heading, sentences) for heading, sentences in headed if sentences]


def _over_training(study: Findings) -> Iterator[str]:
    """Which shapes the largest model's curves have, or that there are no curves over training."""
    if (study.shapes["label"] == "too few points").all():
        most = int(study.shapes["points"].max())
        yield f"No model has more than {counted(most, 'checkpoint')}: there are no curves over training to class."
        return
    labels = {task: label_of(curves) for task, curves in of_largest(study.shapes).items()}
    shapes = pd.Series(list(labels.values())).value_counts()
    words = {**dict.fromkeys((*LABELS, "mixed")), "too few points": "of too few points to tell"}
    told = [f"{shapes[label]} {words[label] or label}" for label in words if label in shapes.index]
    if len(labels) == 1:
        (label,) = shapes.index
        yield f"Over training, the curve of {study.largest}{rank(study)} is {words[label] or label}."
    else:
        yield f"Over training, the curves of {study.largest}{rank(study)} are: {listed(told, 12)}."


def rank(study: Findings) -> str:
    """What the model that stands for the largest is among the others, between commas; nothing where sizes are equal."""
    sizes = study.table.groupby("model")["n_params"].max()
    if len(sizes) == 1:
        return ", the only model,"
    return ", the largest model," if (sizes == sizes.max()).sum() == 1 else ""


def _over_size(study: Findings) -> Iterator[str]:
    """Which tasks fall with size at the last step; nothing where there are too few sizes."""
    final = final_over_size(study)
    if final.empty:
        return
    step = f"{final['step'].iloc[0]:.0f}"
    falling = final[final["falls"].astype(bool)]
    if falling.empty:
        yield f"Over size, at step {step}, no task of {len(final)} is shown to fall."
        return
    few = few_items(study.table)
    named = [f"{row['title']} ({row['label']}{on_few(row['task'], few)})" for row in falling.to_dict("records")]
    verb = "falls" if len(falling) == 1 else "fall"
    yield f"Over size, at step {step}, {counted(len(falling), 'task')} of {len(final)} {verb}: {listed(named, 12)}."


def _falls(study: Findings) -> Iterator[str]:
    """How many curves fall after a peak, and the largest fall."""
    tested = study.falls[study.falls["pairs"] > 0]
    if tested.empty:
        return
    least = smallest_change_text(study.thresholds.smallest_change)
    found = tested[tested["falls"]]
    if found.empty:
        yield f"No curve of {len(tested)} is shown to fall after a peak by the smallest change of interest ({least})."
        return
    few = few_items(study.table)
    many = found[~found["task"].isin(few)]
    top = (found if many.empty else many).sort_values("changes", kind="stable").iloc[-1]
    of_few = len(found) - len(many)
    scarce = f" ({of_few} of the {len(found)} on fewer than {FEW} items)" if of_few and len(many) else ""
    again = found["recovered"].fillna(False).astype(bool)
    interval = "" if pd.isna(top["low"]) else f" ({top['low']:.3g} to {top['high']:.3g}, simultaneous over all pairs)"
    lower = "" if top["higher_is_better"] else " (lower is better)"
    yield (
        f"{len(found)} of {counted(len(tested), 'curve')}{scarce} {'falls' if len(found) == 1 else 'fall'} after a "
        "peak by more than items and the noise between checkpoints explain, and by the smallest change of interest or "
        f"more ({least}){_recovered(len(found), int(again.sum()))}. The largest such fall: {top['title']} in "
        f"{run_name(top)}, from {top['peak_value']:.3g} at step {top['peak_step']:.0f} to {top['trough_value']:.3g} at "
        f"step {top['trough_step']:.0f}{lower}, by {top['fall']:.3g}{interval}{on_few(top['task'], few)}."
    )
    noise = study.shapes.loc[study.shapes["falls"] & (study.shapes["note"] != "")]
    if len(noise):
        yield (
            f"In {len(noise)} of these curves the noise between checkpoints could not be measured (too few points): "
            "there a fall beats the noise of items alone."
        )


def smallest_change_text(smallest: float) -> str:
    """The margin that labels, falls and words obey."""
    return f"{smallest:g} of a share such as accuracy, {100 * smallest:g} % of the size of any other metric"


def _recovered(falls: int, again: int) -> str:
    if falls == 1:
        return " and recovers" if again else " and does not recover"
    return f"; {again or 'none'} of them {'recover' if again > 1 else 'recovers'}"


def course(row: Any) -> str:
    """A curve's sentence without what stands beside it in a table: task, run and label."""
    return str(row["sentence"]).removeprefix(f"{row['title']} in {run_name(row)}: ").removesuffix(f": {row['label']}")


def _artefacts(study: Findings) -> Iterator[str]:
    """Tasks whose accuracy jumps or turns where the log-probability of the right choice does not."""
    for label, what in (
        ("only in accuracy", "jumps in accuracy where {metric} does not"),
        ("opposite", "moves in accuracy against {metric}"),
    ):
        for metric, rows in study.artefacts[study.artefacts["label"] == label].groupby("metric", sort=False):
            if metric != "gold_logprob_choices":  # tells a mirage best; the others are in the table
                continue
            name = f"the {METRICS[str(metric)].title}"
            told = [
                f"{title} in {listed([str(model) for model in models['model'].unique()], 6)}"
                for title, models in rows.groupby("title", sort=False)
            ]
            count = rows["task"].nunique()
            verb = what.format(metric=name)
            yield f"{counted(count, 'task')} {verb if count == 1 else _plural(verb)}: {listed(told, 6)}."


def _plural(verb: str) -> str:
    head, _, rest = verb.partition(" ")
    return f"{head.removesuffix('s')} {rest}"


def _noise(study: Findings) -> Iterator[str]:
    """Tasks whose differences between models are within the noise of checkpoints, or of seeds."""
    low = study.signal[study.signal["snr"] < _LOW_SNR]
    if len(low):
        titles = listed([str(title) for title in low["title"]], 6)
        yield (
            f"In {counted(len(low), 'task')} the final values of the models differ by less than {_LOW_SNR:g} times "
            f"what the last checkpoints of {low['noise_model'].iloc[0]} differ among themselves: {titles}."
        )
    seeds = study.seeds[study.seeds["final_sd"].notna() & study.seeds["difference"].notna()]
    if len(seeds):
        beyond = int(seeds["exceeds"].astype(bool).sum())
        yield (
            f"Between the smallest and the largest model the difference exceeds what training seeds differ by in "
            f"{beyond} of {counted(len(seeds), 'task')}."
        )
