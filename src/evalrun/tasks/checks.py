"""What can be wrong with a row of a task: said before the first checkpoint is loaded."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from evalrun.core.text import counted
from evalrun.tasks import gaps, numbers

_LISTED = re.compile(r"\[.*\]", re.DOTALL)
_NEAR = 0.75  # difflib's ratio: Text and text, promt and prompt, not answer and prompt
_WORDS = (  # for false, for true
    frozenset({"false", "no", "incorrect", "wrong", "f", "n"}),
    frozenset({"true", "yes", "correct", "right", "t", "y"}),
)
_LIKELIHOOD = ("loglikelihood", "loglikelihood_rolling")


def problem(task: Any, document: Mapping[str, Any], local: bool, own: bool) -> str | None:
    """What keeps a row from being scored, as the end of a sentence that begins with the row; None where nothing does.

    Args:
        task: lm-eval's task object.
        document: The row.
        local: Whether the data is a file of the user's, whose nulls are then gaps.
        own: Whether the task's file is the user's; in lm-eval's own a digit is the index that lm-eval takes it for.
    """
    found = gaps.problem(task, document) if local else None
    found = found or (_misspelt(task, document) if own else None)
    found = found or (numbers.problem(task, document) if own or local else None)
    if found is not None:
        return found
    try:
        text = task.doc_to_text(document)
        target = task.doc_to_target(document)
        choices = task.doc_to_choice(document) if task.config.doc_to_choice is not None else None
    except Exception as error:  # jinja, literal_eval, KeyError: all mean the row does not fit the templates
        return f"does not fit the task's templates: {why(' '.join(str(error).split()), type(error).__name__)}"
    if choices is None:
        return _of_texts(task, text, target, local)
    found = _of_choices(task, choices)
    if found is not None:
        return found
    if isinstance(text, int):  # one continuation after several contexts (WinoGrande): the target is that continuation
        number = counted(len(choices), "choice")
        return None if 0 <= text < len(choices) else f"has answer index {text}, but only {number}"
    found = _read_as_index(task, document, choices, target) if own else None
    if found is not None:
        return found
    targets = target if isinstance(target, list) else [target]
    if isinstance(target, list) and any(isinstance(one, bool) for one in target):
        return f"has answers {target!r}, which as indices are the first two choices: list the places of the right ones"
    found = next((found for one in targets if (found := _of_answer(task, one, choices, document))), None)
    return found or _of_prompt(task, text, local)


def example_problem(task: Any, document: Mapping[str, Any], local: bool, own: bool) -> str | None:
    """What is wrong with a row that stands in prompts as an example, whose own templates may be others."""
    shown, asked = task.fewshot_cfg, task.config
    if all(getattr(shown, key) == getattr(asked, key) for key in ("doc_to_text", "doc_to_choice", "doc_to_target")):
        return problem(task, document, local, own)
    try:
        task.doc_to_text(document, shown.doc_to_text)
        target = task.doc_to_target(document, shown.doc_to_target)
    except Exception as error:
        return f"does not fit the examples' templates: {why(' '.join(str(error).split()), type(error).__name__)}"
    return "has no answer to show" if target in (None, "", []) else None


def why(message: str, name: str) -> str:
    """A library's message in words that fit into a sentence.

    Args:
        message: What it says.
        name: The class of the error.
    """
    if "is undefined" in message:
        return f"a column that the templates name is missing, {message.rstrip('.')}"
    if name.startswith("Template"):  # jinja's own words for a template that cannot be read
        return f"a template cannot be read, {message[:300].rstrip('.')}"
    # A column that is not there stands as Undefined in a list that is rendered.
    if "malformed node" in message or name == "SyntaxError":
        return "doc_to_choice gives no list of texts, as where a column that it names in [...] is missing or misspelt"
    return f"{message[:300].rstrip('.')} ({name})"


def _misspelt(task: Any, document: Mapping[str, Any]) -> str | None:
    """A word that is almost a column, or a column in single braces: lm-eval takes them for the text itself."""
    for key in ("doc_to_text", "doc_to_target"):
        word = getattr(task.config, key)
        if not isinstance(word, str) or word in document:
            continue
        if "{{" not in word and "{%" not in word:
            single = next((name for name in re.findall(r"{ *(\w+) *}", word) if name in document), None)
            if single is not None:
                return (
                    f"has the column '{single}', which {key} names in single braces, and so as the text itself: write "
                    f"{{{{{single}}}}}"
                )
        if word.isidentifier() and (near := difflib.get_close_matches(word, map(str, document), 1, _NEAR)):
            return (
                f"has no column '{word}', which {key} names: the nearest is '{near[0]}', and the word itself, where it "
                f"is meant, is written \"{{{{'{word}'}}}}\""
            )
        for name in sorted(_names_in(word)) if "{{" in word or "{%" in word else ():
            if name not in document and (near := difflib.get_close_matches(name, map(str, document), 1, _NEAR)):
                return f"has no column '{name}', which {key} names: the nearest is '{near[0]}'"
    return None


@lru_cache(maxsize=64)
def _names_in(template: str) -> frozenset[str]:
    """What a template asks its row for; one that has a default says nothing where it is misspelt."""
    from jinja2 import meta
    from lm_eval.utils import env

    try:
        return frozenset(meta.find_undeclared_variables(env.parse(template)) - set(env.globals))
    except Exception:  # told where the template is rendered
        return frozenset()


def _of_texts(task: Any, text: Any, target: Any, local: bool) -> str | None:
    """What is wrong with a row of a task without choices, as the tail of a sentence."""
    if target is None:
        return "has no target"
    if task.OUTPUT_TYPE in _LIKELIHOOD:
        if not isinstance(target, str):
            return f"has a target of type {type(target).__name__}, {target!r}, where a text is expected"
        if not target and task.OUTPUT_TYPE == "loglikelihood":
            return "has an empty target, of which nothing can be scored"
        if (
            not target and "word_perplexity" in task.aggregation()
        ):  # a blank line of a corpus adds nothing to the others
            return "has an empty target, which word_perplexity counts as one word: take the row out"
    return None if task.OUTPUT_TYPE == "loglikelihood_rolling" else _of_prompt(task, text, local)


def _of_prompt(task: Any, text: Any, local: bool) -> str | None:
    if not isinstance(text, str):
        return f"renders to a prompt of type {type(text).__name__}"
    alone = not task.get_config("num_fewshot") and not task.config.description and not task.config.gen_prefix
    if local and alone and task.OUTPUT_TYPE != "generate_until" and text and not text.strip():
        return f"has a prompt of white space alone, {text!r}: leave it empty where nothing is to stand before"
    return None


def _of_choices(task: Any, choices: Any) -> str | None:
    """What is wrong with the choices of a row, as the tail of a sentence."""
    if not isinstance(choices, list) or len(choices) < 2:
        return f"has {choices!r} where a list of two or more choices is expected"
    other = next((choice for choice in choices if not isinstance(choice, str)), None)
    if other is not None:
        template = task.config.doc_to_choice
        inner = re.fullmatch(r"\s*{{(.*)}}\s*", template, re.DOTALL) if isinstance(template, str) else None
        named = inner[1].strip() if inner else template if isinstance(template, str) else "choices"
        return (
            f"has choices that are no texts, {choices!r}: put them in quotes in the data, or write doc_to_choice: "
            f"\"{{{{{named} | map('string') | list}}}}\""
        )
    return f"has an empty choice among {choices!r}" if not all(choices) else None


def _of_answer(task: Any, answer: Any, choices: list[str], document: Mapping[str, Any]) -> str | None:
    """What is wrong with the answer of a row, as the tail of a sentence.

    Args:
        task: lm-eval's.
        answer: What doc_to_target gives of the row.
        choices: Of the row.
        document: The row.
    """
    if answer is None:
        return "has no answer (null)"
    if isinstance(answer, bool) and _opposed(choices[answer] if len(choices) == 2 else "", answer):
        return (
            f"has answer {answer}, which as an index is the choice {choices[answer]!r}: write it as the text of "
            "a choice, or as an index that counts from 0"
        )
    if isinstance(answer, int):
        if 0 <= answer < len(choices):
            return None
        return f"has answer index {answer}, but its {len(choices)} choices are numbered from 0 to {len(choices) - 1}"
    if not isinstance(answer, str):
        whole = isinstance(answer, float) and answer.is_integer()
        named = _by_index(task, document) if whole else ""
        return f"has answer {answer!r}, which is neither a whole number, counted from 0, nor a choice's text{named}"
    if answer not in choices and answer == task.config.doc_to_target:
        return f"has no column '{answer}', which doc_to_target names: it has {', '.join(document)}"
    if answer in choices:
        return None
    named = _by_index(task, document) if answer.isdecimal() and int(answer) < len(choices) else ""
    named += " for an index that counts from 0" if named else ""
    return f"has answer {answer!r}, which is none of its choices {choices!r}{named}"


def _opposed(choice: str, answer: bool) -> bool:
    """Whether a choice is a word for the other truth value."""
    return choice.strip().rstrip(".").lower() in _WORDS[not answer]


def _by_index(task: Any, document: Mapping[str, Any]) -> str:
    """How a column is read as an index, where the target is a column; nothing elsewhere."""
    column = task.config.doc_to_target
    return f': write doc_to_target: "{{{{{column} | int}}}}"' if column in document else ""


def _read_as_index(task: Any, document: Mapping[str, Any], choices: list[str], target: Any) -> str | None:
    """Whether a template gives the text of a choice that lm-eval takes for the index of another.

    Where the template's expression is a number (`{{answer | int}}`), an index is what was meant.
    """
    template = task.config.doc_to_target
    if isinstance(target, str) or not isinstance(template, str) or template in document or task.prompt is not None:
        return None
    text = task.resolve_field(document, template)
    if text not in choices or not (text.isdigit() or _LISTED.fullmatch(text)):
        return None
    if text.isdigit() and choices.index(text) == target:
        return None
    inner = re.fullmatch(r"\s*{{((?:(?!}}).)*)}}\s*", template, re.DOTALL)
    if inner and isinstance(_expression(inner[1])(**document), (int, list)):
        return None
    name = inner[1].strip() if inner else ""
    remedy = f"doc_to_target: {name}" if name in document else 'doc_to_target: "{{choices.index(answer)}}"'
    index = f'"{{{{{name} | int}}}}"' if name in document else '"{{answer | int}}"'
    return (
        f"has answer '{text}', which is the text of a choice but which a template makes an index: write {remedy} for "
        f"the text of the choice, or {index} for an index that counts from 0"
    )


@lru_cache(maxsize=64)
def _expression(inner: str) -> Any:
    """The value of a template's expression, before it is made text."""
    from lm_eval.utils import env

    return env.compile_expression(inner, undefined_to_none=False)
