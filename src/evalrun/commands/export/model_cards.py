"""Model cards: a table of a checkpoint's results in Markdown, and the hub's `model-index` in the front matter.

A README that is there keeps all else, to the byte: of its front matter the lines of `model-index` alone are replaced,
of its text what stands between two comments. huggingface_hub makes the index and reads the whole again.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from evalrun.commands.export.request import ExportRequest, ExportSummary
from evalrun.commands.export.selected_rows import TrainingRun, newest, not_finite, training_runs
from evalrun.commands.export.target import open_folder
from evalrun.core.atomic import write_file
from evalrun.core.errors import ConfigError, StorageError, first_line
from evalrun.core.scored_ways import to_choose
from evalrun.core.text import counted, markdown_escape

if TYPE_CHECKING:
    import pandas as pd

_INDEX = "model-index"
_BEGIN, _END = "<!-- evalrun: results begin -->", "<!-- evalrun: results end -->"
_TASK = "text-generation"  # the hub's name of what language models do


def write_cards(asked: ExportRequest) -> ExportSummary:
    """Write one README of a checkpoint, or a folder with one for each.

    Args:
        asked: What and where: a file that ends in .md, or a folder.

    Raises:
        ConfigError: several checkpoints, or ways of scoring, for one file; front matter that is none; a foreign folder.
        StorageError: it cannot be read or written.
    """
    table, notes = newest(asked.table)
    notes += not_finite(table, "they are left out")
    cards = [
        (run, int(rows["step"].iloc[0]), rows)
        for run in training_runs(table)
        for _, rows in run.rows.groupby("step", sort=True)
    ]
    if asked.target.suffix.lower() == ".md":
        places = {(run.suite, run.model, run.seed, step) for run, step, _ in cards}
        if len(places) == 1 and len(cards) > 1:
            ways = f"in {len(cards)} ways: {to_choose(run.settings for run, _, _ in cards)}"
            raise ConfigError(f"{asked.target} is the card of one checkpoint, which was scored {ways}.")
        if len(cards) != 1:
            raise ConfigError(
                f"{asked.target} is the card of one checkpoint, and {len(places)} are selected: name one with model= "
                "and step= (and suite=), or a folder for a card of each."
            )
        return _update(asked.target, *cards[0], notes)
    with open_folder(asked.target, asked.about) as folder:
        for run, step, rows in cards:
            name = f"{run.place}/step{step}/README.md"
            folder.write(name, card(_text_of(folder.folder / name), run, step, rows, folder.folder / name))
    return ExportSummary(counted(len(cards), "card"), folder.written, folder.kept, notes)


def _update(path: Path, run: TrainingRun, step: int, rows: pd.DataFrame, notes: list[str]) -> ExportSummary:
    before = _text_of(path)
    text = card(before, run, step, rows, path)
    done = ExportSummary(f"the card of {run.name} at step {step}", notes=notes, kept=int(text == before))
    if text != before:
        done.written.append(write_file(path, text))
    return done


def card(before: str, run: TrainingRun, step: int, rows: pd.DataFrame, path: Path) -> str:
    """A README with the results of a checkpoint in it.

    Args:
        before: What it holds; empty for a new one.
        run: The checkpoint's run.
        step: Its training step.
        rows: Of the tidy table, each task and metric once; values that are not finite are left out.
        path: To name it.

    Raises:
        ConfigError: its front matter is no mapping, or its index is none.
    """
    from huggingface_hub.repocard_data import eval_results_to_model_index, model_index_to_eval_results

    head, body = _parted(before, path)
    known = _mapping(head, path)
    finite = rows[[math.isfinite(value) for value in rows["value"]]]
    (made,) = eval_results_to_model_index(run.model, list(_eval_results(finite, run, step)))
    index = _merged(known.get(_INDEX), made, path)
    try:
        model_index_to_eval_results(index)
    except (KeyError, TypeError, ValueError) as error:
        raise ConfigError(
            f"the {_INDEX} of {path} is not the hub's ({first_line(error)}): mend or remove it."
        ) from None
    text = yaml.safe_dump({_INDEX: index}, sort_keys=False, allow_unicode=True, width=10_000)
    head = _replaced(head, text)
    if {**_mapping(head, path), _INDEX: None} != {**known, _INDEX: None}:
        raise ConfigError(f"the front matter of {path} cannot be changed in one place alone: put {_INDEX} at its end.")
    return f"---\n{head}---\n{_with_table(body, _markdown(run, step, finite))}"


def _eval_results(rows: pd.DataFrame, run: TrainingRun, step: int) -> list[Any]:
    """Each value as the hub has it; a task is its data set, since one is told from another by its type alone."""
    from huggingface_hub import EvalResult

    columns = ("task", "title", "metric", "value", "stderr", "n", "tokens")
    found = []
    for task, title, metric, value, stderr, n, tokens in rows[list(columns)].itertuples(index=False, name=None):
        about = {"step": step, "tokens": int(tokens), "n": int(n), "scored_by": run.settings}
        args = about | ({"stderr": float(stderr)} if math.isfinite(stderr) else {})
        found.append(
            EvalResult(
                task_type=_TASK, dataset_type=task, dataset_name=title or task, metric_type=metric,
                metric_name=metric, metric_value=float(value), metric_args=args,
            )
        )  # fmt: skip
    return found


def _merged(there: Any, made: dict[str, Any], path: Path) -> list[dict[str, Any]]:
    """The index with ours in it: of the model of this name what is of the same task and data set is replaced.

    Raises:
        ConfigError: what is there is no index.
    """
    if there is None:
        return [made]
    if not isinstance(there, list) or not all(isinstance(one, dict) for one in there):
        raise ConfigError(f"the {_INDEX} of {path} is no list of models: mend or remove it.")
    ours = {_place(result) for result in made["results"]}
    index, is_in = [], False
    for model in there:
        if model.get("name") == made["name"] and not is_in:
            others = [one for one in model.get("results") or [] if not (_is_ours(one) and _place(one) in ours)]
            model, is_in = {**model, "results": [*others, *made["results"]]}, True
        index.append(model)
    return index if is_in else [*index, made]


def _is_ours(result: Any) -> bool:
    """Whether an export wrote it: others' results of the same task stay."""
    metrics = result.get("metrics") if isinstance(result, dict) else None
    args = [one.get("args") for one in metrics or [] if isinstance(one, dict)] if isinstance(metrics, list) else []
    return any(isinstance(one, dict) and "scored_by" in one for one in args)


def _place(result: Any) -> tuple[Any, Any]:
    parts = [result.get(name) if isinstance(result, dict) else None for name in ("task", "dataset")]
    task, data = (part if isinstance(part, dict) else {} for part in parts)
    return task.get("type"), data.get("type")


def _parted(text: str, path: Path) -> tuple[str, str]:
    """Front matter, without its lines of dashes, and the rest.

    Raises:
        ConfigError: it begins and does not end.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    if not text.startswith("---\n"):
        return "", f"\n{text}" if text else ""
    head, dashes, body = text[4:].partition("\n---\n") if not text[4:].startswith("---\n") else ("", "---\n", text[8:])
    if not dashes:
        if text.endswith("\n---"):
            return text[4:-3], ""
        raise ConfigError(f"the front matter of {path} does not end: a line of --- is missing.")
    return f"{head}\n" if head else "", body


def _mapping(head: str, path: Path) -> dict[str, Any]:
    try:
        known = yaml.safe_load(head)
    except yaml.YAMLError as error:
        raise ConfigError(f"the front matter of {path} is no YAML ({first_line(error)}): mend it.") from None
    if known is not None and not isinstance(known, dict):
        raise ConfigError(f"the front matter of {path} is no mapping: mend it.")
    return known or {}


def _replaced(head: str, text: str) -> str:
    """Front matter with other lines for one key; all else stays as it is written, comments too."""
    node = yaml.compose(head) if head.strip() else None
    lines = head.splitlines(keepends=True)
    for key, value in node.value if isinstance(node, yaml.MappingNode) else []:
        if key.value == _INDEX:
            end = value.end_mark.line + (value.end_mark.column > 0)
            while end > key.start_mark.line + 1 and not _is_content(lines[end - 1]):
                end -= 1  # comments and empty lines after it are the next key's
            return "".join([*lines[: key.start_mark.line], text, *lines[end:]])
    return head + text


def _is_content(line: str) -> bool:
    return bool(line.strip()) and not line.lstrip().startswith("#")


def _with_table(body: str, table: str) -> str:
    """The text with the table between its two comments, where it has them, else at its end."""
    block = f"{_BEGIN}\n{table}{_END}"
    before, begin, rest = body.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    if begin and end:
        return f"{before}{block}{after}"
    return f"{body.rstrip()}\n\n{block}\n" if body.strip() else f"\n{block}\n"


def _markdown(run: TrainingRun, step: int, rows: pd.DataFrame) -> str:
    """The results as a section with a table."""
    tokens = int(rows["tokens"].iloc[0]) if len(rows) else 0
    lines = ["## Evaluation results", "", f"{markdown_escape(run.name)} at step {step:,} ({tokens:,} tokens).", ""]
    lines += ["| task | metric | value | standard error | items |", "|---|---|---:|---:|---:|"]
    columns = ("task", "metric", "value", "stderr", "n")
    for task, metric, value, stderr, n in rows[list(columns)].itertuples(index=False, name=None):
        error = f"{stderr:.4f}" if math.isfinite(stderr) else ""
        lines.append(f"| {markdown_escape(task)} | {markdown_escape(metric)} | {value:.4f} | {error} | {n:,} |")
    return "\n".join([*lines, ""])


def _text_of(path: Path) -> str:
    try:
        return path.read_bytes().decode()
    except (FileNotFoundError, NotADirectoryError):
        return ""
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is no text in UTF-8: name another file.") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror or error}.") from error
