"""From task files to lm-eval tasks with checked documents, built once per process."""

from __future__ import annotations

import contextlib
import copy
import logging
import traceback
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from evalrun.core.errors import EvalrunError, TaskError
from evalrun.tasks import checks, lm_eval_task, local_documents, plain_columns, right_answers, targets
from evalrun.tasks.data import sha256
from evalrun.tasks.task_file import TaskFile
from evalrun.tasks.task_yaml import Function

log = logging.getLogger(__name__)
_METRICS = ("process_results", "apply_filters", "_compute_task_aggregations")  # where lm-eval computes them
_BY_WORDS = (AssertionError, TypeError, ValueError)  # of what is asked for; others are the machine's or the model's
_COUNTED = 200  # rows beyond those wanted: so many are never all the same item
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
        with _defaults_unsaid():
            task = _manager(TaskManager).load([_mended(config, file)])["tasks"][file.name]
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
    if (wrong := targets.problem(task)) is not None:
        where = _said(file) or f"dataset '{file.config.get('dataset_path')}'"
        raise TaskError(f"task '{file.name}': in {where}, {wrong}.")
    _check_examples(file, task)
    return task


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
    if isinstance(value, Function):
        from lm_eval.tasks._yaml_loader import _import_func_in_yml

        try:
            return value.own or _import_func_in_yml(value.spec, Path(value.folder))
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
    if file.splits and not name.startswith("Template"):
        return f"task '{file.name}': {_said(file)} cannot be used: {checks.why(message, name)}."
    network = ("Connection", "OfflineMode", "LocalEntry", "HubHTTP", "DatasetNotFound")
    if name.startswith(network) or "offline" in message.lower() or "reach" in message.lower():
        return (
            f"task '{file.name}': dataset '{file.config.get('dataset_path')}' is on the hub, which cannot be reached, "
            "and not in the local cache: connect once, or point data_dir (or the task's data) at local files."
        )
    return f"task '{file.name}' in {file.path} cannot be built: {checks.why(message, name)}."


def _said(file: TaskFile) -> str:
    return ", ".join(f"'{path}'" for path in dict.fromkeys(file.splits.values()))


def _check_documents(file: TaskFile, task: Any) -> None:
    """Render every document once: a fault in row 900 must not surface after an hour of scoring.

    Raises:
        TaskError: with the row, what is wrong, and where.
    """
    documents = task.eval_docs
    if len(documents) == 0:
        raise TaskError(f"task '{file.name}': {_said(file) or file.config.get('dataset_path')} has no rows.")
    own = file.has_own_answers
    for row, document in enumerate(documents, start=1):
        problem = checks.problem(task, document, bool(file.splits), own)
        if problem:
            where = _said(file) or f"dataset '{file.config.get('dataset_path')}'"
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
    count = f"{len(found)} of {len(task.eval_docs)} rows hold"
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


def _check_examples(file: TaskFile, task: Any) -> None:
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
            f"task '{file.name}': num_fewshot is {wanted}, but {rows} row{'s' * (rows != 1)} can be examples: give at "
            f"most {max(most, 0)}."
        )


def warn_of_ties(task: Any, name: str, label: str, ties: Mapping[str, int], n: int) -> None:
    """Say so where ties would be right or wrong by the order of the choices, or where most items are ties.

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
            "%s: %s takes the first of equally likely choices, as lm-eval does, in %d of %d items: acc counts such a "
            "tie at its expected value",
            *(name, " and ".join(of_one), ties[of_one[0]], n),
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
    replaced = getattr(task, "replaced", 0)
    return {"fewshot_replaced": replaced} if replaced else {}


@contextlib.contextmanager
def faults_named(files: Sequence[TaskFile], label: str) -> Iterator[None]:
    """While tasks are scored: an error of the user's own task code, or of a metric, is one of that task.

    Args:
        files: The tasks.
        label: The checkpoint.

    Raises:
        TaskError: the code raised something, with its line; or a metric did.
    """
    try:
        yield
    except Exception as error:
        own = {str(f.code.resolve()): file for file in files for f in file.functions if f.code and not f.trusted}
        frames = traceback.extract_tb(error.__traceback__)
        for frame in reversed(frames):
            path = str(Path(frame.filename).resolve())
            if path in own:
                raise TaskError(
                    f"{label}: {' '.join(str(error).split())[:300]} ({type(error).__name__}) at line {frame.lineno} of "
                    f"'{path}', the code of task '{own[path].name}': mend it, then run the same again."
                ) from error
        named = ", ".join(file.name for file in files)
        if isinstance(error, _BY_WORDS) and any(frame.name == "generate_until" for frame in frames):
            raise TaskError(
                f"{label}: {' '.join(str(error).split()).rstrip('.')[:300]} ({type(error).__name__}) where the model "
                f"writes its answers to task {named}: look at generation_kwargs (max_gen_toks, until, temperature)."
            ) from error
        if not isinstance(error, EvalrunError) and any(frame.name in _METRICS for frame in frames):
            raise TaskError(
                f"{label}: {' '.join(str(error).split())[:300]} ({type(error).__name__}) where lm-eval makes metrics "
                f"of the answers to task {named}: look at its metric_list, filter_list and doc_to_target."
            ) from error
        raise


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
