"""How tasks are asked beside what their files say, sampling and chat: what of it holds for a job, and what cannot."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from evalrun.config.schema import ChatConf, Config, GenerationConf
from evalrun.config.training_stages import stage_names
from evalrun.core.columns import FIRST_STAGE
from evalrun.core.errors import suggest

# What each setting meant before there was one: results are filed under the same keys.
_FIRST_GENERATION = {"seed": 0}
_FIRST_CHAT: dict[str, Any] = {"template": False, "template_args": {}, "fewshot_as_multiturn": True}
AUTO = "auto"


def generation_in(config: Config) -> dict[str, Any]:
    """What a job sets of how texts are generated; nothing where every task is asked as its file says."""
    said = asdict(config.generation)
    return {key: value for key, value in said.items() if value != _FIRST_GENERATION.get(key)}


def chat_in(config: Config) -> dict[str, Any]:
    """What a job sets of how prompts become a conversation; nothing where they are plain text, or in its stage."""
    stages = config.chat.stages
    if stages is not None and (config.stage or FIRST_STAGE).partition("@")[0] not in stages:
        return {}
    said = asdict(config.chat)
    return {key: value for key, value in said.items() if key != "stages" and value != _FIRST_CHAT.get(key)}


def no_chat_template(label: str) -> str:
    """The sentence about a checkpoint, in words, whose tokenizer has no chat template where one is asked for."""
    return (
        f"the tokenizer of {label} has no chat template, as that of a base model: set chat.template=auto to ask it in "
        "plain text, chat.template=false for all, or name a tokenizer that has one with model.tokenizer=."
    )


def asking_problems(config: Config) -> Iterator[str]:
    """Sentences about sampling and chat that cannot be right, or of which something would be ignored."""
    yield from _generation_problems(config.generation)
    yield from _chat_problems(config.chat)
    if config.chat.stages is not None:
        known = [FIRST_STAGE, *(name.partition("@")[0] for name in stage_names(config.checkpoint))]
        for stage in config.chat.stages:
            if stage not in known:
                yield f"chat.stages has '{stage}', no stage of suite {config.checkpoint.suite}: {suggest(stage, known)}"


def _generation_problems(conf: GenerationConf) -> Iterator[str]:
    """Sentences about numbers that no sampler takes, and about what a greedy decoder never looks at."""
    for key in ("samples", "max_gen_toks"):
        value = getattr(conf, key)
        if value is not None and value < 1:
            yield f"generation.{key} is {value}: it must be 1 or more, or null for what each task's file says."
    heat = conf.temperature
    if heat is not None and not 0 <= heat < math.inf:
        yield f"generation.temperature is {heat}: it must be 0 (greedy) or more, or null for each task's own."
    if conf.top_p is not None and not 0 < conf.top_p <= 1:
        yield f"generation.top_p is {conf.top_p}: it is a share of the probability, above 0 and at most 1, or null."
    if conf.top_k is not None and conf.top_k < 0:
        yield f"generation.top_k is {conf.top_k}: it must be 1 token or more, 0 for all, or null."
    if not 0 <= conf.seed < 2**32:
        yield f"generation.seed is {conf.seed}: it must be from 0 to {2**32 - 1}."
    if heat == 0:
        for key in _drawn(conf):
            yield (
                f"generation.temperature is 0, so that nothing is drawn, and generation.{key}={getattr(conf, key)} "
                "would change nothing: set a temperature above 0, or leave it out."
            )


def _drawn(conf: GenerationConf) -> list[str]:
    """The settings that mean something only where tokens are drawn."""
    return [
        *(["samples"] if (conf.samples or 1) > 1 else []),
        *(key for key in ("top_p", "top_k") if getattr(conf, key) is not None),
        *(["seed"] if conf.seed else []),
    ]


def needs_drawing(config: Config) -> list[str]:
    """The settings of a job, as words to type, that are lost on tasks that decode greedily."""
    return [f"generation.{key}={getattr(config.generation, key)}" for key in _drawn(config.generation)]


def _chat_problems(chat: ChatConf) -> Iterator[str]:
    """Sentences about a template that cannot be named so, and about what is for a template where none is asked for."""
    template = chat.template
    if not isinstance(template, bool | str) or template == "":
        yield f"chat.template is {template!r}: it must be true, false, auto, or the name of a tokenizer's template."
    elif template is False:
        if chat.template_args:
            yield "chat.template_args is for a chat template, and chat.template is false: set chat.template=true too."
        if not chat.fewshot_as_multiturn:
            yield (
                "chat.fewshot_as_multiturn is false, and without a chat template there are no turns: set "
                "chat.template=true with it, or leave it out."
            )
    for key in ("system", "think_end"):
        if getattr(chat, key) == "":
            yield f"chat.{key} is an empty text: write null for none."
    if chat.stages is not None and not chat.stages:
        yield "chat.stages is []: name stages of training, or write null for all."
