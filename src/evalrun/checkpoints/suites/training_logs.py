"""Losses of training logs by checkpoint: a Trainer's `trainer_state.json`, CSV, TSV or JSON lines."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from evalrun.config.loss_axis import LOSS_COLUMN, LossSource
from evalrun.core.errors import AnalysisError, first_line, suggest
from evalrun.core.hashing import file_sha256

_STEPS = ("step", "global_step", "training_step", "_step")  # what the column of steps is called
_NEAR = 0.05  # of a step: what was logged so near to it is averaged, since one batch's loss is noisy
_STATE = "trainer_state.json"


def logged_losses(source: LossSource, checkpoints: Iterable[Mapping[Any, Any]]) -> list[dict[str, Any]]:
    """The loss of each checkpoint: the mean of what was logged within a twentieth of its step.

    Args:
        source: Of kind log: the file and the column. {model} and {seed} in its name stand for the run's; a folder
            stands for the `trainer_state.json` in it, or of its last checkpoint.
        checkpoints: With suite, model, seed and step.

    Returns:
        These with loss (in the log's unit) and loss_stderr (NaN: nothing says it); checkpoints near which nothing was
        logged are left out.

    Raises:
        AnalysisError: no such file or column, or something that cannot be read.
    """
    logs: dict[Path, dict[int, float]] = {}
    found = []
    for place in checkpoints:
        path = _path(source.name, place)
        if path not in logs:
            logs[path] = read_log(path, source.of or LOSS_COLUMN)
        step = float(place["step"])
        # A Trainer logs 0.0 where every loss was NaN.
        near = [loss for at, loss in logs[path].items() if abs(at - step) <= _NEAR * step and 0 < loss < math.inf]
        if near:
            found.append({**place, "loss": sum(near) / len(near), "loss_stderr": math.nan})
    return found


def digests(source: LossSource) -> list[tuple[str, str]]:
    """Every file that the losses may be read from, with its digest: whether they are as they were."""
    pattern = source.name.replace("{model}", "*").replace("{seed}", "*")
    path = Path(pattern).expanduser()
    root = Path(path.anchor or ".")
    files = sorted(root.glob(str(path.relative_to(path.anchor)) if path.anchor else str(path)))
    states = [state for folder in files if folder.is_dir() if (state := _state(folder)) is not None]
    return [(str(file), file_sha256(file)) for file in [*filter(Path.is_file, files), *states]]


def _path(pattern: str, place: Mapping[Any, Any]) -> Path:
    seed = place["seed"]
    named = "" if seed is None or seed != seed else f"{seed:.0f}"
    path = Path(pattern.replace("{model}", str(place["model"])).replace("{seed}", named)).expanduser()
    return (_state(path) or path) if path.is_dir() else path


def _state(folder: Path) -> Path | None:
    """The Trainer's log in a folder: its own, or that of the last checkpoint, which has all of the run."""
    if (folder / _STATE).is_file():
        return folder / _STATE
    there = {int(tail): path for path in folder.glob(f"checkpoint-*/{_STATE}") if (tail := _number(path)).isdigit()}
    return there[max(there)] if there else None


def _number(path: Path) -> str:
    return path.parent.name.rpartition("-")[2]


def read_log(path: Path, column: str) -> dict[int, float]:
    """Step -> what the column says there; the last where a step was logged twice.

    Args:
        path: A JSON file with a `log_history`, JSON lines, or a CSV or TSV file with a header.
        column: Which number.

    Raises:
        AnalysisError: no such file or column, or something that is no number.
    """
    try:
        rows = list(_rows(path))
    except FileNotFoundError:
        raise AnalysisError(f"there is no training log {path}: name it with analysis.x=log:FILE.") from None
    except (OSError, ValueError, UnicodeDecodeError) as error:
        raise AnalysisError(f"the training log {path} cannot be read: {first_line(error)}.") from None
    known = {str(name) for row in rows for name in row}
    step = next((name for name in _STEPS if name in known), None)
    if step is None:
        raise AnalysisError(f"the training log {path} has no column of steps: call one of its columns step.")
    if column not in known:
        others = known - {step}
        raise AnalysisError(f"the training log {path} has no column '{column}': {suggest(column, others)}")
    losses = {}
    for row in rows:
        said = row.get(column)
        if said in (None, "") or row.get(step) in (None, ""):
            continue  # other entries of a log that holds several kinds
        try:
            losses[int(float(row[step]))] = float(said)
        except (TypeError, ValueError):
            what = f"{column} '{said!s:.40}' at step {row[step]!s:.40}"
            raise AnalysisError(f"the training log {path} says {what}, which is no number: mend that line.") from None
    return losses


def _rows(path: Path) -> Iterator[Mapping[str, Any]]:
    """The entries of a log.

    Raises:
        OSError, ValueError: it cannot be read.
    """
    text = path.read_text(encoding="utf-8-sig")
    if path.suffix == ".json":
        said = json.loads(text)
        entries = said.get("log_history") if isinstance(said, dict) else said
        if not isinstance(entries, list):
            raise ValueError("it has no log_history")
        yield from (entry for entry in entries if isinstance(entry, dict))
    elif path.suffix == ".jsonl":
        entries = [json.loads(line) for line in text.splitlines() if line.strip()]
        yield from (entry for entry in entries if isinstance(entry, dict))
    else:
        lines = text.splitlines()
        yield from csv.DictReader(lines, delimiter=max("\t,;", key=(lines or [""])[0].count))
