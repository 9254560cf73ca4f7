"""A task's items with all that is the same for every checkpoint: what lm-eval's evaluator works out anew for each.

Its requests, right answer, choices and digests hang on the row alone. They are worked out once in a process; what
remains for a checkpoint is to answer the requests and to compute the metrics of the answers, by lm-eval's own code.
"""

from __future__ import annotations

import contextlib
import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from weakref import WeakKeyDictionary

from lm_eval.utils import handle_non_serializable, hash_string

from evalrun.scoring.requests import rendered

_known: WeakKeyDictionary[Any, dict[int | None, list[AskedItem]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class AskedItem:
    """One row of a task and what is asked about it."""

    doc_id: int
    doc: Any
    requests: list[Any]  # lm-eval's instances, in the order of the choices
    target: Any
    choices: list[Any] | None  # None for a task without
    choice_chars: list[int]  # of each request's continuation, without the delimiter before it; 0 where there is none
    choice_bytes: list[int]  # of the same with it, in UTF-8
    doc_hash: str  # as lm-eval makes them
    prompt_hash: str
    target_hash: str

    @cached_property
    def target_json(self) -> str:
        """The right answer as it is kept with the item's result."""
        return json.dumps(self.target, default=str)


def asked_items(task: Any, limit: int | None) -> list[AskedItem]:
    """The items of a task in the order of its rows; made when first asked for.

    Args:
        task: lm-eval's task object.
        limit: The first so many; None for all.

    Raises:
        TaskError: a template that does not fit the data.
    """
    known = _known.setdefault(task, {})
    if limit not in known:
        of_item: dict[int, list[Any]] = defaultdict(list)
        for request in rendered(task, limit):
            of_item[request.doc_id].append(request)
        known[limit] = [
            _asked(task, doc_id, sorted(requests, key=lambda request: request.idx))
            for doc_id, requests in sorted(of_item.items())
        ]
    return known[limit]


def _asked(task: Any, doc_id: int, requests: list[Any]) -> AskedItem:
    """What hangs on a row alone.

    Args:
        task: lm-eval's task object.
        doc_id: The row's place.
        requests: lm-eval's instances of the row, in the order of the choices.
    """
    doc, delimiter = requests[0].doc, _delimiter(task)
    target = task.doc_to_target(doc)
    has_choices = task.OUTPUT_TYPE == "multiple_choice" and not callable(task.config.process_results)
    said = [request.args[1] if request.request_type == "loglikelihood" else "" for request in requests]
    whole = json.dumps(doc, indent=2, default=handle_non_serializable, ensure_ascii=False)
    return AskedItem(
        doc_id=int(doc_id),
        doc=doc,
        requests=requests,
        target=target,
        choices=task.doc_to_choice(doc) if has_choices else None,
        choice_chars=[len(text.removeprefix(delimiter)) for text in said],
        choice_bytes=[len(text.encode()) for text in said],
        doc_hash=hash_string(whole),
        prompt_hash=hash_string(requests[0].arguments[0]),
        target_hash=hash_string(str(target)),
    )


def _delimiter(task: Any) -> str:
    """What lm-eval puts before a choice: nothing where it begins a turn of a conversation."""
    chat, begun = getattr(task, "chat", None), task.config.gen_prefix
    begins = chat is not None and chat.template is not None and (not begun or begun[-1:].isspace())
    return "" if begins else task.config.target_delimiter or ""


@contextlib.contextmanager
def remembered(task: Any, items: Sequence[AskedItem]) -> Iterator[None]:
    """Let a task find the choices and the right answers of its items for a while, instead of rendering them again.

    Args:
        task: lm-eval's task object.
        items: Its items; only rows that are these very objects are found.
    """
    known = {id(item.doc): item for item in items}  # the items keep their rows, so no other has such an id
    choice_of, target_of = task.doc_to_choice, task.doc_to_target

    def doc_to_choice(doc: Any, *others: Any) -> Any:
        item = None if any(other is not None for other in others) else known.get(id(doc))
        return choice_of(doc, *others) if item is None or item.choices is None else item.choices

    def doc_to_target(doc: Any, *others: Any) -> Any:
        item = None if any(other is not None for other in others) else known.get(id(doc))
        return target_of(doc, *others) if item is None else item.target

    task.doc_to_choice, task.doc_to_target = doc_to_choice, doc_to_target
    try:
        yield
    finally:
        for name in ("doc_to_choice", "doc_to_target"):
            task.__dict__.pop(name, None)
