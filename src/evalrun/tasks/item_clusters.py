"""Which items of a task share a template or a passage: a column of its data, read again from the task's file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from evalrun.core.errors import TaskError, suggest
from evalrun.tasks import builder
from evalrun.tasks.task_file import TaskFile


def item_clusters(file: TaskFile, column: str) -> Iterator[tuple[int, str, str | None]]:
    """The document id of each item, the hash of its document as lm-eval makes it, and its value in a column.

    The hash tells whether the items of a result are those of the file as it is now. Lists and objects are given as
    JSON; None where a row has no value.

    Args:
        file: The task.
        column: Of its documents, as templates name it.

    Raises:
        TaskError: data that cannot be had, or without such a column.
    """
    documents = builder.build([file], None)[file.name].eval_docs
    columns = sorted({name for document in documents for name in document})
    if column not in columns:
        raise TaskError(f"the data of task '{file.name}' has no column '{column}': {suggest(column, columns)}")
    for place, document in enumerate(documents):
        yield place, document_hash(document), as_text(document.get(column))


def document_hash(document: Any) -> str:
    """The doc_hash of lm-eval's samples."""
    from lm_eval.utils import handle_non_serializable, hash_string

    return str(hash_string(json.dumps(document, indent=2, default=handle_non_serializable, ensure_ascii=False)))


def as_text(value: Any) -> str | None:
    """A value of a row as text, lists and objects as JSON; None where there is none."""
    if value is None or value != value or value == "":
        return None
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
