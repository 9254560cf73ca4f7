"""What a checkpoint's run is and says, made of its results: without MLflow, which takes seconds to be imported."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache

from evalrun.core import environment
from evalrun.core.palette import model_colors
from evalrun.core.records import Checkpoint, TaskResult
from evalrun.core.text import markdown_escape
from evalrun.core.version import __version__
from evalrun.tracking import alarm_tags, layout, run_notes, run_values
from evalrun.tracking.layout import TaskEntry
from evalrun.tracking.run_content import ITEMS_THERE
from evalrun.tracking.slugs import metric_key


def known_sizes(tags: Mapping[str, str]) -> frozenset[int]:
    """The parameter counts of a suite's models, as far as its experiment tells them."""
    return frozenset(json.loads(tags.get("evalrun.sizes", "[]")))


def opening(result: TaskResult, sizes: frozenset[int]) -> tuple[int, dict[str, str], str]:
    """Start (Unix time in milliseconds), tags and name of a new run.

    Args:
        result: Any of its results.
        sizes: Parameter counts of the models that its suite has, and of those that are delivered with it.
    """
    tags = {
        layout.KIND: "checkpoint",
        layout.KEY: result.run_key,
        layout.STATE: "delivering",
        # The true place in the scale is known when all models are; rebuilding the curves corrects it.
        layout.COLOR: _colors(sizes | {result.cell.n_params})[result.cell.n_params],
    }
    started = result.finished_ms - round(result.seconds * 1000)
    return max(started, 0), tags, result.cell.label[:250]


@lru_cache(maxsize=64)
def _colors(sizes: frozenset[int]) -> dict[int, str]:
    return dict(zip(sizes, model_colors(list(sizes)), strict=True))


def content(
    tags: Mapping[str, str], metrics: Mapping[str, float], batch: Sequence[TaskResult]
) -> tuple[dict[str, float], dict[str, str]]:
    """Metrics and tags that a run of these has once it holds some results, too; the keys of tasks come last."""
    there = layout.held(tags) | {result.task: TaskEntry.of(result) for result in batch}
    values = {key: value for result in batch for key, value in run_values.metrics_of(result).items()}
    values |= _summary(batch[0].cell, there.values(), {**metrics, **values})
    new = _run_tags(tags, batch[0], there, values.get("acc/mean")) | _items_tag(tags, batch)
    for result in batch:
        new |= there[result.task].to_tags()
    return values, new


def _items_tag(before: Mapping[str, str], batch: Sequence[TaskResult]) -> dict[str, str]:
    """Whether a run has any items, which need not be asked of a server then."""
    if any(result.items_sha256 for result in batch):
        return {ITEMS_THERE: "some"}
    known = before.get(ITEMS_THERE) or ("" if layout.held(before) else "none")
    return {ITEMS_THERE: known} if known else {}


def _summary(cell: Checkpoint, entries: Iterable[TaskEntry], values: Mapping[str, float]) -> dict[str, float]:
    """The run's metrics over all its tasks, and the checkpoint's numbers: MLflow searches and plots metrics only."""
    entries = list(entries)
    accuracies = [values[metric_key("acc", entry.task)] for entry in entries if "acc" in entry.metrics]
    mean = {"acc/mean": math.fsum(accuracies) / len(accuracies)} if accuracies else {}
    return {
        **mean,
        "tokens": float(cell.tokens),
        "step": float(cell.step),
        "n_params": float(cell.n_params),
        "n_params_nonembedding": float(cell.n_params_nonembedding),
        "flops": float(cell.flops),
        "seconds": math.fsum(entry.seconds for entry in entries),
    }


def _run_tags(
    before: Mapping[str, str], result: TaskResult, there: Mapping[str, TaskEntry], mean: float | None
) -> dict[str, str]:
    """Tags that describe a run as a whole, by its newest result and its entries; cut to MLflow's limit."""
    cell = result.cell
    skipped = "; ".join(f"{name} of {e.task} is {value}" for e in there.values() for name, value in e.missing.items())
    tags = {
        layout.CELL: layout.with_cell(before, cell),
        layout.SETTINGS: run_values.settings_label(result),
        layout.NOTE: f"**{markdown_escape(cell.label)}**, {cell.tokens:,} tokens: {len(there)} "
        + ("task" if len(there) == 1 else "tasks")
        + ("" if mean is None else f", mean accuracy {mean:.3f}")
        + run_notes.came_in(result.settings.get("bundle"))
        + run_notes.made_by(before)
        + alarm_tags.section(before),
        "evalrun.weights": result.weights,
        layout.IDENTITY: str(result.settings.get("identity") or ""),
        layout.FOLDER: str(result.settings.get("folder") or ""),
        layout.TOKENIZER: str(result.settings.get("tokenizer_digest") or ""),
        layout.BUNDLE: json.dumps(result.settings["bundle"]) if "bundle" in result.settings else "",
        "evalrun.version": __version__,
        "evalrun.device": str(run_values.lookup(result, "device") or ""),
        layout.HARDWARE: environment.label(result.environment),
        "evalrun.fewshot": ", ".join(sorted({str(e.fewshot) for e in there.values() if e.fewshot is not None})),
        "evalrun.skipped": skipped or ("none" if "evalrun.skipped" in before else ""),
    }
    return {key: value[: layout.TAG_LIMIT] for key, value in tags.items() if value}
