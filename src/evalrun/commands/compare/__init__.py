"""`compare`: did one checkpoint get worse than another, on the same items? Is one training run better than another?"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from evalrun import study
from evalrun.commands.compare import comparison_files, over_training, render, run_text
from evalrun.commands.compare.render import Comparison
from evalrun.commands.compare.result_rows import fewshot_of, latest_rows, of_metric
from evalrun.commands.compare.selection import HOW, ComparedCheckpoint, find, tokenizers_apart
from evalrun.commands.own_words import take_own_words
from evalrun.config.compose import compose, hydra_session, to_config
from evalrun.config.schema import Config
from evalrun.core.asked_words import asked_how, without_asked
from evalrun.core.errors import AnalysisError, ConfigError
from evalrun.core.text import listed
from evalrun.grid import override_checks
from evalrun.grid import overrides as ov
from evalrun.tasks import task_file
from evalrun.tracking import Store

if TYPE_CHECKING:
    import pandas as pd

    from evalrun.statistics.items.values import Items


@dataclass(frozen=True)
class _Asked:
    """What the words of `compare` ask for."""

    names: tuple[str, str]
    suite: str | None
    tasks: list[str] | None  # None: all
    scored: str | None  # in which way, where there are several
    config: Config


def command(words: Sequence[str]) -> int:
    """Compare two checkpoints that are in the store, and print it; 0 when they could be compared.

    Raises:
        ConfigError: words that cannot be right, or results that must not be compared.
        AnalysisError: there are no results, or none in common.
        TrackingError: the store cannot be read.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    rest = [word for word in words if word != "--json"]
    if over_training.names_runs(rest):
        print(_of_runs(rest, is_json="--json" in words))
        return 0
    found = compare(rest)
    print(json.dumps(render.to_json(found), indent=1) if "--json" in words else render.text(found))
    return 0


def _of_runs(words: Sequence[str], is_json: bool) -> str:
    """Compare training runs, write the page and the tables, file them in MLflow; what is printed."""
    asked = over_training.read_words(words)
    store = Store(asked.config.tracking)
    store.check_readable()
    compared = over_training.compare_groups(asked, store)
    files = comparison_files.write_comparison(compared, asked.folder)
    comparison_files.file_in_store(compared, files, store)
    if is_json:
        return json.dumps(run_text.runs_json(compared, files), indent=1)
    return run_text.runs_text(compared, files["report.html"])


def compare_over_training(words: Sequence[str]) -> over_training.ComparedRuns:
    """Compare training runs that are in the store; nothing is written.

    Args:
        words: As `command` takes them.

    Raises:
        ConfigError, AnalysisError, TrackingError: as `command`.
    """
    asked = over_training.read_words(words)
    store = Store(asked.config.tracking)
    store.check_readable()
    return over_training.compare_groups(asked, store)


def compare(words: Sequence[str]) -> Comparison:
    """Compare two checkpoints that are in the store.

    Args:
        words: Their two names, and overrides: task=, suite=, scored=, tracking and analysis.

    Raises:
        ConfigError, AnalysisError, TrackingError: as `command`.
    """
    asked = _ask(words)
    store = Store(asked.config.tracking)
    store.check_readable()
    before, after = find(asked.names, asked.suite, store, asked.tasks, asked.scored)
    return _compare(asked, before, after, store)


def _ask(words: Sequence[str]) -> _Asked:
    """Read the words of `compare`.

    Raises:
        ConfigError: not two names, or an override that concerns neither the analysis, the store nor the tasks.
    """
    names = [word for word in words if "=" not in word]
    if len(names) != 2:
        raise ConfigError(f"compare takes two checkpoints, not {len(names)}: {HOW}.")
    known = {key: over_training.OWN_WORDS[key] for key in ("suite", "scored")}
    own, rest = take_own_words((word for word in words if "=" in word), known)
    with hydra_session():
        given = ov.parse(rest)
        override_checks.check(given)
        keys = {o.key_or_group for o in given}
        if misplaced := sorted(keys & {"model", "step", "experiment"}):
            raise ConfigError(f"compare takes no {misplaced[0]}=: {HOW}.")
        config = to_config(compose(["model=pythia-70m", "step=0", *ov.for_hydra(given)]))
        chosen = bool(keys & {"task", "tasks"})
        files = task_file.resolve(config.tasks, trust_code=True) if chosen else []  # for their names alone
    tasks = [file.name for file in files] if chosen else None
    return _Asked((names[0], names[1]), own.get("suite"), tasks, own.get("scored"), config)


def _compare(asked: _Asked, before: ComparedCheckpoint, after: ComparedCheckpoint, store: Store) -> Comparison:
    """Test the tasks that both checkpoints have, item by item.

    Args:
        asked: Settings, and the tasks if they were named.
        before: The checkpoint that differences are measured from.
        after: The other, scored in the same way.
        store: Where both are.

    Raises:
        AnalysisError: no task is left to compare.
        TrackingError: the store cannot be read.
    """
    # Here, because they take a second to be imported, and a wrong name should be said before that.
    import pandas as pd

    from evalrun.statistics.items.paired import compare_checkpoints
    from evalrun.statistics.regression.interactions import CORRECTIONS

    analysis = asked.config.analysis
    config = study.with_items(asked.config)
    table = store.table_of([run.run_id for side in (before, after) for run in side.runs])
    table = of_metric(study.with_metric(config, store, table), analysis.metric)
    sides = [latest_rows(table, side, asked.tasks) for side in (before, after)]
    asked_apart = list(_asked(before, after))
    notes = [
        *asked_apart,
        *_missing(sides, (before, after), asked.tasks),
        *_same_weights(sides),
        *tokenizers_apart(before, after),
    ]
    shots = [fewshot_of(*pair) for pair in zip(sides, (before, after), strict=True)]
    both = [task for task in sides[0]["task"] if task in set(sides[1]["task"])]
    unlike = [task for task in both if shots[0][task] != shots[1][task]]
    notes += [f"{task} is left out: asked with {shots[0][task]} and {shots[1][task]} examples." for task in unlike]
    both = [task for task in both if task not in unlike]
    if not both:
        raise AnalysisError(" ".join([f"{before.label} and {after.label} have no task to compare.", *notes]))
    sides = [side[side["task"].isin(both)] for side in sides]
    with study.items_of(config, store, pd.concat(sides)) as items:
        read = _of_documents(items) if asked_apart and items is not None else items
        tasks = compare_checkpoints(
            *(sides[0], sides[1], read, analysis.corrections[0], analysis.alpha, analysis.draws, analysis.seed),
            study.clusters_of(asked.config),
        )
    if analysis.cluster_by is not None and tasks["clusters"].isna().all():
        why = "; ".join(dict.fromkeys(note for note in tasks["note"] if note))
        raise AnalysisError(f"no task can be compared with errors clustered by '{analysis.cluster_by}': {why}.")
    return Comparison(
        before=before,
        after=after,
        settings=without_asked(before.runs[0].settings) if asked_apart else before.runs[0].settings,
        tasks=tasks,
        notes=notes,
        alpha=analysis.alpha,
        correction=analysis.corrections[0],
        correction_title=CORRECTIONS[analysis.corrections[0]],
    )


def _asked(*checkpoints: ComparedCheckpoint) -> Iterator[str]:
    """What is to be known where the two were not asked in one way."""
    labels = [one.runs[0].settings for one in checkpoints]
    if labels[0] != labels[1]:
        how = [f"{one.label} {asked_how(label)}" for one, label in zip(checkpoints, labels, strict=True)]
        yield f"The prompts were not made in one way ({'; '.join(how)}): differences may be due to that."


def _of_documents(items: Items) -> Items:
    """Items that are the same where their documents are, whatever their prompts."""

    def read(run_id: str, task: str, columns: Sequence[str]) -> pd.DataFrame | None:
        found = items(run_id, task, columns)
        return found if found is None else found.drop(columns="prompt_hash", errors="ignore")

    return read


def _missing(
    sides: Sequence[pd.DataFrame], checkpoints: Sequence[ComparedCheckpoint], tasks: Sequence[str] | None
) -> Iterator[str]:
    names = [set(side["task"]) for side in sides]
    for one, mine, others in zip(checkpoints, names, reversed(names), strict=True):
        if mine - others:
            yield f"Only {one.label} has {listed(sorted(mine - others))}."
    if neither := sorted(set(tasks or ()) - names[0] - names[1]):
        yield f"Neither has {listed(neither)}."


def _same_weights(sides: Sequence[pd.DataFrame]) -> Iterator[str]:
    weights = [set(side["weights"]) - {""} for side in sides]
    for digest in sorted(weights[0] & weights[1]):
        yield f"Both have the same weights (digest {digest[:12]}): one checkpoint under two names."
