"""`python -m evalrun ingest PATH...`: from other people's files to MLflow."""

from __future__ import annotations

import hashlib
import math
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from evalrun.commands.bundle.bundle_files import is_bundle, refuse_damaged
from evalrun.commands.bundle.take import take_bundles
from evalrun.commands.ingest import inputs
from evalrun.commands.ingest.assemble import UNDATED_MS, Candidate, candidate
from evalrun.commands.ingest.left_out import sentences
from evalrun.commands.ingest.merge import CONTRADICTION, MergedResults, agree, marked, merge
from evalrun.commands.ingest.models import Models, UnknownModelError
from evalrun.commands.ingest.parsed import DamagedError, ParsedResult, Skipped
from evalrun.commands.ingest.renames import Renames
from evalrun.commands.ingest.task_names import Tasks
from evalrun.config.compose import hydra_session
from evalrun.config.schema import Config
from evalrun.core import garbage
from evalrun.core.errors import ConfigError
from evalrun.core.progress_line import watched
from evalrun.core.records import TaskResult
from evalrun.core.second_process import on_two_cores
from evalrun.core.secrets import command_line
from evalrun.core.stages import stage
from evalrun.core.text import counted
from evalrun.grid import planning
from evalrun.tracking import Store

_REMOVE = "if that is the wrong one, delete its run in MLflow"
_SUITE = "suite="
_KEYS = ("tracking", "analysis.same_within=")  # what of the configuration it takes


def command(words: Sequence[str]) -> int:
    """`ingest`: other people's result files into MLflow; exit code 0 all filed, 1 something left out.

    Raises:
        ConfigError: nothing is named to be read.
    """
    renames = Renames([word for word in words if Renames.is_one(word)])
    rest = [word for word in words if word.startswith(_KEYS) and "=" in word and not Path(word).exists()]
    suite = next((word.removeprefix(_SUITE) for word in words if _is_suite(word)), None)
    paths = [Path(word) for word in words if word not in rest and not Renames.is_one(word) and not _is_suite(word)]
    bundles = [path for path in paths if is_bundle(path)]
    for path in paths:
        if path.is_file() and path not in bundles:
            refuse_damaged(path)
    _check_bundles(paths, bundles, suite, [word for word in words if Renames.is_one(word)])
    if not paths:
        raise ConfigError("ingest needs something to read: name result files or folders, such as results/.")
    with hydra_session(), garbage.without_search(), watched("ingest"), on_two_cores():
        config, analyze = planning.settings_of(rest), command_line(["analyze", *rest])
        return take_bundles(paths, config, suite, analyze) if bundles else ingest(paths, config, analyze, renames)


def _is_suite(word: str) -> bool:
    return word.startswith(_SUITE) and not Path(word).exists()


def _check_bundles(paths: Sequence[Path], bundles: Sequence[Path], suite: str | None, renames: Sequence[str]) -> None:
    """See that bundles stand alone, and have what is for them.

    Raises:
        ConfigError: bundles beside other files, or a word that is for one of both alone.
    """
    if bundles and len(bundles) < len(paths):
        other = next(path for path in paths if path not in bundles)
        raise ConfigError(f"'{bundles[0]}' is a bundle and '{other}' is none: ingest them one after the other.")
    if bundles and renames:
        raise ConfigError(
            f"{renames[0]} is for files of others, and a bundle's models have names: suite=NAME files it apart."
        )
    if suite is not None and not bundles:
        raise ConfigError(f"suite={suite} is for bundles, and nothing that was given is one: leave it out.")
    if suite is not None and not suite.strip():
        raise ConfigError("suite= names no suite: suite=theirs, say.")


def ingest(paths: Sequence[Path], config: Config, analyze: str, renames: Renames) -> int:
    """File what the paths hold, and say what was and what was not (inside a `compose.hydra_session`).

    Args:
        paths: Result files, folders of them, a checkout.
        config: Where to (`tracking`), and when two values are one (`analysis.same_within`).
        analyze: The command to name at the end, which analyses what is there.
        renames: What models of the files are called here.

    Returns:
        The exit code: 0 all is filed, 1 something was left out.

    Raises:
        ConfigError: nothing that was given is a result.
        TrackingError: the store cannot be written.
    """
    store = Store(config.tracking)
    with store.written_beside():
        return _ingest(paths, store, config.analysis.same_within, analyze, renames)


def _ingest(paths: Sequence[Path], store: Store, same_within: float, analyze: str, renames: Renames) -> int:
    """What `ingest` does with an open store; results that are equal within `same_within` are one."""
    content = inputs.read(paths)
    if not content.found:
        problems = sentences(content.left, content.passed)
        raise ConfigError([*problems, "nothing that was given holds results: name lm-eval's result files or a table."])
    models = Models()
    renames.check(content.found, {name for known in models.known for name in known.names})
    checked = store.check_soon()
    matched, left = _matched(map(renames.apply, _taken(content.found)), models)
    merged = merge(matched, same_within)
    del matched
    left = [*content.left, *left, *merged.left]
    checked()
    news: list[Candidate] = []
    filed: list[tuple[str, Sequence[Candidate], int, int]] = []
    for suite in sorted({one.result.cell.suite for one in merged.kept}):
        mine = [one for one in merged.kept if one.result.cell.suite == suite]
        new, known, clashes = _compared(store, suite, mine, same_within)
        news, left = news + new, left + clashes
        filed.append((suite, mine, len(new), known))
    left += _file(store, news)  # of all suites at once: while one is written the next is made ready
    for one in filed:
        _say_suite(*one)
    _say_rest(content, merged, left, analyze)
    return 1 if left else 0


def _taken(found: list[ParsedResult]) -> Iterator[ParsedResult]:
    """Each in turn, and none kept: of a hundred thousand results each stage takes a hundred megabytes."""
    found.reverse()
    while found:
        yield found.pop()


@stage("finding models and tasks")
def _matched(found: Iterable[ParsedResult], models: Models) -> tuple[list[Candidate], list[Skipped]]:
    """Give each result its checkpoint and its task."""
    tasks = Tasks()
    matched, left = [], []
    for one in found:
        try:
            cell = models.cell(one.model)
        except UnknownModelError as error:
            left.append(Skipped(one.file, str(error), "model"))
            continue
        for part in tasks.parts(one.task, one.metrics):
            made = candidate(one, part, cell)
            metric = made.result.primary_metric
            value = made.result.metrics.get(metric, math.nan)
            if math.isfinite(value):
                matched.append(made)
            else:  # filed, it would stand in the way of the result that is one
                reason = f"{metric} of '{made.result.task}' is {value}, which is no result."
                left.append(Skipped(one.file, reason, "value"))
    return matched, left


@stage("comparing with the store")
def _compared(
    store: Store, suite: str, mine: Sequence[Candidate], same_within: float
) -> tuple[list[Candidate], int, list[Skipped]]:
    """What the store lacks, how much it has, and what it contradicts.

    Args:
        store: Which.
        suite: Whose results.
        mine: What was read of it.
        same_within: Share of a value up to which two are one.
    """
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
    clashes, refused = [], 0
    table = store.table(suite)
    for one, key in other:
        rows = table[table["task_key"] == key]
        before = dict(zip(rows["metric"], rows["value"], strict=True))
        values = [*one.result.metrics.values(), *before.values()]
        is_disputed = "disputed" in one.result.settings or rows["disputed"].ne("").any()
        if is_disputed and any(map(math.isnan, values)):
            news.append(one)  # it was disputed and is settled, or is disputed now
        elif not agree(one.result.metrics, before, same_within):
            is_newer = one.result.finished_ms > rows["finished_ms"].max() > UNDATED_MS
            told = _contradicted(one.result, before)
            if is_newer:
                news.append(marked(one, f"the store held another result before ({told})"))
            refused += not is_newer
            what = "this one is newer: it is filed, and marked" if is_newer else _REMOVE
            where = f"{one.result.cell.label}, {one.result.task}"
            reason = f"{where}: the store holds another result ({told}); {what}"
            clashes.append(Skipped(one.file, reason, CONTRADICTION))
        elif one.samples is not None or set(one.result.metrics) > set(before):
            news.append(one)  # equal, and more of it
    return news, len(mine) - len(news) - refused, clashes


def _contradicted(result: TaskResult, before: Mapping[str, float]) -> str:
    return ", ".join(
        f"{name} {before[name]:.10g} there and {value:.10g} here"
        for name, value in result.metrics.items()
        if name in before and not agree({name: value}, before)
    )


@stage("filing")
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
    from evalrun.commands.ingest import samples  # pandas takes a third of a second to be imported

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


def _say_rest(content: inputs.Read, merged: MergedResults, left: Sequence[Skipped], analyze: str) -> None:
    """Print what is said beside the results: repeats, missing errors, tables passed over; on stderr what was left out.

    Args:
        content: What was read.
        merged: What is filed, and how many results stood in several places.
        left: What was left out, and why.
        analyze: The command that analyses the results.
    """
    if merged.again:
        close = f" ({merged.close:,} with values that differ in the last places)" if merged.close else ""
        print(f"{counted(merged.again, 'result')} in more than one file or row: each counts once{close}")
    bare = sum(one.result.primary_metric not in one.result.stderrs for one in merged.kept)
    if bare:
        print(f"{counted(bare, 'result')} without a standard error")
    if content.passed:
        print(f"passed over, being tables of something else: {', '.join(content.passed)}")
    hint = f"; analyse the results with {analyze}" if merged.kept else ""
    print(f"{counted(content.files, 'file')} read{hint}", flush=True)
    if left:
        print(f"evalrun: {len(left):,} left out:", file=sys.stderr)
        for sentence in sentences(left):
            print(f"  {sentence}", file=sys.stderr)
