"""`sync`: what the journals hold and the store lacks is delivered, without models, tasks or their data."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from evalrun import progress
from evalrun.core.records import TaskResult
from evalrun.core.secrets import command_line
from evalrun.core.text import counted
from evalrun.grid import job_keys
from evalrun.grid.sweep_plan import Plan
from evalrun.journal import result_files
from evalrun.progress import Scope
from evalrun.tracking import Store

Pair = tuple[TaskResult, Path]  # a result and its job's folder

log = logging.getLogger(__name__)
_AT_ONCE = 500  # results; what is delivered is said, and stays when the next fail


def command(words: Sequence[str]) -> int:
    """Deliver the results of a sweep, or all; 0 when the store has them all then, 1 when some are damaged.

    Raises:
        ConfigError: words that cannot be right.
        TrackingError: the store cannot be had; what is not delivered stays in the journal.
    """
    asked = progress.parse_scope(words)
    store = Store(asked.tracking)
    store.check_readable()
    found, lacking = undelivered(asked, store)
    damaged = [pair for pair in lacking if not result_files.is_whole(pair[1], pair[0])]
    for result, folder in damaged:
        log.warning(
            "%s is damaged: the command that made it computes it again.", result_files.record_path(folder, result)
        )
    todo = [pair for pair in lacking if pair not in damaged]
    if todo:
        store.check()
        deliver_runs(store, todo)
        _mark(store, asked, todo)
        for suite in sorted({result.cell.suite for result, _ in todo}):
            store.rebuild_curves(suite)
    print(_said(store, found, todo))
    if todo:
        print(f"next: {command_line(['analyze', *asked.words])}")
    return 1 if damaged else 0


def undelivered(asked: Scope, store: Store) -> tuple[list[Pair], list[Pair]]:
    """The results in the journals, and those of them that the store lacks, each with its job's folder.

    Of a named grid only those scored as it asks, since others share its folders; what lacks is what `status` says.

    Args:
        asked: A grid, or everything.
        store: Where they are to be delivered.

    Raises:
        TrackingError: the store cannot be read.
    """
    found = list(_of_plan(asked.plan) if asked.plan is not None else _in(asked.root))
    suites = sorted({result.cell.suite for result, _ in found})
    held = {suite: store.filed(suite) for suite in suites}
    if asked.plan is None:
        return found, [(result, folder) for result, folder in found if progress.lacks(held[result.cell.suite], result)]
    entries = progress.of(asked.plan.jobs, held)
    keys = {entry.keys[task] for entry in entries for task in entry.undelivered or ()}
    return found, [(result, folder) for result, folder in found if result.key in keys]


def _in(root: Path) -> Iterator[Pair]:
    for folder in progress.job_folders(root):
        yield from ((result, folder) for result in progress.records(folder))


def _of_plan(plan: Plan) -> Iterator[Pair]:
    for job in plan.jobs:
        for result in progress.records(job.folder):
            identity = result.settings.get("identity")
            options = result.settings.get("group_options") or {}
            if identity is None or job_keys.run_key_of(job.config, identity, options) == result.run_key:
                yield result, job.folder


def deliver_runs(store: Store, todo: Sequence[Pair], is_ours: bool = True) -> None:
    """File results in MLflow, runs whole, some hundreds of results at a time.

    Args:
        store: Where to.
        todo: Each result with the folder of its job.
        is_ours: False of another person's journal: no sweep of this store wanted them, and items may be left out.

    Raises:
        StorageError: items or a config cannot be read.
        TrackingError: the store cannot be written.
    """
    groups: dict[str, list[Pair]] = defaultdict(list)
    for result, folder in todo:
        groups[result.run_key].append((result, folder))
    batch: list[tuple[TaskResult, Path | None]] = []
    origins: dict[str, tuple[str | None, str | None]] = {}
    for number, (run_key, group) in enumerate(groups.items(), start=1):
        for result, folder in group:
            items = result_files.items_path(folder, result)
            batch.append((result, items if is_ours or items.is_file() else None))
        config = result_files.config_of(group[0][1], run_key)
        origins[run_key] = (_sweep(config) if is_ours else None, config)
        if len(batch) >= _AT_ONCE or number == len(groups):
            store.deliver_many(batch, origins)
            batch, origins = [], {}


def _mark(store: Store, asked: Scope, todo: Sequence[tuple[TaskResult, Path]]) -> None:
    """A grid that was named wants what was delivered of it, as if its jobs had delivered it."""
    if asked.plan is None:
        return
    suites: dict[str, set[str]] = defaultdict(set)
    for result, _ in todo:
        suites[result.cell.suite].add(result.run_key)
    for entry in suites.items():
        store.mark_all(*entry, asked.plan.sweep)


def _sweep(config: str | None) -> str | None:
    """The sweep that a resolved config names."""
    try:
        values = yaml.safe_load(config or "")
    except yaml.YAMLError:
        return None
    sweep = values.get("sweep") if isinstance(values, dict) else None
    return sweep if isinstance(sweep, str) else None


def _said(store: Store, found: Sequence[tuple[TaskResult, Path]], todo: Sequence[tuple[TaskResult, Path]]) -> str:
    if not todo:
        return f"nothing to deliver: {counted(len(found), 'result')} in the journal, all in {store.uri}"
    runs = len({result.run_key for result, _ in todo})
    lines = [f"{len(todo):,} of {len(found):,} results delivered to {store.uri}, of {counted(runs, 'checkpoint')}:"]
    counts = Counter((result.cell.suite, result.cell.model) for result, _ in todo)
    lines += [f"  {model:<14} {count:>5,}" for (_, model), count in counts.items()]
    return "\n".join(lines)
