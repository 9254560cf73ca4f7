"""Which column says the right choice, and how: an index from 0 or 1, a letter, a label, or the choice's text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalrun.commands.new_task.choice_columns import Choices, key
from evalrun.commands.new_task.preview import Rows

NAMES = (
    "answerindex", "answeridx", "goldindex", "goldidx", "gold", "answerkey", "answer", "label", "target", "labels",
    "correct", "correctanswer", "correctoption", "correctchoice", "correctindex", "cop", "solution", "groundtruth",
    "key",
)  # fmt: skip
_MOST = 0.9  # share of the rows that must fit: those that do not are named when all rows are checked
_LETTER = re.compile(r"\(?([A-Ja-j])[).:]?")


@dataclass(frozen=True)
class Answer:
    """How the right choice follows from a column."""

    template: str  # for lm-eval's doc_to_target: an expression without its braces, or a column's bare name
    column: str | None
    said: str
    bare: bool = False
    comment: str = ""


def find(rows: Rows, choices: Choices, names: Mapping[str, str]) -> Answer | None:
    """The column that fits the choices best, those with a telling name first; None where none does."""
    if choices.answer is not None:
        return Answer(choices.answer, None, choices.answer_said)
    free = [column for column in rows.columns if column not in choices.columns]
    known = sorted((c for c in free if key(c) in NAMES), key=lambda c: NAMES.index(key(c)))
    for column in known:
        for found in _ways(rows.values(column), choices, column, names[column]):
            return found
    for column in free:  # a name that tells nothing: only what cannot be chance
        for found in _ways(rows.values(column), choices, column, names[column]):
            if found.bare and isinstance(rows.rows[0][column], str):
                return found
    return None


def misfit(rows: Rows, choices: Choices) -> str | None:
    """What keeps a column with a telling name from saying the right choice, with the first row of which it is true.

    Args:
        rows: What was looked at.
        choices: Where no column fits them.

    Returns:
        The end of a sentence that begins with the file; None where no column is named as an answer would be.
    """
    known = [c for c in rows.columns if c not in choices.columns and key(c) in NAMES]
    for column in sorted(known, key=lambda c: NAMES.index(key(c))):
        values = rows.values(column)
        numbers = [integer(value) for value in values]
        for number, (value, texts) in enumerate(zip(values, choices.of_rows, strict=True), start=1):
            count = len(texts)
            if all(one is not None for one in numbers):
                if not 0 <= (integer(value) or 0) < count:
                    last = f"which are numbered from 0 to {count - 1}"
                    return f"row {number} has {column} {value!r}, out of range of its {count} choices, {last}"
            elif isinstance(value, str):
                letter = _LETTER.fullmatch(value.strip())
                if value not in texts and not (letter and ord(letter[1].lower()) - 97 < count):
                    return f"row {number} has {column} {value!r}, which is none of its {count} choices, {texts!r}"
    return None


def _ways(values: Sequence[Any], choices: Choices, column: str, name: str) -> Iterator[Answer]:
    """All ways in which a column may name the right choice, those first that leave least doubt.

    Args:
        values: The column's, a row each.
        choices: The choices of the same rows.
        column: Its name in the data.
        name: Its name in templates.
    """
    of_rows = choices.of_rows
    if _share(isinstance(v, str) and v in c for v, c in zip(values, of_rows, strict=True)):
        doubt = f"not sure: '{column}' holds digits that are choices, and was not taken for an index"
        numeric = all(str(value).isdigit() for value in values)
        said = f"column '{column}', the text of the choice"
        yield Answer(name, column, said, bare=True, comment=doubt if numeric else "")
    near = (isinstance(v, str) and v.strip() in _stripped(c) for v, c in zip(values, of_rows, strict=True))
    if choices.is_list and _share(near):
        inner = choices.template if choices.template.isidentifier() else f"({choices.template})"
        index = f"({inner} | map('trim') | list).index({name}.strip())"
        yield Answer(index, column, f"column '{column}', the text of the choice but for white space")
    if choices.labels is not None and _share(str(v) in c for v, c in zip(values, choices.labels, strict=True)):
        in_order = choices.labels_template.startswith("[") and isinstance(values[0], (int, float))
        if not in_order:
            index = _placed(f"{choices.labels_template}.index({name} | string)", choices)
            yield Answer(index, column, f"column '{column}', the label of the choice")
    yield from _indices(values, choices, column, name)
    if choices.is_list and _numbers_among(values, of_rows):
        yield Answer(_by_text(name, choices), column, f"column '{column}', the number that is the choice")
    letters = [_LETTER.fullmatch(v.strip()) if isinstance(v, str) else None for v in values]
    if _share(m is not None and ord(m[1].lower()) - 97 < len(c) for m, c in zip(letters, of_rows, strict=True)):
        plain = all(m is not None and m[0] == m[1] == m[1].upper() == v for m, v in zip(letters, values, strict=True))
        letter = name if plain else f"{name}.strip('().: ') | upper"
        index = _placed(f"'ABCDEFGHIJ'.index({letter})", choices)
        yield Answer(index, column, f"column '{column}', a letter: A is the first choice")
    if _share(_one_hot(v, len(c)) for v, c in zip(values, of_rows, strict=True)):
        yield Answer(f"{name}.index(1)", column, f"column '{column}', 1 for the right one")


def _placed(index: str, choices: Choices) -> str:
    """An index among places of which some are empty, as one among the choices that are left."""
    return f"({choices.template}).index({choices.places}[{index}] | string)" if choices.places else index


def _by_text(name: str, choices: Choices) -> str:
    return f"({choices.template}).index({name} | string)"


def _numbers_among(values: Sequence[Any], of_rows: Sequence[Sequence[str]]) -> bool:
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
    return numbers and _share(str(value) in one for value, one in zip(values, of_rows, strict=True))


def _indices(values: Sequence[Any], choices: Choices, column: str, name: str) -> Iterator[Answer]:
    """Ways to read a column as truth values or as an index from 0 or 1, with a doubt where it may be meant otherwise.

    Args:
        values: The column's, a row each.
        choices: The choices of the same rows.
        column: Its name in the data.
        name: Its name in templates.
    """
    of_rows = choices.of_rows
    if all(isinstance(v, bool) for v in values):
        words = {text for one in of_rows for text in one}
        if choices.is_list and words in ({"true", "false"}, {"True", "False"}):
            spelt = "string | lower" if "true" in words else "string"
            index = f"({choices.template}).index({name} | {spelt})"
            yield Answer(index, column, f"column '{column}', the truth value that is the choice")
            return
        if all(len(one) == 2 for one in of_rows):
            yield Answer(f"{name} | int", column, f"column '{column}', false for the first choice, true for the second")
        return
    numbers = [integer(value) for value in values]
    pairs = [(n, len(c)) for n, c in zip(numbers, of_rows, strict=True)]
    from_0, from_1 = (sum(n is not None and low <= n < low + size for n, size in pairs) for low in (0, 1))
    if max(from_0, from_1) < _MOST * len(pairs):
        return
    from_one = _placed(f"{name} | int - 1", choices)
    doubt = ""
    if choices.is_list and _numbers_among(values, of_rows):
        doubt = (
            f"not sure: the number in '{column}' is also one of the choices: if that is what it says, write "
            f'"{{{{{_by_text(name, choices)}}}}}"'
        )
    elif from_0 == from_1:
        doubt = (
            f"not sure: '{column}' is never 0 and never the number of choices, so it may count from 1: then write "
            f'"{{{{{from_one}}}}}"'
        )
    if from_1 > from_0:
        said = f"column '{column}', an index that counts from 1 (it reaches the number of choices)"
        yield Answer(from_one, column, said, comment=doubt)
        return
    said = f"column '{column}', an index that counts from 0"
    bare = all(isinstance(value, int) for value in values) and not choices.places
    index = name if bare else _placed(f"{name} | int", choices)
    yield Answer(index, column, said, bare=bare, comment=doubt)


def integer(value: Any) -> int | None:
    """The whole number that a value is or spells; None for others."""
    if isinstance(value, bool) or not isinstance(value, (int, float, str)):
        return None
    try:
        number = float(value)
        return int(number) if number == int(number) else None
    except (ValueError, OverflowError):
        return None


def _share(fits: Iterable[bool]) -> bool:
    found = list(fits)
    return sum(found) >= _MOST * len(found)


def _stripped(choices: Sequence[str]) -> list[str]:
    return [choice.strip() for choice in choices]


def _one_hot(value: Any, size: int) -> bool:
    return isinstance(value, list) and len(value) == size and sorted(map(str, value)) == ["0"] * (size - 1) + ["1"]
