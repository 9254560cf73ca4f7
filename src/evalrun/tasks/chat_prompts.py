"""Prompts as a conversation: a tokenizer's chat template, a system prompt, examples as turns; as lm-eval makes them.

lm-eval's own code puts messages together, and a template that is named by its name is the one that is taken.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

from evalrun.config.asking import AUTO, no_chat_template
from evalrun.core.errors import CheckpointError, TaskError, first_line, suggest

log = logging.getLogger(__name__)
Turn = Mapping[str, str]
"""role and content"""

_BEYOND = ("template", "template_args", "system", "fewshot_as_multiturn")  # what makes other prompts
_dropped: set[str] = set()  # templates of which it was said that they take no system prompt


class ChatPrompts:
    """How prompts are made for one tokenizer.

    Attributes:
        template: Its text; None where prompts are plain text.
        key: Equal where the same prompts are made.
        dropped: Prompts whose description had no place in the template.
    """

    def __init__(self, chat: Mapping[str, Any], tokenizer: Any, label: str) -> None:
        """Choose the template.

        Args:
            chat: What a job sets; see `config.asking.chat_in`.
            tokenizer: The checkpoint's.
            label: The checkpoint in words.

        Raises:
            CheckpointError: its tokenizer has no chat template, or none of that name.
        """
        self._tokenizer, self._args = tokenizer, dict(chat.get("template_args", {}))
        self._system: str | None = chat.get("system")
        self._multiturn: bool = chat.get("fewshot_as_multiturn", True)
        self._label = label
        self.template = _template(chat.get("template", False), tokenizer, label)
        self.dropped = 0
        special = {name: str(token) for name, token in tokenizer.special_tokens_map.items()} if self.template else {}
        self.key = json.dumps([self.template, self._args, self._system, self._multiturn, special], sort_keys=True)

    @property
    def said(self) -> dict[str, Any]:
        """What a result keeps of it: the digest of the template's text, or that there is none."""
        text = self.template
        return {"chat_template_sha256": None if text is None else hashlib.sha256(text.encode()).hexdigest()}

    def arguments(self) -> dict[str, Any]:
        """What lm-eval's `build_all_requests` takes."""
        said: dict[str, Any] = {"system_instruction": self._system}
        if self.template is None:
            return said
        return said | {
            "apply_chat_template": True,
            "fewshot_as_multiturn": self._multiturn,
            "chat_template": self.render,
        }

    def render(self, history: Sequence[Turn], add_generation_prompt: bool = True) -> str:
        """A conversation as text, ready for the answer; with the beginning of an answer, ready for its rest.

        Args:
            history: Its messages.
            add_generation_prompt: Begin the answer; else the last message is its beginning and is left open.

        Raises:
            TaskError: the template does not take these messages, or not the system prompt that is set.
        """
        from jinja2 import TemplateError

        try:
            return self._applied(history, add_generation_prompt)
        except TemplateError as error:
            rest = [turn for turn in history if turn["role"] != "system"]
            why = first_line(error)
            if len(rest) == len(history):
                raise TaskError(f"the chat template of {self._label} does not take a prompt ({why}).") from None
            if self._system is not None:
                raise TaskError(
                    f"the chat template of {self._label} takes no system prompt ({why}): leave chat.system out."
                ) from None
        try:
            text = self._applied(rest, add_generation_prompt)
        except TemplateError as error:
            raise TaskError(
                f"the chat template of {self._label} does not take a prompt ({first_line(error)})."
            ) from None
        self.dropped += 1
        if str(self.template) not in _dropped:
            _dropped.add(str(self.template))
            log.warning(
                "the chat template of %s takes no system prompt (%s): the descriptions of tasks are left out, as "
                "lm-eval does",
                *(self._label, why),
            )
        return text

    def _applied(self, history: Sequence[Turn], add_generation_prompt: bool) -> str:
        text: str = self._tokenizer.apply_chat_template(
            list(history),
            tokenize=False,
            chat_template=self.template,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
            **self._args,
        )
        return text


def makes_other_prompts(chat: Mapping[str, Any]) -> bool:
    """Whether anything that a job sets of chat concerns prompts; what is cut from answers does not."""
    return bool(set(chat) & set(_BEYOND))


def chat_prompts(chat: Mapping[str, Any], tokenizer: Any, label: str) -> ChatPrompts | None:
    """How a job's prompts are made for a checkpoint (see `ChatPrompts`); None where they are as its tasks have them."""
    return ChatPrompts(chat, tokenizer, label) if makes_other_prompts(chat) else None


def _template(wanted: bool | str, tokenizer: Any, label: str) -> str | None:
    """The text of the template that is asked for.

    Raises:
        CheckpointError: there is none.
    """
    if wanted is False:
        return None
    there = getattr(tokenizer, "chat_template", None)
    if not there:
        if wanted == AUTO:
            return None
        raise CheckpointError(no_chat_template(label))
    if isinstance(wanted, str) and wanted != AUTO:
        names = sorted(there) if isinstance(there, dict) else []
        if not names:
            raise CheckpointError(
                f"chat.template is '{wanted}', and the tokenizer of {label} has one template, without a name: set "
                "chat.template=true."
            )
        if wanted not in names:
            raise CheckpointError(f"chat.template is '{wanted}' for {label}: {suggest(wanted, names)}")
        return str(there[wanted])
    if isinstance(there, dict):
        if "default" not in there:
            raise CheckpointError(
                f"the tokenizer of {label} has several chat templates and no default: name one with chat.template=, "
                f"{suggest('', there)}"
            )
        return str(there["default"])
    return str(there)
