"""What tasks ask of a model: rendered once in a process, and which tasks ask about the same prompts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from weakref import WeakKeyDictionary

from evalrun.core.errors import EvalrunError, TaskError
from evalrun.scoring.quiet import quiet_bars

FEWSHOT_SEED = 1234  # lm-eval's default

_rendered: WeakKeyDictionary[Any, dict[int | None, list[Any]]] = WeakKeyDictionary()


def rendered(task: Any, limit: int | None) -> list[Any]:
    """The task's requests, lm-eval's instances; made when first asked for.

    Args:
        task: lm-eval's task object.
        limit: Of the first so many items; None for all.

    Raises:
        TaskError: a template that does not fit the data.
    """
    known = _rendered.setdefault(task, {})
    if limit not in known:
        task.set_fewshot_seed(seed=FEWSHOT_SEED)  # the same examples whatever was rendered before
        with quiet_bars():
            _render(task, limit)
        known[limit] = task.instances
    return known[limit]


def _render(task: Any, limit: int | None) -> None:
    """Let lm-eval make a task's prompts.

    Raises:
        TaskError: a template fails; with the place to look at.
    """
    chat = getattr(task, "chat", None)
    before = 0 if chat is None else chat.dropped
    try:
        task.build_all_requests(limit=limit, **({} if chat is None else chat.arguments()))
        task.dropped = 0 if chat is None else chat.dropped - before
    except EvalrunError:
        raise
    except Exception as error:  # of a template that no row was checked against: description, gen_prefix, examples
        why = " ".join(str(error).split())[:300].rstrip(".")
        missing = "a column that they name is missing, " if "is undefined" in why else ""
        raise TaskError(
            f"task '{task.config.task}': its prompts cannot be made: {missing}{why} ({type(error).__name__}); look at "
            "its description, gen_prefix and fewshot_config."
        ) from error


def forget_answers(requests: Iterable[Any]) -> None:
    """Make requests as if no model had answered them: what an answer was put into is left to whoever holds it."""
    for request in requests:
        request.resps = []
        request.filtered_resps = {}
        request.generated = []


def count_requests(task: Any, limit: int | None) -> int:
    """How many requests a task makes of a model, each as often as it is asked."""
    return sum(request.repeats for request in rendered(task, limit))


def group_by_shared_prompts(tasks: Mapping[str, Any], limit: int | None) -> list[list[str]]:
    """Which tasks are best scored together: those that share prompts, directly or through a third.

    A scorer that is handed all of their requests at once can run a shared prompt once. What is not bundled is not
    kept waiting: its result is there before the next begins.

    Returns:
        Names, in the order of the tasks; bundles in the order of their first tasks.
    """
    found: list[tuple[list[str], set[Any]]] = []
    for name, task in tasks.items():
        names, prompts = [name], _prompts(rendered(task, limit))
        others = []
        for bundle in found:
            if bundle[1].isdisjoint(prompts):
                others.append(bundle)
            else:
                names, prompts = [*bundle[0], *names], bundle[1] | prompts
        found = [*others, (names, prompts)]
    order = {name: place for place, name in enumerate(tasks)}
    return sorted((sorted(names, key=order.__getitem__) for names, _ in found), key=lambda names: order[names[0]])


def _prompts(requests: Iterable[Any]) -> set[Any]:
    """What log-likelihoods are asked after, and whole texts; the empty prompt makes no tasks relatives."""
    known = list(requests)
    asked = {request.args[0] for request in known if request.request_type == "loglikelihood"} - {""}
    return asked | {("whole", request.args[0]) for request in known if request.request_type == "loglikelihood_rolling"}
