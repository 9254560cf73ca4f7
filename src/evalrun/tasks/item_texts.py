"""What each item of a task asks: its prompt, its choices and its row, read again from the task's file."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from evalrun.tasks import builder
from evalrun.tasks.item_clusters import as_text, document_hash
from evalrun.tasks.task_file import TaskFile

_LONGEST = 200  # characters of a column's value that is kept to be grouped by


@dataclass(frozen=True)
class ItemText:
    """One item, as texts."""

    doc_id: int
    doc_hash: str  # as lm-eval makes it: tells whether a result's item is this one
    prompt: str
    choices: tuple[str, ...]  # none of a free answer
    columns: dict[str, str]  # of its row, short ones, as text
    choice_bytes: tuple[int, ...]  # of each text that is scored, in UTF-8, with the delimiter before it


def item_texts(file: TaskFile) -> Iterator[ItemText]:
    """The items of a task in order.

    Args:
        file: The task.

    Raises:
        TaskError: data that cannot be had, or does not fit the task.
    """
    task = builder.build([file], None)[file.name]
    multiple = task.OUTPUT_TYPE == "multiple_choice"
    for place, document in enumerate(task.eval_docs):
        choices = tuple(str(choice) for choice in task.doc_to_choice(document)) if multiple else ()
        columns = {str(name): as_text(value) for name, value in document.items()}
        short = {name: text for name, text in columns.items() if text is not None and len(text) <= _LONGEST}
        sizes = tuple(len(text.encode()) for text in _scored(task, document, choices))
        yield ItemText(place, document_hash(document), _prompt(task, document), choices, short, sizes)


def _scored(task: Any, document: Any, choices: tuple[str, ...]) -> Iterator[str]:
    """The texts whose log-probabilities are asked for, as lm-eval makes its requests."""
    if task.OUTPUT_TYPE == "loglikelihood":
        yield str(task.doc_to_target(document))
    same = str(task.doc_to_target(document)) if getattr(task, "multiple_input", 0) else None
    for choice in choices:
        yield f"{task.config.target_delimiter}{choice if same is None else same}"


def _prompt(task: Any, document: Any) -> str:
    """What is asked, without examples before it; where the contexts differ by choice, what follows all of them."""
    if getattr(task, "multiple_input", 0):
        return str(task.doc_to_target(document))
    return str(task.doc_to_text(document))
