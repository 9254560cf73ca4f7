"""What the columns of a data file are for: the parts of a task config, each with what it was taken from."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evalrun.commands.new_task import answer_column, choice_columns
from evalrun.commands.new_task.choice_columns import key
from evalrun.commands.new_task.preview import Rows
from evalrun.core.errors import ConfigError
from evalrun.tasks import plain_columns

_PROMPTS = (
    "prompt", "text", "input", "inputs", "query", "instruction", "sentence", "stem", "ctx", "context", "premise",
    "problem", "statement", "goal", "story", "content", "passage", "document", "review", "title",
)  # fmt: skip
_QUESTIONS = ("question", "questiontext", "questionstem", "q")
_PASSAGES = ("passage", "context", "article", "story", "background", "paragraph", "document", "text", "facts")
_LABELS = (
    *answer_column.NAMES,
    "class",
    "category",
    "sentiment",
    "verdict",
    "completion",
    "continuation",
    "output",
    "response",
)
_LISTS = ("choices", "options", "endings", "candidates", "alternatives")  # which must be lists, where they are there
_GAP = re.compile(r"(?<!\w)_+(?!\w)")
_FEW = 12  # different labels that are choices; more are texts of their own
_NEEDS = (
    "it needs a prompt (question, prompt or text), choices (a list, columns A B C D or choice1 choice2, or few labels) "
    "and the right answer (an index, a letter or its text): rename columns to these, or write the task's file by hand"
)


@dataclass(frozen=True)
class GuessedPart:
    """One key of the config."""

    value: Any
    said: str  # what it was taken from
    comment: str = ""  # what to change if the guess is wrong, or could be changed


@dataclass(frozen=True)
class Guess:
    """A whole task."""

    output_type: str
    text: GuessedPart
    choices: GuessedPart | None  # None: the target itself is scored
    target: GuessedPart
    delimiter: str  # between prompt and choice
    metrics: tuple[tuple[str, bool], ...]  # name, and whether more is better
    renamed: bool  # whether a column's name cannot stand in a template
    unused: tuple[str, ...]
    notes: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class _Scored:
    """What is scored after the prompt."""

    choices: GuessedPart | None
    target: GuessedPart
    columns: tuple[str, ...]
    of_rows: Sequence[Sequence[str]]  # the texts, per row
    whole: bool = False  # they are sentences with nothing before them


def guess(rows: Rows) -> Guess:
    """Say what each column is for.

    Raises:
        ConfigError: no prompt, or nothing that says what is right.
    """
    names = plain_columns.plain(rows.rows[0])
    scored = _listed(rows, names) or _labelled(rows, names)
    if scored is None:
        raise ConfigError(f"'{rows.path}' has {_saw(rows)}, and none of them says what is right: {_NEEDS}.")
    bare: tuple[tuple[GuessedPart, tuple[str, ...]], list[str], bool] = (
        (GuessedPart("", "nothing: the sentences are whole"), ()),
        [""],
        False,
    )
    text, of_text, framed = bare if scored.whole else _prompt(rows, names, scored.columns)
    delimiter, doubt = _delimiter(["Answer:"] if framed else of_text, scored.of_rows)
    target = scored.target
    metrics: tuple[tuple[str, bool], ...] = (("acc", True), ("perplexity", False))
    if scored.choices is None:
        target = GuessedPart(f"{delimiter}{target.value}", target.said, target.comment)
    else:
        long = any(len(one.split()) > 1 for texts in scored.of_rows for one in texts)
        metrics = (("acc", True), ("acc_norm", True)) if long and not scored.whole else (("acc", True),)
    used = {column for column in rows.columns if column in scored.columns or column in text[1]}
    return Guess(
        output_type="loglikelihood" if scored.choices is None else "multiple_choice",
        text=text[0],
        choices=scored.choices,
        target=target,
        delimiter=delimiter,
        metrics=metrics,
        renamed=any(names[column] != column for column in used),
        unused=tuple(column for column in rows.rows[0] if column not in used),
        notes=tuple([doubt] if doubt else []),
    )


def _saw(rows: Rows) -> str:
    columns = list(rows.rows[0])
    listed = ", ".join(_seen(rows, column) for column in columns[:20]) + (", ..." if len(columns) > 20 else "")
    return f"the {'column' if len(columns) == 1 else 'columns'} {listed}"


def _seen(rows: Rows, column: str) -> str:
    """A column's name, with what may keep it from being used."""
    hole = rows.hole(column)
    if hole is not None:
        return f"'{column}' (nothing in row {hole + 1})"
    inner = rows.rows[0][column]
    return f"'{column}' (an object with {', '.join(map(repr, inner))})" if isinstance(inner, dict) else f"'{column}'"


def _listed(rows: Rows, names: Mapping[str, str]) -> _Scored | None:
    """Choices that the rows hold, and the column that says which is right."""
    found = choice_columns.find(rows, names)
    if found is None:
        return None
    answer = answer_column.find(rows, found, names)
    if answer is None:
        if misfit := answer_column.misfit(rows, found):
            raise ConfigError(
                f"'{rows.path}': {misfit}: mend it there, or call the column that says the right one answer."
            )
        where = found.said.replace("column", "the column", 1)
        raise ConfigError(
            f"'{rows.path}' has {_saw(rows)}; the choices are in {where}, and none of the others says which of them is "
            "right: it needs a column with its index, letter or text, called answer."
        )
    value = found.template if found.bare else f"{{{{{found.template}}}}}"
    target: str | int = answer.template if answer.bare else f"{{{{{answer.template}}}}}"
    target = int(answer.template) if answer.template.isdigit() else target
    used = (*found.columns, *([answer.column] if answer.column else []))
    return _Scored(
        GuessedPart(value, found.said),
        GuessedPart(target, answer.said, answer.comment),
        used,
        found.of_rows,
        found.whole,
    )


def _labelled(rows: Rows, names: Mapping[str, str]) -> _Scored | None:
    """One column with the right answer: few different ones are everybody's choices, many are scored as they are."""
    for column in rows.columns:
        if key(column) in _LISTS:
            value = str(rows.rows[0][column])
            held = value if len(value) <= 60 else f"{value[:60]}..."
            raise ConfigError(
                f"'{rows.path}': the column '{column}' holds '{held}', which is no list of texts: write it as "
                '["one", "two"], or use columns A B C D.'
            )
    ordered = sorted((c for c in rows.columns if key(c) in _LABELS), key=lambda c: _LABELS.index(key(c)))
    for column in ordered:
        values, name = rows.values(column), names[column]
        if any(isinstance(value, (list, dict)) or value is None for value in values):
            continue
        labels = sorted(set(values), key=str)
        said = f"the different values of column '{column}'"
        target = f"column '{column}'"
        repeat = len(labels) <= _FEW and len(labels) * 2 <= len(values)
        if all(isinstance(value, bool) for value in values):
            part = GuessedPart(
                ["no", "yes"], f"{said}, false and true", "not sure: write the words that false and true stand for"
            )
            return _Scored(part, GuessedPart(f"{{{{{name} | int}}}}", target), (column,), [["no", "yes"]])
        numbers = [answer_column.integer(value) for value in labels]
        if len(labels) > 1 and None not in numbers and repeat:
            return _numbered(sorted({n for n in numbers if n is not None}), column, name)
        texts = [str(label) for label in labels]
        if len(labels) > 1 and repeat and all(isinstance(value, str) for value in values):
            return _Scored(
                GuessedPart(texts, said), GuessedPart(name, f"{target}, the text of the choice"), (column,), [texts]
            )
        if len(labels) > 1 and all(isinstance(value, str) for value in values):
            said = f"column '{column}', {len(labels):,} different texts: each is scored as it stands, without choices"
            return _Scored(None, GuessedPart(f"{{{{{name}}}}}", said), (column,), [[str(value)] for value in values])
    return None


def _numbered(numbers: Sequence[int], column: str, name: str) -> _Scored:
    words = ["no", "yes"] if list(numbers) == [0, 1] else [str(number) for number in numbers]
    what = ", ".join(str(number) for number in numbers)
    index = f"{{{{{list(numbers)}.index({name} | int)}}}}"
    plain = list(numbers) == list(range(len(numbers)))
    part = GuessedPart(
        words, f"column '{column}', which is {what}", f"not sure: write the words that {what} stand for, in this order"
    )
    said = f"column '{column}', an index that counts from 0" if plain else f"column '{column}'"
    return _Scored(part, GuessedPart(f"{{{{{name} | int}}}}" if plain else index, said), (column,), [words])


def _prompt(
    rows: Rows, names: Mapping[str, str], used: Sequence[str]
) -> tuple[tuple[GuessedPart, tuple[str, ...]], list[str], bool]:
    """The prompt with the columns it is made of, its texts, and whether words were put around them."""
    free = [c for c in rows.columns if c not in used and all(isinstance(v, str) and v for v in rows.values(c))]
    question = _first([c for c in free if not _is_word(rows.values(c))], _QUESTIONS)
    _refuse_holes(rows, used, question)
    passage = _first([c for c in free if c != question], _PASSAGES) if question else None
    if question is not None and (passage or _asks(rows.values(question))):
        before = f"{{{{{names[passage]}}}}}\n" if passage else ""
        said = f"columns '{passage}' and '{question}'" if passage else f"column '{question}'"
        part = GuessedPart(
            f"{before}Question: {{{{{names[question]}}}}}\nAnswer:",
            f"{said}, asked as a question",
            f'for the column alone: "{{{{{names[question]}}}}}"',
        )
        return (part, tuple(c for c in (passage, question) if c)), rows.values(question), True
    column, doubt = question or _first(free, _PROMPTS), ""
    if column is None and free:
        column = max(free, key=lambda c: sum(len(v) for v in rows.values(c)))
        doubt = (
            f"not sure: no column has the name of a prompt, and '{column}' has the longest texts; write the words that "
            f'the choices go on from, such as "About {{{{{names[column]}}}}}:"'
        )
    if column is None:
        raise ConfigError(f"'{rows.path}' has {_saw(rows)}, and none of them is a prompt: {_NEEDS}.")
    if sum(_GAP.search(value) is not None for value in rows.values(column)) >= 0.8 * len(rows.rows):
        doubt = (
            f"not sure: '{column}' has a gap '_', but choices are scored after its end: to score what follows a filled "
            "gap, begin with `include: winogrande/default.yaml`"
        )
    part = GuessedPart(f"{{{{{names[column]}}}}}", f"column '{column}'", doubt)
    return (part, (column,)), rows.values(column), False


def _refuse_holes(rows: Rows, used: Sequence[str], question: str | None) -> None:
    """Say where the column that would be the prompt has none, in place of taking another.

    Raises:
        ConfigError: with the row.
    """
    texts = [c for c in rows.rows[0] if c not in used and rows.mostly_text(c) and not _is_word(rows.values(c))]
    meant = _first(texts, _QUESTIONS) or (None if question else _first(texts, _PROMPTS))
    hole = None if meant is None else rows.hole(meant)
    if hole is not None:
        raise ConfigError(
            f"'{rows.path}': the prompt's column '{meant}' has nothing in row {hole + 1}: fill it in, or take the row "
            "out."
        )


def _first(columns: Sequence[str], known: Sequence[str]) -> str | None:
    exact = (column for name in known for column in columns if key(column) == name)
    telling = [name for name in known if len(name) > 4]
    within = (c for name in telling for c in columns if name in key(c) and not key(c).endswith("id"))
    return next(exact, None) or next(within, None)


def _is_word(values: Sequence[Any]) -> bool:
    """Whether a column has but one plain word in each row, as COPA's `question` has: cause or effect."""
    return all(isinstance(value, str) and value.isascii() and value.isalpha() for value in values)


def _asks(values: Sequence[str]) -> bool:
    return sum(value.rstrip().endswith(("?", "？", "؟")) for value in values) >= 0.8 * len(values)


def _delimiter(prompts: Sequence[str], of_rows: Sequence[Sequence[str]]) -> tuple[str, str]:
    """What stands between prompt and choice, and a doubt about it."""
    texts = [text for one in of_rows for text in one if text]
    spaced = sum(text[0].isspace() for text in texts)
    ended = sum(prompt[-1:].isspace() for prompt in prompts)
    if spaced == len(texts) or ended == len(prompts):
        return "", ""
    if sum(_joined(text[0]) for text in texts) > len(texts) / 2:
        return "", ""
    if spaced or ended:
        return (
            " ",
            "not sure: some prompts end, or some choices begin, with white space, and others do not: make them alike",
        )
    return " ", ""


def _joined(character: str) -> bool:
    """Whether a character is of a script that parts no words with spaces."""
    name = unicodedata.name(character, "")
    return name.startswith(("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR"))
