"""Whether every document of a task can be asked: each is rendered once before hours are spent on scoring."""

from __future__ import annotations

import logging
from typing import Any

from evalrun.core.errors import TaskError
from evalrun.core.text import counted
from evalrun.tasks import checks, lm_eval_task, right_answers
from evalrun.tasks.task_faults import data_files
from evalrun.tasks.task_file import TaskFile

log = logging.getLogger(__name__)
_COUNTED = 200  # rows beyond those wanted: so many are never all the same item


def check_documents(file: TaskFile, task: Any) -> None:
    """Render every document once: a fault in row 900 must not surface after an hour of scoring.

    Raises:
        TaskError: with the row, what is wrong, and where.
    """
    documents = task.eval_docs
    if len(documents) == 0:
        raise TaskError(f"task '{file.name}': {data_files(file) or file.config.get('dataset_path')} has no rows.")
    own = file.has_own_answers
    for row, document in enumerate(documents, start=1):
        problem = checks.problem(task, document, bool(file.splits), own)
        if problem:
            where = data_files(file) or f"dataset '{file.config.get('dataset_path')}'"
            sentence = f"task '{file.name}': row {row} of {where} {problem}."
            if not file.faults_kept:
                raise TaskError(sentence)
            log.warning("%s It is scored all the same, as the profile asks.", sentence)
    for said in (repeated_choices(file, task), same_prompt(file, task)):
        if said is not None:
            log.warning("%s", said)


def repeated_choices(file: TaskFile, task: Any) -> str | None:
    """A sentence about items that hold one choice twice, which no model can tell apart; None where there are none."""
    if task.OUTPUT_TYPE != "multiple_choice" or callable(task.config.process_results):
        return None
    found = [
        (row, text)
        for row, document in enumerate(task.eval_docs, start=1)
        if (text := right_answers.twice(task.doc_to_choice(document))) is not None
    ]
    if not found:
        return None
    row, text = found[0]
    count = f"{len(found)} of {len(task.eval_docs)} rows {'hold' if len(found) > 1 else 'holds'}"
    return (
        f"task '{file.name}': {count} the same choice twice, the first row {row} ({text!r}): no model can tell these "
        "apart, so each of them counts with the same probability; give such a row different choices."
    )


def same_prompt(file: TaskFile, task: Any) -> str | None:
    """A sentence about a task of the user's that asks every item alike, as a template without a column does."""
    if not file.splits or not isinstance(task.config.doc_to_text, str) or len(task.eval_docs) < 2:
        return None
    texts = {str(task.doc_to_text(document)) for document in task.eval_docs}
    if len(texts) > 1 or not (text := texts.pop()).strip():
        return None
    return (
        f"task '{file.name}': the prompt is {text[:60]!r} in all {len(task.eval_docs)} rows: if a column is meant, "
        "name it in doc_to_text with two braces, {{column}}."
    )


def check_examples(file: TaskFile, task: Any) -> None:
    """Whether there are as many rows as the prompt wants examples; the one that is asked about is none of them.

    Raises:
        TaskError: there are not.
    """
    wanted = int(task.get_config("num_fewshot") or 0)
    if not wanted or task.OUTPUT_TYPE == "loglikelihood_rolling" or not hasattr(task, "sampler"):
        return
    rows = len(task.sampler.df or ())
    most = rows - (task.fewshot_cfg.split == task.config.test_split)
    if isinstance(task.sampler, lm_eval_task.OtherItems) and rows < _COUNTED + wanted:
        known = [(row, task.sampler.said(row)) for row in task.sampler.df]
        for document in task.eval_docs:
            said = task.sampler.said(document)
            most = min(most, sum(row != document and (said is None or one != said) for row, one in known))
            if most < wanted:
                break
    if wanted > most:
        raise TaskError(
            f"task '{file.name}': num_fewshot is {wanted}, but {counted(rows, 'row')} can be examples: give at "
            f"most {max(most, 0)}."
        )
