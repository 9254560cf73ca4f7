"""The texts that a task of whole texts scores, read again from its file."""

from __future__ import annotations

from collections.abc import Iterator

from evalrun.core.errors import TaskError
from evalrun.tasks import builder
from evalrun.tasks.item_clusters import document_hash
from evalrun.tasks.task_file import TaskFile


def document_texts(file: TaskFile) -> Iterator[tuple[int, str, str]]:
    """The document id of each text, the hash of its row as lm-eval makes it, and the text.

    Args:
        file: The task.

    Raises:
        TaskError: data that cannot be had, or a task of other items.
    """
    if not file.is_rolling:
        raise TaskError(f"task '{file.name}' has no texts to take words from: its output_type is no whole text's.")
    task = builder.build([file], None)[file.name]
    for place, document in enumerate(task.eval_docs):
        yield place, document_hash(document), str(task.doc_to_target(document))
