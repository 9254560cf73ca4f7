"""From task files to lm-eval tasks with checked documents, built once per process."""

from __future__ import annotations

import contextlib
import copy
import logging
import re
import traceback
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from evalrun import task_answers
from evalrun.errors import TaskError
from evalrun.task_data import broken_line
from evalrun.task_files import TaskFile
from evalrun.task_yaml import Function

log = logging.getLogger(__name__)
_built: dict[tuple[str, str, int | None], Any] = {}


def build(files: Sequence[TaskFile], num_fewshot: int | None) -> dict[str, Any]:
    """Make lm-eval tasks; those built before in this process are reused.

    Args:
        files: What to build.
        num_fewshot: Examples in the prompt; None for each task's own.

    Returns:
        Task name -> lm-eval task, its documents loaded and checked.

    Raises:
        TaskError: data that cannot be had or does not fit the task.
    """
    tasks = {}
    for file in files:
        key = (file.name, file.digest, num_fewshot)
        if key not in _built:
            _built[key] = _build(file, num_fewshot)
        tasks[file.name] = _built[key]
    return tasks


def _build(file: TaskFile, num_fewshot: int | None) -> Any:
    from datasets.utils.logging import disable_progress_bar, set_verbosity
    from lm_eval.tasks import TaskManager

    disable_progress_bar()
    set_verbosity(logging.CRITICAL)  # it logs what it raises
    _compile_templates_once()
    config = _resolve_functions(copy.deepcopy(file.config), file)
    try:
        task = _manager(TaskManager).load([config])["tasks"][file.name]
    except TaskError:
        raise
    except Exception as error:  # datasets, pyarrow and jinja raise their own
        raise TaskError(_load_sentence(file, error)) from error
    own = task.get_config("num_fewshot")
    if num_fewshot is not None and own == 0:  # as lm-eval has it: a task that says 0 means it
        log.warning("%s is defined with num_fewshot: 0, so num_fewshot=%d does not apply to it", file.name, num_fewshot)
    else:
        task.set_config(key="num_fewshot", value=(own or 0) if num_fewshot is None else num_fewshot)
    _check_documents(file, task)
    _check_examples(file, task)
    return task


@lru_cache(maxsize=1)
def _manager(manager: Any) -> Any:
    """A task manager without an index: indexing lm-eval's files takes seconds and is not needed."""
    return manager(include_defaults=False)


@lru_cache(maxsize=1)
def _compile_templates_once() -> None:
    """Let lm-eval compile a template once, not for every row: rendering a row takes a thirtieth of that."""
    from lm_eval.utils import env

    env.from_string = lru_cache(maxsize=1024)(env.from_string)


def _resolve_functions(value: Any, file: TaskFile) -> Any:
    if isinstance(value, Function):
        from lm_eval.tasks._yaml_loader import _import_func_in_yml

        try:
            return _import_func_in_yml(value.spec, Path(value.folder))
        except (ImportError, AttributeError, ValueError) as error:
            raise TaskError(f"task '{file.name}': !function {value.spec} cannot be imported: {error}.") from None
    if isinstance(value, dict):
        return {key: _resolve_functions(item, file) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve_functions(item, file) for item in value]
    return value


def _load_sentence(file: TaskFile, error: Exception) -> str:
    message = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
    name = type(error).__name__
    if file.data_files:
        broken = next((found for path in file.data_files if (found := broken_line(path))), None)
        return f"task '{file.name}': {_said(file)} cannot be used: {broken or _why(message, name)}."
    network = ("Connection", "OfflineMode", "LocalEntry", "HubHTTP", "DatasetNotFound")
    if name.startswith(network) or "offline" in message.lower() or "reach" in message.lower():
        return (
            f"task '{file.name}': dataset '{file.config.get('dataset_path')}' is on the hub, which cannot be reached, "
            "and not in the local cache: connect once, or point data_dir (or the task's data) at local files."
        )
    return f"task '{file.name}' in {file.path} cannot be built: {_why(message, name)}."


def _why(message: str, name: str) -> str:
    if "is undefined" in message:
        return f"a column that the templates name is missing, {message.rstrip('.')}"
    if name == "IndexError" and "string index" in message:  # lm-eval looks at the first letter of each choice
        return "its first row has an empty choice"
    return f"{message[:300].rstrip('.')} ({name})"


def _said(file: TaskFile) -> str:
    return ", ".join(f"'{path}'" for path in file.data_files)


def _check_documents(file: TaskFile, task: Any) -> None:
    """Render every document once: a fault in row 900 must not surface after an hour of scoring.

    Raises:
        TaskError: with the row, what is wrong, and where.
    """
    documents = task.eval_docs
    if len(documents) == 0:
        raise TaskError(f"task '{file.name}': {_said(file) or file.config.get('dataset_path')} has no rows.")
    asked = _named(task.config.doc_to_text) if file.data_files else []
    for row, document in enumerate(documents, start=1):
        hole = next((column for column in asked if document.get(column, "") is None), None)
        problem = f"has nothing in '{hole}', which the prompt names" if hole else _document_problem(task, document)
        if problem:
            where = _said(file) or f"dataset '{file.config.get('dataset_path')}'"
            sentence = f"task '{file.name}': row {row} of {where} {problem}."
            if not file.faults_kept:
                raise TaskError(sentence)
            log.warning("%s It is scored all the same, as the profile asks.", sentence)
    if (said := repeated_choices(file, task)) is not None:
        log.warning("%s", said)


def repeated_choices(file: TaskFile, task: Any) -> str | None:
    """A sentence about items that hold one choice twice, which no model can tell apart; None where there are none."""
    if task.OUTPUT_TYPE != "multiple_choice" or callable(task.config.process_results):
        return None
    found = [
        (row, text)
        for row, document in enumerate(task.eval_docs, start=1)
        if (text := task_answers.twice(task.doc_to_choice(document))) is not None
    ]
    if not found:
        return None
    row, text = found[0]
    count = f"{len(found)} of {len(task.eval_docs)} rows hold"
    return (
        f"task '{file.name}': {count} the same choice twice, the first row {row} ({text!r}): no model can tell these "
        "apart, so each of them counts with the same probability; give such a row different choices."
    )


def _named(template: Any) -> list[str]:
    """The columns that a prompt holds as they are: where one of them is null, the prompt would say "None"."""
    return re.findall(r"{{\s*(\w+)\s*}}", template) if isinstance(template, str) else []


def _check_examples(file: TaskFile, task: Any) -> None:
    """Whether there are as many rows as the prompt wants examples; the one that is asked about is none of them.

    Raises:
        TaskError: there are not.
    """
    wanted = int(task.get_config("num_fewshot") or 0)
    if not wanted or task.OUTPUT_TYPE == "loglikelihood_rolling" or not hasattr(task, "sampler"):
        return
    rows = len(task.sampler.df or ())
    most = rows - (task.fewshot_cfg.split is not None and task.fewshot_cfg.split == task.config.test_split)
    if wanted > most:
        raise TaskError(
            f"task '{file.name}': num_fewshot is {wanted}, but {rows} row{'s' * (rows != 1)} can be examples: give at "
            f"most {max(most, 0)}."
        )


def warn_of_ties(task: Any, name: str, ties: Mapping[str, int]) -> None:
    """Say so where ties would be right or wrong by the order of the choices: the right one stands at one place."""
    place = task_answers.only_place(task) if ties else None
    if place is not None:
        log.warning(
            "%s: the right choice is the %s of every item, so lm-eval would count every tie as %s; here a tie counts "
            "as the share of right choices in it",
            *(name, task_answers.ordinal(place), "wrong" if place else "right"),
        )


@contextlib.contextmanager
def faults_named(files: Sequence[TaskFile], label: str) -> Iterator[None]:
    """While tasks are scored: an error of the user's own task code is one of that task, with its line.

    Args:
        files: The tasks.
        label: The checkpoint.

    Raises:
        TaskError: the code raised something.
    """
    try:
        yield
    except Exception as error:
        own = {str(f.code.resolve()): file for file in files for f in file.functions if f.code and not f.trusted}
        for frame in reversed(traceback.extract_tb(error.__traceback__)):
            path = str(Path(frame.filename).resolve())
            if path in own:
                raise TaskError(
                    f"{label}: {' '.join(str(error).split())[:300]} ({type(error).__name__}) at line {frame.lineno} of "
                    f"'{path}', the code of task '{own[path].name}': mend it, then run the same again."
                ) from error
        raise


def _document_problem(task: Any, document: dict[str, Any]) -> str | None:
    try:
        text = task.doc_to_text(document)
        target = task.doc_to_target(document)
        choices = task.doc_to_choice(document) if task.config.doc_to_choice is not None else None
    except Exception as error:  # jinja, literal_eval, KeyError: all mean the row does not fit the templates
        return f"does not fit the task's templates: {_why(' '.join(str(error).split()), type(error).__name__)}"
    if choices is None:
        return None if target is not None else "has no target"
    if not isinstance(choices, list) or len(choices) < 2:
        return f"has {choices!r} where a list of two or more choices is expected"
    if any(not isinstance(choice, str) or not choice for choice in choices):
        return f"has an empty choice among {choices!r}"
    if isinstance(text, int):  # one continuation after several contexts (WinoGrande): the target is that continuation
        return None if 0 <= text < len(choices) else f"has answer index {text}, but only {len(choices)} choices"
    targets = target if isinstance(target, list) else [target]
    for index in targets:
        if isinstance(index, int) and not 0 <= index < len(choices):
            return f"has answer index {index}, but its {len(choices)} choices are numbered from 0 to {len(choices) - 1}"
        if isinstance(index, str) and index not in choices and index == task.config.doc_to_target:
            return f"has no column '{index}', which doc_to_target names: it has {', '.join(document)}"
        if isinstance(index, str) and index not in choices:
            return f"has answer {index!r}, which is none of its choices {choices!r}"
    if not isinstance(text, str):
        return f"renders to a prompt of type {type(text).__name__}"
    return None


@lru_cache(maxsize=256)
def chance(task: Any) -> float | None:
    """Expected accuracy of a uniform guess over the documents: the mean of right choices / number of choices."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return None
    shares = []
    for document in task.eval_docs:
        choices = task.doc_to_choice(document)
        shares.append(max(1, len(task_answers.right(task, document, choices))) / len(choices))
    return sum(shares) / len(shares)
