"""`python -m evalrun ingest PATH...`: from other people's files to MLflow."""

from __future__ import annotations

import hashlib
import math
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evalrun.commands.ingest import inputs, samples
from evalrun.commands.ingest.assemble import Candidate, candidate
from evalrun.commands.ingest.merge import agree, merge
from evalrun.commands.ingest.models import Models, UnknownModelError
from evalrun.commands.ingest.parsed import DamagedError, ParsedResult, Skipped
from evalrun.commands.ingest.task_names import Tasks
from evalrun.config.compose import hydra_session
from evalrun.config.schema import TrackingConf
from evalrun.core.errors import ConfigError
from evalrun.core.records import TaskResult
from evalrun.core.secrets import command_line
from evalrun.core.text import counted
from evalrun.grid import planning
from evalrun.tracking import Store


def command(words: Sequence[str]) -> int:
    """`ingest`: other people's result files into MLflow; exit code 0 all filed, 1 something left out.

    Raises:
        ConfigError: nothing is named to be read.
    """
    rest = [word for word in words if word.startswith("tracking") and "=" in word and not Path(word).exists()]
    paths = [Path(word) for word in words if word not in rest]
    if not paths:
        raise ConfigError("ingest needs something to read: name result files or folders, such as results/.")
    with hydra_session():
        return ingest(paths, planning.tracking_of(rest), command_line(["analyze", *rest]))


def ingest(paths: Sequence[Path], tracking: TrackingConf, analyze: str) -> int:
    """File what the paths hold, and say what was and what was not (inside a `compose.hydra_session`).

    Args:
        paths: Result files, folders of them, a checkout.
        tracking: Where to.
        analyze: The command to name at the end, which analyses what is there.

    Returns:
        The exit code: 0 all is filed, 1 something was left out.

    Raises:
        ConfigError: nothing that was given is a result.
        TrackingError: the store cannot be written.
    """
    content = inputs.read(paths)
    if not content.found:
        problems = _sentences(content.left, content.passed)
        raise ConfigError([*problems, "nothing that was given holds results: name lm-eval's result files or a table."])
    store = Store(tracking)
    store.check()
    matched, left = _matched(content.found)
    kept, contradictions, again = merge(matched)
    left = [*content.left, *left, *contradictions]
    for suite in sorted({one.result.cell.suite for one in kept}):
        mine = [one for one in kept if one.result.cell.suite == suite]
        news, known, clashes = _compared(store, suite, mine)
        left += [*clashes, *_file(store, news)]
        _say_suite(suite, mine, len(news), known)
    _say_rest(content, kept, again, left, analyze)
    return 1 if left else 0


def _matched(found: Iterable[ParsedResult]) -> tuple[list[Candidate], list[Skipped]]:
    """Give each result its checkpoint and its task."""
    models, tasks = Models(), Tasks()
    matched, left = [], []
    for one in found:
        try:
            cell = models.cell(one.model)
        except UnknownModelError as error:
            left.append(Skipped(one.file, str(error)))
            continue
        for part in tasks.parts(one.task, one.metrics):
            made = candidate(one, part, cell)
            metric = made.result.primary_metric
            value = made.result.metrics.get(metric, math.nan)
            if math.isfinite(value):
                matched.append(made)
            else:  # filed, it would stand in the way of the result that is one
                left.append(Skipped(one.file, f"{metric} of '{made.result.task}' is {value}, which is no result."))
    return matched, left


def _compared(store: Store, suite: str, mine: Sequence[Candidate]) -> tuple[list[Candidate], int, list[Skipped]]:
    """What the store lacks, how much it has, and what it contradicts."""
    there = store.delivered_all(suite)
    news, other = [], []
    for one in mine:
        key = there.get(one.result.run_key, {}).get(one.result.task)
        if key is None:
            news.append(one)
        elif key != one.result.key:
            other.append((one, key))
    if not other:
        return news, len(mine) - len(news), []
    clashes = []
    table = store.table(suite)
    for one, key in other:
        rows = table[table["task_key"] == key]
        before = dict(zip(rows["metric"], rows["value"], strict=True))
        if not agree(one.result.metrics, before):
            clashes.append(Skipped(one.file, _contradicted(one.result, before)))
        elif one.samples is not None or set(one.result.metrics) > set(before):
            news.append(one)  # equal, and more of it
    return news, len(mine) - len(news) - len(clashes), clashes


def _contradicted(result: TaskResult, before: Mapping[str, float]) -> str:
    values = ", ".join(
        f"{name} {before[name]:.10g} there and {value:.10g} here"
        for name, value in result.metrics.items()
        if name in before and not agree({name: value}, before)
    )
    where = f"{result.cell.label}, {result.task}"
    return f"{where}: the store holds another result ({values}); if that is the wrong one, delete its run in MLflow"


def _file(store: Store, news: Sequence[Candidate]) -> list[Skipped]:
    """Deliver; what is wrong with samples is returned, the results themselves are filed without them."""
    left: list[Skipped] = []
    with tempfile.TemporaryDirectory() as scratch:
        results: list[tuple[TaskResult, Path | None]] = []
        for number, one in enumerate(news):
            result, items = one.result, None
            if one.samples is not None:
                try:
                    result, items = _with_items(one, one.samples, Path(scratch) / f"{number}.parquet")
                except DamagedError as error:
                    left.append(Skipped(one.samples.name, f"{error}: {one.file} is filed without items"))
            results.append((result, items))
        store.deliver_many(results)
    return left


def _with_items(one: Candidate, path: Path, target: Path) -> tuple[TaskResult, Path]:
    items = samples.read(path, one.result.n)
    target.write_bytes(items.parquet)
    chance = one.result.chance if one.result.chance is not None else items.chance
    digest = hashlib.sha256(items.parquet).hexdigest()
    return replace(one.result, n=items.n, chance=chance, items_sha256=digest), target


def _say_suite(suite: str, mine: Sequence[Candidate], new: int, known: int) -> None:
    checkpoints = len({one.result.cell for one in mine})
    tasks = len({one.result.task for one in mine})
    size = f"{counted(checkpoints, 'checkpoint')}, {counted(tasks, 'task')}"
    print(f"{suite}: {counted(new, 'result')} filed, {known:,} there already ({size})")


def _say_rest(
    content: inputs.Read, kept: Sequence[Candidate], again: int, left: Sequence[Skipped], analyze: str
) -> None:
    """Print what is said beside the results: repeats, missing errors, tables passed over; on stderr what was left out.

    Args:
        content: What was read.
        kept: What is filed.
        again: Results that stood in several places.
        left: What was left out, and why.
        analyze: The command that analyses the results.
    """
    if again:
        print(f"{counted(again, 'result')} in more than one file or row: each counts once")
    bare = sum(one.result.primary_metric not in one.result.stderrs for one in kept)
    if bare:
        print(f"{counted(bare, 'result')} without a standard error")
    if content.passed:
        print(f"passed over, being tables of something else: {', '.join(content.passed)}")
    hint = f"; analyse the results with {analyze}" if kept else ""
    print(f"{counted(content.files, 'file')} read{hint}", flush=True)
    if left:
        print(f"evalrun: {len(left):,} left out:", file=sys.stderr)
        for sentence in _sentences(left, []):
            print(f"  {sentence}", file=sys.stderr)


def _key(left: Skipped) -> tuple[str, str]:
    return left.file, left.reason


def _sentences(left: Iterable[Skipped], passed: Iterable[str]) -> list[str]:
    """One for each file and reason, with how many results it is about."""
    counts = Counter(_key(one) for one in left)
    said = []
    for (file, reason), n in counts.items():
        times = f" ({n} results)" if n > 1 else ""
        said.append(f"{file}: {reason.rstrip('.')}{times}{'' if reason.endswith('?') else '.'}")
    return said + [f"{name}: is no table of results." for name in passed]
