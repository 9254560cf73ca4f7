"""The first row of a task's local data in the task's templates: a column that no row has is told before any job."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any

from evalrun.core.errors import TaskError, suggest
from evalrun.tasks import data_rows, plain_columns
from evalrun.tasks.task_file import TaskFile
from evalrun.tasks.task_yaml import is_lm_evals

_TEMPLATES = ("doc_to_text", "doc_to_choice", "doc_to_target")
_UNDEFINED = re.compile(r"'(\w+)' is undefined")


def problems(files: Iterable[TaskFile]) -> Iterator[str]:
    """A sentence for each template of a user's own task that names a column which its local data has not.

    Rows are held to their task one by one when its documents are made; this looks at one row, in a moment. Where code
    changes the rows, or makes the prompts, nothing can be said yet.
    """
    for file in files:
        config = file.config
        code = config.get("process_docs")
        if is_lm_evals(file.path) or "class" in config or not file.splits or not (code is None or _renames(code)):
            continue
        split = config.get("test_split") or config.get("validation_split")
        written = {key: config.get(key) for key in _TEMPLATES}
        templates = {key: text for key, text in written.items() if isinstance(text, str) and "{" in text}
        if templates and split in file.splits:
            yield from _of_split(file, str(split), templates)


def _renames(code: Any) -> bool:
    return getattr(code, "own", None) is plain_columns.plain_names


def _of_split(file: TaskFile, split: str, templates: dict[str, str]) -> Iterator[str]:
    """Sentences about the templates that the first row of a split does not fill, nor any column of another row.

    Args:
        file: The task.
        split: That is scored.
        templates: Key -> text.
    """
    path = file.splits[split]
    texts = data_rows.text_columns(file.splits.values())
    try:
        first = next(iter(data_rows.read(path, texts)), None)
        absent = {} if first is None else _absent(templates, _named(file, first))
        if not absent:
            return
        columns = list(dict.fromkeys(column for row in data_rows.read(path, texts) for column in row))
    except TaskError:
        return  # said, with its line, for this task alone: the others are scored
    names = list(_named(file, dict.fromkeys(columns)))
    for key, name in absent.items():
        if name not in names:  # a row that lacks a column has null in it
            yield (
                f"task '{file.name}' in {file.path}: row 1 of '{path}' has no column '{name}', which {key} names: "
                f"{suggest(name, names, show=12)}"
            )


def _named(file: TaskFile, row: dict[str, Any]) -> dict[str, Any]:
    """A row under the names that templates know."""
    if file.config.get("process_docs") is None:
        return row
    plain = plain_columns.plain(row)
    return {plain[column]: value for column, value in row.items()}


def _absent(templates: dict[str, str], row: dict[str, Any]) -> dict[str, str]:
    """Key of a template -> the column that it asks a row for in vain."""
    from jinja2 import TemplateError

    found: dict[str, str] = {}
    for key, text in templates.items():
        try:
            _environment().from_string(text).render(**row)
        except TemplateError as error:
            if (name := _UNDEFINED.search(str(error))) is not None:
                found[key] = name[1]
        except Exception:
            continue  # what else does not fit is told with its row
    return found


@cache
def _environment() -> Any:
    """Templates as lm-eval reads them, without importing it."""
    from jinja2 import BaseLoader, Environment, StrictUndefined

    made = Environment(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
    made.filters["regex_replace"] = lambda text, pattern, by="", count=0: re.sub(pattern, by, text, count=count)
    return made
