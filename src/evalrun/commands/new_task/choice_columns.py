"""Which columns hold the choices of an item."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evalrun.commands.new_task.preview import Rows

NAMES = ("choices", "options", "classes", "endings", "answers", "candidates", "alternatives", "completions")
_WRONG = ("distractor", "incorrect", "wrong", "false")
_RIGHT = ("correctanswer", "correct", "rightanswer", "right", "bestanswer", "answer")
_TEXTS = ("text", "choice", "option", "answer", "content", "value")
_LABELS = ("label", "labels", "key", "id")
_STEMS = ("op", "opt", "option", "choice", "ans")  # of columns such as opa, opb
_MINIMAL = (
    ("sentencegood", "sentencebad"),
    ("goodsentence", "badsentence"),
    ("sentencegrammatical", "sentenceungrammatical"),
    ("grammatical", "ungrammatical"),
    ("acceptable", "unacceptable"),
    ("acceptablesentence", "unacceptablesentence"),
    ("correctsentence", "incorrectsentence"),
    ("good", "bad"),
)
_NOTHING = (None, "")
_GAPS = "reject('in', ['', none])"


@dataclass(frozen=True)
class Choices:
    """Where choices are, and what they are in the rows that were looked at."""

    template: str  # an expression for lm-eval's doc_to_choice, without its braces; or a column's bare name
    of_rows: tuple[list[str], ...]
    columns: tuple[str, ...]
    said: str
    bare: bool = False  # the template is a column's name
    is_list: bool = True  # the expression is a list, not a list written as text
    answer: str | None = None  # an expression for the right one's index, where the same columns say it
    answer_said: str = ""
    labels: tuple[list[str], ...] | None = None  # names of the choices, which the answer may be given by
    labels_template: str = ""
    whole: bool = False  # sentences that stand for themselves, with nothing before them
    places: str = ""  # where some rows have gaps: an expression for the list with them, which answers count in


def find(rows: Rows, names: Mapping[str, str]) -> Choices | None:
    """The likeliest place of the choices; None where no column looks like one.

    Args:
        rows: What was looked at.
        names: Column -> its name in templates.
    """
    ordered = sorted(rows.columns, key=_rank)
    for way in (_pairs, _tables, _named, _lists, _written_lists, _right_and_wrong, _family):
        for found in way(rows, names, ordered):
            return found
    return None


def _rank(column: str) -> int:
    name = key(column)
    return next((place for place, known in enumerate(NAMES) if name in (known, known.rstrip("s"))), len(NAMES))


def key(column: str) -> str:
    """A column's name without case, spaces and marks, to compare it by."""
    return re.sub(r"[\W_]", "", column).lower()


def _texts(values: Sequence[Any]) -> tuple[list[str], ...] | None:
    """Lists of two or more words, as text; None where the column holds something else."""
    good = [isinstance(v, list) and len(v) > 1 and all(isinstance(o, (str, int, float)) for o in v) for v in values]
    if sum(good) < 0.9 * len(good):
        return None
    return tuple([str(one) for one in value] if fits else [] for value, fits in zip(values, good, strict=True))


def _words(values: Sequence[Any]) -> bool:
    return all(isinstance(one, str) for value in values if isinstance(value, list) for one in value)


def _size(of_rows: Sequence[Sequence[str]]) -> str:
    sizes = {len(one) for one in of_rows if one}
    return str(min(sizes)) if len(sizes) == 1 else f"{min(sizes)} to {max(sizes)}"


def _lists(rows: Rows, names: Mapping[str, str], ordered: Sequence[str]) -> Iterator[Choices]:
    """Columns that hold each row's choices as a list.

    Args:
        rows: Of the data.
        names: Column -> its name in templates.
        ordered: Columns, the likeliest first.
    """
    for column in ordered:
        values = rows.values(column)
        texts = _texts(values)
        if texts is None or not (_words(values) or _rank(column) < len(NAMES)):
            continue
        if key(column).startswith(_WRONG):
            continue  # the right one is elsewhere
        said = f"column '{column}', a list of {_size(texts)}"
        if _words(values):
            yield Choices(names[column], texts, (column,), said, bare=True)
        elif all(isinstance(one, bool) for value in values if isinstance(value, list) for one in value):
            written = tuple([text.lower() for text in one] for one in texts)  # as JSON has them
            yield Choices(
                f"{names[column]} | map('string') | map('lower') | list", written, (column,), f"{said} truth values"
            )
        else:
            yield Choices(f"{names[column]} | map('string') | list", texts, (column,), said)


def _written_lists(rows: Rows, names: Mapping[str, str], ordered: Sequence[str]) -> Iterator[Choices]:
    """Lists written as text, as CSV files hold them: JSON's or Python's."""
    for column in ordered:
        values = [_read(value) for value in rows.values(column)]
        texts = _texts(values)
        if texts is not None and _words(values) and not key(column).startswith(_WRONG):
            said = f"column '{column}', a written list of {_size(texts)}"
            yield Choices(names[column], texts, (column,), said, is_list=False)


def _read(value: Any) -> Any:
    if not isinstance(value, str) or not value.strip().startswith("["):
        return None
    try:
        return ast.literal_eval(value.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return None


def _pairs(rows: Rows, names: Mapping[str, str], ordered: Sequence[str]) -> Iterator[Choices]:
    """A good sentence and a bad one: BLiMP's form."""
    columns = {key(column): column for column in rows.columns}
    for good, bad in _MINIMAL:
        if good in columns and bad in columns:
            used = (columns[good], columns[bad])
            of_rows = tuple([str(row[used[0]]), str(row[used[1]])] for row in rows.rows)
            said = (f"columns '{used[0]}' and '{used[1]}', whole sentences", "always the first of these choices")
            template = f"[{names[used[0]]}, {names[used[1]]}]"
            yield Choices(template, of_rows, used, said[0], answer="0", answer_said=said[1], whole=True)


def _tables(rows: Rows, names: Mapping[str, str], ordered: Sequence[str]) -> Iterator[Choices]:
    """`{text: [...], label: [...]}`, `{choices: [...], labels: [0, 1]}` and `[{text: ..., label: ...}, ...]`."""
    for column in ordered:
        values, name = rows.values(column), names[column]
        if all(isinstance(v, dict) for v in values):
            text = _part(values, (*_TEXTS, "choices", "texts"), lambda v, part: v.get(part))
            label = _part(values, _LABELS, lambda v, part: v.get(part))
            into = (f"{name}.{text}", f"{name}.{label}")
            said = f"column '{column}', its '{text}'"
            get = _of_dict
        elif all(isinstance(v, list) and v and all(isinstance(o, dict) for o in v) for v in values):
            text = _part(values, _TEXTS, lambda v, part: [o.get(part) for o in v])
            label = _part(values, _LABELS, lambda v, part: [o.get(part) for o in v])
            into = (f"{name} | map(attribute='{text}') | list", f"({name} | map(attribute='{label}') | list)")
            said = f"column '{column}', the '{text}' of each"
            get = _of_list
        else:
            continue
        texts = None if text is None else _texts([get(v, text) for v in values])
        if texts is None:
            continue
        labels = None if label is None else tuple([str(o) for o in get(v, label) or ()] for v in values)
        if labels is not None and all(set(one) <= {"0", "1"} and one.count("1") >= 1 for one in labels):
            several = " (of several that are right, the first)" if any(one.count("1") > 1 for one in labels) else ""
            index, how = f"{into[1]}.index(1)", f"column '{column}', its '{label}': 1 for the right one{several}"
            yield Choices(into[0], texts, (column,), said, answer=index, answer_said=how)
        else:
            yield Choices(into[0], texts, (column,), said, labels=labels, labels_template=into[1])


def _named(rows: Rows, names: Mapping[str, str], ordered: Sequence[str]) -> Iterator[Choices]:
    """`{A: text, B: text}`: MedQA's form. Rows may lack some of the names; they are empty then."""
    for column in ordered:
        values, name = rows.values(column), names[column]
        if not all(
            isinstance(v, dict) and all(isinstance(o, (str, int, float, type(None))) for o in v.values())
            for v in values
        ):
            continue
        keys = list(dict.fromkeys(label for value in values for label in value))
        if len(keys) < 2 or not (_rank(column) < len(NAMES) or all(len(label) == 1 for label in keys)):
            continue
        every = [[value.get(label) for label in keys] for value in values]
        labels = tuple([label for label, one in zip(keys, row, strict=True) if one not in _NOTHING] for row in every)
        said = f"column '{column}', the texts under {_listed(keys)}"
        yield _with_gaps(f"{name}.values() | list", every, (column,), said, labels, f"({name}.keys() | list)")


def _with_gaps(
    template: str, every: Sequence[Sequence[Any]], columns: tuple[str, ...], said: str, labels: tuple[list[str], ...],
    labels_template: str,
) -> Choices:  # fmt: skip
    """Choices from places that may be empty or hold numbers in some rows."""
    gaps = any(one in _NOTHING for row in every for one in row)
    plain = all(isinstance(one, str) or one in _NOTHING for row in every for one in row)
    filters = [_GAPS] * gaps + ["map('string')"] * (not plain)
    whole = template if not filters else " | ".join([template.removesuffix(" | list"), *filters, "list"])
    texts = tuple([str(one) for one in row if one not in _NOTHING] for row in every)
    places = f"({template})" if gaps else ""
    return Choices(whole, texts, columns, said, labels=labels, labels_template=labels_template, places=places)


def _of_dict(value: Any, part: str) -> Any:
    return value.get(part)


def _of_list(value: Any, part: str) -> Any:
    return [one.get(part) for one in value]


def _part(values: Sequence[Any], parts: Sequence[str], get: Callable[[Any, str], Any]) -> str | None:
    def is_list(found: Any) -> bool:
        return isinstance(found, list) and bool(found) and None not in found

    return next((part for part in parts if all(is_list(get(value, part)) for value in values)), None)


def _right_and_wrong(rows: Rows, names: Mapping[str, str], ordered: Sequence[str]) -> Iterator[Choices]:
    """The right answer in one column and wrong ones in others, or in a list: SciQ's form."""
    wrong = [column for column in rows.columns if key(column).startswith(_WRONG)]
    right = [column for known in _RIGHT for column in rows.columns if key(column) == known]
    if not wrong or not right:
        return
    good = [str(value) for value in rows.values(right[0])]
    said = (f"column '{right[0]}', then the wrong ones of {_listed(wrong)}", "always the first of these choices")
    lists = _texts([[value, value] if isinstance(value, str) else value for value in rows.values(wrong[0])])
    if isinstance(rows.rows[0][wrong[0]], list) and lists is not None:
        of_rows = tuple([one, *others] for one, others in zip(good, lists, strict=True))
        template = f"[{names[right[0]]}] + {names[wrong[0]]}"
        used: tuple[str, ...] = (right[0], wrong[0])
    else:
        of_rows = tuple([one, *(str(row[w]) for w in wrong)] for one, row in zip(good, rows.rows, strict=True))
        template = f"[{', '.join(names[c] for c in (right[0], *wrong))}]"
        used = (right[0], *wrong)
    yield Choices(template, of_rows, used, said[0], answer="0", answer_said=said[1])


def _family(rows: Rows, names: Mapping[str, str], ordered: Sequence[str]) -> Iterator[Choices]:
    """Columns A B C D, choice1 choice2, option_a option_b ...: one stem, and numbers or letters that follow."""
    families: dict[str, dict[int, str]] = {}
    for column in rows.columns:
        match = re.fullmatch(r"(.*?)[\W_]*(\d{1,2}|[A-Ja-j])", column.strip())
        parted = match and (match[1] == "" or match[2].isdigit() or re.search(r"[\W_]|[a-z][A-J]$", column))
        if match and (parted or match[1].lower() in _STEMS):
            place = int(match[2]) if match[2].isdigit() else ord(match[2].lower()) - ord("a")
            families.setdefault(f"{key(match[1])}{match[2].isdigit()}", {})[place] = column
    for family in sorted(families.values(), key=len, reverse=True):
        first = min(family)
        members = [family[place] for place in sorted(family)]
        if len(members) < 2 or first > 1 or max(family) - first != len(members) - 1:
            continue
        every = [[row[member] for member in members] for row in rows.rows]
        if any(isinstance(one, (list, dict)) for row in every for one in row):
            continue
        template = f"[{', '.join(names[member] for member in members)}]"
        known = [_label(member) for member in members]
        labels = tuple([label for label, one in zip(known, row, strict=True) if one not in _NOTHING] for row in every)
        yield _with_gaps(template, every, tuple(members), f"columns {_listed(members)}", labels, repr(known))


def _label(column: str) -> str:
    match = re.fullmatch(r".*?(\d{1,2}|[A-Ja-j])", column.strip())
    return match[1] if match else column


def _listed(columns: Sequence[str]) -> str:
    return ", ".join(f"'{column}'" for column in columns)
