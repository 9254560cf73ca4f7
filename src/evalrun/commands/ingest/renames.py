"""`rename.OLD=NEW`: what a user says a model of other people's files is called here."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from evalrun.commands.ingest.parsed import ParsedResult
from evalrun.core.errors import ConfigError, suggest

_START, _ANY = "rename.", "*"


class Renames:
    """Names of models to be read as others.

    Args:
        words: `rename.OLD=NEW`; a `*` at the end of both stands for what follows, the same in both.

    Raises:
        ConfigError: a word that says no two names, or two that say different things of one.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self._pairs: dict[str, str] = {}
        problems = []
        for word in words:
            old, _, new = word.removeprefix(_START).partition("=")
            problem = _problem(old, new)
            if problem is None and self._pairs.setdefault(old, new) != new:
                problem = f"'{old}' is '{self._pairs[old]}' already"
            problems += [f"{word}: {problem}; write rename.OLD=NEW."] if problem else []
        if problems:
            raise ConfigError(problems)

    @staticmethod
    def is_one(word: str) -> bool:
        """Whether a word of the command line is meant as one."""
        return word.startswith(_START) and "=" in word and not Path(word).exists()

    def check(self, found: Iterable[ParsedResult], paths: Collection[str]) -> None:
        """Refuse renames that would do nothing.

        Args:
            found: All results that were read.
            paths: The paths and names of the models that are configured.

        Raises:
            ConfigError: no result has the old name, or no model the new one.
        """
        names = {one.model.pretrained for one in found}
        problems = []
        for old, new in self._pairs.items():
            if not any(_rest(name, old) is not None for name in names):
                problems.append(f"{_START}{old}={new}: no result names '{old}': {suggest(old, names)}")
            elif _ANY not in new and new not in paths:
                problems.append(f"{_START}{old}={new}: '{new}' is the path of no conf/model: {suggest(new, paths, 4)}")
        if problems:
            raise ConfigError(problems)

    def apply(self, one: ParsedResult) -> ParsedResult:
        """A result with its model's name as it is to be read; the longest old name that fits counts."""
        for old in sorted(self._pairs, key=len, reverse=True):
            rest = _rest(one.model.pretrained, old)
            if rest is not None:
                name = self._pairs[old].removesuffix(_ANY) + rest
                return replace(one, model=replace(one.model, pretrained=name))
        return one


def _problem(old: str, new: str) -> str | None:
    if not old or not new:
        return "it names no two models"
    if any(_ANY in name[:-1] for name in (old, new)) or old.endswith(_ANY) != new.endswith(_ANY):
        return "a * stands at the end of both names or of none"
    return None


def _rest(name: str, old: str) -> str | None:
    """What follows the old name, such as the folder of a step; None where the name is another."""
    if old.endswith(_ANY):
        start = old.removesuffix(_ANY)
        return name[len(start) :] if name.startswith(start) and name != start else None
    if name.rstrip("/") == old.rstrip("/"):
        return ""
    start = old.rstrip("/") + "/"
    return name[len(start) - 1 :] if name.startswith(start) else None
