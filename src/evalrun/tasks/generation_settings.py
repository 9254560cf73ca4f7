"""How a task's texts are generated where a run says otherwise than its file, and what of that would be lost on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from evalrun.config.asking import chat_in, generation_in, needs_drawing
from evalrun.config.schema import Config
from evalrun.core.errors import ConfigError

GENERATES = "generate_until"
_LIMITS = ("max_gen_toks", "max_new_tokens", "max_tokens", "max_completion_tokens", "max_length")  # lm-eval's words
AT_ONCE = ("majority_vote", "take_first_k")  # filters of lm-eval's that look at several answers to an item
_WHOLE = "loglikelihood_rolling"


def is_greedy(kwargs: Mapping[str, Any] | None) -> bool:
    """Whether lm-eval takes the most likely token each time: where nothing is drawn, or the temperature is 0."""
    said = kwargs or {}
    return said.get("do_sample") is False or not float(said.get("temperature") or 0.0)


def with_generation(kwargs: Mapping[str, Any] | None, generation: Mapping[str, Any]) -> dict[str, Any]:
    """A task's generation_kwargs as a run asks for them.

    Args:
        kwargs: The file's own, or lm-eval's.
        generation: What the run sets; see `config.asking.generation_in`.
    """
    said = dict(kwargs or {})
    for key in ("top_p", "top_k"):
        if key in generation:
            said[key] = generation[key]
    if "max_gen_toks" in generation:
        said = {key: value for key, value in said.items() if key not in _LIMITS}
        said["max_gen_toks"] = generation["max_gen_toks"]
    if (heat := generation.get("temperature")) is not None:
        said |= {"temperature": float(heat), "do_sample": heat > 0}
        if not heat:
            said = {key: value for key, value in said.items() if key not in ("top_p", "top_k", "temperature")}
    return said


def samples_of(task: Any) -> int | None:
    """How many answers to an item of one of lm-eval's tasks are judged each by itself; None: as its file has it."""
    found: int | None = getattr(task, "samples", None)
    return found


def refuse_lost(config: Config, tasks: Mapping[str, Mapping[str, Any]]) -> None:
    """See that what a job sets of sampling and chat means something to its tasks.

    Args:
        config: The job's.
        tasks: Name -> the task's config; of one with a class of its own the kind is not known.

    Raises:
        ConfigError: none of them generates a text, or one would be asked the same again and again.
    """
    if found := list(_lost(config, tasks)):
        raise ConfigError(found)


def _lost(config: Config, tasks: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """Sentences about what a job sets and no task of it, or one of them, would feel."""
    kinds = {name: None if "class" in said else said.get("output_type", GENERATES) for name, said in tasks.items()}
    generation, chat = generation_in(config), chat_in(config)
    if generation and not {GENERATES, None} & set(kinds.values()):
        words = ", ".join(f"generation.{key}={value}" for key, value in generation.items())
        yield f"{words} is for tasks that generate text, and {_listed(kinds)}: leave it out, or name one that does."
    elif "think_end" in chat and not {GENERATES, None} & set(kinds.values()):
        yield f"chat.think_end is for tasks that generate text, and {_listed(kinds)}: leave it out."
    if set(chat) - {"think_end"} and set(kinds.values()) == {_WHOLE}:
        yield f"chat.{min(set(chat) - {'think_end'})} is for prompts, and {_listed(kinds, 'has one')}: leave it out."
    count: int = generation.get("samples") or 0
    for name, said in tasks.items() if count else ():
        most = max(_taken(said), default=1)
        if kinds[name] == GENERATES and count < most:
            yield (
                f"task '{name}' has a filter that takes the first {most} answers to an item, and "
                f"generation.samples={count} asks for fewer: ask for {most} or more, or leave it out."
            )
    lost = needs_drawing(config)
    for name, said in tasks.items() if lost else ():
        if kinds[name] == GENERATES and is_greedy(with_generation(said.get("generation_kwargs"), generation)):
            yield (
                f"task '{name}' takes the most likely token each time, so that {' and '.join(lost)} would change "
                "nothing: set generation.temperature above 0 with it, such as 0.8, or leave it out."
            )


def _taken(said: Mapping[str, Any]) -> Iterator[int]:
    """How many answers each filter of a task looks at, of those that say it."""
    for entry in said.get("filter_list") or []:
        for step in entry.get("filter") or []:
            if step.get("function") == "take_first_k" and isinstance(step.get("k"), int):
                yield step["k"]


def _listed(kinds: Mapping[str, Any], verb: str = "does") -> str:
    names: Sequence[str] = sorted(kinds)
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return f"of {', '.join(names[:3])}{more} none {verb}"
