"""Which results of a task were not right before its rows were read to the letter: those are computed again.

Every other result keeps its name, so nothing here may be true of a task whose prompts have stayed as they were.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from evalrun.core.errors import TaskError
from evalrun.tasks import data_rows

Row = Mapping[str, Any]
_SUSPECT = re.compile(rb'"\s*(?:[-\d\[{]|true|false|null)|\d{19}|[\[:,]\s*-?\d+(?:\.\d|[eE])|[:\[,]\s*\{')
_DATE = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d(:?\d\d(:?\d\d(\.\d+)?)?)?)?(Z|[+-]\d\d(:?\d\d)?)?")
_TEMPLATES = ("doc_to_text", "doc_to_choice", "doc_to_target", "description", "gen_prefix", "fewshot_config")


def misread(config: Mapping[str, Any], files: Mapping[Path, str]) -> bool:
    """Whether a column that the task names was once read as something else than what is written.

    Args:
        config: lm-eval task config.
        files: Its local data, each with its sha256.
    """
    code = any(type(config.get(key)).__name__ == "Function" for key in (*_TEMPLATES, "process_docs", "process_results"))
    said = json.dumps([config.get(key) for key in _TEMPLATES], default=str)
    found = {column for path, digest in files.items() for column in _misread(path, digest)}
    return bool(found) if code else any(re.search(rf"(?<!\w){re.escape(column)}(?!\w)", said) for column in found)


def asked_by_number(config: Mapping[str, Any], splits: Mapping[str, Path]) -> bool:
    """Whether prompts are numerals, which were once taken for indices of contexts."""
    template = config.get("doc_to_text")
    if not isinstance(template, str) or config.get("process_docs") or config.get("doc_to_choice") is None:
        return False
    path = splits.get(str(config.get("test_split") or config.get("validation_split")))
    first = next(_rows(path), None) if path else None
    if first is None:
        return False
    parts = re.findall(r"{{(.*?)}}", template) or [template]
    rest = re.sub(r"{{.*?}}", "", template) if "{{" in template else ""
    values = [first[name] for part in parts for name in re.findall(r"\w+", part) if name in first]
    return bool(values) and (not rest or rest.isdigit()) and all(str(value).isdigit() for value in values)


def repeats(config: Mapping[str, Any], splits: Mapping[str, Path], files: Mapping[Path, str]) -> bool:
    """Whether whole texts are there again, which were once counted each time.

    Args:
        config: lm-eval task config.
        splits: Split -> file, of local data.
        files: The files, each with its sha256.
    """
    path = splits.get(str(config.get("test_split") or config.get("validation_split")))
    return path is not None and _repeats(path, files[path], str(config.get("doc_to_target")))


@lru_cache(maxsize=64)
def _repeats(path: Path, digest: str, template: str) -> bool:
    """Whether two rows of a file with this digest have the same values in the columns that a template names."""
    names = re.findall(r"\w+", template)
    seen: set[str] = set()
    for row in _rows(path):
        text = json.dumps([row[name] for name in names if name in row], default=str)
        if text in seen:
            return True
        seen.add(text)
    return False


def shown_itself(config: Mapping[str, Any], splits: Mapping[str, Path], written: bool) -> bool:
    """Whether lm-eval could draw the asked item itself, or one like it, as an example.

    Args:
        config: lm-eval task config.
        splits: Split -> file, of local data.
        written: Whether examples are written in the file, which were once not used.
    """
    shown = config.get("fewshot_config")
    shown = shown if isinstance(shown, dict) else {}
    named = shown.get("split") or config.get("fewshot_split")
    if written or config.get("output_type") == "loglikelihood_rolling":
        return written
    if named is None and shown.get("samples") is not None:
        return False
    asked = config.get("test_split") or config.get("validation_split")
    test = config.get("test_split")
    source = named or config.get("training_split") or config.get("validation_split") or test
    if source == asked and named != test:
        return True
    if asked not in splits or source not in splits:
        return False
    return _share(config, list(_rows(splits[str(asked)])), list(_rows(splits[str(source)])), source == asked)


def _share(config: Mapping[str, Any], asked: list[Row], source: list[Row], same: bool) -> bool:
    """Whether a row of one split reads like a row of the other: equal in all columns that the prompt names.

    Args:
        config: lm-eval task config.
        asked: The rows that are evaluated.
        source: Those that examples are drawn from.
        same: Whether it is one split, of which lm-eval leaves out equal rows.
    """
    prompt = str(config.get("doc_to_text"))
    if asked and isinstance(asked[0].get(prompt), int):  # the index of a context, which the choices are
        prompt = str(config.get("doc_to_choice"))
    words = set(re.findall(r"\w+", prompt))
    columns = sorted({name for row in asked for name in row} & words)

    def key(row: Row, of: Iterable[str]) -> str:
        return json.dumps([row.get(name) for name in of], default=str)

    if not same:
        held = {key(row, columns or sorted(row)) for row in source}
        return any(key(row, columns or sorted(row)) in held for row in asked)
    whole: dict[str, str] = {}
    return any(
        whole.setdefault(key(row, columns or sorted(row)), key(row, sorted(row))) != key(row, sorted(row))
        for row in asked
    )


def _rows(path: Path) -> Iterator[Row]:
    try:
        yield from data_rows.read(path)
    except TaskError:  # told when the task is built
        return


@lru_cache(maxsize=64)
def _misread(path: Path, digest: str) -> frozenset[str]:
    """The columns of a file with this digest of which `datasets` made something else."""
    if data_rows.builder_of(path) != "json":
        return frozenset()
    content = path.read_bytes()
    if not _SUSPECT.search(content):
        return frozenset()
    shortened = content.lstrip()[:1] == b"["  # such a file was written anew with ten decimals
    columns: dict[str, _Column] = {}
    for row in _rows(path):
        for name, value in row.items():
            columns.setdefault(name, _Column()).add((), value)
    return frozenset(name for name, column in columns.items() if column.misread(shortened))


class _Column:
    """What stands in each place of a column's values: in itself, in its lists, under its keys."""

    def __init__(self) -> None:
        self.kinds: dict[tuple[str, ...], set[str]] = {}
        self.not_dates: set[tuple[str, ...]] = set()
        self.json: set[tuple[str, ...]] = set()  # places of texts that are something else when read as JSON
        self.orders: dict[tuple[str, ...], list[str]] = {}
        self.reordered = self.large = self.long = False

    def add(self, place: tuple[str, ...], value: Any) -> None:
        """Note a value and all that is in it."""
        if value is None:
            return
        self.kinds.setdefault(place, set()).add(type(value).__name__)
        if isinstance(value, list):
            for one in value:
                self.add((*place, "[]"), one)
        elif isinstance(value, dict):
            keys = self.orders.setdefault(place, list(value))
            self.reordered |= keys != list(value) and set(keys) == set(value)
            for key, one in value.items():
                self.add((*place, key), one)
        elif isinstance(value, str):
            if not _DATE.fullmatch(value):
                self.not_dates.add(place)
            if _otherwise(value):
                self.json.add(place)
        elif isinstance(value, float):
            self.long |= len(repr(value).partition(".")[2]) > 9
        elif isinstance(value, int):
            self.large |= not -(2**63) <= value < 2**63

    def misread(self, shortened: bool) -> bool:
        """Whether one of its values is now another than `datasets` made of it."""
        mixed = {place for place, kinds in self.kinds.items() if len(kinds) > 1}
        dates = any(kinds == {"str"} and place not in self.not_dates for place, kinds in self.kinds.items())
        numbers = any({"int", "float"} <= kinds for kinds in self.kinds.values())
        rounded = self.long and (shortened or bool(mixed))
        return dates or numbers or rounded or self.large or self.reordered or bool(mixed & self.json)


def _otherwise(text: str) -> bool:
    """Whether a text read as JSON reads differently in a prompt."""
    if not text or text.lstrip()[:1] not in '"[{tfn-0123456789':
        return False
    try:
        return str(json.loads(text)) != text
    except ValueError:
        return False
