"""From task files to lm-eval tasks with checked documents, built once per process."""

from __future__ import annotations

import contextlib
import copy
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from evalrun.core.errors import TaskError
from evalrun.tasks import (
    checks,
    documents,
    generation_settings,
    lm_eval_private,
    lm_eval_task,
    local_documents,
    people,
    plain_columns,
    right_answers,
    targets,
    task_faults,
)
from evalrun.tasks.chat_prompts import ChatPrompts
from evalrun.tasks.data import sha256
from evalrun.tasks.task_file import TaskFile
from evalrun.tasks.task_yaml import Function

log = logging.getLogger(__name__)
_built: dict[tuple[str, str, int | None, str], Any] = {}


def build(
    files: Sequence[TaskFile],
    num_fewshot: int | None,
    generation: Mapping[str, Any] | None = None,
    chat: ChatPrompts | None = None,
) -> dict[str, Any]:
    """Make lm-eval tasks; those built before in this process are reused.

    Args:
        files: What to build.
        num_fewshot: Examples in the prompt; None for each task's own.
        generation: How texts are to be generated, where the files do not say it; see `config.asking.generation_in`.
        chat: Makes a conversation of prompts; None leaves them plain text.

    Returns:
        Task name -> lm-eval task, its documents loaded and checked.

    Raises:
        TaskError: data that cannot be had or does not fit the task.
    """
    tasks = {}
    for file in files:
        set_beside = json.dumps([dict(generation or {}), None if chat is None else chat.key], sort_keys=True)
        key = (file.name, file.digest, num_fewshot, set_beside)
        if key not in _built:
            _built[key] = _build(file, num_fewshot)
            _set_generation(_built[key], generation or {})
            _built[key].chat = chat
        tasks[file.name] = _built[key]
    return tasks


def _build(file: TaskFile, num_fewshot: int | None) -> Any:
    """Make lm-eval's task of a file, with its data read and checked.

    Args:
        file: Which.
        num_fewshot: Examples in each prompt; None: as the file says. A file that says 0 means it.

    Raises:
        TaskError: data or templates that cannot be used.
    """
    from datasets.utils.logging import disable_progress_bar, set_verbosity
    from lm_eval.tasks import TaskManager

    disable_progress_bar()
    set_verbosity(logging.CRITICAL)  # it logs what it raises
    _compile_templates_once()
    config = _resolve_functions(copy.deepcopy(file.config), file)
    try:
        with _defaults_unsaid():
            task = _manager(TaskManager).load([_mended(config, file)])["tasks"][file.name]
    except TaskError:
        raise
    except Exception as error:  # datasets, pyarrow and jinja raise their own
        raise TaskError(task_faults.load_sentence(file, error)) from error
    _refuse(file.name, task)
    own = task.get_config("num_fewshot")
    if num_fewshot is not None and own == 0:  # as lm-eval has it: a task that says 0 means it
        log.warning("%s is defined with num_fewshot: 0, so num_fewshot=%d does not apply to it", file.name, num_fewshot)
    else:
        task.set_config(key="num_fewshot", value=(own or 0) if num_fewshot is None else num_fewshot)
    documents.check_documents(file, task)
    if (wrong := targets.problem(task)) is not None:
        where = task_faults.data_files(file) or f"dataset '{file.config.get('dataset_path')}'"
        raise TaskError(f"task '{file.name}': in {where}, {wrong}.")
    documents.check_examples(file, task)
    people.check(file.name, task)
    return task


def _set_generation(task: Any, generation: Mapping[str, Any]) -> None:
    """Have a task's texts generated as a run asks for it, and as often."""
    if not generation or task.OUTPUT_TYPE != generation_settings.GENERATES:
        return
    task.set_config(
        "generation_kwargs", generation_settings.with_generation(task.get_config("generation_kwargs"), generation)
    )
    if (samples := generation.get("samples")) is not None:
        task.set_config("repeats", samples)
        task.samples = samples


def _refuse(name: str, task: Any) -> None:
    """Refuse what lm-eval's evaluator refuses.

    Raises:
        TaskError: the task asks about pictures or sounds.
    """
    if getattr(task, "MULTIMODAL", False):
        raise TaskError(f"task '{name}' asks about pictures or sounds, and the checkpoint reads text: leave it out.")


def _mended(config: dict[str, Any], file: TaskFile) -> dict[str, Any]:
    """The config of a task of evalrun's class, its local data read; one with a class of its own stays as it is.

    Raises:
        TaskError: data that cannot be read, or that was changed while this command ran.
    """
    from lm_eval.api.task import ConfigurableTask

    if "class" in config:
        return config
    local = None
    if file.splits:
        code = config.get("process_docs")
        try:
            local = local_documents.read(file.splits, None if code is plain_columns.plain_names else code)
        except TaskError as error:
            raise TaskError(f"task '{file.name}': {error}") from None
        changed = next((path for path, known in file.data_sha256.items() if sha256(path) != known), None)
        if changed is not None:
            raise TaskError(f"task '{file.name}': data file '{changed}' was changed while it was read: start again.")
        for split, documents in local.items():
            if len(documents) == 0:  # lm-eval looks at the first row of whatever split it takes
                raise TaskError(f"task '{file.name}': '{file.splits[split]}' has no rows: put one item in each row.")
        if file.has_written_examples:  # they stand in the file, and the split of the data is evalrun's addition
            config["fewshot_split"] = None

    own = file.has_own_answers

    def fault(task: Any, row: Any) -> str | None:
        return checks.example_problem(task, row, local is not None, own)

    return config | {"class": lm_eval_task.of(ConfigurableTask, local, fault)}


@contextlib.contextmanager
def _defaults_unsaid() -> Iterator[None]:
    """Keep from the log that a metric without aggregation or direction has those that lm-eval registers for it."""
    logger = logging.getLogger("lm_eval.api.task")

    def other(record: logging.LogRecord) -> bool:
        return "is defined, but" not in record.getMessage()

    logger.addFilter(other)
    try:
        yield
    finally:
        logger.removeFilter(other)


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
    """A task's config with its `!function` tags replaced by the functions.

    Raises:
        TaskError: one cannot be imported.
    """
    if isinstance(value, Function):
        try:
            return value.own or lm_eval_private.import_function(value.spec, Path(value.folder))
        except (ImportError, AttributeError, ValueError) as error:
            raise TaskError(f"task '{file.name}': !function {value.spec} cannot be imported: {error}.") from None
    if isinstance(value, dict):
        return {key: _resolve_functions(item, file) for key, item in value.items()}
    if isinstance(value, list):
        return [_resolve_functions(item, file) for item in value]
    return value


def warn_of_ties(task: Any, name: str, label: str, ties: Mapping[str, int], n: int) -> None:
    """Warn where ties would be right or wrong by the order of the choices, or where most items are ties.

    Args:
        task: lm-eval's task object.
        name: Of the task.
        label: The checkpoint.
        ties: Metric -> items in which several choices share its highest value.
        n: Items.
    """
    most = max(ties.values(), default=0)
    if 2 * most > n:
        log.warning(
            "%s says the same of several choices in %d of %d items of %s, as a model does whose head is zero",
            *(label, most, n, name),
        )
    of_one = sorted(right_answers.OF_ONE_CHOICE & ties.keys())
    if of_one:
        log.warning(
            "%s: %s %s the first of equally likely choices, as lm-eval does, in %d of %d items: acc counts such a "
            "tie at its expected value",
            *(name, " and ".join(of_one), "takes" if len(of_one) == 1 else "take", ties[of_one[0]], n),
        )
    place = right_answers.only_place(task) if ties else None
    if place is not None:
        log.warning(
            "%s: the right choice is the %s of every item, so lm-eval would count every tie as %s; here a tie counts "
            "as the share of right choices in it",
            *(name, right_answers.ordinal(place), "wrong" if place else "right"),
        )


def noted(task: Any) -> dict[str, int]:
    """What a result's settings keep of how its prompts depart from lm-eval's: how many have other examples."""
    counts = {"fewshot_replaced": getattr(task, "replaced", 0), "chat_system_dropped": getattr(task, "dropped", 0)}
    return {name: count for name, count in counts.items() if count}


@lru_cache(maxsize=256)
def chance(task: Any) -> float | None:
    """Expected accuracy of a uniform guess over the documents: the mean of right choices / number of choices."""
    if task.OUTPUT_TYPE != "multiple_choice":
        return None
    shares = []
    for document in task.eval_docs:
        choices = task.doc_to_choice(document)
        shares.append(max(1, len(right_answers.right(task, document, choices))) / len(choices))
    return sum(shares) / len(shares)
