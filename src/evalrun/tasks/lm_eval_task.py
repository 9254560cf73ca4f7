"""lm-eval's task with what it lacks: rows as they are written, text that stays text, examples that are other items.

Everything else is lm-eval's own, and so is every prompt that these three do not concern.
"""

from __future__ import annotations

import ast
import logging
from collections.abc import Callable, Mapping
from random import Random
from typing import Any

from evalrun.core.errors import TaskError
from evalrun.core.text import counted
from evalrun.tasks import text_rule

log = logging.getLogger(__name__)
Row = Mapping[str, Any]
_LIKELIHOOD = ("loglikelihood", "loglikelihood_rolling")


class RowsAsWritten:
    """Goes before lm-eval's ConfigurableTask in the order of methods; see `of`."""

    local: Mapping[str, Any] | None = None  # split -> documents, in place of a dataset of the hub
    example_fault: Callable[[Any, Row], str | None]  # what is wrong with a row that becomes an example

    def __init__(
        self, data_dir: Any = None, cache_dir: Any = None, download_mode: Any = None, config: Any = None
    ) -> None:
        """Take evalrun's own keys out of the config.

        Args:
            data_dir: Of lm-eval.
            cache_dir: Of lm-eval.
            download_mode: Of lm-eval.
            config: The task's.
        """
        self._ready = False
        self._by_index: bool | None = None
        self.replaced = 0  # prompts of the last rendering in which lm-eval would have shown the asked item
        self.human: str | None = config.get("human")  # the column with people's numbers
        self.text_rule = text_rule.TextRule.of(config)  # how whole texts are read
        lm_evals = {key: value for key, value in config.items() if key not in ("class", "human", *text_rule.KEYS)}
        super().__init__(data_dir, cache_dir, download_mode, lm_evals)  # type: ignore[call-arg]
        self._ready = True
        self.sampler: Any = OtherItems(self, self.sampler) if hasattr(self, "sampler") else None

    def download(self, dataset_kwargs: Any = None, **kwargs: Any) -> None:
        """Take the local rows where there are any."""
        if self.local is None:
            super().download(dataset_kwargs, **kwargs)  # type: ignore[misc]
        else:
            self.dataset = self.local

    @property
    def eval_docs(self) -> Any:
        """The documents that are evaluated; a task's process_docs runs once."""
        held = self.__dict__.get("task_docs")
        return super().eval_docs if held is None else held  # type: ignore[misc]

    def doc_to_text(self: Any, doc: Row, doc_to_text: Any = None) -> Any:
        """The prompt: text, also where it is a numeral, which lm-eval takes for the index of a context."""
        template = self.config.doc_to_text if doc_to_text is None else doc_to_text
        if self.prompt is not None or not isinstance(template, str) or self._contexts_by_index():
            return super().doc_to_text(doc, doc_to_text)  # type: ignore[misc]
        return self._text(template, doc)

    def doc_to_target(self: Any, doc: Row, doc_to_target: Any = None) -> Any:
        """What is right; a text that is scored whole is text, also where it looks like a list."""
        template = self.config.doc_to_target if doc_to_target is None else doc_to_target
        if self.prompt is not None or not isinstance(template, str):
            found = super().doc_to_target(doc, doc_to_target)  # type: ignore[misc]
        elif self.OUTPUT_TYPE in _LIKELIHOOD or _is_odd_digit(self._text(template, doc)):
            return self._text(template, doc)
        else:
            found = super().doc_to_target(doc, doc_to_target)  # type: ignore[misc]
        # lm-eval's constructor looks up the first row's choice; all rows are checked afterwards.
        indexed = self.config.doc_to_choice is not None and isinstance(found, int)
        return 0 if indexed and not self._ready else found

    def doc_to_choice(self: Any, doc: Row, doc_to_choice: Any = None) -> Any:
        """The choices of a row."""
        found = super().doc_to_choice(doc, doc_to_choice)  # type: ignore[misc]
        # lm-eval's constructor looks at the first letter of each of the first row; all rows are checked afterwards.
        return found if self._ready or not isinstance(found, list) else [str(one) or " " for one in found] or [" "]

    def fewshot_context(self: Any, doc: Row, num_fewshot: int, **kwargs: Any) -> Any:
        """The prompt with examples, of which the asked item is none."""
        if self.sampler is not None and num_fewshot:
            self.sampler.ask(doc)
        return super().fewshot_context(doc, num_fewshot=num_fewshot, **kwargs)  # type: ignore[misc]

    def build_qa_turn(self: Any, *, c: Any = None, a: Any = None, **kwargs: Any) -> Any:
        """A question with its answer; of several right answers that are indices, the first."""
        if c and isinstance(a, list) and a and isinstance(a[0], int):
            a = a[0]
        return super().build_qa_turn(c=c, a=a, **kwargs)  # type: ignore[misc]

    def build_all_requests(self: Any, **kwargs: Any) -> None:
        """Render; say how many prompts are not those of lm-eval."""
        self.replaced = 0
        super().build_all_requests(**kwargs)  # type: ignore[misc]
        if self.replaced:
            log.warning(
                "%s: lm-eval would show the asked item among its own examples in %d of its prompts: other rows stand "
                "there in its place.",
                *(self.config.task, self.replaced),
            )

    def _text(self: Any, template: str, doc: Row) -> Any:
        found = self.resolve_field(doc, template) if template else ""
        return str(found) if isinstance(found, (bool, int, float)) else found

    def _contexts_by_index(self: Any) -> bool:
        """Whether this is a task of several contexts and one continuation, as lm-eval writes WinoGrande.

        There the prompt says which context is right, and the target is a text that is none of the contexts.
        """
        if self._by_index is None:
            chosen = self.config.doc_to_choice is not None and isinstance(self.config.doc_to_text, str)
            self._by_index = chosen and all(map(self._is_context, self.task_docs))
        return bool(self._by_index)

    def _is_context(self: Any, doc: Row) -> bool:
        text = self.resolve_field(doc, self.config.doc_to_text) if self.config.doc_to_text else ""
        whole = isinstance(text, int) and not isinstance(text, bool)
        if not whole and not (isinstance(text, str) and text.isdigit() and not _is_odd_digit(text)):
            return False
        target = super().doc_to_target(doc)  # type: ignore[misc]
        choices: list[Any] = super().doc_to_choice(doc)  # type: ignore[misc]
        return isinstance(target, str) and target not in choices


class OtherItems:
    """Draws examples as lm-eval's sampler does, and puts another row wherever that drew the asked item itself.

    Two rows are the same item where they are equal, or where question and answer would read the same in a prompt.
    """

    def __init__(self, task: Any, inner: Any) -> None:
        self._task = task
        self._inner = inner
        self._known: dict[int, tuple[str, str] | None] = {}  # by identity: the sampler keeps its rows
        self._asked: tuple[Row | None, tuple[str, str] | None] = (None, None)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    def ask(self, doc: Row) -> None:
        """Say which item the next examples are for."""
        self._asked = (doc, self.said(doc))

    def sample(self, n: int, **kwargs: Any) -> list[Any]:
        """Examples for the item that was named by `ask`.

        Raises:
            TaskError: there are too few other rows, or one that would be shown is faulty.
        """
        drawn = list(self._inner.sample(n=n, **kwargs))
        kept = [row for row in drawn if not self._is_asked(row)]
        if len(kept) < len(drawn):
            self._task.replaced += 1
            held = {id(row) for row in kept}
            for row in self._others():
                if len(kept) == n:
                    break
                if id(row) not in held and not self._is_asked(row):
                    kept.append(row)
        if len(kept) < n:
            raise TaskError(
                f"task '{self._task.config.task}': num_fewshot is {n}, but only {counted(len(kept), 'row')} can be "
                f"examples of an item that others repeat: give at most {len(kept)}."
            )
        return kept

    def _others(self) -> list[Any]:
        """All rows in the order in which they may stand in for the asked one; the same in every process."""
        rows = list(self._inner.df)
        if self._task.fewshot_cfg.sampler != "first_n":
            Random(repr(self._asked[1])).shuffle(rows)
        return rows

    def _is_asked(self, row: Row) -> bool:
        doc, said = self._asked
        if id(row) not in self._known:
            fault = self._task.example_fault(row)
            if fault is not None:
                place = next(number for number, one in enumerate(self._inner.df, start=1) if one is row)
                raise TaskError(f"task '{self._task.config.task}': row {place} of its examples {fault}.")
            self._known[id(row)] = self.said(row)
        return row == doc or (said is not None and self._known[id(row)] == said)

    def said(self, doc: Row) -> tuple[str, str] | None:
        """Question and answer of a row as an example; None where the examples' templates do not fit it."""
        task, shown = self._task, self._task.fewshot_cfg
        try:
            question = task.doc_to_text(doc, shown.doc_to_text)
            choices: Any = task.doc_to_choice(doc, shown.doc_to_choice) if shown.doc_to_choice else None
            answer = task.doc_to_target(doc, shown.doc_to_target)
            if task.multiple_input:
                question, choices = choices[question], None
            answer = answer[0] if isinstance(answer, list) else answer
            answer = choices[answer] if choices and isinstance(answer, int) else answer
        except Exception:  # of templates or code made for other columns
            return None
        return str(question).strip(), str(answer).strip()


def of(base: type, local: Mapping[str, Any] | None, example_fault: Callable[[Any, Row], str | None]) -> type:
    """lm-eval's class of tasks with `ItemsFile` before it.

    Args:
        base: ConfigurableTask.
        local: Split -> documents, of local data.
        example_fault: Says what is wrong with a row that becomes an example, given the task and the row.
    """
    return type(base.__name__, (RowsAsWritten, base), {"local": local, "example_fault": example_fault})


def _is_odd_digit(text: Any) -> bool:
    """A numeral that is none of Python's, such as ² or 007."""
    if not isinstance(text, str) or not text.isdigit():
        return False
    if text.isascii() and text[0] != "0":
        return False
    try:
        return not isinstance(ast.literal_eval(text), int)
    except (SyntaxError, ValueError):
        return True
