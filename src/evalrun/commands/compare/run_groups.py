"""Which training runs are meant: one, several by a list, or several by a glob over the names in the store."""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from evalrun.commands.compare.named_by_folder import in_folder
from evalrun.config.schema import model_dirname
from evalrun.core.errors import ConfigError, suggest
from evalrun.core.scored_ways import chosen_way
from evalrun.core.text import listed
from evalrun.core.tokenizer_changes import tokenizer_changes
from evalrun.tracking import RunEntry

HOW_RUNS = "name runs as they are in the store, such as run-a, tiny-s-seed1, 'run-a-*' or run-a-1,run-a-2"


@dataclass(frozen=True)
class StoredRun:
    """A training run with results in the store."""

    suite: str
    model: str
    seed: int | None
    entries: tuple[RunEntry, ...] = field(compare=False)  # its checkpoints' runs

    @property
    def name(self) -> str:
        """Its model, with its seed where it has one."""
        return model_dirname(self.model, self.seed)

    @property
    def labels(self) -> set[str]:
        """How it was scored, a few words for each way."""
        return {entry.settings for entry in self.entries}


def stored_runs(past: Mapping[str, Iterable[RunEntry]]) -> list[StoredRun]:
    """The training runs of a store.

    Args:
        past: Suite -> the checkpoints' runs of it.
    """
    found: dict[tuple[str, str, int | None], list[RunEntry]] = {}
    for suite, entries in past.items():
        for entry in entries:
            if entry.tasks:
                found.setdefault((suite, entry.model, entry.seed), []).append(entry)
    return [StoredRun(*place, tuple(entries)) for place, entries in found.items()]


def runs_named(words: str, there: Sequence[StoredRun]) -> list[StoredRun]:
    """The runs that a word means: names or globs, several with commas; a folder's last part is its run's name.

    Args:
        words: `run-a`, `runs/a-*`, `run-a-1,run-a-2`; a model with several seeds is all of them.
        there: Of the store.

    Raises:
        ConfigError: a name that nothing in the store has, or that several suites have.
    """
    found: dict[StoredRun, None] = {}
    for word in words.strip("[]").split(","):
        word = word.strip().rstrip("/")
        if not word:
            raise ConfigError(f"'{words}' has an empty name: {HOW_RUNS}.")
        # A config's name such as tiny/s is a model's with a slash; a folder's last part is what its run is called.
        own = _matching(word, there) or _matching(word.replace("/", "-"), there)
        if not own:
            own = in_folder(word, _last(word), _matching(_last(word), there), lambda one: one.entries)
        if not own:
            names = {name for one in there for name in (one.model, one.name)}
            raise ConfigError(f"no results of a run '{word}' in the store: {suggest(_last(word), names)}")
        suites = sorted({one.suite for one in own})
        if len(suites) > 1:
            raise ConfigError(f"'{word}' is in the suites {listed(suites)}: add suite=NAME.")
        found |= dict.fromkeys(own)
    return list(found)


def _last(word: str) -> str:
    return word.rsplit("/", 1)[-1]


def _matching(word: str, there: Sequence[StoredRun]) -> list[StoredRun]:
    exact = [one for one in there if word in (one.model, one.name)]
    if exact or not re.search(r"[*?\[]", word):
        return exact
    return [one for one in there if fnmatch.fnmatchcase(one.model, word) or fnmatch.fnmatchcase(one.name, word)]


def with_tasks(runs: Iterable[StoredRun], tasks: Sequence[str] | None) -> list[StoredRun]:
    """Runs with the checkpoints' runs alone that hold one of some tasks: how others were scored does not matter.

    Args:
        runs: Of the store.
        tasks: Those that are asked about; None for all. A run that has none of them keeps all that it has.
    """
    if tasks is None:
        return list(runs)
    held = {one: tuple(entry for entry in one.entries if set(tasks) & set(entry.tasks)) for one in runs}
    return [replace(one, entries=own or one.entries) for one, own in held.items()]


def scored_so(runs: Iterable[StoredRun], settings: str) -> list[StoredRun]:
    """Runs with what was scored in one way alone; those that have nothing of it are left out."""
    held = {one: tuple(entry for entry in one.entries if entry.settings == settings) for one in runs}
    return [replace(one, entries=own) for one, own in held.items() if own]


def scored_alike(groups: Sequence[Sequence[StoredRun]], wanted: str | None) -> str:
    """The one way in which all runs were scored.

    Args:
        groups: Of runs.
        wanted: `scored=`: the way that counts where there are several; None for the only one.

    Raises:
        ConfigError: they share none, several, or not the wanted one.
    """
    every = [one for group in groups for one in group]
    common = sorted(set.intersection(*(one.labels for one in every)))
    if not common:
        ways = "; ".join(f"{one.name} by {listed(sorted(one.labels))}" for one in every[:4])
        raise ConfigError(f"the runs were scored differently ({ways}): such results cannot be compared.")
    return chosen_way(common, wanted, "the runs were")


def other_tokenizers(runs: Iterable[StoredRun], settings: str) -> list[str]:
    """A sentence for each run whose tokenizer changes.

    Args:
        runs: That are compared.
        settings: How the results that count were scored.
    """
    own = [(one.name, entry) for one in runs for entry in one.entries if entry.settings == settings]
    in_order = sorted(own, key=lambda known: max(known[1].finished_ms.values()))
    return tokenizer_changes((name, entry.step, entry.tokenizer) for name, entry in in_order)


def distinct_groups(first: Sequence[StoredRun], second: Sequence[StoredRun]) -> None:
    """Refuse groups that share a run.

    Raises:
        ConfigError: with the run.
    """
    if both := [one.name for one in first if one in second]:
        what = "both names mean" if len(first) == len(second) == 1 else "A and B both have"
        raise ConfigError(f"{what} the run {listed(both, 4)}: name two that differ.")


def sibling_seeds(
    first: Sequence[StoredRun], second: Sequence[StoredRun], there: Sequence[StoredRun]
) -> list[StoredRun]:
    """Other seeds of the models that are compared, of which the store has results."""
    models = {(one.suite, one.model) for one in (*first, *second) if one.seed is not None}
    named = {*first, *second}
    return [one for one in there if (one.suite, one.model) in models and one not in named]
