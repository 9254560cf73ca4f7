"""lm-eval's own files: `results_*.json` with `samples_*.jsonl` beside it, in a folder for each checkpoint.

To lm-eval a checkpoint is a model, so that each has a folder as lm-eval would name it, and in it one file for each way
of scoring. Texts of items are not in the store: they are read from the tasks' files where these are at hand.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from evalrun.commands.export.lm_eval_samples import samples_text
from evalrun.commands.export.request import ExportRequest, ExportSummary
from evalrun.commands.export.selected_rows import newest, not_finite
from evalrun.commands.export.target import open_folder
from evalrun.core.records import Checkpoint
from evalrun.core.text import counted, listed

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.tracking.layout import RunEntry

_SIGNS = re.compile(r"[\"<>:/|\\?*\[\]]+")  # as lm-eval replaces them in a model's name
_DTYPES = ("float16", "bfloat16", "float32", "float64")


def write_results(asked: ExportRequest) -> ExportSummary:
    """Write a file for each checkpoint and way of scoring, and one for each task whose items are there.

    Args:
        asked: What and where.

    Raises:
        ConfigError: the folder holds something else.
        StorageError: it cannot be written.
        TrackingError: the store cannot be read.
    """
    from evalrun.reporting.item_words import words_of

    table, notes = newest(asked.table)
    entries = {run.run_id: run for suite in table["suite"].unique() for run in asked.store.past(str(suite))}
    words, wordless, bare = words_of(asked.config, fetch=False), dict[str, None](), dict[str, None]()
    wanted = table[["run_id", "task"]].drop_duplicates().itertuples(index=False, name=None)
    with open_folder(asked.target, asked.about) as folder, asked.store.items(wanted) as items:
        for run_id, rows in table.groupby("run_id", sort=False):
            run = entries[str(run_id)]
            assert run.checkpoint is not None  # its rows say whose it is
            place, stamp = _model_folder(run.checkpoint), _stamp(rows, run)
            filters: dict[str, list[str]] = {}
            for task in rows["task"].unique():
                frame = items(str(run_id), task)
                if frame is None:
                    bare[task] = None
                    continue
                filters[task] = [str(name) for name in frame["filter"].unique()] if "filter" in frame else ["none"]
                text, has_words = samples_text(task, frame, words)
                wordless |= {} if has_words else {task: None}
                if "/" not in task:
                    folder.write(f"{place}/samples_{task}_{stamp}.jsonl", text)
            data = results_json(run, run.checkpoint, rows, filters)
            folder.write(f"{place}/results_{stamp}.json", json.dumps(data, indent=2, ensure_ascii=False))
        notes += not_finite(table, "they are left out")
    notes += [f"samples without texts, since the data of {listed(wordless, 3)} is not at hand"] if wordless else []
    notes += [f"results without samples: the store has no items of {listed(bare, 3)}"] if bare else []
    held = f"{counted(table['run_id'].nunique(), 'result file')} of {counted(_checkpoints(table), 'checkpoint')}"
    return ExportSummary(held, folder.written, folder.kept, notes)


def results_json(
    run: RunEntry, cell: Checkpoint, rows: pd.DataFrame, filters: Mapping[str, list[str]]
) -> dict[str, Any]:
    """The results of one run as lm-eval's aggregated file has them.

    Args:
        run: The checkpoint's run.
        cell: Its checkpoint.
        rows: Of the tidy table, of this run; values that are not finite are left out.
        filters: Task -> the filters of its items, of which metrics' names end in all but `none`.
    """
    tasks = {task: run.entries[task] for task in rows["task"].unique()}
    results: dict[str, dict[str, Any]] = {task: {"alias": task} for task in tasks}
    higher: dict[str, dict[str, bool]] = {task: {} for task in tasks}
    columns = ("task", "metric", "value", "stderr", "higher_is_better")
    for task, metric, value, stderr, is_higher in rows[list(columns)].itertuples(index=False, name=None):
        if math.isfinite(value):
            name, chosen = _filtered(metric, filters.get(task, []))
            results[task][f"{name},{chosen}"] = value
            results[task][f"{name}_stderr,{chosen}"] = stderr if math.isfinite(stderr) else "N/A"
            higher[task][name] = bool(is_higher)
    words = str(rows["settings"].iloc[0]).split()
    dtype = next((word for word in words if word in _DTYPES), None)
    limit = int(words[words.index("limit") + 1]) if "limit" in words[:-1] else None
    arguments = {"pretrained": cell.location, "revision": cell.revision, "dtype": dtype}
    args = {name: value for name, value in arguments.items() if value is not None}
    plain = not any(set(",=") & set(value) for value in args.values())
    sizes = {task: {"original": entry.n, "effective": entry.n} for task, entry in tasks.items()}
    return {
        "results": results,
        "group_subtasks": {task: [] for task in tasks},
        "configs": {task: {"task": task, "metadata": {"title": entry.title}} for task, entry in tasks.items()},
        "versions": {task: entry.version for task, entry in tasks.items() if entry.version != ""},
        "n-shot": {task: entry.fewshot or 0 for task, entry in tasks.items()},
        "higher_is_better": higher,
        "n-samples": sizes,
        "config": {
            "model": "hf",
            "model_args": ",".join(f"{name}={value}" for name, value in args.items()) if plain else args,
            "model_num_parameters": cell.n_params,
            "model_dtype": f"torch.{dtype}" if dtype else "",
            "model_revision": cell.revision or "main",
            "limit": limit,
        },
        "date": max(entry.finished_ms for entry in tasks.values()) / 1000,
        "model_source": "hf",
        "model_name": cell.location,
        "model_name_sanitized": _SIGNS.sub("__", cell.location),
        "total_evaluation_time_seconds": str(sum(entry.seconds for entry in tasks.values())),
        "evalrun": {
            "checkpoint": cell.to_json(),
            "settings": run.settings,
            "task_keys": {task: entry.key for task, entry in tasks.items()},
        },
    }


def _filtered(metric: str, filters: list[str]) -> tuple[str, str]:
    """A metric's name in the table as its name and its filter."""
    for chosen in filters:
        if chosen != "none" and metric.endswith(f"_{chosen}"):
            return metric.removesuffix(f"_{chosen}"), chosen
    return metric, "none"


def _model_folder(cell: Checkpoint) -> str:
    named = cell.location if cell.revision is None else f"{cell.location}/{cell.revision}"
    return _SIGNS.sub("__", named)


def _stamp(rows: pd.DataFrame, run: RunEntry) -> str:
    """The time in a file's name: of the first result, with the run's own digits, so that no two meet and it stays."""
    first = datetime.fromtimestamp(int(rows["finished_ms"].min()) // 1000, UTC)
    own = int(run.run_key.encode().hex(), 16) % 1_000_000
    return f"{first:%Y-%m-%dT%H-%M-%S}.{own:06d}"


def _checkpoints(table: pd.DataFrame) -> int:
    return len(table[["suite", "model", "seed", "step"]].drop_duplicates())
