"""An error of a task's data, code or metrics, as one sentence that names the task."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from evalrun.core.errors import EvalrunError, TaskError
from evalrun.tasks import checks
from evalrun.tasks.lm_eval_private import METRIC_FUNCTIONS
from evalrun.tasks.task_file import TaskFile

_BY_WORDS = (AssertionError, TypeError, ValueError)  # of what is asked for; others are the machine's or the model's


def data_files(file: TaskFile) -> str:
    """A task's files of data, quoted, for a message."""
    return ", ".join(f"'{path}'" for path in dict.fromkeys(file.splits.values()))


def load_sentence(file: TaskFile, error: Exception) -> str:
    """Why lm-eval could not build a task: its data, the network, or what stands in its file."""
    message = " ".join(str(error.__cause__ or error).split()) or type(error).__name__
    name = type(error).__name__
    if file.splits and not name.startswith("Template"):
        return f"task '{file.name}': {data_files(file)} cannot be used: {checks.why(message, name)}."
    network = ("Connection", "OfflineMode", "LocalEntry", "HubHTTP", "DatasetNotFound")
    if name.startswith(network) or "offline" in message.lower() or "reach" in message.lower():
        return (
            f"task '{file.name}': dataset '{file.config.get('dataset_path')}' is on the hub, which cannot be reached, "
            "and not in the local cache: connect once, or point data_dir (or the task's data) at local files."
        )
    return f"task '{file.name}' in {file.path} cannot be built: {checks.why(message, name)}."


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
        if not isinstance(error, EvalrunError) and any(frame.name in METRIC_FUNCTIONS for frame in frames):
            raise TaskError(
                f"{label}: {' '.join(str(error).split())[:300]} ({type(error).__name__}) where lm-eval makes metrics "
                f"of the answers to task {named}: look at its metric_list, filter_list and doc_to_target."
            ) from error
        raise
