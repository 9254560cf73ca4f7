"""`ingest BUNDLE`: another person's results into the store, each with the bundle that it came in."""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evalrun.commands.bundle import bundle_files
from evalrun.commands.bundle.bundle_files import Manifest
from evalrun.commands.bundle.verify import records
from evalrun.commands.sync import Pair, deliver_runs
from evalrun.config.schema import Config
from evalrun.core.errors import ConfigError
from evalrun.core.records import TaskResult
from evalrun.core.stages import stage
from evalrun.core.task_group import TaskGroup
from evalrun.core.text import counted
from evalrun.grid import namesakes
from evalrun.tracking import Store


def take_bundles(paths: Sequence[Path], config: Config, suite: str | None, analyze: str) -> int:
    """File what bundles hold.

    Args:
        paths: Their folders or zips.
        config: Where to (`tracking`).
        suite: What to call their suite here; None: as they do.
        analyze: The command to name at the end.

    Returns:
        The exit code: 0 all is filed, 1 something was left out.

    Raises:
        ConfigError: a bundle is damaged, or holds a run that has the name of another here.
        TrackingError: the store cannot be written.
    """
    store, left = Store(config.tracking), 0
    store.check()
    with store.written_beside():
        for path in paths:
            with bundle_files.opened(path) as folder:
                left += _take(folder, store, suite)
    print(f"{counted(len(paths), 'bundle')} read; analyse the results with {analyze}", flush=True)
    return 1 if left else 0


def _take(folder: Path, store: Store, suite: str | None) -> int:
    """File one open bundle; returns how many results were left out."""
    manifest, digest = Manifest.read(folder), bundle_files.digest_of(folder)
    with stage("reading files"):
        problems = bundle_files.altered(folder)
    if problems:
        more = f" ({len(problems) - 1:,} more)" if len(problems) > 1 else ""
        raise ConfigError(f"bundle '{manifest.name}' is not as it was made: {problems[0]}{more}; get it again.")
    origin = {"name": manifest.name, "digest": digest, "made": manifest.made, "evalrun": manifest.version}
    suites: dict[str, list[Pair]] = defaultdict(list)
    for path, result in records(folder):
        if result is None:
            raise ConfigError(f"bundle '{manifest.name}': {path.name} is no record of a result: get it again.")
        cell = result.cell if suite is None else replace(result.cell, suite=suite)
        suites[cell.suite].append(
            (replace(result, cell=cell, settings={**result.settings, "bundle": origin}), path.parents[1])
        )
    left = 0
    for name, results in suites.items():
        news, known, others = _compare_keys(store, name, results)
        _refuse_namesakes(store, name, [result for result, _ in news])
        with stage("filing"):
            deliver_runs(store, news, is_ours=False)
        groups = [one for own, some in manifest.groups.items() if suite is not None or own == name for one in some]
        store.groups.record(name, {one["name"]: _group(one) for one in groups})
        checkpoints = counted(len({result.run_key for result, _ in results}), "checkpoint")
        print(
            f"{name}: {counted(len(news), 'result')} filed, {known:,} there already ({checkpoints}), of bundle "
            f"{manifest.name} ({digest[:12]})"
        )
        for result in others:
            print(
                f"evalrun: {result.cell.label}, {result.task}: the store holds another result of this checkpoint, so "
                "it is left out: delete its run in MLflow to have this one, or file the bundle apart with suite=NAME.",
                file=sys.stderr,
            )
        left += len(others)
    return left


def _compare_keys(store: Store, suite: str, results: Sequence[Pair]) -> tuple[list[Pair], int, list[TaskResult]]:
    """What the store lacks, how much it has, and what it has another result of."""
    there = store.delivered_all(suite)
    news, known, others = [], 0, []
    for result, folder in results:
        key = there.get(result.run_key, {}).get(result.task)
        if key is None:
            news.append((result, folder))
        elif key == result.key:
            known += 1
        else:
            others.append(result)
    return news, known, others


def _refuse_namesakes(store: Store, suite: str, news: Sequence[TaskResult]) -> None:
    """See that no training run of a bundle is filed under the name of another one.

    Raises:
        ConfigError: one would be.
    """
    mine: dict[tuple[str, int | None, str | None, str], dict[int, str]] = {}
    for result in news:
        cell, folder, identity = result.cell, result.settings.get("folder"), result.settings.get("identity")
        if folder and identity:
            mine.setdefault((cell.model, cell.seed, cell.stage, str(folder)), {})[cell.step] = str(identity)
    filed = list(store.filed(suite).values()) if mine else []
    for (model, seed, stage_name, folder), identities in mine.items():
        theirs = [run for run in filed if namesakes.training_of(run) == (model, seed, stage_name)]
        if namesakes.other_run(folder, identities, theirs) is not None:
            raise ConfigError(
                f"'{model}' in suite {suite} is the name of another training run here: file the bundle apart with "
                "suite=NAME, such as suite=theirs."
            )


def _group(said: Mapping[str, object]) -> TaskGroup:
    """A group of tasks as a manifest has it."""
    fields = {**said, "members": tuple(said["members"])}  # type: ignore[arg-type]
    return TaskGroup(**fields)  # type: ignore[arg-type]
