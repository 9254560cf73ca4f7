"""What a result becomes on its run: metrics, parameters, and how it was scored in a few words."""

from __future__ import annotations

import math
from typing import Any

from evalrun.core.asked_words import asked_word, generation_words
from evalrun.core.records import TaskResult
from evalrun.tracking.slugs import metric_key, stderr_key, task_slug


def metrics_of(result: TaskResult) -> dict[str, float]:
    """A task's MLflow metrics, finite ones only."""
    values = {metric_key(name, result.task): value for name, value in result.metrics.items()}
    values |= {stderr_key(name, result.task): value for name, value in result.stderrs.items() if name in result.metrics}
    values[f"n/{task_slug(result.task)}"] = float(result.n)
    if result.chance is not None:
        values[f"chance/{task_slug(result.task)}"] = result.chance
    if result.ties:
        values[f"ties/{task_slug(result.task)}"] = float(result.ties)
    return {key: float(value) for key, value in values.items() if math.isfinite(value)}


def params_of(result: TaskResult) -> dict[str, str]:
    """What MLflow shows as parameters: it never lets them change, so only what belongs to the run for good."""
    cell = result.cell
    wanted = {
        "model": cell.model,
        "n_params": cell.n_params,
        "n_params_nonembedding": cell.n_params_nonembedding,
        "n_params_nominal": cell.n_params_nominal,
        "step": cell.step,
        "tokens": cell.tokens,
        "stage": cell.stage,
        "stage_step": cell.stage_step,
        "trunk": cell.trunk,
        "seed": cell.seed,
        "revision": cell.revision,
        "location": cell.location,
        "scorer": lookup(result, "scorer", "name"),
        "dtype": lookup(result, "dtype"),
        "limit": lookup(result, "limit"),
    }
    return {name: str(value) for name, value in wanted.items() if value is not None and value != ""}


def settings_label(result: TaskResult) -> str:
    """How the run was scored, in a few words; runs of one model that differ here are different curves."""
    words = [str(lookup(result, name)) for name in ("scorer", "dtype") if lookup(result, name) is not None]
    if (profile := lookup(result, "profile")) not in (None, "corrected"):
        words.append(str(profile))
    if (limit := lookup(result, "limit")) is not None:
        words.append(f"limit {limit}")
    if (shots := lookup(result, "num_fewshot_asked")) is not None:
        words.append(f"{shots}-shot")
    words += generation_words(result.settings.get("generation") or {})
    if (asked := asked_word(result.settings)) is not None:
        words.append(asked)
    if groups := result.settings.get("group_options"):
        words.append(f"options of {'+'.join(sorted(groups))}")
    return " ".join(words)


def fewshot_of(result: TaskResult) -> int | None:
    """How many examples its prompts had; None where that is not known."""
    fewshot = lookup(result, "num_fewshot", "fewshot")
    return fewshot if isinstance(fewshot, int) else None


def task_version(result: TaskResult) -> str | float:
    """The version of its task, as lm-eval's own files say it; empty where it is not known."""
    config = result.settings.get("task_config") or {}
    metadata = config.get("metadata") if isinstance(config, dict) else None
    version = (metadata or {}).get("version", result.settings.get("task_version"))
    return version if isinstance(version, int | float) else str("" if version is None else version)[:40]


def lookup(result: TaskResult, *names: str) -> Any:
    """The first of these settings that the result has: at the top, under `scorer`, or in its environment; or None."""
    scorer = result.settings.get("scorer")
    nested = scorer if isinstance(scorer, dict) else {}
    for name in names:
        for place in (result.settings, nested, result.environment):
            value = place.get(name)
            if value is not None and not isinstance(value, dict | list):
                return value
    return nested.get("name") if "scorer" in names else None
