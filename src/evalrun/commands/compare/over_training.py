"""`compare` of training runs: the difference of their curves, from the store to tables, a page and MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from evalrun import study
from evalrun.commands.compare.run_groups import (
    HOW_RUNS,
    StoredRun,
    distinct_groups,
    other_tokenizers,
    runs_named,
    scored_alike,
    scored_so,
    sibling_seeds,
    stored_runs,
    with_tasks,
)
from evalrun.commands.compare.run_rows import matched_by, rows_of_runs, rows_of_tasks, shared_weights
from evalrun.commands.own_words import take_own_words
from evalrun.config.compose import hydra_session
from evalrun.config.schema import Config
from evalrun.core.errors import AnalysisError, ConfigError, suggest
from evalrun.core.plain_names import slug
from evalrun.core.scored_ways import HOW_SCORED
from evalrun.core.text import listed
from evalrun.grid import override_checks, planning
from evalrun.grid import overrides as ov
from evalrun.tasks import task_file
from evalrun.tracking import Store

if TYPE_CHECKING:
    from evalrun.statistics.training_runs.run_comparison import RunComparison

_KEPT = "; all are kept."  # ends a note of checkpoints with the same weights: of runs that branch one for each
_ATS = ("tokens", "flops", "loss", "loss:TASK", "log:FILE")
OWN_WORDS = {  # words that are read here, and what is to stand in them
    "a": HOW_RUNS,
    "b": HOW_RUNS,
    "at": "write at=tokens, at=flops, at=loss, at=loss:TASK or at=log:FILE",
    "seeds_from": "name runs with several seeds, or none",
    "scored": HOW_SCORED,
    "suite": "name a suite, or leave it out",
    "out": "name a folder, or leave it out",
}


@dataclass(frozen=True)
class RunsRequest:
    """What the words of `compare` ask for, of runs."""

    names: tuple[str, str]
    own: Mapping[str, str]  # the words of `OWN_WORDS`
    tasks: list[str] | None  # None: all
    config: Config
    folder: Path  # for the page and the tables


@dataclass(frozen=True)
class ComparedRuns:
    """Two groups of runs and what was found."""

    first: list[StoredRun]
    second: list[StoredRun]
    others: list[StoredRun]
    settings: str  # how all were scored
    axis: str  # what is matched, in words: tokens, FLOPs, a loss
    found: RunComparison
    notes: list[str]

    @property
    def labels(self) -> tuple[str, str]:
        """What A and B are called: `run-a`, or `run-a-* (3 runs)`."""
        return group_label(self.first), group_label(self.second)


def group_label(runs: Sequence[StoredRun]) -> str:
    """A run's name, or what the names of several have in common, and how many there are."""
    names = [one.name for one in runs]
    if len(names) == 1:
        return names[0]
    models = {one.model for one in runs}
    if len(models) == 1:
        return f"{models.pop()} ({len(names)} seeds)"
    return f"{listed(names, 3)} ({len(names)} runs)"


def names_runs(words: Sequence[str]) -> bool:
    """Whether words of `compare` name runs, and not checkpoints.

    Raises:
        ConfigError: one of each.
    """
    from evalrun.commands.compare.selection import names_checkpoint

    names = [word for word in words if "=" not in word and not word.startswith("-")]
    keys = {word.partition("=")[0] for word in words if "=" in word}
    of_runs = [name for name in names if not names_checkpoint(name)]
    if {"a", "b"} & keys or (names and len(of_runs) == len(names)):
        return True
    if of_runs:
        others = [name for name in names if name not in of_runs]
        raise ConfigError(
            f"'{of_runs[0]}' is a run and '{others[0]}' a checkpoint: compare two runs, or two checkpoints MODEL@STEP."
        )
    return False


def read_words(words: Sequence[str]) -> RunsRequest:
    """Read the words of `compare` of runs.

    Raises:
        ConfigError: not two groups, or an override that concerns neither the analysis, the store nor the tasks.
    """
    own, others = take_own_words(words, OWN_WORDS)
    names = [word for word in others if "=" not in word]
    given_names = [*([own["a"]] if "a" in own else []), *names, *([own["b"]] if "b" in own else [])]
    if len(given_names) != 2:
        raise ConfigError(f"compare takes two runs, not {len(given_names)}: {HOW_RUNS}; groups with a= and b=.")
    at = own.get("at", "tokens")
    if at not in ("tokens", "flops", "loss") and not at.startswith(("loss:", "log:")):
        raise ConfigError(f"at='{at}' is nothing to match runs by: {suggest(at, _ATS)}")
    rest = [word for word in others if "=" in word]
    if at.startswith(("loss:", "log:")):
        rest.append(f"analysis.x={at}")
    with hydra_session():
        given = ov.parse(rest)
        override_checks.check(given)
        keys = {o.key_or_group for o in given}
        if misplaced := sorted(keys & {"model", "step", "stage", "experiment", "path"}):
            raise ConfigError(f"compare takes no {misplaced[0]}=: {HOW_RUNS}.")
        plan = planning.plan(("model=pythia-70m", "step=all", *ov.for_hydra(given)))
        files = task_file.resolve(plan.config.tasks, trust_code=True) if keys & {"task", "tasks"} else None
    tasks = None if files is None else [file.name for file in files]
    return RunsRequest((given_names[0], given_names[1]), own, tasks, plan.config, _folder(own, plan.root, given_names))


def _folder(own: Mapping[str, str], root: Path, names: Sequence[str]) -> Path:
    if "out" in own:
        return Path(own["out"]).expanduser()
    return root / "analysis" / "_compare" / slug("--".join(slug(name.rstrip("/").rsplit("/", 1)[-1]) for name in names))


def compare_groups(asked: RunsRequest, store: Store) -> ComparedRuns:
    """Find the runs, and compare them.

    Args:
        asked: Names and settings.
        store: Where their results are.

    Raises:
        ConfigError: names that mean no runs, or runs that were scored differently.
        AnalysisError: nothing in common.
        TrackingError: the store cannot be read.
    """
    suites = store.suites()
    if not suites:
        raise AnalysisError(f"no results in {store.uri} yet: evaluate something first, for example with `make demo`.")
    suite = asked.own.get("suite")
    if suite is not None and suite not in suites:
        raise ConfigError(f"no results of suite '{suite}' in {store.uri}: {suggest(suite, suites)}")
    there = stored_runs({name: store.past(name) for name in (suites if suite is None else [suite])})
    first, second = (runs_named(name, there) for name in asked.names)
    distinct_groups(first, second)
    others = _tellers(asked.own.get("seeds_from"), first, second, there)
    first, second, others = (with_tasks(group, asked.tasks) for group in (first, second, others))
    settings = scored_alike([first, second], asked.own.get("scored"))
    first, second, others = (scored_so(group, settings) for group in (first, second, others))
    return _compared(asked, store, settings, first, second, others)


def _tellers(
    word: str | None, first: Sequence[StoredRun], second: Sequence[StoredRun], there: Sequence[StoredRun]
) -> list[StoredRun]:
    """Runs that tell how far seeds differ: those that are named, or other seeds of the models of two single runs."""
    if word == "none" or (word is None and max(len(first), len(second)) > 1):
        return []
    found = sibling_seeds(first, second, there) if word is None else runs_named(word, there)
    own = [one for one in found if one not in (*first, *second)]
    several = {(one.suite, one.model) for one in own if sum(_is_alike(one, other) for other in own) > 1}
    if word is not None and not several:
        raise ConfigError(f"seeds_from='{word}' has no model with two other seeds or more: {OWN_WORDS['seeds_from']}.")
    return [one for one in own if (one.suite, one.model) in several]


def _is_alike(one: StoredRun, other: StoredRun) -> bool:
    return (one.suite, one.model) == (other.suite, other.model)


def _compared(
    asked: RunsRequest,
    store: Store,
    settings: str,
    first: list[StoredRun],
    second: list[StoredRun],
    others: list[StoredRun],
) -> ComparedRuns:
    """Read the results of the runs, and compare them.

    Args:
        asked: Settings.
        store: Where results are.
        settings: How they were scored.
        first: A.
        second: B.
        others: Runs that tell of seeds.
    """
    # Here, because they take a second to be imported, and a wrong name should be said before that.
    import pandas as pd

    from evalrun.statistics.table import prepare
    from evalrun.statistics.training_runs.run_comparison import BandSettings, compare_runs

    config, conf = study.with_items(asked.config), asked.config.analysis
    every = [*first, *second, *others]
    tables = [store.table(name) for name in dict.fromkeys(one.suite for one in every)]
    raw = pd.concat([table[table["settings"] == settings] for table in tables], ignore_index=True)
    raw = raw[rows_of_runs(raw, every)]
    raw, notes = rows_of_tasks(study.with_metric(config, store, raw), asked.tasks, every)
    prepared = prepare(raw, conf.metric, same_within=conf.same_within)
    rows, at, axis = matched_by(prepared.table, raw, asked.own.get("at", "tokens"), conf)
    models = dict.fromkeys((one.suite, one.model) for one in others)
    groups = [[one for one in others if (one.suite, one.model) == model] for model in models]
    with study.items_of(config, store, rows) as items:
        found = compare_runs(
            rows[rows_of_runs(rows, first)],
            rows[rows_of_runs(rows, second)],
            [rows[rows_of_runs(rows, group)] for group in groups],
            at,
            items,
            BandSettings(conf.alpha, conf.draws, conf.seed, conf.seed_shift, conf.seed_timing),
            study.clusters_of(config),
        )
    told = [
        *notes,
        *other_tokenizers(every, settings),
        *shared_weights(prepared.table),
        *(note for note in prepared.notes if not note.endswith(_KEPT)),
    ]
    return ComparedRuns(first, second, others, settings, axis, found, [*told, *found.notes])
