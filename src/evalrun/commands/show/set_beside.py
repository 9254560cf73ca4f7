"""What a run sets beside a task's file, as `show` shows it: sampling and chat."""

from __future__ import annotations

from typing import Any

from evalrun.commands.show.vocabulary import Vocabulary
from evalrun.config.asking import chat_in
from evalrun.config.schema import Config
from evalrun.core.errors import CheckpointError
from evalrun.tasks import generation_settings
from evalrun.tasks.chat_prompts import ChatPrompts, chat_prompts, makes_other_prompts


def chat_of(config: Config, vocabulary: Vocabulary) -> ChatPrompts | None:
    """What makes a conversation of prompts, by the tokenizer that is shown.

    Raises:
        CheckpointError: there is none, or it has no chat template.
    """
    chat = chat_in(config)
    if vocabulary.tokens is not None:
        return chat_prompts(chat, vocabulary.tokens.tokenizer, str(vocabulary.model))
    if makes_other_prompts(chat):
        raise CheckpointError(f"prompts by a chat template need a tokenizer: {vocabulary.problem}")
    return None


def generation_of(task: Any) -> dict[str, Any] | None:
    """How a task's texts are written, with `samples` of an item; None where it generates none."""
    if task.OUTPUT_TYPE != generation_settings.GENERATES:
        return None
    return {**task.config.generation_kwargs, "samples": task.config.repeats}
